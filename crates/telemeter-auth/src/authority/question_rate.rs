//! How often the authority is asked on behalf of callers whom it has not approved yet.
//!
//! What counts is the cluster that a caller claims to be together with its address, and the address alone with a limit that
//! a whole site behind one address does not reach. A caller that guesses at a cluster's token uses up what the cluster itself
//! may ask from that address: so a token that was turned away, and comes again a second later, is asked about from a
//! reserve, once. Tokens that come once only, and those asked about lately, take nothing from the reserve. Approved callers
//! are not counted: theirs is a question every few minutes.

use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use telemeter_http::listen::ClientNetwork;

use super::question::QuestionKey;
use crate::bounded::{Bounded, Digest};

/// So many clients are counted at a time.
const MAX_CLIENTS: usize = 65_536;
/// Where that many are counted, those who may ask again freely are looked for at most this often.
const SWEEP_EVERY_US: i64 = 1_000_000;

/// Questions about a cluster from a peer beyond those that count as guesses.
const RESERVE: Rate = Rate { burst: 5, per_minute: 30 };
/// How long ago a token was turned away first that the reserve is for.
const TURNED_AWAY_MS: i64 = 1_000;
/// How long a token is remembered: one that was turned away, and one that was asked about.
const REMEMBERED_MS: i64 = 60_000;

/// So many questions at once, and so many a minute from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// A minute.
    pub per_minute: u32,
}

/// The limits.
#[derive(Debug)]
pub(super) struct QuestionRate {
    by_claim: ClientBuckets<(ClientNetwork, Digest)>,
    reserve: ClientBuckets<(ClientNetwork, Digest)>,
    by_peer: ClientBuckets<ClientNetwork>,
    tokens: Bounded<RecentToken>,
}

/// What happened to a token lately.
#[derive(Clone, Copy, Debug)]
enum RecentToken {
    /// First at this time.
    TurnedAway(i64),
    AskedAbout,
}

impl QuestionRate {
    pub(super) fn new(by_claim: Rate, by_peer: Rate) -> Self {
        Self {
            by_claim: ClientBuckets::new(by_claim),
            reserve: ClientBuckets::new(RESERVE),
            by_peer: ClientBuckets::new(by_peer),
            tokens: Bounded::new(MAX_CLIENTS),
        }
    }

    /// Counts a question from this peer.
    ///
    /// # Errors
    /// How long to wait, where there were too many.
    pub(super) fn admit(&self, peer: ClientNetwork, key: &QuestionKey, now_ms: i64) -> Result<(), Duration> {
        let claim = (peer, key.cluster);
        self.by_claim.admit(claim, now_ms).or_else(|wait| self.admit_from_reserve(claim, key, wait, now_ms))?;
        self.by_peer.admit(peer, now_ms)?;
        self.remember(key, RecentToken::AskedAbout, now_ms);
        Ok(())
    }

    fn admit_from_reserve(
        &self,
        claim: (ClientNetwork, Digest),
        key: &QuestionKey,
        wait: Duration,
        now_ms: i64,
    ) -> Result<(), Duration> {
        match self.tokens.get(&key.digest, now_ms) {
            Some(RecentToken::TurnedAway(at_ms)) if now_ms.saturating_sub(at_ms) >= TURNED_AWAY_MS => {
                self.reserve.admit(claim, now_ms)
            }
            Some(RecentToken::TurnedAway(_) | RecentToken::AskedAbout) => Err(wait),
            None => {
                self.remember(key, RecentToken::TurnedAway(now_ms), now_ms);
                Err(wait)
            }
        }
    }

    fn remember(&self, key: &QuestionKey, seen: RecentToken, now_ms: i64) {
        self.tokens.insert(key.digest, seen, now_ms.saturating_add(REMEMBERED_MS), now_ms);
    }
}

/// A token bucket for each client, kept as the time at which it is full again (GCRA). A full one is not kept.
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

    fn admit(&self, key: K, now_ms: i64) -> Result<(), Duration> {
        let now_us = now_ms.saturating_mul(1_000);
        let mut state = self.state.lock();
        let full_us = state.full_again_us.get(&key).map_or(now_us, |full_us| now_us.max(*full_us));
        let next_us = full_us.saturating_add(self.interval_us);
        let over_us = next_us.saturating_sub(now_us).saturating_sub(self.burst_us);
        if over_us > 0 {
            return Err(Duration::from_micros(over_us.unsigned_abs()));
        }
        if state.full_again_us.len() >= MAX_CLIENTS && !state.full_again_us.contains_key(&key) {
            state.make_room(now_us);
        }
        state.full_again_us.insert(key, next_us);
        Ok(())
    }
}

impl<K: Eq + Hash + Copy> RateState<K> {
    fn make_room(&mut self, now_us: i64) {
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
        let admitted = |peer, cluster: u8, now_ms| rate.admit(peer, &key(cluster), now_ms).is_ok();
        assert_eq!((0..9).filter(|_| admitted(one, 1, 0)).count(), 3);
        assert_eq!(rate.admit(one, &key(1), 0), Err(Duration::from_secs(1)));
        assert!(admitted(other, 1, 0), "a caller that claims to be a cluster takes nothing from the cluster itself");
        assert_eq!((2..50).filter(|cluster| admitted(one, *cluster, 0)).count(), 7);
        assert!(admitted(other, 2, 0));
        assert!(!admitted(one, 1, 999) && admitted(one, 1, 1_000));
    }

    #[test]
    fn a_token_that_comes_again_gets_through_a_flood_of_others() {
        let rate = QuestionRate::new(CLAIM, PEER);
        let peer = peer(1);
        let admitted = |token: &str, now_ms| {
            rate.admit(peer, &QuestionKey::new(QuestionKind::Receive, "c", token), now_ms).is_ok()
        };
        let mut guesses = 0;
        for number in 0..200 {
            guesses += usize::from(admitted(&format!("bad-{number}"), number));
        }
        assert!(!admitted("good", 500) && !admitted("good", 999));
        for half_seconds in 1..120 {
            guesses += usize::from(admitted(&format!("worse-{half_seconds}"), half_seconds * 500));
            if half_seconds == 4 {
                assert!(admitted("good", 2_000), "a second after it was turned away");
            }
        }
        assert!(guesses <= 3 + 60, "{guesses}: guessing takes nothing from the reserve");
    }

    #[test]
    fn whoever_has_every_token_come_again_takes_no_more_than_the_reserve() {
        let rate = QuestionRate::new(CLAIM, PEER);
        let peer = peer(1);
        let admitted = |token: i64, now_ms| {
            rate.admit(peer, &QuestionKey::new(QuestionKind::Receive, "c", &token.to_string()), now_ms).is_ok()
        };
        let asked = (0..60_000).filter(|tenth_ms| admitted(tenth_ms % 1_500, *tenth_ms)).count();
        assert!((80..=3 + 60 + 5 + 30).contains(&asked), "{asked}");
    }

    #[test]
    fn so_many_are_counted_and_no_more() {
        let counts = ClientBuckets::new(CLAIM);
        for key in 0..MAX_CLIENTS + 5_000 {
            assert!(counts.admit(key, 0).is_ok());
        }
        assert_eq!(counts.state.lock().full_again_us.len(), MAX_CLIENTS);
        assert!(counts.admit(usize::MAX, 10_000).is_ok());
        assert_eq!(counts.state.lock().full_again_us.len(), 1, "those who may ask freely are not kept");
    }
}
