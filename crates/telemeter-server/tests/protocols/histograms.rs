//! What `/upload` alone has: families with types. The rows of the table about histograms and summaries, and the cases of families
//! for other rows.

use prost::Message as _;

use crate::{
    case::{CellCase, Row, Sent, UNKNOWN, UPLOAD, case, metric, refused, remote, series},
    messages::{
        Bucket, Counter, Exemplar, Gauge, Histogram, LabelPair, Metric, MetricFamily, Quantile, Span, Summary,
        Timestamp,
    },
    support::{
        NOW_MS,
        body::{self, BucketSpan},
    },
};

const COUNTER: i32 = 0;
const GAUGE: i32 = 1;
const SUMMARY: i32 = 2;
const UNTYPED: i32 = 3;
const HISTOGRAM: i32 = 4;
const GAUGE_HISTOGRAM: i32 = 5;

pub(crate) fn rows() -> [Row; 2] {
    [native_histograms(), classic()]
}

fn family(name: &str, kind: i32, metric: Metric) -> MetricFamily {
    MetricFamily { name: Some(name.to_owned()), r#type: Some(kind), metric: vec![metric], ..MetricFamily::default() }
}

fn of_histogram(histogram: Histogram) -> Metric {
    Metric { histogram: Some(histogram), ..metric("_id=c1") }
}

fn upload(families: &[MetricFamily], expected: &[&str]) -> CellCase {
    case(UPLOAD, families, expected)
}

/// An integer histogram: 2 in the zero bucket; 3, 1 and none above it, after the first a bucket that is left out.
fn integer() -> Histogram {
    Histogram {
        sample_count: Some(6),
        sample_sum: Some(12.5),
        schema: Some(3),
        zero_threshold: Some(0.001),
        zero_count: Some(2),
        positive_span: vec![Span { offset: 0, length: 1 }, Span { offset: 1, length: 2 }],
        positive_delta: vec![3, -2, -1],
        ..Histogram::default()
    }
}

const INTEGER: &str = "x,_id=c1 h(6 sum=12.5 schema=3 zero=2/0.001 +[0:1 1:2][3, -2, -1][])@0";

/// A float histogram with one negative bucket.
fn float() -> Histogram {
    Histogram {
        sample_count_float: Some(1.5),
        sample_sum: Some(-1.5),
        schema: Some(-1),
        negative_span: vec![Span { offset: -2, length: 1 }],
        negative_count: vec![1.5],
        ..Histogram::default()
    }
}

const FLOAT: &str = "x,_id=c1 h(float 1.5 sum=-1.5 schema=-1 -[-2:1][][1.5])@0";

/// Classic buckets: 2 up to 0.5, 3 in all.
fn buckets() -> Vec<Bucket> {
    let bucket = |count, bound| Bucket { cumulative_count: Some(count), upper_bound: Some(bound), ..Bucket::default() };
    vec![bucket(2, 0.5), bucket(3, f64::INFINITY)]
}

fn native_histograms() -> Row {
    let native = |histogram: Histogram| family("x", HISTOGRAM, of_histogram(histogram));
    let mut cases = vec![
        upload(&[native(integer())], &[INTEGER]),
        upload(&[native(float())], &[FLOAT]),
        // "Histograms of /upload": with the reset hint of its family.
        upload(
            &[family("x", GAUGE_HISTOGRAM, of_histogram(float()))],
            &["x,_id=c1 h(float 1.5 sum=-1.5 schema=-1 -[-2:1][][1.5] hint=3)@0"],
        ),
        // Classic buckets beside it are left out.
        upload(&[native(Histogram { bucket: buckets(), ..integer() })], &[INTEGER]),
        // What makes one native: an empty span, a zero threshold, a zero bucket.
        upload(
            &[native(Histogram { positive_span: vec![Span { offset: 0, length: 0 }], ..Histogram::default() })],
            &["x,_id=c1 h(0 sum=0 schema=0 +[0:0][][])@0"],
        ),
        upload(
            &[native(Histogram { zero_threshold: Some(0.5), ..Histogram::default() })],
            &["x,_id=c1 h(0 sum=0 schema=0 zero=0/0.5)@0"],
        ),
        upload(
            &[native(Histogram { sample_count: Some(2), zero_count: Some(2), ..Histogram::default() })],
            &["x,_id=c1 h(2 sum=0 schema=0 zero=2/0)@0"],
        ),
        // Float by its zero bucket.
        upload(
            &[native(Histogram { zero_threshold: Some(0.5), zero_count_float: Some(1.5), ..Histogram::default() })],
            &["x,_id=c1 h(float 0 sum=0 schema=0 zero=1.5/0.5)@0"],
        ),
        // The newest of one series.
        upload(
            &[
                family("x", HISTOGRAM, Metric { timestamp_ms: Some(NOW_MS - 5), ..of_histogram(float()) }),
                native(integer()),
            ],
            &[INTEGER],
        ),
    ];
    for (histogram, reason) in [
        (Histogram { schema: Some(-53), ..integer() }, "metric \"x\" is not valid: its schema is -53"),
        (Histogram { schema: Some(9), ..integer() }, "its schema is 9, which is not within -4 and 8"),
        (Histogram { positive_delta: vec![3, -2], ..integer() }, "its positive spans need 3 buckets, and it has 2"),
        (
            Histogram {
                positive_span: vec![Span { offset: 0, length: 1 }, Span { offset: -1, length: 2 }],
                ..integer()
            },
            "its positive span 2 has the negative offset -1",
        ),
        (Histogram { positive_delta: vec![3, -4, 1], ..integer() }, "a count that is below zero"),
        (Histogram { sample_count: Some(7), ..integer() }, "its count is 7, and its buckets hold 6 observations"),
    ] {
        cases.push(refused(UPLOAD, &[native(histogram)][..], reason));
    }
    let spans = || vec![BucketSpan { offset: -1, length: 2 }];
    let sent = [
        body::Histogram {
            count: 4,
            sum: 2.5,
            schema: 3,
            zero_threshold: 0.001,
            zero_count: 1,
            positive_spans: spans(),
            positive_deltas: vec![1, 1],
            reset_hint: 2,
            timestamp: NOW_MS,
            ..body::Histogram::default()
        },
        body::Histogram {
            count_float: Some(3.5),
            schema: 3,
            zero_count_float: Some(0.5),
            negative_spans: spans(),
            negative_counts: vec![1.5, 1.5],
            timestamp: NOW_MS,
            ..body::Histogram::default()
        },
        body::Histogram {
            count: 3,
            schema: -53,
            positive_spans: spans(),
            positive_deltas: vec![1, 1],
            custom_values: vec![0.1, 5.0],
            timestamp: NOW_MS,
            ..body::Histogram::default()
        },
    ];
    let expected = [
        "x,_id=c1 h(4 sum=2.5 schema=3 zero=1/0.001 +[-1:2][1, 1][] hint=2)@0",
        "x,_id=c1 h(float 3.5 sum=0 schema=3 zero=0.5/0 -[-1:2][][1.5, 1.5])@0",
        "x,_id=c1 h(3 sum=0 schema=-53 +[-1:2][1, 1][] custom=[0.1, 5.0])@0",
    ];
    for (histogram, expected) in sent.into_iter().zip(expected) {
        cases.extend(remote(&[series("x,_id=c1", |series| series.histograms = vec![histogram])], &[expected]));
    }
    let below = "integer and float kept, custom buckets 400 ([below](#histograms-of-upload))";
    Row {
        part: "native histograms: integer and float, custom buckets",
        cells: [below, below, "kept", "kept", "kept", "kept"],
        cases,
    }
}

fn classic_histogram() -> Histogram {
    Histogram { sample_count: Some(3), sample_sum: Some(1.5), bucket: buckets(), ..Histogram::default() }
}

fn summary() -> Summary {
    Summary {
        sample_count: Some(4),
        sample_sum: Some(2.5),
        quantile: vec![Quantile { quantile: Some(0.5), value: Some(0.25) }],
        created_timestamp: None,
    }
}

const CLASSIC: [&str; 4] =
    ["x_bucket,_id=c1,le=0.5 2@0", "x_bucket,_id=c1,le=+Inf 3@0", "x_sum,_id=c1 1.5@0", "x_count,_id=c1 3@0"];
const OF_SUMMARY: [&str; 3] = ["x,_id=c1,quantile=0.5 0.25@0", "x_sum,_id=c1 2.5@0", "x_count,_id=c1 4@0"];

fn classic() -> Row {
    let in_text = |kind: &str, lines: &[&str]| {
        let line = |line: &&str| format!("{line} {NOW_MS}\n");
        format!("# TYPE x {kind}\n") + &lines.iter().map(line).collect::<String>()
    };
    let histogram = [
        "x_bucket{_id=\"c1\",le=\"0.5\"} 2",
        "x_bucket{_id=\"c1\",le=\"+Inf\"} 3",
        "x_sum{_id=\"c1\"} 1.5",
        "x_count{_id=\"c1\"} 3",
    ];
    let quantiles = ["x{_id=\"c1\",quantile=\"0.5\"} 0.25", "x_sum{_id=\"c1\"} 2.5", "x_count{_id=\"c1\"} 4"];
    let of_summary = Metric { summary: Some(summary()), ..metric("_id=c1") };
    let float = |bucket: Bucket| Bucket { cumulative_count_float: Some(0.5), cumulative_count: None, ..bucket };
    let float = Histogram {
        sample_count_float: Some(0.5),
        sample_count: None,
        bucket: buckets().into_iter().map(float).collect(),
        ..classic_histogram()
    };
    let cases = vec![
        upload(&[family("x", HISTOGRAM, of_histogram(classic_histogram()))], &CLASSIC),
        upload(&[family("x", GAUGE_HISTOGRAM, of_histogram(classic_histogram()))], &CLASSIC),
        upload(
            &[family("x", HISTOGRAM, of_histogram(float))],
            &[
                "x_bucket,_id=c1,le=0.5 0.5@0",
                "x_bucket,_id=c1,le=+Inf 0.5@0",
                "x_sum,_id=c1 1.5@0",
                "x_count,_id=c1 0.5@0",
            ],
        ),
        upload(&[family("x", SUMMARY, of_summary)], &OF_SUMMARY),
        case(UPLOAD, in_text("histogram", &histogram), &CLASSIC),
        case(UPLOAD, in_text("summary", &quantiles), &OF_SUMMARY),
    ];
    let below = "series, as the text format writes them";
    Row { part: "classic histograms, summaries", cells: [below, below, "–", "–", "–", "–"], cases }
}

/// A native histogram and a sample of one series: the newest is sent.
pub(crate) fn with_a_sample() -> Vec<CellCase> {
    let sample = |offset: i64| {
        let gauge = Some(Gauge { value: Some(1.0) });
        family("x", UNTYPED, Metric { untyped: gauge, timestamp_ms: Some(NOW_MS + offset), ..metric("_id=c1") })
    };
    let histogram = || family("x", HISTOGRAM, of_histogram(integer()));
    vec![upload(&[sample(-5), histogram()], &[INTEGER]), upload(&[histogram(), sample(5)], &["x,_id=c1 1@0"])]
}

fn exemplar() -> Exemplar {
    let label = vec![LabelPair { name: Some("trace_id".to_owned()), value: Some("x".to_owned()) }];
    Exemplar { label, value: Some(0.5), timestamp: Some(created()) }
}

fn created() -> Timestamp {
    Timestamp { seconds: NOW_MS / 1000 - 60, nanos: 0 }
}

/// A counter, a classic and a native histogram, each with exemplars; text has none.
pub(crate) fn with_exemplars() -> Vec<CellCase> {
    let counter = Counter { value: Some(1.0), exemplar: Some(exemplar()), created_timestamp: None };
    let with = |bucket: Bucket| Bucket { exemplar: Some(exemplar()), ..bucket };
    let classic = Histogram { bucket: buckets().into_iter().map(with).collect(), ..classic_histogram() };
    let native = Histogram { exemplars: vec![exemplar(), exemplar()], ..integer() };
    vec![
        upload(&[family("x", COUNTER, Metric { counter: Some(counter), ..metric("_id=c1") })], &["x,_id=c1 1@0"]),
        upload(&[family("x", HISTOGRAM, of_histogram(classic))], &CLASSIC),
        upload(&[family("x", HISTOGRAM, of_histogram(native))], &[INTEGER]),
    ]
}

/// A counter, a summary, a classic and a native histogram, each with its start.
pub(crate) fn with_start_timestamps() -> Vec<CellCase> {
    let created_timestamp = Some(created());
    let counter = Counter { value: Some(1.0), exemplar: None, created_timestamp };
    let summary = Summary { created_timestamp, ..summary() };
    vec![
        upload(&[family("x", COUNTER, Metric { counter: Some(counter), ..metric("_id=c1") })], &["x,_id=c1 1@0"]),
        upload(&[family("x", SUMMARY, Metric { summary: Some(summary), ..metric("_id=c1") })], &OF_SUMMARY),
        upload(
            &[family("x", HISTOGRAM, of_histogram(Histogram { created_timestamp, ..classic_histogram() }))],
            &CLASSIC,
        ),
        upload(&[family("x", HISTOGRAM, of_histogram(Histogram { created_timestamp, ..integer() }))], &[INTEGER]),
    ]
}

/// A gauge with a help and a unit.
pub(crate) fn with_help() -> CellCase {
    let gauge = Metric { gauge: Some(Gauge { value: Some(1.0) }), ..metric("_id=c1") };
    let (help, unit) = (Some("Up.".to_owned()), Some("s".to_owned()));
    upload(&[MetricFamily { help, unit, ..family("up", GAUGE, gauge) }], &["up,_id=c1 1@0"])
}

/// A gauge with an unknown field in its metric, and one in its family.
pub(crate) fn with_an_unknown_field() -> CellCase {
    let gauge = Metric { gauge: Some(Gauge { value: Some(1.0) }), ..metric("_id=c1") };
    let mut message = MetricFamily { metric: Vec::new(), ..family("up", GAUGE, Metric::default()) }.encode_to_vec();
    let metric = [&gauge.encode_to_vec()[..], &UNKNOWN].concat();
    message.extend([4 << 3 | 2, u8::try_from(metric.len()).unwrap()]);
    message.extend([&metric[..], &UNKNOWN].concat());
    let body = [&[u8::try_from(message.len()).unwrap()], &message[..]].concat();
    case(UPLOAD, Sent::Delimited(body), &["up,_id=c1 1@0"])
}
