//! What the pages show of the store: owned copies, one page at a time.

use std::{
    cmp::Ordering,
    collections::HashMap,
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

/// All that is held, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreTotals {
    /// Clusters.
    pub clusters: usize,
    /// Those of them that wrote within [`LOOKBACK`](super::LOOKBACK).
    pub reporting: usize,
    /// Series.
    pub series: usize,
    /// Samples.
    pub samples: usize,
    /// Bytes.
    pub bytes: usize,
    /// As many bytes it may become.
    pub max_bytes: usize,
    /// For how long a sample is kept.
    pub window: Duration,
    /// How often something was dropped for want of room.
    pub evictions: u64,
}

/// Which way a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Smallest, oldest, A first.
    #[default]
    Ascending,
    /// Largest, newest, Z first.
    Descending,
}

/// One page of a longer list.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundPage<T> {
    /// What stands on the page.
    pub rows: Vec<T>,
    /// How many there are on all pages.
    pub matched: usize,
}

/// What clusters are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterOrder {
    /// Its ID.
    #[default]
    Id,
    /// When it last wrote.
    Seen,
    /// How many series it has.
    Series,
    /// How many samples a minute it sends.
    Rate,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredClusterRow {
    /// Its ID.
    pub id: Arc<str>,
    /// When it was first seen, as far as is still known.
    pub since_ms: i64,
    /// When it last wrote.
    pub seen_ms: i64,
    /// Series held.
    pub series: usize,
    /// Samples held.
    pub samples: usize,
    /// Samples a minute, on average.
    pub per_minute: f64,
    /// The same for each part of the window that it is known for, oldest first.
    pub activity: Vec<f64>,
}

/// A cluster, and a page of its series.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterDetail {
    /// The cluster.
    pub cluster: StoredClusterRow,
    /// How many metric names it has.
    pub families: usize,
    /// Series with native histograms only in its last push: seen, and not kept.
    pub histograms: usize,
    /// Bytes that it takes.
    pub bytes: usize,
    /// Its series, sorted by name, then by labels.
    pub found: FoundPage<SeriesRow>,
}

/// A series.
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

/// What families are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyOrder {
    /// The metric name.
    #[default]
    Name,
    /// How many clusters send it.
    Clusters,
    /// How many series it has.
    Series,
}

/// All series of one metric name, in all clusters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyRow {
    /// The metric name.
    pub name: String,
    /// How many clusters send it.
    pub clusters: usize,
    /// How many series it has.
    pub series: usize,
}

