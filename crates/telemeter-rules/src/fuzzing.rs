//! Fuzz targets: properties that hold for every regular expression and for every list of selectors. For tests and for the
//! programs below `fuzz/`; not part of a normal build.

use regex::RegexBuilder;
use telemeter_wire::{Label, series::NAME_LABEL};

use crate::{
    Matcher, NameVerdict, Op, Selector, Whitelist,
    go_regex::{self, Pattern, Shape},
};

/// Splits an input into an expression and, after the first NUL, a value to match.
fn split(input: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(input).ok()?;
    Some(text.split_once('\0').unwrap_or((text, "")))
}

/// Compiles an expression in Go's syntax: its analysis agrees with its matches, and where the `regex` crate has the same
/// syntax, it has the same matches. The input is the expression and, after a NUL, a value.
pub fn go_regex(input: &[u8]) {
    let Some((expression, value)) = split(input).filter(|(expression, _)| expression.len() <= 300) else { return };
    let (Ok(pattern), Ok(regex)) = (Pattern::parse(expression), go_regex::compile(expression)) else { return };
    let positive = Matcher::new("a", Op::Matches, expression).expect("it compiles");
    let negative = Matcher::new("a", Op::NotMatches, expression).expect("it compiles");
    let shape = pattern.shape();
    let mut values = vec![value.to_owned(), String::new(), format!("{value}\n"), expression.to_owned()];
    let (known, others) = match &shape {
        Shape::Any => (vec![String::new(), "x\n".to_owned()], None),
        Shape::NonEmpty => (vec!["x".to_owned(), "\n".to_owned()], None),
        Shape::Exact(exact) => (exact.clone(), None),
        Shape::Prefix { prefix, .. } => (vec![format!("{prefix}x"), format!("{prefix}\u{e9}\n")], None),
        Shape::Suffix { suffix, .. } => (vec![format!("x{suffix}"), format!("\n\u{e9}{suffix}")], None),
        Shape::Other { prefixes, suffixes } => (Vec::new(), Some((prefixes, suffixes))),
    };
    for value in known.iter().take(200) {
        assert!(regex.is_match(value), "{expression:?} does not match {value:?}");
        values.push(format!("{value}{value}"));
        values.push(value.clone());
        values.extend(value.char_indices().next_back().map(|(at, _)| value[..at].to_owned()));
    }
    if let Some((prefixes, suffixes)) = others {
        let texts = prefixes.iter().chain([&values[0]]).take(20);
        let joined: Vec<_> =
            texts.flat_map(|one| suffixes.iter().take(20).map(move |other| format!("{one}{other}"))).collect();
        values.extend(joined);
    }
    let theirs = is_common(expression).then(|| {
        let anchored = format!("^(?s:{expression})$");
        RegexBuilder::new(&anchored).size_limit(go_regex::MAX_PROGRAM_BYTES).build().ok()
    });
    for value in &values {
        let matches = regex.is_match(value);
        assert_eq!(positive.matches_value(value), matches, "{expression:?} on {value:?}, {shape:?}");
        assert_ne!(negative.matches_value(value), matches, "{expression:?} on {value:?}");
        if let Some((prefixes, suffixes)) = others.filter(|_| matches) {
            let holds = |affixes: &[String], is: fn(&str, &str) -> bool| {
                affixes.is_empty() || affixes.iter().any(|affix| is(value, affix))
            };
            assert!(holds(prefixes, |value, prefix| value.starts_with(prefix)), "{expression:?} on {value:?}");
            assert!(holds(suffixes, |value, suffix| value.ends_with(suffix)), "{expression:?} on {value:?}");
        }
        if let Some(Some(theirs)) = &theirs {
            assert_eq!(theirs.is_match(value), matches, "{expression:?} on {value:?}");
        }
    }
}

/// Whether an expression that Go accepts has the same meaning in the `regex` crate: no class, escape, braces or flags.
fn is_common(expression: &str) -> bool {
    let is_common = |c: char| c.is_ascii_lowercase() || ".|()?+*: _".contains(c);
    expression.chars().all(is_common) && !expression.contains("(?")
        || expression.contains("(?:") && {
            let without = expression.replace("(?:", "(");
            without.chars().all(is_common) && !without.contains("(?")
        }
}

/// Parses rules, one per line: each is written and parsed the same, the whitelist allows what the rules select one by one,
/// and its decision about a metric name is right.
pub fn selectors(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(selectors) = Selector::parse_lines(text) else {
        let _ = Selector::parse(text);
        return;
    };
    for selector in &selectors {
        let written = selector.to_string();
        assert_eq!(Selector::parse(&written).as_ref(), Ok(selector), "{written}");
    }
    let whitelist = Whitelist::new(selectors.clone());
    for labels in label_sets(&selectors) {
        let labels: Vec<Label<'_>> = labels.iter().map(|(name, value)| Label::new(name, value)).collect();
        let first = selectors.iter().position(|selector| selector.matches(&labels));
        let allowed = whitelist.allows(&labels);
        assert_eq!(allowed, first.is_some() || selectors.is_empty(), "{labels:?}");
        assert_eq!(whitelist.rule_for(&labels), first, "{labels:?}");
        let name = labels.iter().find(|label| label.name == NAME_LABEL).map_or("", |label| label.value);
        match whitelist.by_name(name) {
            NameVerdict::Always => assert!(allowed, "{labels:?}"),
            NameVerdict::Never => assert!(!allowed, "{labels:?}"),
            NameVerdict::Depends => {}
        }
    }
}

