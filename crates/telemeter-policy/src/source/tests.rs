//! Files of all forms: the rules, their positions, and faults.

use proptest::prelude::*;

use super::{RuleFile, SourceForm, form};

/// The rules of a file as `LINE:COLUMN TEXT`, then its faults as `LINE:COLUMN: PROBLEM`.
fn describe(name: &str, text: &str) -> Vec<String> {
    let file = RuleFile::parse(name, text);
    let rules = file.rules.iter().map(|rule| format!("{}:{} {}", rule.position.line, rule.position.column, rule.text));
    let faults =
        file.faults.iter().map(|fault| format!("{}:{}: {}", fault.position.line, fault.position.column, fault.problem));
    rules.chain(faults).collect()
}

fn check(name: &str, text: &str, expected: &[&str]) {
    assert_eq!(describe(name, text), expected, "{text}");
}

#[test]
fn the_form_is_detected_by_the_content() {
    let check = |name: &str, text: &str, expected: SourceForm| assert_eq!(form(name, text), expected, "{text}");
    check("a", "up\n{a=\"b\"}", SourceForm::Lines);
    check("a", "# matches:\nup", SourceForm::Lines);
    check("a", "job:up:sum\n{__name__=\"a: b\"}", SourceForm::Lines);
    check("a", "", SourceForm::Lines);
    check("a", "--match=up", SourceForm::Flags);
    check("a", "telemeter-client --id x \\\n  --match up", SourceForm::Flags);
    check("a", "exec telemeter-server '--whitelist={a=\"b\"}'", SourceForm::Flags);
    check("a", "up\n{a=\"--matches\"}", SourceForm::Lines);
    check("a", "up\n{a=\"x --match=b\"}", SourceForm::Lines);
    check("a", "{a='--whitelist'}", SourceForm::Lines);
    check("a", "{a=\"x --match=b\"}\n--match=up", SourceForm::Flags);
    check("a", "matches:\n- up", SourceForm::Yaml);
    check("a", "- up\n", SourceForm::Yaml);
    check("a", "---\n- up\n", SourceForm::Yaml);
    check("a", "# x\napiVersion: v1\nkind: ConfigMap", SourceForm::Yaml);
    check("a", "args:\n- --match=up", SourceForm::Yaml);
    check("a", "- --match=up", SourceForm::Yaml);
    check("a", "[\"--match=up\"]", SourceForm::Yaml);
    check("a.yaml", "up", SourceForm::Yaml);
}

#[test]
fn one_selector_per_line() {
    check("f", "up\n\n# no\n  {a=\"b\", c=~\"d\"}  \r\nx", &["1:1 up", "4:3 {a=\"b\", c=~\"d\"}", "5:1 x"]);
    check("f", "\u{feff}up", &["1:1 up"]);
    check(
        "f",
        "up\n{a=b}\n  {c=\"d\"",
        &["1:1 up", "2:4: expected a value in quotes, found \"b}\"", "3:9: expected \",\" or \"}\", it ends here"],
    );
    check(
        "f",
        "{é=1}\n{a=~\"(\"}",
        &[
            "1:2: expected a label name or \"}\", found \"é=1}\"",
            "2:5: regular expression \"(\": a group is not closed",
        ],
    );
}

#[test]
fn flags_with_and_without_a_shell() {
    check("f", "--match=up", &["1:9 up"]);
    check("f", "--match {__name__=\"up\", b=\"c\"} --match=x", &["1:9 {__name__=\"up\", b=\"c\"}", "1:40 x"]);
    check(
        "f",
        "telemeter-client --id=x \\\n  --match='{a=\"b c\"}' \\\n  --match=\"{d=\\\"e\\\"}\" --match-file=f",
        &["2:12 {a=\"b c\"}", "3:12 {d=\"e\"}"],
    );
    check(
        "f",
        "'--match={a=\"b\"}'\n\"--whitelist=up\" # --match=no\n--match={a=\"}\",b=`\\`} \\",
        &["1:10 {a=\"b\"}", "2:14 up", "3:9 {a=\"}\",b=`\\`}"],
    );
    check("f", "--match", &["1:1: --match without a selector behind it"]);
    check("f", "--match=", &["1:9: an empty rule"]);
    check(
        "f",
        "--match='{a=\"b\"' --match=\"{c=\\\"d\\\",e}\"",
        &["1:16: expected \",\" or \"}\", it ends here", "1:37: expected one of =, !=, =~, !~, found \"}\""],
    );
}

