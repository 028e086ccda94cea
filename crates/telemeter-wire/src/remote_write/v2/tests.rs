use super::{
    test_fields::{double, field, varint},
    *,
};
use crate::{
    protobuf::put_varint,
    remote_write,
    series::{Arena, Points, Sample},
};

const SYMBOLS: [&str; 7] = ["", "__name__", "up", "job", "a", "trace_id", "x"];

/// References as encoders write them, packed.
fn packed(references: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    references.iter().for_each(|reference| put_varint(&mut out, u64::from(*reference)));
    field(1, &out)
}

/// References one by one.
fn unpacked(references: &[u32]) -> Vec<u8> {
    references.iter().flat_map(|reference| varint(1, u64::from(*reference))).collect()
}

fn sample(fields: &[Vec<u8>]) -> Vec<u8> {
    field(2, &fields.concat())
}

fn plain_sample() -> Vec<u8> {
    sample(&[double(1, 1.5), varint(2, 7)])
}

fn request(symbols: &[&str], series: &[Vec<u8>]) -> Vec<u8> {
    let symbols = symbols.iter().map(|symbol| field(4, symbol.as_bytes()));
    symbols.chain(series.iter().map(|series| field(5, series))).collect::<Vec<_>>().concat()
}

/// Decodes a request; returns its content, and its series encoded as 1.0.
fn through(message: &[u8]) -> (Result<Contents, Error>, Vec<u8>) {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let contents = decode(message, &DecodeLimits::default(), &mut set);
    let mut out = Vec::new();
    remote_write::encode(&set, &mut out);
    (contents, out)
}

/// A `WriteRequest` of one series of `up{job="a"}`.
fn expected(fields: &[Vec<u8>]) -> Vec<u8> {
    let label = |name: &str, value: &str| field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat());
    field(1, &[label("__name__", "up"), label("job", "a"), fields.concat()].concat())
}

#[test]
fn a_series_becomes_one_of_1_0() {
    let check = |series: &[Vec<u8>], contents: Contents, fields: &[Vec<u8>]| {
        let (held, out) = through(&request(&SYMBOLS, &[series.concat()]));
        assert_eq!(held, Ok(contents), "{series:02x?}");
        assert_eq!(out, if fields.is_empty() { Vec::new() } else { expected(fields) }, "{series:02x?}");
    };
    let labels = packed(&[1, 2, 3, 4]);
    let one = Contents { samples: 1, ..Contents::default() };
    check(&[labels.clone(), plain_sample()], one, &[plain_sample()]);
    check(&[unpacked(&[1, 2, 3, 4]), plain_sample()], one, &[plain_sample()]);
    check(&[packed(&[1, 2, 3]), plain_sample(), packed(&[4])], one, &[plain_sample()]);
    check(
        &[labels.clone(), plain_sample(), plain_sample()],
        Contents { samples: 2, ..one },
        &[plain_sample(), plain_sample()],
    );
    // A field between two samples.
    check(
        &[labels.clone(), plain_sample(), varint(6, 5), plain_sample()],
        Contents { samples: 2, start_timestamps: 1, ..one },
        &[plain_sample(), plain_sample()],
    );
    // "Samples and Histogram Samples": in the order of their times.
    let later = sample(&[double(1, 1.5), varint(2, 8)]);
    check(&[labels.clone(), later.clone(), plain_sample()], Contents { samples: 2, ..one }, &[plain_sample(), later]);
    // 1.0 has no start timestamps. Zero means none.
    check(
        &[labels.clone(), sample(&[double(1, 1.5), varint(2, 7), varint(3, 5)])],
        Contents { start_timestamps: 1, ..one },
        &[plain_sample()],
    );
    check(&[labels.clone(), sample(&[double(1, 1.5), varint(2, 7), varint(3, 0)])], one, &[plain_sample()]);
    let histogram = [varint(1, 9), double(3, 2.5), varint(15, 8), vec![0x82, 0x01, 8], vec![0; 8]].concat();
    let started = [&histogram[..], &[0x88, 0x01, 5]].concat();
    let is_histogram = Contents { histograms: 1, ..Contents::default() };
    check(&[labels.clone(), field(3, &histogram)], is_histogram, &[field(4, &histogram)]);
    check(
        &[labels.clone(), field(3, &started)],
        Contents { start_timestamps: 1, ..is_histogram },
        &[field(4, &histogram)],
    );
    let earlier = varint(15, 7);
    check(
        &[labels.clone(), field(3, &histogram), field(3, &earlier)],
        Contents { histograms: 2, ..is_histogram },
        &[field(4, &earlier), field(4, &histogram)],
    );
    let exemplar = [packed(&[5, 6]), double(2, 3.5), varint(3, 8)].concat();
    let of_1_0 =
        field(3, &[field(1, &[field(1, b"trace_id"), field(2, b"x")].concat()), double(2, 3.5), varint(3, 8)].concat());
    check(
        &[labels.clone(), plain_sample(), field(4, &exemplar), field(5, &[varint(1, 1), varint(3, 6)].concat())],
        Contents { exemplars: 1, metadata: 1, ..one },
        &[plain_sample(), of_1_0.clone()],
    );
    // Prometheus sends exemplars without samples, and metadata with neither.
    check(
        &[labels.clone(), field(4, &exemplar)],
        Contents { exemplars: 1, ..Contents::default() },
        std::slice::from_ref(&of_1_0),
    );
    check(&[labels, field(5, &varint(1, 1))], Contents { metadata: 1, ..Contents::default() }, &[]);
}

