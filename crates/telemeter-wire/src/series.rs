//! Series as both entrances speak them: labels borrowed from the request's body, kept in flat arenas.
//!
//! A [`SeriesSet`] is a list of series; the labels of all of them stand in one `Vec`, and a series holds the range
//! that is its own. Text that is not in the body (an unescaped value, a hash) is put into the [`Arena`]. An `Arena`
//! is used again for the next request, so in steady state a request allocates nothing here, whatever its size.

mod arena;
mod change;
mod metadata;
mod set;

use crate::{
    exposition::NativeHistogram,
    remote_write::{FloatSamples, sample_points},
};

pub use self::{arena::Arena, change::SeriesMut, metadata::FamilyMetadata, set::SeriesSet};

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
    /// A label of these two.
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
    /// Not said; what a federation endpoint answers with, and what remote write knows.
    #[default]
    Untyped = 3,
    /// Buckets, a sum and a count.
    Histogram = 4,
    /// As a histogram, and its buckets may shrink.
    GaugeHistogram = 5,
}

/// One value at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The value; any float, NaN included.
    pub value: f64,
    /// Milliseconds since the Unix epoch; `None` where the sender gave none.
    pub timestamp_ms: Option<i64>,
}

/// What a series carries beside its labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Points<'a> {
    /// The one sample of an exposition format.
    Sample(Sample),
    /// The one native histogram of an exposition format. The type of its family says whether it is a gauge.
    Histogram(NativeHistogram<'a>),
    /// What a remote-write sender sent.
    Encoded(Encoded<'a>),
    /// Nothing: a metric without the value that its family's type calls for.
    Absent,
}

impl Points<'_> {
    /// The newest time among them, in milliseconds; `None` where none has a time.
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

/// The fields of a remote-write `TimeSeries` as they came: samples, exemplars, native histograms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoded<'a> {
    /// Every field but the labels, encoded as protobuf fields.
    pub payload: &'a [u8],
    /// The whole message, labels included, as long as these labels are those of the series.
    pub whole: Option<&'a [u8]>,
    /// How many samples and histograms.
    pub samples: u32,
    /// The newest timestamp among them, in milliseconds; `None` where there is none of either.
    pub newest_ms: Option<i64>,
}

/// One series, to read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'s, 'a> {
    /// Its labels, `__name__` among them, in the order they stand in.
    pub labels: &'s [Label<'a>],
    /// The type of its family.
    pub kind: MetricType,
    /// What it carries.
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

    /// Its float samples, in order; those of native histograms are not among them.
    #[must_use]
    pub fn samples(&self) -> FloatSamples<'a> {
        sample_points(&self.points)
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
