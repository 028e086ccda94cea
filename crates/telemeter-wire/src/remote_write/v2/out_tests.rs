use super::{
    test_fields::{double, field, varint},
    *,
};
use crate::{
    remote_write::{self, SeriesWriter as _},
    series::{Arena, Label, MetricType, Sample},
};

fn sample(value: f64, time: u64) -> Vec<u8> {
    field(2, &[double(1, value), varint(2, time)].concat())
}

fn request(symbols: &[&str], series: &[Vec<u8>]) -> Vec<u8> {
    let symbols = symbols.iter().map(|symbol| field(4, symbol.as_bytes()));
    symbols.chain(series.iter().map(|series| field(5, series))).collect::<Vec<_>>().concat()
}

fn written(builder: &RequestBuilder) -> Vec<u8> {
    let mut out = Vec::new();
    builder.put_message(&mut out);
    out
}

/// A message of 1.0 with one series of `up{job="a"}`.
fn of_1_0(fields: &[Vec<u8>]) -> Vec<u8> {
    let label = |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    field(1, &[label("__name__", "up"), label("job", "a"), fields.concat()].concat())
}

/// A message of 1.0 encoded as 2.0, and the number of exemplars that are left out.
fn through(message: &[u8]) -> (Vec<u8>, u64) {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    remote_write::decode(message, &DecodeLimits::default(), &mut set).expect("a message");
    let mut builder = RequestBuilder::default();
    builder.clear();
    builder.add(&set);
    (written(&builder), builder.exemplars_left_out())
}

const SYMBOLS: [&str; 5] = ["", "__name__", "up", "job", "a"];
const REFERENCES: [u8; 4] = [1, 2, 3, 4];

#[test]
fn a_series_becomes_one_of_2_0() {
    let check = |fields: &[Vec<u8>], series: &[Vec<u8>]| {
        let series: Vec<_> = series.iter().map(|fields| [field(1, &REFERENCES), fields.clone()].concat()).collect();
        assert_eq!(through(&of_1_0(fields)), (request(&SYMBOLS, &series), 0), "{fields:02x?}");
    };
    check(&[sample(1.5, 7)], &[sample(1.5, 7)]);
    check(&[sample(1.5, 1_800_000_000_000)], &[sample(1.5, 1_800_000_000_000)]);
    check(&[sample(1.5, 7), sample(2.5, 8)], &[[sample(1.5, 7), sample(2.5, 8)].concat()]);
    // "Samples and Histogram Samples": in the order of their times.
    check(&[sample(1.5, 8), sample(2.5, 7)], &[[sample(2.5, 7), sample(1.5, 8)].concat()]);
    // What 1.0 does not know of a sample is no start timestamp.
    check(&[field(2, &[double(1, 1.5), varint(2, 7), varint(3, 5)].concat())], &[sample(1.5, 7)]);
    let histogram = |time| [varint(1, 9), double(3, 2.5), varint(15, time)].concat();
    check(&[field(4, &histogram(8))], &[field(3, &histogram(8))]);
    let later = [field(4, &[histogram(9), vec![0x88, 0x01, 5]].concat()), field(4, &histogram(8))];
    check(&later, &[[field(3, &histogram(8)), field(3, &histogram(9))].concat()]);
    // Samples or histograms, and not both.
    check(&[field(4, &histogram(8)), sample(1.5, 7)], &[sample(1.5, 7), field(3, &histogram(8))]);
}

fn label(name: &str, value: &str) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

#[test]
fn exemplars_go_with_samples() {
    let exemplar = |time| field(3, &[label("trace_id", "a"), double(2, 3.5), varint(3, time)].concat());
    let written = |time| field(4, &[field(1, &[5, 4]), double(2, 3.5), varint(3, time)].concat());
    let symbols = [&SYMBOLS[..], &["trace_id"]].concat();
    let labels = field(1, &REFERENCES);
    let one = [labels.clone(), sample(1.5, 7), written(8)].concat();
    assert_eq!(through(&of_1_0(&[exemplar(8), sample(1.5, 7)])), (request(&symbols, &[one]), 0));
    // In a series of their own, before and after the one with the samples.
    let apart = [of_1_0(&[exemplar(8)]), of_1_0(&[sample(1.5, 7)]), of_1_0(&[exemplar(9)]), of_1_0(&[sample(2.5, 9)])];
    let both = [labels.clone(), sample(1.5, 7), written(8), written(9)].concat();
    let other = [labels.clone(), sample(2.5, 9)].concat();
    assert_eq!(through(&apart.concat()), (request(&symbols, &[both, other]), 0));
    // There is no series with samples.
    let alone = [of_1_0(&[exemplar(8), exemplar(9)]), field(1, &[label("__name__", "up"), sample(1.5, 7)].concat())];
    let up = [field(1, &[1, 2]), sample(1.5, 7)].concat();
    assert_eq!(through(&alone.concat()), (request(&SYMBOLS[..3], &[up]), 2));
    // "Exemplars": each has a timestamp.
    let untimed = field(3, &double(2, 3.5));
    let series = [labels, sample(1.5, 7)].concat();
    assert_eq!(through(&of_1_0(&[untimed, sample(1.5, 7)])), (request(&SYMBOLS, &[series]), 1));
}

