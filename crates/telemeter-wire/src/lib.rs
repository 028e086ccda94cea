//! Wire formats: decodes and encodes the exposition formats, remote write and snappy.
//!
//! The crate does no I/O, reads no clock and writes no log. No input makes it panic.

mod error;
pub mod exposition;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod labels;
mod protobuf;
pub mod remote_write;
mod schema;
pub mod series;
pub mod snappy;
mod upload_accepts;
mod upload_counts;

pub use error::{DecodeLimits, Error, NotUtf8, ReferenceError, excerpt};
pub use exposition::{HistogramFlaw, NativeHistogram, NativeHistograms};
pub use series::{Arena, Encoded, Label, MetricType, Points, Sample, SentLabels, Series, SeriesMut, SeriesSet};
pub use upload_accepts::{UPLOAD_ACCEPTS_HEADER, UploadAccepts};
pub use upload_counts::{UPLOAD_COUNTS_HEADER, UploadCounts};
