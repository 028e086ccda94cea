//! Why the series of a request make it be refused.

use telemeter_wire::HistogramFlaw;

/// A flaw that no retry mends. The texts name metrics, labels and limits, never a label's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A series without `__name__`, or with an empty one.
    #[error("a series has no metric name")]
    NoName,
    /// A label name stands twice in one series.
    #[error("label {label:?} stands twice in one series")]
    LabelTwice {
        /// Its name.
        label: String,
    },
    /// A label that must be there is not, or is empty.
    #[error("label {label:?} is missing or empty")]
    LabelMissing {
        /// Its name.
        label: String,
    },
    /// A label that must have a certain value has another.
    #[error("label {label:?} does not have the value that these credentials allow")]
    LabelValue {
        /// Its name.
        label: String,
    },
    /// A sample without a timestamp.
    #[error("a sample has no timestamp")]
    NoTimestamp,
    /// Samples of one family that do not ascend in time.
    #[error("the samples of a family are not sorted by time")]
    Unsorted,
    /// A sample that is too old.
    #[error("a sample is over {hours} hours old by the server's clock")]
    TooOld {
        /// How old it may be.
        hours: u64,
    },
    /// A sample that is too far ahead.
    #[error("a sample is over {minutes} minutes ahead of the server's clock")]
    TooFarAhead {
        /// How far ahead it may be.
        minutes: u64,
    },
    /// A metric without the value that its family's type calls for.
    #[error("a metric has no value of its family's type")]
    NoValue,
    /// Two series, without their values, whose names would be one once they are escaped.
    #[error("two series would become one with escaped names: {one} and {other}")]
    SeriesBecomeOne {
        /// The one that came first.
        one: String,
        /// The other.
        other: String,
    },
    /// Two labels of a series whose names would be one once they are escaped.
    #[error("two labels of one series would become one with escaped names: {one} and {other}")]
    LabelsBecomeOne {
        /// The one that stands first.
        one: String,
        /// The other.
        other: String,
    },
    /// A native histogram that a store would refuse.
    #[error("a native histogram of metric {metric:?} is not valid: {flaw}")]
    Histogram {
        /// The metric.
        metric: String,
        /// What is wrong with it.
        flaw: HistogramFlaw,
    },
}