#[test]
fn start_timestamps_are_kept_where_they_are_to_be() {
    let arena = Arena::new();
    let started = |start| field(2, &[double(1, 1.5), varint(2, 7), varint(3, start)].concat());
    let histogram = |start: &[u8]| field(3, &[&varint(1, 9)[..], &varint(15, 8), start].concat());
    let check = |series: &[Vec<u8>], expected: &[Vec<u8>]| {
        let message = request(&SYMBOLS, &[[&[field(1, &REFERENCES)], series].concat().concat()]);
        let mut set = SeriesSet::new_in(&arena);
        let keep = Keep { start_timestamps: true, metadata: false };
        decode_keeping(&message, keep, &DecodeLimits::default(), &mut set, None).expect("a request");
        let mut builder = RequestBuilder::default();
        builder.clear();
        builder.add(&set);
        let expected: Vec<_> = expected.iter().map(|fields| [field(1, &REFERENCES), fields.clone()].concat()).collect();
        assert_eq!(written(&builder), request(&SYMBOLS, &expected), "{series:02x?}");
    };
    check(&[started(5)], &[started(5)]);
    check(&[histogram(&[0x88, 0x01, 5])], &[histogram(&[0x88, 0x01, 5])]);
    check(&[started(5), started(6)], &[[started(5), started(6)].concat()]);
    // Of an earlier revision: that of the series is that of each which has none.
    check(&[sample(1.5, 7), started(6), varint(6, 5)], &[[started(5), started(6)].concat()]);
    check(&[started(0), varint(6, 5)], &[started(5)]);
    check(&[histogram(&[]), varint(6, 5)], &[histogram(&[0x88, 0x01, 5])]);
    // An unknown field is left out.
    let unknown = field(2, &[double(1, 1.5), varint(2, 7), varint(3, 5), varint(9, 1)].concat());
    check(&[unknown], &[started(5)]);
}

#[test]
fn joined_requests_share_their_symbols() {
    let [mut one, mut other, mut joined] = [(); 3].map(|()| RequestBuilder::default());
    [&mut one, &mut other, &mut joined].into_iter().for_each(RequestBuilder::clear);
    let arena = Arena::new();
    let point = Points::Sample(Sample { value: 1.5, timestamp_ms: Some(7) });
    for (builder, jobs) in [(&mut one, ["a", "b"]), (&mut other, ["c", "b"])] {
        let mut set = SeriesSet::new_in(&arena);
        for job in jobs {
            set.push(&[Label::new("__name__", "up"), Label::new("job", job)], MetricType::Untyped, point);
        }
        builder.add(&set);
        joined.add_request(&written(builder), builder.contents()).expect("our own request");
    }
    let series = |references: [u8; 4]| [field(1, &references), sample(1.5, 7)].concat();
    let expected = [series([1, 2, 3, 4]), series([1, 2, 3, 5]), series([1, 2, 3, 6]), series([1, 2, 3, 5])];
    assert_eq!(written(&joined), request(&["", "__name__", "up", "job", "a", "b", "c"], &expected));
    assert_eq!((joined.len(), joined.contents().samples), (4, 4));
    // Messages that no builder encoded.
    let odd = request(&["", "x"], &[field(1, &[1, 9])]);
    assert!(joined.add_request(&odd, &Contents::default()).is_err());
    assert!(
        joined.add_request(&[field(4, b""), field(4, b"x"), field(6, b"")].concat(), &Contents::default()).is_err()
    );
}

