//! The recent store: what was forwarded, in memory, for a window of time and within a bound of bytes.
//!
//! Clusters are spread over shards, each behind its own lock, with its own table of the texts that labels share;
//! samples are compressed. What is held is counted as it is asked of the allocator. Over the bound, whole clusters go,
//! those that wrote longest ago first; one that fills half of the bound, or is alone, loses its older samples instead.
//!
//! It is no database: it answers with the newest samples ([`select`](RecentStore::select)) and with what the pages show.

mod activity;
mod cluster;
mod names;
mod samples;
mod select;
mod shard;
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
use telemeter_wire::{Arena, Limits, SeriesSet, remote_write};

pub use activity::PARTS as ACTIVITY_PARTS;
pub use samples::Point;
pub use view::{
    ClusterDetail, ClusterOrder, ClusterRow, FamilyOrder, FamilyRow, Found, Order, SeriesRow, Totals, is_reporting,
};

use cluster::Cluster;
use shard::{Push, Shard};
use symbols::Symbols;

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

/// Room for decoding that is kept between requests: so many arenas, each of so many bytes.
const KEPT_ARENAS: usize = 4;
const KEPT_ARENA_BYTES: usize = 1 << 20;

/// Recent series of all clusters. See the [module](self).
pub struct RecentStore {
    config: RecentStoreConfig,
    window_ms: i64,
    hasher: DefaultHashBuilder,
    shards: [Guarded; SHARDS],
    appends: AtomicU64,
    bytes: AtomicUsize,
    clusters: AtomicUsize,
    evicted: AtomicU64,
    arenas: Mutex<Vec<Arena>>,
}

#[derive(Default)]
struct Guarded {
    shard: Mutex<Shard>,
    /// What `shard.oldest()` says, to be read without the lock; `u64::MAX` where it is empty.
    oldest: AtomicU64,
}

/// What became of one append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
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
        let store = Self {
            config,
            window_ms: i64::try_from(config.window.as_millis()).unwrap_or(i64::MAX).max(1),
            hasher: DefaultHashBuilder::default(),
            shards: Default::default(),
            appends: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            clusters: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            arenas: Mutex::new(Vec::new()),
        };
        for guarded in &store.shards {
            guarded.oldest.store(u64::MAX, Ordering::Relaxed);
        }
        store
    }

    /// What it was made with.
    #[must_use]
    pub const fn config(&self) -> RecentStoreConfig {
        self.config
    }

    /// Keeps the float samples of `set`, series in canonical form that `cluster` sent.
    ///
    /// While it runs, the store may be over its bound by what `set` holds; when it returns, it is not.
    pub fn append(&self, cluster: &str, set: &SeriesSet<'_>, now_ms: i64) -> Kept {
        let stamp = self.appends.fetch_add(1, Ordering::Relaxed);
        let push = Push { cluster, set, stamp, now_ms, window_ms: self.window_ms };
        let kept = self.with(self.shard_of(cluster), |shard| shard.append(&push));
        self.relieve();
        kept
    }

    /// As [`append`](Self::append), of a decompressed remote-write request as it was sent to the store behind us.
    ///
    /// # Errors
    /// What [`remote_write::decode`] says of the bytes; nothing is kept then.
    pub fn append_encoded(
        &self,
        cluster: &str,
        write_request: &[u8],
        now_ms: i64,
    ) -> Result<Kept, telemeter_wire::Error> {
        let mut arena = self.arenas.lock().pop().unwrap_or_default();
        let kept = {
            let mut set = SeriesSet::new_in(&arena);
            // Its own limits were held when it came in: these only keep `u32` ranges from overflowing.
            let limits = Limits {
                series: u32::MAX as usize,
                labels: u32::MAX as usize,
                text_bytes: usize::MAX,
                symbols: usize::MAX,
                labels_per_series: usize::MAX,
                label_name_bytes: usize::MAX,
                label_value_bytes: usize::MAX,
            };
            remote_write::decode(write_request, &limits, &mut set).map(|_| self.append(cluster, &set, now_ms))
        };
        arena.reset();
        let mut arenas = self.arenas.lock();
        if arenas.len() < KEPT_ARENAS && arena.held_bytes() <= KEPT_ARENA_BYTES {
            arenas.push(arena);
        }
        kept
    }

    /// Drops what is older than the window. To be called every minute; a shard is locked at a time.
    pub fn sweep(&self, now_ms: i64) {
        let cutoff_ms = now_ms.saturating_sub(self.window_ms);
        for guarded in &self.shards {
            self.with(guarded, |shard| shard.sweep(cutoff_ms));
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
        mut visit: impl FnMut(&mut S, &Symbols, &Cluster),
        mut between: impl FnMut(&mut S) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        // One that is dropped and comes back meanwhile might stand in a later slot: it is a new one, and left out.
        let begun = self.appends.load(Ordering::Relaxed);
        for guarded in &self.shards {
            let mut slot = 0;
            loop {
                let shard = guarded.shard.lock();
                let (mut series, mut end) = (0, true);
                for (at, cluster) in shard.clusters_from(slot) {
                    if series >= SERIES_PER_LOCK {
                        end = false;
                        break;
                    }
                    slot = at + 1;
                    series += cluster.series.len() + 1;
                    if cluster.created < begun {
                        visit(state, &shard.symbols, cluster);
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

    fn relieve(&self) {
        while self.bytes() > self.config.max_bytes {
            let oldest = |guarded: &&Guarded| guarded.oldest.load(Ordering::Relaxed);
            let Some(guarded) = self.shards.iter().min_by_key(oldest).filter(|guarded| oldest(guarded) < u64::MAX)
            else {
                return;
            };
            let alone = self.clusters.load(Ordering::Relaxed) <= 1;
            self.with(guarded, |shard| shard.relieve(alone, self.config.max_bytes));
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn shard_of(&self, cluster: &str) -> &Guarded {
        &self.shards[self.hasher.hash_one(cluster) as usize % SHARDS]
    }

    /// Changes a shard, and adds what changed to the sums.
    fn with<T>(&self, guarded: &Guarded, change: impl FnOnce(&mut Shard) -> T) -> T {
        let mut shard = guarded.shard.lock();
        let (bytes, clusters) = (shard.heap_bytes(), shard.len());
        let answer = change(&mut shard);
        // A difference below zero wraps, and the sum wraps back.
        self.bytes.fetch_add(shard.heap_bytes().wrapping_sub(bytes), Ordering::Relaxed);
        self.clusters.fetch_add(shard.len().wrapping_sub(clusters), Ordering::Relaxed);
        guarded.oldest.store(shard.oldest().unwrap_or(u64::MAX), Ordering::Relaxed);
        answer
    }
}
