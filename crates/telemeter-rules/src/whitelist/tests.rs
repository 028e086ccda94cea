//! Compares the whitelist with its selectors tried one by one, and counts the values that it tests.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::matcher::take_evaluations;

/// Rules as operators write them.
const RULES: &str = r#"
# exact names
{__name__="up"}
cluster_version{type="current"}
{__name__="ALERTS",alertstate="firing",severity=~"critical|warning|info|none"}
{__name__="cnv_abnormal", reason=~"memory_a|memory_b"}
# names by expression
{__name__=~"cluster:usage:.*"}
{__name__=~"(?:rhacs|acs):.+"}
{__name__=~".*_total",job!=""}
{__name__=~"count:up[01]"}
# no name
{job="billing"}
"#;

fn labels<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<Label<'a>> {
    pairs.iter().map(|&(name, value)| Label::new(name, value)).collect()
}

#[test]
fn rules_in_use() {
    let whitelist = Whitelist::parse_lines(RULES).unwrap();
    assert_eq!(whitelist.len(), 9);
    let check = |pairs: &[(&str, &str)], expected: Option<usize>| {
        let labels = labels(pairs);
        assert_eq!(whitelist.rule_for(&labels), expected, "{pairs:?}");
        assert_eq!(whitelist.allows(&labels), expected.is_some(), "{pairs:?}");
    };
    check(&[("__name__", "up")], Some(0));
    check(&[("__name__", "up"), ("job", "billing")], Some(0));
    check(&[("__name__", "upp")], None);
    check(&[("__name__", "cluster_version"), ("type", "current")], Some(1));
    check(&[("__name__", "cluster_version"), ("type", "initial")], None);
    check(&[("__name__", "cluster_version")], None);
    check(&[("__name__", "ALERTS"), ("alertstate", "firing"), ("severity", "info")], Some(2));
    check(&[("__name__", "ALERTS"), ("alertstate", "pending"), ("severity", "info")], None);
    check(&[("__name__", "cnv_abnormal"), ("reason", "memory_b")], Some(3));
    check(&[("__name__", "cluster:usage:")], Some(4));
    check(&[("__name__", "cluster:usage:a\nb")], Some(4));
    check(&[("__name__", "cluster:usage")], None);
    check(&[("__name__", "acs:x")], Some(5));
    check(&[("__name__", "acs:")], None);
    check(&[("__name__", "http_total"), ("job", "x")], Some(6));
    check(&[("__name__", "http_total")], None);
    check(&[("__name__", "count:up1")], Some(7));
    check(&[("__name__", "count:up2")], None);
    check(&[("__name__", "whatever"), ("job", "billing")], Some(8));
    check(&[("job", "billing")], Some(8));
    check(&[("job", "sales")], None);
    check(&[], None);
}

#[test]
fn without_rules_everything_passes() {
    let whitelist = Whitelist::parse_lines("# none\n").unwrap();
    assert!(whitelist.is_empty());
    assert!(whitelist.allows(&[]));
    assert!(whitelist.allows(&labels(&[("__name__", "up")])));
    assert_eq!(whitelist.by_name("up"), NameVerdict::Always);
    assert_eq!(whitelist.rule_for(&[]), None);
}

