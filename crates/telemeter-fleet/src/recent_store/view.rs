//! The rows of the pages: owned copies of clusters and series, one page at a time.

use std::{
    ops::{ControlFlow, Range},
    sync::Arc,
    time::Duration,
};

use telemeter_wire::{Label, MetricType, series::NAME_LABEL};

use super::{
    RecentStore,
    cluster::{StoredCluster, StoredSeries},
    samples::StoredPoint,
    symbols::ClusterTexts,
};

/// Figures about the whole store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreTotals {
    /// The number of clusters.
    pub clusters: usize,
    /// The number of clusters that wrote within [`LOOKBACK`](super::LOOKBACK).
    pub reporting: usize,
    /// The number of series.
    pub series: usize,
    /// The number of samples.
    pub samples: usize,
    /// The size, in bytes.
    pub bytes: usize,
    /// The bound of the size, in bytes.
    pub max_bytes: usize,
    /// For how long a sample is kept.
    pub window: Duration,
    /// How often a cluster was reduced or removed because the store was over its bound.
    pub evictions: u64,
}

/// One page of a longer list.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundPage<T> {
    /// The rows of the page.
    pub rows: Vec<T>,
    /// The number of rows on all pages.
    pub matched: usize,
}

/// Figures about one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredClusterRow {
    /// Its ID.
    pub id: Arc<str>,
    /// The time since which it is in the store without interruption, in milliseconds since 1970.
    pub since_ms: i64,
    /// The time of its last write, in milliseconds since 1970.
    pub seen_ms: i64,
    /// The number of its series.
    pub series: usize,
    /// The number of its samples.
    pub samples: usize,
    /// Samples per minute, on average.
    pub per_minute: f64,
    /// Samples per minute for each part of the window for which they are known, oldest first.
    pub activity: Vec<f64>,
}

/// A cluster, and a page of its series.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterDetail {
    /// The cluster.
    pub cluster: StoredClusterRow,
    /// The number of its metric names.
    pub families: usize,
    /// The number of series with native histograms only in its last push; they are not stored.
    pub histograms: usize,
    /// Its size, in bytes.
    pub bytes: usize,
    /// A page of its series, sorted by name, then by labels.
    pub found: FoundPage<SeriesRow>,
}

/// A series with all its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesRow {
    /// Its metric name.
    pub name: String,
    /// The type of its family.
    pub kind: MetricType,
    /// Its other labels.
    pub labels: Vec<(String, String)>,
    /// Its samples, oldest first; at least one.
    pub points: Vec<StoredPoint>,
}

impl RecentStore {
    /// Counts the clusters, series and samples of the store, and returns its size, limits and evictions. `now_ms`, in Unix
    /// milliseconds, decides only which clusters count as reporting. Visits every cluster.
    #[must_use]
    pub fn totals(&self, now_ms: i64) -> StoreTotals {
        let config = self.config();
        let mut totals = StoreTotals {
            clusters: 0,
            reporting: 0,
            series: 0,
            samples: 0,
            bytes: self.bytes(),
            max_bytes: config.max_bytes,
            window: config.window,
            evictions: self.evictions(),
        };
        self.for_each_cluster(&mut totals, |totals, cluster| {
            totals.clusters += 1;
            totals.reporting += usize::from(is_reporting(cluster.seen_ms, now_ms));
            totals.series += cluster.series.len();
            totals.samples += cluster.samples;
        });
        totals
    }

    /// A cluster with a page of the series for whose labels `matches` returns `true`; `None` where it is not in the store.
    #[must_use]
    pub fn cluster(
        &self,
        id: &str,
        now_ms: i64,
        matches: impl Fn(&[Label<'_>]) -> bool,
        page: Range<usize>,
    ) -> Option<ClusterDetail> {
        let shard = self.shard_of(id).shard.lock();
        let cluster = shard.cluster(id)?;
        let symbols = &cluster.symbols;
        let mut labels = Vec::new();
        let mut names: Vec<&str> = cluster.series.iter().map(|series| series.name(symbols)).collect();
        let all = cluster.series.iter().filter(|series| {
            labels.clear();
            labels.extend(series.labels(symbols));
            matches(&labels)
        });
        let mut all: Vec<&StoredSeries> = all.collect();
        let matched = all.len();
        all.sort_unstable_by(|a, b| {
            a.name(symbols).cmp(b.name(symbols)).then_with(|| a.labels(symbols).cmp(b.labels(symbols)))
        });
        let rows = all.into_iter().skip(page.start).take(page.len());
        names.sort_unstable();
        names.dedup();
        Some(ClusterDetail {
            cluster: cluster_row(cluster, now_ms),
            families: names.len(),
            histograms: cluster.histograms,
            bytes: cluster.bytes(),
            found: FoundPage { rows: rows.map(|series| series_row(series, symbols)).collect(), matched },
        })
    }

    /// Visits every series, one cluster after the other. `select` is called with the cluster's ID and the metric name; where
    /// it returns `true`, `visit` is called with the ID and all labels, `__name__` included.
    pub fn for_each_series<S>(
        &self,
        state: &mut S,
        mut select: impl FnMut(&mut S, &str, &str) -> bool,
        mut visit: impl FnMut(&mut S, &str, &[Label<'_>]),
    ) {
        self.for_each_cluster(state, |state, cluster| {
            let (symbols, mut labels) = (&cluster.symbols, Vec::new());
            for series in &cluster.series {
                if select(state, &cluster.id, series.name(symbols)) {
                    labels.clear();
                    labels.extend(series.labels(symbols));
                    visit(state, &cluster.id, &labels);
                }
            }
        });
    }

    /// Calls `visit` with every cluster, in no order.
    fn for_each_cluster<S>(&self, state: &mut S, visit: impl FnMut(&mut S, &StoredCluster)) {
        let _ = self.walk(state, visit, |_| ControlFlow::Continue(()));
    }
}

/// Whether a cluster whose last write was at `seen_ms` counts as reporting.
#[must_use]
pub const fn is_reporting(seen_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(seen_ms) <= super::activity::GAP_MS
}

/// What is shown of a cluster; rates are those at `now_ms`.
fn cluster_row(cluster: &StoredCluster, now_ms: i64) -> StoredClusterRow {
    StoredClusterRow {
        id: Arc::clone(&cluster.id),
        since_ms: cluster.since_ms,
        seen_ms: cluster.seen_ms,
        series: cluster.series.len(),
        samples: cluster.samples,
        per_minute: cluster.activity.per_minute(now_ms),
        activity: cluster.activity.per_minute_by_part(now_ms),
    }
}

/// What is shown of a series, with all of its samples; the metric's name is not among its labels.
fn series_row(series: &StoredSeries, symbols: &ClusterTexts) -> SeriesRow {
    let labels = series.labels(symbols).filter(|label| label.name != NAME_LABEL);
    SeriesRow {
        name: series.name(symbols).to_owned(),
        kind: series.kind,
        labels: labels.map(|label| (label.name.to_owned(), label.value.to_owned())).collect(),
        points: series.samples.iter().collect(),
    }
}
