use super::*;
use crate::protobuf::put_varint;
use crate::series::{Arena, Label};

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, key(number, WireType::Bytes), bytes);
    out
}

fn label(name: &str, value: &str) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

fn sample_at(timestamp: u64) -> Vec<u8> {
    let mut message = vec![VALUE];
    message.extend_from_slice(&1.5_f64.to_le_bytes());
    message.push(TIMESTAMP);
    put_varint(&mut message, timestamp);
    field(2, &message)
}

fn histogram_at(timestamp: u64) -> Vec<u8> {
    let mut message = vec![key(15, WireType::Varint)];
    put_varint(&mut message, timestamp);
    field(4, &message)
}

/// Decodes a request of one series, changes it, and encodes it again.
fn through(series: &[u8], change: impl FnOnce(&mut SeriesSet<'_>)) -> Vec<u8> {
    let message = field(1, series);
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    decode(&message, &DecodeLimits::default(), &mut set).expect("a message");
    change(&mut set);
    let mut out = Vec::new();
    encode(&set, &mut out);
    out
}

#[test]
fn an_unchanged_series_is_spliced() {
    let exemplar = field(3, &label("trace_id", "x"));
    let series = [
        label("__name__", "up"),
        label("a", &"b".repeat(200)),
        label("c", "d"),
        sample_at(7),
        exemplar,
        histogram_at(9),
    ]
    .concat();
    let out = through(&series, |set| {
        let Points::Encoded(encoded) = set.at(0).points else { panic!("not encoded") };
        assert_eq!(encoded.sent, SentLabels::Message(&series[..]));
        assert_eq!((encoded.samples, encoded.newest_ms), (2, Some(9)));
        let samples: Vec<_> = set.at(0).samples().collect();
        assert_eq!(samples, [Sample { value: 1.5, timestamp_ms: Some(7) }]);
    });
    assert_eq!(out, field(1, &series));
}

#[test]
fn samples_exemplars_and_histograms_are_copied_when_labels_change() {
    let rest = [sample_at(7), field(3, &label("trace_id", "x")), histogram_at(9)].concat();
    let out = through(&[label("__name__", "up"), label("replica", "1"), rest.clone()].concat(), |set| {
        set.retain_mut(|series| {
            series.retain_labels(|label| label.name != "replica");
            series.push_label(Label::new("z", "y"));
            true
        });
    });
    assert_eq!(out, field(1, &[label("__name__", "up"), label("z", "y"), rest].concat()));
}

#[test]
fn unusual_encodings_are_encoded_again() {
    let unknown = [key(9, WireType::Varint), 1];
    let check = |series: &[u8], expected: &[u8]| assert_eq!(through(series, |_| ()), field(1, expected));
    let plain = [label("__name__", "up"), label("a", "b"), sample_at(7), histogram_at(9)].concat();
    check(&[label("__name__", "up"), sample_at(7), label("a", "b"), histogram_at(9)].concat(), &plain);
    check(
        &[label("__name__", "up"), label("a", "b"), sample_at(7), unknown.to_vec(), histogram_at(9)].concat(),
        &plain,
    );
    // The value before the name; two names, of which the last counts; a length in more bytes than necessary.
    let swapped = field(1, &[field(2, b"b"), field(1, b"a")].concat());
    check(&[label("__name__", "up"), swapped, sample_at(7), histogram_at(9)].concat(), &plain);
    let twice = field(1, &[field(1, b"x"), field(1, b"a"), field(2, b"b")].concat());
    check(&[label("__name__", "up"), twice, sample_at(7), histogram_at(9)].concat(), &plain);
    let long = [0x0a, 0x87, 0x00, 0x0a, 0x01, b'a', 0x12, 0x81, 0x00, b'b'];
    check(&[label("__name__", "up"), long.to_vec(), sample_at(7), histogram_at(9)].concat(), &plain);
}

/// "Ordering": of samples and histograms, each in the order of their times; of equal times, as they came.
#[test]
fn samples_and_histograms_are_sorted_by_time() {
    let unknown = vec![key(9, WireType::Varint), 1];
    let exemplar = |value: &str| field(3, &label("trace_id", value));
    let equal = |value: u8| field(2, &[key(2, WireType::Varint), 8, key(9, WireType::Varint), value]);
    let name = label("__name__", "up");
    let check = |rest: &[Vec<u8>], expected: &[Vec<u8>]| {
        let out = through(&[std::slice::from_ref(&name), rest].concat().concat(), |set| {
            let Points::Encoded(encoded) = set.at(0).points else { panic!("not encoded") };
            assert_eq!((encoded.sent, encoded.newest_ms), (SentLabels::Changed, Some(9)));
        });
        assert_eq!(out, field(1, &[std::slice::from_ref(&name), expected].concat().concat()), "{rest:02x?}");
    };
    check(&[sample_at(9), sample_at(7)], &[sample_at(7), sample_at(9)]);
    check(&[histogram_at(9), histogram_at(7)], &[histogram_at(7), histogram_at(9)]);
    check(&[sample_at(9), equal(1), equal(2)], &[equal(1), equal(2), sample_at(9)]);
    check(
        &[exemplar("b"), sample_at(9), unknown, histogram_at(3), exemplar("a"), sample_at(7)],
        &[sample_at(7), sample_at(9), exemplar("b"), exemplar("a"), histogram_at(3)],
    );
    // Labels behind the samples.
    check(&[sample_at(9), sample_at(7), label("a", "b")], &[label("a", "b"), sample_at(7), sample_at(9)]);
    // Both in their order, although not with each other: the series is copied as it came.
    let in_order = [name.clone(), histogram_at(9), sample_at(3), sample_at(3), sample_at(4)].concat();
    let out = through(&in_order, |set| {
        let Points::Encoded(encoded) = set.at(0).points else { panic!("not encoded") };
        assert_eq!(encoded.sent, SentLabels::Message(&in_order[..]));
    });
    assert_eq!(out, field(1, &in_order));
}

#[test]
fn metadata_is_counted() {
    let message = [field(3, &field(2, b"up")), field(3, b"")].concat();
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    assert_eq!(decode(&message, &DecodeLimits::default(), &mut set), Ok(RequestMetadata { entries: 2 }));
    assert!(set.is_empty());
}

#[test]
fn the_limits_are_checked() {
    fn check(message: &[u8], what: &'static str, limit: usize) {
        let limits = DecodeLimits {
            series: 2,
            labels: 5,
            text_bytes: 1 << 20,
            labels_per_series: 3,
            label_name_bytes: 8,
            label_value_bytes: 6,
            ..DecodeLimits::default()
        };
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        assert_eq!(decode(message, &limits, &mut set), Err(Error::Limit { what, limit }));
    }
    check(&field(1, b"").repeat(3), "series", 2);
    check(&field(1, &label("a", "b").repeat(4)), "labels in one series", 3);
    check(&field(1, &field(1, b"").repeat(4)), "labels in one series", 3);
    check(&field(1, &label("a", "b").repeat(3)).repeat(2), "labels", 5);
    check(&field(1, &label("a23456789", "b")), "bytes in a label name", 8);
    check(&field(1, &label("a", "1234567")), "bytes in a label value", 6);
    check(&field(1, &label("a", &"1".repeat(300))), "bytes in a label value", 6);
}

#[test]
fn a_sample_is_encoded_as_in_proto3() {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let push = |set: &mut SeriesSet<'_>, value, timestamp_ms| {
        set.push(&[], MetricType::Gauge, Points::Sample(Sample { value, timestamp_ms }));
    };
    push(&mut set, 0.0, Some(5));
    push(&mut set, -0.0, None);
    let mut out = Vec::new();
    encode(&set, &mut out);
    let negative_zero = [&[0x0a, 0x0b, 0x12, 0x09, 0x09][..], &(-0.0_f64).to_le_bytes()].concat();
    assert_eq!(out, [&[0x0a, 0x04, 0x12, 0x02, 0x10, 0x05][..], &negative_zero].concat());
}

