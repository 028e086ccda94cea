//! Compares the client's list with the server's: which series are sent and not accepted.

use std::collections::BTreeMap;

use telemeter_rules::{
    Selector, Whitelist,
    policy::{NormalizedSelector, nearest::NearestRules},
};
use telemeter_wire::{Arena, Label, SeriesSet, series::NAME_LABEL};

use crate::{
    change::{ClientChanges, ClientSteps, apply_to_rule},
    explain::{mismatch_reason, no_rule},
    metrics::{self, MetricsError},
    source::RuleFile,
};

/// The difference of two lists for given series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesDifference {
    /// The number of series.
    pub series: usize,
    /// The number of series that the client sends.
    pub sent: usize,
    /// The number of sent series that the server accepts.
    pub accepted: usize,
    /// The sent series that the server does not accept, by metric.
    pub unused: Vec<UnusedSeries>,
}

/// Series of one metric that are sent and not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusedSeries {
    /// The metric name as it is sent.
    pub metric: String,
    /// The number of series.
    pub series: usize,
    /// One of the series, as it is sent.
    pub example: String,
    /// The index of the client's rule that selects the example; `None` if the client has no rules.
    pub sent_by: Option<usize>,
    /// The index of the server's rule that is nearest to the example.
    pub nearest: Option<usize>,
    /// Why the example is not accepted.
    pub reason: String,
}

/// Compares two lists for the series in `body` (text or delimited protobuf), as the client sends them.
///
/// # Errors
/// [`MetricsError`] where `body` cannot be decoded.
pub fn by_series(
    client: &RuleFile,
    server: &RuleFile,
    body: &[u8],
    changes: &ClientChanges,
) -> Result<SeriesDifference, MetricsError> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    metrics::decode_detected(body, &mut set)?;
    let (requested, accepted) = (Whitelist::new(client.selectors()), Whitelist::new(server.selectors()));
    let selectors = server.selectors();
    let mut nearest = NearestRules::new(&selectors);
    let steps = ClientSteps::new(changes);
    let mut difference = SeriesDifference { series: set.len(), ..SeriesDifference::default() };
    let mut unused: BTreeMap<String, UnusedSeries> = BTreeMap::new();
    for series in set.iter().filter(|series| requested.allows(series.labels)) {
        steps.with_sent(&series, |sent| {
            difference.sent += 1;
            if accepted.allows(sent.labels) {
                difference.accepted += 1;
                return;
            }
            let entry = unused.entry(sent.name().to_owned()).or_insert_with(|| {
                let found = nearest.nearest(sent.labels);
                UnusedSeries {
                    metric: sent.name().to_owned(),
                    series: 0,
                    example: metrics::text(sent.labels),
                    sent_by: requested.rule_for(series.labels),
                    nearest: found.as_ref().map(|found| found.rule),
                    reason: found.as_ref().map_or_else(|| no_rule(sent.labels), mismatch_reason)
                        + &renamed(series.name(), sent.name(), accepted.allows(series.labels)),
                }
            });
            entry.series += 1;
        });
    }
    difference.unused = unused.into_values().collect();
    Ok(difference)
}

/// The difference of two lists by their rules alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleDifference {
    /// For each of the client's rules, in their order, how much of it the server accepts.
    pub rules: Vec<ServerCoverage>,
    /// The indices of the server's rules that certainly match no series that the client sends.
    pub unreached: Vec<usize>,
}

/// How much the server accepts of the series that one of the client's rules selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerCoverage {
    /// Certainly all.
    All,
    /// Certainly none.
    Nothing {
        /// The index of the server's rule that is nearest.
        nearest: Option<usize>,
        /// Why that rule does not match.
        reason: String,
    },
    /// Some, or all without certainty.
    Some {
        /// The indices of the server's rules that may match.
        by: Vec<usize>,
    },
}

/// Compares two lists by their rules alone. A server without rules accepts every series.
#[must_use]
pub fn by_rules(client: &RuleFile, server: &RuleFile, changes: &ClientChanges) -> RuleDifference {
    let selectors = server.selectors();
    let server_rules: Vec<NormalizedSelector> = selectors.iter().map(NormalizedSelector::of).collect();
    let mut nearest = NearestRules::new(&selectors);
    let client_rules: Vec<NormalizedSelector> = client
        .selectors()
        .iter()
        .map(|selector| {
            let mut rule = NormalizedSelector::of(selector);
            // A rule that selects no series still selects none after the changes.
            if rule.never().is_none() {
                apply_to_rule(&mut rule, changes);
            }
            rule
        })
        .collect();
    let rules = client_rules.iter().zip(client.selectors()).map(|(rule, selector)| {
        if server_rules.is_empty() || is_covered(rule, &server_rules) {
            return ServerCoverage::All;
        }
        let by: Vec<usize> = (0..server_rules.len()).filter(|index| !server_rules[*index].is_disjoint(rule)).collect();
        if !by.is_empty() {
            return ServerCoverage::Some { by };
        }
        let (found, reason) = nearest_to_example(&selector, changes, &server_rules, &mut nearest);
        ServerCoverage::Nothing { nearest: found, reason }
    });
    let rules = rules.collect();
    let is_reached = |server_rule: &NormalizedSelector| {
        client_rules.is_empty() || client_rules.iter().any(|rule| !rule.is_disjoint(server_rule))
    };
    let unreached = (0..server_rules.len()).filter(|index| !is_reached(&server_rules[*index])).collect();
    RuleDifference { rules, unreached }
}

/// Whether a single rule covers `rule`, or for each of its metric names a rule covers that part.
fn is_covered(rule: &NormalizedSelector, by: &[NormalizedSelector]) -> bool {
    let one = |part: &NormalizedSelector| by.iter().any(|other| other.covers(part));
    one(rule)
        || rule.names().is_some_and(|names| names.iter().all(|name| rule.of_name(name).is_some_and(|part| one(&part))))
}

/// An addition to the reason, for a renamed metric; `was_accepted` is whether it would be accepted under the old name.
fn renamed(old: &str, new: &str, was_accepted: bool) -> String {
    if old == new {
        return String::new();
    }
    let note = if was_accepted { ", which the server would take" } else { "" };
    format!("; the client renames it (--rename): it was {old}{note}")
}

/// The server's rule that is nearest to an example of a series that `selector` selects, and why that rule does not match.
fn nearest_to_example(
    selector: &Selector,
    changes: &ClientChanges,
    server_rules: &[NormalizedSelector],
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
    let reason = found.as_ref().map_or_else(|| no_rule(&labels), mismatch_reason);
    let was_accepted = server_rules.iter().any(|server_rule| !server_rule.is_disjoint(rule));
    (found.map(|found| found.rule), reason + &renamed(old, new, was_accepted))
}