#[test]
fn yaml_of_every_style() {
    let expected = ["3:4 {a=\"it's\"}", "4:4 {b=\"c\"}", "5:3 up", "7:5 {d=\"e\"}", "9:5 {f=\"g\", h=\"i\"}"];
    check(
        "f",
        "# rules\nmatches:\n- '{a=\"it''s\"}'\n- \"{b=\\\"c\\\"}\"\n- up\n- |\n    {d=\"e\"}\n- >-\n    {f=\"g\",\n    h=\"i\"}\n",
        &expected,
    );
    check("f.json", "{\"matches\": [\"up\", \"{a=\\\"b\\\"}\"]}", &["1:15 up", "1:21 {a=\"b\"}"]);
    check("f", "- up\n- '{a=b}'\n", &["1:3 up", "2:7: expected a value in quotes, found \"b}\""]);
    check("f", "matches:\n- \"{a=\\\"\\x41\\\",b}\"\n", &["2:17: expected one of =, !=, =~, !~, found \"}\""]);
    check("f", "scrape_configs:\n- params:\n    match[]: ['up', x]\n  other: [y]\n", &["3:16 up", "3:21 x"]);
}

#[test]
fn rules_within_manifests() {
    let manifest = "kind: ConfigMap\ndata:\n  metrics.yaml: |\n    # all\n    matches:\n      - '{a=\"b\"}'\n      - '{c=d}'\n  other: x\n";
    check("f", manifest, &["6:10 {a=\"b\"}", "7:13: expected a value in quotes, found \"d}\""]);
    let list = "kind: ConfigMap\ndata:\n  matches.txt: |-\n    up\n    # no\n    {a=\"b\"}\n";
    check("f", list, &["4:5 up", "6:5 {a=\"b\"}"]);
    let pod =
        "containers:\n- args:\n  - --id=x\n  - --match={a=\"b\"}\n  - '--whitelist={c=\"d\"}'\n  - --match\n  - up\n";
    check("f", pod, &["4:13 {a=\"b\"}", "5:18 {c=\"d\"}", "7:5 up"]);
    let shell = "command:\n- sh\n- -c\n- |\n  exec telemeter-client \\\n    --match='{a=\"b\"}' \\\n    --match=up\n";
    check("f", shell, &["6:14 {a=\"b\"}", "7:13 up"]);
}

#[test]
fn yaml_that_is_invalid_or_without_rules() {
    let [fault] = &RuleFile::parse("f.yaml", "matches:\n- 'up\n").faults[..] else { panic!("one fault") };
    assert!(fault.problem.starts_with("not YAML: "), "{fault:?}");
    let [fault] = &RuleFile::parse("f.yaml", "kind: Pod\n").faults[..] else { panic!("one fault") };
    assert!(fault.problem.starts_with("no rules in this YAML"), "{fault:?}");
    let [fault] = &RuleFile::parse("f.yaml", "a: &x up\nmatches: [*x]\n").faults[..] else { panic!("one fault") };
    assert!(fault.problem.contains("alias") && fault.position.line == 2, "{fault:?}");
}

/// Random selectors, some of them with a fault.
fn rule() -> impl Strategy<Value = String> {
    let value = prop::sample::select(
        &["a", "b c", "it's", "q\\\"q", "{x}", "é", "a|b", "#", "--match=no", "$x", "back\\\\s"][..],
    );
    let matcher =
        (prop::sample::select(&["__name__", "job", "x_y"][..]), prop::sample::select(&["=", "!=", "=~"][..]), value)
            .prop_map(|(name, op, value)| format!("{name}{op}\"{value}\""));
    let fault = prop::sample::select(&["", "", "", "job=a", "=", "job~\"x\"", "job"][..]);
    (prop::collection::vec(matcher, 1..4), fault).prop_map(|(mut matchers, fault)| {
        if !fault.is_empty() {
            matchers.push(fault.to_owned());
        }
        format!("{{{}}}", matchers.join(", "))
    })
}