#[test]
fn an_unchanged_message_is_detected() {
    let one = [label("__name__", "up"), label("a", "b"), sample_at(7)].concat();
    let odd = [sample_at(7), label("__name__", "up")].concat();
    let check = |message: &[u8], change: fn(&mut SeriesSet<'_>), unchanged: bool| {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        decode(message, &DecodeLimits::default(), &mut set).expect("a message");
        change(&mut set);
        assert_eq!(is_unchanged(&set), unchanged, "{message:02x?}");
        let mut out = Vec::new();
        encode(&set, &mut out);
        assert_eq!(out == message, unchanged);
    };
    /// A filter that drops the first series.
    fn without_first() -> impl FnMut(&mut crate::SeriesMut<'_, '_>) -> bool {
        let mut count = 0;
        move |_| {
            count += 1;
            count > 1
        }
    }
    let two = field(1, &one).repeat(2);
    let nothing = |_: &mut SeriesSet<'_>| ();
    check(&two, nothing, true);
    check(b"", nothing, true);
    check(&[&two[..], &field(3, b"")].concat(), nothing, false);
    check(&[&two[..], &field(9, b"")].concat(), nothing, false);
    check(&[&two[..], &field(1, &odd)].concat(), nothing, false);
    // The same message with a length in more bytes than necessary.
    check(&[&[TIMESERIES, one.len() as u8 | 0x80, 0][..], &one].concat(), nothing, false);
    check(&two, |set| set.retain_mut(without_first()), false);
    check(
        &two,
        |set| {
            set.retain_mut(|series| {
                series.retain_labels(|label| label.name != "a");
                true
            })
        },
        false,
    );
    check(
        &two,
        |set| {
            set.retain_mut(|series| {
                series.labels_mut()[1].value = "c";
                true
            })
        },
        false,
    );
}

