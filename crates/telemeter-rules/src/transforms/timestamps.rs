//! Sample time against ours: what `/upload` and `/metrics/v1/receive` check, and the stamp that an upload gets.

use std::{cell::RefCell, time::Duration};

use telemeter_wire::{Arena, NativeHistogram, Points, SeriesMut};

use crate::{
    canonical::shown,
    family::LastName,
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// How old an uploaded sample may be.
pub const MAX_AGE: Duration = Duration::from_hours(24);
/// How far ahead of our clock a sample may be.
pub const MAX_AHEAD: Duration = Duration::from_mins(10);
/// Within this distance to our clock a sample is of the present.
pub const PRESENT: Duration = Duration::from_mins(5);

/// Checks the samples of an upload: each has a time, not too old and not too far ahead, and within a family (a run of one
/// name) time does not go back; the parts of a native histogram belong together. Counts the drift. For the series of one request.
#[derive(Debug)]
pub struct CheckUpload {
    now_ms: i64,
    last: RefCell<LastSeries>,
}

/// The series before.
#[derive(Debug)]
struct LastSeries {
    name: LastName,
    timestamp_ms: i64,
}

impl CheckUpload {
    /// Checks against this time, in milliseconds.
    #[must_use]
    pub fn new(now_ms: i64) -> Self {
        Self { now_ms, last: RefCell::new(LastSeries { name: LastName::new(), timestamp_ms: i64::MIN }) }
    }
}

impl Transform for CheckUpload {
    #[inline]
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        _: &'a Arena,
        report: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        let timestamp = match series.points() {
            Points::Sample(sample) => sample.timestamp_ms,
            Points::Histogram(histogram) => {
                check_histogram(&histogram, series.view().name())?;
                histogram.timestamp_ms
            }
            Points::Encoded(_) | Points::Absent => return Err(Refusal::NoValue),
        };
        let timestamp = timestamp.ok_or(Refusal::NoTimestamp)?;
        let last = &mut *self.last.borrow_mut();
        let other_family = last.name.begins(series.view().name());
        if std::mem::replace(&mut last.timestamp_ms, timestamp) > timestamp && !other_family {
            return Err(Refusal::Unsorted);
        }
        let ahead_ms = timestamp.saturating_sub(self.now_ms);
        if ahead_ms < -millis(MAX_AGE) {
            return Err(Refusal::TooOld { hours: MAX_AGE.as_secs() / 3600 });
        }
        is_near(timestamp, self.now_ms)?;
        report.ahead += u64::from(ahead_ms > 0);
        match ahead_ms {
            drift if drift < -millis(PRESENT) => report.past += 1,
            drift if drift > millis(PRESENT) => report.future += 1,
            _ => report.present += 1,
        }
        Ok(Verdict::Keep)
    }
}

/// Refuses samples of remote write that are so far ahead that a store would refuse everybody else's behind them.
#[derive(Clone, Copy, Debug)]
pub struct CheckAhead {
    now_ms: i64,
}

impl CheckAhead {
    /// Checks against this time, in milliseconds.
    #[must_use]
    pub const fn new(now_ms: i64) -> Self {
        Self { now_ms }
    }
}

impl Transform for CheckAhead {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        _: &'a Arena,
        _: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        let newest = series.points().newest_ms();
        newest.map_or(Ok(Verdict::Keep), |newest| is_near(newest, self.now_ms).map(|()| Verdict::Keep))
    }
}

/// A store refuses a batch for one histogram that is none.
#[cold]
fn check_histogram(histogram: &NativeHistogram<'_>, metric: &str) -> Result<(), Refusal> {
    histogram.check().map_err(|flaw| Refusal::Histogram { metric: shown(metric), flaw })
}

fn is_near(timestamp: i64, now_ms: i64) -> Result<(), Refusal> {
    if timestamp.saturating_sub(now_ms) > millis(MAX_AHEAD) {
        return Err(Refusal::TooFarAhead { minutes: MAX_AHEAD.as_secs() / 60 });
    }
    Ok(())
}

