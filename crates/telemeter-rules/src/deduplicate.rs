//! Deduplication: of several series with the same labels, only the one with the newest sample is sent.

use std::{hash::BuildHasher as _, ops::Range};

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use telemeter_wire::{
    NativeHistogram, Points, Sample, SeriesSet,
    remote_write::{Layout, SeriesWriter, Writer, take_out, v2::RequestBuilder},
};

use crate::transform::StepCounts;

/// Encodes uploads without duplicate series. One value serves many uploads: its buffers are used again.
#[derive(Default)]
pub struct Deduplicator {
    /// The series to be sent, by the hash of their encoded labels.
    series: HashTable<EncodedPosition>,
    /// The byte ranges of series that are to be removed from the message.
    duplicates: Vec<Range<usize>>,
}

/// An encoded series. The type is small so that a large request does not evict the rest from the CPU's cache.
struct EncodedPosition {
    hash: u64,
    timestamp_ms: i64,
    /// The byte range of the series. 32 bits are enough: messages are capped far below 4 GiB.
    whole: (u32, u32),
    /// The byte range of its labels.
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

impl Deduplicator {
    /// Appends an upload to `out` as a `WriteRequest` of remote write 1.0, and returns how many series it has.
    ///
    /// Every sample gets the time `now_ms` (our clock, in milliseconds) in place of its own. Of series with the same labels,
    /// only the one with the newest sample is encoded; of equally new ones, the last.
    ///
    /// The labels have to be canonical, so that two series are the same exactly where their encoded labels are.
    /// `layout`, where it is given, receives the position of each series in `out`.
    pub fn encode(
        &mut self,
        set: &SeriesSet<'_>,
        now_ms: i64,
        counts: &mut StepCounts,
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
        counts.duplicates += self.duplicates.len() as u64;
        if let Some(layout) = layout {
            layout.take_out(&self.duplicates);
        }
        take_out(out, &self.duplicates);
        self.series.len()
    }

    /// As [`encode`](Self::encode), as a request of remote write 2.0. Returns how many series the request has; series
    /// without a value are left out.
    pub fn encode_v2(
        &mut self,
        set: &SeriesSet<'_>,
        now_ms: i64,
        counts: &mut StepCounts,
        request: &mut RequestBuilder,
    ) -> usize {
        request.clear();
        self.write(set, now_ms, &mut request.writer(set), |_, _, _| ());
        counts.duplicates += self.duplicates.len() as u64;
        request.take_out(&self.duplicates);
        request.len()
    }

    /// Writes all series, each with the time `now_ms`, and lists the duplicates that are to be removed again. `placed` is
    /// called for each series with the byte range of its labels, its end, and its index in `set`.
    #[inline]
    fn write(
        &mut self,
        set: &SeriesSet<'_>,
        now_ms: i64,
        writer: &mut impl SeriesWriter,
        mut placed: impl FnMut(Range<usize>, usize, usize),
    ) {
        // A new seed for each upload, so that a sender cannot learn it over time.
        let hasher = DefaultHashBuilder::default();
        let Self { series: encoded, duplicates } = self;
        encoded.clear();
        duplicates.clear();
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
            // All bytes are hashed: if some were left out, a sender could choose labels that make every series collide.
            let hash = hasher.hash_one(text);
            let same = |other: &EncodedPosition| other.hash == hash && other.labels(written) == text;
            let this = EncodedPosition::new(hash, timestamp_ms, from..written.len(), labels.clone());
            match encoded.entry(hash, same, |other| other.hash) {
                Entry::Vacant(entry) => drop(entry.insert(this)),
                Entry::Occupied(mut entry) if this.timestamp_ms >= entry.get().timestamp_ms => {
                    duplicates.push(std::mem::replace(entry.get_mut(), this).whole());
                }
                Entry::Occupied(_) => duplicates.push(this.whole()),
            }
        }
        duplicates.sort_unstable_by_key(|range| range.start);
    }

    /// The size of its buffers on the heap, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.series.allocation_size() + self.duplicates.capacity() * size_of::<Range<usize>>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use telemeter_wire::{Arena, DecodeLimits, Encoded, Label, MetricType, SentLabels, remote_write};

    use super::*;

