//! How often the authority is asked on behalf of callers whom it has not approved yet.
//!
//! What counts is the cluster that a caller claims to be together with its address, and the address alone with a limit that
//! a whole site behind one address does not reach. Approved callers are not counted: theirs is a question every few minutes.

use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::client::Peer;
use crate::bounded::Digest;

/// So many clients are counted at a time.
const MAX_CLIENTS: usize = 65_536;
/// Where that many are counted, those who may ask again freely are looked for at most this often.
const SWEEP_EVERY_US: i64 = 1_000_000;

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
    by_claim: Counts<(Peer, Digest)>,
    by_peer: Counts<Peer>,
}

impl QuestionRate {
    pub(super) fn new(by_claim: Rate, by_peer: Rate) -> Self {
        Self { by_claim: Counts::new(by_claim), by_peer: Counts::new(by_peer) }
    }

    /// Counts a question about this cluster from this peer.
    ///
    /// # Errors
    /// How long to wait, where there were too many.
    pub(super) fn admit(&self, peer: Peer, cluster: &Digest, now_ms: i64) -> Result<(), Duration> {
        self.by_claim.admit((peer, *cluster), now_ms)?;
        self.by_peer.admit(peer, now_ms)
    }
}

/// A token bucket for each client, kept as the time at which it is full again (GCRA). A full one is not kept.
#[derive(Debug)]
struct Counts<K> {
    interval_us: i64,
    burst_us: i64,
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    full_again_us: HashMap<K, i64>,
    swept_us: i64,
}

impl<K: Eq + Hash + Copy> Counts<K> {
    fn new(rate: Rate) -> Self {
        let interval_us = 60_000_000 / i64::from(rate.per_minute.max(1));
        let burst_us = interval_us.saturating_mul(i64::from(rate.burst.max(1)));
        let state = Mutex::new(State { full_again_us: HashMap::new(), swept_us: i64::MIN });
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

impl<K: Eq + Hash + Copy> State<K> {
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
    use super::*;

    const CLAIM: Rate = Rate { burst: 3, per_minute: 60 };
    const PEER: Rate = Rate { burst: 10, per_minute: 600 };

    #[test]
    fn one_claim_and_one_peer_are_limited_and_no_other() {
        let rate = QuestionRate::new(CLAIM, PEER);
        let (one, other) = (Peer::V4(1), Peer::V4(2));
        let admitted = |peer, cluster: u8, now_ms| rate.admit(peer, &[cluster; 32], now_ms).is_ok();
        assert_eq!((0..9).filter(|_| admitted(one, 1, 0)).count(), 3);
        assert_eq!(rate.admit(one, &[1; 32], 0), Err(Duration::from_secs(1)));
        assert!(admitted(other, 1, 0), "whoever claims to be a cluster takes nothing from the cluster itself");
        assert_eq!((2..50).filter(|cluster| admitted(one, *cluster, 0)).count(), 7);
        assert!(admitted(other, 2, 0));
        assert!(!admitted(one, 1, 999) && admitted(one, 1, 1_000));
    }

    #[test]
    fn so_many_are_counted_and_no_more() {
        let counts = Counts::new(CLAIM);
        for key in 0..MAX_CLIENTS + 5_000 {
            assert!(counts.admit(key, 0).is_ok());
        }
        assert_eq!(counts.state.lock().full_again_us.len(), MAX_CLIENTS);
        assert!(counts.admit(usize::MAX, 10_000).is_ok());
        assert_eq!(counts.state.lock().full_again_us.len(), 1, "those who may ask freely are not kept");
    }
}
