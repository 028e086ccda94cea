//! Which metrics the fleet sends, which rule lets each in, and what the whitelist drops.

use std::cmp::Ordering;

use hashbrown::HashMap;
use serde::Serialize;
use telemeter_wire::Label;

use super::{FleetView, ListPart, rule_hits::RuleHits, summary::FilteredMetric};
use crate::rules::ServerRules;

/// How many dropped names are shown.
const DROPPED: usize = 100;

/// What a list is searched and sorted by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricQuery {
    /// Part of the name; empty: all.
    pub search: String,
    /// What they are sorted by.
    pub sort: MetricSort,
    /// Whether the order is reversed.
    pub descending: bool,
}

/// What metrics are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricSort {
    /// The name.
    #[default]
    Name,
    /// How many series there are.
    Series,
    /// How many clusters send it.
    Clusters,
    /// How many series of it are dropped: lists dropped metrics in place of those that pass.
    Filtered,
}

impl MetricSort {
    /// Finds one by its name in the API.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "name" => Self::Name,
            "series" => Self::Series,
            "clusters" => Self::Clusters,
            "filtered" => Self::Filtered,
            _ => return None,
        })
    }
}

/// A part of the list of metrics, and what is shown next to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetricList {
    /// How many metrics the recent store holds.
    pub total: usize,
    /// How many come before `items`.
    pub offset: usize,
    /// Whether there is a recent store: without one, only what is dropped is known.
    pub whole: bool,
    /// How many clusters the recent store holds.
    pub clusters: usize,
    /// The metrics.
    pub items: Vec<MetricRow>,
    /// The names that the whitelist drops most.
    pub dropped: Vec<FilteredMetric>,
    /// How many rules the whitelist has; none lets everything in.
    pub rules: usize,
    /// Rules of the whitelist that no series of the recent store matches.
    pub unmatched_rules: Vec<String>,
}

/// A metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetricRow {
    /// Its name.
    pub name: String,
    /// Series in the recent store.
    pub series: usize,
    /// Clusters that send it.
    pub clusters: usize,
    /// The first rule of the whitelist that lets a series of it in; `null` where there is no whitelist, or where no rule does
    /// now.
    pub rule: Option<String>,
}

/// The counts of one metric name.
pub(super) struct NameCounts {
    series: usize,
    clusters: usize,
    /// The number of the last cluster that sent it.
    last_cluster: usize,
    hits: RuleHits,
}

struct MetricsCounter<'r> {
    rules: &'r ServerRules,
    cluster: String,
    clusters: usize,
    names: HashMap<String, NameCounts>,
}

impl MetricsCounter<'_> {
    /// Counts one series; returns whether its labels are needed, too.
    fn count(&mut self, cluster: &str, name: &str) -> bool {
        if self.cluster != cluster {
            cluster.clone_into(&mut self.cluster);
            self.clusters += 1;
        }
        let number = self.clusters;
        let counts = match self.names.get_mut(name) {
            Some(counts) => counts,
            None => {
                let hits = RuleHits::of_name(self.rules, name);
                let counts = NameCounts { series: 0, clusters: 0, last_cluster: 0, hits };
                self.names.entry(name.to_owned()).or_insert(counts)
            }
        };
        counts.series += 1;
        if counts.last_cluster != number {
            counts.last_cluster = number;
            counts.clusters += 1;
        }
        counts.hits.is_open()
    }

    fn match_rules(&mut self, labels: &[Label<'_>]) {
        let name = telemeter_wire::series::value_of(labels, telemeter_wire::series::NAME_LABEL).unwrap_or("");
        if let Some(counts) = self.names.get_mut(name) {
            counts.hits.match_series(self.rules, labels);
        }
    }
}

impl FleetView {
    /// Reads a part of the list of metrics.
    #[must_use]
    pub fn metrics(&self, query: &MetricQuery, part: ListPart) -> MetricList {
        let gateway = self.gateway();
        let rules = gateway.rules.load_full();
        let selectors = rules.whitelist().selectors();
        let search = query.search.trim().to_lowercase();
        let is_searched = |name: &str| search.is_empty() || name.to_lowercase().contains(&search);
        let mut dropped = self.filtered_metrics(usize::MAX);
        dropped.retain(|metric| is_searched(&metric.name));
        dropped.truncate(DROPPED);
        let mut metrics = MetricList {
            total: 0,
            offset: part.offset,
            whole: gateway.recent_store.is_some(),
            clusters: 0,
            items: Vec::new(),
            dropped,
            rules: selectors.len(),
            unmatched_rules: Vec::new(),
        };
        let Some(store) = &gateway.recent_store else { return metrics };
        let mut counter = MetricsCounter { rules: &rules, cluster: String::new(), clusters: 0, names: HashMap::new() };
        store.for_each_series(&mut counter, MetricsCounter::count, |counter, _, labels| counter.match_rules(labels));
        let mut is_matched = vec![false; selectors.len()];
        for counts in counter.names.values() {
            counts.hits.matched().for_each(|rule| is_matched[rule] = true);
        }
        let unmatched = selectors.iter().zip(&is_matched).filter(|(_, is_matched)| !**is_matched);
        metrics.unmatched_rules = unmatched.map(|(selector, _)| selector.to_string()).collect();
        metrics.clusters = counter.clusters;
        let mut found: Vec<_> = counter.names.into_iter().filter(|(name, _)| is_searched(name)).collect();
        metrics.total = found.len();
        part.sort(&mut found, |(a_name, a), (b_name, b)| {
            let by_key = match query.sort {
                MetricSort::Name | MetricSort::Filtered => Ordering::Equal,
                MetricSort::Series => a.series.cmp(&b.series),
                MetricSort::Clusters => a.clusters.cmp(&b.clusters),
            };
            let by_key = if query.descending { by_key.reverse() } else { by_key };
            let by_name = a_name.cmp(b_name);
            let is_by_name = matches!(query.sort, MetricSort::Name | MetricSort::Filtered);
            by_key.then(if query.descending && is_by_name { by_name.reverse() } else { by_name })
        });
        let items = found.into_iter().map(|(name, counts)| MetricRow {
            name,
            series: counts.series,
            clusters: counts.clusters,
            rule: counts.hits.first().map(|rule| selectors[rule].to_string()),
        });
        metrics.items = items.collect();
        metrics
    }
}
