//! What replicas remember together, in memcached: approvals, and refusals of what was approved before.
//!
//! Neither a reader nor a writer of memcached is trusted: a key tells nothing of the token that it stands for, and a
//! value counts only with the tag of a replica that has our signing key. A writer can still put back a value that it read
//! before, or delete one. So a value holds the time of the authority's answer: an approval from before a refusal does not
//! count, and an approval of some age is asked about again. Times here are on the wall clock, as other replicas read them.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use parking_lot::RwLock;
use telemeter_http::availability::{Availability, AvailabilityRecord};

use crate::bounded::Digest;
use crate::jwt::Keys;
use crate::memcached::{CacheError, CacheMetrics, Memcached, ReadResult, WriteResult};

/// Replicas with one signing key share their memory; with a generated key, nobody shares it.
pub struct SharedCache {
    memcached: Memcached,
    seal: RwLock<Arc<hmac::Key>>,
    expire: Duration,
    metrics: CacheMetrics,
    availability: Availability,
}

/// An approval that this replica or another one heard.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SharedApproval {
    pub(super) account: Arc<str>,
    pub(super) approved_unix_ms: i64,
}

/// What is known of refusals of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SharedRefusal {
    None,
    At(i64),
    /// Memcached does not answer.
    Unknown,
}

const VERSION: u8 = 2;
const TAG_BYTES: usize = 32;
/// Version, then the time of the authority's answer in big-endian milliseconds; then the account, where it approved; then
/// the tag.
const HEAD_BYTES: usize = 1 + 8;

impl SharedCache {
    /// An approval counts for `expire` (`--memcached-expire`). The key that signs tokens seals what is written.
    pub fn new(memcached: Memcached, keys: &Keys, expire: Duration, metrics: CacheMetrics) -> Self {
        Self { memcached, seal: RwLock::new(sealing(keys)), expire, metrics, availability: Availability::default() }
    }

    pub(super) fn rekey(&self, keys: &Keys) {
        *self.seal.write() = sealing(keys);
    }

    /// Whether memcached answers.
    pub(super) fn availability(&self) -> AvailabilityRecord {
        self.availability.read()
    }

    /// For how long an approval counts.
    pub(super) fn expire(&self) -> Duration {
        self.expire
    }

    /// An approval that is there, however old.
    pub(super) async fn approval(&self, question: &Digest, now_unix_ms: i64) -> Option<SharedApproval> {
        let seal = self.seal.read().clone();
        let key = name(&seal, SharedRecord::Approval, question);
        let started = tokio::time::Instant::now();
        let answer = self.memcached.get(&key).await;
        match &answer {
            Ok(_) => self.availability.available(Some(started.elapsed()), now_unix_ms),
            Err(error) => self.availability.unavailable(&error.to_string(), now_unix_ms),
        };
        let (result, approval) = match answer {
            Ok(Some(value)) => match open(&seal, &key, &value) {
                Some((approved_unix_ms, account)) if !account.is_empty() => {
                    (ReadResult::Hit, Some(SharedApproval { account: account.into(), approved_unix_ms }))
                }
                _ => (ReadResult::Forged, None),
            },
            Ok(None) => (ReadResult::Miss, None),
            Err(error) => (failed_read(error), None),
        };
        self.metrics.read(result);
        approval
    }

    /// The last refusal of what was approved before. Only failures count as reads: that there is none is the rule.
    pub(super) async fn refusal(&self, question: &Digest) -> SharedRefusal {
        let seal = self.seal.read().clone();
        let key = name(&seal, SharedRecord::Refusal, question);
        match self.memcached.get(&key).await {
            Ok(None) => SharedRefusal::None,
            Ok(Some(value)) => match open(&seal, &key, &value) {
                Some((refused_unix_ms, _)) => SharedRefusal::At(refused_unix_ms),
                None => {
                    self.metrics.read(ReadResult::Forged);
                    SharedRefusal::Unknown
                }
            },
            Err(error) => {
                self.metrics.read(failed_read(error));
                SharedRefusal::Unknown
            }
        }
    }

