//! Tables of selectors: which matchers they hold, and at which column an invalid one fails.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::matcher::Op;

/// Parses `rule` and compares it with `expected`, its form as `Display` writes it.
fn check(rule: &str, expected: &str) {
    let selector = Selector::parse(rule).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(selector.to_string(), expected, "{rule}");
    assert_eq!(Selector::parse(expected).unwrap(), selector, "{rule}");
}

#[test]
fn accepted() {
    check("up", r#"{__name__="up"}"#);
    check(" \t\r\nup \n", r#"{__name__="up"}"#);
    check("a:b:c", r#"{__name__="a:b:c"}"#);
    check(":a", r#"{__name__=":a"}"#);
    check("_1", r#"{__name__="_1"}"#);
    check("{}", "{}");
    check(" { } ", "{}");
    check("up{}", r#"{__name__="up"}"#);
    check(r#"up{job="a"}"#, r#"{__name__="up",job="a"}"#);
    check(r#"up {job="a",}"#, r#"{__name__="up",job="a"}"#);
    check(r#"{job!="c"}"#, r#"{job!="c"}"#);
    check(r#"{a="1",b!="2", c=~"3" ,d!~"4" , }"#, r#"{a="1",b!="2",c=~"3",d!~"4"}"#);
    check("{ a = \"1\"\n,\tb\r=~ 'x' }", r#"{a="1",b=~"x"}"#);
    check(r#"up{__name__="x"}"#, r#"{__name__="up",__name__="x"}"#);
    check(r#"up{"x"}"#, r#"{__name__="up",__name__="x"}"#);
    check(r#"{__name__=~"a.*",__name__!="ab"}"#, r#"{__name__=~"a.*",__name__!="ab"}"#);
    // Keywords that may be metric names, and keywords that may be label names.
    for word in ["sum", "by", "offset", "or", "and", "start", "Count", "e1", "x", "info", "only", "infra"] {
        check(word, &format!(r#"{{__name__="{word}"}}"#));
    }
    check(r#"{on="1",bool="2",inf="3",or="4"}"#, r#"{on="1",bool="2",inf="3",or="4"}"#);
}

#[test]
fn quoted_names() {
    check(r#"{"my.metric"}"#, r#"{__name__="my.metric"}"#);
    check(r#"{"my.metric", "label.name"="x"}"#, r#"{__name__="my.metric","label.name"="x"}"#);
    check(r#"{'a b', `c`!~"d",}"#, r#"{__name__="a b",c!~"d"}"#);
    check(r#"{a="1","m"}"#, r#"{a="1",__name__="m"}"#);
    check("{\"\u{e9}\"=\"\u{1f600}\"}", "{\"\u{e9}\"=\"\u{1f600}\"}");
    check(r#"{"1a"="x"}"#, r#"{"1a"="x"}"#);
    check(r#"{""="x"}"#, r#"{""="x"}"#);
    check(r#"{"a\nb"="x"}"#, r#"{"a\nb"="x"}"#);
}

#[test]
fn comments() {
    check("# a rule\nup # its name\n{ # braces\n a=\"#\" # a value\n, } # the end", r##"{__name__="up",a="#"}"##);
    check("up #", r#"{__name__="up"}"#);
    check("{a=`#`}", r##"{a="#"}"##);
}

#[test]
fn escapes() {
    let check = |quoted: &str, expected: &str| {
        let selector = Selector::parse(&format!("{{a={quoted}}}")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(selector.matchers()[0].value(), expected, "{quoted}");
        assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
    };
    check(r#""\a\b\f\n\r\t\v\\\"""#, "\x07\x08\x0c\n\r\t\x0b\\\"");
    check(r"'\a\\\''", "\x07\\'");
    check(r#""it's""#, "it's");
    check(r#"'say "a"'"#, "say \"a\"");
    check(r#""\101\x41\u00e9\U0001F600""#, "AA\u{e9}\u{1f600}");
    check(r#""\303\251\xc3\xa9""#, "\u{e9}\u{e9}");
    check(r#""\000\x7f""#, "\0\x7f");
    check("`a\\n\n\"'b`", "a\\n\n\"'b");
    check("\"\u{e9}}{,\"", "\u{e9}}{,");
    check(r#""""#, "");
    check("``", "");
    check("\"a\rb\"", "a\rb");
}

#[test]
fn errors_name_the_column() {
    let check = |rule: &str, column: usize, problem: &str| match Selector::parse(rule) {
        Err(Error::Selector { column: found, problem: text, .. }) => {
            assert_eq!(found, column, "{rule}: {text}");
            assert!(text.contains(problem), "{rule}: {text}");
        }
        other => panic!("{rule}: {other:?}"),
    };
    check("", 1, "expected a metric name or {, it ends here");
    check("  # nothing", 12, "expected a metric name or {");
    check("9a", 1, "expected a metric name or {, found \"9a\"");
    check("-a", 1, "expected a metric name");
    check("\"a\"", 1, "expected a metric name");
    check("\u{e9}", 1, "expected a metric name");
    for word in ["on", "ON", "bool", "ignoring", "group_left", "group_right", "atan2", "inf", "NaN"] {
        check(&format!(" {word}{{}}"), 2, "that is no keyword");
    }
    check("up{", 4, "expected a label name or \"}\", it ends here");
    check("up}", 3, "expected the end of the rule, found \"}\"");
    check("{,}", 2, "expected a label name or \"}\", found \",}\"");
    check("{a=\"1\",,}", 8, "expected a label name");
    check("{a=\"1\" b=\"2\"}", 8, "expected \",\" or \"}\", found \"b=\\\"2\\\"}\"");
    check("{a=\"1\"", 7, "expected \",\" or \"}\", it ends here");
    check("{a}", 3, "expected one of =, !=, =~, !~");
    check("{a==\"1\"}", 4, "expected a value in quotes");
    check("{a<\"1\"}", 3, "expected one of");
    check("{a!\"1\"}", 3, "expected one of");
    check("{a~\"1\"}", 3, "expected one of");
    check("{a= =\"1\"}", 5, "expected a value in quotes");
    check("{a=1}", 4, "expected a value in quotes");
    check("{a=}", 4, "expected a value in quotes");
    check("{a:b=\"1\"}", 3, "expected one of");
    check("{1a=\"1\"}", 2, "expected a label name");
    check("{\u{e9}=\"1\"}", 2, "expected a label name");
    check("{\"\u{e9}\"=1}", 6, "expected a value in quotes");
    check("{a=\"1}", 4, "does not end");
    check("{a=\"1\n\"}", 4, "does not end");
    check("{a='1\"}", 4, "does not end");
    check("{a=`1\"}", 4, "does not end");
    check("{a=\"\\", 5, r"a \ at the end");
    for escape in
        [r"\q", r"\'", r"\8", r"\0", r"\18", r"\400", r"\x1", r"\xg1", r"\u12", r"\ud800", r"\U00110000", r"\u{1}"]
    {
        check(&format!("{{a=\"x{escape}\"}}"), 6, "");
    }
    check(r#"{a='\"'}"#, 5, "no such escape");
    check(r#"{a="\xff"}"#, 4, "not UTF-8");
    check("{b=\"\",a=~\"(\"}", 10, "a group is not closed");
    check("{a!~\"[\"}", 5, "a class is not closed");
    // Parts of queries that are not allowed in selectors.
    check("up offset 5m", 4, "expected the end of the rule, found \"offset 5m\"");
    check("up @ 1", 4, "expected the end of the rule");
    check("up[5m]", 3, "expected the end of the rule");
    check("up{a=\"b\" or c=\"d\"}", 10, "expected \",\" or \"}\"");
    check("up or down", 4, "expected the end of the rule");
    check("{} {}", 4, "expected the end of the rule");
    check("{}{}", 3, "expected the end of the rule");
    check("up,", 3, "expected the end of the rule");
    check("(up)", 1, "expected a metric name");
    check("sum(up)", 4, "expected the end of the rule");
    check("up + 1", 4, "expected the end of the rule");
    check("up;", 3, "expected the end of the rule");
}

#[test]
fn errors_are_short() {
    let error = Selector::parse(&format!("{{a=\"{}\"", "x".repeat(10_000))).unwrap_err().to_string();
    assert!(error.len() < 300, "{error}");
    assert!(error.starts_with("rule \"{a=\\\"xxx"), "{error}");
    let error = Selector::parse(r#"up{job=a}"#).unwrap_err().to_string();
    assert_eq!(error, r#"rule "up{job=a}": column 8: expected a value in quotes, found "a}""#);
    let error = Selector::parse(r#"up{job=~"a**"}"#).unwrap_err().to_string();
    assert_eq!(
        error,
        r#"rule "up{job=~\"a**\"}": column 9: regular expression "a**": a repetition of a repetition, as in a**"#
    );
}

#[test]
fn a_rule_has_a_limit() {
    let rule = |length: usize| format!("{{a=\"{}\"}}", "x".repeat(length - 6));
    assert!(Selector::parse(&rule(MAX_RULE_BYTES)).is_ok());
    let too_long = Error::RuleTooLong { bytes: MAX_RULE_BYTES + 1, limit_bytes: MAX_RULE_BYTES };
    assert_eq!(Selector::parse(&rule(MAX_RULE_BYTES + 1)), Err(too_long));
}

#[test]
fn all_matchers_have_to_hold() {
    let labels = [Label::new("__name__", "up"), Label::new("job", "a"), Label::new("zone", "z")];
    let check = |rule: &str, expected| assert_eq!(Selector::parse(rule).unwrap().matches(&labels), expected, "{rule}");
    check("{}", true);
    check("up", true);
    check("down", false);
    check(r#"up{job="a",zone=~"x|z"}"#, true);
    check(r#"up{job="a",zone="x"}"#, false);
    check(r#"{job!="c"}"#, true);
    check(r#"{nothing!="c"}"#, true);
    check(r#"{nothing=""}"#, true);
    check(r#"up{__name__="down"}"#, false);
    check(r#"up{__name__=~".p"}"#, true);
}

#[test]
fn lines() {
    let selectors = Selector::parse_lines("\n# a comment\n up \r\n\n{a=\"b\"} # why\n").unwrap();
    let expected = [r#"{__name__="up"}"#, r#"{a="b"}"#];
    assert_eq!(selectors.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    assert_eq!(Selector::parse_lines(""), Ok(Vec::new()));
    let error = Selector::parse_lines("up\n\n{a}\n{b}").unwrap_err().to_string();
    assert!(error.starts_with("line 3: rule \"{a}\": column 3: expected one of"), "{error}");
}

/// Random sequences of tokens, most of which are nearly a rule.
fn nearly_a_rule() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        proptest::sample::select(vec![
            "{", "}", "=", "=~", "!=", "!~", ",", "\"", "'", "`", "\\", "\\x", "\\u00", "#", "\n", " ", "a", "up",
            "on", "\"a\"", "'b'", "a=\"b\"", "a=~\"(", "[", "]", ")", "*", "{2}", ":", "\u{e9}", "\\Q", "\\p{",
        ])
        .prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(token, 0..20).prop_map(|tokens| tokens.concat())
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let op = proptest::sample::select(vec![Op::Equal, Op::NotEqual, Op::Matches, Op::NotMatches]);
    (any::<String>(), op, any::<String>()).prop_map(|(name, op, value)| {
        let value = if matches!(op, Op::Matches | Op::NotMatches) { regex::escape(&value) } else { value };
        let written = Matcher::new(&name, op, &value);
        // Go may refuse an escape that `regex` writes; `regex` escapes no letters, so this is only a guard.
        written.unwrap_or_else(|_| Matcher::new(&name, Op::Equal, &value).unwrap())
    })
}

proptest! {
    #[test]
    fn never_panics(rule in nearly_a_rule(), noise in any::<String>()) {
        let _ = Selector::parse(&noise);
        if let Ok(selector) = Selector::parse(&rule) {
            prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
        }
    }

    #[test]
    fn what_is_written_reads_back_the_same(matchers in proptest::collection::vec(matcher(), 0..5)) {
        let selector = Selector::new(matchers);
        prop_assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
    }
}
