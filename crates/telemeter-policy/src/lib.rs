//! What leaves a cluster is a list of selectors, at both ends. This reads it from the files that people keep it in, and says
//! what is wrong with it, what becomes of a series, what one end lets out and the other does not take, and how a Prometheus
//! would do the same.
//!
//! Reads no file and prints nothing: texts come in, data goes out.

mod change;
mod check;
mod diff;
mod explain;
mod export;
#[cfg(any(test, fuzzing))]
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
