//! Limits the questions to the authority for callers that it has not approved yet.
//!
//! There is one limit for each pair of claimed cluster and client network, and a second, higher one for the network alone:
//! all clusters of a site behind one address together do not reach it. A caller that guesses the tokens of a cluster uses up
//! the first limit for that cluster and network, and the cluster's own token is then rejected, too. So there is a reserve:
//! where a rejected token is sent again at least a second later, one question about it is allowed from the reserve. A token
//! that is sent only once, and a token that was asked about in the last minute, use nothing of the reserve. Approved callers
//! are not limited, because each of them causes one question every few minutes.

use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use telemeter_http::listen::ClientNetwork;

use super::question::QuestionKey;
use crate::bounded::{Bounded, Digest};

/// The cap on clients that are counted at a time.
const MAX_CLIENTS: usize = 65_536;
/// A full map is searched for clients with a full bucket at most this often.
const SWEEP_EVERY_US: i64 = 1_000_000;

/// The reserve of a cluster and network, in addition to `by_cluster`.
const RESERVE: Rate = Rate { burst: 5, per_minute: 30 };
/// How long after its first rejection a token may use the reserve.
const RESERVE_AFTER_MS: i64 = 1_000;
/// How long a token that was rejected or asked about is remembered.
const REMEMBERED_MS: i64 = 60_000;

/// A rate limit: a burst, and a steady rate after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Questions at once.
    pub burst: u32,
    /// Questions per minute after the burst.
    pub per_minute: u32,
}

/// The limits, each with its buckets.
#[derive(Debug)]
pub(super) struct QuestionRate {
    by_cluster: ClientBuckets<(ClientNetwork, Digest)>,
    reserve: ClientBuckets<(ClientNetwork, Digest)>,
    by_peer: ClientBuckets<ClientNetwork>,
    tokens: Bounded<RecentToken>,
}

/// What happened to a token in the last minute.
#[derive(Clone, Copy, Debug)]
enum RecentToken {
    /// It was first rejected at this time, in milliseconds on the monotonic clock.
    Rejected(i64),
    AskedAbout,
}

impl QuestionRate {
    pub(super) fn new(by_cluster: Rate, by_peer: Rate) -> Self {
        Self {
            by_cluster: ClientBuckets::new(by_cluster),
            reserve: ClientBuckets::new(RESERVE),
            by_peer: ClientBuckets::new(by_peer),
            tokens: Bounded::new(MAX_CLIENTS),
        }
    }

    /// Counts one question from this network.
    ///
    /// # Errors
    /// How long the caller has to wait, where a limit is reached.
    pub(super) fn take(&self, peer: ClientNetwork, key: &QuestionKey, now_ms: i64) -> Result<(), Duration> {
        let claim = (peer, key.cluster);
        self.by_cluster.take(claim, now_ms).or_else(|wait| self.take_from_reserve(claim, key, wait, now_ms))?;
        self.by_peer.take(peer, now_ms)?;
        self.remember(key, RecentToken::AskedAbout, now_ms);
        Ok(())
    }

    /// Decides on a token after the limit of its cluster and network is reached. A token that was first rejected
    /// [`RESERVE_AFTER_MS`] ago or earlier is taken from the reserve. Every other one has to wait for `wait`, and an
    /// unknown one is remembered as rejected.
    fn take_from_reserve(
        &self,
        claim: (ClientNetwork, Digest),
        key: &QuestionKey,
        wait: Duration,
        now_ms: i64,
    ) -> Result<(), Duration> {
        match self.tokens.get(&key.digest, now_ms) {
            Some(RecentToken::Rejected(at_ms)) if now_ms.saturating_sub(at_ms) >= RESERVE_AFTER_MS => {
                self.reserve.take(claim, now_ms)
            }
            Some(RecentToken::Rejected(_) | RecentToken::AskedAbout) => Err(wait),
            None => {
                self.remember(key, RecentToken::Rejected(now_ms), now_ms);
                Err(wait)
            }
        }
    }

    /// Remembers for [`REMEMBERED_MS`] what happened to this token.
    fn remember(&self, key: &QuestionKey, event: RecentToken, now_ms: i64) {
        self.tokens.insert(key.digest, event, now_ms.saturating_add(REMEMBERED_MS), now_ms);
    }
}

/// A token bucket for each client, stored as the time at which it is full again (GCRA). A full bucket is not stored.
#[derive(Debug)]
struct ClientBuckets<K> {
    interval_us: i64,
    burst_us: i64,
    state: Mutex<RateState<K>>,
}

#[derive(Debug)]
struct RateState<K> {
    full_again_us: HashMap<K, i64>,
    swept_us: i64,
}

impl<K: Eq + Hash + Copy> ClientBuckets<K> {
    fn new(rate: Rate) -> Self {
        let interval_us = 60_000_000 / i64::from(rate.per_minute.max(1));
        let burst_us = interval_us.saturating_mul(i64::from(rate.burst.max(1)));
        let state = Mutex::new(RateState { full_again_us: HashMap::new(), swept_us: i64::MIN });
        Self { interval_us, burst_us, state }
    }

