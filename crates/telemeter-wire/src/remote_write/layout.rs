//! The positions of the series in an encoded message, so that they can be read again without decoding it.

use std::ops::Range;

use super::{FloatSamples, SAMPLE, TIMESTAMP, VALUE};
use crate::{
    error::{DecodeLimits, Error},
    labels,
    protobuf::{FieldReader, TIMESTAMP_LEN, WireType, timestamp, varint_len},
    series::{Encoded, Label, MetricType, Points, Sample, SentLabels, SeriesSet},
};

/// The positions of the series of one message, in their order. One value serves many messages: its buffer is used again.
#[derive(Debug, Default)]
pub struct Layout {
    series: Vec<SeriesLayout>,
}

/// The position of a series. 32 bits are enough: messages are capped far below 4 GiB.
#[derive(Clone, Copy, Debug)]
struct SeriesLayout {
    /// The begin of its labels.
    labels: u32,
    /// The begin of its points, which is the end of its labels.
    points: u32,
    /// The end of its points.
    end: u32,
    kind: MetricType,
}

/// A series in its encoded form.
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
    /// The number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Removes all series, and keeps the buffer.
    pub fn clear(&mut self) {
        self.series.clear();
    }

    /// The size of its buffer, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.series.capacity() * size_of::<SeriesLayout>()
    }

    /// Adds a series: the range of its labels, and the end of its points, which follow the labels.
    #[inline]
    pub fn push(&mut self, labels: Range<usize>, end: usize, kind: MetricType) {
        let (start, points, end) = (labels.start as u32, labels.end as u32, end as u32);
        self.series.push(SeriesLayout { labels: start, points, end, kind });
    }

    /// Updates the positions for bytes that are removed from the message: `ranges`, in ascending order, each of whole series.
    pub fn take_out(&mut self, ranges: &[Range<usize>]) {
        let (mut next, mut removed) = (0, 0);
        self.series.retain_mut(|placed| {
            let end = placed.end as usize;
            while let Some(range) = ranges.get(next).filter(|range| range.end < end) {
                removed += range.len() as u32;
                next += 1;
            }
            if ranges.get(next).is_some_and(|range| range.start < end) {
                return false;
            }
            (placed.labels, placed.points, placed.end) =
                (placed.labels - removed, placed.points - removed, placed.end - removed);
            true
        });
    }

    /// Replaces all positions by those in the message that was decoded into `set`, which has to be
    /// [unchanged](super::is_unchanged).
    pub fn of_unchanged(&mut self, set: &SeriesSet<'_>) {
        self.clear();
        let mut from = 0;
        for series in set.iter() {
            let Points::Encoded(Encoded { payload, sent: SentLabels::Message(whole), .. }) = series.points else {
                continue;
            };
            from += 1 + varint_len(whole.len() as u64);
            let end = from + whole.len();
            self.push(from..end - payload.len(), end, series.kind);
            from = end;
        }
    }

    /// The encoded series of `message`, which has to be the one of these positions.
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
    /// Its float samples, in their order; native histograms are left out.
    #[must_use]
    #[inline]
    pub fn samples(&self) -> FloatSamples<'m> {
        match plain(self.points) {
            Some(sample) => FloatSamples::single(sample),
            None => FloatSamples::encoded(self.points),
        }
    }
}

/// The sample, if `points` are a single one with a timestamp of six bytes, which is the most common form.
#[inline]
fn plain(points: &[u8]) -> Option<Sample> {
    let (value, &[TIMESTAMP, t0, t1, t2, t3, t4, t5]) = points.split_last_chunk::<{ 1 + TIMESTAMP_LEN }>()? else {
        return None;
    };
    let timestamp_ms = Some(timestamp([t0, t1, t2, t3, t4, t5])?);
    let value = match *value {
        // A value of zero is not encoded.
        [SAMPLE, 7] => 0.0,
        [SAMPLE, 16, VALUE, v0, v1, v2, v3, v4, v5, v6, v7] => f64::from_le_bytes([v0, v1, v2, v3, v4, v5, v6, v7]),
        _ => return None,
    };
    Some(Sample { value, timestamp_ms })
}

/// Decodes the encoded labels of a series, and appends them to `into`.
///
/// Returns whether they are encoded as [`encode`](super::encode) writes them. In that encoding, labels are the same exactly
/// if their bytes are.
///
/// # Errors
/// [`Error::Protobuf`] or [`Error::NotUtf8`] for bytes that are not labels.
pub fn read_labels<'m>(encoded: &'m [u8], into: &mut Vec<Label<'m>>) -> Result<bool, Error> {
    let (mut reader, mut plain) = (FieldReader::new(encoded), true);
    while !reader.rest().is_empty() {
        let before = reader.remaining();
        let Some((1, WireType::Bytes)) = reader.field()? else {
            return Err(Error::protobuf("a field that is no label"));
        };
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

    /// The series of a message, read through a layout, and the same series decoded from the whole message.
    fn both(layout: &Layout, message: &[u8]) -> (Vec<OwnedLayout>, Vec<OwnedLayout>) {
        let own = |labels: &[Label<'_>], samples: FloatSamples<'_>| {
            let labels = labels.iter().map(|label| (label.name.to_owned(), label.value.to_owned())).collect();
            (labels, samples.map(|sample| (sample.timestamp_ms, sample.value.to_bits())).collect())
        };
        let placed = layout.series(message).map(|series| {
            let mut labels = Vec::new();
            assert_eq!(read_labels(series.labels, &mut labels), Ok(true), "the encoding is that of encode()");
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
        fn series_read_through_a_layout_are_those_that_a_decoder_reads(
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
        fn removed_series_are_not_in_the_layout(names in prop::collection::vec(("[a-z]{1,9}", any::<bool>()), 1..20)) {
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            let (mut message, mut layout, mut removed) = (Vec::new(), Layout::default(), Vec::new());
            for (name, _) in &names {
                let labels = [Label::new("__name__", name)];
                set.push(&labels, MetricType::Untyped, Points::Sample(Sample { value: 1.0, timestamp_ms: Some(1) }));
            }
            encode_placed(&set, &mut message, &mut layout);
            let mut from = 0;
            for (placed, (_, is_removed)) in layout.series.iter().zip(&names) {
                let range = from..placed.end as usize;
                from = range.end;
                if *is_removed {
                    removed.push(range);
                }
            }
            layout.take_out(&removed);
            for range in removed.iter().rev() {
                message.drain(range.clone());
            }
            let (placed, decoded) = both(&layout, &message);
            prop_assert_eq!(&placed, &decoded);
            let left: Vec<&str> = names.iter().filter(|(_, is_removed)| !is_removed).map(|(name, _)| name.as_str()).collect();
            prop_assert_eq!(placed.iter().map(|(labels, _)| labels[0].1.as_str()).collect::<Vec<_>>(), left);
        }
    }

    #[test]
    fn another_encoding_of_labels_is_detected() {
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
