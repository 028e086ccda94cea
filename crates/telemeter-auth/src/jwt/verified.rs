//! The tokens whose signature was found right: a set small enough for a fleet of a million clusters.

use hashbrown::{HashTable, hash_table::Entry};
use parking_lot::Mutex;

use crate::bounded::Digest;

const SHARDS: usize = 64;

/// Digests of tokens, each until its token ends: 20 bytes, and the table's overhead.
///
/// Sixteen bytes of a SHA-256 are kept. Who wants to be taken for a remembered token has to find another text with the
/// same: tokens are ours, so that nobody can bring both.
#[derive(Debug)]
pub(super) struct Verified {
    shards: Box<[Mutex<HashTable<TokenDigest>>]>,
    per_shard: usize,
}

#[derive(Clone, Copy, Debug)]
struct TokenDigest {
    digest: [u32; 4],
    /// Seconds since 1970.
    ends: u32,
}

impl TokenDigest {
    fn new(digest: &Digest, ends_ms: i64) -> Self {
        let word = |at: usize| u32::from_le_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
        // Cut, not rounded: a token is forgotten up to a second too soon, and verified once more.
        let ends = u32::try_from(ends_ms.div_euclid(1000).max(0)).unwrap_or(u32::MAX);
        Self { digest: [word(0), word(4), word(8), word(12)], ends }
    }

    /// A digest is random already.
    fn hash(&self) -> u64 {
        u64::from(self.digest[0]) << 32 | u64::from(self.digest[1])
    }

    fn is_over(&self, now_ms: i64) -> bool {
        i64::from(self.ends) * 1000 <= now_ms
    }
}

impl Verified {
    /// Room for so many; for none at all with 0.
    pub(super) fn new(tokens: usize) -> Self {
        let shards = tokens.clamp(1, SHARDS);
        Self { shards: (0..shards).map(|_| Mutex::default()).collect(), per_shard: tokens / shards }
    }

    /// Whether this token was found right, and has not ended.
    pub(super) fn has(&self, digest: &Digest, now_ms: i64) -> bool {
        let wanted = TokenDigest::new(digest, 0);
        let shard = self.shard(digest).lock();
        shard.find(wanted.hash(), |token| token.digest == wanted.digest).is_some_and(|token| !token.is_over(now_ms))
    }

    /// Remembers a token that was found right, until it ends.
    pub(super) fn insert(&self, digest: &Digest, ends_ms: i64, now_ms: i64) {
        let token = TokenDigest::new(digest, ends_ms);
        if self.per_shard == 0 || token.is_over(now_ms) {
            return;
        }
        let mut shard = self.shard(digest).lock();
        // Before it grows, and where it must not: those that are over go.
        if shard.len() == shard.capacity() || shard.len() >= self.per_shard {
            shard.retain(|token| !token.is_over(now_ms));
        }
        if shard.len() >= self.per_shard {
            forget_half(&mut shard);
        }
        match shard.entry(token.hash(), |other| other.digest == token.digest, TokenDigest::hash) {
            Entry::Occupied(mut entry) => *entry.get_mut() = token,
            Entry::Vacant(entry) => drop(entry.insert(token)),
        }
    }

    fn shard(&self, digest: &Digest) -> &Mutex<HashTable<TokenDigest>> {
        &self.shards[usize::from(digest[15]) % self.shards.len()]
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// The half that ends soonest is verified once more when it comes.
#[cold]
fn forget_half(shard: &mut HashTable<TokenDigest>) {
    let mut ends: Vec<u32> = shard.iter().map(|token| token.ends).collect();
    let middle = ends.len() / 2;
    let (_, &mut median, _) = ends.select_nth_unstable(middle);
    let mut surplus = shard.len().div_ceil(2);
    // Of those that end at the same time, only as many as it takes.
    shard.retain(|token| {
        let goes = token.ends <= median && surplus > 0;
        surplus -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::sha256;

    fn digest(number: usize) -> Digest {
        sha256(&number.to_le_bytes())
    }

    #[test]
    fn a_token_is_known_until_it_ends() {
        let verified = Verified::new(1000);
        assert!(!verified.has(&digest(1), 0));
        verified.insert(&digest(1), 60_999, 0);
        assert!(verified.has(&digest(1), 59_999));
        assert!(!verified.has(&digest(2), 0));
        assert!(!verified.has(&digest(1), 60_000), "up to a second too soon");
        verified.insert(&digest(2), 5_000, 5_000);
        assert_eq!(verified.len(), 1);
        verified.insert(&digest(3), i64::MAX, 0);
        assert!(verified.has(&digest(3), 4_000_000_000_000));
        verified.insert(&digest(4), i64::MIN, 0);
        assert!(!verified.has(&digest(4), 0));
    }

    #[test]
    fn it_does_not_outgrow_its_cap() {
        let verified = Verified::new(640);
        for number in 0..10_000 {
            verified.insert(&digest(number), 60_000 + number as i64 * 1000, 0);
            assert!(verified.has(&digest(number), 0), "the last one is always there");
        }
        assert!((320..=640).contains(&verified.len()), "{}", verified.len());
        assert!(!verified.has(&digest(0), 0), "those that ended soonest went");
        let same = Verified::new(64);
        for number in 0..1000 {
            same.insert(&digest(number), 60_000, 0);
        }
        assert!(same.len() <= 64 && same.len() > 20, "{}", same.len());
        let none = Verified::new(0);
        none.insert(&digest(1), 60_000, 0);
        assert!(!none.has(&digest(1), 0));
    }

    #[test]
    fn what_is_over_makes_room_before_it_grows() {
        let verified = Verified::new(1 << 20);
        for round in 0..50 {
            for number in 0..1000 {
                verified.insert(&digest(round * 1000 + number), (round as i64 + 1) * 1000, round as i64 * 1000);
            }
        }
        assert!(verified.len() < 10_000, "{}", verified.len());
    }
}
