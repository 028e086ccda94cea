//! The client's step that drops invalid samples of a scrape: those for which a server would refuse the whole upload.

use telemeter_wire::{Arena, Points, SeriesMut};

use crate::{
    canonical::is_metric_name,
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// The longest metric name, label name and label value, in bytes.
const MAX_LEN: usize = 255;

/// Drops series without a name or with too long a name, without a time, with too old a sample, without a value of their
/// type, or with an invalid native histogram. Removes the labels with too long a name or value from the others.
#[derive(Clone, Copy, Debug)]
pub struct DropInvalid {
    oldest_ms: i64,
}

impl DropInvalid {
    /// A step for which samples before `oldest_ms`, in milliseconds since 1970, are too old.
    #[must_use]
    pub const fn new(oldest_ms: i64) -> Self {
        Self { oldest_ms }
    }
}

impl Transform for DropInvalid {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        _: &'a Arena,
        counts: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        let name = series.view().name();
        let named = !name.is_empty() && name.len() <= MAX_LEN;
        let time = match series.points() {
            Points::Sample(sample) if named => sample.timestamp_ms,
            Points::Histogram(histogram) if named && histogram.check().is_ok() => histogram.timestamp_ms,
            Points::Sample(_) | Points::Histogram(_) | Points::Encoded(_) | Points::Absent => {
                counts.invalid += 1;
                return Ok(Verdict::Drop);
            }
        };
        if time.is_none_or(|time| time < self.oldest_ms) {
            counts.invalid += 1;
            *if time.is_none() { &mut counts.untimed } else { &mut counts.outdated } += 1;
            return Ok(Verdict::Drop);
        }
        let fits = |len: usize| len <= MAX_LEN;
        series.retain_labels(|label| is_metric_name(label) || fits(label.name.len()) && fits(label.value.len()));
        Ok(Verdict::Keep)
    }
}

#[cfg(test)]
mod tests {
    use telemeter_wire::{Label, MetricType, NativeHistogram, SeriesSet};

    use super::*;
    use crate::{testing::through, transform::run};

    #[test]
    fn an_invalid_native_histogram_is_dropped() {
        let check = |message: &[u8], timestamp_ms: Option<i64>, expected: (u64, u64, u64)| {
            let (step, arena, mut counts) = (DropInvalid::new(100), Arena::new(), StepCounts::default());
            let mut set = SeriesSet::new_in(&arena);
            let message = arena.text().alloc_slice_copy(message);
            let points = Points::Histogram(NativeHistogram { message, timestamp_ms });
            set.push(&[Label::new("__name__", "h")], MetricType::Histogram, points);
            run(&mut set, &[&step], &mut counts).expect("nothing is refused");
            assert_eq!((counts.invalid, counts.untimed, counts.outdated), expected);
            assert_eq!(set.len() as u64, 1 - counts.invalid);
        };
        let good = [1 << 3, 4, 7 << 3, 4];
        check(&good, Some(100), (0, 0, 0));
        check(&good, Some(99), (1, 0, 1));
        check(&good, None, (1, 1, 0));
        check(&[1 << 3, 5, 7 << 3, 4], Some(100), (1, 0, 0));
    }

    #[test]
    fn samples_that_a_server_would_refuse_are_dropped() {
        let check = |body: &str, expected: &str| {
            assert_eq!(through(body, &[&DropInvalid::new(100)]).expect("kept").0, expected);
        };
        check("a 1 100\nb 2 99\nc 3\n", "a 1 100\n");
        let (long, longest) = ("x".repeat(256), "x".repeat(255));
        check(
            &format!("a{{b=\"{long}\",c=\"{longest}\",d=\"\"}} 1 100"),
            &format!("a{{c=\"{longest}\",d=\"\"}} 1 100\n"),
        );
        check(&format!("a{{b{long}=\"1\"}} 1 100"), "a 1 100\n");
        check(&format!("{long} 1 100\n{longest} 1 100"), &format!("{longest} 1 100\n"));
        let counts = through("a 1 100\nb 2 99\nc 3\n", &[&DropInvalid::new(100)]).expect("kept").1;
        assert_eq!((counts.series, counts.invalid, counts.untimed, counts.outdated), (3, 2, 1, 1));
        let counts = through(&format!("{long} 1 100"), &[&DropInvalid::new(100)]).expect("kept").1;
        assert_eq!((counts.invalid, counts.untimed, counts.outdated), (1, 0, 0));
    }
}
