use proptest::prelude::*;

use super::*;
use crate::{
    error::DecodeLimits,
    exposition::{delimited, text},
    protobuf::{key, put_bytes, put_varint},
    remote_write,
    series::{Arena, Label, MetricType, NAME_LABEL, Points, SeriesSet},
};

/// A histogram in a form for tests. `positive` and `negative` are spans (offset, length) and the counts of the buckets.
#[derive(Clone, Debug, Default)]
struct HistogramMessage {
    count: u64,
    count_float: f64,
    sum: f64,
    schema: i32,
    zero: (f64, u64, f64),
    negative: (Vec<(i32, u32)>, Vec<i64>, Vec<f64>),
    positive: (Vec<(i32, u32)>, Vec<i64>, Vec<f64>),
}

fn zigzag(value: i64) -> u64 {
    (value << 1) as u64 ^ (value >> 63) as u64
}

impl HistogramMessage {
    /// As a `Histogram` message.
    fn message(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let varint = |out: &mut Vec<u8>, number: u8, value: u64| {
            out.push(key(number, WireType::Varint));
            put_varint(out, value);
        };
        let double = |out: &mut Vec<u8>, number: u8, value: f64| {
            out.push(key(number, WireType::Fixed64));
            out.extend_from_slice(&value.to_le_bytes());
        };
        varint(&mut out, 1, self.count);
        double(&mut out, 2, self.sum);
        double(&mut out, 4, self.count_float);
        varint(&mut out, 5, zigzag(i64::from(self.schema)));
        double(&mut out, 6, self.zero.0);
        varint(&mut out, 7, self.zero.1);
        double(&mut out, 8, self.zero.2);
        for (first, (spans, deltas, counts)) in [(9, &self.negative), (12, &self.positive)] {
            for (offset, length) in spans {
                let mut span = Vec::new();
                varint(&mut span, 1, zigzag(i64::from(*offset)));
                varint(&mut span, 2, u64::from(*length));
                put_bytes(&mut out, key(first, WireType::Bytes), &span);
            }
            deltas.iter().for_each(|delta| varint(&mut out, first + 1, zigzag(*delta)));
            counts.iter().for_each(|count| double(&mut out, first + 2, *count));
        }
        out
    }

    /// With packed deltas and counts, as in proto3.
    fn packed(&self) -> Vec<u8> {
        let mut bare = self.clone();
        for (_, deltas, counts) in [&mut bare.negative, &mut bare.positive] {
            deltas.clear();
            counts.clear();
        }
        let mut out = bare.message();
        for (first, (_, deltas, counts)) in [(9, &self.negative), (12, &self.positive)] {
            let mut packed = Vec::new();
            deltas.iter().for_each(|delta| put_varint(&mut packed, zigzag(*delta)));
            put_bytes(&mut out, key(first + 1, WireType::Bytes), &packed);
            let packed: Vec<u8> = counts.iter().flat_map(|count| count.to_le_bytes()).collect();
            put_bytes(&mut out, key(first + 2, WireType::Bytes), &packed);
        }
        out
    }
}

fn check(histogram: &HistogramMessage, expected: Result<(), HistogramFlaw>) {
    for message in [histogram.message(), histogram.packed()] {
        assert_eq!(NativeHistogram { message: &message, timestamp_ms: None }.check(), expected, "{histogram:?}");
    }
}

/// 2 in the zero bucket, 1 below it, 3 and 1 above.
fn good() -> HistogramMessage {
    HistogramMessage {
        count: 7,
        sum: 12.5,
        schema: 3,
        zero: (0.001, 2, 0.0),
        negative: (vec![(-4, 1)], vec![1], vec![]),
        positive: (vec![(0, 1), (2, 1)], vec![3, -2], vec![]),
        ..HistogramMessage::default()
    }
}

fn good_float() -> HistogramMessage {
    HistogramMessage {
        count_float: 7.5,
        sum: 12.5,
        schema: -1,
        zero: (0.001, 0, 2.5),
        negative: (vec![(-4, 1)], vec![], vec![1.0]),
        positive: (vec![(0, 2)], vec![], vec![3.0, 1.0]),
        ..HistogramMessage::default()
    }
}

