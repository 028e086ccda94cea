//! The messages of remote write 2.0 as a library defines them, and an independent conversion of them to 1.0.

use prost::Message;

use super::messages::{RemoteExemplar, RemoteHistogram, RemoteLabel, RemoteSample, TimeSeries, WriteRequest};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(string, repeated, tag = "4")]
    pub symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub timeseries: Vec<Series>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Series {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub histograms: Vec<Histogram>,
    #[prost(message, repeated, tag = "4")]
    pub exemplars: Vec<Exemplar>,
    #[prost(message, optional, tag = "5")]
    pub metadata: Option<Metadata>,
    #[prost(int64, tag = "6")]
    pub created_timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Sample {
    #[prost(double, tag = "1")]
    pub value: f64,
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
    #[prost(int64, tag = "3")]
    pub start_timestamp: i64,
}

/// A histogram of 1.0 and the additional field of 2.0: their encodings are concatenated.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Histogram {
    pub of_1_0: RemoteHistogram,
    pub start: Start,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Start {
    #[prost(int64, tag = "17")]
    pub start_timestamp: i64,
}

impl Message for Histogram {
    fn encode_raw(&self, buf: &mut impl prost::bytes::BufMut) {
        self.of_1_0.encode_raw(buf);
        self.start.encode_raw(buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: prost::encoding::WireType,
        buf: &mut impl prost::bytes::Buf,
        context: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        if tag == 17 {
            self.start.merge_field(tag, wire_type, buf, context)
        } else {
            self.of_1_0.merge_field(tag, wire_type, buf, context)
        }
    }

    fn encoded_len(&self) -> usize {
        self.of_1_0.encoded_len() + self.start.encoded_len()
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Exemplar {
    #[prost(uint32, repeated, tag = "1")]
    pub labels_refs: Vec<u32>,
    #[prost(double, tag = "2")]
    pub value: f64,
    #[prost(int64, tag = "3")]
    pub timestamp: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Metadata {
    #[prost(int32, tag = "1")]
    pub r#type: i32,
    #[prost(uint32, tag = "3")]
    pub help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub unit_ref: u32,
}

impl Request {
    /// The request as 1.0; `None` where symbols or references are not valid. What 1.0 cannot express is left out, also series
    /// that have nothing else.
    pub(crate) fn in_1_0(&self) -> Option<WriteRequest> {
        if self.symbols.first().is_some_and(|first| !first.is_empty()) {
            return None;
        }
        let labels = |references: &[u32]| {
            let (pairs, rest) = references.as_chunks::<2>();
            let symbol = |reference: u32| self.symbols.get(reference as usize).cloned();
            let label = |[name, value]: &[u32; 2]| Some(RemoteLabel { name: symbol(*name)?, value: symbol(*value)? });
            rest.is_empty().then(|| pairs.iter().map(label).collect::<Option<Vec<_>>>()).flatten()
        };
        let mut timeseries = Vec::new();
        for series in &self.timeseries {
            if let Some(metadata) = series.metadata {
                self.symbols.get(metadata.help_ref as usize)?;
                self.symbols.get(metadata.unit_ref as usize)?;
            }
            let exemplar = |exemplar: &Exemplar| {
                let labels = labels(&exemplar.labels_refs)?;
                Some(RemoteExemplar { labels, value: exemplar.value, timestamp: exemplar.timestamp })
            };
            let sample = |sample: &Sample| RemoteSample { value: sample.value, timestamp: sample.timestamp };
            let series = TimeSeries {
                labels: labels(&series.labels_refs)?,
                samples: series.samples.iter().map(sample).collect(),
                exemplars: series.exemplars.iter().map(exemplar).collect::<Option<_>>()?,
                histograms: series.histograms.iter().map(|histogram| histogram.of_1_0.clone()).collect(),
            };
            if !(series.samples.is_empty() && series.exemplars.is_empty() && series.histograms.is_empty()) {
                timeseries.push(series);
            }
        }
        Some(WriteRequest { timeseries, metadata: Vec::new() })
    }
}