const fn millis(duration: Duration) -> i64 {
    duration.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use telemeter_wire::{Label, MetricType, Sample, SeriesSet};

    use super::*;
    use crate::transform::run;

    const NOW: i64 = 1_700_000_000_000;
    const MINUTE: i64 = 60_000;

    /// Checks samples of these names, at these distances to our clock.
    fn checked(times: &[(&str, Option<i64>)]) -> Result<StepCounts, Refusal> {
        let step = CheckUpload::new(NOW);
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        for (name, drift) in times {
            let sample = Sample { value: 1.0, timestamp_ms: drift.map(|drift| NOW.saturating_add(drift)) };
            set.push(&[Label::new("__name__", name)], MetricType::Gauge, Points::Sample(sample));
        }
        let mut report = StepCounts::default();
        run(&mut set, &[&step], &mut report).map(|()| report)
    }

    #[test]
    fn uploads_have_sane_times() {
        fn check(times: &[(&str, Option<i64>)], expected: Result<(), Refusal>) {
            assert_eq!(checked(times).map(|_| ()), expected, "{times:?}");
        }
        check(&[], Ok(()));
        check(&[("a", Some(0)), ("a", Some(0)), ("a", Some(1))], Ok(()));
        check(&[("a", Some(5)), ("b", Some(0))], Ok(()));
        check(&[("a", Some(5)), ("a", Some(4))], Err(Refusal::Unsorted));
        check(&[("a", None)], Err(Refusal::NoTimestamp));
        check(&[("a", Some(-24 * 60 * MINUTE))], Ok(()));
        check(&[("a", Some(-24 * 60 * MINUTE - 1))], Err(Refusal::TooOld { hours: 24 }));
        check(&[("a", Some(10 * MINUTE))], Ok(()));
        check(&[("a", Some(10 * MINUTE + 1))], Err(Refusal::TooFarAhead { minutes: 10 }));
        check(&[("a", Some(i64::MIN))], Err(Refusal::TooOld { hours: 24 }));
        check(&[("a", Some(i64::MAX))], Err(Refusal::TooFarAhead { minutes: 10 }));
    }

    #[test]
    fn a_metric_without_its_value_is_refused() {
        let step = CheckUpload::new(NOW);
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        set.push(&[Label::new("__name__", "up")], MetricType::Gauge, Points::Absent);
        assert_eq!(run(&mut set, &[&step], &mut StepCounts::default()), Err(Refusal::NoValue));
    }

    #[test]
    fn a_native_histogram_has_a_time_and_parts_that_belong_together() {
        let check = |message: &[u8], drift: Option<i64>, expected: Result<(), &str>| {
            let (step, arena) = (CheckUpload::new(NOW), Arena::new());
            let mut set = SeriesSet::new_in(&arena);
            let message = arena.text().alloc_slice_copy(message);
            let histogram = NativeHistogram { message, timestamp_ms: drift.map(|drift| NOW + drift) };
            set.push(&[Label::new("__name__", "h")], MetricType::Histogram, Points::Histogram(histogram));
            let result = run(&mut set, &[&step], &mut StepCounts::default());
            assert_eq!(result.map_err(|refusal| refusal.to_string()), expected.map_err(str::to_owned));
        };
        // A count of 4, all of them in the zero bucket.
        let good = [1 << 3, 4, 7 << 3, 4];
        check(&good, Some(0), Ok(()));
        check(&good, None, Err("a sample has no timestamp"));
        check(&good, Some(-24 * 60 * MINUTE - 1), Err("a sample is over 24 hours old by the server's clock"));
        check(&good, Some(10 * MINUTE + 1), Err("a sample is over 10 minutes ahead of the server's clock"));
        let expected =
            "a native histogram of metric \"h\" is not valid: its count is 5, and its buckets hold 4 observations";
        check(&[1 << 3, 5, 7 << 3, 4], Some(0), Err(expected));
    }

    #[test]
    fn drift_is_counted() {
        let drifts = [-5 * MINUTE - 1, -5 * MINUTE, 1, 5 * MINUTE + 1];
        let report = checked(&drifts.map(|drift| ("a", Some(drift)))).expect("sane");
        assert_eq!((report.past, report.present, report.future, report.ahead), (1, 2, 1, 2));
    }

    #[test]
    fn remote_write_is_not_far_ahead() {
        let check = |ahead: i64, expected| {
            let step = CheckAhead::new(NOW);
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            for drift in [0, ahead, -1] {
                let sample = Sample { value: 1.0, timestamp_ms: Some(NOW.saturating_add(drift)) };
                set.push(&[], MetricType::Untyped, Points::Sample(sample));
            }
            assert_eq!(run(&mut set, &[&step], &mut StepCounts::default()), expected);
        };
        check(-24 * 365 * 60 * MINUTE, Ok(()));
        check(10 * MINUTE, Ok(()));
        check(10 * MINUTE + 1, Err(Refusal::TooFarAhead { minutes: 10 }));
        check(i64::MAX, Err(Refusal::TooFarAhead { minutes: 10 }));
    }
}
