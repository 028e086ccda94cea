use super::*;
use crate::series::{Arena, Label};

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, key(number, Wire::Bytes), bytes);
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
    let mut message = vec![key(15, Wire::Varint)];
    put_varint(&mut message, timestamp);
    field(4, &message)
}

/// Decodes a request of one series, changes it, and encodes it again.
fn through(series: &[u8], change: impl FnOnce(&mut SeriesSet<'_>)) -> Vec<u8> {
    let message = field(1, series);
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    decode(&message, &Limits::default(), &mut set).expect("a message");
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
        assert_eq!(encoded.whole, Some(&series[..]));
        assert_eq!((encoded.samples, encoded.newest_ms), (2, Some(9)));
        let samples: Vec<_> = set.at(0).samples().collect();
        assert_eq!(samples, [Sample { value: 1.5, timestamp_ms: Some(7) }]);
    });
    assert_eq!(out, field(1, &series));
}

#[test]
fn samples_exemplars_and_histograms_ride_along_when_labels_change() {
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
fn odd_bytes_are_written_anew() {
    let unknown = [key(9, Wire::Varint), 1];
    let check = |series: &[u8], expected: &[u8]| assert_eq!(through(series, |_| ()), field(1, expected));
    let plain = [label("__name__", "up"), label("a", "b"), sample_at(7), histogram_at(9)].concat();
    check(&[label("__name__", "up"), sample_at(7), label("a", "b"), histogram_at(9)].concat(), &plain);
    check(
        &[label("__name__", "up"), label("a", "b"), sample_at(7), unknown.to_vec(), histogram_at(9)].concat(),
        &plain,
    );
    // Value before name; a name twice, of which the last counts; a length in more bytes than it needs.
    let swapped = field(1, &[field(2, b"b"), field(1, b"a")].concat());
    check(&[label("__name__", "up"), swapped, sample_at(7), histogram_at(9)].concat(), &plain);
    let twice = field(1, &[field(1, b"x"), field(1, b"a"), field(2, b"b")].concat());
    check(&[label("__name__", "up"), twice, sample_at(7), histogram_at(9)].concat(), &plain);
    let long = [0x0a, 0x87, 0x00, 0x0a, 0x01, b'a', 0x12, 0x81, 0x00, b'b'];
    check(&[label("__name__", "up"), long.to_vec(), sample_at(7), histogram_at(9)].concat(), &plain);
}

#[test]
fn metadata_is_counted() {
    let message = [field(3, &field(2, b"up")), field(3, b"")].concat();
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    assert_eq!(decode(&message, &Limits::default(), &mut set), Ok(Metadata { entries: 2 }));
    assert!(set.is_empty());
}

#[test]
fn holds_the_limits() {
    fn check(message: &[u8], what: &'static str, limit: usize) {
        let limits = Limits {
            series: 2,
            labels: 5,
            text_bytes: 1 << 20,
            labels_per_series: 3,
            label_name_bytes: 8,
            label_value_bytes: 6,
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
fn a_sample_is_written_as_proto3_has_it() {
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
