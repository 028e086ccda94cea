//! Finds faults in a list of rules: duplicates, rules that others cover, rules that select nothing.

use std::collections::HashMap;

use telemeter_wire::series::NAME_LABEL;

use super::normal::NormalizedSelector;
use crate::{
    go_regex::Shape,
    matcher::{Matcher, Op},
    selector::Selector,
};

/// A fault of a rule. Other rules are given by their index in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleFinding {
    /// An earlier rule selects the same series.
    Duplicate {
        /// The earlier rule.
        of: usize,
    },
    /// Other rules select all series that this one selects.
    Covered {
        /// One rule, or several that together have its metric names.
        by: Vec<usize>,
    },
    /// No series can meet all its conditions on this label.
    Never {
        /// The label.
        label: String,
    },
    /// The rule selects only series without a metric name, and there are none.
    Nameless,
    /// The rule also selects the series without labels: Prometheus answers such a selector with an error.
    SelectsEmpty,
    /// A matcher has an expression that only one value matches.
    PlainValue {
        /// The matcher as it is written.
        matcher: String,
        /// A matcher without an expression that matches the same.
        instead: String,
    },
    /// A matcher on the metric name has an expression that is only a list of names.
    PlainNames {
        /// The matcher as it is written.
        matcher: String,
        /// The names.
        names: Vec<String>,
    },
}

/// The faults of these rules, each with the index of its rule, in the order of the rules. If all rules are removed that are
/// duplicates, covered or select nothing, the list still selects the same series: two rules are never each the reason to
/// remove the other.
#[must_use]
pub fn findings(selectors: &[Selector]) -> Vec<(usize, RuleFinding)> {
    let rules: Vec<NormalizedSelector> = selectors.iter().map(NormalizedSelector::of).collect();
    let candidates = Candidates::new(&rules);
    let mut first: HashMap<&NormalizedSelector, usize> = HashMap::new();
    let (mut found, mut needless) = (Vec::new(), vec![false; rules.len()]);
    for (index, rule) in rules.iter().enumerate() {
        let mut add = |finding| found.push((index, finding));
        needless[index] = true;
        if let Some(label) = rule.never() {
            add(RuleFinding::Never { label: label.to_owned() });
        } else if rule.is_nameless() {
            add(RuleFinding::Nameless);
        } else if let Some(of) = first.get(rule) {
            add(RuleFinding::Duplicate { of: *of });
        } else {
            first.insert(rule, index);
            if rule.selects_empty() {
                add(RuleFinding::SelectsEmpty);
            }
            match covering(&rules, &candidates, &needless, index) {
                Some(by) => add(RuleFinding::Covered { by }),
                None => needless[index] = false,
            }
        }
        for matcher in selectors[index].matchers() {
            if let Some(finding) = plain(matcher) {
                found.push((index, finding));
            }
        }
    }
    found
}

/// An index of the rules that may cover another rule, by metric name.
struct Candidates<'r> {
    by_name: HashMap<&'r str, Vec<usize>>,
    /// The rules that do not list names.
    others: Vec<usize>,
}

impl<'r> Candidates<'r> {
    fn new(rules: &'r [NormalizedSelector]) -> Self {
        let mut candidates = Self { by_name: HashMap::new(), others: Vec::new() };
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.never().is_none()) {
            match rule.names() {
                Some(names) => {
                    names.iter().for_each(|name| candidates.by_name.entry(name).or_default().push(index));
                }
                None => candidates.others.push(index),
            }
        }
        candidates
    }

    fn of(&self, name: Option<&str>) -> impl Iterator<Item = usize> {
        let named = name.and_then(|name| self.by_name.get(name)).into_iter().flatten();
        named.chain(&self.others).copied()
    }
}

/// The rules that cover the one at `index`: a single one, or one for each of its metric names. Rules that are needless
/// themselves do not count; of two rules that cover each other, the first is kept.
fn covering(
    rules: &[NormalizedSelector],
    candidates: &Candidates<'_>,
    needless: &[bool],
    index: usize,
) -> Option<Vec<usize>> {
    let rule = &rules[index];
    let covered = |by: usize, part: &NormalizedSelector| {
        !needless[by] && rules[by].covers(part) && (by < index || !rule.covers(&rules[by]))
    };
    let names = rule.names();
    let first = names.and_then(|names| names.first()).map(String::as_str);
    if let Some(by) = candidates.of(first).find(|by| covered(*by, rule)) {
        return Some(vec![by]);
    }
    let names = names.filter(|names| names.len() > 1)?;
    let mut all = Vec::new();
    for name in names {
        let part = rule.of_name(name)?;
        all.push(candidates.of(Some(name)).find(|by| covered(*by, &part))?);
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

/// The finding about an expression that is only a value or, for the metric name, a list of names; `None` for any other
/// matcher.
fn plain(matcher: &Matcher) -> Option<RuleFinding> {
    if !matches!(matcher.op(), Op::Matches | Op::NotMatches) {
        return None;
    }
    let Shape::Exact(mut values) = matcher.shape() else { return None };
    if let [value] = &values[..] {
        let op = if matcher.op() == Op::Matches { Op::Equal } else { Op::NotEqual };
        let instead = Matcher::new(matcher.name(), op, value).ok()?.to_string();
        return Some(RuleFinding::PlainValue { matcher: matcher.to_string(), instead });
    }
    values.retain(|name| !name.is_empty());
    (matcher.name() == NAME_LABEL && matcher.op() == Op::Matches)
        .then(|| RuleFinding::PlainNames { matcher: matcher.to_string(), names: values })
}
