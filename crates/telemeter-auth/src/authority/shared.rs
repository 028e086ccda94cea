//! The cache that replicas share in memcached: approvals, and refusals that came after an approval.
//!
//! Neither a reader nor a writer of memcached is trusted. A key is an HMAC of the question, so a reader learns no token from
//! it; a value carries an HMAC tag, so it counts only where a replica with our signing key wrote it. A writer can still put
//! back a value that it read before, or delete one. So a value holds the time of the authority's answer: an approval older
//! than a refusal does not count, and an approval of some age is asked about again. Times here are on the wall clock,
//! because other replicas read them.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use parking_lot::RwLock;
use telemeter_http::availability::{Availability, AvailabilityRecord};

use crate::bounded::Digest;
use crate::jwt::Keys;
use crate::memcached::{CacheError, CacheMetrics, Memcached, ReadResult, WriteResult};

/// The shared cache. Replicas with the same signing key share their values; a generated key is known to one process alone.
pub struct SharedCache {
    memcached: Memcached,
    hmac_key: RwLock<Arc<hmac::Key>>,
    expire: Duration,
    metrics: CacheMetrics,
    availability: Availability,
}

/// An approval that this replica or another one received.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SharedApproval {
    pub(super) account: Arc<str>,
    pub(super) approved_unix_ms: i64,
}

/// The last refusal of a question, as far as it is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SharedRefusal {
    None,
    At(i64),
    /// Memcached does not answer.
    Unknown,
}

const VERSION: u8 = 2;
const TAG_BYTES: usize = 32;
/// The version and the time of the authority's answer (milliseconds, big-endian). The account follows, empty for a refusal;
/// then the tag.
const HEADER_BYTES: usize = 1 + 8;

impl SharedCache {
    /// An approval counts for `expire` (`--memcached-expire`). The HMAC key is derived from the key that signs tokens.
    pub fn new(memcached: Memcached, keys: &Keys, expire: Duration, metrics: CacheMetrics) -> Self {
        Self {
            memcached,
            hmac_key: RwLock::new(derive_hmac_key(keys)),
            expire,
            metrics,
            availability: Availability::default(),
        }
    }

    /// Derives the HMAC key of records from other signing keys. Records under the earlier HMAC key are not found any
    /// more.
    pub(super) fn replace_keys(&self, keys: &Keys) {
        *self.hmac_key.write() = derive_hmac_key(keys);
    }

    /// Whether memcached answers.
    pub(super) fn availability(&self) -> AvailabilityRecord {
        self.availability.read()
    }

    /// How long an approval counts.
    pub(super) fn expire(&self) -> Duration {
        self.expire
    }

    /// The approval of a question, however old; `None` where there is none, or memcached does not answer.
    pub(super) async fn approval(&self, question: &Digest, now_unix_ms: i64) -> Option<SharedApproval> {
        let hmac_key = self.hmac_key.read().clone();
        let key = cache_key(&hmac_key, SharedRecord::Approval, question);
        let started = tokio::time::Instant::now();
        let answer = self.memcached.get(&key).await;
        match &answer {
            Ok(_) => self.availability.available(Some(started.elapsed()), now_unix_ms),
            Err(error) => self.availability.unavailable(&error.to_string(), now_unix_ms),
        };
        let (result, approval) = match answer {
            Ok(Some(value)) => match decode_value(&hmac_key, &key, &value) {
                Some((approved_unix_ms, account)) if !account.is_empty() => {
                    (ReadResult::Hit, Some(SharedApproval { account: account.into(), approved_unix_ms }))
                }
                _ => (ReadResult::Forged, None),
            },
            Ok(None) => (ReadResult::Miss, None),
            Err(error) => (read_failure(error), None),
        };
        self.metrics.read(result);
        approval
    }

    /// The last refusal after an approval. Only failures are counted as reads: mostly there is no refusal.
    pub(super) async fn refusal(&self, question: &Digest) -> SharedRefusal {
        let hmac_key = self.hmac_key.read().clone();
        let key = cache_key(&hmac_key, SharedRecord::Refusal, question);
        match self.memcached.get(&key).await {
            Ok(None) => SharedRefusal::None,
            Ok(Some(value)) => match decode_value(&hmac_key, &key, &value) {
                Some((refused_unix_ms, _)) => SharedRefusal::At(refused_unix_ms),
                None => {
                    self.metrics.read(ReadResult::Forged);
                    SharedRefusal::Unknown
                }
            },
            Err(error) => {
                self.metrics.read(read_failure(error));
                SharedRefusal::Unknown
            }
        }
    }

    /// Stores an approval for as long as it counts, and `stale` longer.
    pub(super) async fn put_approval(&self, question: &Digest, account: &str, now_unix_ms: i64, stale: Duration) {
        self.write_record(SharedRecord::Approval, question, account, now_unix_ms, stale).await;
    }

