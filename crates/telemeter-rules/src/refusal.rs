//! The reasons for which a series makes its whole request invalid.

use telemeter_wire::HistogramFlaw;

/// Why a request is refused because of a series; sending it again cannot help. The texts have names of metrics and labels,
/// and limits, never the value of a label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A series has no `__name__`, or an empty one.
    #[error("a series has no metric name")]
    NoName,
    /// A series has two labels of one name.
    #[error("duplicate label {label:?} in one series")]
    DuplicateLabel {
        /// Its name.
        label: String,
    },
    /// A required label is missing or empty.
    #[error("label {label:?} is missing or empty")]
    LabelMissing {
        /// Its name.
        label: String,
    },
    /// A label that has to have a certain value has another one.
    #[error("label {label:?} does not have the value that these credentials allow")]
    LabelValue {
        /// Its name.
        label: String,
    },
    /// A sample has no timestamp.
    #[error("a sample has no timestamp")]
    NoTimestamp,
    /// The times of the samples of one family decrease.
    #[error("the samples of a family are not sorted by time")]
    Unsorted,
    /// A sample is too old.
    #[error("a sample is over {hours} hours old by the server's clock")]
    TooOld {
        /// The maximum age.
        hours: u64,
    },
    /// A sample is too far ahead.
    #[error("a sample is over {minutes} minutes ahead of the server's clock")]
    TooFarAhead {
        /// The maximum.
        minutes: u64,
    },
    /// A metric has no value of its family's type.
    #[error("a metric has no value of its family's type")]
    NoValue,
    /// Two series would be the same after escaping. The descriptions are without label values.
    #[error("two series would become one with escaped names: {one} and {other}")]
    SeriesBecomeOne {
        /// The first one.
        one: String,
        /// The second one.
        other: String,
    },
    /// Two labels of a series would have the same name after escaping.
    #[error("two labels of one series would become one with escaped names: {one} and {other}")]
    LabelsBecomeOne {
        /// The first one.
        one: String,
        /// The second one.
        other: String,
    },
    /// A native histogram is one that a store would refuse.
    #[error("a native histogram of metric {metric:?} is not valid: {flaw}")]
    Histogram {
        /// The metric name.
        metric: String,
        /// What is wrong with it.
        flaw: HistogramFlaw,
    },
}
