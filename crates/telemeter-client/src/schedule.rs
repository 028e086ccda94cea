//! When the next cycle is due: after the interval, a minute after a failure, or when the server said.
//!
//! Every wait is stretched by up to a twentieth, and the first cycle comes up to a twentieth of the interval late,
//! so that a fleet that was started together drifts apart. A wait is never shortened: the server's rate limit is as
//! long as the default interval, and whoever comes early is turned away.

use std::time::Duration;

/// How long to wait after a failure, where the server said nothing.
pub const AFTER_FAILURE: Duration = Duration::from_secs(60);
/// A `Retry-After` above this is cut: an hour without a try is long enough.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);
/// A `Retry-After` below this is stretched, so that `0` does not become a busy loop.
pub const SHORTEST_WAIT: Duration = Duration::from_secs(5);

/// How a cycle ended, as far as the next one cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CycleOutcome {
    /// It went through.
    Done,
    /// It failed; the server may have said when to come again.
    Failed {
        /// The server's `Retry-After`.
        retry_after: Option<Duration>,
    },
}

/// The waits between the cycles of one worker.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval: Duration,
    random: PseudoRandom,
    at_once: bool,
}

impl Schedule {
    /// The schedule of the cluster `id`; the same id always gets the same sequence.
    pub fn new(interval: Duration, id: &str) -> Self {
        Self { interval, random: PseudoRandom::seeded(id), at_once: false }
    }

    /// The same, with no wait before the first cycle.
    pub fn at_once(self) -> Self {
        Self { at_once: true, ..self }
    }

    /// How long to wait before the first cycle.
    pub fn first(&mut self) -> Duration {
        let spread = self.random.next_unit() / 20.0;
        if self.at_once { Duration::ZERO } else { self.interval.mul_f64(spread) }
    }

    /// How long to wait after a cycle that ended this way.
    pub fn after(&mut self, outcome: CycleOutcome) -> Duration {
        let wait = match outcome {
            CycleOutcome::Done => self.interval,
            CycleOutcome::Failed { retry_after: None } => AFTER_FAILURE,
            CycleOutcome::Failed { retry_after: Some(told) } => told.clamp(SHORTEST_WAIT, LONGEST_WAIT),
        };
        wait.mul_f64(1.0 + self.random.next_unit() / 20.0)
    }
}

/// Numbers that need not be secret, only different from cluster to cluster.
///
/// Source: SplitMix64, <https://prng.di.unimi.it/splitmix64.c>; the seed is FNV-1a of the text.
#[derive(Clone, Debug)]
pub struct PseudoRandom(u64);

impl PseudoRandom {
    /// The sequence that belongs to this text.
    pub fn seeded(text: &str) -> Self {
        Self(
            text.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)),
        )
    }

    /// Any number.
    pub fn next_number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to, but not including, 1.
    pub fn next_unit(&mut self) -> f64 {
        (self.next_number() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(270);

    /// Every wait of a hundred clusters lies between `least` and a twentieth more, and they differ.
    fn check(outcome: CycleOutcome, least: Duration) {
        let mut seen = std::collections::BTreeSet::new();
        for cluster in 0..100 {
            let mut schedule = Schedule::new(INTERVAL, &format!("cluster-{cluster}"));
            let wait = schedule.after(outcome);
            assert!(wait >= least && wait < least.mul_f64(1.05), "{wait:?} for {outcome:?}");
            seen.insert(wait);
        }
        assert!(seen.len() > 90, "only {} different waits", seen.len());
    }

    #[test]
    fn waits() {
        let told = |seconds| CycleOutcome::Failed { retry_after: Some(Duration::from_secs(seconds)) };
        check(CycleOutcome::Done, INTERVAL);
        check(CycleOutcome::Failed { retry_after: None }, AFTER_FAILURE);
        check(told(0), SHORTEST_WAIT);
        check(told(30), Duration::from_secs(30));
        check(told(300), Duration::from_secs(300));
        check(told(86_400), LONGEST_WAIT);
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
    fn at_once_is_at_once_and_changes_nothing_else() {
        let (mut usual, mut hasty) = (Schedule::new(INTERVAL, "a"), Schedule::new(INTERVAL, "a").at_once());
        assert!(usual.first() > Duration::ZERO);
        assert_eq!(hasty.first(), Duration::ZERO);
        assert_eq!(usual.after(CycleOutcome::Done), hasty.after(CycleOutcome::Done));
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