#[test]
fn verdicts_by_name() {
    let check = |rules: &str, name: &str, expected| {
        assert_eq!(Whitelist::parse_lines(rules).unwrap().by_name(name), expected, "{rules} and {name}");
    };
    check("up", "up", NameVerdict::Always);
    check("up", "down", NameVerdict::Never);
    check(r#"up{a="b"}"#, "up", NameVerdict::Depends);
    check(r#"up{a="b"}"#, "down", NameVerdict::Never);
    check("up{a=\"b\"}\nup", "up", NameVerdict::Always);
    check(r#"up{a=~".*"}"#, "up", NameVerdict::Always);
    check("{__name__=~\"u.*\"}\nup{a=\"b\"}", "up", NameVerdict::Always);
    check(r#"{__name__=~"u.+"}"#, "u", NameVerdict::Never);
    check(r#"{__name__=~"u.+"}"#, "up", NameVerdict::Always);
    check(r#"{__name__=~".*p"}"#, "up", NameVerdict::Always);
    check(r#"{__name__=~".+up"}"#, "up", NameVerdict::Never);
    check(r#"{__name__=~"(?i)UP"}"#, "up", NameVerdict::Always);
    check(r#"{__name__=~"(?i)UP",a="b"}"#, "up", NameVerdict::Depends);
    check("{}", "up", NameVerdict::Always);
    check(r#"{__name__!="up"}"#, "up", NameVerdict::Never);
    check(r#"{__name__!="up"}"#, "down", NameVerdict::Always);
    check(r#"{__name__=~".+"}"#, "", NameVerdict::Never);
    check(r#"{a="b"}"#, "up", NameVerdict::Depends);
    check(r#"up{__name__="down"}"#, "up", NameVerdict::Never);
    check("up\n{a=\"b\"}", "up", NameVerdict::Always);
    check(r#"{__name__=~"up|"}"#, "", NameVerdict::Always);
}

#[test]
fn many_rules_cost_what_few_do() {
    let series = [
        labels(&[("__name__", "cluster_version"), ("job", "operator"), ("type", "current")]),
        labels(&[("__name__", "up"), ("job", "node"), ("instance", "i-1")]),
        labels(&[("__name__", "cluster:usage:resources:sum"), ("resource", "pods")]),
    ];
    let cost = |rule: &dyn Fn(usize) -> String, count: usize, expected: bool| {
        let mut rules: Vec<_> = (0..count).map(rule).collect();
        if expected {
            rules.push("{__name__=~\"(?i)up|CLUSTER.*\"}".to_owned());
        }
        let whitelist = Whitelist::parse_lines(&rules.join("\n")).unwrap();
        assert_eq!(whitelist.len(), rules.len());
        take_evaluations();
        for labels in &series {
            assert_eq!(whitelist.allows(labels), expected, "{labels:?}");
        }
        take_evaluations()
    };
    let compare = |rule: &dyn Fn(usize) -> String, count: usize| {
        let (few, many) = (cost(rule, 20, false), cost(rule, count, false));
        assert!(many <= few, "{}: {few} for 20 and {many} for {count}", rule(1));
        assert!(few <= 2 * series.len(), "{}: {few}", rule(1));
        let (few, many) = (cost(rule, 20, true), cost(rule, 200, true));
        // A rule that matches is found among the others by descending the tree.
        assert!(many <= few + 32 * series.len(), "{}: {few} for 20 and {many} for 200", rule(1));
    };
    let check = |rule: &dyn Fn(usize) -> String| compare(rule, 2000);
    check(&|n| format!("cluster_version_{n}"));
    check(&|n| format!("{{__name__=~\"cluster_{n}_.*\"}}"));
    check(&|n| format!("{{__name__=~\"cluster_{n}_.*_sum\",a=\"b\"}}"));
    check(&|n| format!("{{__name__=~\".*_{n}\"}}"));
    check(&|n| format!("{{__name__=~\"one_{n}|two_{n}\"}}"));
    check(&|n| format!("up{{job=\"node-{n}\"}}"));
    check(&|n| format!("up{{job=\"node\",instance=\"{n}\"}}"));
    check(&|n| format!("up{{instance=~\"{n}.*\"}}"));
    check(&|n| format!("{{__name__=~\"cluster.*\",job=\"node-{n}\"}}"));
    check(&|n| format!("{{job=\"node-{n}\"}}"));
    check(&|n| format!("{{job=~\"node-{n}-.*\"}}"));
    check(&|n| format!("{{label_{n}!=\"\"}}"));
    check(&|n| format!("{{__name__!=\"up\",job=~\"a{n}|b{n}\"}}"));
    // Joined expressions: fewer rules, because compiling many takes long without optimization.
    let check = |rule: &dyn Fn(usize) -> String| compare(rule, 400);
    check(&|n| format!("{{__name__=~\"(cluster|up)_.+_{n}\"}}"));
    check(&|n| format!("{{__name__=~\".*_{n}_.*\"}}"));
    check(&|n| format!("{{__name__=~\"cluster.*_{n}_.*\"}}"));
    check(&|n| format!("up{{job=~\"(?i)node-{n}\"}}"));
}

#[test]
fn a_duplicate_rule_is_tested_once() {
    let whitelist = Whitelist::parse_lines(&"up{a!=\"b\",c=\"d\"}\nup{c=\"d\",a!=\"b\"}\n".repeat(50)).unwrap();
    assert_eq!(whitelist.len(), 100);
    take_evaluations();
    assert!(!whitelist.allows(&labels(&[("__name__", "up")])));
    assert!(take_evaluations() <= 2);
}

#[test]
fn rules_that_cannot_hold_are_left_out() {
    let whitelist = Whitelist::parse_lines(r#"up{__name__=~"d.*"}"#).unwrap();
    take_evaluations();
    assert!(!whitelist.allows(&labels(&[("__name__", "up")])));
    assert_eq!(take_evaluations(), 0);
}

/// Matchers of every kind over few letters, so that they often match.
fn matcher() -> impl Strategy<Value = String> {
    let name = proptest::sample::select(vec!["__name__", "__name__", "__name__", "a", "b", "c"]);
    let op = proptest::sample::select(vec!["=", "=~", "=~", "!=", "!~"]);
    let atom = proptest::sample::select(vec![
        "a",
        "b",
        "ab",
        "ba",
        "",
        "a|b",
        "|a",
        "a.*",
        "a.+",
        ".*b",
        ".*",
        ".+",
        "(a|b)c",
        "(a|b)a.*",
        "a.*b",
        "[ab]+",
        "(?i)A",
        "(?i)a.*",
        "a?b",
        "^a",
        "b$",
        "^(ab|ba)$",
        ".*a.*",
        "(ab)+",
        "a{2}",
        "[^a]*",
        "b*",
        "(?-s)a.*",
        "\\\\w+c",
    ]);
    let value = proptest::collection::vec(atom, 1..3).prop_map(|atoms| atoms.concat());
    (name, op, value).prop_map(|(name, op, value)| format!("{name}{op}\"{value}\""))
}

fn selector() -> impl Strategy<Value = String> {
    proptest::collection::vec(matcher(), 0..4).prop_map(|matchers| format!("{{{}}}", matchers.join(",")))
}

/// A rule that few series match, so that it has to be found by its labels.
fn narrow_selector() -> impl Strategy<Value = String> {
    let name = proptest::sample::select(vec!["", "", "__name__=\"a\",", "__name__=~\"a.*\",", "__name__=~\".*b\","]);
    let label = proptest::sample::select(vec!["a", "b", "c"]);
    let condition = proptest::sample::select(vec![
        "=\"ab\"",
        "=\"\"",
        "!=\"\"",
        "=~\"ac|ba\"",
        "=~\"aa|\"",
        "=~\"ab.*\"",
        "=~\".*ab\"",
        "=~\"a.*c|b.+a\"",
        "=~\"[ab]+ac\"",
        "=~\"(?i)bA\"",
        "=~\"(?i)cc*\"",
        "=~\"(ca)*\"",
        "=~\".+\"",
        "!~\"a.*|b.*|c.*\"",
        "!=\"b\"",
    ]);
    let matcher = (label, condition).prop_map(|(label, condition)| format!("{label}{condition}"));
    let matchers = proptest::collection::vec(matcher, 1..4).prop_map(|matchers| matchers.join(","));
    (name, matchers).prop_map(|(name, matchers)| format!("{{{name}{matchers}}}"))
}

fn value() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(vec!['a', 'b', 'c', 'A', '\n', '\u{e9}']), 1..5)
        .prop_map(|chars| chars.into_iter().collect())
}

/// Canonical: sorted, each name once, no empty value.
fn label_set() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let label = |name| proptest::option::weighted(0.7, value()).prop_map(move |value| Some((name, value?)));
    (proptest::option::weighted(0.9, value()), label("a"), label("b"), label("c"))
        .prop_map(|(name, a, b, c)| [name.map(|value| ("__name__", value)), a, b, c].into_iter().flatten().collect())
}

/// Compares the whitelist with its selectors: all together, and few at a time, so that no rule hides another.
fn agrees(rules: &[String], sets: &[Vec<(&'static str, String)>]) -> Result<(), TestCaseError> {
    let selectors: Vec<_> = rules.iter().map(|rule| Selector::parse(rule).unwrap()).collect();
    for selectors in [3, 6, 40].into_iter().flat_map(|size| selectors.chunks(size)) {
        let whitelist = Whitelist::new(selectors.to_vec());
        for set in sets {
            let labels: Vec<_> = set.iter().map(|(name, value)| Label::new(name, value)).collect();
            let expected = selectors.iter().any(|selector| selector.matches(&labels));
            prop_assert_eq!(whitelist.allows(&labels), expected, "{:?} {:?}", &selectors, set);
            prop_assert_eq!(whitelist.rule_for(&labels).is_some(), expected);
            match whitelist.by_name(value_of(&labels, NAME_LABEL)) {
                NameVerdict::Always => prop_assert!(expected, "{:?} {:?}", &selectors, set),
                NameVerdict::Never => prop_assert!(!expected, "{:?} {:?}", &selectors, set),
                NameVerdict::Depends => {}
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn agrees_with_the_rules_one_by_one(
        rules in proptest::collection::vec(selector(), 1..40),
        sets in proptest::collection::vec(label_set(), 1..30),
    ) {
        agrees(&rules, &sets)?;
    }

    #[test]
    fn agrees_where_labels_lead_to_the_rules(
        rules in proptest::collection::vec(narrow_selector(), 1..20),
        sets in proptest::collection::vec(label_set(), 1..60),
    ) {
        agrees(&rules, &sets)?;
    }

    /// The short cuts of matchers have the same result as the whole expression.
    #[test]
    fn short_cuts_agree_with_the_expression(matcher in matcher(), values in proptest::collection::vec(value(), 1..20)) {
        let selector = Selector::parse(&format!("{{{matcher}}}")).unwrap();
        let matcher = &selector.matchers()[0];
        if matches!(matcher.op(), crate::Op::Matches | crate::Op::NotMatches) {
            // The only Perl class in the samples, as Go defines it.
            let expression = matcher.value().replace(r"\w", "[0-9A-Za-z_]");
            let regex = regex::Regex::new(&format!(r"\A(?s:{expression})\z")).unwrap();
            for value in values.iter().map(String::as_str).chain([""]) {
                let expected = regex.is_match(value) == (matcher.op() == crate::Op::Matches);
                prop_assert_eq!(matcher.matches_value(value), expected, "{} and {:?}", matcher, value);
            }
        }
    }
}
