//! Checks statements about all series against random series.

use std::collections::BTreeMap;

use proptest::prelude::*;
use telemeter_wire::Label;

use super::{
    NormalizedSelector,
    findings::{RuleFinding, findings},
    nearest::NearestRules,
};
use crate::{Selector, Whitelist};

pub(super) const VALUES: [&str; 12] = ["", "a", "ab", "abc", "b", "ba", "a;b", "a\nb", "1-1", "no", "a.b", "caf\u{e9}"];
const LABELS: [&str; 4] = ["__name__", "x", "y", "z"];

/// Matchers of all kinds on few labels and values, so that they often concern the same series.
fn matcher() -> impl Strategy<Value = String> {
    let value = prop::sample::select(&VALUES[..]);
    let plain = value.prop_map(|value| value.replace('\n', "\\n"));
    let expression = prop::sample::select(
        &[
            "",
            ".*",
            ".+",
            "a",
            "a.*",
            "a.+",
            ".*b",
            ".+b",
            "ab.*",
            "a|b",
            "a|ab|",
            "(a|b).*",
            ".*(a|b)",
            "(?i)A",
            "a.b",
            "a;.*",
            ".*;b",
            "[ab]+",
            "^a$",
            "^ab?|^b",
            "a\\\\b.*",
            "\\\\Ba",
            "(?-s)a.b",
            "a\\\\.b",
            "b?",
            "(?:a|b)(?:b|c)?",
            "(?s:.*)a",
            "1-1.*",
            "n.*",
        ][..],
    );
    let op = prop::sample::select(&["=", "!="][..]);
    let regex_op = prop::sample::select(&["=~", "!~"][..]);
    let label = prop::sample::select(&LABELS[..]);
    prop_oneof![
        (label.clone(), op, plain).prop_map(|(label, op, value)| format!("{label}{op}\"{value}\"")),
        (label, regex_op, expression).prop_map(|(label, op, value)| format!("{label}{op}\"{value}\"")),
    ]
}

pub(super) fn selector() -> impl Strategy<Value = Selector> {
    prop::collection::vec(matcher(), 0..4)
        .prop_map(|matchers| Selector::parse(&format!("{{{}}}", matchers.join(","))).expect("a selector"))
}

/// Random labels; a label with an empty value is left out.
pub(super) fn series() -> impl Strategy<Value = BTreeMap<String, String>> {
    let value = || prop::sample::select(&VALUES[..]);
    (prop::sample::select(&VALUES[1..]), value(), value(), value()).prop_map(|(name, x, y, z)| {
        let labels = LABELS.into_iter().zip([name, x, y, z]).filter(|(_, value)| !value.is_empty());
        labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    })
}