impl RecentStore {
    /// The numbers.
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
        self.look(&mut totals, |totals, cluster| {
            totals.clusters += 1;
            totals.reporting += usize::from(is_reporting(cluster.seen_ms, now_ms));
            totals.series += cluster.series.len();
            totals.samples += cluster.samples;
        });
        totals
    }

    /// A page of the clusters whose ID `matches` answers `true` for.
    #[must_use]
    pub fn clusters(
        &self,
        now_ms: i64,
        matches: impl Fn(&str) -> bool,
        by: ClusterOrder,
        order: SortOrder,
        page: Range<usize>,
    ) -> FoundPage<StoredClusterRow> {
        // Light ones of all first: a page needs the rest of a hundred only.
        let mut all: Vec<(f64, Arc<str>)> = Vec::new();
        self.look(&mut all, |all, cluster| {
            if matches(&cluster.id) {
                let key = match by {
                    ClusterOrder::Id => 0.0,
                    ClusterOrder::Seen => cluster.seen_ms as f64,
                    ClusterOrder::Series => cluster.series.len() as f64,
                    ClusterOrder::Rate => cluster.activity.per_minute(now_ms),
                };
                all.push((key, Arc::clone(&cluster.id)));
            }
        });
        let matched = all.len();
        let by_id = |a: &(f64, Arc<str>), b: &(f64, Arc<str>)| a.1.cmp(&b.1);
        let rows = match by {
            ClusterOrder::Id => page_of(all, order, page, by_id, by_id),
            _ => page_of(all, order, page, |a, b| a.0.total_cmp(&b.0), by_id),
        };
        let rows = rows.into_iter().filter_map(|(_, id)| {
            let shard = self.shard_of(&id).shard.lock();
            shard.cluster(&id).map(|cluster| row(cluster, now_ms))
        });
        FoundPage { rows: rows.collect(), matched }
    }

    /// A cluster, with a page of the series that `matches` answers `true` for; `None` where it is not held.
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
        let all: Vec<&StoredSeries> = all.collect();
        let matched = all.len();
        let by_name = |a: &&StoredSeries, b: &&StoredSeries| a.name(symbols).cmp(b.name(symbols));
        let by_labels = |a: &&StoredSeries, b: &&StoredSeries| a.labels(symbols).cmp(b.labels(symbols));
        let rows = page_of(all, SortOrder::Ascending, page, by_name, by_labels);
        names.sort_unstable();
        names.dedup();
        Some(ClusterDetail {
            cluster: row(cluster, now_ms),
            families: names.len(),
            histograms: cluster.histograms,
            bytes: cluster.bytes(),
            found: FoundPage { rows: rows.into_iter().map(|series| series_row(series, symbols)).collect(), matched },
        })
    }

    /// A page of the metric names that `matches` answers `true` for.
    #[must_use]
    pub fn families(
        &self,
        matches: impl Fn(&str) -> bool,
        by: FamilyOrder,
        order: SortOrder,
        page: Range<usize>,
    ) -> FoundPage<FamilyRow> {
        let mut all = HashMap::<String, (usize, usize)>::new();
        self.look(&mut all, |all, cluster| {
            let mut names: Vec<&str> = cluster.series.iter().map(|series| series.name(&cluster.symbols)).collect();
            names.sort_unstable();
            for same in names.chunk_by(|a, b| a == b) {
                if !matches(same[0]) {
                    continue;
                }
                match all.get_mut(same[0]) {
                    Some(counts) => *counts = (counts.0 + 1, counts.1 + same.len()),
                    None => drop(all.insert(same[0].to_owned(), (1, same.len()))),
                }
            }
        });
        let rows: Vec<_> =
            all.into_iter().map(|(name, (clusters, series))| FamilyRow { name, clusters, series }).collect();
        let matched = rows.len();
        let key = |a: &FamilyRow, b: &FamilyRow| match by {
            FamilyOrder::Name => a.name.cmp(&b.name),
            FamilyOrder::Clusters => a.clusters.cmp(&b.clusters),
            FamilyOrder::Series => a.series.cmp(&b.series),
        };
        let rows = page_of(rows, order, page, key, |a, b| a.name.cmp(&b.name));
        FoundPage { rows, matched }
    }

    /// Shows every series that is held, those of a cluster one after the other: first its cluster's ID and its metric name
    /// to `wants`, then, where that answers `true`, the ID and all labels, the name among them, to `visit`.
    pub fn for_each_series<S>(
        &self,
        state: &mut S,
        mut wants: impl FnMut(&mut S, &str, &str) -> bool,
        mut visit: impl FnMut(&mut S, &str, &[Label<'_>]),
    ) {
        self.look(state, |state, cluster| {
            let (symbols, mut labels) = (&cluster.symbols, Vec::new());
            for series in &cluster.series {
                if wants(state, &cluster.id, series.name(symbols)) {
                    labels.clear();
                    labels.extend(series.labels(symbols));
                    visit(state, &cluster.id, &labels);
                }
            }
        });
    }

    fn look<S>(&self, state: &mut S, visit: impl FnMut(&mut S, &StoredCluster)) {
        let _ = self.walk(state, visit, |_| ControlFlow::Continue(()));
    }
}

/// Whether a cluster that last wrote at `seen_ms` is still to be called reporting.
#[must_use]
pub const fn is_reporting(seen_ms: i64, now_ms: i64) -> bool {
    now_ms.saturating_sub(seen_ms) <= super::activity::GAP_MS
}

/// Sorts by `key` in `order`, equal ones by `name` from A on, and takes a page of that.
fn page_of<T>(
    mut all: Vec<T>,
    order: SortOrder,
    page: Range<usize>,
    key: impl Fn(&T, &T) -> Ordering,
    name: impl Fn(&T, &T) -> Ordering,
) -> Vec<T> {
    all.sort_unstable_by(|a, b| {
        let by_key = match order {
            SortOrder::Ascending => key(a, b),
            SortOrder::Descending => key(b, a),
        };
        by_key.then_with(|| name(a, b))
    });
    let from = page.start.min(all.len());
    all.drain(..from);
    all.truncate(page.end.saturating_sub(page.start));
    all
}

fn row(cluster: &StoredCluster, now_ms: i64) -> StoredClusterRow {
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

fn series_row(series: &StoredSeries, symbols: &ClusterTexts) -> SeriesRow {
    let labels = series.labels(symbols).filter(|label| label.name != NAME_LABEL);
    SeriesRow {
        name: series.name(symbols).to_owned(),
        kind: series.kind,
        labels: labels.map(|label| (label.name.to_owned(), label.value.to_owned())).collect(),
        points: series.samples.iter().collect(),
    }
}
