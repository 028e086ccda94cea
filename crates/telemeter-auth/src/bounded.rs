//! A map from digests to values, with a cap on its entries: callers can fill it, but not make it grow.

use hashbrown::HashMap;
use parking_lot::Mutex;

/// A SHA-256 digest: the key of the map.
pub(crate) type Digest = [u8; 32];

/// The SHA-256 of `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    sha256_of(&[bytes])
}

/// The SHA-256 of the concatenated parts.
pub(crate) fn sha256_of(parts: &[&[u8]]) -> Digest {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

const SHARDS: usize = 64;
/// A full shard is searched for expired entries at most this often.
const SWEEP_EVERY_MS: i64 = 10_000;

/// Values by digest, each with the time at which it expires. At the cap, a new entry evicts any other one, so this is only
/// for values that can be computed or fetched again.
#[derive(Debug)]
pub(crate) struct Bounded<V> {
    shards: Box<[Mutex<BoundedShard<V>>]>,
    per_shard: usize,
}

#[derive(Debug)]
struct BoundedShard<V> {
    entries: HashMap<Digest, BoundedEntry<V>>,
    swept_ms: i64,
}

#[derive(Debug)]
struct BoundedEntry<V> {
    ends_ms: i64,
    value: V,
}

impl<V: Clone> Bounded<V> {
    /// A map of at most `entries`; with 0 it stores nothing.
    pub(crate) fn new(entries: usize) -> Self {
        let shards = entries.clamp(1, SHARDS);
        let shard = || Mutex::new(BoundedShard { entries: HashMap::new(), swept_ms: i64::MIN });
        Self { shards: (0..shards).map(|_| shard()).collect(), per_shard: entries / shards }
    }

    /// The value, unless it has expired.
    pub(crate) fn get(&self, key: &Digest, now_ms: i64) -> Option<V> {
        let shard = self.shard(key).lock();
        shard.entries.get(key).filter(|entry| now_ms < entry.ends_ms).map(|entry| entry.value.clone())
    }

    /// Stores the value until `ends_ms`.
    pub(crate) fn insert(&self, key: Digest, value: V, ends_ms: i64, now_ms: i64) {
        if self.per_shard == 0 || ends_ms <= now_ms {
            return;
        }
        let shard = &mut *self.shard(&key).lock();
        if shard.entries.len() >= self.per_shard && !shard.entries.contains_key(&key) {
            shard.evict_one(now_ms);
        }
        shard.entries.insert(key, BoundedEntry { ends_ms, value });
    }

    /// Removes the value.
    pub(crate) fn remove(&self, key: &Digest) {
        self.shard(key).lock().entries.remove(key);
    }

    /// The part of the table that holds this key.
    fn shard(&self, key: &Digest) -> &Mutex<BoundedShard<V>> {
        &self.shards[usize::from(key[31]) % self.shards.len()]
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries.len()).sum()
    }
}

impl<V> BoundedShard<V> {
    /// Removes the expired entries; where there are none, any one entry, which depends on the map's random seed.
    fn evict_one(&mut self, now_ms: i64) {
        if now_ms.saturating_sub(self.swept_ms) >= SWEEP_EVERY_MS {
            self.swept_ms = now_ms;
            let before = self.entries.len();
            self.entries.retain(|_, entry| now_ms < entry.ends_ms);
            if self.entries.len() < before {
                return;
            }
        }
        let victim = self.entries.keys().next().copied();
        if let Some(victim) = victim {
            self.entries.remove(&victim);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Digest {
        sha256(&number.to_be_bytes())
    }

    #[test]
    fn an_entry_lasts_until_it_expires() {
        let map = Bounded::new(10);
        map.insert(key(1), 'a', 100, 0);
        assert_eq!(map.get(&key(1), 99), Some('a'));
        assert_eq!(map.get(&key(1), 100), None);
        assert_eq!(map.get(&key(2), 0), None);
        map.insert(key(1), 'b', 200, 50);
        assert_eq!(map.get(&key(1), 150), Some('b'));
        map.remove(&key(1));
        assert_eq!(map.get(&key(1), 150), None);
    }

    #[test]
    fn never_holds_more_than_its_cap() {
        for cap in [0, 1, 63, 64, 100, 1_000] {
            let map = Bounded::new(cap);
            for number in 0..5_000 {
                map.insert(key(number), number, 1_000, 0);
                if cap > 0 {
                    assert_eq!(map.get(&key(number), 0), Some(number), "the newest is always there");
                }
            }
            assert!(map.len() <= cap, "{} entries with a cap of {cap}", map.len());
            assert!(map.len() >= cap / 2, "{} entries with a cap of {cap}", map.len());
        }
    }

    #[test]
    fn expired_entries_are_evicted_first() {
        let map = Bounded::new(1_000);
        for number in 0..2_000 {
            map.insert(key(number), number, 100, 0);
        }
        for number in 5_000..5_200 {
            map.insert(key(number), number, 90_000, 50_000);
        }
        for number in 5_000..5_200 {
            assert_eq!(map.get(&key(number), 50_000), Some(number));
        }
    }
}
