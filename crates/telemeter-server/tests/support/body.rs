//! Bodies, written and read with other libraries than the server's own.
//!
//! Tests write a series as `up,_id=c1 2@-1000 3@0`: its labels in the order of the wire, the bare word being `__name__`,
//! then each sample's value and its distance to [`NOW_MS`](super::NOW_MS) in milliseconds; `2@` is a sample without a
//! time.

use std::io::Write as _;

use prost::Message;

use super::NOW_MS;

pub(crate) const TEXT: &str = "text/plain; version=0.0.4";
pub(crate) const DELIMITED: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(crate) timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) metadata: Vec<Metadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) exemplars: Vec<Exemplar>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) histograms: Vec<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Label {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sample {
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub(crate) value: f64,
    #[prost(int64, tag = "3")]
    pub(crate) timestamp: i64,
}

/// A native histogram: an integer one, a float one, or one with custom buckets.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Histogram {
    #[prost(uint64, tag = "1")]
    pub(crate) count: u64,
    #[prost(double, optional, tag = "2")]
    pub(crate) count_float: Option<f64>,
    #[prost(double, tag = "3")]
    pub(crate) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(crate) schema: i32,
    #[prost(double, tag = "5")]
    pub(crate) zero_threshold: f64,
    #[prost(uint64, tag = "6")]
    pub(crate) zero_count: u64,
    #[prost(double, optional, tag = "7")]
    pub(crate) zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    pub(crate) negative_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "9")]
    pub(crate) negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub(crate) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub(crate) positive_spans: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "12")]
    pub(crate) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(crate) positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub(crate) reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub(crate) timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub(crate) custom_values: Vec<f64>,
    /// 2.0 alone has it.
    #[prost(int64, tag = "17")]
    pub(crate) start_timestamp: i64,
}

/// A run of buckets of a native histogram.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct BucketSpan {
    #[prost(sint32, tag = "1")]
    pub(crate) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(crate) length: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metadata {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(string, tag = "2")]
    pub(crate) family: String,
    #[prost(string, tag = "4")]
    pub(crate) help: String,
    #[prost(string, tag = "5")]
    pub(crate) unit: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricFamily {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(int32, optional, tag = "3")]
    pub(crate) kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub(crate) labels: Vec<Label>,
    #[prost(message, optional, tag = "5")]
    pub(crate) untyped: Option<Untyped>,
    #[prost(int64, optional, tag = "6")]
    pub(crate) timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Untyped {
    #[prost(double, optional, tag = "1")]
    pub(crate) value: Option<f64>,
}

struct Parsed {
    labels: Vec<Label>,
    samples: Vec<(f64, Option<i64>)>,
}

fn parse(series: &str) -> Parsed {
    let (labels, samples) = series.split_once(' ').unwrap_or((series, ""));
    let label = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or(("__name__", text));
        Label { name: name.to_owned(), value: value.to_owned() }
    };
    let sample = |text: &str| {
        let (value, offset) = text.split_once('@').expect("value@offset");
        let time = (!offset.is_empty()).then(|| NOW_MS + offset.parse::<i64>().expect("milliseconds"));
        (value.parse().expect("a value"), time)
    };
    Parsed {
        labels: labels.split(',').filter(|text| !text.is_empty()).map(label).collect(),
        samples: samples.split_whitespace().map(sample).collect(),
    }
}

/// Series as text exposition; one line for each sample.
pub(crate) fn text(series: &[&str]) -> Vec<u8> {
    let mut out = String::new();
    for series in series {
        let Parsed { labels, samples } = parse(series);
        let name = labels.iter().find(|label| label.name == "__name__").map_or("", |label| &label.value);
        let others = labels.iter().filter(|label| label.name != "__name__");
        let others: Vec<_> = others.map(|label| format!("{}=\"{}\"", label.name, label.value)).collect();
        for (value, time) in samples {
            let time = time.map(|time| format!(" {time}")).unwrap_or_default();
            out += &format!("{name}{{{}}} {value}{time}\n", others.join(","));
        }
    }
    out.into_bytes()
}

/// Series as delimited protobuf; one family for each sample.
pub(crate) fn delimited(series: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for series in series {
        let Parsed { mut labels, samples } = parse(series);
        let at = labels.iter().position(|label| label.name == "__name__").expect("a name");
        let name = labels.remove(at).value;
        for (value, timestamp_ms) in samples {
            let untyped = Some(Untyped { value: Some(value) });
            let metrics = vec![Metric { labels: labels.clone(), untyped, timestamp_ms }];
            let family = MetricFamily { name: name.clone(), kind: Some(3), metrics };
            family.encode_length_delimited(&mut out).expect("room");
        }
    }
    out
}

/// Series as one remote-write message.
pub(crate) fn write_request(series: &[&str]) -> Vec<u8> {
    let timeseries = series.iter().map(|series| time_series(series)).collect();
    WriteRequest { timeseries, metadata: Vec::new() }.encode_to_vec()
}

pub(crate) fn time_series(series: &str) -> TimeSeries {
    let Parsed { labels, samples } = parse(series);
    let samples = samples.into_iter().map(|(value, time)| Sample { value, timestamp: time.unwrap_or(0) }).collect();
    TimeSeries { labels, samples, ..TimeSeries::default() }
}

pub(crate) fn block(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("a block")
}

pub(crate) fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(bytes).expect("room");
    encoder.into_inner().expect("room")
}

/// The message in a block.
pub(crate) fn plain_block(block: &[u8]) -> Vec<u8> {
    let mut plain = vec![0; snap::raw::decompress_len(block).expect("a block")];
    snap::raw::Decoder::new().decompress(block, &mut plain).expect("a block");
    plain
}

/// The series in a block.
pub(crate) fn of_block(block: &[u8]) -> Vec<TimeSeries> {
    WriteRequest::decode(&*plain_block(block)).expect("a WriteRequest").timeseries
}

/// Series as tests write them.
pub(crate) fn shown(series: &[TimeSeries]) -> Vec<String> {
    let one = |series: &TimeSeries| {
        let label = |label: &Label| match &*label.name {
            "__name__" => label.value.clone(),
            name => format!("{name}={}", label.value),
        };
        let labels: Vec<_> = series.labels.iter().map(label).collect();
        let sample = |sample: &Sample| format!(" {}@{}", sample.value, sample.timestamp - NOW_MS);
        labels.join(",") + &series.samples.iter().map(sample).collect::<String>()
    };
    series.iter().map(one).collect()
}
