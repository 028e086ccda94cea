//! Where the series of a message stand in it, so that whoever looks at them once more need not decode them again.

use std::ops::Range;

use super::{FloatSamples, SAMPLE, TIMESTAMP, VALUE};
use crate::{
    error::{DecodeLimits, Error},
    labels,
    protobuf::{FieldReader, TIMESTAMP_LEN, Wire, timestamp, varint_len},
    series::{Encoded, Label, MetricType, Points, Sample, SeriesSet},
};

/// The places of the series of one message, in its order. Its room is used again for the next message.
#[derive(Debug, Default)]
pub struct Layout {
    series: Vec<SeriesLayout>,
}

/// Where a series stands: its labels, and behind them its points. No message has 4 GiB: its bytes are capped far below.
#[derive(Clone, Copy, Debug)]
struct SeriesLayout {
    labels: u32,
    points: u32,
    end: u32,
    kind: MetricType,
}

/// A series as it stands in a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EncodedSeries<'m> {
    /// The type of its family.
    pub kind: MetricType,
    /// Its labels, encoded as fields.
    pub labels: &'m [u8],
    /// Its samples, exemplars and native histograms, encoded as fields.
    pub points: &'m [u8],
}

impl Layout {
    /// How many series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Forgets all series; the room stays.
    pub fn clear(&mut self) {
        self.series.clear();
    }

    /// Bytes of room held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.series.capacity() * size_of::<SeriesLayout>()
    }

    /// Adds a series: where its labels stand, and where its points end, which begin behind them.
    #[inline]
    pub fn push(&mut self, labels: Range<usize>, end: usize, kind: MetricType) {
        let (start, points, end) = (labels.start as u32, labels.end as u32, end as u32);
        self.series.push(SeriesLayout { labels: start, points, end, kind });
    }

    /// Follows bytes that are taken out of the message: `ranges`, in ascending order, each of whole series.
    pub fn take_out(&mut self, ranges: &[Range<usize>]) {
        let (mut next, mut gone) = (0, 0);
        self.series.retain_mut(|placed| {
            let end = placed.end as usize;
            while let Some(range) = ranges.get(next).filter(|range| range.end < end) {
                gone += range.len() as u32;
                next += 1;
            }
            if ranges.get(next).is_some_and(|range| range.start < end) {
                return false;
            }
            (placed.labels, placed.points, placed.end) =
                (placed.labels - gone, placed.points - gone, placed.end - gone);
            true
        });
    }

    /// Takes the series of a message that no step changed: see [`is_unchanged`](super::is_unchanged).
    pub fn of_unchanged(&mut self, set: &SeriesSet<'_>) {
        self.clear();
        let mut from = 0;
        for series in set.iter() {
            let Points::Encoded(Encoded { payload, whole: Some(whole), .. }) = series.points else { continue };
            from += 1 + varint_len(whole.len() as u64);
            let end = from + whole.len();
            self.push(from..end - payload.len(), end, series.kind);
            from = end;
        }
    }

    /// The series of `message`, which is the one that this was made of.
    pub fn series<'m>(&self, message: &'m [u8]) -> impl ExactSizeIterator<Item = EncodedSeries<'m>> {
        let part = |from: u32, to: u32| message.get(from as usize..to as usize).unwrap_or_default();
        self.series.iter().map(move |&SeriesLayout { labels, points, end, kind }| EncodedSeries {
            kind,
            labels: part(labels, points),
            points: part(points, end),
        })
    }
}

impl<'m> EncodedSeries<'m> {
    /// Its float samples, in order; those of native histograms are not among them.
    #[must_use]
    #[inline]
    pub fn samples(&self) -> FloatSamples<'m> {
        match plain(self.points) {
            Some(sample) => FloatSamples { single: Some(sample), fields: FieldReader::new(&[]) },
            None => FloatSamples { single: None, fields: FieldReader::new(self.points) },
        }
    }
}

/// The sample where `points` are one with a value and a timestamp of our days, and nothing else: mostly they are.
#[inline]
fn plain(points: &[u8]) -> Option<Sample> {
    let (value, &[TIMESTAMP, t0, t1, t2, t3, t4, t5]) = points.split_last_chunk::<{ 1 + TIMESTAMP_LEN }>()? else {
        return None;
    };
    let timestamp_ms = Some(timestamp([t0, t1, t2, t3, t4, t5])?);
    let value = match *value {
        // A value of zero is left out.
        [SAMPLE, 7] => 0.0,
        [SAMPLE, 16, VALUE, v0, v1, v2, v3, v4, v5, v6, v7] => f64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]),
        _ => return None,
    };
    Some(Sample { value, timestamp_ms })
}

/// Reads labels that stand encoded in a message which was decoded before.
///
/// The answer says whether they are encoded as [`encode`](super::encode) writes them. Then other labels are other bytes, and
/// the same labels the same.
///
/// # Errors
/// [`Error::Protobuf`] or [`Error::NotUtf8`] for bytes that are no labels.
pub fn read_labels<'m>(encoded: &'m [u8], into: &mut Vec<Label<'m>>) -> Result<bool, Error> {
    let (mut reader, mut plain) = (FieldReader::new(encoded), true);
    while !reader.rest().is_empty() {
        let before = reader.remaining();
        let Some((1, Wire::Bytes)) = reader.field()? else { return Err(Error::protobuf("a field that is no label")) };
        let message = reader.bytes()?;
        let (label, is_plain) = labels::decode(message, &DecodeLimits::NONE)?;
        plain &= is_plain && before - reader.remaining() == 1 + varint_len(message.len() as u64) + message.len();
        into.push(label);
    }
    Ok(plain)
}

