//! The recent store: what was forwarded, in memory, for a window of time and within a bound of bytes.
//!
//! Clusters are spread over shards, each behind its own lock. The labels of a cluster share texts, and samples are compressed. What is held is counted as it is asked of the allocator. Over the bound, the clusters that hold
//! most make room: they lose their older samples, then all but the newest of each series, then they go. Among those that
//! hold about as much (less than twice as much) it is the one that wrote longest ago. So one that holds less than half of
//! its share of the room keeps all of it, whatever the others send.
//!
//! A request is kept in two steps: [`stage`](RecentStore::stage) reads it while its bytes are there, and
//! [`commit`](RecentStore::commit) keeps it once the store has taken it. Nothing is decoded for it again: a series that is
//! known is told by a hash of its labels as they stand encoded, and only the labels of new ones are read.
//!
//! It is no database: it answers with the newest samples ([`select`](RecentStore::select)) and with what the pages show.

mod activity;
mod cluster;
mod names;
mod samples;
mod select;
mod shard;
mod staged;
mod symbols;
#[cfg(test)]
mod tests;
mod view;

use std::{
    hash::BuildHasher,
    ops::ControlFlow,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use hashbrown::DefaultHashBuilder;
use parking_lot::Mutex;
use telemeter_wire::{
    SeriesSet,
    remote_write::{self, EncodedSeries, Layout},
};

pub use activity::PARTS as ACTIVITY_PARTS;
pub use samples::StoredPoint;
pub use staged::Staged;
pub use view::{
    ClusterDetail, ClusterOrder, FamilyOrder, FamilyRow, FoundPage, SeriesRow, SortOrder, StoreTotals,
    StoredClusterRow, is_reporting,
};

use cluster::StoredCluster;
use shard::{Push, StoreShard};

/// How much the store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentStoreConfig {
    /// For how long a sample is kept.
    pub window: Duration,
    /// How many bytes all that is kept may take.
    pub max_bytes: usize,
}

/// A series whose newest sample is older than this has no current value: two pushes of a client, and a little.
pub const LOOKBACK: Duration = Duration::from_millis(activity::GAP_MS.unsigned_abs());

const SHARDS: usize = 16;

/// How many series are looked at before a lock is given back; a cluster is always looked at as a whole.
const SERIES_PER_LOCK: usize = 2048;

/// Recent series of all clusters. See the [module](self).
pub struct RecentStore {
    config: RecentStoreConfig,
    window_ms: i64,
    hasher: DefaultHashBuilder,
    shards: [LockedStoreShard; SHARDS],
    appends: AtomicU64,
    bytes: AtomicUsize,
    clusters: AtomicUsize,
    evicted: AtomicU64,
}

#[derive(Default)]
struct LockedStoreShard {
    shard: Mutex<StoreShard>,
    /// What `shard.eviction_priority()` says, to be read without the lock.
    eviction_priority: AtomicU64,
}

/// What became of one append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendCounts {
    /// Series with at least one sample that was kept or was known already.
    pub series: usize,
    /// Samples kept.
    pub samples: usize,
    /// Samples not kept: not newer than what the series has, or older than the window.
    pub late: usize,
    /// Series seen without a float sample: native histograms, which are not kept.
    pub histograms: usize,
}

impl RecentStore {
    /// An empty store.
    #[must_use]
    pub fn new(config: RecentStoreConfig) -> Self {
        Self {
            config,
            window_ms: i64::try_from(config.window.as_millis()).unwrap_or(i64::MAX).max(1),
            hasher: DefaultHashBuilder::default(),
            shards: Default::default(),
            appends: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            clusters: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
        }
    }

    /// What it was made with.
    #[must_use]
    pub const fn config(&self) -> RecentStoreConfig {
        self.config
    }

