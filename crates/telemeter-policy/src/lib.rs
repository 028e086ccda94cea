//! Analysis of the lists of selectors by which the client sends series and the server accepts them.
//!
//! The crate parses such lists from the files in which people write them, finds faults in them, explains why a series is
//! kept or dropped, compares the client's list with the server's, and translates a list into relabelling of Prometheus.
//! It does no I/O: the input is text, and the output is data.

mod change;
mod check;
mod diff;
mod explain;
mod export;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod metrics;
mod report;
mod source;

pub use change::{Anonymized, ClientChanges};
pub use check::{Remark, Severity, check};
pub use diff::{RuleDifference, SeriesDifference, ServerCoverage, UnusedSeries, by_rules, by_series};
pub use explain::{SeriesExplanation, explain};
pub use export::{Export, export};
pub use metrics::MetricsError;
pub use report::{LabelReport, MetricRemark, MetricReport, report};
pub use source::{RuleFile, RuleSource, SourceError, SourcePosition};