/// Appends labels as [`encode`](super::encode) writes them.
pub fn put_labels(labels: &[Label<'_>], out: &mut Vec<u8>) {
    labels.iter().for_each(|&label| labels::put_label(out, label));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::{
        remote_write::{decode, encode, encode_placed, is_unchanged},
        series::Arena,
    };

    type OwnedLayout = (Vec<(String, String)>, Vec<(Option<i64>, u64)>);

    /// The series of a message, read through a layout, and decoded.
    fn both(layout: &Layout, message: &[u8]) -> (Vec<OwnedLayout>, Vec<OwnedLayout>) {
        let own = |labels: &[Label<'_>], samples: FloatSamples<'_>| {
            let labels = labels.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect();
            (labels, samples.map(|sample| (sample.timestamp_ms, sample.value.to_bits())).collect())
        };
        let placed = layout.series(message).map(|series| {
            let mut labels = Vec::new();
            assert_eq!(read_labels(series.labels, &mut labels), Ok(true), "as the encoder writes them");
            own(&labels, series.samples())
        });
        let placed = placed.collect();
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        decode(message, &DecodeLimits::default(), &mut set).unwrap();
        (placed, set.iter().map(|series| own(series.labels, series.samples())).collect())
    }

    fn any_points() -> impl Strategy<Value = Sample> {
        let value = prop_oneof![Just(0.0), Just(-0.0), any::<f64>()];
        let time = prop_oneof![1_700_000_000_000..1_900_000_000_000_i64, any::<i64>()];
        (value, time).prop_map(|(value, time)| Sample { value, timestamp_ms: Some(time) })
    }

    proptest! {
        #[test]
        fn what_stands_there_is_what_a_decoder_reads(
            series in prop::collection::vec((prop::collection::vec(("[a-z]{0,3}|ü", "[a-z]{0,200}"), 0..4), any_points()), 0..12),
        ) {
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            for (labels, sample) in &series {
                let labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(name, value)).collect();
                set.push(&labels, MetricType::Gauge, Points::Sample(*sample));
            }
            let (mut message, mut plain, mut layout) = (b"".to_vec(), b"".to_vec(), Layout::default());
            encode_placed(&set, &mut message, &mut layout);
            encode(&set, &mut plain);
            prop_assert_eq!(&message, &plain);
            prop_assert!(layout.series(&message).all(|series| series.kind == MetricType::Gauge));
            let (placed, decoded) = both(&layout, &message);
            prop_assert_eq!(placed, decoded);
            // The same message, decoded and not changed.
            let mut again = SeriesSet::new_in(&arena);
            decode(&message, &DecodeLimits::default(), &mut again).unwrap();
            prop_assert!(is_unchanged(&again));
            layout.of_unchanged(&again);
            let (placed, decoded) = both(&layout, &message);
            prop_assert_eq!(placed, decoded);
        }

        #[test]
        fn what_is_taken_out_is_no_more(names in prop::collection::vec(("[a-z]{1,9}", any::<bool>()), 1..20)) {
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            let (mut message, mut layout, mut gone) = (Vec::new(), Layout::default(), Vec::new());
            for (name, _) in &names {
                let labels = [Label::new("__name__", name)];
                set.push(&labels, MetricType::Untyped, Points::Sample(Sample { value: 1.0, timestamp_ms: Some(1) }));
            }
            encode_placed(&set, &mut message, &mut layout);
            let mut from = 0;
            for (placed, (_, goes)) in layout.series.iter().zip(&names) {
                let range = from..placed.end as usize;
                from = range.end;
                if *goes {
                    gone.push(range);
                }
            }
            layout.take_out(&gone);
            for range in gone.iter().rev() {
                message.drain(range.clone());
            }
            let (placed, decoded) = both(&layout, &message);
            prop_assert_eq!(&placed, &decoded);
            let left: Vec<&str> = names.iter().filter(|(_, goes)| !goes).map(|(name, _)| name.as_str()).collect();
            prop_assert_eq!(placed.iter().map(|(labels, _)| labels[0].1.as_str()).collect::<Vec<_>>(), left);
        }
    }

    #[test]
    fn another_spelling_of_labels_is_known_as_one() {
        let mut labels = Vec::new();
        // The length of the label takes two bytes where one is enough.
        let long = [0x0a, 0x86, 0x00, 0x0a, 1, b'a', 0x12, 1, b'b'];
        assert_eq!(read_labels(&long, &mut labels), Ok(false));
        assert_eq!(labels, [Label::new("a", "b")]);
        let mut encoded = Vec::new();
        put_labels(&labels, &mut encoded);
        assert_eq!(read_labels(&encoded, &mut Vec::new()), Ok(true));
        for bad in [&[0x12, 0][..], &[0x0a, 9, 0x0a], &[0x0a, 3, 0x0a, 1, 0xff]] {
            assert!(read_labels(bad, &mut Vec::new()).is_err(), "{bad:02x?}");
        }
    }
}
