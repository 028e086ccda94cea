use super::*;
use crate::{
    exposition::text,
    protobuf::{put_bytes, put_varint},
    series::Arena,
};

/// Encodes a field of a message: its key, then `bytes`.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, key(number, WireType::Bytes), bytes);
    out
}

fn double(number: u8, value: f64) -> Vec<u8> {
    [&[key(number, WireType::Fixed64)], &value.to_le_bytes()[..]].concat()
}

fn varint(number: u8, value: u64) -> Vec<u8> {
    let mut out = vec![key(number, WireType::Varint)];
    put_varint(&mut out, value);
    out
}

fn label(name: &str, value: &str) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

fn family(name: &str, kind: u64, metrics: &[Vec<u8>]) -> Vec<u8> {
    let metrics: Vec<u8> = metrics.iter().flat_map(|metric| field(4, metric)).collect();
    let message = [field(1, name.as_bytes()), varint(3, kind), metrics].concat();
    let mut out = Vec::new();
    put_varint(&mut out, message.len() as u64);
    out.extend_from_slice(&message);
    out
}

fn as_text(body: &[u8]) -> Result<String, Error> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    decode(body, &DecodeLimits::default(), &mut set)?;
    let mut out = Vec::new();
    text::encode(&set, &mut out);
    Ok(String::from_utf8(out).expect("UTF-8"))
}

#[test]
fn decodes_each_type() {
    let check = |body: &[u8], expected: &str| assert_eq!(as_text(body).expect("a body"), expected);
    let labels = label("a", "b");
    check(
        &family("g", 1, &[[labels.clone(), field(2, &double(1, 1.5)), varint(6, 7)].concat()]),
        "# TYPE g gauge\ng{a=\"b\"} 1.5 7\n",
    );
    check(&family("c", 0, &[field(3, &double(1, 2.0))]), "# TYPE c counter\nc 2\n");
    check(&family("u", 3, &[field(5, &double(1, 3.0))]), "# TYPE u untyped\nu 3\n");
    let quantile = field(3, &[double(1, 0.5), double(2, 9.0)].concat());
    let summary = field(4, &[varint(1, 4), double(2, 8.0), quantile].concat());
    check(
        &family("s", 2, &[[labels.clone(), summary, varint(6, 7)].concat()]),
        "# TYPE s untyped\ns{a=\"b\",quantile=\"0.5\"} 9 7\n# TYPE s_sum untyped\ns_sum{a=\"b\"} 8 7\n# TYPE s_count untyped\ns_count{a=\"b\"} 4 7\n",
    );
    let bucket = field(3, &[varint(1, 3), double(2, 0.25)].concat());
    let histogram = field(7, &[varint(1, 4), double(2, 8.0), bucket].concat());
    check(
        &family("h", 4, &[[labels, histogram].concat()]),
        "# TYPE h_bucket untyped\nh_bucket{a=\"b\",le=\"0.25\"} 3\nh_bucket{a=\"b\",le=\"+Inf\"} 4\n\
         # TYPE h_sum untyped\nh_sum{a=\"b\"} 8\n# TYPE h_count untyped\nh_count{a=\"b\"} 4\n",
    );
    // A schema alone does not make it a native one.
    let classic = field(7, &[varint(1, 4), double(2, 8.0), varint(5, 6)].concat());
    check(&family("n", 4, &[classic]), "# TYPE n_sum untyped\nn_sum 8\n# TYPE n_count untyped\nn_count 4\n");
}