pub(super) fn labels(series: &BTreeMap<String, String>) -> Vec<Label<'_>> {
    series.iter().map(|(name, value)| Label::new(name, value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn statements_about_two_rules_hold_for_every_series(one in selector(), other in selector(), all in prop::collection::vec(series(), 40)) {
        let (a, b) = (NormalizedSelector::of(&one), NormalizedSelector::of(&other));
        for series in &all {
            let labels = labels(series);
            let (by_one, by_other) = (one.matches(&labels), other.matches(&labels));
            prop_assert!(!(a.covers(&b) && by_other && !by_one), "{one} covers {other}, but {series:?}");
            prop_assert!(!(a.is_disjoint(&b) && by_one && by_other), "{one} and {other} share {series:?}");
            prop_assert!(!(a == b && by_one != by_other), "{one} is {other}, but {series:?}");
            prop_assert!(!(a.never().is_some() && by_one), "{one} selects {series:?}");
            prop_assert!(!(a.is_nameless() && by_one), "{one} selects {series:?}");
        }
        prop_assert_eq!(a.selects_empty(), one.matches(&[]));
    }

    #[test]
    fn a_list_without_its_findings_selects_the_same(rules in prop::collection::vec(selector(), 1..7), all in prop::collection::vec(series(), 40)) {
        let found = findings(&rules);
        let needless = |rule: usize| found.iter().any(|(index, finding)| *index == rule && matches!(
            finding, RuleFinding::Duplicate { .. } | RuleFinding::Covered { .. } | RuleFinding::Never { .. } | RuleFinding::Nameless));
        let left: Vec<Selector> =
            rules.iter().enumerate().filter(|(index, _)| !needless(*index)).map(|(_, rule)| rule.clone()).collect();
        for series in &all {
            let labels = labels(series);
            let selects = |rules: &[Selector]| rules.iter().any(|rule| rule.matches(&labels));
            prop_assert_eq!(selects(&left), selects(&rules), "{:?} {:?}", series, found);
        }
    }

    #[test]
    fn a_nearest_rule_is_found_only_for_what_is_dropped(rules in prop::collection::vec(selector(), 1..7), all in prop::collection::vec(series(), 10)) {
        let whitelist = Whitelist::new(rules.clone());
        let mut nearest = NearestRules::new(&rules);
        for series in &all {
            let labels = labels(series);
            let found = nearest.nearest(&labels);
            prop_assert_eq!(whitelist.allows(&labels), whitelist.rule_for(&labels).is_some());
            let Some(found) = found else { continue };
            prop_assert!(!whitelist.allows(&labels));
            prop_assert!(!found.misses.is_empty());
            for miss in &found.misses {
                prop_assert!(!miss.matcher.matches(&labels));
                prop_assert!(rules[found.rule].matchers().contains(&miss.matcher));
            }
        }
    }
}

fn normal(text: &str) -> NormalizedSelector {
    NormalizedSelector::of(&Selector::parse(text).expect(text))
}

#[test]
fn two_spellings_of_one_rule_are_equal() {
    for (one, other) in [
        (r#"{__name__="a",b="c"}"#, r#"a{b='c'}"#),
        (r#"{b="c",__name__="a"}"#, r#"{__name__="a", b="c"}"#),
        (r#"{__name__=~"a"}"#, "a"),
        (r#"{__name__=~"a|b"}"#, r#"{__name__=~"(b|a)"}"#),
        (r#"{a=~".+"}"#, r#"{a!=""}"#),
        (r#"{a!~".+"}"#, r#"{a=""}"#),
        (r#"{a=~".*",b="c"}"#, r#"{b="c"}"#),
        (r#"{a=~"^b.*$"}"#, r#"{a=~"b.*"}"#),
        (r#"{a!="b",a!="c"}"#, r#"{a!~"c|b"}"#),
        (r#"{a=~"b.+",a!=""}"#, r#"{a=~"b.+"}"#),
        (r#"{a="b",a!="c"}"#, r#"{a="b"}"#),
    ] {
        assert_eq!(normal(one), normal(other), "{one} and {other}");
    }
    for (one, other) in
        [("a", "b"), (r#"{a=~"b.*"}"#, r#"{a=~"b.+"}"#), (r#"a{b="c"}"#, "a"), (r#"{a="b"}"#, r#"{c="b"}"#)]
    {
        assert_ne!(normal(one), normal(other), "{one} and {other}");
    }
}

#[test]
fn some_rules_cover_others() {
    for (wide, narrow) in [
        ("a", r#"a{b="c"}"#),
        ("{}", "a"),
        (r#"{__name__=~"cluster:.*"}"#, "cluster:usage:sum"),
        (r#"{__name__=~"cluster:.*"}"#, r#"{__name__=~"cluster:usage:.*"}"#),
        (r#"{__name__=~"cluster:.+"}"#, r#"{__name__=~"cluster:usage:.*"}"#),
        (r#"{__name__=~".*:sum"}"#, r#"{__name__=~".*:rate:sum"}"#),
        (r#"{__name__=~"a.*"}"#, r#"{__name__=~"a[bc]d"}"#),
        (r#"{__name__=~"a|b"}"#, "a"),
        (r#"a{b!="c"}"#, r#"a{b="d"}"#),
        (r#"a{b!="c"}"#, r#"a{b=~"d.*"}"#),
        (r#"a{b!~"c.*"}"#, r#"a{b=~"d.*"}"#),
        (r#"a{b!~"cd.*"}"#, r#"a{b!~"c.*"}"#),
        (r#"a{b!="c"}"#, r#"a{b!~"c|d"}"#),
        (r#"a{b=~"(?i)c"}"#, r#"a{b=~"(?i)c",d="e"}"#),
    ] {
        assert!(normal(wide).covers(&normal(narrow)), "{wide} covers {narrow}");
        assert!(!normal(narrow).covers(&normal(wide)), "{narrow} does not cover {wide}");
    }
    for (one, other) in [
        ("a", "b"),
        (r#"{__name__=~"cluster:.*"}"#, "clusters"),
        (r#"a{b!="c"}"#, "a"),
        (r#"a{b!="c"}"#, r#"a{b=~"c.*"}"#),
        (r#"{__name__=~"a.+"}"#, r#"{__name__=~"a.*"}"#),
        (r#"a{b="c"}"#, r#"a{d="c"}"#),
    ] {
        assert!(!normal(one).covers(&normal(other)), "{one} does not cover {other}");
    }
}

#[test]
fn each_finding_is_reported_once_for_the_later_rule() {
    let check = |lines: &str, expected: &[(usize, RuleFinding)]| {
        let selectors = Selector::parse_lines(lines).expect(lines);
        assert_eq!(findings(&selectors), expected, "{lines}");
    };
    let plain =
        |matcher: &str, instead: &str| RuleFinding::PlainValue { matcher: matcher.into(), instead: instead.into() };
    check("a\nb\n{__name__=\"c\"}", &[]);
    check("a\nb\n{__name__=\"a\"}", &[(2, RuleFinding::Duplicate { of: 0 })]);
    check("a{b=\"c\"}\na", &[(0, RuleFinding::Covered { by: vec![1] })]);
    check("a\na{b=\"c\"}", &[(1, RuleFinding::Covered { by: vec![0] })]);
    let names = RuleFinding::PlainNames { matcher: "__name__=~\"a|b\"".into(), names: vec!["a".into(), "b".into()] };
    check("a\nb\n{__name__=~\"a|b\",c=\"d\"}", &[(2, RuleFinding::Covered { by: vec![0, 1] }), (2, names.clone())]);
    check("a{c=\"d\"}\n{__name__=~\"a|b\"}", &[(0, RuleFinding::Covered { by: vec![1] }), (1, names.clone())]);
    check("{__name__=~\"a|b\"}", &[(0, names)]);
    check("{__name__=~\"up\"}", &[(0, plain("__name__=~\"up\"", "__name__=\"up\""))]);
    check("a{b!~\"c\"}", &[(0, plain("b!~\"c\"", "b!=\"c\""))]);
    check("a{b=\"c\",b=\"d\"}", &[(0, RuleFinding::Never { label: "b".into() })]);
    check("a{b=~\"c.*\",b=~\"d.*\"}", &[(0, RuleFinding::Never { label: "b".into() })]);
    check("a{b!~\".*\"}", &[(0, RuleFinding::Never { label: "b".into() })]);
    check("{__name__=\"\",a=\"b\"}", &[(0, RuleFinding::Nameless)]);
    check("{a!=\"b\"}", &[(0, RuleFinding::SelectsEmpty)]);
    check("{}\n{a=~\".*\"}", &[(0, RuleFinding::SelectsEmpty), (1, RuleFinding::Duplicate { of: 0 })]);
}

#[test]
fn the_nearest_rule_is_the_one_with_the_fewest_misses() {
    let rules = Selector::parse_lines(
        "ALERTS{alertstate=\"firing\",severity=~\"critical|warning\"}\nALERTS{alertstate=\"firing\",team=\"a\",b=\"c\"}\n\
         cluster_version\n{__name__=~\"cluster:usage:.*\"}",
    )
    .expect("rules");
    let mut nearest = NearestRules::new(&rules);
    let mut check = |series: &[(&str, &str)], expected: Option<(usize, &[(&str, &str)])>| {
        let labels: Vec<Label<'_>> = series.iter().map(|(name, value)| Label::new(name, value)).collect();
        let found = nearest.nearest(&labels).map(|found| {
            (
                found.rule,
                found.misses.iter().map(|miss| (miss.matcher.to_string(), miss.value.clone())).collect::<Vec<_>>(),
            )
        });
        let expected = expected.map(|(rule, misses)| {
            (rule, misses.iter().map(|(m, v)| (m.to_string(), v.to_string())).collect::<Vec<_>>())
        });
        assert_eq!(found, expected, "{series:?}");
    };
    let severity = ("severity=~\"critical|warning\"", "info");
    check(&[("__name__", "ALERTS"), ("alertstate", "firing"), ("severity", "info")], Some((0, &[severity])));
    check(
        &[("__name__", "ALERTS"), ("alertstate", "firing"), ("severity", "info"), ("team", "a")],
        Some((0, &[severity])),
    );
    check(&[("__name__", "ALERTS"), ("alertstate", "firing"), ("severity", "critical")], None);
    check(&[("__name__", "cluster_versions")], Some((2, &[("__name__=\"cluster_version\"", "cluster_versions")])));
    check(&[("__name__", "cluster:usag:x")], Some((3, &[("__name__=~\"cluster:usage:.*\"", "cluster:usag:x")])));
    let name = "cluster:usage_x:and_much_more:sum";
    check(&[("__name__", name)], Some((3, &[("__name__=~\"cluster:usage:.*\"", name)])));
    check(&[("__name__", "something_else")], None);
}