mod what_was_sent {
    use proptest::prelude::*;

    use super::*;
    use crate::exposition::delimited;

    /// A change to a series between decoding and encoding.
    #[derive(Clone, Debug)]
    enum SeriesChange {
        Reverse,
        Rotate(usize),
        Without(usize),
        Value(usize),
        Insert(usize),
    }

    fn change() -> impl Strategy<Value = SeriesChange> {
        prop_oneof![
            Just(SeriesChange::Reverse),
            (0..9_usize).prop_map(SeriesChange::Rotate),
            (0..9_usize).prop_map(SeriesChange::Without),
            (0..9_usize).prop_map(SeriesChange::Value),
            (0..9_usize).prop_map(SeriesChange::Insert),
        ]
    }

    fn apply<'a>(series: &mut crate::SeriesMut<'_, 'a>, change: &SeriesChange, text: &'a str) {
        let len = series.labels().len();
        match *change {
            SeriesChange::Reverse => drop(series.reorder_if(|labels| {
                labels.reverse();
                Some(())
            })),
            SeriesChange::Rotate(by) => drop(series.reorder_if(|labels| {
                labels.rotate_left(by % len.max(1));
                (by > 0).then_some(())
            })),
            SeriesChange::Without(index) => {
                let mut at = 0;
                series.retain_labels(|_| {
                    at += 1;
                    at - 1 != index
                });
            }
            SeriesChange::Value(index) if index < len => series.labels_mut()[index].value = text,
            SeriesChange::Value(_) => {}
            SeriesChange::Insert(index) => series.insert_label(index, Label::new("inserted", text)),
        }
    }

    proptest! {
        /// Labels are copied in runs from the message: after any changes, none may be lost, duplicated or truncated.
        #[test]
        fn labels_are_encoded_as_they_are(
            families in proptest::collection::vec(
                (
                    "[a-z]{0,4}|[a-z]{120,130}",
                    proptest::collection::vec(
                        proptest::collection::vec(("[a-c]{0,3}|é|x{110,130}", "[x-z]{0,3}|ü|y{110,130}"), 0..8), 1..4,
                    ),
                ), 0..5,
            ),
            changes in proptest::collection::vec(change(), 0..4),
        ) {
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            let sample = Points::Sample(Sample { value: 1.5, timestamp_ms: Some(7) });
            for (name, metrics) in &families {
                for labels in metrics {
                    let labels = labels.iter().map(|(name, value)| Label::new(name, value));
                    let labels: Vec<_> = [Label::new("__name__", name)].into_iter().chain(labels).collect();
                    set.push(&labels, MetricType::Gauge, sample);
                }
            }
            let mut body = Vec::new();
            delimited::encode(&set, &mut body);
            drop(set);
            let mut set = SeriesSet::new_in(&arena);
            delimited::decode(&body, &DecodeLimits::default(), &mut set).expect("our own families");
            set.retain_mut(|series| {
                changes.iter().for_each(|change| apply(series, change, "of ours"));
                true
            });
            let (mut message, other) = (Vec::new(), Arena::new());
            encode(&set, &mut message);
            let mut again = SeriesSet::new_in(&other);
            decode(&message, &DecodeLimits::default(), &mut again).expect("our own message");
            prop_assert_eq!(set.len(), again.len());
            for (one, other) in set.iter().zip(again.iter()) {
                prop_assert_eq!(one.labels, other.labels);
                prop_assert!(other.samples().eq(one.samples()));
            }
        }
    }
}

