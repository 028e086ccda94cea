//! On random rules and series: explanations agree with the whitelist, and the comparison of two lists by their rules agrees
//! with the comparison by series.

use proptest::prelude::*;
use telemeter_policy::{ClientChanges, RuleFile, ServerCoverage, by_rules, by_series, explain};
use telemeter_rules::Whitelist;
use telemeter_wire::{Arena, DecodeLimits, SeriesSet, exposition::text};

/// A list of rules, one per line.
fn rules() -> impl Strategy<Value = String> {
    let name = prop::sample::select(
        &["a", "{__name__=~\"a.*\"", "{__name__=~\"b|ALERTS\"", "ALERTS", "alerts", "{__name__!=\"a\""][..],
    );
    let matcher = prop::sample::select(
        &[
            "",
            "x=\"1\"",
            "x!=\"1\"",
            "x=~\"1|2\"",
            "x!~\"1.*\"",
            "x=\"\"",
            "y=~\".+\"",
            "y=\"1\"",
            "r=\"eu\"",
            "r=\"us\"",
        ][..],
    );
    let rule = (name, matcher).prop_map(|(name, matcher)| match name.starts_with('{') {
        true if matcher.is_empty() => format!("{name}}}"),
        true => format!("{name},{matcher}}}"),
        false => format!("{name}{{{matcher}}}"),
    });
    prop::collection::vec(rule, 1..6).prop_map(|rules| rules.join("\n"))
}

/// Metrics in the text format; duplicates are harmless here.
fn metrics() -> impl Strategy<Value = String> {
    let value = || prop::sample::select(&["", "1", "2", "11"][..]);
    let series = (prop::sample::select(&["a", "ab", "b", "ALERTS", "alerts", "c"][..]), value(), value())
        .prop_map(|(name, x, y)| format!("{name}{{x=\"{x}\",y=\"{y}\"}} 1\n"));
    prop::collection::vec(series, 1..25).prop_map(|series| series.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn explanations_agree_with_the_whitelist(rules in rules(), metrics in metrics()) {
        let file = RuleFile::parse("rules", &rules);
        prop_assert!(file.faults.is_empty(), "{:?}", file.faults);
        let explained = explain(&file, metrics.as_bytes(), &ClientChanges::default()).expect("metrics");
        let whitelist = Whitelist::parse_lines(&rules).expect("rules");
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        text::decode(metrics.as_bytes(), &DecodeLimits::default(), &mut set).expect("metrics");
        prop_assert_eq!(explained.len(), set.len());
        for (series, explained) in set.iter().zip(&explained) {
            prop_assert_eq!(explained.becomes.is_some(), whitelist.allows(series.labels), "{:?}", explained);
            prop_assert_eq!(explained.reason.is_empty(), explained.becomes.is_some(), "{:?}", explained);
            if explained.becomes.is_some() {
                prop_assert_eq!(explained.rule, whitelist.rule_for(series.labels), "{:?}", explained);
            }
        }
    }

    #[test]
    fn the_comparison_by_rules_agrees_with_the_comparison_by_series(client in rules(), server in rules(), metrics in metrics()) {
        let changes = ClientChanges {
            labels: vec![("r".to_owned(), "eu".to_owned())],
            renames: vec![("ALERTS".to_owned(), "alerts".to_owned())],
            ..ClientChanges::default()
        };
        let (client, server) = (RuleFile::parse("client", &client), RuleFile::parse("server", &server));
        for rule in 0..client.rules.len() {
            let mut one = client.clone();
            one.rules = vec![client.rules[rule].clone()];
            let coverage = &by_rules(&client, &server, &changes).rules[rule];
            let found = by_series(&one, &server, metrics.as_bytes(), &changes).expect("metrics");
            match coverage {
                ServerCoverage::All => prop_assert_eq!(found.accepted, found.sent, "{:?}", one.rules),
                ServerCoverage::Nothing { .. } => prop_assert_eq!(found.accepted, 0, "{:?}", one.rules),
                ServerCoverage::Some { .. } => {}
            }
        }
        for rule in by_rules(&client, &server, &changes).unreached {
            let mut one = server.clone();
            one.rules = vec![server.rules[rule].clone()];
            let found = by_series(&client, &one, metrics.as_bytes(), &changes).expect("metrics");
            prop_assert_eq!(found.accepted, 0, "{:?}", one.rules);
        }
    }
}
