//! The registry: a record for each cluster whose credentials were accepted once.
//!
//! Records are spread over shards, each behind its own lock. A request of a known cluster takes one lock and allocates
//! nothing. Past the bound, the cluster that was heard from least recently is forgotten, whichever shard it is in.

use std::{
    hash::BuildHasher as _,
    net::IpAddr,
    sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use hashbrown::{DefaultHashBuilder, HashSet};
use parking_lot::{Mutex, RwLock};

use crate::{
    claimed::Claimed,
    outcome::{Reason, ReportRoute, RequestOutcome},
    record::{address_bytes, seconds},
    shard::RegistryShard,
    symbols::{OVERFLOW, SymbolId, TableFull, TextTable},
    view::ClusterRef,
};

/// How many fleet labels there may be.
pub const MAX_LABELS: usize = 8;

pub(crate) const SHARDS: usize = 64;
/// Texts that nobody refers to any more are looked for at most this often.
const SWEEP_EVERY_MS: i64 = 60_000;

/// How much the registry keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// How many clusters (`--fleet-max-clusters`).
    pub max_clusters: usize,
    /// For how long a cluster that is not heard from stays listed (`--fleet-forget-after`).
    pub forget_after: Duration,
    /// The names of the labels that the operator chose (`--fleet-label`), at most [`MAX_LABELS`]; more are ignored.
    pub labels: Vec<String>,
}

impl Default for RegistryConfig {
    /// A million clusters, 30 days, no labels.
    fn default() -> Self {
        Self { max_clusters: 1_000_000, forget_after: Duration::from_secs(30 * 24 * 60 * 60), labels: Vec::new() }
    }
}

/// A request that succeeded.
#[derive(Clone, Copy, Debug)]
pub struct AcceptedRequest<'a> {
    /// The verified ID of its cluster.
    pub cluster: &'a str,
    /// What was asked for.
    pub route: ReportRoute,
    /// When, in milliseconds since 1970.
    pub now_ms: i64,
    /// Where it came from.
    pub peer: IpAddr,
    /// Its `User-Agent`; empty where there was none. Kept to 128 bytes.
    pub user_agent: &'a str,
    /// What a report held; `None` on [`ReportRoute::Authorize`].
    pub report: Option<ReportSummary<'a>>,
}

/// What a report held.
#[derive(Clone, Copy, Debug)]
pub struct ReportSummary<'a> {
    /// Series that were kept.
    pub series: usize,
    /// Series that no rule of the whitelist allows.
    pub filtered: usize,
    /// Bytes of the body as it came.
    pub bytes: usize,
    /// How far its newest sample was ahead of our clock, in milliseconds; negative: behind.
    pub drift_ms: Option<i64>,
    /// The values of [`RegistryConfig::labels`], in that order; `None` keeps what is known.
    pub labels: &'a [Option<&'a str>],
}

/// A request that did not succeed.
#[derive(Clone, Copy, Debug)]
pub struct RefusedRequest<'a> {
    /// The ID of its cluster: verified for [`Registry::refuse`], claimed for [`Registry::refuse_claimed`], which takes an
    /// empty one where none was given.
    pub cluster: &'a str,
    /// What was asked for.
    pub route: ReportRoute,
    /// Why it was refused.
    pub reason: Reason,
    /// The status that it was answered with.
    pub status: u16,
    /// When, in milliseconds since 1970.
    pub now_ms: i64,
    /// Where it came from.
    pub peer: IpAddr,
    /// Its `User-Agent`.
    pub user_agent: &'a str,
}

/// What is known of each cluster.
pub struct Registry {
    config: RegistryConfig,
    hasher: DefaultHashBuilder,
    shards: Box<[LockedShard]>,
    clusters: AtomicUsize,
    evicted: AtomicU64,
    pub(crate) symbols: TextTable,
    claimed: Claimed,
    /// Held for reading by whoever stores a symbol, for writing while unused ones are taken out.
    sweeping: RwLock<()>,
    swept_ms: AtomicI64,
}

