//! The messages as a library defines them, and an independent conversion of them into series.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub metadata: Vec<MetricMetadata>,
}

impl WriteRequest {
    /// As a sender has to send it: samples and histograms of a series in the order of their times.
    pub(crate) fn sorted(mut self) -> Self {
        for series in &mut self.timeseries {
            series.samples.sort_by_key(|sample| sample.timestamp);
            series.histograms.sort_by_key(|histogram| histogram.timestamp);
        }
        self
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<RemoteLabel>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<RemoteSample>,
    #[prost(message, repeated, tag = "3")]
    pub exemplars: Vec<RemoteExemplar>,
    #[prost(message, repeated, tag = "4")]
    pub histograms: Vec<RemoteHistogram>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RemoteLabel {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct RemoteSample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RemoteExemplar {
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<RemoteLabel>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RemoteHistogram {
    #[prost(oneof = "remote_histogram::Count", tags = "1, 2")]
    pub count: Option<remote_histogram::Count>,
    #[prost(double, tag = "3")]
    pub sum: f64,
    #[prost(sint32, tag = "4")]
    pub schema: i32,
    #[prost(double, tag = "5")]
    pub zero_threshold: f64,
    #[prost(oneof = "remote_histogram::ZeroCount", tags = "6, 7")]
    pub zero_count: Option<remote_histogram::ZeroCount>,
    #[prost(message, repeated, tag = "8")]
    pub negative_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "9")]
    pub negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    pub positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub positive_counts: Vec<f64>,
    #[prost(int32, tag = "14")]
    pub reset_hint: i32,
    #[prost(int64, tag = "15")]
    pub timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub custom_values: Vec<f64>,
}

pub(crate) mod remote_histogram {
    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub(crate) enum Count {
        #[prost(uint64, tag = "1")]
        CountInt(u64),
        #[prost(double, tag = "2")]
        CountFloat(f64),
    }
    #[derive(Clone, Copy, PartialEq, prost::Oneof)]
    pub(crate) enum ZeroCount {
        #[prost(uint64, tag = "6")]
        ZeroCountInt(u64),
        #[prost(double, tag = "7")]
        ZeroCountFloat(f64),
    }
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Span {
    #[prost(sint32, tag = "1")]
    pub offset: i32,
    #[prost(uint32, tag = "2")]
    pub length: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricMetadata {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(string, tag = "2")]
    pub metric_family_name: String,
    #[prost(string, tag = "4")]
    pub help: String,
    #[prost(string, tag = "5")]
    pub unit: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub help: Option<String>,
    #[prost(int32, optional, tag = "3")]
    pub r#type: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub metric: Vec<Metric>,
    #[prost(string, optional, tag = "5")]
    pub unit: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    pub counter: Option<Counter>,
    #[prost(message, optional, tag = "4")]
    pub summary: Option<Summary>,
    #[prost(message, optional, tag = "5")]
    pub untyped: Option<Gauge>,
    #[prost(message, optional, tag = "7")]
    pub histogram: Option<Histogram>,
    #[prost(int64, optional, tag = "6")]
    pub timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct LabelPair {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Gauge {
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Counter {
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
    #[prost(message, optional, tag = "2")]
    pub exemplar: Option<Exemplar>,
    #[prost(message, optional, tag = "3")]
    pub created_timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    #[prost(double, optional, tag = "2")]
    pub value: Option<f64>,
    #[prost(message, optional, tag = "3")]
    pub timestamp: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Summary {
    #[prost(uint64, optional, tag = "1")]
    pub sample_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub quantile: Vec<Quantile>,
    #[prost(message, optional, tag = "4")]
    pub created_timestamp: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Quantile {
    #[prost(double, optional, tag = "1")]
    pub quantile: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub sample_count: Option<u64>,
    #[prost(double, optional, tag = "4")]
    pub sample_count_float: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub sample_sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    pub schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    pub zero_count: Option<u64>,
    #[prost(double, optional, tag = "8")]
    pub zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "9")]
    pub negative_span: Vec<Span>,
    #[prost(sint64, repeated, packed = "false", tag = "10")]
    pub negative_delta: Vec<i64>,
    #[prost(double, repeated, packed = "false", tag = "11")]
    pub negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    pub positive_span: Vec<Span>,
    #[prost(sint64, repeated, packed = "false", tag = "13")]
    pub positive_delta: Vec<i64>,
    #[prost(double, repeated, packed = "false", tag = "14")]
    pub positive_count: Vec<f64>,
    #[prost(message, optional, tag = "15")]
    pub created_timestamp: Option<Timestamp>,
    #[prost(message, repeated, tag = "16")]
    pub exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    pub cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "4")]
    pub cumulative_count_float: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub upper_bound: Option<f64>,
    #[prost(message, optional, tag = "3")]
    pub exemplar: Option<Exemplar>,
}

impl Histogram {
    fn is_native(&self) -> bool {
        !self.positive_span.is_empty()
            || !self.negative_span.is_empty()
            || self.zero_threshold() > 0.0
            || self.zero_count() > 0
    }

    /// The remote-write histogram that Prometheus makes of it.
    fn in_remote_write(&self, is_gauge: bool, timestamp_ms: Option<i64>) -> RemoteHistogram {
        use remote_histogram::{Count, ZeroCount};
        let is_float = self.sample_count_float() > 0.0 || self.zero_count_float() > 0.0;
        let deltas = |deltas: &Vec<i64>| if is_float { Vec::new() } else { deltas.clone() };
        let counts = |counts: &Vec<f64>| if is_float { counts.clone() } else { Vec::new() };
        RemoteHistogram {
            count: Some(if is_float {
                Count::CountFloat(self.sample_count_float())
            } else {
                Count::CountInt(self.sample_count())
            }),
            sum: self.sample_sum(),
            schema: self.schema(),
            zero_threshold: self.zero_threshold(),
            zero_count: Some(if is_float {
                ZeroCount::ZeroCountFloat(self.zero_count_float())
            } else {
                ZeroCount::ZeroCountInt(self.zero_count())
            }),
            negative_spans: self.negative_span.clone(),
            negative_deltas: deltas(&self.negative_delta),
            negative_counts: counts(&self.negative_count),
            positive_spans: self.positive_span.clone(),
            positive_deltas: deltas(&self.positive_delta),
            positive_counts: counts(&self.positive_count),
            reset_hint: if is_gauge { 3 } else { 0 },
            timestamp: timestamp_ms.unwrap_or(0),
            custom_values: Vec::new(),
        }
    }
}

/// A series in the form in which both decoders are compared.
#[derive(Debug, PartialEq)]
pub(crate) struct Flat {
    pub labels: Vec<(String, String)>,
    pub kind: i32,
    pub sample: Option<(u64, Option<i64>)>,
    /// A native histogram of remote write, encoded, so that NaN is equal to itself.
    pub histogram: Option<Vec<u8>>,
}

const UNTYPED: i32 = 3;

/// The series of a family, in order.
pub(crate) fn series_of(family: &MetricFamily) -> Vec<Flat> {
    family.metric.iter().flat_map(|metric| series_of_metric(family, metric)).collect()
}

fn series_of_metric(family: &MetricFamily, metric: &Metric) -> Vec<Flat> {
    let kind = family.r#type.unwrap_or(0);
    let labels = |suffix: &str, bound: Option<(&str, f64)>| {
        let name = family.name.iter().map(|name| ("__name__".to_owned(), format!("{name}{suffix}")));
        let own = metric.label.iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned()));
        let bound = bound.map(|(name, bound)| {
            let mut text = Vec::new();
            telemeter_wire::exposition::put_float(&mut text, bound);
            (name.to_owned(), String::from_utf8(text).expect("ASCII"))
        });
        name.chain(own).chain(bound).collect::<Vec<_>>()
    };
    let flat = |suffix: &str, bound: Option<(&str, f64)>, value: f64| Flat {
        labels: labels(suffix, bound),
        kind: UNTYPED,
        sample: Some((value.to_bits(), metric.timestamp_ms)),
        histogram: None,
    };
    let absent = || vec![Flat { labels: labels("", None), kind, sample: None, histogram: None }];
    let held = [
        metric.gauge.is_some(),
        metric.counter.is_some(),
        metric.summary.is_some(),
        metric.untyped.is_some(),
        metric.histogram.is_some(),
    ];
    if held.iter().filter(|held| **held).count() != 1 {
        return absent();
    }
    let value = match kind {
        0 => metric.counter.as_ref().and_then(|counter| counter.value),
        1 => metric.gauge.and_then(|gauge| gauge.value),
        3 => metric.untyped.and_then(|untyped| untyped.value),
        2 => {
            let Some(summary) = &metric.summary else { return absent() };
            let quantiles = summary.quantile.iter();
            let mut all: Vec<_> =
                quantiles.map(|one| flat("", Some(("quantile", one.quantile())), one.value())).collect();
            all.push(flat("_sum", None, summary.sample_sum()));
            all.push(flat("_count", None, summary.sample_count() as f64));
            return all;
        }
        _ => {
            let Some(histogram) = &metric.histogram else { return absent() };
            if histogram.is_native() {
                let histogram = Some(histogram.in_remote_write(kind == 5, metric.timestamp_ms).encode_to_vec());
                return vec![Flat { labels: labels("", None), kind, sample: None, histogram }];
            }
            let count = histogram.sample_count_float.unwrap_or(histogram.sample_count() as f64);
            let buckets = histogram.bucket.iter().map(|bucket| {
                let count = bucket.cumulative_count_float.unwrap_or(bucket.cumulative_count() as f64);
                flat("_bucket", Some(("le", bucket.upper_bound())), count)
            });
            let mut all: Vec<_> = buckets.collect();
            if !all.is_empty() && histogram.bucket.iter().all(|bucket| bucket.upper_bound() != f64::INFINITY) {
                all.push(flat("_bucket", Some(("le", f64::INFINITY)), count));
            }
            all.push(flat("_sum", None, histogram.sample_sum()));
            all.push(flat("_count", None, count));
            return all;
        }
    };
    match value {
        Some(value) => {
            let sample = Some((value.to_bits(), metric.timestamp_ms));
            vec![Flat { labels: labels("", None), kind, sample, histogram: None }]
        }
        None => absent(),
    }
}