    /// Keeps an approval for as long as it counts, and as long after that as it may be asked for.
    pub(super) async fn put_approval(&self, question: &Digest, account: &str, now_unix_ms: i64, stale: Duration) {
        self.put(SharedRecord::Approval, question, account, now_unix_ms, stale).await;
    }

    /// Keeps a refusal for as long as an approval from before it could come back, and takes the approval away.
    pub(super) async fn put_refusal(&self, question: &Digest, now_unix_ms: i64, stale: Duration) {
        self.put(SharedRecord::Refusal, question, "", now_unix_ms, stale).await;
        self.remove_approval(question).await;
    }

    /// Takes an approval away. Should that fail, it goes when its time is over.
    pub(super) async fn remove_approval(&self, question: &Digest) {
        let key = name(&self.seal.read().clone(), SharedRecord::Approval, question);
        let written = self.memcached.delete(&key).await;
        self.count(written);
    }

    async fn put(&self, record: SharedRecord, question: &Digest, account: &str, at_unix_ms: i64, stale: Duration) {
        let seal = self.seal.read().clone();
        let key = name(&seal, record, question);
        let value = sealed(&seal, &key, account, at_unix_ms);
        let written = self.memcached.set(&key, &value, self.expire.saturating_add(stale)).await;
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

fn failed_read(error: CacheError) -> ReadResult {
    match error {
        CacheError::Timeout => ReadResult::Timeout,
        CacheError::Out | CacheError::Protocol | CacheError::TooLong => ReadResult::Error,
    }
}

fn sealing(keys: &Keys) -> Arc<hmac::Key> {
    Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &*keys.derive("what replicas remember of the authority")))
}

/// What a value says; part of its key, so that one cannot be put in the place of the other.
#[derive(Clone, Copy, Debug)]
enum SharedRecord {
    Approval,
    Refusal,
}

/// The key in memcached: 64 hexadecimal digits.
fn name(seal: &hmac::Key, record: SharedRecord, question: &Digest) -> String {
    let record: &[u8] = match record {
        SharedRecord::Approval => b"approval ",
        SharedRecord::Refusal => b"refusal ",
    };
    let tag = hmac::sign(seal, &[record, &question[..]].concat());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the tag stands for: a value under another key, or with another time, has another one.
fn tagged(key: &str, body: &[u8]) -> Vec<u8> {
    [b"value ", key.as_bytes(), body].concat()
}

pub(super) fn sealed(seal: &hmac::Key, key: &str, account: &str, at_unix_ms: i64) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEAD_BYTES + account.len() + TAG_BYTES);
    value.push(VERSION);
    value.extend_from_slice(&at_unix_ms.to_be_bytes());
    value.extend_from_slice(account.as_bytes());
    let tag = hmac::sign(seal, &tagged(key, &value));
    value.extend_from_slice(tag.as_ref());
    value
}

pub(super) fn open<'v>(seal: &hmac::Key, key: &str, value: &'v [u8]) -> Option<(i64, &'v str)> {
    let (body, tag) = value.split_at_checked(value.len().checked_sub(TAG_BYTES)?)?;
    hmac::verify(seal, &tagged(key, body), tag).ok()?;
    let (head, account) = body.split_at_checked(HEAD_BYTES)?;
    let (version, time) = head.split_first()?;
    let at_unix_ms = i64::from_be_bytes(time.try_into().ok()?);
    let account = std::str::from_utf8(account).ok()?;
    (*version == VERSION).then_some((at_unix_ms, account))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_value_opens_only_where_it_was_put() {
        let keys = [(); 2].map(|()| Keys::generate().unwrap());
        let [ours, other] = [&keys[0], &keys[1]].map(sealing);
        let [a, b] = [[1; 32], [2; 32]].map(|question| name(&ours, SharedRecord::Approval, &question));
        assert_eq!(a.len(), 64);
        assert_ne!(a, name(&ours, SharedRecord::Refusal, &[1; 32]));
        assert_ne!(
            a,
            name(&other, SharedRecord::Approval, &[1; 32]),
            "without the key, a question's name cannot be computed"
        );
        let value = sealed(&ours, &a, "acct", 77);
        assert_eq!(open(&ours, &a, &value), Some((77, "acct")));
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