/// As in protobuf, of several equal fields the last counts, and several messages of one field are merged.
#[test]
fn of_duplicate_metadata_the_last_counts() {
    let check = |metadata: &[Vec<u8>], expected: Result<u64, Error>| {
        let series = [&[packed(&[1, 2]), plain_sample()], metadata].concat().concat();
        let (result, _) = through(&request(&["", "a", "b"], &[series]));
        assert_eq!(result.map(|contents| contents.metadata), expected, "{metadata:02x?}");
    };
    let out_of_range = || Err(Error::Reference(ReferenceError::OutOfRange { series: 0, reference: 3, symbols: 3 }));
    let (bad, good) = (varint(3, 3), varint(3, 2));
    check(&[], Ok(0));
    check(&[field(5, &[])], Ok(1));
    check(&[field(5, &[bad.clone(), good.clone()].concat())], Ok(1));
    check(&[field(5, &bad), field(5, &good)], Ok(1));
    check(&[field(5, &bad), field(5, &varint(4, 2))], out_of_range());
    check(&[field(5, &[good.clone(), bad.clone()].concat())], out_of_range());
    check(&[field(5, &good), field(5, &bad)], out_of_range());
}

#[test]
fn a_staleness_marker_and_any_other_nan_keep_their_bits() {
    for bits in [0x7ff0_0000_0000_0002_u64, 0x7ff8_0000_0000_0001, u64::MAX] {
        let message =
            request(&SYMBOLS, &[[packed(&[1, 2]), sample(&[double(1, f64::from_bits(bits)), varint(2, 7)])].concat()]);
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        decode(&message, &DecodeLimits::default(), &mut set).expect("a request");
        let samples: Vec<Sample> = set.at(0).samples().collect();
        assert_eq!(samples[0].value.to_bits(), bits);
    }
}

#[test]
fn labels_are_borrowed_from_the_body() {
    let message = request(&SYMBOLS, &[[packed(&[1, 2, 3, 4]), plain_sample()].concat()]);
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    decode(&message, &DecodeLimits::default(), &mut set).expect("a request");
    let within = |text: &[u8]| message.as_ptr_range().contains(&text.as_ptr());
    for label in set.at(0).labels {
        assert!(within(label.name.as_bytes()) && within(label.value.as_bytes()), "{label:?}");
    }
    let Points::Encoded(encoded) = set.at(0).points else { panic!("not encoded") };
    assert!(within(encoded.payload), "samples stay where they are");
    assert!(!remote_write::is_unchanged(&set), "it is another message than what 1.0 has");
}

