//! The number of samples that a cluster sent, over the window, as a ring of sums.

/// The number of parts into which the window is divided.
pub const PARTS: usize = 24;

/// The time that a push covers when there was no other shortly before it: the interval at which clients push.
const USUAL_INTERVAL_MS: i64 = 270_000;

/// The least time that the first push covers: the requests of one scrape come in quick succession.
const SHORTEST_INTERVAL_MS: i64 = 15_000;

/// A longer time between two pushes is a gap, not an interval.
pub(super) const GAP_MS: i64 = 600_000;

/// Sums of samples, one for each part of the window.
///
/// The samples of a push are distributed over the time since the previous push, which they cover. So a cluster that pushes
/// every 4m30s has an even rate, whatever the parts into which its pushes fall.
pub(super) struct Activity {
    sums: [f32; PARTS],
    /// The number of the newest part in `sums`, counted from 1970.
    newest: i64,
    part_ms: i64,
    /// The begin of the time for which samples are known.
    covered_from_ms: i64,
    /// The time of the last push.
    last_ms: i64,
    /// The samples of the first push, until the second one shows which time they cover.
    first: Option<f32>,
}

impl Activity {
    pub(super) fn new(window_ms: i64, now_ms: i64) -> Self {
        let part_ms = (window_ms / PARTS as i64).max(1);
        let covered_from_ms = now_ms - USUAL_INTERVAL_MS.min(window_ms);
        Self {
            sums: [0.0; PARTS],
            newest: now_ms.div_euclid(part_ms),
            part_ms,
            covered_from_ms,
            last_ms: i64::MIN,
            first: None,
        }
    }

    /// Records a push of `samples` samples.
    pub(super) fn add(&mut self, now_ms: i64, samples: usize) {
        let gap = now_ms.saturating_sub(self.last_ms);
        if self.last_ms == i64::MIN {
            self.first = Some(samples as f32);
        } else if let Some(first) = self.first.take()
            && (0..USUAL_INTERVAL_MS).contains(&gap)
        {
            // The interval is shorter than was assumed for the first push, which therefore covers less time.
            self.sums = [0.0; PARTS];
            self.covered_from_ms = self.covered_from_ms.max(self.last_ms - gap.max(SHORTEST_INTERVAL_MS));
            self.spread(self.covered_from_ms, self.last_ms, first);
        }
        let covers = if (0..=GAP_MS).contains(&gap) { gap } else { USUAL_INTERVAL_MS.min(self.part_ms * PARTS as i64) };
        self.last_ms = self.last_ms.max(now_ms);
        self.advance_to(now_ms.div_euclid(self.part_ms));
        self.spread(now_ms - covers, now_ms, samples as f32);
    }

    /// Distributes samples over the time between these two.
    fn spread(&mut self, from_ms: i64, to_ms: i64, samples: f32) {
        if from_ms >= to_ms {
            self.add_at(to_ms, samples);
        }
        let mut at = from_ms;
        while at < to_ms {
            let end = ((at.div_euclid(self.part_ms) + 1) * self.part_ms).min(to_ms);
            self.add_at(at, samples * (end - at) as f32 / (to_ms - from_ms) as f32);
            at = end;
        }
    }

    /// Adds a number of samples to the part of time that contains `ms`; does nothing where that part is not held any
    /// more or not yet.
    fn add_at(&mut self, ms: i64, samples: f32) {
        let part = ms.div_euclid(self.part_ms);
        if part > self.newest - PARTS as i64 && part <= self.newest {
            self.sums[part.rem_euclid(PARTS as i64) as usize] += samples;
        }
    }

    /// Makes `part` the newest one, and clears the parts between.
    fn advance_to(&mut self, part: i64) {
        let first = (self.newest + 1).max(part - PARTS as i64 + 1);
        for passed in first..=part {
            self.sums[passed.rem_euclid(PARTS as i64) as usize] = 0.0;
        }
        self.newest = self.newest.max(part);
    }

    /// Samples per minute in each complete part of the window for which they are known, oldest first; at most [`PARTS`] - 1.
    ///
    /// The list ends at the last push as long as the next one is not overdue, so that a steady sender has no dip at the end.
    pub(super) fn per_minute_by_part(&self, now_ms: i64) -> Vec<f64> {
        let end = self.end(now_ms).div_euclid(self.part_ms);
        // The first part is left out where there is another one, because the cluster did not report during all of it.
        let covered = (self.covered_from_ms + self.part_ms - 1).div_euclid(self.part_ms).min(end - 1);
        let first = covered.max(end - PARTS as i64 + 1);
        let minutes = self.part_ms as f64 / 60_000.0;
        (first..end).map(|part| f64::from(self.sum(part)) / minutes).collect()
    }

