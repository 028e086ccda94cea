//! The steps that compare sample times with our clock, for `/upload` and for `/metrics/v1/receive`.

use std::{cell::RefCell, time::Duration};

use telemeter_wire::{Arena, NativeHistogram, Points, SeriesMut};

use crate::{
    canonical::excerpt,
    family::LastName,
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// How old an uploaded sample may be.
pub const MAX_AGE: Duration = Duration::from_hours(24);
/// How far ahead of our clock a sample may be.
pub const MAX_AHEAD: Duration = Duration::from_mins(10);
/// A sample within this distance of our clock is counted as present, any other as past or future.
pub const PRESENT: Duration = Duration::from_mins(5);

/// Checks the samples of one upload: each has a time, neither too old nor too far ahead; within a family (a run of series
/// with one name) times do not decrease; native histograms are valid. Counts the drift.
#[derive(Debug)]
pub struct CheckUpload {
    now_ms: i64,
    last: RefCell<LastSeries>,
}

/// The name and the time of the previous series.
#[derive(Debug)]
struct LastSeries {
    name: LastName,
    timestamp_ms: i64,
}

impl CheckUpload {
    /// A step that compares with `now_ms`, in milliseconds since 1970.
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
        counts: &mut StepCounts,
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
        let begins_family = last.name.begins_family(series.view().name());
        if std::mem::replace(&mut last.timestamp_ms, timestamp) > timestamp && !begins_family {
            return Err(Refusal::Unsorted);
        }
        let ahead_ms = timestamp.saturating_sub(self.now_ms);
        if ahead_ms < -millis(MAX_AGE) {
            return Err(Refusal::TooOld { hours: MAX_AGE.as_secs() / 3600 });
        }
        check_ahead(timestamp, self.now_ms)?;
        counts.ahead += u64::from(ahead_ms > 0);
        match ahead_ms {
            drift if drift < -millis(PRESENT) => counts.past += 1,
            drift if drift > millis(PRESENT) => counts.future += 1,
            _ => counts.present += 1,
        }
        Ok(Verdict::Keep)
    }
}

/// Refuses samples of remote write that are too far ahead of our clock: a store that took one would refuse the following
/// samples of the same series as out of order.
#[derive(Clone, Copy, Debug)]
pub struct CheckAhead {
    now_ms: i64,
}

impl CheckAhead {
    /// A step that compares with `now_ms`, in milliseconds since 1970.
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
        newest.map_or(Ok(Verdict::Keep), |newest| check_ahead(newest, self.now_ms).map(|()| Verdict::Keep))
    }
}

/// Refuses an invalid histogram: a store would refuse the whole batch because of it.
#[cold]
fn check_histogram(histogram: &NativeHistogram<'_>, metric: &str) -> Result<(), Refusal> {
    histogram.check().map_err(|flaw| Refusal::Histogram { metric: excerpt(metric), flaw })
}

fn check_ahead(timestamp: i64, now_ms: i64) -> Result<(), Refusal> {
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

    /// Checks samples with these names and these distances from our clock, in milliseconds.
    fn checked(times: &[(&str, Option<i64>)]) -> Result<StepCounts, Refusal> {
        let step = CheckUpload::new(NOW);
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        for (name, drift) in times {
            let sample = Sample { value: 1.0, timestamp_ms: drift.map(|drift| NOW.saturating_add(drift)) };
            set.push(&[Label::new("__name__", name)], MetricType::Gauge, Points::Sample(sample));
        }
        let mut counts = StepCounts::default();
        run(&mut set, &[&step], &mut counts).map(|()| counts)
    }

    #[test]
    fn the_times_of_an_upload_are_checked() {
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
    fn a_native_histogram_has_a_time_and_is_valid() {
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
        let counts = checked(&drifts.map(|drift| ("a", Some(drift)))).expect("sane");
        assert_eq!((counts.past, counts.present, counts.future, counts.ahead), (1, 2, 1, 2));
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
