//! Compares the translated whitelist with the whitelist itself, under a model of relabelling.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{RelabelAction, RelabelConfig, RelabelSteps, configs};
use crate::{
    Selector, Whitelist, go_regex,
    policy::tests::{labels, selector, series},
};

type TestLabels = BTreeMap<String, String>;

/// Relabelling as in Prometheus: an absent label is empty, values are joined by `;`, an expression has to match the whole
/// value, and an empty result removes the label.
fn relabel(configs: &[RelabelConfig], mut labels: TestLabels) -> Option<TestLabels> {
    for config in configs {
        let regex = go_regex::compile(config.regex.as_deref().unwrap_or("(.*)")).expect("an expression");
        let values: Vec<&str> =
            config.source_labels.iter().map(|name| labels.get(name).map_or("", String::as_str)).collect();
        let joined = values.join(";");
        match &config.action {
            RelabelAction::Keep if !regex.is_match(&joined) => return None,
            RelabelAction::Keep => {}
            RelabelAction::LabelDrop => labels.retain(|name, _| !regex.is_match(name)),
            RelabelAction::Replace { target_label, replacement } if regex.is_match(&joined) => {
                let value = match replacement.as_str() {
                    // The only reference to a group that is used.
                    "$1" => joined.clone(),
                    text => text.replace("$$", "$"),
                };
                if value.is_empty() {
                    labels.remove(target_label)
                } else {
                    labels.insert(target_label.clone(), value)
                };
            }
            RelabelAction::Replace { .. } => {}
        }
    }
    Some(labels)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn relabelling_keeps_what_the_whitelist_allows(rules in prop::collection::vec(selector(), 1..6), all in prop::collection::vec(series(), 30)) {
        let (configs, inexpressible) = configs(&RelabelSteps { selectors: &rules, ..RelabelSteps::default() });
        prop_assert!(inexpressible.is_empty());
        let whitelist = Whitelist::new(rules.clone());
        for series in &all {
            let expected = whitelist.allows(&labels(series)).then(|| series.clone());
            prop_assert_eq!(relabel(&configs, series.clone()), expected, "{:?}", rules.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

#[test]
fn the_steps_after_the_rules_are_in_order() {
    let rules = Selector::parse_lines("ALERTS\na\nb").expect("rules");
    let check = |renames: &[(&str, &str)], series: &[(&str, &str)], expected: &[(&str, &str)]| {
        let (renames, elided) = (pairs(renames), ["replica".to_owned()]);
        let (set, identity) = (pairs(&[("region", "e$u"), ("gone", "")]), pairs(&[("_id", "c$1")]));
        let steps = RelabelSteps {
            selectors: &rules,
            renames: &renames,
            labels: &set,
            elided: &elided,
            identity: &identity,
            ..RelabelSteps::default()
        };
        let changed = relabel(&configs(&steps).0, pairs(series).into_iter().collect());
        let expected = pairs(expected).into_iter().chain(pairs(&[("region", "e$u"), ("_id", "c$1")])).collect();
        assert_eq!(changed, Some(expected), "{series:?}");
    };
    check(&[("ALERTS", "alerts")], &[("__name__", "ALERTS"), ("replica", "r")], &[("__name__", "alerts")]);
    check(&[("a", "b"), ("b", "a")], &[("__name__", "a"), ("gone", "x"), ("_id", "forged")], &[("__name__", "b")]);
    check(&[("a", "b"), ("b", "a")], &[("__name__", "b"), ("replicas", "2")], &[("__name__", "a"), ("replicas", "2")]);
    check(&[("a", "b"), ("b", "a")], &[("__name__", "ALERTS")], &[("__name__", "ALERTS")]);
    check(&[("a", "b"), ("b", "c")], &[("__name__", "a")], &[("__name__", "b")]);
}

#[test]
fn rules_that_relabelling_cannot_express_are_returned() {
    let rules = Selector::parse_lines("a\n{\"http.status\"=\"200\"}\nb{c=\"d\",c=\"e\"}").expect("rules");
    let (configs, inexpressible) = configs(&RelabelSteps { selectors: &rules, ..RelabelSteps::default() });
    assert_eq!(inexpressible.iter().map(|one| one.rule).collect::<Vec<_>>(), [1]);
    assert!(inexpressible[0].reason.contains("http.status"), "{inexpressible:?}");
    // The last rule selects nothing.
    assert_eq!(configs.len(), 3, "{configs:?}");
}

#[test]
fn yaml_keeps_every_character() {
    let check = |text: &str, expected: &str| assert_eq!(super::yaml(text), expected);
    check("a|b", "'a|b'");
    check("it's", "'it''s'");
    check("a\\.b", "'a\\.b'");
    check("a\nb\"\\", "\"a\\x0ab\\\"\\\\\"");
    check("\u{2028}", "\"\\u2028\"");
    check("caf\u{e9}", "'caf\u{e9}'");
}
