//! The approvals that this process caches: bounded in all, and by cluster.
//!
//! A cluster with many tokens replaces its own approvals only. Where the cache is full, 16 candidates spread over all
//! entries are compared: a stale one is evicted, else the least recently used. So the cost of a new approval does not grow
//! with the number of cached ones.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::question::QuestionKey;
use super::{Approval, REFRESH_RETRY_MS};
use crate::bounded::Digest;

/// The cap on approvals of one cluster: two questions with two tokens, while its token is being replaced.
const MAX_PER_CLUSTER: usize = 4;
const SHARDS: usize = 64;
/// How many approvals are compared to find the one to evict.
const CANDIDATES: usize = 16;

/// An approval, and for how long it counts. All times are on the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CachedApproval {
    pub(super) account: Arc<str>,
    /// When the authority gave it.
    pub(super) approved_ms: i64,
    /// When a request first starts a refresh in the background.
    pub(super) refresh_ms: i64,
    /// When it becomes stale.
    pub(super) fresh_until_ms: i64,
    /// When it stops counting.
    pub(super) ends_ms: i64,
}

impl CachedApproval {
    /// The approval for a caller; stale where it is no longer fresh at `now_ms`.
    pub(super) fn approval(&self, now_ms: i64) -> Approval {
        Approval { account: self.account.clone(), is_stale: now_ms >= self.fresh_until_ms }
    }

    /// The same approval with a refresh under way: the next one is due after [`REFRESH_RETRY_MS`].
    pub(super) fn with_refresh_started(self, now_ms: i64) -> Self {
        Self { refresh_ms: now_ms.saturating_add(REFRESH_RETRY_MS), ..self }
    }
}

/// Approvals by question.
#[derive(Debug)]
pub(super) struct Approvals {
    shards: Box<[Mutex<ApprovalShard>]>,
    per_shard: usize,
}

#[derive(Debug, Default)]
struct ApprovalShard {
    clusters: HashMap<Digest, Slots>,
    entries: Vec<Option<ApprovalEntry>>,
    /// The indexes of the empty entries.
    free: Vec<u32>,
    /// The index from which the next eviction chooses its candidates.
    next_candidate: usize,
}

/// The indexes of one cluster's approvals in [`ApprovalShard::entries`], the oldest first.
#[derive(Clone, Copy, Debug, Default)]
struct Slots {
    slots: [u32; MAX_PER_CLUSTER],
    len: usize,
}

#[derive(Debug)]
struct ApprovalEntry {
    key: QuestionKey,
    used_ms: i64,
    cached: CachedApproval,
}

impl Approvals {
    /// A cache of at most `entries`; with 0 it stores nothing.
    pub(super) fn new(entries: usize) -> Self {
        let shards = entries.clamp(1, SHARDS);
        Self { shards: (0..shards).map(|_| Mutex::default()).collect(), per_shard: entries / shards }
    }

    /// The approval that a request uses, and whether this request has to start a refresh: one of many requests has to.
    pub(super) fn for_request(&self, key: &QuestionKey, now_ms: i64) -> Option<(Approval, bool)> {
        let mut shard = self.shard(key).lock();
        let entry = shard.find(key).filter(|entry| now_ms < entry.cached.ends_ms)?;
        entry.used_ms = now_ms;
        let is_refresh_due = now_ms >= entry.cached.refresh_ms;
        if is_refresh_due {
            entry.cached.refresh_ms = now_ms.saturating_add(REFRESH_RETRY_MS);
        }
        Some((entry.cached.approval(now_ms), is_refresh_due))
    }

    /// The approval, if it still counts.
    pub(super) fn get(&self, key: &QuestionKey, now_ms: i64) -> Option<CachedApproval> {
        let mut shard = self.shard(key).lock();
        shard.find(key).filter(|entry| now_ms < entry.cached.ends_ms).map(|entry| entry.cached.clone())
    }

    /// Stores an approval, in place of an older one for the same question.
    pub(super) fn insert(&self, key: &QuestionKey, cached: CachedApproval, now_ms: i64) {
        if self.per_shard == 0 || cached.ends_ms <= now_ms {
            return;
        }
        let mut shard = self.shard(key).lock();
        shard.remove(key);
        if let Some(oldest) = shard.clusters.get(&key.cluster).and_then(Slots::oldest_if_full) {
            shard.remove_slot(oldest);
        }
        if shard.len() >= self.per_shard {
            shard.evict_one(now_ms);
        }
        shard.push(ApprovalEntry { key: *key, used_ms: now_ms, cached });
    }

    /// Removes an approval.
    pub(super) fn remove(&self, key: &QuestionKey) {
        self.shard(key).lock().remove(key);
    }

