//! What replicas remember together, in memcached.
//!
//! Neither a reader nor a writer of memcached is trusted: a key tells nothing of the token that it stands for, and a
//! value counts only with the tag of a replica that has our signing key.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use parking_lot::RwLock;

use crate::bounded::Digest;
use crate::jwt::Keys;
use crate::memcached::{CacheError, CacheMetrics, Memcached, ReadResult, WriteResult};

/// Replicas with one signing key share their memory; with a generated key, nobody shares it.
pub struct SharedCache {
    memcached: Memcached,
    seal: RwLock<Arc<hmac::Key>>,
    expire: Duration,
    metrics: CacheMetrics,
}

/// What another replica, or this one, heard from the authority.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) account: Arc<str>,
    pub(super) fresh_until_ms: i64,
}

const VERSION: u8 = 1;
const TAG_BYTES: usize = 32;
/// Version, then the time in big-endian milliseconds, then the account, then the tag.
const HEAD_BYTES: usize = 1 + 8;

impl SharedCache {
    /// A yes counts for `expire` (`--memcached-expire`). The key that signs tokens seals what is written.
    pub fn new(memcached: Memcached, keys: &Keys, expire: Duration, metrics: CacheMetrics) -> Self {
        Self { memcached, seal: RwLock::new(sealing(keys)), expire, metrics }
    }

    pub(super) fn rekey(&self, keys: &Keys) {
        *self.seal.write() = sealing(keys);
    }

    /// A yes that is there, fresh or not.
    pub(super) async fn get(&self, question: &Digest) -> Option<Told> {
        let seal = self.seal.read().clone();
        let key = name(&seal, question);
        let (result, told) = match self.memcached.get(&key).await {
            Ok(Some(value)) => match open(&seal, &key, &value) {
                Some(told) => (ReadResult::Hit, Some(told)),
                None => (ReadResult::Forged, None),
            },
            Ok(None) => (ReadResult::Miss, None),
            Err(CacheError::Timeout) => (ReadResult::Timeout, None),
            Err(CacheError::Out | CacheError::Protocol | CacheError::TooLong) => (ReadResult::Error, None),
        };
        self.metrics.read(result);
        told
    }

    /// Keeps a yes for as long as it counts, and as long after that as it may be asked for.
    pub(super) async fn put(&self, question: &Digest, account: &str, now_ms: i64, stale: Duration) {
        let seal = self.seal.read().clone();
        let key = name(&seal, question);
        let value = sealed(&seal, &key, account, super::after(now_ms, self.expire));
        let written = self.memcached.set(&key, &value, self.expire.saturating_add(stale)).await;
        self.count(written);
    }

    /// Takes a yes away. Should that fail, it goes when its time is over.
    pub(super) async fn remove(&self, question: &Digest) {
        let key = name(&self.seal.read().clone(), question);
        let written = self.memcached.delete(&key).await;
        self.count(written);
    }

    fn count(&self, written: Result<(), CacheError>) {
        self.metrics.written(match written {
            Ok(()) => WriteResult::Success,
            Err(CacheError::Timeout) => WriteResult::Timeout,
            Err(CacheError::Out | CacheError::Protocol | CacheError::TooLong) => WriteResult::Error,
        });
    }
}

fn sealing(keys: &Keys) -> Arc<hmac::Key> {
    Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &*keys.derive("what replicas remember of the authority")))
}

/// The key in memcached: 64 hexadecimal digits.
fn name(seal: &hmac::Key, question: &Digest) -> String {
    let tag = hmac::sign(seal, &[b"name ", &question[..]].concat());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the tag stands for: a value under another key, or with another time, has another one.
fn tagged(key: &str, body: &[u8]) -> Vec<u8> {
    [b"value ", key.as_bytes(), body].concat()
}

fn sealed(seal: &hmac::Key, key: &str, account: &str, fresh_until_ms: i64) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD_BYTES + account.len() + TAG_BYTES);
    value.push(VERSION);
    value.extend_from_slice(&fresh_until_ms.to_be_bytes());
    value.extend_from_slice(account.as_bytes());
    let tag = hmac::sign(seal, &tagged(key, &value));
    value.extend_from_slice(tag.as_ref());
    value
}

fn open(seal: &hmac::Key, key: &str, value: &[u8]) -> Option<Told> {
    let (body, tag) = value.split_at_checked(value.len().checked_sub(TAG_BYTES)?)?;
    hmac::verify(seal, &tagged(key, body), tag).ok()?;
    let (head, account) = body.split_at_checked(HEAD_BYTES)?;
    let (version, time) = head.split_first()?;
    let fresh_until_ms = i64::from_be_bytes(time.try_into().ok()?);
    let account = std::str::from_utf8(account).ok().filter(|account| !account.is_empty())?;
    (*version == VERSION).then(|| Told { account: account.into(), fresh_until_ms })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_value_opens_only_where_it_was_put() {
        let keys = [(); 2].map(|()| Keys::generate().unwrap());
        let [ours, other] = [&keys[0], &keys[1]].map(sealing);
        let [a, b] = [[1; 32], [2; 32]].map(|question| name(&ours, &question));
        assert_eq!(a.len(), 64);
        assert_ne!(a, name(&other, &[1; 32]), "without the key, a question's name cannot be computed");
        let value = sealed(&ours, &a, "acct", 77);
        assert_eq!(open(&ours, &a, &value), Some(Told { account: "acct".into(), fresh_until_ms: 77 }));
        assert_eq!(open(&ours, &b, &value), None);
        assert_eq!(open(&other, &a, &value), None);
        for at in 0..value.len() {
            let mut forged = value.clone();
            forged[at] ^= 1;
            assert_eq!(open(&ours, &a, &forged), None, "byte {at}");
            assert_eq!(open(&ours, &a, &value[..at]), None);
        }
    }
}
