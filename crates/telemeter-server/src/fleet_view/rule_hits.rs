//! Which rules of the whitelist let the series of one metric name in.
//!
//! Most rules name a metric and nothing else: the name decides them. The others are matched against each series until one
//! matches, so that after a few series no rule is left. A label that `--label` or `--elide-label` changes after the whitelist has
//! another value in the recent store than the rule saw: matchers on it are ignored.

use telemeter_rules::{Matcher, Selector};
use telemeter_wire::{Label, series::NAME_LABEL};

use crate::rules::ServerRules;

/// Which rules let series of one metric name in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RuleHits {
    /// Rules that matched a series, by index.
    matched: Vec<usize>,
    /// Rules that the name does not rule out, and that have matched no series so far.
    open: Vec<usize>,
}

impl RuleHits {
    /// Matches the rules against the name alone.
    pub(super) fn of_name(rules: &ServerRules, name: &str) -> Self {
        let selectors = rules.whitelist().selectors();
        let (matched, open) = rules_of_name(rules, name)
            .into_iter()
            .partition(|at| label_matchers(rules, &selectors[*at]).next().is_none());
        Self { matched, open }
    }

    /// Whether a rule is left to match against more series.
    pub(super) const fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Matches the rules that are left against the labels of one series.
    pub(super) fn match_series(&mut self, rules: &ServerRules, labels: &[Label<'_>]) {
        let selectors = rules.whitelist().selectors();
        let matched = &mut self.matched;
        self.open.retain(|at| {
            let is_match = label_matchers(rules, &selectors[*at]).all(|matcher| matcher.matches(labels));
            if is_match {
                matched.push(*at);
            }
            !is_match
        });
    }

    /// The first rule, in the order of the whitelist, that matched a series.
    pub(super) fn first(&self) -> Option<usize> {
        self.matched.iter().copied().min()
    }

    /// Every rule that matched a series.
    pub(super) fn matched(&self) -> impl Iterator<Item = usize> {
        self.matched.iter().copied()
    }
}

/// Whether this metric name does not rule a selector out.
fn may_match_name(selector: &Selector, name: &str) -> bool {
    selector.matchers().iter().filter(|matcher| matcher.name() == NAME_LABEL).all(|matcher| matcher.matches_value(name))
}

/// The rules that a name does not rule out, by index.
pub(super) fn rules_of_name(rules: &ServerRules, name: &str) -> Vec<usize> {
    let selectors = rules.whitelist().selectors().iter().enumerate();
    selectors.filter(|(_, selector)| may_match_name(selector, name)).map(|(at, _)| at).collect()
}

/// The first of these rules that matches a series, without matchers on labels that are changed after the whitelist.
pub(super) fn first_match(rules: &ServerRules, of_name: &[usize], labels: &[Label<'_>]) -> Option<usize> {
    let selectors = rules.whitelist().selectors();
    of_name.iter().copied().find(|at| label_matchers(rules, &selectors[*at]).all(|matcher| matcher.matches(labels)))
}

/// The matchers of a selector that the labels of a series decide: those on other labels than the name that no step after the
/// whitelist changes.
fn label_matchers<'r>(rules: &'r ServerRules, selector: &'r Selector) -> impl Iterator<Item = &'r Matcher> {
    selector.matchers().iter().filter(|matcher| matcher.name() != NAME_LABEL && !rules.changes_label(matcher.name()))
}
