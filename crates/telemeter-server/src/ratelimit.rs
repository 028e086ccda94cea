//! One upload of a cluster every so often, in bounded memory.
//!
//! A generic cell rate algorithm with a burst of one: for each cluster the time of its next slot, under a keyed 128-bit
//! fingerprint of its ID, in sharded maps. Slots that have come up are swept out, so memory follows the number of
//! clusters seen within one period: about 70 bytes each.

use std::{collections::hash_map::RandomState, hash::BuildHasher, sync::Arc, time::Duration};

use hashbrown::HashMap;
use parking_lot::Mutex;

const SHARDS: usize = 64;
/// So many clusters in one shard; past that, those whose slot comes up soonest are forgotten.
const MAX_PER_SHARD: usize = 65_536;

/// Lets each cluster upload once per period.
#[derive(Debug)]
pub struct RateLimit {
    period_ms: i64,
    keys: [RandomState; 2],
    shards: Box<[Mutex<HashMap<u128, i64, BuildFingerprint>>]>,
}

/// The slot that an upload uses. Its drop gives it back, unless [`keep`](Slot::keep) was called: a caller that left before
/// there was an outcome may upload again at once.
#[must_use]
#[derive(Debug)]
pub struct Slot {
    record: Option<SlotRecord>,
}

/// Which slot a [`Slot`] is, to use it up where the store accepts the data of a caller that has left.
#[derive(Clone, Debug)]
pub struct SlotRecord {
    limit: Arc<RateLimit>,
    fingerprint: u128,
    next_ms: i64,
}

/// The cluster has no slot yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// Time until the next slot.
    pub retry_after: Duration,
}

/// A fingerprint is random already: 64 of its bits are a hash.
#[derive(Clone, Copy, Debug, Default)]
struct BuildFingerprint;

struct FingerprintHasher(u64);

impl BuildHasher for BuildFingerprint {
    type Hasher = FingerprintHasher;

    fn build_hasher(&self) -> FingerprintHasher {
        FingerprintHasher(0)
    }
}

impl std::hash::Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            self.0 ^= chunk.iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
        }
    }

    fn write_u128(&mut self, fingerprint: u128) {
        self.0 = fingerprint as u64;
    }
}

impl RateLimit {
    /// Lets each cluster upload once per `period`.
    #[must_use]
    pub fn new(period: Duration) -> Self {
        Self {
            period_ms: i64::try_from(period.as_millis()).unwrap_or(i64::MAX),
            keys: [RandomState::new(), RandomState::new()],
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    /// Time from one upload to the next.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_millis(self.period_ms.unsigned_abs())
    }

    /// Uses the slot of this cluster, where it has one at `now_ms`. A refusal changes nothing.
    ///
    /// # Errors
    /// [`Limited`], with the time until the next slot.
    pub fn acquire(self: &Arc<Self>, cluster: &str, now_ms: i64) -> Result<Slot, Limited> {
        let fingerprint = self.fingerprint(cluster);
        let mut shard = self.shard(fingerprint).lock();
        let next_ms = now_ms.saturating_add(self.period_ms);
        if let Some(&slot_ms) = shard.get(&fingerprint)
            && slot_ms > now_ms
            // Where the clock was set back, a slot can seem further away than any slot is.
            && slot_ms <= next_ms
        {
            let wait = u64::try_from(slot_ms - now_ms).unwrap_or(0);
            return Err(Limited { retry_after: Duration::from_millis(wait) });
        }
        if shard.len() >= MAX_PER_SHARD && !shard.contains_key(&fingerprint) {
            make_room(&mut shard, now_ms);
        }
        shard.insert(fingerprint, next_ms);
        Ok(Slot { record: Some(SlotRecord { limit: self.clone(), fingerprint, next_ms }) })
    }

    /// When the next slot of this cluster comes up, in milliseconds; `None` where it may upload at once.
    #[must_use]
    pub fn next_slot_ms(&self, cluster: &str, now_ms: i64) -> Option<i64> {
        let fingerprint = self.fingerprint(cluster);
        let slot_ms = self.shard(fingerprint).lock().get(&fingerprint).copied();
        slot_ms.filter(|slot_ms| *slot_ms > now_ms && *slot_ms <= now_ms.saturating_add(self.period_ms))
    }

    /// Forgets the slots that have come up by `now_ms`, and frees their memory where a shard uses only a small part of
    /// it.
    pub fn sweep(&self, now_ms: i64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.retain(|_, slot_ms| *slot_ms > now_ms);
            if shard.capacity() > 4 * shard.len() + 64 {
                let keep = 2 * shard.len();
                shard.shrink_to(keep);
            }
        }
    }

    /// How many clusters are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether no cluster is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn fingerprint(&self, cluster: &str) -> u128 {
        u128::from(self.keys[0].hash_one(cluster)) << 64 | u128::from(self.keys[1].hash_one(cluster))
    }

    fn shard(&self, fingerprint: u128) -> &Mutex<HashMap<u128, i64, BuildFingerprint>> {
        &self.shards[(fingerprint >> 64) as usize % SHARDS]
    }
}

/// Forgets slots that have come up; where there are none, the soonest half.
#[cold]
fn make_room(shard: &mut HashMap<u128, i64, BuildFingerprint>, now_ms: i64) {
    shard.retain(|_, slot_ms| *slot_ms > now_ms);
    if shard.len() >= MAX_PER_SHARD {
        let mut slots: Vec<i64> = shard.values().copied().collect();
        let middle = slots.len() / 2;
        let (_, &mut median, _) = slots.select_nth_unstable(middle);
        shard.retain(|_, slot_ms| *slot_ms > median);
    }
}