    /// The part of the table that holds the approvals of this cluster.
    fn shard(&self, key: &QuestionKey) -> &Mutex<ApprovalShard> {
        &self.shards[usize::from(key.cluster[31]) % self.shards.len()]
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().clusters.values().map(|slots| slots.len).sum::<usize>()).sum()
    }
}

impl ApprovalShard {
    fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    fn slot(&self, key: &QuestionKey) -> Option<u32> {
        let slots = self.clusters.get(&key.cluster)?;
        let has_digest = |slot: &&u32| self.entry(**slot).is_some_and(|entry| entry.key.digest == key.digest);
        slots.as_slice().iter().find(has_digest).copied()
    }

    fn entry(&self, slot: u32) -> Option<&ApprovalEntry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    fn find(&mut self, key: &QuestionKey) -> Option<&mut ApprovalEntry> {
        let slot = self.slot(key)?;
        self.entries[slot as usize].as_mut()
    }

    fn remove(&mut self, key: &QuestionKey) {
        if let Some(slot) = self.slot(key) {
            self.remove_slot(slot);
        }
    }

    fn remove_slot(&mut self, slot: u32) {
        let Some(entry) = self.entries[slot as usize].take() else { return };
        self.free.push(slot);
        if let Some(slots) = self.clusters.get_mut(&entry.key.cluster) {
            slots.remove(slot);
            if slots.len == 0 {
                self.clusters.remove(&entry.key.cluster);
            }
        }
    }

    fn push(&mut self, entry: ApprovalEntry) {
        let slots = self.clusters.entry(entry.key.cluster).or_default();
        match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = Some(entry);
                slots.push(slot);
            }
            // A shard holds far fewer than 2^32 entries.
            None => {
                slots.push(self.entries.len() as u32);
                self.entries.push(Some(entry));
            }
        }
    }

    /// Makes room for one: of some entries spread over the shard, removes the least recently used stale one, or, where none is stale,
    /// the least recently used.
    fn evict_one(&mut self, now_ms: i64) {
        let len = self.entries.len();
        let (first, candidates) = (self.next_candidate, len.min(CANDIDATES));
        // Entries stored one after the other may all be in use: candidates are spread over the whole shard.
        let candidates = (0..candidates).map(|step| (first + step * len / candidates) % len);
        let rank = |entry: &ApprovalEntry| (now_ms < entry.cached.fresh_until_ms, entry.used_ms);
        let victim = candidates
            .filter_map(|slot| self.entries[slot].as_ref().map(|entry| (rank(entry), slot)))
            .min()
            .map(|(_, slot)| slot);
        self.next_candidate = (first + 1) % len.max(1);
        if let Some(slot) = victim {
            self.remove_slot(slot as u32);
        }
    }
}

impl Slots {
    fn as_slice(&self) -> &[u32] {
        &self.slots[..self.len]
    }

    fn oldest_if_full(&self) -> Option<u32> {
        (self.len == MAX_PER_CLUSTER).then(|| self.slots[0])
    }

    /// The caller has removed the oldest where the cluster was at its cap.
    fn push(&mut self, slot: u32) {
        self.slots[self.len] = slot;
        self.len += 1;
    }

