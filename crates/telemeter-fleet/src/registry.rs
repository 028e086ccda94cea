//! The registry: a record for each cluster whose credentials were accepted at least once.
//!
//! Records are divided among shards, each with its own lock. A request of a known cluster takes one lock and allocates
//! nothing. Over the bound, the cluster whose last request is longest ago is evicted, whichever shard it is in.

use std::{
    hash::BuildHasher as _,
    net::IpAddr,
    sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use hashbrown::{DefaultHashBuilder, HashSet};
use parking_lot::{Mutex, RwLock};

use crate::{
    claimed::ClaimedRefusals,
    outcome::RequestOutcome,
    record::{address_bytes, seconds},
    request::{AcceptedRequest, RefusedRequest},
    shard::RegistryShard,
    symbols::{OVERFLOW, SymbolId, TableFull, TextTable},
    view::ClusterRef,
};

/// The most fleet labels.
pub const MAX_LABELS: usize = 8;

pub(crate) const SHARDS: usize = 64;
/// The least time between two removals of unused texts.
const SWEEP_EVERY_MS: i64 = 60_000;

/// The bounds of the registry, and the labels that it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// The most clusters (`--fleet-max-clusters`).
    pub max_clusters: usize,
    /// A cluster that sent no request for so long is forgotten (`--fleet-forget-after`).
    pub forget_after: Duration,
    /// The names of the fleet labels (`--fleet-label`), at most [`MAX_LABELS`]; more are ignored.
    pub labels: Vec<String>,
}

impl Default for RegistryConfig {
    /// A million clusters, 30 days, no labels.
    fn default() -> Self {
        Self { max_clusters: 1_000_000, forget_after: Duration::from_secs(30 * 24 * 60 * 60), labels: Vec::new() }
    }
}

/// A record for each known cluster: its reports, refusals and labels.
pub struct Registry {
    config: RegistryConfig,
    hasher: DefaultHashBuilder,
    shards: Box<[LockedShard]>,
    clusters: AtomicUsize,
    evicted: AtomicU64,
    pub(crate) symbols: TextTable,
    claimed: ClaimedRefusals,
    /// Locked for reading while a symbol is put into a record, for writing while unused symbols are removed.
    sweeping: RwLock<()>,
    swept_ms: AtomicI64,
}

