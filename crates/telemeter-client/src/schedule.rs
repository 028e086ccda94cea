//! When the next cycle is due: after the interval, a minute after a failure, or after the server's `Retry-After`.
//!
//! Each wait is up to 5 % longer, and the first cycle starts up to 5 % of the interval late, so that clusters that were
//! started together do not upload together for ever. A wait is never shortened: the server's rate limit is as long as the
//! default interval, and it refuses an upload that comes earlier.

use std::time::Duration;

/// The wait after a failure without `Retry-After`.
pub const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// The longest wait: a longer `Retry-After` is shortened to it.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// The shortest wait after a failure: with a `Retry-After` of 0 the client would never pause.
pub const SHORTEST_WAIT: Duration = Duration::from_secs(5);

/// How a cycle ended, as far as the next wait depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CycleOutcome {
    /// It did not fail.
    Done,
    /// It failed.
    Failed {
        /// The `Retry-After` of the answer, where it had one.
        retry_after: Option<Duration>,
    },
}

/// The waits between the cycles of one worker.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Duration,
    random: PseudoRandom,
    starts_immediately: bool,
}

impl Schedule {
    /// The schedule of the cluster `id`; the same id always gets the same sequence.
    pub fn new(interval: Duration, id: &str) -> Self {
        Self { interval, random: PseudoRandom::seeded(id), starts_immediately: false }
    }

    /// The same schedule without a wait before the first cycle.
    pub fn start_immediately(self) -> Self {
        Self { starts_immediately: true, ..self }
    }

    /// The wait before the first cycle.
    pub fn first(&mut self) -> Duration {
        let spread = self.random.next_unit() / 20.0;
        if self.starts_immediately { Duration::ZERO } else { self.interval.mul_f64(spread) }
    }

    /// The wait after a cycle with this outcome.
    pub fn after(&mut self, outcome: CycleOutcome) -> Duration {
        let wait = match outcome {
            CycleOutcome::Done => self.interval,
            CycleOutcome::Failed { retry_after: None } => AFTER_FAILURE,
            CycleOutcome::Failed { retry_after: Some(wait) } => wait.clamp(SHORTEST_WAIT, LONGEST_WAIT),
        };
        wait.mul_f64(1.0 + self.random.next_unit() / 20.0)
    }
}

/// Pseudo-random numbers, which are not secret: they only differ from cluster to cluster.
///
/// Source: SplitMix64, <https://prng.di.unimi.it/splitmix64.c>; the seed is FNV-1a of the text.
#[derive(Clone, Debug)]
pub struct PseudoRandom(u64);

impl PseudoRandom {
    /// The sequence of this seed; the same text gives the same sequence.
    pub fn seeded(text: &str) -> Self {
        Self(
            text.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)),
        )
    }

    /// The next number, of all 64-bit numbers.
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number in [0, 1).
    pub fn next_unit(&mut self) -> f64 {
        (self.next_number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(270);

    /// The waits of a hundred clusters are between `least` and 5 % more, and they differ.
    fn check(outcome: CycleOutcome, least: Duration) {
        let mut waits = std::collections::BTreeSet::new();
        for cluster in 0..100 {
            let mut schedule = Schedule::new(INTERVAL, &format!("cluster-{cluster}"));
            let wait = schedule.after(outcome);
            assert!(wait >= least && wait < least.mul_f64(1.05), "{wait:?} for {outcome:?}");
            waits.insert(wait);
        }
        assert!(waits.len() > 90, "only {} different waits", waits.len());
    }

    #[test]
    fn waits() {
        let retry_after = |seconds| CycleOutcome::Failed { retry_after: Some(Duration::from_secs(seconds)) };
        check(CycleOutcome::Done, INTERVAL);
        check(CycleOutcome::Failed { retry_after: None }, AFTER_FAILURE);
        check(retry_after(0), SHORTEST_WAIT);
        check(retry_after(30), Duration::from_secs(30));
        check(retry_after(300), Duration::from_secs(300));
        check(retry_after(86_400), LONGEST_WAIT);
    }

    #[test]
    fn the_start_is_spread_over_a_twentieth_of_the_interval() {
        let starts: Vec<_> = (0..1000).map(|n| Schedule::new(INTERVAL, &format!("id-{n}")).first()).collect();
        let most = INTERVAL / 20;
        assert!(starts.iter().all(|start| *start < most));
        let early = starts.iter().filter(|start| **start < most / 2).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the first half");
    }

    #[test]
    fn an_immediate_start_changes_only_the_first_wait() {
        let (mut usual, mut immediate) =
            (Schedule::new(INTERVAL, "a"), Schedule::new(INTERVAL, "a").start_immediately());
        assert!(usual.first() > Duration::ZERO);
        assert_eq!(immediate.first(), Duration::ZERO);
        assert_eq!(usual.after(CycleOutcome::Done), immediate.after(CycleOutcome::Done));
    }

    #[test]
    fn one_id_always_gets_the_same_sequence() {
        let sequence = |id: &str| {
            let mut schedule = Schedule::new(INTERVAL, id);
            [schedule.first(), schedule.after(CycleOutcome::Done), schedule.after(CycleOutcome::Done)]
        };
        assert_eq!(sequence("a"), sequence("a"));
        assert_ne!(sequence("a"), sequence("b"));
        let [_, second, third] = sequence("a");
        assert_ne!(second, third, "two clusters in step would stay in step");
    }
}
