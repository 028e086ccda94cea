//! Explains for each series whether it is kept or dropped, and why.

use telemeter_rules::{
    Whitelist,
    policy::nearest::{NearestRule, NearestRules},
};
use telemeter_wire::{Arena, Label, SeriesSet, series::NAME_LABEL};

use crate::{
    change::{ClientChanges, ClientSteps},
    metrics::{self, MetricsError},
    source::RuleFile,
};

/// The explanation for one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesExplanation {
    /// The series as it came, in the text format.
    pub series: String,
    /// The index of the rule that decided: the first one that selects the series, or the nearest one that does not.
    pub rule: Option<usize>,
    /// The series as it is stored; `None` where it is dropped.
    pub becomes: Option<String>,
    /// Why it is dropped; empty where it is kept.
    pub reason: String,
}

/// Explains for each series in `body` (text or delimited protobuf) whether the rules keep it, and how `changes` change it.
/// Without rules every series is kept, as at the server.
///
/// # Errors
/// [`MetricsError`] where `body` cannot be decoded.
pub fn explain(rules: &RuleFile, body: &[u8], changes: &ClientChanges) -> Result<Vec<SeriesExplanation>, MetricsError> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    metrics::decode_detected(body, &mut set)?;
    let selectors = rules.selectors();
    let whitelist = Whitelist::new(selectors.clone());
    let mut nearest = NearestRules::new(&selectors);
    let steps = ClientSteps::new(changes);
    let explained = set.iter().map(|series| {
        let text = metrics::text(series.labels);
        if !whitelist.allows(series.labels) {
            let found = nearest.nearest(series.labels);
            let reason = found.as_ref().map_or_else(|| no_rule(series.labels), mismatch_reason);
            return SeriesExplanation { series: text, rule: found.map(|found| found.rule), becomes: None, reason };
        }
        let rule = whitelist.rule_for(series.labels);
        let becomes = steps.with_stored(&series, |series| metrics::text(series.labels));
        let reason = if becomes.is_none() { "its metric name is too long".to_owned() } else { String::new() };
        SeriesExplanation { series: text, rule, becomes, reason }
    });
    Ok(explained.collect())
}

/// Why a series does not match its nearest rule.
pub(crate) fn mismatch_reason(nearest: &NearestRule) -> String {
    let miss = |miss: &telemeter_rules::policy::nearest::UnmetMatcher| {
        let name = miss.matcher.name();
        let is = match (name, miss.value.as_str()) {
            (NAME_LABEL, value) => format!("the name is {value}"),
            (name, "") => format!("{name} is not there"),
            (name, value) => format!("{name} is {value:?}"),
        };
        format!("{is}, and the rule asks for {}", miss.matcher)
    };
    nearest.misses.iter().map(miss).collect::<Vec<_>>().join("; ")
}

/// The reason for a series without a nearest rule.
pub(crate) fn no_rule(labels: &[Label<'_>]) -> String {
    let name = labels.iter().find(|label| label.name == NAME_LABEL).map_or("", |label| label.value);
    format!("no rule names {name}, nor anything like it")
}
