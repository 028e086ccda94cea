//! Which rules of the whitelist let the series of one metric name in.
//!
//! Most rules name a metric and nothing else: those are decided by the name. Of the others, each series is asked about the
//! rules of which none has matched so far, so that after a few series there is nothing left to ask. A label that `--label`
//! or `--elide-label` changes behind the whitelist is not what the rule saw: its matchers are passed over.

use telemeter_rules::{Matcher, Selector};
use telemeter_wire::{Label, series::NAME_LABEL};

use crate::rules::ServerRules;

/// What is known of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RuleHits {
    /// Rules that matched a series, by their place in the list.
    matched: Vec<usize>,
    /// Rules that say nothing against the name, and have matched none of the series that were looked at.
    open: Vec<usize>,
}

impl RuleHits {
    /// What the name alone tells.
    pub(super) fn of_name(rules: &ServerRules, name: &str) -> Self {
        let selectors = rules.whitelist().selectors();
        let (matched, open) =
            rules_of_name(rules, name).into_iter().partition(|at| judged(rules, &selectors[*at]).next().is_none());
        Self { matched, open }
    }

    /// Whether more series can tell more.
    pub(super) const fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Looks at the labels of one series.
    pub(super) fn look(&mut self, rules: &ServerRules, labels: &[Label<'_>]) {
        let selectors = rules.whitelist().selectors();
        let matched = &mut self.matched;
        self.open.retain(|at| {
            let is_match = judged(rules, &selectors[*at]).all(|matcher| matcher.matches(labels));
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

/// Whether a selector says nothing against this metric name.
fn lets_name_in(selector: &Selector, name: &str) -> bool {
    selector.matchers().iter().filter(|matcher| matcher.name() == NAME_LABEL).all(|matcher| matcher.matches_value(name))
}

/// The rules that say nothing against a name, by their place in the list.
pub(super) fn rules_of_name(rules: &ServerRules, name: &str) -> Vec<usize> {
    let selectors = rules.whitelist().selectors().iter().enumerate();
    selectors.filter(|(_, selector)| lets_name_in(selector, name)).map(|(at, _)| at).collect()
}

/// The first of these rules that matches the labels of a series, but for those that were changed behind the whitelist.
pub(super) fn first_of(rules: &ServerRules, of_name: &[usize], labels: &[Label<'_>]) -> Option<usize> {
    let selectors = rules.whitelist().selectors();
    of_name.iter().copied().find(|at| judged(rules, &selectors[*at]).all(|matcher| matcher.matches(labels)))
}

/// The matchers of a selector that are judged by the labels of a series: those on other labels than the name, and that
/// nothing behind the whitelist changes.
fn judged<'r>(rules: &'r ServerRules, selector: &'r Selector) -> impl Iterator<Item = &'r Matcher> {
    selector.matchers().iter().filter(|matcher| matcher.name() != NAME_LABEL && !rules.changes_label(matcher.name()))
}
