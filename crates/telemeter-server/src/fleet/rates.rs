//! How many requests and samples a second there are, by route: counted where a request ends, recorded every ten seconds.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::Mutex;
use telemeter_fleet::ReportRoute;

/// How far apart two points are, at least.
const STEP_MS: i64 = 10_000;
/// For how long points are kept.
const KEPT_MS: i64 = 3_600_000;
/// The rates are those of the last so many milliseconds.
const LAST_MS: i64 = 60_000;

const ROUTES: usize = ReportRoute::ALL.len();

/// Counts requests and samples, and keeps the counts of the last hour.
#[derive(Debug, Default)]
pub struct Rates {
    accepted: [AtomicU64; ROUTES],
    refused: [AtomicU64; ROUTES],
    samples: [AtomicU64; ROUTES],
    points: Mutex<VecDeque<RatePoint>>,
}

/// The counts since the start, by route, at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTotals {
    /// Requests that succeeded.
    pub accepted: [u64; ROUTES],
    /// Requests that did not succeed.
    pub refused: [u64; ROUTES],
    /// Samples of those that succeeded.
    pub samples: [u64; ROUTES],
}

#[derive(Clone, Copy, Debug)]
struct RatePoint {
    at_ms: i64,
    counts: RequestTotals,
}

/// The counts of one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minute {
    /// When it began, in milliseconds since 1970.
    pub from_ms: i64,
    /// How much of it the counts cover, in milliseconds: less than a minute in the first and in the last one.
    pub covered_ms: i64,
    /// What was counted in that time, by route.
    pub counts: RequestTotals,
}

/// Counts per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerSecond {
    /// Requests that succeeded, by route.
    pub accepted: [f64; ROUTES],
    /// Requests that did not succeed, by route.
    pub refused: [f64; ROUTES],
    /// Samples of those that succeeded, by route.
    pub samples: [f64; ROUTES],
}

impl Rates {
    /// Counts a request that succeeded.
    pub fn count_accepted(&self, route: ReportRoute, samples: u64) {
        self.accepted[route as usize].fetch_add(1, Ordering::Relaxed);
        if samples > 0 {
            self.samples[route as usize].fetch_add(samples, Ordering::Relaxed);
        }
    }