impl Slot {
    /// The slot of any upload where there is no limit.
    pub const fn unlimited() -> Self {
        Self { record: None }
    }

    /// Which slot it is; `None` where there is no limit.
    #[must_use]
    pub fn record(&self) -> Option<SlotRecord> {
        self.record.clone()
    }

    /// Ends the upload; gives the slot back where the failure was ours, so that the cluster may try again.
    pub fn settle(self, failed_by_us: bool) {
        if !failed_by_us {
            self.keep();
        }
    }

    /// Ends the upload; the slot stays used.
    pub fn keep(mut self) {
        self.record = None;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(SlotRecord { limit, fingerprint, next_ms }) = self.record.take() else { return };
        let mut shard = limit.shard(fingerprint).lock();
        if shard.get(&fingerprint) == Some(&next_ms) {
            shard.remove(&fingerprint);
        }
    }
}

impl SlotRecord {
    /// Takes the slot once more, where it was given back and no later one was taken since.
    pub fn acquire_again(self) {
        let Self { limit, fingerprint, next_ms } = self;
        let mut shard = limit.shard(fingerprint).lock();
        if shard.len() < MAX_PER_SHARD || shard.contains_key(&fingerprint) {
            let slot_ms = shard.entry(fingerprint).or_insert(next_ms);
            *slot_ms = next_ms.max(*slot_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: Duration = Duration::from_secs(270);

    #[test]
    fn one_upload_a_period() {
        let limit = Arc::new(RateLimit::new(PERIOD));
        limit.acquire("a", 0).expect("a first slot").settle(false);
        let refused = |at: i64, seconds: u64| {
            let limited = limit.acquire("a", at).expect_err("no slot");
            assert_eq!(limited.retry_after, Duration::from_secs(seconds));
        };
        refused(0, 270);
        refused(200_000, 70);
        assert_eq!((limit.next_slot_ms("a", 200_000), limit.next_slot_ms("b", 200_000)), (Some(270_000), None));
        limit.acquire("b", 200_000).expect("another cluster's slot").settle(false);
        refused(269_000, 1);
        limit.acquire("a", 270_000).expect("the next slot").settle(false);
    }

    #[test]
    fn a_failure_of_ours_costs_no_slot() {
        let limit = Arc::new(RateLimit::new(PERIOD));
        limit.acquire("a", 0).expect("a slot").settle(true);
        assert!(limit.is_empty());
        let slot = limit.acquire("a", 1).expect("the slot again");
        let record = slot.record().expect("there is a limit");
        drop(slot);
        assert!(limit.is_empty(), "nor does a caller that leaves");
        limit.acquire("a", 2).expect("a slot").settle(true);
        record.acquire_again();
        assert_eq!(limit.next_slot_ms("a", 2), Some(270_001), "but for data that the store took");
        limit.acquire("a", 300_000).expect("the next slot").keep();
        assert_eq!(limit.next_slot_ms("a", 300_000), Some(570_000));
    }

    #[test]
    fn a_late_failure_gives_no_later_slot_back() {
        let limit = Arc::new(RateLimit::new(PERIOD));
        let first = limit.acquire("a", 0).expect("a slot");
        limit.acquire("a", 270_000).expect("the next slot").settle(false);
        first.settle(true);
        assert!(limit.acquire("a", 270_001).is_err());
    }

    #[test]
    fn a_clock_that_was_set_back_locks_nobody_out() {
        let limit = Arc::new(RateLimit::new(PERIOD));
        limit.acquire("a", 1_000_000_000).expect("a slot").settle(false);
        limit.acquire("a", 0).expect("a slot").settle(false);
    }

    #[test]
    fn what_has_come_up_is_swept_out() {
        let limit = Arc::new(RateLimit::new(PERIOD));
        for cluster in 0..10_000 {
            limit.acquire(&cluster.to_string(), cluster).expect("a slot").settle(false);
        }
        limit.sweep(270_000 + 4_999);
        assert_eq!(limit.len(), 5_000);
        limit.sweep(i64::MAX);
        assert!(limit.is_empty());
        assert!(limit.shards.iter().all(|shard| shard.lock().capacity() <= 64));
    }

    #[test]
    fn a_full_shard_forgets_the_soonest() {
        let mut shard = HashMap::default();
        for key in 0..MAX_PER_SHARD {
            shard.insert(key as u128, 1 + key as i64);
        }
        make_room(&mut shard, 0);
        assert_eq!(shard.len(), MAX_PER_SHARD / 2 - 1);
        assert!(shard.contains_key(&(MAX_PER_SHARD as u128 - 1)));
    }

    proptest! {
        #[test]
        fn between_two_slots_lies_a_period(times in proptest::collection::vec(0_i64..2_000_000, 1..60)) {
            let limit = Arc::new(RateLimit::new(PERIOD));
            let mut times = times;
            times.sort_unstable();
            let mut last = None;
            for now in times {
                let admitted = limit.acquire("a", now).map(|slot| slot.settle(false)).is_ok();
                prop_assert_eq!(admitted, last.is_none_or(|last| now - last >= 270_000));
                if admitted {
                    last = Some(now);
                }
            }
        }
    }
}