#[test]
fn the_limits_are_checked_for_a_plain_series() {
    let series = [label("__name__", "up"), label("a", "b"), sample_at(1_795_330_870_734)].concat();
    let message = field(1, &series).repeat(2);
    let check = |limits: DecodeLimits, expected: Result<(), Error>| {
        let arena = Arena::new();
        let decoded = decode(&message, &limits, &mut SeriesSet::new_in(&arena));
        assert_eq!(decoded.map(|_| ()), expected);
    };
    let (limits, over) = (DecodeLimits::default, |what, limit| Err(Error::Limit { what, limit }));
    let bytes = 2 * series.len();
    check(DecodeLimits { labels: 4, labels_per_series: 2, series: 2, text_bytes: bytes, ..limits() }, Ok(()));
    check(DecodeLimits { labels: 3, ..limits() }, over("labels", 3));
    check(DecodeLimits { labels_per_series: 1, ..limits() }, over("labels in one series", 1));
    check(DecodeLimits { series: 1, ..limits() }, over("series", 1));
    check(DecodeLimits { text_bytes: bytes - 1, ..limits() }, over("bytes in all labels", bytes - 1));
}

#[test]
fn text_that_is_not_utf_8_is_named() {
    fn check(message: &[u8], expected: &str) {
        let arena = Arena::new();
        let error = decode(message, &DecodeLimits::default(), &mut SeriesSet::new_in(&arena)).expect_err(expected);
        assert_eq!(error.to_string(), format!("not valid protobuf: text that is not UTF-8 in {expected}"));
    }
    let raw = |name: &[u8], value: &[u8]| field(1, &[field(1, name), field(2, value)].concat());
    let good = field(1, &[label("__name__", "other"), sample_at(7)].concat());
    let series = |labels: &[Vec<u8>]| {
        [good.clone(), field(1, &[labels.concat(), sample_at(1_700_000_000_000)].concat())].concat()
    };
    let name = label("__name__", "up");
    check(&series(&[name.clone(), raw(b"job", b"a\xff")]), "the value of label \"job\" of metric \"up\"");
    check(&series(&[raw(b"job", b"a\xff"), name.clone()]), "the value of label \"job\" of metric \"up\"");
    check(&series(&[name.clone(), raw(b"j\xe9", b"a")]), "the name of label \"j\\xe9\" of metric \"up\"");
    check(&series(&[raw(b"__name__", b"u\xff\"p\n")]), "the name of metric \"u\\xff\\\"p\\n\"");
    check(&series(&[raw(b"job", b"\xff")]), "the value of label \"job\" of a metric without a name");
    let exemplar = field(3, &raw(b"trace_id", b"\xff"));
    check(&series(&[name, exemplar]), "an exemplar of metric \"up\"");
    check(&field(3, &[field(2, b"up"), field(4, b"\xff")].concat()), "the metadata of metric \"up\"");
    // Long names are truncated.
    let long = series(&[raw(&[b'n'; 500], b"\xff"), raw(b"__name__", &[0xff; 500])]);
    let (label, metric) = ("n".repeat(128), "\\xff".repeat(32));
    check(&long, &format!("the value of label \"{label}...\" of metric \"{metric}...\""));
}
