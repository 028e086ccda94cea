//! What one end lets out and the other does not take.

use std::collections::BTreeMap;

use telemeter_rules::{
    Selector, Whitelist,
    policy::{NormalizedSelector, nearest::NearestRules},
};
use telemeter_wire::{Arena, Label, SeriesSet, series::NAME_LABEL};

use crate::{
    change::{self, ClientChanges, ClientSteps},
    explain::{no_rule, why},
    metrics::{self, MetricsError},
    source::RuleFile,
};

/// What becomes of real series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesDifference {
    /// How many there are.
    pub series: usize,
    /// How many the client lets out.
    pub sent: usize,
    /// How many of these the server takes.
    pub taken: usize,
    /// What it does not take, by metric.
    pub lost: Vec<UnusedSeries>,
}

/// Series of one metric that are sent for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedSeries {
    /// The metric's name as it is sent.
    pub metric: String,
    /// How many series.
    pub series: usize,
    /// One of them, as it is sent.
    pub example: String,
    /// The client's rule that lets it out, counted from 0; `None` without any rule.
    pub sent_by: Option<usize>,
    /// The server's rule that it misses by least.
    pub nearest: Option<usize>,
    /// Why it is not taken.
    pub reason: String,
}

/// Compares two lists on the series in `body`, as the client sends them.
///
/// # Errors
/// [`MetricsError`].
pub fn by_series(
    client: &RuleFile,
    server: &RuleFile,
    body: &[u8],
    changes: &ClientChanges,
) -> Result<SeriesDifference, MetricsError> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    metrics::decode(body, &mut set)?;
    let (asked, taken) = (Whitelist::new(client.selectors()), Whitelist::new(server.selectors()));
    let selectors = server.selectors();
    let mut nearest = NearestRules::new(&selectors);
    let steps = ClientSteps::new(changes);
    let mut difference = SeriesDifference { series: set.len(), ..SeriesDifference::default() };
    let mut lost: BTreeMap<String, UnusedSeries> = BTreeMap::new();
    for series in set.iter().filter(|series| asked.allows(series.labels)) {
        steps.sent(&series, |sent| {
            difference.sent += 1;
            if taken.allows(sent.labels) {
                difference.taken += 1;
                return;
            }
            let entry = lost.entry(sent.name().to_owned()).or_insert_with(|| {
                let found = nearest.nearest(sent.labels);
                UnusedSeries {
                    metric: sent.name().to_owned(),
                    series: 0,
                    example: metrics::text(sent.labels),
                    sent_by: asked.rule_for(series.labels),
                    nearest: found.as_ref().map(|found| found.rule),
                    reason: found.as_ref().map_or_else(|| no_rule(sent.labels), why)
                        + &renamed(series.name(), sent.name(), taken.allows(series.labels)),
                }
            });
            entry.series += 1;
        });
    }
    difference.lost = lost.into_values().collect();
    Ok(difference)
}

/// What can be said without series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleDifference {
    /// For each of the client's rules, in their order, what the server takes of it.
    pub rules: Vec<ServerCoverage>,
    /// The server's rules that certainly nothing of the client reaches, counted from 0.
    pub unreached: Vec<usize>,
}

/// What the server takes of what a rule lets out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerCoverage {
    /// All of it, certainly.
    All,
    /// Nothing, certainly; why, and the server's rule that is nearest.
    Nothing {
        /// The rule, counted from 0.
        nearest: Option<usize>,
        /// What keeps it from that rule.
        reason: String,
    },
    /// A part of it, or all in a way that rules alone do not tell: the server's rules that may take some, counted from 0.
    Some {
        /// The rules.
        by: Vec<usize>,
    },
}

/// Compares two lists by their rules alone. A server without rules takes everything.
#[must_use]
pub fn by_rules(client: &RuleFile, server: &RuleFile, changes: &ClientChanges) -> RuleDifference {
    let selectors = server.selectors();
    let theirs: Vec<NormalizedSelector> = selectors.iter().map(NormalizedSelector::of).collect();
    let mut nearest = NearestRules::new(&selectors);
    let ours: Vec<NormalizedSelector> = client
        .selectors()
        .iter()
        .map(|selector| {
            let mut rule = NormalizedSelector::of(selector);
            // What is changed of nothing is nothing.
            if rule.never().is_none() {
                change::of_rule(&mut rule, changes);
            }
            rule
        })
        .collect();
    let rules = ours.iter().zip(client.selectors()).map(|(rule, selector)| {
        if theirs.is_empty() || covered(rule, &theirs) {
            return ServerCoverage::All;
        }
        let by: Vec<usize> = (0..theirs.len()).filter(|their| !theirs[*their].is_disjoint(rule)).collect();
        if !by.is_empty() {
            return ServerCoverage::Some { by };
        }
        let (found, reason) = example(&selector, changes, &theirs, &mut nearest);
        ServerCoverage::Nothing { nearest: found, reason }
    });
    let rules = rules.collect();
    let reaches = |their: &NormalizedSelector| ours.is_empty() || ours.iter().any(|our| !our.is_disjoint(their));
    let unreached = (0..theirs.len()).filter(|their| !reaches(&theirs[*their])).collect();
    RuleDifference { rules, unreached }
}

/// Whether one rule covers this one, or one for each of its metric names.
fn covered(rule: &NormalizedSelector, by: &[NormalizedSelector]) -> bool {
    let one = |part: &NormalizedSelector| by.iter().any(|other| other.covers(part));
    one(rule)
        || rule.names().is_some_and(|names| names.iter().all(|name| rule.of_name(name).is_some_and(|part| one(&part))))
}

/// What to add where a metric is not taken under its new name; `was_taken` is whether it would be under the old one.
fn renamed(old: &str, new: &str, was_taken: bool) -> String {
    if old == new {
        return String::new();
    }
    let taken = if was_taken { ", which the server would take" } else { "" };
    format!("; the client renames it (--rename): it was {old}{taken}")
}

/// The nearest rule to a series such as `selector` selects, and why it is not that.
fn example(
    selector: &Selector,
    changes: &ClientChanges,
    theirs: &[NormalizedSelector],
    nearest: &mut NearestRules<'_>,
) -> (Option<usize>, String) {
    let rule = &NormalizedSelector::of(selector);
    let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
    for matcher in selector.matchers().iter().filter(|matcher| matcher.op().as_str() == "=") {
        labels.insert(matcher.name(), matcher.value());
    }
    let old = labels.get(NAME_LABEL).copied().unwrap_or("");
    let new = changes.renames.iter().find(|(name, _)| name == old).map_or(old, |(_, new)| new);
    if new != old {
        labels.insert(NAME_LABEL, new);
    }
    for (name, value) in changes.labels.iter().chain(&changes.identity) {
        labels.insert(name, value);
    }
    let labels: Vec<Label<'_>> = labels.into_iter().map(|(name, value)| Label::new(name, value)).collect();
    if !labels.iter().any(|label| label.name == NAME_LABEL) {
        return (None, "no rule takes any of it".to_owned());
    }
    let found = nearest.nearest(&labels);
    let reason = found.as_ref().map_or_else(|| no_rule(&labels), why);
    (found.map(|found| found.rule), reason + &renamed(old, new, theirs.iter().any(|their| !their.is_disjoint(rule))))
}