struct LockedShard {
    shard: Mutex<RegistryShard>,
    /// The value of `shard.oldest_heard()`, readable without the lock; `u32::MAX` for an empty shard.
    oldest: AtomicU32,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new(mut config: RegistryConfig) -> Self {
        config.labels.truncate(MAX_LABELS);
        let hasher = DefaultHashBuilder::default();
        let label_count = config.labels.len();
        let shard = || Mutex::new(RegistryShard::new(hasher.clone(), label_count));
        let shards = (0..SHARDS).map(|_| LockedShard { shard: shard(), oldest: AtomicU32::new(u32::MAX) }).collect();
        Self {
            config,
            hasher,
            shards,
            clusters: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            symbols: TextTable::default(),
            claimed: ClaimedRefusals::default(),
            sweeping: RwLock::default(),
            swept_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// The configuration, with at most [`MAX_LABELS`] labels.
    #[must_use]
    pub const fn config(&self) -> &RegistryConfig {
        &self.config
    }

    /// The number of known clusters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clusters.load(Ordering::Relaxed)
    }

    /// Whether no cluster is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of clusters that were evicted because there were too many. Above 0, the registry is not the whole fleet.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Records a request that succeeded.
    pub fn accept(&self, accepted: &AcceptedRequest<'_>) {
        let labels = accepted.report.map_or(&[][..], |report| report.labels);
        self.update_record(accepted.cluster, accepted.user_agent, labels, accepted.now_ms, |shard, slot, symbols| {
            let outcome = RequestOutcome::Accepted(accepted.route);
            symbols.store(shard, slot);
            let record = shard.record_mut(slot);
            if let Some(report) = &accepted.report {
                record.reported(accepted.route, accepted.now_ms);
                record.series = clamp(report.series);
                record.filtered = clamp(report.filtered);
                record.bytes = clamp(report.bytes);
                if let Some(drift_ms) = report.drift_ms {
                    record.drift_ms = drift_ms.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
                }
            }
            record_exchange(shard, slot, outcome, accepted.peer, accepted.now_ms);
        });
    }

    /// Records a request that was refused, of a cluster whose credentials were accepted.
    pub fn refuse(&self, refused: &RefusedRequest<'_>) {
        self.update_record(refused.cluster, refused.user_agent, &[], refused.now_ms, |shard, slot, symbols| {
            symbols.store(shard, slot);
            shard.refusals_mut(slot).add(refused.route, refused.reason, refused.status, seconds(refused.now_ms));
            let outcome = RequestOutcome::Refused(refused.route, refused.reason);
            record_exchange(shard, slot, outcome, refused.peer, refused.now_ms);
        });
    }

    /// Records the refusal of a caller whose credentials were not accepted. The ID that it claims may belong to another
    /// cluster, so the record of that cluster is not changed.
    pub fn refuse_claimed(&self, refused: &RefusedRequest<'_>) {
        self.claimed.add(refused);
    }

    /// Whether one of these values of the fleet labels, in their order, differs from the record of this cluster.
    #[must_use]
    pub fn labels_differ(&self, cluster: &str, labels: &[Option<&str>]) -> bool {
        let shard = self.shard_of(cluster).shard.lock();
        let known = shard.find(cluster).map_or(&[][..], |slot| shard.labels(slot));
        labels.iter().enumerate().take(self.config.labels.len()).any(|(at, label)| {
            label.is_some_and(|label| !self.symbols.is_text_of(known.get(at).copied().unwrap_or(0), label))
        })
    }

    /// The refusals of callers whose credentials were not accepted.
    #[must_use]
    pub const fn claimed_refusals(&self) -> &ClaimedRefusals {
        &self.claimed
    }

    /// Calls `read` with the record of one cluster; `None` where the cluster is not known.
    pub fn get<T>(&self, cluster: &str, read: impl FnOnce(ClusterRef<'_>) -> T) -> Option<T> {
        let shard = self.shard_of(cluster).shard.lock();
        let slot = shard.find(cluster)?;
        Some(read(ClusterRef::new(&self.symbols, &shard, slot, cluster)))
    }

    /// Calls `visit` with every cluster, in no order. Each shard is locked while its clusters are visited.
    pub fn for_each(&self, mut visit: impl FnMut(ClusterRef<'_>)) {
        let mut id = String::new();
        for locked in &self.shards {
            let shard = locked.shard.lock();
            for slot in shard.oldest_first() {
                shard.write_id(shard.record(slot), &mut id);
                visit(ClusterRef::new(&self.symbols, &shard, slot, &id));
            }
        }
    }

    /// As [`Registry::for_each`], but the ID of every [`ClusterRef`] is empty: several times as fast.
    pub fn for_each_without_id(&self, mut visit: impl FnMut(ClusterRef<'_>)) {
        for locked in &self.shards {
            let shard = locked.shard.lock();
            for slot in shard.oldest_first() {
                visit(ClusterRef::new(&self.symbols, &shard, slot, ""));
            }
        }
    }

    /// Forgets the clusters that sent no request for [`RegistryConfig::forget_after`].
    pub fn forget(&self, now_ms: i64) {
        let forget_ms = i64::try_from(self.config.forget_after.as_millis()).unwrap_or(i64::MAX);
        let limit = seconds(now_ms.saturating_sub(forget_ms));
        for locked in &self.shards {
            self.update_shard(locked, |shard| {
                while shard.oldest_heard().is_some_and(|heard| heard < limit) {
                    shard.remove_oldest();
                }
            });
        }
    }

    /// Calls `work` with the record of `cluster`, which is added where it is missing, and with the symbols of these texts.
    fn update_record(
        &self,
        cluster: &str,
        user_agent: &str,
        labels: &[Option<&str>],
        now_ms: i64,
        work: impl FnOnce(&mut RegistryShard, u32, &NewSymbols),
    ) {
        let mut retried = false;
        loop {
            let sweeping = self.sweeping.read();
            let locked = self.shard_of(cluster);
            let mut shard = locked.shard.lock();
            let Ok(symbols) = self.symbols_of(&shard, cluster, user_agent, labels, retried) else {
                drop(shard);
                drop(sweeping);
                self.sweep(now_ms);
                retried = true;
                continue;
            };
            let before = shard.len();
            let slot = shard.find_or_insert(cluster, seconds(now_ms));
            work(&mut shard, slot, &symbols);
            locked.oldest.store(shard.oldest_heard().unwrap_or(u32::MAX), Ordering::Relaxed);
            let grew = shard.len() > before;
            drop(shard);
            if grew {
                self.clusters.fetch_add(1, Ordering::Relaxed);
                self.evict_excess();
            }
            return;
        }
    }

    /// The symbols of these texts; those that the record already has are found without a look-up in the table.
    fn symbols_of(
        &self,
        shard: &RegistryShard,
        cluster: &str,
        user_agent: &str,
        labels: &[Option<&str>],
        or_overflow: bool,
    ) -> Result<NewSymbols, TableFull> {
        let known = shard.find(cluster);
        let of = |known: SymbolId, text: &str| match self.symbols.is_text_of(known, text) {
            true => Ok(known),
            false => match self.symbols.intern(text) {
                Err(TableFull) if or_overflow => self.symbols.intern(OVERFLOW),
                symbol => symbol,
            },
        };
        let user_agent = of(known.map_or(0, |slot| shard.record(slot).user_agent), user_agent)?;
        let mut symbols = NewSymbols { user_agent, labels: [None; MAX_LABELS] };
        for (at, text) in labels.iter().enumerate().take(self.config.labels.len()) {
            if let Some(text) = text {
                symbols.labels[at] = Some(of(known.map_or(0, |slot| shard.labels(slot)[at]), text)?);
            }
        }
        Ok(symbols)
    }

    /// Removes the texts that no cluster refers to.
    fn sweep(&self, now_ms: i64) {
        let exclusive = self.sweeping.write();
        let swept_ms = self.swept_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(swept_ms).abs() < SWEEP_EVERY_MS {
            return;
        }
        self.swept_ms.store(now_ms, Ordering::Relaxed);
        let mut used = HashSet::new();
        for locked in &self.shards {
            let shard = locked.shard.lock();
            for slot in shard.oldest_first() {
                used.insert(shard.record(slot).user_agent);
                used.extend(shard.labels(slot));
            }
        }
        self.symbols.retain(|symbol| used.contains(&symbol));
        drop(exclusive);
    }

    /// Evicts the clusters over the bound, those first whose last request is longest ago.
    fn evict_excess(&self) {
        while self.len() > self.config.max_clusters.max(1) {
            let oldest = |locked: &&LockedShard| locked.oldest.load(Ordering::Relaxed);
            let Some(locked) = self.shards.iter().min_by_key(oldest) else { return };
            if self.update_shard(locked, RegistryShard::remove_oldest) {
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Changes a shard and updates the sums over all shards; whether the shard lost clusters.
    fn update_shard(&self, locked: &LockedShard, change: impl FnOnce(&mut RegistryShard)) -> bool {
        let mut shard = locked.shard.lock();
        let before = shard.len();
        change(&mut shard);
        let after = shard.len();
        // A difference below zero wraps, and the sum wraps back.
        self.clusters.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        locked.oldest.store(shard.oldest_heard().unwrap_or(u32::MAX), Ordering::Relaxed);
        after < before
    }

    /// The part of the registry that holds this cluster.
    fn shard_of(&self, cluster: &str) -> &LockedShard {
        // The shard's table uses the low bits.
        &self.shards[(self.hasher.hash_one(cluster) >> 40) as usize % SHARDS]
    }

    /// One of the [`SHARDS`] shards, locked.
    pub(crate) fn shard(&self, number: usize) -> parking_lot::MutexGuard<'_, RegistryShard> {
        self.shards[number].shard.lock()
    }

    /// Adds a record that was read from a file. [`Registry::finish_restore`] has to be called after the last one.
    pub(crate) fn restore_record(&self, cluster: &str, put: impl FnOnce(&mut RegistryShard, u32, &TextTable)) {
        let locked = self.shard_of(cluster);
        self.update_shard(locked, |shard| {
            let slot = shard.find_or_insert(cluster, 1);
            put(shard, slot, &self.symbols);
        });
    }

    /// Sorts all records by the time of their last request, and evicts those over the bound.
    pub(crate) fn finish_restore(&self) {
        for locked in &self.shards {
            self.update_shard(locked, RegistryShard::sort);
        }
        self.evict_excess();
    }
}

/// The symbols that a request puts into a record; `None` leaves a label as it is.
struct NewSymbols {
    user_agent: SymbolId,
    labels: [Option<SymbolId>; MAX_LABELS],
}

impl NewSymbols {
    /// Sets the cluster's user agent and the labels that are new; other labels stay as they are.
    fn store(&self, shard: &mut RegistryShard, slot: u32) {
        shard.record_mut(slot).user_agent = self.user_agent;
        for (known, new) in shard.labels_mut(slot).iter_mut().zip(self.labels) {
            *known = new.unwrap_or(*known);
        }
    }
}

/// Adds a request to the cluster's history, and sets when and from which address it was last heard.
fn record_exchange(shard: &mut RegistryShard, slot: u32, outcome: RequestOutcome, peer: IpAddr, now_ms: i64) {
    let now_s = seconds(now_ms);
    let record = shard.record_mut(slot);
    record.exchanges.push(outcome, now_s.saturating_sub(record.last_heard));
    record.last_heard = now_s;
    record.peer = address_bytes(peer);
}

/// The number, at most the largest of 32 bits.
fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
