//! Doubled series: of those with the same labels, the newest sample is sent.

use std::{hash::BuildHasher as _, ops::Range};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use telemeter_wire::{
    NativeHistogram, Points, Sample, SeriesSet,
    remote_write::{Layout, SeriesWriter, Writer, take_out, v2::RequestBuilder},
};

use crate::transform::StepCounts;

/// Room to find doubled series in; used again for the next upload.
#[derive(Default)]
pub struct Newest {
    seen: HashTable<EncodedPosition>,
    doubled: Vec<Range<usize>>,
}

/// A series that was encoded. As small as it can be: a request with many shall not push all else out of the cache.
struct EncodedPosition {
    hash: u64,
    timestamp_ms: i64,
    /// Where it begins and ends, and its labels. No message has 4 GiB: its bytes are capped far below.
    whole: (u32, u32),
    labels: (u32, u32),
}

impl EncodedPosition {
    fn new(hash: u64, timestamp_ms: Option<i64>, whole: Range<usize>, labels: Range<usize>) -> Self {
        let short = |range: Range<usize>| (range.start as u32, range.end as u32);
        Self { hash, timestamp_ms: timestamp_ms.unwrap_or(i64::MIN), whole: short(whole), labels: short(labels) }
    }

    fn whole(&self) -> Range<usize> {
        self.whole.0 as usize..self.whole.1 as usize
    }

    fn labels<'o>(&self, out: &'o [u8]) -> &'o [u8] {
        &out[self.labels.0 as usize..self.labels.1 as usize]
    }
}

impl Newest {
    /// Appends an upload to `out`, as a `WriteRequest`: every sample with `now_ms`, our time in milliseconds, in place of
    /// its own; of series with the same labels only the one with the newest sample, of equally new ones the last. Returns
    /// how many series these are.
    ///
    /// The labels are to be canonical: then two series are the same where they are encoded the same.
    /// `layout`, where it is given, says afterwards where each of them stands in `out`.
    pub fn encode(
        &mut self,
        set: &SeriesSet<'_>,
        now_ms: i64,
        report: &mut StepCounts,
        out: &mut Vec<u8>,
        mut layout: Option<&mut Layout>,
    ) -> usize {
        if let Some(layout) = &mut layout {
            layout.clear();
        }
        self.write(set, now_ms, &mut Writer::new(set, out), |labels, end, index| {
            if let Some(layout) = &mut layout {
                layout.push(labels, end, set.at(index).kind);
            }
        });
        report.doubled += self.doubled.len() as u64;
        if let Some(layout) = layout {
            layout.take_out(&self.doubled);
        }
        take_out(out, &self.doubled);
        self.seen.len()
    }

    /// As [`encode`](Self::encode), as a request of remote write 2.0. Returns how many series that holds: those without a value
    /// are not among them.
    pub fn encode_v2(
        &mut self,
        set: &SeriesSet<'_>,
        now_ms: i64,
        report: &mut StepCounts,
        request: &mut RequestBuilder,
    ) -> usize {
        request.clear();
        self.write(set, now_ms, &mut request.writer(set), |_, _, _| ());
        report.doubled += self.doubled.len() as u64;
        request.take_out(&self.doubled);
        request.len()
    }

    /// Writes all series, each with our time, and finds those that are to be taken out again. `placed` is told of each where its
    /// labels stand, where it ends, and its index.
    #[inline]
    fn write(
        &mut self,
        set: &SeriesSet<'_>,
        now_ms: i64,
        writer: &mut impl SeriesWriter,
        mut placed: impl FnMut(Range<usize>, usize, usize),
    ) {
        // A seed for each upload: nobody can learn one over time.
        let hasher = DefaultHashBuilder::default();
        let Self { seen, doubled } = self;
        seen.clear();
        doubled.clear();
        for (index, series) in set.iter().enumerate() {
            let from = writer.written().len();
            let timestamp_ms = series.points.newest_ms();
            let points = match series.points {
                Points::Sample(sample) => Points::Sample(Sample { timestamp_ms: Some(now_ms), ..sample }),
                Points::Histogram(histogram) => {
                    Points::Histogram(NativeHistogram { timestamp_ms: Some(now_ms), ..histogram })
                }
                points @ (Points::Encoded(_) | Points::Absent) => points,
            };
            let Some(labels) = writer.put(index, points) else { continue };
            let written = writer.written();
            placed(labels.clone(), written.len(), index);
            let text = &written[labels.clone()];
            // All bytes of them: whoever knows what is left out could make every series collide.
            let hash = hasher.hash_one(text);
            let same = |other: &EncodedPosition| other.hash == hash && other.labels(written) == text;
            let this = EncodedPosition::new(hash, timestamp_ms, from..written.len(), labels.clone());
            match seen.entry(hash, same, |other| other.hash) {
                Entry::Vacant(entry) => drop(entry.insert(this)),
                Entry::Occupied(mut entry) if this.timestamp_ms >= entry.get().timestamp_ms => {
                    doubled.push(std::mem::replace(entry.get_mut(), this).whole());
                }
                Entry::Occupied(_) => doubled.push(this.whole()),
            }
        }
        doubled.sort_unstable_by_key(|range| range.start);
    }