    /// Reads series of `cluster` as they stand encoded in a request, to be kept once the store has taken it. Nothing is
    /// kept by this.
    #[must_use]
    pub fn stage<'m>(&self, cluster: &str, series: impl ExactSizeIterator<Item = EncodedSeries<'m>>) -> Staged {
        let shard = self.shard_of(cluster).shard.lock();
        Staged::of(series, shard.cluster(cluster), &self.hasher)
    }

    /// Keeps the float samples that [`stage`](Self::stage) read of a request of `cluster`.
    ///
    /// While it runs, the store may be over its bound by what the request holds; when it returns, it is not. A series that
    /// was known when it was staged and made room since waits for the next request.
    pub fn commit(&self, cluster: &str, staged: &Staged, now_ms: i64) -> AppendCounts {
        let stamp = self.appends.fetch_add(1, Ordering::Relaxed);
        let push = Push { cluster, staged, hasher: &self.hasher, stamp, now_ms, window_ms: self.window_ms };
        let kept = self.with(self.shard_of(cluster), |shard| shard.append(&push));
        self.evict();
        kept
    }

    /// Keeps the float samples of `set`, series in canonical form that `cluster` sent: encodes, stages and commits them.
    pub fn append(&self, cluster: &str, set: &SeriesSet<'_>, now_ms: i64) -> AppendCounts {
        let (mut message, mut layout) = (Vec::new(), Layout::default());
        remote_write::encode_placed(set, &mut message, &mut layout);
        let staged = self.stage(cluster, layout.series(&message));
        self.commit(cluster, &staged, now_ms)
    }

    /// Drops what is older than the window. To be called every minute; a shard is locked at a time.
    pub fn sweep(&self, now_ms: i64) {
        let cutoff_ms = now_ms.saturating_sub(self.window_ms);
        for locked in &self.shards {
            self.with(locked, |shard| shard.sweep(cutoff_ms, &self.hasher));
        }
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How often a cluster was dropped, or cut short, for want of room.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Shows every cluster that is there when it begins to `visit`, at most once; `between` runs now and then, without
    /// a lock, and may end it.
    fn walk<S>(
        &self,
        state: &mut S,
        mut visit: impl FnMut(&mut S, &StoredCluster),
        mut between: impl FnMut(&mut S) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // One that is dropped and comes back meanwhile might stand in a later slot: it is a new one, and left out.
        let begun = self.appends.load(Ordering::Relaxed);
        for locked in &self.shards {
            let mut slot = 0;
            loop {
                let shard = locked.shard.lock();
                let (mut series, mut end) = (0, true);
                for (at, cluster) in shard.clusters_from(slot) {
                    if series >= SERIES_PER_LOCK {
                        end = false;
                        break;
                    }
                    slot = at + 1;
                    series += cluster.series.len() + 1;
                    if cluster.created < begun {
                        visit(state, cluster);
                    }
                }
                drop(shard);
                between(state)?;
                if end {
                    break;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn evict(&self) {
        while self.bytes() > self.config.max_bytes {
            let eviction_priority = |locked: &&LockedStoreShard| locked.eviction_priority.load(Ordering::Relaxed);
            let Some(locked) =
                self.shards.iter().max_by_key(eviction_priority).filter(|locked| eviction_priority(locked) > 0)
            else {
                return;
            };
            self.with(locked, |shard| shard.evict(&self.hasher));
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn shard_of(&self, cluster: &str) -> &LockedStoreShard {
        &self.shards[self.hasher.hash_one(cluster) as usize % SHARDS]
    }

    /// Changes a shard, and adds what changed to the sums.
    fn with<T>(&self, locked: &LockedStoreShard, change: impl FnOnce(&mut StoreShard) -> T) -> T {
        let mut shard = locked.shard.lock();
        let (bytes, clusters) = (shard.heap_bytes(), shard.len());
        let answer = change(&mut shard);
        // A difference below zero wraps, and the sum wraps back.
        self.bytes.fetch_add(shard.heap_bytes().wrapping_sub(bytes), Ordering::Relaxed);
        self.clusters.fetch_add(shard.len().wrapping_sub(clusters), Ordering::Relaxed);
        locked.eviction_priority.store(shard.eviction_priority(), Ordering::Relaxed);
        answer
    }
}
