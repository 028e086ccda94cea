#![allow(clippy::unwrap_used)]
use super::{
    Separation::{Commas, Repeated},
    *,
};

fn typed(occurrences: &[&str]) -> Vec<String> {
    occurrences.iter().map(|&text| text.to_owned()).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// The error's one line, which names the flag.
fn refused<T: std::fmt::Debug>(flag: &str, outcome: Result<T, FlagError>) -> String {
    let line = outcome.unwrap_err().to_string();
    assert!(line.starts_with(&format!("{flag} ")) && !line.contains(char::is_control), "{line}");
    line
}

#[test]
fn elements_of_csv() {
    fn check(occurrences: &[&str], expected: &[&str]) {
        let found = elements("--x", Commas, &typed(occurrences)).unwrap();
        let found: Vec<&str> = found.iter().map(|element| element.text.as_str()).collect();
        assert_eq!(found, expected, "{occurrences:?}");
    }
    check(&[], &[]);
    check(&[""], &[]);
    check(&["a=b"], &["a=b"]);
    check(&["a=b,c=d", "e=f"], &["a=b", "c=d", "e=f"]);
    // Empty ones.
    check(&[","], &[]);
    check(&["a,"], &["a"]);
    check(&["a,,b"], &["a", "b"]);
    check(&[" , \n", r#""""#], &[]);
    // White space: blanks, tabs, what YAML's `|` and `>` leave, and what was copied from a page.
    check(&["instance, pod"], &["instance", "pod"]);
    check(&["\tinstance ,\npod\r\n", "\u{a0}node"], &["instance", "pod", "node"]);
    check(&["a b, c"], &["a b", "c"]);
    // Quotes.
    check(&[r#""a=b,c",d=e"#], &["a=b,c", "d=e"]);
    check(&[r#""say ""hi""""#], &[r#"say "hi""#]);
    check(&[r#" " a " , b"#], &[" a ", "b"]);
    check(&["\"a\nb\",\"c\r\nd\""], &["a\nb", "c\nd"]);
}

#[test]
fn what_is_no_csv() {
    fn check(occurrence: &str, hint: &str) {
        let line = refused("--x", elements("--x", Commas, &typed(&["a", occurrence])));
        assert!(line.contains(hint) && line.contains(&format!("{occurrence:?}")), "{line}");
    }
    check(r#"a="b""#, "stray quote");
    check(r#""a"b"#, "stray quote");
    check(r#""a"#, "stray quote");
    check(r#"a,"b" c"#, "stray quote");
    check("a\nb", "line break");
    check("a\r\nb,c", "line break");
}

#[test]
fn elements_one_by_one() {
    let found = elements("--x", Repeated, &typed(&["a,b", " c\n", "", " ", r#" "d,e" "#])).unwrap();
    let found: Vec<_> = found.iter().map(|element| (element.text.as_str(), element.quoted)).collect();
    assert_eq!(found, [("a,b", false), ("c", false), ("d,e", true)]);
    for occurrence in [r#""a","b""#, r#""a"#] {
        refused("--x", elements("--x", Repeated, &typed(&[occurrence])));
    }
}

#[test]
fn label_names_that_may_be() {
    fn check(separation: Separation, occurrences: &[&str], expected: &[&str]) {
        assert_eq!(label_names("--x", separation, &typed(occurrences)).unwrap(), expected, "{occurrences:?}");
    }
    check(Commas, &["instance, pod", "_A9 ,"], &["instance", "pod", "_A9"]);
    check(Commas, &["a,b,a", "b"], &["a", "b"]);
    check(Commas, &[r#""http.status",pod"#], &["http.status", "pod"]);
    check(Commas, &["\"größe\",\"a,b\",\"a b\""], &["größe", "a,b", "a b"]);
    check(Repeated, &[" a", "b\n", r#""http.status""#], &["a", "b", "http.status"]);
}

#[test]
fn label_names_that_cannot_be() {
    fn check(separation: Separation, occurrence: &str, element: &str) {
        let line = refused("--x", label_names("--x", separation, &typed(&["good", occurrence])));
        assert!(line.contains(&format!("has {element:?}, which is no label name: ")), "{line}");
        let given = if separation == Commas { "(--x=instance,pod)" } else { "once per name (--x=instance --x=pod)" };
        assert!(line.contains(given) && line.contains(r#"(--x='"http.status"')"#), "{line}");
    }
    for separation in [Commas, Repeated] {
        for name in ["instance pod", "9a", "instance=", "a.b", "a-b", "a:b", "größe", "{a}", "'a'", "instance;pod"] {
            check(separation, name, name);
        }
        check(separation, r#"" a""#, " a");
        check(separation, "\"a\tb\"", "a\tb");
    }
    check(Repeated, "a,b", "a,b");
    check(Repeated, "a\nb", "a\nb");
    check(Repeated, r#"a"b"#, r#"a"b"#);
    let long = "x y".repeat(1000);
    assert!(refused("--x", label_names("--x", Commas, &[long])).len() < 500);
}

#[test]
fn one_label_name() {
    assert_eq!(label_name("--x", "_id".to_owned()).as_deref(), Ok("_id"));
    for text in ["", "a,b", "a b", "9", "a.b", "\"a\""] {
        let line = refused("--x", label_name("--x", text.to_owned()));
        assert!(line.contains(&format!("{text:?}")) && line.contains(LABEL_NAME), "{line}");
    }
}

#[test]
fn pairs_of_labels() {
    fn check(occurrences: &[&str], expected: &[(&str, &str)]) {
        assert_eq!(label_pairs("--x", &typed(occurrences), &["_id"]).unwrap(), pairs(expected), "{occurrences:?}");
    }
    check(&["a=1, b=x=y", " c="], &[("a", "1"), ("b", "x=y"), ("c", "")]);
    check(&[" a = 1 ,\nb=\t2\n,"], &[("a", "1"), ("b", "2")]);
    check(&[r#""a=1,2 ", b=a value"#], &[("a", "1,2 "), ("b", "a value")]);
    fn fails(occurrence: &str, hint: &str) {
        let line = refused("--x", label_pairs("--x", &typed(&["z=1", occurrence]), &["_id"]));
        assert!(line.contains(hint), "{line}");
    }
    fails("a", r#"has "a", which is not NAME=VALUE (--x=region=eu)"#);
    fails("b c", r#"has "b c", which is not NAME=VALUE"#);
    fails("=1", r#"has "=1", and "" is no label name"#);
    fails("a b=1", r#"has "a b=1", and "a b" is no label name"#);
    fails("1a=b", "no label name");
    fails("a.b=1", "no label name");
    fails(r#""a =1""#, "no label name");
    fails(" _id=x", "must not set _id");
    fails("a=1,a=1", "names a twice");
    fails("z=2", "names z twice");
}

#[test]
fn renames_of_metrics() {
    fn check(occurrences: &[&str], expected: &[(&str, &str)]) {
        assert_eq!(renames("--x", &typed(occurrences), "ALERTS=alerts").unwrap(), pairs(expected), "{occurrences:?}");
    }
    check(&["a=b, job:c = d"], &[("a", "b"), ("job:c", "d")]);
    check(&[r#""a.b=c,d""#], &[("a.b", "c,d")]);
    check(&[], &[("ALERTS", "alerts")]);
    check(&[" "], &[("ALERTS", "alerts")]);
    check(&[","], &[]);
    fn fails(occurrence: &str, hint: &str) {
        let line = refused("--x", renames("--x", &typed(&["z=y", occurrence]), "ALERTS=alerts"));
        assert!(line.contains(hint), "{line}");
    }
    for bad in ["a", "a=", "=a", "a=b=c", "a b=c", "a.b=c", "a=b c"] {
        fails(bad, &format!("has {bad:?}, which is not OLD=NEW, two metric names (--x=ALERTS=alerts)"));
    }
    fails(r#""a =b""#, "OLD=NEW");
    fails("z=x", "renames z twice");
}

#[test]
fn selectors_one_by_one() {
    assert_eq!(selectors(&typed(&[" up\n", "", " \t", r#"{a="1",b="2"}"#])), ["up", r#"{a="1",b="2"}"#]);
}