/// `isNativeHistogram` of Prometheus.
#[test]
fn a_native_histogram_is_told_from_a_classic_one_as_prometheus_does() {
    let bucket = field(3, &[varint(1, 3), double(2, 0.25)].concat());
    let exemplar = [&[0x82, 0x01, 9][..], &double(2, 1.0)].concat();
    let count = varint(1, 4);
    let span = field(12, &[varint(1, 2), varint(2, 1)].concat());
    for (fields, is_native) in [
        (vec![], false),
        (vec![varint(5, 6)], false),
        (vec![double(6, 0.0)], false),
        (vec![double(6, -1.0)], false),
        (vec![double(6, f64::NAN)], false),
        (vec![double(6, 0.1), double(6, 0.0)], false),
        (vec![double(6, 0.0), double(6, 0.1)], true),
        (vec![varint(7, 0)], false),
        (vec![varint(7, 1)], true),
        (vec![double(8, 1.0)], false),
        (vec![varint(13, 1)], false),
        // An empty span marks it as native.
        (vec![field(12, b"")], true),
        (vec![field(9, b"")], true),
        (vec![span.clone()], true),
        (vec![bucket.clone()], false),
        (vec![bucket.clone(), span.clone(), exemplar.clone()], true),
    ] {
        let message = [count.clone(), fields.concat()].concat();
        for kind in [4, 5] {
            let body = family("n", kind, &[[label("a", "b"), field(7, &message), varint(6, 7)].concat()]);
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            decode(&body, &DecodeLimits::default(), &mut set).expect("a body");
            let first = set.at(0);
            let Points::Histogram(histogram) = first.points else {
                assert!(!is_native, "{fields:02x?}");
                continue;
            };
            assert!(is_native && set.len() == 1, "{fields:02x?}");
            assert_eq!((first.name(), first.kind as u64, histogram.timestamp_ms), ("n", kind, Some(7)));
            // Classic buckets and exemplars are removed.
            let others = [bucket.clone(), exemplar.clone()];
            let kept: Vec<_> = fields.iter().filter(|field| !others.contains(field)).cloned().collect();
            assert_eq!(histogram.message, [count.clone(), kept.concat()].concat());
            // For a server without native histograms, its sum, count and classic buckets are decoded.
            let mut classic = SeriesSet::new_in(&arena);
            decode_with(&body, &DecodeLimits::default(), NativeHistograms::AsClassic, &mut classic).expect("a body");
            let names: Vec<_> = classic.iter().map(|series| series.name()).collect();
            let buckets: &[&str] = if fields.contains(&bucket) { &["n_bucket", "n_bucket"] } else { &[] };
            assert_eq!(names, [buckets, &["n_sum", "n_count"]].concat());
        }
    }
}

#[test]
fn a_histogram_in_two_parts_is_one() {
    // As in protobuf, two messages of one field are merged.
    let (one, two) = ([varint(1, 4), varint(7, 3)].concat(), [varint(1, 5), field(12, b"")].concat());
    let metric = [field(7, &one), label("a", "b"), field(7, &two)].concat();
    let body = family("n", 4, &[metric]);
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    decode(&body, &DecodeLimits::default(), &mut set).expect("a body");
    let Points::Histogram(histogram) = set.at(0).points else { panic!("native") };
    assert_eq!(histogram.message, [one, two].concat());
}

#[test]
fn families_of_histograms_and_samples_stand_apart() {
    let (name, message, mut body) = ([Label::new(NAME_LABEL, "h")], [7 << 3, 1], Vec::new());
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let histogram = Points::Histogram(NativeHistogram { message: &message, timestamp_ms: None });
    let sample = Points::Sample(Sample { value: 1.0, timestamp_ms: None });
    for (kind, points) in [
        (MetricType::Histogram, histogram),
        (MetricType::Histogram, sample),
        (MetricType::GaugeHistogram, histogram),
        (MetricType::Untyped, histogram),
    ] {
        set.push(&name, kind, points);
    }
    encode(&set, &mut body);
    let mut again = SeriesSet::new_in(&arena);
    decode(&body, &DecodeLimits::default(), &mut again).expect("our own body");
    let found: Vec<_> = again.iter().map(|series| (series.kind, series.points)).collect();
    use MetricType::{GaugeHistogram, Histogram, Untyped};
    assert_eq!(found, [(Histogram, histogram), (Untyped, sample), (GaugeHistogram, histogram), (Histogram, histogram)]);
}