/// A rule written in each form: the name of the file, its text, and the line of the rule.
fn written(rule: &str) -> Vec<(&'static str, String, usize)> {
    let double = format!("\"{}\"", rule.replace('\\', "\\\\").replace('"', "\\\""));
    let single = rule.replace('\'', "''");
    let shell = rule.replace('\'', "'\"'\"'");
    vec![
        ("f", format!("# first\n {rule}\n"), 2),
        ("f", format!("telemeter-client --id x \\\n  --match='{shell}' \\\n --limit-bytes=1\n"), 2),
        ("f", format!("--id=x\n--match={}\n", double.replace('$', "\\$")), 2),
        ("f", format!("--id=x\n--match={rule} --listen=\n"), 2),
        ("f.yaml", format!("matches:\n- '{single}'\n"), 2),
        ("f.yaml", format!("matches:\n- {double}\n"), 2),
        ("f.yaml", format!("matches:\n- |-\n  {rule}\n"), 3),
        ("f.yaml", format!("data:\n  metrics.yaml: |-\n    matches:\n      - '{single}'\n"), 4),
        ("f.json", format!("{{\"matches\":\n[{double}]}}"), 2),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_rule_is_the_same_in_every_form(rule in rule()) {
        let expected = telemeter_rules::Selector::parse(&rule);
        for (name, text, line) in written(&rule) {
            let file = RuleFile::parse(name, &text);
            prop_assert_eq!(file.rules.len() + file.faults.len(), 1, "{}", text);
            let source: Vec<char> = file.line(line).chars().collect();
            match &expected {
                Ok(selector) => {
                    let [found] = &file.rules[..] else { return Err(TestCaseError::fail(text)) };
                    prop_assert_eq!(&found.selector, selector, "{}", text);
                    prop_assert_eq!(&found.text, &rule);
                    prop_assert_eq!(found.position.line, line, "{}", text);
                    prop_assert_eq!(source[found.position.column - 1], '{', "{}", text);
                }
                Err(telemeter_rules::Error::Selector { column, problem, .. }) => {
                    let [fault] = &file.faults[..] else { return Err(TestCaseError::fail(text)) };
                    prop_assert_eq!(&fault.problem, problem, "{}", text);
                    prop_assert_eq!(fault.position.line, line, "{}", text);
                    let expected = rule.chars().nth(column - 1).expect("a character");
                    prop_assert_eq!(source[fault.position.column - 1], expected, "{} at {:?}", text, fault.position);
                }
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            }
        }
    }

    #[test]
    fn every_text_can_be_parsed(
        pieces in prop::collection::vec(prop::sample::select(&[
            "--match", "--match=", "--whitelist ", "{", "}", "\"", "'", "`", "\\", "\n", "  ", "- ", "matches:", "a: |\n  ", "up",
            "a=\"b\"", ",", "#", "é", "\u{feff}", "\r\n", "[", "]", "&a ", "*a", "!!str ", "? ", "---\n", "\t", ">-\n   ", "%",
        ][..]), 0..25),
        name in prop::sample::select(&["f", "f.yaml"][..]),
    ) {
        let text = pieces.concat();
        let file = RuleFile::parse(name, &text);
        let lines = text.matches('\n').count() + 1;
        for position in file.rules.iter().map(|rule| rule.position).chain(file.faults.iter().map(|fault| fault.position)) {
            prop_assert!((1..=lines).contains(&position.line), "{:?} {}", position, text);
            // The column may be one more than the last character, and yet one more where a line ends with CR and LF.
            prop_assert!(position.column >= 1 && position.column <= file.line(position.line).chars().count() + 2, "{:?} {:?}", position, text);
        }
    }
}