/// The checks of Prometheus before it appends a histogram: `Histogram.Validate` and `FloatHistogram.Validate`.
#[test]
fn a_histogram_is_checked_as_a_store_checks_it() {
    use BucketSign::{Negative, Positive};
    check(&good(), Ok(()));
    check(&good_float(), Ok(()));
    check(&HistogramMessage::default(), Ok(()));
    for schema in [-4, 8] {
        check(&HistogramMessage { schema, ..good() }, Ok(()));
    }
    for schema in [-5, 9, -53, i32::MAX] {
        check(&HistogramMessage { schema, ..good() }, Err(HistogramFlaw::Schema { schema }));
        check(&HistogramMessage { schema, ..good_float() }, Err(HistogramFlaw::Schema { schema }));
    }
    // Empty spans have no buckets.
    check(&HistogramMessage { positive: (vec![(0, 0)], vec![], vec![]), ..HistogramMessage::default() }, Ok(()));
    check(
        &HistogramMessage { positive: (vec![(0, 3)], vec![3, -2], vec![]), ..good() },
        Err(HistogramFlaw::Spans { sign: Positive, needed: 3, buckets: 2 }),
    );
    check(
        &HistogramMessage { negative: (vec![(0, u32::MAX), (0, u32::MAX)], vec![1], vec![]), ..good() },
        Err(HistogramFlaw::Spans { sign: Negative, needed: 2 * u64::from(u32::MAX), buckets: 1 }),
    );
    check(
        &HistogramMessage { positive: (vec![(0, 2)], vec![], vec![1.0]), ..good_float() },
        Err(HistogramFlaw::Spans { sign: Positive, needed: 2, buckets: 1 }),
    );
    // The buckets of the other kind do not count.
    check(
        &HistogramMessage { positive: (vec![(0, 2)], vec![], vec![3.0, 1.0]), ..good() },
        Err(HistogramFlaw::Spans { sign: Positive, needed: 2, buckets: 0 }),
    );
    check(
        &HistogramMessage { positive: (vec![(0, 1), (-1, 1)], vec![3, -2], vec![]), ..good() },
        Err(HistogramFlaw::Offset { sign: Positive, span: 2, offset: -1 }),
    );
    check(
        &HistogramMessage { positive: (vec![(0, 2)], vec![3, -4], vec![]), ..good() },
        Err(HistogramFlaw::Bucket { sign: Positive, bucket: 2 }),
    );
    check(
        &HistogramMessage { positive: (vec![(0, 2)], vec![i64::MAX, 1], vec![]), ..good() },
        Err(HistogramFlaw::Bucket { sign: Positive, bucket: 2 }),
    );
    check(
        &HistogramMessage { negative: (vec![(0, 1)], vec![], vec![-0.5]), ..good_float() },
        Err(HistogramFlaw::Bucket { sign: Negative, bucket: 1 }),
    );
    check(&HistogramMessage { count: 6, ..good() }, Err(HistogramFlaw::Count { count: 6, buckets: 7 }));
    check(&HistogramMessage { count: 8, ..good() }, Err(HistogramFlaw::Count { count: 8, buckets: 7 }));
    // Observations that are NaN are in no bucket.
    check(&HistogramMessage { count: 8, sum: f64::NAN, ..good() }, Ok(()));
    check(&HistogramMessage { count: 6, sum: f64::NAN, ..good() }, Err(HistogramFlaw::Count { count: 6, buckets: 7 }));
    // Sums of floats are not exact.
    check(&HistogramMessage { count_float: 7.0, ..good_float() }, Ok(()));
    check(&HistogramMessage { count_float: -1.0, ..good_float() }, Err(HistogramFlaw::NegativeCount));
    check(&HistogramMessage { zero: (0.0, 0, -1.0), ..good_float() }, Err(HistogramFlaw::NegativeCount));
}

#[test]
fn a_flaw_says_what_is_wrong() {
    let flaw = HistogramFlaw::Spans { sign: BucketSign::Positive, needed: 3, buckets: 2 };
    assert_eq!(flaw.to_string(), "its positive spans need 3 buckets, and it has 2");
    let flaw = HistogramFlaw::Count { count: 1, buckets: 2 };
    assert_eq!(flaw.to_string(), "its count is 1, and its buckets hold 2 observations");
}

/// A series with a histogram.
fn with<'a>(histogram: &HistogramMessage, kind: MetricType, arena: &'a Arena) -> SeriesSet<'a> {
    let mut set = SeriesSet::new_in(arena);
    let message = arena.text().alloc_slice_copy(&histogram.message());
    let histogram = NativeHistogram { message, timestamp_ms: Some(7) };
    set.push(&[Label::new(NAME_LABEL, "h"), Label::new("a", "b")], kind, Points::Histogram(histogram));
    set
}

#[test]
fn text_tells_of_a_histogram_in_a_comment() {
    let arena = Arena::new();
    let set = with(&good(), MetricType::Histogram, &arena);
    let mut out = Vec::new();
    text::encode(&set, &mut out);
    let expected = "# native histogram h{a=\"b\"} count=7 sum=12.5 buckets=3 schema=3 7\n";
    assert_eq!(String::from_utf8(out.clone()).expect("text"), expected);
    let other = Arena::new();
    let mut again = SeriesSet::new_in(&other);
    text::decode(&out, &DecodeLimits::default(), &mut again).expect("the text format");
    assert_eq!(again.len(), 0);
    // As remote write, too.
    let (mut sent, mut of_remote) = (Vec::new(), Vec::new());
    remote_write::encode(&set, &mut sent);
    let mut received = SeriesSet::new_in(&other);
    remote_write::decode(&sent, &DecodeLimits::default(), &mut received).expect("our own message");
    text::encode(&received, &mut of_remote);
    assert_eq!(String::from_utf8(of_remote).expect("text"), expected);
    let mut out = Vec::new();
    text::encode(&with(&good_float(), MetricType::GaugeHistogram, &arena), &mut out);
    assert!(String::from_utf8(out).expect("text").contains("count=7.5 sum=12.5 buckets=3 schema=-1"));
}

