//! Explains why a series is dropped: finds the rule that the series nearly matches.

use std::collections::HashMap;

use telemeter_wire::{
    Label,
    series::{NAME_LABEL, value_of},
};

use super::normal::NormalizedSelector;
use crate::{go_regex::Shape, matcher::Matcher, selector::Selector};

/// The rule that a dropped series is nearest to, and the conditions that the series does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearestRule {
    /// The index of the rule.
    pub rule: usize,
    /// The matchers of the rule that do not hold; at least one.
    pub misses: Vec<UnmetMatcher>,
}

/// A matcher that a series does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmetMatcher {
    /// The matcher.
    pub matcher: Matcher,
    /// The value of the label in the series; empty where the label is absent.
    pub value: String,
}

/// A metric name that a rule selects, or a prefix of such names.
#[derive(Debug)]
struct RuleName {
    text: String,
    is_prefix: bool,
}

/// Finds the nearest rule of a list for one series after the other.
#[derive(Debug)]
pub struct NearestRules<'r> {
    selectors: &'r [Selector],
    names: Vec<Vec<RuleName>>,
    /// A cache for metric names that no rule selects: the rule with the most similar name.
    similar: HashMap<String, Option<usize>>,
}

impl<'r> NearestRules<'r> {
    /// A finder for these rules.
    #[must_use]
    pub fn new(selectors: &'r [Selector]) -> Self {
        Self { selectors, names: selectors.iter().map(names).collect(), similar: HashMap::new() }
    }

    /// The rule that is nearest to a series with these labels: of the rules that select its metric name, the one with the
    /// fewest matchers that do not hold; if there are none, the one with the most similar name. `None` where a rule selects
    /// the series, and where no name is similar.
    pub fn nearest(&mut self, labels: &[Label<'_>]) -> Option<NearestRule> {
        let name = value_of(labels, NAME_LABEL).unwrap_or("");
        let misses = |rule: usize| -> Vec<&Matcher> {
            self.selectors[rule].matchers().iter().filter(|matcher| !matcher.matches(labels)).collect()
        };
        let mut best: Option<(usize, Vec<&Matcher>)> = None;
        for rule in 0..self.selectors.len() {
            let missed = misses(rule);
            if missed.is_empty() {
                return None;
            }
            let by_name = missed.iter().any(|matcher| matcher.name() == NAME_LABEL);
            if !by_name && best.as_ref().is_none_or(|(_, least)| missed.len() < least.len()) {
                best = Some((rule, missed));
            }
        }
        let (rule, missed) = match best {
            Some(best) => best,
            None => {
                let cached = self.similar.get(name).copied();
                let rule = cached.unwrap_or_else(|| most_similar(&self.names, name));
                if cached.is_none() {
                    self.similar.insert(name.to_owned(), rule);
                }
                let rule = rule?;
                (rule, self.selectors[rule].matchers().iter().filter(|matcher| !matcher.matches(labels)).collect())
            }
        };
        let miss = |matcher: &Matcher| UnmetMatcher {
            matcher: matcher.clone(),
            value: value_of(labels, matcher.name()).unwrap_or("").to_owned(),
        };
        Some(NearestRule { rule, misses: missed.into_iter().map(miss).collect() })
    }
}

/// The metric names that a rule lists, or their common prefix; empty where the rule requires neither.
fn names(selector: &Selector) -> Vec<RuleName> {
    if let Some(names) = NormalizedSelector::of(selector).names() {
        return names.iter().map(|name| RuleName { text: name.clone(), is_prefix: false }).collect();
    }
    let name = selector.matchers().iter().find(|matcher| matcher.name() == NAME_LABEL && !matcher.op().is_negative());
    match name.map(Matcher::shape) {
        Some(Shape::Prefix { prefix, .. }) => vec![RuleName { text: prefix, is_prefix: true }],
        _ => Vec::new(),
    }
}

/// The first rule with the least edit distance to `name`; `None` where that is over a fourth of the rule's name for
/// every rule.
fn most_similar(rules: &[Vec<RuleName>], name: &str) -> Option<usize> {
    let changes = |other: &RuleName| {
        let length = other.text.chars().count();
        let end = name.char_indices().nth(length).filter(|_| other.is_prefix).map_or(name.len(), |(end, _)| end);
        distance(&name[..end], &other.text, length / 4)
    };
    let of_rule = |names: &[RuleName]| names.iter().filter_map(changes).min();
    let distances = rules.iter().enumerate().filter_map(|(rule, names)| Some((of_rule(names)?, rule)));
    distances.min().map(|(_, rule)| rule)
}

/// The edit distance (Levenshtein) in characters; `None` where it is over `most`.
fn distance(one: &str, other: &str, most: usize) -> Option<usize> {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > most {
        return None;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, left) in one.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (position, right) in other.iter().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[position + 1];
            row[position + 1] = changed.min(diagonal + 1).min(row[position] + 1);
        }
        if row.iter().min().is_some_and(|least| *least > most) {
            return None;
        }
    }
    row.last().copied().filter(|distance| *distance <= most)
}
