//! What holds whatever a file of rules, or metrics given by hand, hold. For tests, and for the programs below `fuzz/`: no part of a
//! normal build.

use crate::{ClientChanges, RuleFile, SourcePosition, by_rules, by_series, check, explain, export, report};

/// Rules in a file of each form: places are in the file, and each rule, written on a line of its own, is read the same. An
/// input is the file, and behind a NUL metrics to try it on: what is kept of them is what the rules select.
pub fn rule_file(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (file, metrics) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(text) = std::str::from_utf8(file) else { return };
    for name in ["f", "f.yaml"] {
        let file = RuleFile::parse(name, text);
        let last = text.matches('\n').count() + 1;
        let check_place = |place: SourcePosition| {
            assert!((1..=last).contains(&place.line), "{place:?} in {text:?}");
            // One behind the last character, and where a line ends by CR and LF, one more.
            assert!((1..=file.line(place.line).chars().count() + 2).contains(&place.column), "{place:?} in {text:?}");
        };
        file.rules.iter().for_each(|rule| check_place(rule.place));
        file.faults.iter().for_each(|fault| check_place(fault.place));
        for remark in check(std::slice::from_ref(&file), true) {
            check_place(remark.place);
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
            assert!(difference.taken <= difference.sent && difference.sent <= difference.series, "{difference:?}");
        }
    }
}

/// The target: its name, its check, and inputs to begin with.
#[expect(clippy::type_complexity)]
pub fn targets() -> Vec<(&'static str, fn(&[u8]), Vec<Vec<u8>>)> {
    vec![("rule_file", rule_file, SEEDS.iter().map(|seed| seed.as_bytes().to_vec()).collect())]
}

const SEEDS: [&str; 10] = [
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
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_and_what_they_begin_with_hold() {
        for (_, check, seeds) in targets() {
            for seed in seeds {
                (0..=seed.len()).for_each(|end| check(&seed[..end]));
            }
        }
        let rules = |seed: &str| RuleFile::parse("f", seed.split('\0').next().unwrap_or_default()).rules.len();
        assert_eq!(SEEDS.map(rules), [2, 2, 3, 1, 1, 1, 3, 1, 0, 1]);
    }
}