    /// Samples per minute, over the part of the window for which they are known.
    pub(super) fn per_minute(&self, now_ms: i64) -> f64 {
        let end = self.end(now_ms);
        let last = end.div_euclid(self.part_ms);
        let first = last - PARTS as i64 + 1;
        let from = self.covered_from_ms.max(first * self.part_ms);
        let total: f32 = (first..=last).map(|part| self.sum(part)).sum();
        f64::from(total) * 60_000.0 / (end - from).max(1) as f64
    }

    /// The end of the time over which rates are computed, in milliseconds: the last push, or now where that is more
    /// than [`GAP_MS`] ago.
    const fn end(&self, now_ms: i64) -> i64 {
        if now_ms - self.last_ms <= GAP_MS { self.last_ms } else { now_ms }
    }

    /// The number of samples in a part of time; 0 for a part that is not held.
    fn sum(&self, part: i64) -> f32 {
        let is_known = part <= self.newest && part > self.newest - PARTS as i64;
        if is_known { self.sums[part.rem_euclid(PARTS as i64) as usize] } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW_MS: i64 = 7_200_000;
    const START_MS: i64 = 1_700_000_123_456;

    fn pushed(pushes: i64) -> Activity {
        let mut activity = Activity::new(WINDOW_MS, START_MS);
        for push in 0..pushes {
            activity.add(START_MS + push * 270_000, 270);
        }
        activity
    }

    #[test]
    fn a_steady_sender_shows_a_level_line() {
        let activity = pushed(60);
        let now = START_MS + 59 * 270_000 + 200_000;
        let parts = activity.per_minute_by_part(now);
        assert_eq!(parts.len(), PARTS - 1);
        assert!(parts.iter().all(|rate| (rate - 60.0).abs() < 0.1), "{parts:?}");
        assert!((activity.per_minute(now) - 60.0).abs() < 0.1);
    }

    #[test]
    fn a_new_sender_begins_level() {
        let parts = pushed(7).per_minute_by_part(START_MS + 7 * 270_000);
        assert!((4..=6).contains(&parts.len()) && parts.iter().all(|rate| (rate - 60.0).abs() < 0.1), "{parts:?}");
        assert_eq!(pushed(1).per_minute_by_part(START_MS).len(), 1);
    }

    #[test]
    fn the_first_push_counts_as_one_interval() {
        assert!((pushed(1).per_minute(START_MS + 1) - 60.0).abs() < 0.1);
    }

    #[test]
    fn the_rate_is_that_of_the_observed_intervals() {
        for (every_ms, pushes) in [(15_000, 2), (15_000, 5), (30_000, 3), (60_000, 2), (120_000, 10), (270_000, 4)] {
            let mut activity = Activity::new(WINDOW_MS, START_MS);
            for push in 0..pushes {
                activity.add(START_MS + push * every_ms, 100);
            }
            let rate = activity.per_minute(START_MS + (pushes - 1) * every_ms + 1);
            let expected = 100.0 * 60_000.0 / every_ms as f64;
            assert!((rate / expected - 1.0).abs() < 0.01, "{every_ms}: {rate} for {expected}");
        }
    }

    #[test]
    fn silence_has_a_rate_of_zero() {
        let activity = pushed(60);
        let now = START_MS + 59 * 270_000 + WINDOW_MS / 2;
        let parts = activity.per_minute_by_part(now);
        assert!(parts.last().is_some_and(|rate| *rate == 0.0) && parts[0] > 59.0, "{parts:?}");
        assert!((activity.per_minute(now) - 30.0).abs() < 3.0);
        assert_eq!(activity.per_minute(now + 2 * WINDOW_MS), 0.0);
    }

    #[test]
    fn a_push_at_the_same_moment_and_a_clock_that_went_back_count_too() {
        let mut activity = pushed(2);
        let before = activity.per_minute(START_MS + 270_000);
        activity.add(START_MS + 270_000, 270);
        activity.add(START_MS, 270);
        assert!(activity.per_minute(START_MS + 270_000) > before);
    }
}
