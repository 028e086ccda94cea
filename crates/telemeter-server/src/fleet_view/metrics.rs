//! Which metrics the fleet sends, which rule lets each in, and what the whitelist drops.

use serde::Serialize;
use telemeter_fleet::recent_store::{FamilyOrder, Order};
use telemeter_rules::Selector;
use telemeter_wire::series::NAME_LABEL;

use super::{FleetView, Part, summary::FilteredMetric};

/// So many dropped names are shown.
const DROPPED: usize = 100;

/// What is asked of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricQuery {
    /// Part of the name; empty: all.
    pub search: String,
    /// What they are sorted by.
    pub sort: MetricSort,
    /// The other way around.
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
    /// Not the metrics that pass, but those that are dropped, most dropped first.
    Filtered,
}

/// A part of the metrics, and what stands beside them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// How many metrics pass, as far as the recent store knows.
    pub total: usize,
    /// How many of them were passed over.
    pub offset: usize,
    /// Whether there is a recent store: without one, only what is dropped is known.
    pub whole: bool,
    /// The metrics.
    pub items: Vec<MetricRow>,
    /// The names that the whitelist drops most.
    pub dropped: Vec<FilteredMetric>,
    /// Rules of the whitelist by whose name matchers no metric of the recent store passes.
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
    /// The first rule of the whitelist that lets such a name in; `null` where there is no whitelist.
    pub rule: Option<String>,
}

impl FleetView {
    /// A part of the metrics.
    #[must_use]
    pub fn metrics(&self, query: &MetricQuery, part: Part) -> Metrics {
        let gateway = self.gateway();
        let rules = gateway.rules.load_full();
        let selectors = rules.whitelist().selectors();
        let search = query.search.trim().to_lowercase();
        let is_wanted = |name: &str| search.is_empty() || name.to_lowercase().contains(&search);
        let mut dropped = self.filtered_metrics(usize::MAX);
        dropped.retain(|metric| is_wanted(&metric.name));
        dropped.truncate(DROPPED);
        let Some(store) = &gateway.recent_store else {
            return Metrics {
                total: 0,
                offset: part.offset,
                whole: false,
                items: Vec::new(),
                dropped,
                unmatched_rules: Vec::new(),
            };
        };
        let by = match query.sort {
            MetricSort::Name | MetricSort::Filtered => FamilyOrder::Name,
            MetricSort::Series => FamilyOrder::Series,
            MetricSort::Clusters => FamilyOrder::Clusters,
        };
        let order = if query.descending { Order::Descending } else { Order::Ascending };
        let end = part.offset.saturating_add(part.limit);
        let found = store.families(is_wanted, by, order, part.offset..end);
        let items = found.rows.into_iter().map(|row| MetricRow {
            rule: selectors.iter().find(|selector| lets_in(selector, &row.name)).map(ToString::to_string),
            name: row.name,
            series: row.series,
            clusters: row.clusters,
        });
        let items = items.collect();
        let all = store.families(|_| true, FamilyOrder::Name, Order::Ascending, 0..usize::MAX);
        let unmatched = selectors.iter().filter(|selector| !all.rows.iter().any(|row| lets_in(selector, &row.name)));
        Metrics {
            total: found.matched,
            offset: part.offset,
            whole: true,
            items,
            dropped,
            unmatched_rules: unmatched.map(ToString::to_string).collect(),
        }
    }
}

/// Whether a selector says nothing against this metric name.
fn lets_in(selector: &Selector, name: &str) -> bool {
    selector.matchers().iter().filter(|matcher| matcher.name() == NAME_LABEL).all(|matcher| matcher.matches_value(name))
}