fn any_told() -> impl Strategy<Value = HistogramMessage> {
    let sides = || {
        (
            prop::collection::vec((any::<i32>(), 0..4_u32), 0..3),
            prop::collection::vec(any::<i64>(), 0..4),
            prop::collection::vec(any::<f64>(), 0..4),
        )
    };
    (
        any::<u64>(),
        prop_oneof![Just(0.0), 0.0..9.0],
        any::<f64>(),
        any::<i32>(),
        (any::<f64>(), any::<u64>(), prop_oneof![Just(0.0), 0.0..9.0]),
        sides(),
        sides(),
    )
        .prop_map(|(count, count_float, sum, schema, zero, negative, positive)| HistogramMessage {
            count,
            count_float,
            sum,
            schema,
            zero,
            negative,
            positive,
        })
}

/// A valid histogram with these observations in each bucket.
fn consistent(counts: &[u32], zero: u32, schema: i32) -> HistogramMessage {
    let mut before = 0;
    let deltas = counts.iter().map(|&count| {
        let delta = i64::from(count) - before;
        before = i64::from(count);
        delta
    });
    HistogramMessage {
        count: counts.iter().map(|&count| u64::from(count)).sum::<u64>() + u64::from(zero),
        schema,
        zero: (0.1, u64::from(zero), 0.0),
        positive: (vec![(3, counts.len() as u32)], deltas.collect(), vec![]),
        ..HistogramMessage::default()
    }
}

proptest! {
    #[test]
    fn what_belongs_together_is_taken_and_one_more_anywhere_is_not(
        counts in prop::collection::vec(any::<u32>(), 1..9), zero in any::<u32>(), schema in -4..=8, at in any::<prop::sample::Index>(),
    ) {
        let histogram = consistent(&counts, zero, schema);
        check(&histogram, Ok(()));
        let message = |histogram: &HistogramMessage| histogram.message();
        let is_bad = |histogram: &HistogramMessage| NativeHistogram { message: &message(histogram), timestamp_ms: None }.check().is_err();
        let more = HistogramMessage { count: histogram.count + 1, ..histogram.clone() };
        prop_assert!(is_bad(&more));
        let mut other = histogram.clone();
        other.positive.0[0].1 += 1;
        prop_assert!(is_bad(&other));
        let mut other = histogram.clone();
        other.positive.1[at.index(counts.len())] += 1;
        prop_assert!(is_bad(&other));
    }

    /// A histogram that is encoded as a family and decoded again reaches the store as the same message.
    #[test]
    fn a_histogram_passes_through_families_unchanged(histogram in any_told(), is_gauge in any::<bool>()) {
        let kind = if is_gauge { MetricType::GaugeHistogram } else { MetricType::Histogram };
        let (arena, other, last) = (Arena::new(), Arena::new(), Arena::new());
        let set = with(&HistogramMessage { zero: (1.0, histogram.zero.1, histogram.zero.2), ..histogram }, kind, &arena);
        let (mut families, mut sent, mut expected) = (Vec::new(), Vec::new(), Vec::new());
        delimited::encode(&set, &mut families);
        remote_write::encode(&set, &mut expected);
        let mut again = SeriesSet::new_in(&other);
        delimited::decode(&families, &DecodeLimits::default(), &mut again).expect("our own families");
        prop_assert!(set.iter().eq(again.iter()));
        remote_write::encode(&again, &mut sent);
        prop_assert_eq!(&sent, &expected);
        // A receiver of 1.0 decodes it.
        let mut received = SeriesSet::new_in(&last);
        remote_write::decode(&expected, &DecodeLimits::default(), &mut received).expect("our own message");
        let Points::Encoded(encoded) = received.at(0).points else { panic!("encoded") };
        prop_assert_eq!((encoded.samples, encoded.newest_ms), (1, Some(7)));
        // A receiver of 2.0, too.
        let (mut request, mut of_2_0, again) = (remote_write::v2::RequestBuilder::default(), Vec::new(), Arena::new());
        request.clear();
        request.add(&set);
        request.put_message(&mut of_2_0);
        prop_assert_eq!(request.contents().histograms, 1);
        let mut received_of_2_0 = SeriesSet::new_in(&again);
        remote_write::v2::decode(&of_2_0, &DecodeLimits::default(), &mut received_of_2_0).expect("our own message");
        let Points::Encoded(other) = received_of_2_0.at(0).points else { panic!("encoded") };
        prop_assert_eq!((other.payload, other.newest_ms), (encoded.payload, encoded.newest_ms));
    }
}