#[test]
fn what_is_wrong_with_references_is_named() {
    let check = |message: &[u8], expected: &str| {
        let error = through(message).0.expect_err(expected);
        assert_eq!(error.to_string(), format!("not valid remote write 2.0: {expected}"));
    };
    let good = [packed(&[1, 2]), plain_sample()].concat();
    let second = |labels: Vec<u8>| request(&SYMBOLS, &[good.clone(), [labels, plain_sample()].concat()]);
    check(&second(packed(&[1, 7])), "series 1 has the reference 7, and there are 7 symbols");
    check(&second(packed(&[u32::MAX, 2])), "series 1 has the reference 4294967295, and there are 7 symbols");
    check(&second(packed(&[1, 2, 3])), "series 1 has 3 references to labels: a name has no value");
    check(&second(unpacked(&[1])), "series 1 has 1 references to labels: a name has no value");
    check(
        &second(field(4, &packed(&[5, 6, 5]))),
        "an exemplar of series 1 has 3 references to labels: a name has no value",
    );
    check(&second(field(4, &packed(&[5, 9]))), "series 1 has the reference 9, and there are 7 symbols");
    check(&second(field(5, &varint(3, 8))), "series 1 has the reference 8, and there are 7 symbols");
    check(&second(field(5, &varint(4, 8))), "series 1 has the reference 8, and there are 7 symbols");
    check(&request(&["up"], std::slice::from_ref(&good)), "the first symbol is \"up\", and not the empty text");
    check(&request(&[], std::slice::from_ref(&good)), "there are no symbols: is this a prometheus.WriteRequest?");
    let of_1_0 = expected(&[plain_sample()]);
    check(&of_1_0, "there are no symbols: is this a prometheus.WriteRequest?");
    let not_text = [request(&["", "a"], &[]), field(4, b"b\xff")].concat();
    check(&not_text, "symbol 2 (\"b\\xff\") is not UTF-8");
    // An empty message is an empty request.
    assert_eq!(through(&[]), (Ok(Contents::default()), Vec::new()));
}

#[test]
fn a_series_with_bad_references_may_go_alone() {
    let good = [packed(&[1, 2, 3, 4]), plain_sample()].concat();
    let exemplar = field(4, &packed(&[5, 9]));
    let series = [
        [packed(&[1, 9]), plain_sample()].concat(),
        good.clone(),
        [packed(&[1, 2, 3]), plain_sample()].concat(),
        [good.clone(), exemplar].concat(),
        good,
    ];
    let message = request(&SYMBOLS, &series);
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let mut refused = Vec::new();
    let contents = decode_partial(&message, &DecodeLimits::default(), &mut set, &mut |error| refused.push(error));
    assert_eq!(contents, Ok(Contents { samples: 2, ..Contents::default() }));
    assert_eq!(set.len(), 2);
    assert_eq!(Contents::of(&set.at(0).points), Contents { samples: 1, ..Contents::default() });
    let out_of_range = |series| ReferenceError::OutOfRange { series, reference: 9, symbols: SYMBOLS.len() };
    assert_eq!(refused, [out_of_range(0), ReferenceError::Odd { series: 2, count: 3 }, out_of_range(3)]);
    let mut out = Vec::new();
    remote_write::encode(&set, &mut out);
    assert_eq!(out, expected(&[plain_sample()]).repeat(2));
    // An error of the whole request remains an error.
    let message = request(&["up"], &series);
    let decoded = decode_partial(&message, &DecodeLimits::default(), &mut SeriesSet::new_in(&arena), &mut |_| {
        panic!("no series is to blame")
    });
    assert!(matches!(decoded, Err(Error::Reference(ReferenceError::FirstSymbol { .. }))), "{decoded:?}");
}

