//! The set of tokens with a verified signature, small enough for a fleet of a million clusters.

use hashbrown::{HashTable, hash_table::Entry};
use parking_lot::Mutex;

use crate::bounded::Digest;

const SHARDS: usize = 64;

/// The digests of tokens, each until its token expires: 20 bytes, and the table's overhead.
///
/// An entry holds 16 bytes of the SHA-256. To pass for a verified token, an attacker would have to find another text with
/// the same 16 bytes for a token that we signed (a second preimage, 2^128 tries); a collision of two texts of its own, which
/// is easier, is of no use, since we sign neither.
#[derive(Debug)]
pub(super) struct Verified {
    shards: Box<[Mutex<HashTable<TokenDigest>>]>,
    per_shard: usize,
}

#[derive(Clone, Copy, Debug)]
struct TokenDigest {
    digest: [u32; 4],
    /// Seconds since 1970.
    expires: u32,
}

impl TokenDigest {
    fn new(digest: &Digest, expires_ms: i64) -> Self {
        let word = |at: usize| u32::from_le_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]]);
        // Rounded down: a token is forgotten up to a second too soon, and then verified again.
        let expires = u32::try_from(expires_ms.div_euclid(1000).max(0)).unwrap_or(u32::MAX);
        Self { digest: [word(0), word(4), word(8), word(12)], expires }
    }

    /// Bytes of a SHA-256 need no further hashing.
    fn hash(&self) -> u64 {
        u64::from(self.digest[0]) << 32 | u64::from(self.digest[1])
    }

    /// Whether the token has expired at `now_ms`.
    fn is_expired(&self, now_ms: i64) -> bool {
        i64::from(self.expires) * 1000 <= now_ms
    }
}

impl Verified {
    /// A set of at most `tokens`; with 0 it stores nothing.
    pub(super) fn new(tokens: usize) -> Self {
        let shards = tokens.clamp(1, SHARDS);
        Self { shards: (0..shards).map(|_| Mutex::default()).collect(), per_shard: tokens / shards }
    }

    /// Whether this token was verified, and has not expired.
    pub(super) fn contains(&self, digest: &Digest, now_ms: i64) -> bool {
        let token = TokenDigest::new(digest, 0);
        let shard = self.shard(digest).lock();
        shard.find(token.hash(), |other| other.digest == token.digest).is_some_and(|token| !token.is_expired(now_ms))
    }

    /// Adds a verified token, until it expires; does nothing with an expired one, or where the table has no capacity.
    /// Where the part of the table is full of tokens that are valid, half of these are forgotten.
    pub(super) fn insert(&self, digest: &Digest, expires_ms: i64, now_ms: i64) {
        let token = TokenDigest::new(digest, expires_ms);
        if self.per_shard == 0 || token.is_expired(now_ms) {
            return;
        }
        let mut shard = self.shard(digest).lock();
        // Expired tokens are removed before the table would grow, and where it must not grow.
        if shard.len() == shard.capacity() || shard.len() >= self.per_shard {
            shard.retain(|token| !token.is_expired(now_ms));
        }
        if shard.len() >= self.per_shard {
            forget_half(&mut shard);
        }
        match shard.entry(token.hash(), |other| other.digest == token.digest, TokenDigest::hash) {
            Entry::Occupied(mut entry) => *entry.get_mut() = token,
            Entry::Vacant(entry) => drop(entry.insert(token)),
        }
    }

    /// The part of the table that holds this token.
    fn shard(&self, digest: &Digest) -> &Mutex<HashTable<TokenDigest>> {
        &self.shards[usize::from(digest[15]) % self.shards.len()]
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

/// Removes the half that expires soonest: each of those tokens is verified again when it is next used.
#[cold]
fn forget_half(shard: &mut HashTable<TokenDigest>) {
    let mut expires: Vec<u32> = shard.iter().map(|token| token.expires).collect();
    let middle = expires.len() / 2;
    let (_, &mut median, _) = expires.select_nth_unstable(middle);
    let mut surplus = shard.len().div_ceil(2);
    // Many may expire at the same time: no more than half are removed.
    shard.retain(|token| {
        let is_removed = token.expires <= median && surplus > 0;
        surplus -= usize::from(is_removed);
        !is_removed
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
    fn a_token_is_known_until_it_expires() {
        let verified = Verified::new(1000);
        assert!(!verified.contains(&digest(1), 0));
        verified.insert(&digest(1), 60_999, 0);
        assert!(verified.contains(&digest(1), 59_999));
        assert!(!verified.contains(&digest(2), 0));
        assert!(!verified.contains(&digest(1), 60_000), "up to a second too soon");
        verified.insert(&digest(2), 5_000, 5_000);
        assert_eq!(verified.len(), 1);
        verified.insert(&digest(3), i64::MAX, 0);
        assert!(verified.contains(&digest(3), 4_000_000_000_000));
        verified.insert(&digest(4), i64::MIN, 0);
        assert!(!verified.contains(&digest(4), 0));
    }

    #[test]
    fn it_does_not_outgrow_its_cap() {
        let verified = Verified::new(640);
        for number in 0..10_000 {
            verified.insert(&digest(number), 60_000 + number as i64 * 1000, 0);
            assert!(verified.contains(&digest(number), 0), "the last one is always there");
        }
        assert!((320..=640).contains(&verified.len()), "{}", verified.len());
        assert!(!verified.contains(&digest(0), 0), "those that expired soonest were removed");
        let same = Verified::new(64);
        for number in 0..1000 {
            same.insert(&digest(number), 60_000, 0);
        }
        assert!(same.len() <= 64 && same.len() > 20, "{}", same.len());
        let none = Verified::new(0);
        none.insert(&digest(1), 60_000, 0);
        assert!(!none.contains(&digest(1), 0));
    }

    #[test]
    fn expired_tokens_are_removed_before_the_table_grows() {
        let verified = Verified::new(1 << 20);
        for round in 0..50 {
            for number in 0..1000 {
                verified.insert(&digest(round * 1000 + number), (round as i64 + 1) * 1000, round as i64 * 1000);
            }
        }
        assert!(verified.len() < 10_000, "{}", verified.len());
    }
}
