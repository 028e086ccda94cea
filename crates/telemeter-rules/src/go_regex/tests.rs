//! Tables of regular expressions: which values they match, and which expressions are refused.
#![allow(clippy::unwrap_used)]

use super::*;

/// `expression` matches all of `matching` and none of `others`.
fn check(expression: &str, matching: &[&str], others: &[&str]) {
    let regex = compile(expression).unwrap_or_else(|error| panic!("{error}"));
    for text in matching {
        assert!(regex.is_match(text), "{expression} should match {text:?}");
    }
    for text in others {
        assert!(!regex.is_match(text), "{expression} should not match {text:?}");
    }
}

#[test]
fn the_whole_value_has_to_match() {
    check("a", &["a"], &["", "ab", "ba", "a\n", "\na"]);
    check("a|b", &["a", "b"], &["ab", "xa", "bx"]);
    check("^a$", &["a"], &["ab", "ba"]);
    check(r"\Aa\z", &["a"], &["ab"]);
    check("^^a$$|^b", &["a", "b"], &["ab"]);
    check("a^", &[], &["a", "a^"]);
    check("", &[""], &["a"]);
    check("a|", &["a", ""], &["b"]);
    check("|a", &["a", ""], &["b"]);
    check("(|a)b", &["b", "ab"], &["a"]);
    check("(?m)a$\n^b", &["a\nb"], &["ab"]);
    check("(?m)a$", &["a"], &["a\n"]);
    check("(?m:^)*a", &["a"], &[]);
    check("^*a", &["a"], &[]);
}

#[test]
fn dots_match_newlines() {
    check("a.b", &["a\nb", "a\u{1f600}b"], &["ab"]);
    check("(?-s)a.b", &["axb"], &["a\nb"]);
    check("(?-s:a.)b.", &["axb\n"], &["a\nb\n"]);
    check("(?-s)a(?s).(?-s).", &["a\nx"], &["ax\n"]);
}

#[test]
fn perl_classes_are_ascii() {
    check(r"\d+", &["09"], &["\u{665}", "a", ""]);
    check(r"\D", &["\u{665}", "a"], &["1"]);
    check(r"\w", &["_", "a", "Z", "0"], &["\u{e9}", "-"]);
    check(r"\W", &["\u{e9}", "-"], &["a"]);
    check(r"\s", &[" ", "\t", "\n", "\r", "\x0c"], &["\u{a0}", "\x0b", "\u{2003}"]);
    check(r"\S", &["\u{a0}", "\x0b", "x"], &[" "]);
    check(r"[\d_]", &["1", "_"], &["\u{665}", "x"]);
    check(r"[^\d_]", &["x", "\u{665}"], &["1", "_"]);
    check(r"[\W\d]", &["1", "-", "\u{e9}"], &["a"]);
    check(r"(?i)\w", &["s", "\u{17f}", "\u{212a}"], &["\u{e9}"]);
    check(r"\ba\b", &["a"], &[]);
    check("\u{e9}\\ba\\b\u{e9}", &["\u{e9}a\u{e9}"], &[]);
    check("\u{e9}\\B\u{e9}", &["\u{e9}\u{e9}"], &[]);
    check(r"a\Bb", &["ab"], &[]);
    check(r"a\bb", &[], &["ab"]);
}

#[test]
fn quotes_and_escapes() {
    check(r"\Qa.b*\E+", &["a.b*", "a.b**"], &["axb", "a.b*a.b*"]);
    check(r"\Qa.b", &["a.b"], &["axb"]);
    check(r"\Qa\b\E", &[r"a\b"], &["ab"]);
    check(r"a\Q\E*", &["", "aa"], &["b"]);
    check(r"\101\060", &["A0"], &[]);
    check(r"\0", &["\0"], &["0"]);
    check(r"\x41\x{42}\x{1F600}\x{00000043}", &["AB\u{1f600}C"], &[]);
    check(r"\x{0}", &["\0"], &[]);
    check(r"\a\f\t\n\r\v", &["\x07\x0c\t\n\r\x0b"], &[]);
    check(r"\.\*\<\>\_\-\ \/\@\#\{\}", &[".*<>_- /@#{}"], &[]);
    check(r"\<a\>", &["<a>"], &["a"]);
    check("#a b", &["#a b"], &["ab"]);
    check(r"\x{d800}", &[], &["\u{fffd}", ""]);
}