#[test]
fn series_can_be_taken_out_again() {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let sample_of = |value| Points::Sample(Sample { value, timestamp_ms: Some(7) });
    for value in [1.5, 2.5, 3.5] {
        set.push(&[Label::new("__name__", "up")], MetricType::Untyped, sample_of(value));
    }
    set.push(&[Label::new("__name__", "up")], MetricType::Untyped, Points::Absent);
    let mut builder = RequestBuilder::default();
    builder.clear();
    let mut writer = builder.writer(&set);
    let mut places = Vec::new();
    for (index, series) in set.iter().enumerate() {
        let from = writer.written().len();
        let Some(labels) = writer.put(index, series.points) else {
            assert_eq!((index, writer.written().len()), (3, from), "no value, no series");
            continue;
        };
        assert_eq!(&writer.written()[labels], [1, 2]);
        places.push(from..writer.written().len());
    }
    builder.take_out(&places[1..2]);
    let series = |value| [field(1, &[1, 2]), sample(value, 7)].concat();
    assert_eq!(written(&builder), request(&["", "__name__", "up"], &[series(1.5), series(3.5)]));
    assert_eq!((builder.len(), builder.contents().samples), (2, 2));
    assert!(builder.held_bytes() > 0);
}

/// Decodes a request into a set, after the series that it has.
fn add_decoded<'a>(message: &'a [u8], set: &mut SeriesSet<'a>) {
    decode(message, &DecodeLimits::default(), set).expect("a request");
}

/// The series of a set as they are written in 2.0 and decoded again, and the texts that the request holds.
fn sent_on(set: &SeriesSet<'_>) -> (Vec<String>, Vec<String>) {
    let mut builder = RequestBuilder::default();
    builder.clear();
    builder.add(set);
    let message = written(&builder);
    let (arena, mut symbols) = (Arena::new(), Vec::new());
    let mut again = SeriesSet::new_in(&arena);
    decode(&message, &DecodeLimits::default(), &mut again).expect("a request");
    symbols.extend(again.symbols().iter().map(|symbol| (*symbol).to_owned()));
    let in_v1 = |set: &SeriesSet<'_>| {
        let mut message = Vec::new();
        remote_write::encode(set, &mut message);
        message
    };
    assert_eq!(in_v1(&again), in_v1(set), "the same in 1.0");
    (again.iter().map(|series| format!("{:?}", series.labels)).collect(), symbols)
}

#[test]
fn references_are_translated_and_texts_of_dropped_series_are_not_sent() {
    // The sender has one symbol twice, and one that it does not refer to.
    let symbols = ["", "__name__", "up", "job", "a", "secret", "a", "unused", "down"];
    let series = |references: &[u8]| [field(1, references), sample(1.5, 7)].concat();
    let message = request(&symbols, &[series(&[1, 2, 3, 5]), series(&[1, 8, 3, 4]), series(&[1, 2, 3, 6])]);
    let (arena, mut expected) = (Arena::new(), Vec::new());
    let mut set = SeriesSet::new_in(&arena);
    add_decoded(&message, &mut set);
    set.retain_mut(|series| series.view().label("job") != Some("secret"));
    expected.extend(set.iter().map(|series| format!("{:?}", series.labels)));
    let texts = ["", "__name__", "down", "job", "a", "up"].map(str::to_owned);
    assert_eq!(sent_on(&set), (expected, texts.to_vec()));
}

#[test]
fn changed_labels_are_sent_as_they_are_now() {
    let series = |references: &[u8]| [field(1, references), sample(1.5, 7)].concat();
    let message = request(&SYMBOLS, &[series(&REFERENCES), series(&REFERENCES), series(&[1, 2, 1, 3])]);
    let arena = Arena::new();
    for change in 0..4 {
        let mut set = SeriesSet::new_in(&arena);
        add_decoded(&message, &mut set);
        let mut index = 0;
        set.retain_mut(|series| {
            index += 1;
            match change {
                _ if index != 2 => {}
                0 => series.labels_mut()[1].value = "b",
                1 => series.push_label(Label::new("pod", "b")),
                2 => series.retain_labels(|label| label.name != "job"),
                _ => series
                    .reorder_if(|labels| {
                        labels.reverse();
                        Some(())
                    })
                    .expect("reordered"),
            }
            true
        });
        let expected: Vec<_> = set.iter().map(|series| format!("{:?}", series.labels)).collect();
        assert_ne!(expected[0], expected[1], "{change}");
        assert_eq!(sent_on(&set).0, expected, "{change}");
    }
}

#[test]
fn a_set_of_two_requests_has_the_labels_of_both() {
    let series = [field(1, &REFERENCES), sample(1.5, 7)].concat();
    let one = request(&SYMBOLS, std::slice::from_ref(&series));
    let other = request(&["", "__name__", "down", "pod", "b"], &[series]);
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    add_decoded(&one, &mut set);
    add_decoded(&other, &mut set);
    let expected: Vec<_> = set.iter().map(|series| format!("{:?}", series.labels)).collect();
    assert!(expected[0].contains("job") && expected[1].contains("pod"));
    assert_eq!(sent_on(&set).0, expected);
}
