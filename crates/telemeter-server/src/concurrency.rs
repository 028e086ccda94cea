//! How many requests each cluster has under way, so that none of them takes the place of all.

use std::{collections::hash_map::RandomState, hash::BuildHasher};

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Counters are spread over so many locks.
const SHARDS: usize = 64;

/// Counts, by cluster, what is under way. A cluster with nothing under way takes no memory.
pub struct Concurrency {
    limit: usize,
    keys: RandomState,
    shards: Vec<Mutex<HashMap<u64, usize>>>,
}

/// The right to have one request under way. Its drop gives it back.
pub struct RequestPermit<'a> {
    shard: &'a Mutex<HashMap<u64, usize>>,
    cluster: u64,
}

impl Concurrency {
    /// At most `limit` requests of one cluster at once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, keys: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// So many requests of one cluster may be under way at once.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// How many of a cluster are under way.
    #[must_use]
    pub fn under_way(&self, cluster: &str) -> usize {
        let cluster = self.keys.hash_one(cluster);
        self.shards[cluster as usize % SHARDS].lock().get(&cluster).copied().unwrap_or(0)
    }

    /// One more of a cluster; `None` where it has as many as it may.
    #[must_use]
    pub fn begin(&self, cluster: &str) -> Option<RequestPermit<'_>> {
        let cluster = self.keys.hash_one(cluster);
        let shard = &self.shards[cluster as usize % SHARDS];
        let mut counts = shard.lock();
        let count = counts.entry(cluster).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(RequestPermit { shard, cluster })
    }
}

impl Drop for RequestPermit<'_> {
    fn drop(&mut self) {
        let mut counts = self.shard.lock();
        if let Some(count) = counts.get_mut(&self.cluster) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cluster_s_limit_is_no_other_s() {
        let concurrency = Concurrency::new(2);
        let first = concurrency.begin("a").expect("the first");
        let second = concurrency.begin("a").expect("the second");
        assert!(concurrency.begin("a").is_none());
        assert_eq!((concurrency.under_way("a"), concurrency.under_way("b"), concurrency.limit()), (2, 0, 2));
        let other = concurrency.begin("b").expect("another cluster");
        drop(first);
        let third = concurrency.begin("a").expect("one was given back");
        assert!(concurrency.begin("a").is_none());
        drop((second, third, other));
        assert!(concurrency.shards.iter().all(|shard| shard.lock().is_empty()), "nothing is left behind");
    }
}
