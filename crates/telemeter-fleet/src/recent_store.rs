//! The recent store: the forwarded samples of a window of time, in memory, within a bound of bytes.
//!
//! Clusters are divided among shards, each with its own lock. Within a cluster, labels share their texts, and samples are
//! compressed. The size is counted as it is requested from the allocator. Over the bound, the largest clusters are reduced:
//! they lose their older samples, then all but the newest sample of each series, then they are removed. Among clusters of
//! about the same size (less than twice as large) it is the one whose last write is longest ago. So a cluster with less
//! than half of its share of the memory loses nothing, whatever the others send.
//!
//! A request is added in two steps: [`stage`](RecentStore::stage) reads it while its bytes are in memory, and
//! [`commit`](RecentStore::commit) adds it once the store behind us has accepted it. Nothing is decoded again for this: a
//! known series is found by a hash of its encoded labels, and only the labels of new series are decoded.
//!
//! It is not a database: it has the newest samples ([`select`](RecentStore::select)) and the rows of the pages.

mod activity;
mod cluster;
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
pub use view::{ClusterDetail, FoundPage, SeriesRow, StoreTotals, StoredClusterRow, is_reporting};

use cluster::StoredCluster;
use shard::{Push, StoreShard};

/// The bounds of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentStoreConfig {
    /// For how long a sample is kept.
    pub window: Duration,
    /// The most memory for all clusters, in bytes.
    pub max_bytes: usize,
}

/// A series whose newest sample is older than this has no current value: a little more than two intervals of a client.
pub const LOOKBACK: Duration = Duration::from_millis(activity::GAP_MS.unsigned_abs());

const SHARDS: usize = 16;

/// How many series are visited before a lock is released; the series of one cluster are always visited together.
const SERIES_PER_LOCK: usize = 2048;

/// The recent series of all clusters, within the bounds that the [module](self) describes.
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
    /// The value of `shard.eviction_priority()`, readable without the lock.
    eviction_priority: AtomicU64,
}

/// What one append added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendCounts {
    /// Series of which at least one sample was added, or that were known already.
    pub series: usize,
    /// Samples that were added.
    pub samples: usize,
    /// Samples that were not added: not newer than the newest of the series, or older than the window.
    pub late: usize,
    /// Series without a float sample: native histograms, which are not stored.
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

    /// The bounds of the store.
    #[must_use]
    pub const fn config(&self) -> RecentStoreConfig {
        self.config
    }

    /// Reads the encoded series of a request of `cluster`, to be added by [`commit`](Self::commit). The store is not changed.
    #[must_use]
    pub fn stage<'m>(&self, cluster: &str, series: impl ExactSizeIterator<Item = EncodedSeries<'m>>) -> Staged {
        let shard = self.shard_of(cluster).shard.lock();
        let known = shard.cluster(cluster);
        Staged::read(series, |hash, hint| known?.index_of(hash, hint), &self.hasher)
    }

    /// Adds the float samples that [`stage`](Self::stage) read from a request of `cluster`.
    ///
    /// While it runs, the store may exceed its bound by the size of the request; afterwards it does not. A series that was
    /// known when it was staged, and was evicted since, is added by the next request only.
    pub fn commit(&self, cluster: &str, staged: &Staged, now_ms: i64) -> AppendCounts {
        let stamp = self.appends.fetch_add(1, Ordering::Relaxed);
        let push = Push { cluster, staged, hasher: &self.hasher, stamp, now_ms, window_ms: self.window_ms };
        let counts = self.update_shard(self.shard_of(cluster), |shard| shard.append(&push));
        self.evict_excess();
        counts
    }

    /// Encodes, stages and commits the series of `set`, which `cluster` sent and which have canonical form.
    pub fn append(&self, cluster: &str, set: &SeriesSet<'_>, now_ms: i64) -> AppendCounts {
        let (mut message, mut layout) = (Vec::new(), Layout::default());
        remote_write::encode_placed(set, &mut message, &mut layout);
        let staged = self.stage(cluster, layout.series(&message));
        self.commit(cluster, &staged, now_ms)
    }

    /// Removes the samples that are older than the window. To be called every minute; it locks one shard at a time.
    pub fn sweep(&self, now_ms: i64) {
        let cutoff_ms = now_ms.saturating_sub(self.window_ms);
        for locked in &self.shards {
            self.update_shard(locked, |shard| shard.sweep(cutoff_ms, &self.hasher));
        }
    }

    /// The size of all clusters, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How often a cluster was reduced or removed because the store was over its bound.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Calls `visit` at most once with every cluster that exists when the walk begins. `between` is called now and then,
    /// without a lock, and may end the walk.
    fn walk<S>(
        &self,
        state: &mut S,
        mut visit: impl FnMut(&mut S, &StoredCluster),
        mut between: impl FnMut(&mut S) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // A cluster that is removed and added again meanwhile may get a later slot: it counts as new, and is left out.
        let appends_at_start = self.appends.load(Ordering::Relaxed);
        for locked in &self.shards {
            let mut slot = 0;
            loop {
                let shard = locked.shard.lock();
                let (mut series, mut is_complete) = (0, true);
                for (at, cluster) in shard.clusters_from(slot) {
                    if series >= SERIES_PER_LOCK {
                        is_complete = false;
                        break;
                    }
                    slot = at + 1;
                    series += cluster.series.len() + 1;
                    if cluster.created < appends_at_start {
                        visit(state, cluster);
                    }
                }
                drop(shard);
                between(state)?;
                if is_complete {
                    break;
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Reduces or removes clusters until the store is within its bound.
    fn evict_excess(&self) {
        while self.bytes() > self.config.max_bytes {
            let eviction_priority = |locked: &&LockedStoreShard| locked.eviction_priority.load(Ordering::Relaxed);
            let Some(locked) =
                self.shards.iter().max_by_key(eviction_priority).filter(|locked| eviction_priority(locked) > 0)
            else {
                return;
            };
            self.update_shard(locked, |shard| shard.evict(&self.hasher));
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn shard_of(&self, cluster: &str) -> &LockedStoreShard {
        &self.shards[self.hasher.hash_one(cluster) as usize % SHARDS]
    }

    /// Changes a shard, and adds the differences to the sums over all shards.
    fn update_shard<T>(&self, locked: &LockedStoreShard, change: impl FnOnce(&mut StoreShard) -> T) -> T {
        let mut shard = locked.shard.lock();
        let (bytes, clusters) = (shard.heap_bytes(), shard.len());
        let result = change(&mut shard);
        // A difference below zero wraps, and the sum wraps back.
        self.bytes.fetch_add(shard.heap_bytes().wrapping_sub(bytes), Ordering::Relaxed);
        self.clusters.fetch_add(shard.len().wrapping_sub(clusters), Ordering::Relaxed);
        locked.eviction_priority.store(shard.eviction_priority(), Ordering::Relaxed);
        result
    }
}
