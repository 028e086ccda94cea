//! Bodies of remote write 2.0, written with another library than the server's own: `io.prometheus.write.v2`.

use prost::Message;

use super::body::{self, Label, TimeSeries};

pub(crate) const CONTENT_TYPE: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(string, repeated, tag = "4")]
    pub(crate) symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) timeseries: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Series {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) histograms: Vec<body::Histogram>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) exemplars: Vec<Exemplar>,
    #[prost(message, optional, tag = "5")]
    pub(crate) metadata: Option<Metadata>,
    /// What the specification had before samples and histograms had a start timestamp.
    #[prost(int64, tag = "6")]
    pub(crate) created_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sample {
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
    #[prost(int64, tag = "3")]
    pub(crate) start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exemplar {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub(crate) value: f64,
    #[prost(int64, tag = "3")]
    pub(crate) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Metadata {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(uint32, tag = "3")]
    pub(crate) help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) unit_ref: u32,
}

impl Request {
    /// Without series; the first symbol is there.
    pub(crate) fn new() -> Self {
        Self { symbols: vec![String::new()], timeseries: Vec::new() }
    }

    /// Of these series, as [`body`] writes them.
    pub(crate) fn of(series: &[&str]) -> Self {
        let mut request = Self::new();
        series.iter().for_each(|series| request.push(&body::time_series(series)));
        request
    }

    /// Adds what a series of 1.0 holds.
    pub(crate) fn push(&mut self, series: &TimeSeries) {
        let labels_refs = self.references(&series.labels);
        let sample =
            |sample: &body::Sample| Sample { value: sample.value, timestamp: sample.timestamp, start_timestamp: 0 };
        let exemplars = series.exemplars.iter();
        let exemplars = exemplars.map(|exemplar| Exemplar {
            labels_refs: self.references(&exemplar.labels),
            value: exemplar.value,
            timestamp: exemplar.timestamp,
        });
        let exemplars = exemplars.collect();
        self.timeseries.push(Series {
            labels_refs,
            samples: series.samples.iter().map(sample).collect(),
            histograms: series.histograms.clone(),
            exemplars,
            metadata: None,
            created_timestamp: 0,
        });
    }

    /// The place of a symbol, which is added where it is new.
    pub(crate) fn symbol(&mut self, text: &str) -> u32 {
        let at = self.symbols.iter().position(|symbol| symbol == text).unwrap_or_else(|| {
            self.symbols.push(text.to_owned());
            self.symbols.len() - 1
        });
        u32::try_from(at).expect("few symbols")
    }

    fn references(&mut self, labels: &[Label]) -> Vec<u32> {
        labels.iter().flat_map(|label| [self.symbol(&label.name), self.symbol(&label.value)]).collect()
    }

    /// As the body of a request.
    pub(crate) fn block(&self) -> Vec<u8> {
        body::block(&self.encode_to_vec())
    }
}
