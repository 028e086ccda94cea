//! Fuzz targets: properties that hold for every file of rules and for all metrics. For tests and for the programs below
//! `fuzz/`; not part of a normal build.

use crate::{ClientChanges, RuleFile, SourcePosition, by_rules, by_series, check, explain, export, report};

/// Parses a file of rules in each form: positions are in the file, and each rule, written on a line of its own, is parsed
/// the same. The input is the file and, after a NUL, metrics: those that are kept are those that the rules select.
pub fn rule_file(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (file, metrics) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(text) = std::str::from_utf8(file) else { return };
    for name in ["f", "f.yaml"] {
        let file = RuleFile::parse(name, text);
        let last = text.matches('\n').count() + 1;
        let check_position = |position: SourcePosition| {
            assert!((1..=last).contains(&position.line), "{position:?} in {text:?}");
            // The column may be one more than the last character, and yet one more where a line ends with CR and LF.
            let columns = file.line(position.line).chars().count() + 2;
            assert!((1..=columns).contains(&position.column), "{position:?} in {text:?}");
        };
        file.rules.iter().for_each(|rule| check_position(rule.position));
        file.faults.iter().for_each(|fault| check_position(fault.position));
        for remark in check(std::slice::from_ref(&file), true) {
            check_position(remark.position);
        }
        let selectors = file.selectors();
        let lines: String = selectors.iter().map(|selector| format!("{selector}\n")).collect();
        let again = RuleFile::parse("lines", &lines);
        assert!(again.faults.is_empty(), "{lines}: {:?}", again.faults);
        assert_eq!(again.selectors(), selectors, "{lines}");
        let changes = ClientChanges::default();
        let _ = by_rules(&file, &again, &changes);
        let _ = export(&file, &changes);
        if let Ok(explained) = explain(&file, metrics, &changes) {
            for series in explained {
                assert!(series.becomes.is_some() || !series.reason.is_empty(), "{series:?}");
            }
            assert!(report(metrics, "").is_ok());
            let difference = by_series(&file, &again, metrics, &changes).expect("they were read before");
            assert!(difference.accepted <= difference.sent && difference.sent <= difference.series, "{difference:?}");
        }
    }
}

/// Each target: its name, its function, and its seeds.
#[expect(clippy::type_complexity)]
pub fn targets() -> Vec<(&'static str, fn(&[u8]), Vec<Vec<u8>>)> {
    vec![("rule_file", rule_file, SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect())]
}

const SEEDS: [&str; 11] = [
    "up\n# a comment\n{__name__=\"a\",b=~\"c|d\"}\n\0up 1\na{b=\"c\"} 2\n",
    "telemeter-client --id x \\\n  --match='{a=\"b\"}' \\\n --whitelist \"up\" --limit-bytes=1\n\0up{a=\"b\"} 1\n",
    "matches:\n- '{__name__=\"it''s\"}'\n- \"{a=\\\"b\\\"}\"\n- |-\n  up\n",
    "data:\n  metrics.yaml: |-\n    matches:\n      - 'up'\n",
    "{\"matches\":\n[\"{a=\\\"b\\\"}\"]}",
    "params:\n  match[]:\n  - >-\n    {a=\"b\",\n    c=\"d\"}\n",
    "containers:\n- args: [--match=up, --match, 'down', \"--whitelist={a='b'}\"]\n",
    "a: &x up\nmatches: [*x]\n--- \nmatches: !!str up\n",
    "\u{feff}{job=a}\r\nup{\r\n{\u{e9}=\"x\"}",
    "--id=x\n--match=\"{a=\\\"\\$x\\\"}\"\n",
    "--match='{a=\"x  --match=b\"}' \\\n",
];

#[cfg(test)]
mod tests {
    use telemeter_test_support::fuzz_targets::{check_damaged, check_prefixes};

    use super::*;

    #[test]
    fn the_properties_hold_for_prefixes_of_the_seeds() {
        check_prefixes(&targets());
    }

    #[test]
    fn the_properties_hold_for_damaged_seeds() {
        check_damaged(&targets());
    }

    #[test]
    fn each_seed_has_rules() {
        let rules = |seed: &str| RuleFile::parse("f", seed.split('\0').next().unwrap_or_default()).rules.len();
        assert_eq!(SEEDS.map(rules), [2, 2, 3, 1, 1, 1, 3, 1, 0, 1, 1]);
    }
}