    /// Encodes these samples, each with a name, a value and a time: the samples that are sent, and the number of duplicates.
    fn sent(samples: &[(&str, f64, i64)]) -> (String, u64) {
        let (mut out, mut counts) = (b"before".to_vec(), StepCounts::default());
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        for &(name, value, timestamp_ms) in samples {
            let sample = Sample { value, timestamp_ms: Some(timestamp_ms) };
            set.push(&[Label::new("__name__", name), Label::new("a", "b")], MetricType::Gauge, Points::Sample(sample));
        }
        let mut layout = Layout::default();
        let series = Deduplicator::default().encode(&set, 1000, &mut counts, &mut out, Some(&mut layout));
        let (mut request, mut counted, mut of_2_0) = (RequestBuilder::default(), StepCounts::default(), Vec::new());
        assert_eq!(Deduplicator::default().encode_v2(&set, 1000, &mut counted, &mut request), series);
        assert_eq!((counted.duplicates, request.contents().samples as usize), (counts.duplicates, series));
        request.put_message(&mut of_2_0);
        drop(set);
        let mut set = SeriesSet::new_in(&arena);
        let message = out.strip_prefix(b"before").expect("the bytes that were there before");
        remote_write::decode(message, &DecodeLimits::default(), &mut set).expect("a message");
        assert_eq!(set.len(), series);
        let (other, mut again) = (Arena::new(), Vec::new());
        let mut of_request = SeriesSet::new_in(&other);
        remote_write::v2::decode(&of_2_0, &DecodeLimits::default(), &mut of_request).expect("a request");
        remote_write::encode(&of_request, &mut again);
        assert_eq!(again, message, "as 2.0, the same is sent");
        let placed: Vec<_> = layout.series(&out).map(|placed| (placed.labels, placed.samples().next())).collect();
        let decoded = set.iter().map(|series| {
            let Points::Encoded(Encoded { payload, sent: SentLabels::Message(whole), .. }) = series.points else {
                panic!("spliced")
            };
            (&whole[..whole.len() - payload.len()], series.samples().next())
        });
        assert_eq!(placed, decoded.collect::<Vec<_>>(), "the layout has the position of each series");
        let samples = set.iter().map(|series| {
            let sample = series.samples().next().expect("a sample");
            assert_eq!(sample.timestamp_ms, Some(1000));
            format!("{} {}\n", series.name(), sample.value)
        });
        (samples.collect(), counts.duplicates)
    }

    #[test]
    fn of_duplicate_series_the_newest_is_sent() {
        let samples = [("one", 1.0, 10), ("two", 2.0, 10), ("one", 3.0, 9), ("one", 4.0, 11), ("two", 5.0, 10)];
        assert_eq!(sent(&samples), ("one 4\ntwo 5\n".to_owned(), 3));
        assert_eq!(sent(&samples[..2]), ("one 1\ntwo 2\n".to_owned(), 0));
        assert_eq!(sent(&[]), (String::new(), 0));
    }

    #[test]
    fn a_histogram_gets_our_time_and_is_compared_with_samples_of_the_same_series() {
        // A sample at time 1, and a histogram at this time.
        for (histogram_ms, is_histogram) in [(0, false), (1, true), (2, true)] {
            let (mut out, mut counts, arena) = (Vec::new(), StepCounts::default(), Arena::new());
            let mut set = SeriesSet::new_in(&arena);
            let labels = [Label::new("__name__", "h")];
            let sample = Sample { value: 1.0, timestamp_ms: Some(1) };
            let histogram = NativeHistogram { message: &[1 << 3, 4], timestamp_ms: Some(histogram_ms) };
            set.push(&labels, MetricType::Untyped, Points::Sample(sample));
            set.push(&labels, MetricType::Histogram, Points::Histogram(histogram));
            Deduplicator::default().encode(&set, 1000, &mut counts, &mut out, None);
            drop(set);
            let mut sent = SeriesSet::new_in(&arena);
            remote_write::decode(&out, &DecodeLimits::default(), &mut sent).expect("a message");
            assert_eq!((sent.len(), counts.duplicates, sent.at(0).points.newest_ms()), (1, 1, Some(1000)));
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
            let (text, duplicates) = sent(&samples);
            prop_assert_eq!(text, expected);
            prop_assert_eq!(duplicates as usize, samples.len() - newest.len());
        }
    }
}
