//! Decoded series, the same for uploads and remote writes: labels borrow from the request's body.
//!
//! A [`SeriesSet`] is a list of series. The labels of all series are in one `Vec`, and a series has a range of it. Text that
//! is not in the body (an unescaped value, a hash) is put into the [`Arena`]. An `Arena` is used again for the next request,
//! so that in the steady state a request of any size makes no allocation here.

mod arena;
mod change;
mod entry;
mod float_samples;
mod metadata;
mod set;

use crate::{
    exposition::native_histogram::{HistogramOutline, NativeHistogram},
    protobuf,
};

pub use self::{
    arena::Arena, change::SeriesMut, float_samples::FloatSamples, metadata::FamilyMetadata, set::SeriesSet,
};
pub(crate) use self::{float_samples::decode_sample, metadata::family_of};

/// The label that holds a series' metric name.
pub const NAME_LABEL: &str = "__name__";

/// A label's name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<'a> {
    /// The name; `__name__` for the metric name.
    pub name: &'a str,
    /// The value.
    pub value: &'a str,
}

impl<'a> Label<'a> {
    /// A label with this name and value.
    #[must_use]
    pub const fn new(name: &'a str, value: &'a str) -> Self {
        Self { name, value }
    }
}

/// The type of a metric family, numbered as in `io.prometheus.client.MetricType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MetricType {
    /// Only ever grows.
    Counter = 0,
    /// Goes up and down.
    Gauge = 1,
    /// Quantiles, a sum and a count.
    Summary = 2,
    /// No declared type: the type in responses of `/federate` and in remote write.
    #[default]
    Untyped = 3,
    /// Buckets, a sum and a count.
    Histogram = 4,
    /// As a histogram, and its buckets may shrink.
    GaugeHistogram = 5,
}

/// A sample: one value at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The value; any float, NaN included.
    pub value: f64,
    /// The time in milliseconds since 1970; `None` where the sender gave none.
    pub timestamp_ms: Option<i64>,
}

/// The samples or histograms of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Points<'a> {
    /// The single sample of a series in an exposition format.
    Sample(Sample),
    /// The single native histogram of a series in an exposition format. It is a gauge if the type of its family is.
    Histogram(NativeHistogram<'a>),
    /// The encoded fields of a remote-write series.
    Encoded(Encoded<'a>),
    /// None: the metric has no value of its family's type.
    Absent,
}

impl Points<'_> {
    /// The newest time of all points, in milliseconds since 1970; `None` where no point has a time.
    #[must_use]
    #[inline]
    pub const fn newest_ms(&self) -> Option<i64> {
        match self {
            Self::Sample(sample) => sample.timestamp_ms,
            Self::Histogram(histogram) => histogram.timestamp_ms,
            Self::Encoded(encoded) => encoded.newest_ms,
            Self::Absent => None,
        }
    }
}

/// The samples, exemplars and native histograms of a remote-write `TimeSeries`, encoded as they came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoded<'a> {
    /// All fields of the message but the labels.
    pub payload: &'a [u8],
    /// Its labels in the encoding in which they came.
    pub sent: SentLabels<'a>,
    /// The number of samples and histograms.
    pub samples: u32,
    /// The newest time of the samples and histograms, in milliseconds since 1970; `None` where there are none.
    pub newest_ms: Option<i64>,
}

/// The labels of a remote-write series in the encoding in which they came, to be copied where they are unchanged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SentLabels<'a> {
    /// Of 1.0: the whole message of the series, labels included.
    Message(&'a [u8]),
    /// Of 2.0: the packed references of all labels to the [symbols](SeriesSet::symbols) of the set.
    References(&'a [u8]),
    /// Unknown, or a label of the series was changed.
    Changed,
}

/// One series of a set, to be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'s, 'a> {
    /// Its labels, `__name__` included, in their order.
    pub labels: &'s [Label<'a>],
    /// The type of its family.
    pub kind: MetricType,
    /// Its samples or histograms.
    pub points: Points<'a>,
}

impl<'s, 'a> Series<'s, 'a> {
    /// The value of its first `__name__`; empty where there is none.
    #[must_use]
    #[inline]
    pub fn name(&self) -> &'a str {
        value_of(self.labels, NAME_LABEL).unwrap_or("")
    }

    /// The value of the first label of this name.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&'a str> {
        value_of(self.labels, name)
    }

    /// Descriptions of its native histograms, in their order.
    pub fn histograms(&self) -> impl Iterator<Item = HistogramOutline> + use<'a> {
        let (native, payload) = match self.points {
            Points::Histogram(histogram) => (Some(histogram.outline()), &[][..]),
            Points::Encoded(encoded) => (None, encoded.payload),
            Points::Sample(_) | Points::Absent => (None, &[][..]),
        };
        let sent = protobuf::fields(payload).filter(|(number, _)| *number == 4);
        native.into_iter().chain(sent.map(|(_, message)| HistogramOutline::from_remote_write(message)))
    }

    /// Its float samples, in their order; native histograms are left out.
    #[must_use]
    pub fn samples(&self) -> FloatSamples<'a> {
        FloatSamples::of(&self.points)
    }
}

/// Whether `name` is a label name of Prometheus' first alphabet, `[a-zA-Z_][a-zA-Z0-9_]*`, which needs no quotes and which
/// every store takes.
///
/// Source: <https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels>.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The value of the first label called `name`.
#[must_use]
#[inline]
pub fn value_of<'a>(labels: &[Label<'a>], name: &str) -> Option<&'a str> {
    labels.iter().find(|label| label.name == name).map(|label| label.value)
}