    fn remove(&mut self, slot: u32) {
        if let Some(at) = self.as_slice().iter().position(|other| *other == slot) {
            self.slots.copy_within(at + 1..self.len, at);
            self.len -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::question::QuestionKind;
    use super::*;

    fn key(cluster: &str, token: &str) -> QuestionKey {
        QuestionKey::new(QuestionKind::Receive, cluster, token)
    }

    fn cached(fresh_until_ms: i64) -> CachedApproval {
        let account = "acct".into();
        CachedApproval { account, approved_ms: 0, refresh_ms: 80, fresh_until_ms, ends_ms: 1_000 }
    }

    #[test]
    fn one_request_of_many_starts_a_refresh() {
        let approvals = Approvals::new(10);
        let key = key("c", "t");
        approvals.insert(&key, cached(100), 0);
        let due = |now_ms| approvals.for_request(&key, now_ms).map(|(approval, is_due)| (approval.is_stale, is_due));
        assert_eq!(due(79), Some((false, false)));
        assert_eq!(due(80), Some((false, true)));
        assert_eq!(due(80), Some((false, false)));
        assert_eq!(due(100), Some((true, false)));
        assert_eq!(due(1_000), None);
        approvals.insert(&key, CachedApproval { ends_ms: 90_000, ..cached(100) }, 0);
        assert_eq!(due(200), Some((true, true)));
        assert_eq!(due(200 + REFRESH_RETRY_MS - 1), Some((true, false)));
        assert_eq!(due(200 + REFRESH_RETRY_MS), Some((true, true)));
    }

    #[test]
    fn a_cluster_takes_its_own_places_only() {
        let approvals = Approvals::new(1_000);
        for other in 0..300 {
            approvals.insert(&key(&format!("other-{other}"), "t"), cached(100), 0);
        }
        for token in 0..50_000 {
            approvals.insert(&key("c", &token.to_string()), cached(100), 1);
        }
        assert_eq!(approvals.len(), 304);
        assert!((0..300).all(|other| approvals.get(&key(&format!("other-{other}"), "t"), 1).is_some()));
        let remaining: Vec<u32> =
            (0..50_000).filter(|token| approvals.get(&key("c", &token.to_string()), 1).is_some()).collect();
        assert_eq!(remaining, [49_996, 49_997, 49_998, 49_999]);
    }

    #[test]
    fn stale_ones_go_first_and_then_the_one_used_longest_ago() {
        let approvals = Approvals::new(1);
        approvals.insert(&key("a", "t"), cached(100), 0);
        approvals.insert(&key("b", "t"), cached(100), 0);
        assert!(approvals.get(&key("a", "t"), 0).is_none() && approvals.get(&key("b", "t"), 0).is_some());

        // A shard has space for three approvals.
        let same_shard: Vec<QuestionKey> =
            (0..).map(|n| key(&n.to_string(), "t")).filter(|key| key.cluster[31].is_multiple_of(64)).take(4).collect();
        let approvals = Approvals::new(3 * 64);
        approvals.insert(&same_shard[0], cached(100), 0);
        approvals.insert(&same_shard[1], cached(50), 1);
        approvals.insert(&same_shard[2], cached(100), 2);
        assert!(approvals.for_request(&same_shard[1], 60).is_some(), "used last, and stale");
        approvals.insert(&same_shard[3], cached(100), 60);
        let are_cached = || same_shard.iter().map(|key| approvals.get(key, 60).is_some()).collect::<Vec<_>>();
        assert_eq!(are_cached(), [true, false, true, true]);
        assert!(approvals.for_request(&same_shard[0], 61).is_some());
        approvals.insert(&same_shard[1], cached(100), 62);
        assert_eq!(are_cached(), [true, true, false, true]);
    }

    #[test]
    fn one_that_is_used_stays_however_many_come() {
        let approvals = Approvals::new(64 * 200);
        let used: Vec<QuestionKey> = (0..400).map(|n| key(&format!("used-{n}"), "t")).collect();
        for key in &used {
            approvals.insert(key, CachedApproval { ends_ms: 1 << 40, ..cached(1 << 39) }, 0);
        }
        for number in 0..60_000 {
            approvals.insert(
                &key(&number.to_string(), "t"),
                CachedApproval { ends_ms: 1 << 40, ..cached(1 << 39) },
                number,
            );
            if number % 100 == 0 {
                used.iter().for_each(|key| drop(approvals.for_request(key, number)));
            }
        }
        let remaining = used.iter().filter(|key| approvals.get(key, 60_000).is_some()).count();
        assert_eq!(remaining, used.len());
    }

    #[test]
    fn a_new_approval_costs_as_much_where_many_are_cached() {
        let time = |per_shard: usize| {
            let approvals = Approvals { shards: [Mutex::default()].into(), per_shard };
            let keys =
                |from: usize, count: usize| (from..from + count).map(|n| key(&n.to_string(), "t")).collect::<Vec<_>>();
            keys(0, per_shard).iter().for_each(|key| approvals.insert(key, cached(100), 0));
            let times = (1..6).map(|round| {
                let new = keys(round * 1_000_000, 500);
                let began = std::time::Instant::now();
                new.iter().for_each(|key| approvals.insert(key, cached(100), 0));
                began.elapsed()
            });
            times.min().expect("five")
        };
        let (few, many) = (time(16), time(16_384));
        assert!(many < few * 20, "{many:?} where 16,384 are cached, {few:?} where 16 are");
    }

    #[test]
    fn never_holds_more_than_its_cap() {
        for cap in [0, 1, 63, 64, 100, 1_000] {
            let approvals = Approvals::new(cap);
            for number in 0..3_000 {
                approvals.insert(&key(&number.to_string(), "t"), cached(100), 0);
            }
            assert!(approvals.len() <= cap && approvals.len() >= cap / 2, "{} of {cap}", approvals.len());
        }
        let approvals = Approvals::new(10);
        approvals.insert(&key("c", "t"), cached(100), 0);
        approvals.insert(&key("c", "t"), cached(200), 0);
        assert_eq!(approvals.len(), 1);
        approvals.remove(&key("c", "t"));
        assert_eq!(approvals.len(), 0);
    }
}