    /// Stores a refusal for as long as an older approval could be put back, and removes the approval.
    pub(super) async fn put_refusal(&self, question: &Digest, now_unix_ms: i64, stale: Duration) {
        self.write_record(SharedRecord::Refusal, question, "", now_unix_ms, stale).await;
        self.remove_approval(question).await;
    }

    /// Removes an approval. Where that fails, the approval stays until it expires.
    pub(super) async fn remove_approval(&self, question: &Digest) {
        let key = cache_key(&self.hmac_key.read().clone(), SharedRecord::Approval, question);
        let written = self.memcached.delete(&key).await;
        self.count_write(written);
    }

    /// Writes an answer of the authority to memcached, to expire `stale` after its usual time. A failure is only
    /// counted.
    async fn write_record(
        &self,
        record: SharedRecord,
        question: &Digest,
        account: &str,
        at_unix_ms: i64,
        stale: Duration,
    ) {
        let hmac_key = self.hmac_key.read().clone();
        let key = cache_key(&hmac_key, record, question);
        let value = encode_value(&hmac_key, &key, account, at_unix_ms);
        let written = self.memcached.set(&key, &value, self.expire.saturating_add(stale)).await;
        self.count_write(written);
    }

    /// Counts the result of a write in the metrics.
    fn count_write(&self, written: Result<(), CacheError>) {
        self.metrics.written(match written {
            Ok(()) => WriteResult::Success,
            Err(CacheError::Timeout) => WriteResult::Timeout,
            Err(CacheError::Unavailable | CacheError::Protocol | CacheError::TooLong) => WriteResult::Error,
        });
    }
}

/// The kind of failure under which a failed read is counted.
fn read_failure(error: CacheError) -> ReadResult {
    match error {
        CacheError::Timeout => ReadResult::Timeout,
        CacheError::Unavailable | CacheError::Protocol | CacheError::TooLong => ReadResult::Error,
    }
}

/// The HMAC key of records, derived from the signing key, so that replicas with the same key read each other's records.
fn derive_hmac_key(keys: &Keys) -> Arc<hmac::Key> {
    Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &*keys.derive("what replicas remember of the authority")))
}

/// The kind of a value. It is part of the key, so that a value of one kind cannot be put in place of the other.
#[derive(Clone, Copy, Debug)]
enum SharedRecord {
    Approval,
    Refusal,
}

/// The key in memcached: 64 hexadecimal digits.
fn cache_key(hmac_key: &hmac::Key, record: SharedRecord, question: &Digest) -> String {
    let record: &[u8] = match record {
        SharedRecord::Approval => b"approval ",
        SharedRecord::Refusal => b"refusal ",
    };
    let tag = hmac::sign(hmac_key, &[record, &question[..]].concat());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that the tag authenticates: the key and the value, so that a value counts under its own key alone.
fn tag_input(key: &str, body: &[u8]) -> Vec<u8> {
    [b"value ", key.as_bytes(), body].concat()
}

/// The bytes of a record: version, the time in milliseconds since 1970, the account, and an HMAC over all of it and
/// `key`.
pub(super) fn encode_value(hmac_key: &hmac::Key, key: &str, account: &str, at_unix_ms: i64) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + account.len() + TAG_BYTES);
    value.push(VERSION);
    value.extend_from_slice(&at_unix_ms.to_be_bytes());
    value.extend_from_slice(account.as_bytes());
    let tag = hmac::sign(hmac_key, &tag_input(key, &value));
    value.extend_from_slice(tag.as_ref());
    value
}

/// Time in milliseconds since 1970 and account of a record; `None` where the HMAC is wrong, the version is another, or
/// bytes are missing.
pub(super) fn decode_value<'v>(hmac_key: &hmac::Key, key: &str, value: &'v [u8]) -> Option<(i64, &'v str)> {
    let (body, tag) = value.split_at_checked(value.len().checked_sub(TAG_BYTES)?)?;
    hmac::verify(hmac_key, &tag_input(key, body), tag).ok()?;
    let (head, account) = body.split_at_checked(HEADER_BYTES)?;
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
        let [ours, other] = [&keys[0], &keys[1]].map(derive_hmac_key);
        let [a, b] = [[1; 32], [2; 32]].map(|question| cache_key(&ours, SharedRecord::Approval, &question));
        assert_eq!(a.len(), 64);
        assert_ne!(a, cache_key(&ours, SharedRecord::Refusal, &[1; 32]));
        assert_ne!(
            a,
            cache_key(&other, SharedRecord::Approval, &[1; 32]),
            "without the key, a question's name cannot be computed"
        );
        let value = encode_value(&ours, &a, "acct", 77);
        assert_eq!(decode_value(&ours, &a, &value), Some((77, "acct")));
        assert_eq!(decode_value(&ours, &b, &value), None);
        assert_eq!(decode_value(&other, &a, &value), None);
        for at in 0..value.len() {
            let mut forged = value.clone();
            forged[at] ^= 1;
            assert_eq!(decode_value(&ours, &a, &forged), None, "byte {at}");
            assert_eq!(decode_value(&ours, &a, &value[..at]), None);
        }
    }
}
