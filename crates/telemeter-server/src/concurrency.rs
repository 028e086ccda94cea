//! Limits how many requests each cluster has under way, so that no cluster takes the capacity of the others.

use std::{collections::hash_map::RandomState, hash::BuildHasher};

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Counters are spread over so many locks.
const SHARDS: usize = 64;

/// Counts the requests that are under way, by cluster. A cluster without any takes no memory.
pub struct Concurrency {
    limit: usize,
    keys: RandomState,
    shards: Vec<Mutex<HashMap<u64, usize>>>,
}

/// The right to have one request under way, until it is dropped.
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

    /// How many requests of a cluster are under way.
    #[must_use]
    pub fn open_requests(&self, cluster: &str) -> usize {
        let cluster = self.keys.hash_one(cluster);
        self.shards[cluster as usize % SHARDS].lock().get(&cluster).copied().unwrap_or(0)
    }

    /// Counts one more request of a cluster, until the permit is dropped; `None` where it has as many as it may have.
    #[must_use]
    pub fn acquire(&self, cluster: &str) -> Option<RequestPermit<'_>> {
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
        let first = concurrency.acquire("a").expect("the first");
        let second = concurrency.acquire("a").expect("the second");
        assert!(concurrency.acquire("a").is_none());
        assert_eq!((concurrency.open_requests("a"), concurrency.open_requests("b"), concurrency.limit()), (2, 0, 2));
        let other = concurrency.acquire("b").expect("another cluster");
        drop(first);
        let third = concurrency.acquire("a").expect("one was given back");
        assert!(concurrency.acquire("a").is_none());
        drop((second, third, other));
        assert!(
            concurrency.shards.iter().all(|shard| shard.lock().is_empty()),
            "a cluster without requests takes no memory"
        );
    }
}