#[test]
fn symbols_may_follow_the_series() {
    let series = field(5, &[packed(&[1, 2, 3, 4]), plain_sample()].concat());
    let symbols = request(&SYMBOLS, &[]);
    assert_eq!(through(&[series, symbols].concat()).1, expected(&[plain_sample()]));
}

#[test]
fn a_request_is_held_to_the_limits() {
    let exemplar = field(4, &packed(&[5, 6]));
    let series = [packed(&[1, 2, 3, 4]), plain_sample(), exemplar].concat();
    let message = request(&SYMBOLS, &[series.clone(), series]);
    let check = |limits: DecodeLimits, expected: Result<(), Error>| {
        let arena = Arena::new();
        let decoded = decode(&message, &limits, &mut SeriesSet::new_in(&arena));
        assert_eq!(decoded.map(drop), expected);
    };
    let (limits, over) = (DecodeLimits::default, |what, limit| Err(Error::Limit { what, limit }));
    check(DecodeLimits { symbols: 7, labels: 4, labels_per_series: 2, series: 2, ..limits() }, Ok(()));
    check(DecodeLimits { symbols: 6, ..limits() }, over("symbols", 6));
    check(DecodeLimits { series: 1, ..limits() }, over("series", 1));
    check(DecodeLimits { labels: 3, ..limits() }, over("labels", 3));
    check(DecodeLimits { labels_per_series: 1, ..limits() }, over("labels in one series", 1));
    check(DecodeLimits { label_name_bytes: 7, ..limits() }, over("bytes in a label name", 7));
    check(DecodeLimits { label_value_bytes: 1, ..limits() }, over("bytes in a label value", 1));
}

#[test]
fn a_text_counts_as_often_as_it_is_referenced() {
    let long = "v".repeat(1000);
    let series = |labels: &[u32]| [packed(labels), plain_sample()].concat();
    let many: Vec<_> = (0..100).map(|_| series(&[1, 2])).collect();
    let message = request(&["", "a", &long], &many);
    let arena = Arena::new();
    let limits = DecodeLimits { text_bytes: 50_000, ..DecodeLimits::default() };
    let decoded = decode(&message, &limits, &mut SeriesSet::new_in(&arena));
    assert_eq!(decoded, Err(Error::Limit { what: "bytes in all labels", limit: 50_000 }));
    // Also in exemplars.
    let exemplars: Vec<_> = (0..100).map(|_| [series(&[1, 1]), field(4, &packed(&[1, 2]))].concat()).collect();
    let message = request(&["", "a", &long], &exemplars);
    let decoded = decode(&message, &limits, &mut SeriesSet::new_in(&arena));
    assert_eq!(decoded, Err(Error::Limit { what: "bytes in all labels", limit: 50_000 }));
}

#[test]
fn a_used_arena_has_no_symbols_of_the_previous_request() {
    let mut arena = Arena::new();
    for symbols in [&SYMBOLS[..], &["", "__name__", "down"]] {
        let message = request(symbols, &[[packed(&[1, 2]), plain_sample()].concat()]);
        let mut set = SeriesSet::new_in(&arena);
        decode(&message, &DecodeLimits::default(), &mut set).expect("a request");
        assert_eq!((set.len(), set.at(0).name()), (1, symbols[2]));
        drop(set);
        arena.reset();
    }
    let bad = request(&SYMBOLS, &[packed(&[1, 99])]);
    assert!(decode(&bad, &DecodeLimits::default(), &mut SeriesSet::new_in(&arena)).is_err());
    let short = request(&["", "__name__"], &[[packed(&[1, 2]), plain_sample()].concat()]);
    let decoded = decode(&short, &DecodeLimits::default(), &mut SeriesSet::new_in(&arena));
    assert!(matches!(decoded, Err(Error::Reference(ReferenceError::OutOfRange { symbols: 2, .. }))), "{decoded:?}");
}