#[test]
fn classes() {
    check("[abc]", &["a", "c"], &["d", "ab"]);
    check("[^abc]", &["d", "\n", "\u{e9}"], &["a", ""]);
    check("[]a]", &["]", "a"], &["b"]);
    check("[^]a]", &["b"], &["]", "a"]);
    check("[[a]", &["[", "a"], &["b"]);
    check("[a[b]c]", &["ac]", "[c]"], &["a"]);
    check("[a&&b]", &["a", "&", "b"], &["c"]);
    check("[a~~b]", &["a", "~", "b"], &["c"]);
    check("[&--b]", &["&", "-", "b", "("], &["a"]);
    check("[--/]", &["-", ".", "/"], &[","]);
    check("[a-]", &["a", "-"], &["b"]);
    check("[-a]", &["a", "-"], &["b"]);
    check("[a-b-c]", &["a", "b", "-", "c"], &["d"]);
    check(r"[\d-z]", &["1", "-", "z"], &["a"]);
    check("[a^]", &["a", "^"], &["b"]);
    check("[+-[:digit:]]", &["+]", "5]", "d]"], &["+", "5"]);
    check("[[:alpha:]]", &["a", "Z"], &["1", "\u{e9}"]);
    check("[[:^alpha:]]", &["1", "\u{e9}"], &["a"]);
    check("[[:word:][:space:]-]", &["_", "\x0b", "-"], &["."]);
    check("[[:alpha]", &["[", ":", "a", "l"], &["b"]);
    check("[:alpha:]", &[":", "a"], &["b"]);
    check(r"[\x41-\x43\104]", &["A", "B", "C", "D"], &["E"]);
    check(r"[\]\[\^\\]", &["]", "[", "^", "\\"], &["a"]);
    check(r"[\x{d000}-\x{e000}]", &["\u{d000}", "\u{e000}"], &["\u{e001}"]);
    check(r"[\x{d800}-\x{dfff}]", &[], &["a", ""]);
    check(r"[^\x{d800}]", &["a", "\n"], &[""]);
    check(r"[^\x00-\x{10FFFF}]", &[], &["a", ""]);
    check("(?i)[a-c]", &["A", "b"], &["d"]);
    check("(?i)[^a-c]", &["d"], &["A", "b"]);
    check("(?i)k", &["k", "K", "\u{212a}"], &["j"]);
}

#[test]
fn unicode_classes() {
    check(r"\pL+", &["a\u{e9}\u{3b1}"], &["1"]);
    check(r"\p{Lu}", &["A", "\u{c9}"], &["a"]);
    check(r"\PL", &["1"], &["a"]);
    check(r"\p{^L}", &["1"], &["a"]);
    check(r"\P{^L}", &["a"], &["1"]);
    check(r"\p{Greek}", &["\u{3b1}"], &["a"]);
    check(r"[\p{Greek}a]", &["\u{3b1}", "a"], &["b"]);
    check(r"[^\p{Greek}a]", &["b"], &["\u{3b1}", "a"]);
    check(r"\p{Any}", &["a", "\n"], &[""]);
    check(r"\p{Cs}", &[], &["a"]);
    check(r"\P{Cs}", &["a"], &[]);
}

#[test]
fn groups_and_flags() {
    check("(a)(?:b)(?P<n>c)(?<m>d)", &["abcd"], &["abc"]);
    check("(?P<1a>x)", &["x"], &[]);
    check("(?i)aB", &["ab", "AB"], &[]);
    check("(?i:a)b", &["ab", "Ab"], &["aB"]);
    check("(a(?i)b)c", &["abc", "aBc"], &["Abc", "abC"]);
    check("a(?i)b|c", &["ab", "aB", "C"], &["Ab"]);
    check("(?i)a(?-i)b", &["Ab"], &["AB"]);
    check("(?is-m:a.)", &["A\n"], &[]);
    check("(?U)a+?", &["aa"], &[]);
    check("(?)a(?:)", &["a"], &[]);
    check("a(?i)*", &["", "aa"], &["A"]);
    check("(?:)*a", &["a"], &[]);
}

#[test]
fn repetitions() {
    check("a{2}", &["aa"], &["a", "aaa"]);
    check("a{2,}", &["aa", "aaa"], &["a"]);
    check("a{2,3}", &["aa", "aaa"], &["a", "aaaa"]);
    check("a{0}b", &["b"], &["ab"]);
    check("a*?b+?c??", &["b", "aabbc"], &["a"]);
    check("a{2}?", &["aa"], &[]);
    check("a{1000}", &[&"a".repeat(1000)], &["a"]);
    check("(a{10}){100}", &[&"a".repeat(1000)], &[]);
    check("(a*)*", &["", "aa"], &["b"]);
    // A brace that does not begin a repetition is a literal.
    for literal in ["a{bbb}", "a{}", "a{,2}", "a{1", "a{01}", "a{1,02}", "a{ 1}", "a{1, 2}", "{b", "a{-1}", "a{1,b}"] {
        check(literal, &[literal], &["a"]);
    }
}