struct LockedShard {
    shard: Mutex<RegistryShard>,
    /// What `shard.oldest_heard()` says, to be read without the lock; `u32::MAX` where it is empty.
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
            claimed: Claimed::default(),
            sweeping: RwLock::default(),
            swept_ms: AtomicI64::new(i64::MIN),
        }
    }

    /// What it was made with.
    #[must_use]
    pub const fn config(&self) -> &RegistryConfig {
        &self.config
    }

    /// How many clusters are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clusters.load(Ordering::Relaxed)
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many clusters were forgotten because there were too many. Above 0, the list is not the whole fleet.
    #[must_use]
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Notes a request that succeeded.
    pub fn accept(&self, accepted: &AcceptedRequest<'_>) {
        let labels = accepted.report.map_or(&[][..], |report| report.labels);
        self.with_symbols(accepted.cluster, accepted.user_agent, labels, accepted.now_ms, |shard, place, symbols| {
            let outcome = RequestOutcome::Accepted(accepted.route);
            symbols.store(shard, place);
            let record = shard.record_mut(place);
            if let Some(report) = &accepted.report {
                record.reported(accepted.route, accepted.now_ms);
                record.series = clamp(report.series);
                record.filtered = clamp(report.filtered);
                record.bytes = clamp(report.bytes);
                if let Some(drift_ms) = report.drift_ms {
                    record.drift_ms = drift_ms.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
                }
            }
            heard(shard, place, outcome, accepted.peer, accepted.now_ms);
        });
    }

    /// Notes a request that did not succeed, of a cluster whose credentials were accepted.
    pub fn refuse(&self, refused: &RefusedRequest<'_>) {
        self.with_symbols(refused.cluster, refused.user_agent, &[], refused.now_ms, |shard, place, symbols| {
            symbols.store(shard, place);
            shard.refusals_mut(place).add(refused.route, refused.reason, refused.status, seconds(refused.now_ms));
            heard(shard, place, RequestOutcome::Refused(refused.route, refused.reason), refused.peer, refused.now_ms);
        });
    }

    /// Notes a refusal of a caller whose credentials were not accepted. The ID that it gave may be anybody's: it changes
    /// nothing of what is known of that cluster.
    pub fn refuse_claimed(&self, refused: &RefusedRequest<'_>) {
        self.claimed.add(refused);
    }

    /// Whether one of these values of the fleet labels, in their order, is another than what is known of this cluster.
    #[must_use]
    pub fn labels_differ(&self, cluster: &str, labels: &[Option<&str>]) -> bool {
        let shard = self.guarded(cluster).shard.lock();
        let known = shard.find(cluster).map_or(&[][..], |place| shard.labels(place));
        labels
            .iter()
            .enumerate()
            .take(self.config.labels.len())
            .any(|(at, label)| label.is_some_and(|label| !self.symbols.is(known.get(at).copied().unwrap_or(0), label)))
    }

    /// The refusals of callers whose credentials were not accepted.
    #[must_use]
    pub const fn claimed(&self) -> &Claimed {
        &self.claimed
    }

    /// What is known of one cluster.
    pub fn get<T>(&self, cluster: &str, read: impl FnOnce(ClusterRef<'_>) -> T) -> Option<T> {
        let shard = self.guarded(cluster).shard.lock();
        let place = shard.find(cluster)?;
        Some(read(ClusterRef::new(self, &shard, place, cluster)))
    }

    /// Shows every cluster, in no order. A shard is locked for as long as its clusters are shown.
    pub fn for_each(&self, mut visit: impl FnMut(ClusterRef<'_>)) {
        let mut id = String::new();
        for guarded in &self.shards {
            let shard = guarded.shard.lock();
            for place in shard.oldest_first() {
                shard.write_id(shard.record(place), &mut id);
                visit(ClusterRef::new(self, &shard, place, &id));
            }
        }
    }

    /// As [`Registry::for_each`], with an empty ID: several times as fast.
    pub fn for_each_without_id(&self, mut visit: impl FnMut(ClusterRef<'_>)) {
        for guarded in &self.shards {
            let shard = guarded.shard.lock();
            for place in shard.oldest_first() {
                visit(ClusterRef::new(self, &shard, place, ""));
            }
        }
    }

    /// Forgets the clusters that were not heard from for [`RegistryConfig::forget_after`].
    pub fn forget(&self, now_ms: i64) {
        let forget_ms = i64::try_from(self.config.forget_after.as_millis()).unwrap_or(i64::MAX);
        let limit = seconds(now_ms.saturating_sub(forget_ms));
        for guarded in &self.shards {
            self.change(guarded, |shard| {
                while shard.oldest_heard().is_some_and(|heard| heard < limit) {
                    shard.remove_oldest();
                }
            });
        }
    }

    /// Works on the record of `cluster` with the symbols of these texts.
    fn with_symbols(
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
            let guarded = self.guarded(cluster);
            let mut shard = guarded.shard.lock();
            let Ok(symbols) = self.symbols_of(&shard, cluster, user_agent, labels, retried) else {
                drop(shard);
                drop(sweeping);
                self.sweep(now_ms);
                retried = true;
                continue;
            };
            let before = shard.len();
            let place = shard.touch(cluster, seconds(now_ms));
            work(&mut shard, place, &symbols);
            guarded.oldest.store(shard.oldest_heard().unwrap_or(u32::MAX), Ordering::Relaxed);
            let grew = shard.len() > before;
            drop(shard);
            if grew {
                self.clusters.fetch_add(1, Ordering::Relaxed);
                self.relieve();
            }
            return;
        }
    }

    /// Symbols of the texts, those that the record holds already first.
    fn symbols_of(
        &self,
        shard: &RegistryShard,
        cluster: &str,
        user_agent: &str,
        labels: &[Option<&str>],
        or_overflow: bool,
    ) -> Result<NewSymbols, TableFull> {
        let known = shard.find(cluster);
        let of = |known: SymbolId, text: &str| match self.symbols.is(known, text) {
            true => Ok(known),
            false => match self.symbols.intern(text) {
                Err(TableFull) if or_overflow => self.symbols.intern(OVERFLOW),
                symbol => symbol,
            },
        };
        let user_agent = of(known.map_or(0, |place| shard.record(place).user_agent), user_agent)?;
        let mut symbols = NewSymbols { user_agent, labels: [None; MAX_LABELS] };
        for (at, text) in labels.iter().enumerate().take(self.config.labels.len()) {
            if let Some(text) = text {
                symbols.labels[at] = Some(of(known.map_or(0, |place| shard.labels(place)[at]), text)?);
            }
        }
        Ok(symbols)
    }

    /// Takes out the texts that no cluster refers to.
    fn sweep(&self, now_ms: i64) {
        let alone = self.sweeping.write();
        let swept_ms = self.swept_ms.load(Ordering::Relaxed);
        if now_ms.saturating_sub(swept_ms).abs() < SWEEP_EVERY_MS {
            return;
        }
        self.swept_ms.store(now_ms, Ordering::Relaxed);
        let mut used = HashSet::new();
        for guarded in &self.shards {
            let shard = guarded.shard.lock();
            for place in shard.oldest_first() {
                used.insert(shard.record(place).user_agent);
                used.extend(shard.labels(place));
            }
        }
        self.symbols.retain(|symbol| used.contains(&symbol));
        drop(alone);
    }

    fn relieve(&self) {
        while self.len() > self.config.max_clusters.max(1) {
            let oldest = |guarded: &&LockedShard| guarded.oldest.load(Ordering::Relaxed);
            let Some(guarded) = self.shards.iter().min_by_key(oldest) else { return };
            if self.change(guarded, RegistryShard::remove_oldest) {
                self.evicted.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Changes a shard, and counts what it holds; whether it got smaller.
    fn change(&self, guarded: &LockedShard, change: impl FnOnce(&mut RegistryShard)) -> bool {
        let mut shard = guarded.shard.lock();
        let before = shard.len();
        change(&mut shard);
        let after = shard.len();
        // A difference below zero wraps, and the sum wraps back.
        self.clusters.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        guarded.oldest.store(shard.oldest_heard().unwrap_or(u32::MAX), Ordering::Relaxed);
        after < before
    }

    fn guarded(&self, cluster: &str) -> &LockedShard {
        // The low bits choose the place within a shard's table.
        &self.shards[(self.hasher.hash_one(cluster) >> 40) as usize % SHARDS]
    }

    /// One of the [`SHARDS`] shards, locked.
    pub(crate) fn shard(&self, number: usize) -> parking_lot::MutexGuard<'_, RegistryShard> {
        self.shards[number].shard.lock()
    }

    /// Puts a record back that was written to a file. Call [`Registry::restored`] after the last one.
    pub(crate) fn restore(&self, cluster: &str, put: impl FnOnce(&mut RegistryShard, u32, &TextTable)) {
        let guarded = self.guarded(cluster);
        self.change(guarded, |shard| {
            let place = shard.touch(cluster, 1);
            put(shard, place, &self.symbols);
        });
    }

    /// Puts all records in the order in which they were heard, and forgets those that are too many.
    pub(crate) fn restored(&self) {
        for guarded in &self.shards {
            self.change(guarded, RegistryShard::sort);
        }
        self.relieve();
    }
}

/// What a request changes of a record's symbols.
struct NewSymbols {
    user_agent: SymbolId,
    labels: [Option<SymbolId>; MAX_LABELS],
}

impl NewSymbols {
    fn store(&self, shard: &mut RegistryShard, place: u32) {
        shard.record_mut(place).user_agent = self.user_agent;
        for (known, new) in shard.labels_mut(place).iter_mut().zip(self.labels) {
            *known = new.unwrap_or(*known);
        }
    }
}

fn heard(shard: &mut RegistryShard, place: u32, outcome: RequestOutcome, peer: IpAddr, now_ms: i64) {
    let now_s = seconds(now_ms);
    let record = shard.record_mut(place);
    record.exchanges.push(outcome, now_s.saturating_sub(record.last_heard));
    record.last_heard = now_s;
    record.peer = address_bytes(peer);
}

fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