#[test]
fn a_name_behind_the_metrics_still_names_them() {
    let message = [field(4, &field(5, &double(1, 1.0))), varint(3, 3), field(1, b"late")].concat();
    let mut body = Vec::new();
    put_varint(&mut body, message.len() as u64);
    body.extend_from_slice(&message);
    assert_eq!(as_text(&body).expect("a body"), "# TYPE late untyped\nlate 1\n");
}

#[test]
fn a_value_of_another_type_is_absent() {
    fn check(kind: u64, metric: Vec<u8>) {
        let body = family("m", kind, &[metric]);
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        decode(&body, &DecodeLimits::default(), &mut set).expect("a body");
        let points: Vec<_> = set.iter().map(|series| series.points).collect();
        assert_eq!(points, [Points::Absent]);
    }
    check(1, field(3, &double(1, 1.0)));
    check(1, Vec::new());
    check(1, field(2, b""));
    check(3, [field(5, &double(1, 1.0)), field(2, &double(1, 1.0))].concat());
    check(4, field(2, &double(1, 1.0)));
    check(2, field(7, &varint(1, 1)));
}

#[test]
fn a_message_that_is_cut_off_is_an_error() {
    let body = family("g", 1, &[field(2, &double(1, 1.5))]);
    for end in 1..body.len() {
        assert!(as_text(&body[..end]).is_err(), "{end}");
    }
    assert_eq!(as_text(&family("g", 6, &[])), Err(Error::protobuf("a metric type that does not exist")));
}

#[test]
fn expansion_holds_the_limits() {
    let bucket = field(3, &varint(1, 3));
    let histogram = field(7, &bucket.repeat(10));
    let body = family("h", 4, &[histogram]);
    let limits = DecodeLimits { series: 5, ..DecodeLimits::default() };
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    assert_eq!(decode(&body, &limits, &mut set), Err(Error::Limit { what: "series", limit: 5 }));
}

#[test]
fn a_short_message_makes_no_long_one() {
    // One long label, and as many quantiles as possible.
    let quantile = field(3, &double(1, 0.5));
    let summary = field(4, &quantile.repeat(20_000));
    let body = family("s", 2, &[[label("a", &"b".repeat(16_000)), summary].concat()]);
    let named = family(&"n".repeat(16_000), 1, &vec![field(2, &double(1, 1.0)); 20_000]);
    for body in [body, named] {
        assert!(body.len() < 512_000);
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let limit = DecodeLimits::default().text_bytes;
        let error = Error::Limit { what: "bytes in all labels", limit };
        assert_eq!(decode(&body, &DecodeLimits::default(), &mut set), Err(error));
        drop(set);
        assert!(arena.held_bytes() < 1 << 24, "{}", arena.held_bytes());
    }
}

#[test]
fn a_histogram_s_name_stands_once_in_memory() {
    let histogram = field(7, &field(3, b"").repeat(50_000));
    let body = family(&"n".repeat(1000), 4, &[histogram]);
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let limits = DecodeLimits { text_bytes: 1 << 30, ..DecodeLimits::default() };
    decode(&body, &limits, &mut set).expect("a body");
    drop(set);
    assert!(arena.held_bytes() < 1 << 24, "{}", arena.held_bytes());
}

#[test]
fn writes_what_it_reads() {
    let text = "# TYPE g gauge\ng{a=\"b\",c=\"\"} 1.5 7\ng 2\n# TYPE c counter\nc 3 -1\n# TYPE u untyped\nu NaN 9\n";
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    text::decode(text.as_bytes(), &DecodeLimits::default(), &mut set).expect("a text");
    let mut body = Vec::new();
    encode(&set, &mut body);
    assert_eq!(as_text(&body).expect("our own body"), text);
}

#[test]
fn the_name_counts_among_the_labels() {
    let metric = |labels: usize| [label("a", "b").repeat(labels), field(5, &double(1, 1.0))].concat();
    let limits = DecodeLimits { labels_per_series: 3, ..DecodeLimits::default() };
    let (three, four) = (family("up", 3, &[metric(2)]), family("up", 3, &[metric(3)]));
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    assert_eq!(decode(&three, &limits, &mut set), Ok(()));
    assert_eq!(decode(&four, &limits, &mut set), Err(Error::Limit { what: "labels in one series", limit: 3 }));
}