#[test]
fn refused_as_in_go() {
    for expression in [
        // Groups.
        "(",
        ")",
        "a)",
        "(a",
        "a)b(",
        "(?",
        "(?i",
        "(?i-)",
        "(?-)",
        "(?i--s)",
        "(?x)a",
        "(?u)a",
        "(?R)a",
        "(?P<n",
        "(?P<>a)",
        "(?P<a-b>c)",
        "(?P=n)",
        "(?P>n)",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        "(?>a)",
        "(?#a)",
        "(?<\u{e9}>a)",
        // Repetitions.
        "*",
        "+a",
        "?",
        "|*",
        "(*)",
        "(?i)*",
        "{2}",
        "a**",
        "a*+",
        "a+*",
        "a???",
        "a{2}{3}",
        "a{2}*",
        "a*{2}",
        "a{1001}",
        "a{1,1001}",
        "a{3,2}",
        "a{99999999999999999999}",
        "(a{100}){11}",
        "((a{10}){10}){11}",
        "(a{2,}){501}",
        // Classes.
        "[",
        "[a",
        "[]",
        "[^]",
        "[b-a]",
        "[a--b]",
        "[a-\\d]",
        "[[:nope:]]",
        "[[:alpha:]",
        r"[\b]",
        r"[\A]",
        r"[\z]",
        r"[\Qa\E]",
        r"\p{Nope}",
        r"\p{Alphabetic}",
        r"\p{Script=Greek}",
        r"\p",
        r"\p{",
        r"\p{}",
        r"\p{L",
        "[a\\",
        // Escapes.
        "\\",
        r"a\",
        r"\1",
        r"\8",
        r"\18",
        r"\C",
        r"\Z",
        r"\G",
        r"\K",
        r"\h",
        r"\R",
        r"\X",
        r"\e",
        r"\c",
        r"\q",
        r"\y",
        r"\E",
        r"\u0041",
        r"\x",
        r"\x4",
        r"\xg0",
        r"\x{}",
        r"\x{110000}",
        r"\x{41",
        r"\x{fffffffffff}",
        r"\b{start}x{1001}",
        "\\\u{e9}",
        "\\x\u{e9}1",
    ] {
        let error = match compile(expression) {
            Ok(regex) => panic!("{expression} was accepted as {regex}"),
            Err(error) => error.to_string(),
        };
        assert!(error.starts_with("regular expression \""), "{error}");
    }
}

#[test]
fn bounds() {
    let error = compile(r"((\pL{10}){10}){10}").unwrap_err().to_string();
    assert!(error.contains("too big: its program would take over 8388608 bytes"), "{error}");
    let error = compile(&format!("{}a{}", "(".repeat(1001), ")".repeat(1001))).unwrap_err().to_string();
    assert!(error.contains("nested groups"), "{error}");
    let error = compile(&format!("{}a{}", "(b|".repeat(300), ")".repeat(300))).unwrap_err().to_string();
    assert!(error.contains("deep"), "{error}");
    // As deep as allowed, on a small stack.
    check(&format!("{}a{}", "(?:b|c*".repeat(98), ")".repeat(98)), &["cca"], &["x"]);
    check(&format!("{}a{}", "(".repeat(900), ")".repeat(900)), &["a"], &["x"]);
    check(&"a(?i)".repeat(2000), &[], &["x"]);
    let error = compile(&format!("a{}", "*(?i)".repeat(300))).unwrap_err().to_string();
    assert!(error.contains("deep"), "{error}");
    let error = compile(&format!("(?P<{}", "n".repeat(10_000))).unwrap_err().to_string();
    assert!(error.len() < 300, "{error}");
}

#[test]
fn shapes() {
    let check = |expression: &str, expected: Shape| {
        assert_eq!(Pattern::parse(expression).unwrap().shape(), expected, "{expression}");
    };
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
    let exact = |values: &[&str]| Shape::Exact(texts(values));
    let other =
        |prefixes: &[&str], suffixes: &[&str]| Shape::Other { prefixes: texts(prefixes), suffixes: texts(suffixes) };
    let prefix = |prefix: &str, more| Shape::Prefix { prefix: prefix.to_owned(), more };
    check(".*", Shape::Any);
    check("^.*$", Shape::Any);
    check("(.+)", Shape::NonEmpty);
    check("", exact(&[""]));
    check("abc", exact(&["abc"]));
    check("b|a|b", exact(&["a", "b"]));
    check("a(b|c)d?", exact(&["ab", "abd", "ac", "acd"]));
    check("^(?:a|b)$", exact(&["a", "b"]));
    check(r"a\.b{3}", exact(&["a.bbb"]));
    check("(?i)1|2", exact(&["1", "2"]));
    check("abc.*", prefix("abc", false));
    check("(abc).+", prefix("abc", true));
    check(".*abc", Shape::Suffix { suffix: "abc".to_owned(), more: false });
    check(".+a(bc)$", Shape::Suffix { suffix: "abc".to_owned(), more: true });
    check(".*a|.*b", other(&[], &["a", "b"]));
    check("a.*b", other(&["a"], &["b"]));
    check("(a|b)x.*(c|d)", other(&["ax", "bx"], &["c", "d"]));
    check("a.*b|c.*\u{e9}f", other(&["a", "c"], &["b", "\u{e9}f"]));
    check("a.*b|.*c", other(&[], &["b", "c"]));
    check("(ab)+c", other(&["ab"], &["abc"]));
    check("a(b|c.*)d.*", other(&["ab", "ac"], &[]));
    check("(?i)ab", other(&[], &[]));
    check("a*", other(&[], &[]));
    check("[ab]c", other(&[], &["c"]));
    check("(0|1|2|3){4}z", other(&["0", "1", "2", "3"], &["0z", "1z", "2z", "3z"]));
}