    /// Takes one token from the bucket of `key`. Where the table of buckets is full, one other client's bucket is
    /// removed, which is full again for that client.
    ///
    /// # Errors
    /// How long the caller has to wait, where the bucket is empty; nothing is taken then.
    fn take(&self, key: K, now_ms: i64) -> Result<(), Duration> {
        let now_us = now_ms.saturating_mul(1_000);
        let mut state = self.state.lock();
        let full_us = state.full_again_us.get(&key).map_or(now_us, |full_us| now_us.max(*full_us));
        let next_us = full_us.saturating_add(self.interval_us);
        let over_us = next_us.saturating_sub(now_us).saturating_sub(self.burst_us);
        if over_us > 0 {
            return Err(Duration::from_micros(over_us.unsigned_abs()));
        }
        if state.full_again_us.len() >= MAX_CLIENTS && !state.full_again_us.contains_key(&key) {
            state.evict_one(now_us);
        }
        state.full_again_us.insert(key, next_us);
        Ok(())
    }
}

impl<K: Eq + Hash + Copy> RateState<K> {
    /// Makes room for one entry. At most every [`SWEEP_EVERY_US`], removes all buckets that are full; where that is not
    /// enough, removes any one.
    fn evict_one(&mut self, now_us: i64) {
        if now_us.saturating_sub(self.swept_us) >= SWEEP_EVERY_US {
            self.swept_us = now_us;
            self.full_again_us.retain(|_, full_us| *full_us > now_us);
        }
        if self.full_again_us.len() >= MAX_CLIENTS {
            let any = self.full_again_us.keys().next().copied();
            any.map(|key| self.full_again_us.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::super::question::QuestionKind;
    use super::*;

    const CLAIM: Rate = Rate { burst: 3, per_minute: 60 };
    const PEER: Rate = Rate { burst: 10, per_minute: 600 };

    fn peer(number: u8) -> ClientNetwork {
        IpAddr::from([10, 0, 0, number]).into()
    }

    #[test]
    fn one_claim_and_one_peer_are_limited_and_no_other() {
        let rate = QuestionRate::new(CLAIM, PEER);
        let (one, other) = (peer(1), peer(2));
        let key = |cluster: u8| QuestionKey::new(QuestionKind::Receive, &cluster.to_string(), "t");
        let is_allowed = |peer, cluster: u8, now_ms| rate.take(peer, &key(cluster), now_ms).is_ok();
        assert_eq!((0..9).filter(|_| is_allowed(one, 1, 0)).count(), 3);
        assert_eq!(rate.take(one, &key(1), 0), Err(Duration::from_secs(1)));
        assert!(is_allowed(other, 1, 0), "a caller that claims to be a cluster takes nothing from the cluster itself");
        assert_eq!((2..50).filter(|cluster| is_allowed(one, *cluster, 0)).count(), 7);
        assert!(is_allowed(other, 2, 0));
        assert!(!is_allowed(one, 1, 999) && is_allowed(one, 1, 1_000));
    }

    #[test]
    fn a_token_that_comes_again_gets_through_a_flood_of_others() {
        let rate = QuestionRate::new(CLAIM, PEER);
        let peer = peer(1);
        let is_allowed =
            |token: &str, now_ms| rate.take(peer, &QuestionKey::new(QuestionKind::Receive, "c", token), now_ms).is_ok();
        let mut guesses = 0;
        for number in 0..200 {
            guesses += usize::from(is_allowed(&format!("bad-{number}"), number));
        }
        assert!(!is_allowed("good", 500) && !is_allowed("good", 999));
        for half_seconds in 1..120 {
            guesses += usize::from(is_allowed(&format!("worse-{half_seconds}"), half_seconds * 500));
            if half_seconds == 4 {
                assert!(is_allowed("good", 2_000), "a second after it was rejected");
            }
        }
        assert!(guesses <= 3 + 60, "{guesses}: guesses use nothing of the reserve");
    }

    #[test]
    fn repeating_every_token_uses_no_more_than_the_reserve() {
        let rate = QuestionRate::new(CLAIM, PEER);
        let peer = peer(1);
        let is_allowed = |token: i64, now_ms| {
            rate.take(peer, &QuestionKey::new(QuestionKind::Receive, "c", &token.to_string()), now_ms).is_ok()
        };
        let asked = (0..60_000).filter(|tenth_ms| is_allowed(tenth_ms % 1_500, *tenth_ms)).count();
        assert!((80..=3 + 60 + 5 + 30).contains(&asked), "{asked}");
    }

    #[test]
    fn the_number_of_counted_clients_is_bounded() {
        let buckets = ClientBuckets::new(CLAIM);
        for key in 0..MAX_CLIENTS + 5_000 {
            assert!(buckets.take(key, 0).is_ok());
        }
        assert_eq!(buckets.state.lock().full_again_us.len(), MAX_CLIENTS);
        assert!(buckets.take(usize::MAX, 10_000).is_ok());
        assert_eq!(buckets.state.lock().full_again_us.len(), 1, "full buckets are not stored");
    }
}