    /// Counts a request that did not succeed.
    pub fn count_refused(&self, route: ReportRoute) {
        self.refused[route as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts since the start.
    #[must_use]
    pub fn counts(&self) -> RequestTotals {
        let read = |counters: &[AtomicU64; ROUTES]| std::array::from_fn(|at| counters[at].load(Ordering::Relaxed));
        RequestTotals { accepted: read(&self.accepted), refused: read(&self.refused), samples: read(&self.samples) }
    }

    /// Records the counts of now, at most every ten seconds.
    pub fn tick(&self, now_ms: i64) {
        let counts = self.counts();
        let mut points = self.points.lock();
        // Where the clock was set back, points ahead of it are dropped.
        points.retain(|point| (0..=KEPT_MS + STEP_MS).contains(&(now_ms - point.at_ms)));
        if points.back().is_none_or(|last| now_ms - last.at_ms >= STEP_MS) {
            points.push_back(RatePoint { at_ms: now_ms, counts });
        }
    }

    /// The rates of the last minute, or of as much of it as there was; zero before anything was recorded.
    #[must_use]
    pub fn per_second(&self, now_ms: i64) -> PerSecond {
        let points = self.points.lock();
        let Some(from) = points.iter().find(|point| now_ms - point.at_ms <= LAST_MS).or(points.back()) else {
            return PerSecond::default();
        };
        let seconds = (now_ms - from.at_ms) as f64 / 1000.0;
        if seconds <= 0.0 {
            return PerSecond::default();
        }
        self.counts().since(&from.counts).per_second(seconds)
    }

    /// The last hour, minute by minute, oldest first; minutes before the start are not in it.
    #[must_use]
    pub fn last_hour(&self) -> Vec<Minute> {
        let points = self.points.lock();
        let mut minutes: Vec<Minute> = Vec::new();
        for (before, after) in points.iter().zip(points.iter().skip(1)) {
            let from_ms = before.at_ms.div_euclid(60_000) * 60_000;
            let change = after.counts.since(&before.counts);
            let covered_ms = after.at_ms - before.at_ms;
            match minutes.last_mut() {
                Some(minute) if minute.from_ms == from_ms => {
                    minute.counts = minute.counts.plus(&change);
                    minute.covered_ms += covered_ms;
                }
                _ => minutes.push(Minute { from_ms, covered_ms, counts: change }),
            }
        }
        minutes
    }
}

impl Minute {
    /// Its counts per second.
    #[must_use]
    pub fn per_second(&self) -> PerSecond {
        self.counts.per_second(self.covered_ms.max(1) as f64 / 1000.0)
    }
}

impl RequestTotals {
    fn per_second(&self, seconds: f64) -> PerSecond {
        let rates = |counts: [u64; ROUTES]| counts.map(|count| count as f64 / seconds);
        PerSecond { accepted: rates(self.accepted), refused: rates(self.refused), samples: rates(self.samples) }
    }

    fn since(&self, before: &Self) -> Self {
        self.combine(before, u64::saturating_sub)
    }

    fn plus(&self, more: &Self) -> Self {
        self.combine(more, u64::saturating_add)
    }

    /// Applies `with` to each pair of totals, route by route.
    fn combine(&self, other: &Self, with: fn(u64, u64) -> u64) -> Self {
        let each = |a: [u64; ROUTES], b: [u64; ROUTES]| std::array::from_fn(|at| with(a[at], b[at]));
        Self {
            accepted: each(self.accepted, other.accepted),
            refused: each(self.refused, other.refused),
            samples: each(self.samples, other.samples),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_800_000_000_000;

    #[test]
    fn rates_are_those_of_the_last_minute() {
        let rates = Rates::default();
        assert_eq!(rates.per_second(START_MS), PerSecond::default());
        for second in 0..300 {
            rates.tick(START_MS + second * 1000);
            rates.count_accepted(ReportRoute::Upload, if second < 200 { 10 } else { 100 });
            if second % 2 == 0 {
                rates.count_refused(ReportRoute::Receive);
            }
        }
        let now = rates.per_second(START_MS + 300_000);
        assert_eq!(
            (now.accepted[ReportRoute::Upload as usize], now.samples[ReportRoute::Upload as usize]),
            (1.0, 100.0)
        );
        assert_eq!(now.samples[ReportRoute::Receive as usize], 0.0);
        assert_eq!((now.refused[ReportRoute::Receive as usize], now.refused[ReportRoute::Upload as usize]), (0.5, 0.0));
        assert_eq!(rates.counts().accepted[ReportRoute::Upload as usize], 300);
    }

    #[test]
    fn the_last_hour_minute_by_minute() {
        let rates = Rates::default();
        for second in 0..5000 {
            rates.tick(START_MS + second * 1000);
            rates.count_accepted(ReportRoute::Upload, 2);
        }
        let minutes = rates.last_hour();
        assert!((59..=62).contains(&minutes.len()), "{}", minutes.len());
        assert!(
            minutes[1..minutes.len() - 1]
                .iter()
                .all(|minute| minute.counts.samples[ReportRoute::Upload as usize] == 120)
        );
        assert!(minutes.windows(2).all(|pair| pair[1].from_ms - pair[0].from_ms == 60_000));
        // The rate is right in minutes, too, that the counts do not cover whole.
        let rates_of = |minute: &Minute| minute.per_second().samples[ReportRoute::Upload as usize];
        assert!(minutes.iter().all(|minute| (rates_of(minute) - 2.0).abs() < 1e-9), "{minutes:?}");
        assert!(minutes.iter().any(|minute| minute.covered_ms < 60_000), "{minutes:?}");
        rates.tick(START_MS - 1_000_000);
        assert!(rates.last_hour().is_empty(), "a clock that was set back begins anew");
    }
}