/// A metric as clients send it.
fn plain(label_count: usize) -> Vec<u8> {
    [label("a", "b").repeat(label_count), field(2, &double(1, 1.5)), varint(6, 1_795_330_870_734)].concat()
}

#[test]
fn a_plain_metric_is_held_to_the_limits() {
    let check = |limits: DecodeLimits, expected: Result<(), Error>| {
        let arena = Arena::new();
        let body = family("g", 1, &[plain(1), plain(1)]);
        assert_eq!(decode(&body, &limits, &mut SeriesSet::new_in(&arena)), expected);
    };
    let (limits, over) = (DecodeLimits::default, |what, limit| Err(Error::Limit { what, limit }));
    // Each has two labels, of which one is its name.
    check(DecodeLimits { labels: 4, labels_per_series: 2, series: 2, ..limits() }, Ok(()));
    check(DecodeLimits { labels: 3, ..limits() }, over("labels", 3));
    check(DecodeLimits { labels_per_series: 1, ..limits() }, over("labels in one series", 1));
    check(DecodeLimits { series: 1, ..limits() }, over("series", 1));
    check(DecodeLimits { text_bytes: 40, ..limits() }, over("bytes in all labels", 40));
}

#[test]
fn families_of_any_size_are_read_again_as_they_were_written() {
    for (count, labels) in [(1, 0), (1, 1), (1, 30), (40, 10), (40_000, 10)] {
        let body = family("g", 1, &vec![plain(labels); count]);
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        decode(&body, &DecodeLimits::default(), &mut set).expect("a body");
        let mut out = Vec::new();
        encode(&set, &mut out);
        assert!(out == body, "{count} metrics of {labels} labels");
    }
}

#[test]
fn what_has_no_form_leaves_nothing() {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    set.push(&[Label::new(NAME_LABEL, "up")], MetricType::Gauge, Points::Absent);
    let mut out = b"before".to_vec();
    encode(&set, &mut out);
    assert_eq!(out, b"before");
}

#[test]
fn text_that_is_not_utf_8_is_named() {
    fn check(body: &[u8], expected: &str) {
        let error = as_text(body).expect_err(expected);
        assert_eq!(error.to_string(), format!("not valid protobuf: text that is not UTF-8 in {expected}"));
    }
    let raw = |name: &[u8], value: &[u8]| field(1, &[field(1, name), field(2, value)].concat());
    let gauge = field(2, &double(1, 1.0));
    let with = |label: Vec<u8>| family("up", 1, &[[self::label("x", "y"), label, gauge.clone()].concat()]);
    check(&with(raw(b"job", b"a\xff")), "the value of label \"job\" of metric \"up\"");
    check(&with(raw(b"j\xe9", b"a")), "the name of label \"j\\xe9\" of metric \"up\"");
    // Also in the form that is decoded as one run.
    let plain = [raw(b"job", b"a\xff"), gauge.clone(), varint(6, 1_700_000_000_000)].concat();
    check(&family("up", 1, &[plain]), "the value of label \"job\" of metric \"up\"");
    let exemplar = field(2, &raw(b"trace_id", b"\xff"));
    let counter = field(3, &[double(1, 1.0), exemplar].concat());
    check(&family("up", 0, &[counter]), "an exemplar of metric \"up\"");
    let family = |fields: &[Vec<u8>]| {
        let message = fields.concat();
        let mut out = Vec::new();
        put_varint(&mut out, message.len() as u64);
        [out, message].concat()
    };
    check(&family(&[field(1, b"u\xc3p"), field(4, &gauge)]), "the name of metric \"u\\xc3p\"");
    check(&family(&[field(1, b"up"), field(2, b"\xff")]), "the help or the unit of metric \"up\"");
    check(&family(&[field(2, b"\xff")]), "the help or the unit of a metric without a name");
    check(&family(&[field(4, &raw(b"job", b"\xff"))]), "the value of label \"job\" of a metric without a name");
}