    /// Bytes of room held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.seen.allocation_size() + self.doubled.capacity() * size_of::<Range<usize>>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use telemeter_wire::{Arena, DecodeLimits, Encoded, Label, MetricType, remote_write};

    use super::*;

    /// What is sent of these samples, each of a name, a value and a time, and how many were doubled.
    fn sent(samples: &[(&str, f64, i64)]) -> (String, u64) {
        let (mut out, mut report) = (b"before".to_vec(), StepCounts::default());
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        for &(name, value, timestamp_ms) in samples {
            let sample = Sample { value, timestamp_ms: Some(timestamp_ms) };
            set.push(&[Label::new("__name__", name), Label::new("a", "b")], MetricType::Gauge, Points::Sample(sample));
        }
        let mut layout = Layout::default();
        let series = Newest::default().encode(&set, 1000, &mut report, &mut out, Some(&mut layout));
        let (mut request, mut counted, mut of_2_0) = (RequestBuilder::default(), StepCounts::default(), Vec::new());
        assert_eq!(Newest::default().encode_v2(&set, 1000, &mut counted, &mut request), series);
        assert_eq!((counted.doubled, request.contents().samples as usize), (report.doubled, series));
        request.put_message(&mut of_2_0);
        drop(set);
        let mut set = SeriesSet::new_in(&arena);
        let message = out.strip_prefix(b"before").expect("what stood there stays");
        remote_write::decode(message, &DecodeLimits::default(), &mut set).expect("a message");
        assert_eq!(set.len(), series);
        let (other, mut again) = (Arena::new(), Vec::new());
        let mut of_request = SeriesSet::new_in(&other);
        remote_write::v2::decode(&of_2_0, &DecodeLimits::default(), &mut of_request).expect("a request");
        remote_write::encode(&of_request, &mut again);
        assert_eq!(again, message, "as 2.0, the same is sent");
        let placed: Vec<_> = layout.series(&out).map(|placed| (placed.labels, placed.samples().next())).collect();
        let decoded = set.iter().map(|series| {
            let Points::Encoded(Encoded { payload, whole: Some(whole), .. }) = series.points else { panic!("spliced") };
            (&whole[..whole.len() - payload.len()], series.samples().next())
        });
        assert_eq!(placed, decoded.collect::<Vec<_>>(), "the layout says where they stand");
        let samples = set.iter().map(|series| {
            let sample = series.samples().next().expect("a sample");
            assert_eq!(sample.timestamp_ms, Some(1000));
            format!("{} {}\n", series.name(), sample.value)
        });
        (samples.collect(), report.doubled)
    }

    #[test]
    fn of_doubled_series_the_newest_stays() {
        let samples = [("one", 1.0, 10), ("two", 2.0, 10), ("one", 3.0, 9), ("one", 4.0, 11), ("two", 5.0, 10)];
        assert_eq!(sent(&samples), ("one 4\ntwo 5\n".to_owned(), 3));
        assert_eq!(sent(&samples[..2]), ("one 1\ntwo 2\n".to_owned(), 0));
        assert_eq!(sent(&[]), (String::new(), 0));
    }

    #[test]
    fn a_histogram_is_stamped_and_stands_against_samples_of_the_same_series() {
        // A sample at 1 against a histogram at this time.
        for (histogram_ms, is_histogram) in [(0, false), (1, true), (2, true)] {
            let (mut out, mut report, arena) = (Vec::new(), StepCounts::default(), Arena::new());
            let mut set = SeriesSet::new_in(&arena);
            let labels = [Label::new("__name__", "h")];
            let sample = Sample { value: 1.0, timestamp_ms: Some(1) };
            let histogram = NativeHistogram { message: &[1 << 3, 4], timestamp_ms: Some(histogram_ms) };
            set.push(&labels, MetricType::Untyped, Points::Sample(sample));
            set.push(&labels, MetricType::Histogram, Points::Histogram(histogram));
            Newest::default().encode(&set, 1000, &mut report, &mut out, None);
            drop(set);
            let mut sent = SeriesSet::new_in(&arena);
            remote_write::decode(&out, &DecodeLimits::default(), &mut sent).expect("a message");
            assert_eq!((sent.len(), report.doubled, sent.at(0).points.newest_ms()), (1, 1, Some(1000)));
            assert_eq!(sent.at(0).samples().next().is_none(), is_histogram, "{histogram_ms}");
        }
    }

    proptest! {
        #[test]
        fn each_series_is_sent_once_with_its_newest_sample(
            samples in proptest::collection::vec((0..6_usize, 0..4_i64), 0..40)
        ) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let samples: Vec<_> =
                samples.iter().enumerate().map(|(at, &(name, time))| (names[name], at as f64, time)).collect();
            let mut newest: Vec<(&str, f64, i64)> = Vec::new();
            for &sample in &samples {
                match newest.iter_mut().find(|other| other.0 == sample.0) {
                    Some(other) if sample.2 >= other.2 => *other = sample,
                    Some(_) => {}
                    None => newest.push(sample),
                }
            }
            newest.sort_by(|one, other| one.1.total_cmp(&other.1));
            let expected: String = newest.iter().map(|(name, value, _)| format!("{name} {value}\n")).collect();
            let (text, doubled) = sent(&samples);
            prop_assert_eq!(text, expected);
            prop_assert_eq!(doubled as usize, samples.len() - newest.len());
        }
    }
}