/// Labels that match the rules, or nearly match them.
fn label_sets(selectors: &[Selector]) -> Vec<Vec<(String, String)>> {
    let mut sets = vec![Vec::new(), vec![(NAME_LABEL.to_owned(), "up".to_owned())]];
    for selector in selectors.iter().take(12) {
        for variant in 0..4 {
            let mut labels: Vec<(String, String)> = Vec::new();
            for (index, matcher) in selector.matchers().iter().enumerate() {
                if labels.iter().any(|(name, _)| name == matcher.name()) {
                    continue;
                }
                let value = value_for(matcher, if index % 2 == 0 { variant } else { variant / 2 });
                labels.push((matcher.name().to_owned(), value));
            }
            sets.push(labels);
        }
    }
    sets
}

/// A value for the label of a matcher: one that it compares with, one with its prefix or suffix, another one, or none.
fn value_for(matcher: &Matcher, variant: usize) -> String {
    let value = match matcher.op() {
        Op::Equal | Op::NotEqual => matcher.value().to_owned(),
        Op::Matches | Op::NotMatches => match Pattern::parse(matcher.value()).map(|pattern| pattern.shape()) {
            Ok(Shape::Exact(values)) => values.get(variant % values.len().max(1)).cloned().unwrap_or_default(),
            Ok(Shape::Prefix { prefix, .. }) => format!("{prefix}x"),
            Ok(Shape::Suffix { suffix, .. }) => format!("x{suffix}"),
            Ok(Shape::Other { prefixes, suffixes }) => {
                let of = |texts: Vec<String>| texts.first().cloned().unwrap_or_default();
                format!("{}{}", of(prefixes), of(suffixes))
            }
            _ => "x".to_owned(),
        },
    };
    match variant {
        0 | 1 => value,
        2 => format!("{value}x"),
        _ => String::new(),
    }
}

/// Each target: its name, its function, and its seeds.
#[expect(clippy::type_complexity)]
pub fn targets() -> Vec<(&'static str, fn(&[u8]), Vec<Vec<u8>>)> {
    let owned = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    vec![("go_regex", go_regex as fn(&[u8]), owned(&EXPRESSIONS)), ("selectors", selectors, owned(&RULES))]
}

const EXPRESSIONS: [&str; 14] = [
    "",
    ".*\0x",
    "abc.+\0abcd",
    ".*_total",
    "a|bc|(?:d|e)f\0df",
    "(?i)up\0UP",
    "^a$|b",
    "[a-f&&x]+[^\\d\\s]{2,3}\0ab",
    "\\Qa.b\\E\\pL\\x{41}",
    "(?P<name>a*)b??\\z",
    "x{0,3}(y|z?)*\\b",
    "kube_(pod|node)_(info|status_.*)\0kube_pod_info",
    "(a|b|c)(d|e)*?[[:alpha:]]",
    "\u{e9}+.\u{1f980}?",
];

const RULES: [&str; 9] = [
    "",
    "up",
    "# a comment\n{__name__=\"up\",job=\"a\"}\n\n{__name__=~\"kube_.*\",ns!~\"a|b\"}\n",
    "{__name__=~\"a|b|c\"}\n{__name__=~\".*_total\", x=\"\"}\n{job=~\".+\"}",
    "{}\n",
    "up{job='a\\'b', \"c.d\"=`raw`} # behind",
    "{\"up\", a!=\"b\",}\n{__name__!=\"up\"}",
    "a{b=\"\\u00e9\\x41\\101\\n\"}\n{__name__=~\"a.*b\"}\n{__name__=~\"a[bc]\",__name__!=\"ab\"}",
    "{job=\"a\"}\n{job=\"b\"}\n{job=\"c\"}\n{job=~\"d|e\",__name__=\"up\"}\n{instance=~\"x.*\"}\n{instance=~\".*y\"}",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
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
    fn the_seeds_are_accepted() {
        assert!(
            EXPRESSIONS.iter().all(|seed| split(seed.as_bytes()).is_some_and(|(one, _)| Pattern::parse(one).is_ok()))
        );
        assert!(RULES.iter().all(|seed| Selector::parse_lines(seed).is_ok()));
    }

    proptest! {
        #[test]
        fn expressions_hold(expression in "[a-c.*+?|()\\[\\]^$\\\\{}0-9,:-]{0,12}", value in "[a-c.]{0,6}") {
            go_regex(format!("{expression}\0{value}").as_bytes());
        }

        #[test]
        fn rules_hold(rules in prop::collection::vec("([a-c]|)[{](([a-c]|__name__)(=|!=|=~|!~)\"[a-c.*|+]{0,5}\",?){0,3}[}]", 0..8)) {
            selectors(rules.join("\n").as_bytes());
        }
    }
}
