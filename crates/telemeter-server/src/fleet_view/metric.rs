//! One metric: who sends it, with which labels, and which rules let it in.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};

use hashbrown::{HashMap, HashSet};
use serde::Serialize;
use telemeter_wire::{Label, series::NAME_LABEL};

use super::{
    FleetView,
    rule_hits::{first_match, rules_of_name},
};
use crate::rules::ServerRules;

/// How many clusters that send a metric are listed.
const CLUSTERS: usize = 20;
/// How many values of a label are shown.
const EXAMPLES: usize = 3;
/// Longer values are cut to so many bytes.
const EXAMPLE_BYTES: usize = 64;

/// Why a metric may not be known: shown in place of its details.
pub const UNKNOWN_METRIC: &str = "no series of this metric is held, and none was dropped since the start: no cluster sends \
    it to this replica, its name is another, or there is no recent store (--recent-store)";

/// What a metric's page and the API show of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetricDetails {
    /// Its name.
    pub name: String,
    /// Whether there is a recent store: without one, series, clusters and labels are not known.
    pub whole: bool,
    /// Series in the recent store.
    pub series: usize,
    /// Clusters that send it.
    pub clusters: usize,
    /// How many clusters the recent store holds.
    pub clusters_total: usize,
    /// Whether the whitelist has rules; without, everything passes.
    pub has_whitelist: bool,
    /// The rules that its name does not rule out, in the order of the whitelist, each with the series that it is the first to
    /// let in.
    pub rules: Vec<RuleRow>,
    /// Series that no rule lets in now: they came before the rules were changed.
    pub series_without_rule: usize,
    /// Its labels, by name.
    pub labels: Vec<LabelRow>,
    /// The clusters that send most series of it.
    pub top_clusters: Vec<ClusterSeries>,
    /// Series of this name that the whitelist dropped since the start, as far as they are counted.
    pub dropped_total: u64,
}

/// A rule of the whitelist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleRow {
    /// The selector.
    pub rule: String,
    /// Series that it is the first to let in.
    pub series: usize,
}

/// A label of a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelRow {
    /// Its name.
    pub name: String,
    /// How many values it has.
    pub values: usize,
    /// How many series have it.
    pub series: usize,
    /// Some of its values.
    pub examples: Vec<String>,
}

/// A cluster that sends a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterSeries {
    /// Its ID.
    pub id: String,
    /// How many series of the metric it sends.
    pub series: usize,
}

struct MetricCounter<'r> {
    rules: &'r ServerRules,
    name: &'r str,
    rules_of_name: &'r [usize],
    hasher: RandomState,
    clusters_total: usize,
    current: String,
    clusters: Vec<ClusterSeries>,
    labels: BTreeMap<String, LabelValues>,
    by_rule: HashMap<Option<usize>, usize>,
}

#[derive(Default)]
struct LabelValues {
    series: usize,
    /// Hashes of its values: there may be a million of them.
    value_hashes: HashSet<u64>,
    examples: Vec<String>,
}

impl MetricCounter<'_> {
    /// Counts the cluster of a series; returns whether the series is of the metric, so that its labels are counted, too.
    fn count(&mut self, cluster: &str, name: &str) -> bool {
        if self.current != cluster {
            cluster.clone_into(&mut self.current);
            self.clusters_total += 1;
        }
        name == self.name
    }

    /// Counts one series of a cluster: for the cluster, for the first rule that allows it, and for each label other
    /// than the name. Of a label, the first [`EXAMPLES`] different values are kept as examples, cut to
    /// [`EXAMPLE_BYTES`]. All series of a cluster have to be counted one after the other.
    fn count_labels(&mut self, cluster: &str, labels: &[Label<'_>]) {
        match self.clusters.last_mut() {
            Some(last) if last.id == cluster => last.series += 1,
            _ => self.clusters.push(ClusterSeries { id: cluster.to_owned(), series: 1 }),
        }
        *self.by_rule.entry(first_match(self.rules, self.rules_of_name, labels)).or_default() += 1;
        for label in labels.iter().filter(|label| label.name != NAME_LABEL) {
            if !self.labels.contains_key(label.name) {
                self.labels.insert(label.name.to_owned(), LabelValues::default());
            }
            let Some(values) = self.labels.get_mut(label.name) else { continue };
            values.series += 1;
            if values.value_hashes.insert(self.hasher.hash_one(label.value)) && values.examples.len() < EXAMPLES {
                let end = label.value.floor_char_boundary(EXAMPLE_BYTES);
                let more = if end < label.value.len() { "…" } else { "" };
                values.examples.push(format!("{}{more}", &label.value[..end]));
            }
        }
    }
}

impl MetricDetails {
    /// Whether a series of it is held, or was dropped.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.series > 0 || self.dropped_total > 0
    }
}

impl FleetView {
    /// One metric; `None` where nothing is known of it: no series of it is held, and none was dropped.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<MetricDetails> {
        let details = self.metric_or_empty(name);
        details.is_known().then_some(details)
    }

    /// As [`metric`](Self::metric); for a metric of which nothing is known it has the rules that its name does not rule out.
    #[must_use]
    pub fn metric_or_empty(&self, name: &str) -> MetricDetails {
        let gateway = self.gateway();
        let rules = gateway.rules.load_full();
        let rules_of_name = rules_of_name(&rules, name);
        let mut counter = MetricCounter {
            rules: &rules,
            name,
            rules_of_name: &rules_of_name,
            hasher: RandomState::new(),
            clusters_total: 0,
            current: String::new(),
            clusters: Vec::new(),
            labels: BTreeMap::new(),
            by_rule: HashMap::new(),
        };
        if let Some(store) = &gateway.recent_store {
            store.for_each_series(&mut counter, MetricCounter::count, MetricCounter::count_labels);
        }
        let MetricCounter { clusters_total, mut clusters, labels, by_rule, .. } = counter;
        let cluster_count = clusters.len();
        let series = clusters.iter().map(|cluster| cluster.series).sum();
        clusters.sort_unstable_by(|a, b| (Reverse(a.series), &a.id).cmp(&(Reverse(b.series), &b.id)));
        clusters.truncate(CLUSTERS);
        let selectors = rules.whitelist().selectors();
        let named = rules_of_name.iter().map(|at| RuleRow {
            rule: selectors[*at].to_string(),
            series: by_rule.get(&Some(*at)).copied().unwrap_or(0),
        });
        let has_whitelist = !selectors.is_empty();
        MetricDetails {
            name: name.to_owned(),
            whole: gateway.recent_store.is_some(),
            series,
            clusters: cluster_count,
            clusters_total,
            has_whitelist,
            rules: named.collect(),
            series_without_rule: if has_whitelist { by_rule.get(&None).copied().unwrap_or(0) } else { 0 },
            labels: (labels.into_iter())
                .map(|(name, values)| LabelRow {
                    name,
                    values: values.value_hashes.len(),
                    series: values.series,
                    examples: values.examples,
                })
                .collect(),
            top_clusters: clusters,
            dropped_total: gateway.fleet.dropped.count_of(name),
        }
    }
}
