//! How the last cycles ended, for the page: a few numbers and one line of text, whatever the size of the scrape.

use std::time::Duration;

use parking_lot::Mutex;

use crate::{
    pipeline::{LeftOut, Packed},
    worker::{CycleError, CycleReport},
};

/// What the loop has seen. Times are milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(crate) struct ClientStatus(Mutex<StatusSnapshot>);

/// A copy of it, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusSnapshot {
    /// The last scrape that could be read.
    pub(crate) scrape: Option<Scraped>,
    /// The last upload that the server took.
    pub(crate) upload: Option<Uploaded>,
    /// How the last cycle that did not fail ended without an upload, in words.
    pub(crate) nothing: Option<String>,
    /// The last failure.
    pub(crate) failure: Option<LastFailure>,
    /// Failures since the last cycle that went through.
    pub(crate) failures_in_a_row: u32,
    /// When the next cycle begins.
    pub(crate) next_ms: Option<i64>,
}

/// A scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scraped {
    pub(crate) at_ms: i64,
    /// Series that came.
    pub(crate) series: usize,
    /// Bytes that came, decompressed.
    pub(crate) bytes: usize,
    /// Series that are not uploaded.
    pub(crate) left_out: LeftOut,
}

/// An upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uploaded {
    pub(crate) at_ms: i64,
    pub(crate) series: usize,
    /// Bytes, compressed.
    pub(crate) bytes: usize,
    /// How long the cycle took.
    pub(crate) took: Duration,
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastFailure {
    pub(crate) at_ms: i64,
    /// What failed, in words that say what to do.
    pub(crate) words: String,
}

impl ClientStatus {
    /// What was seen so far.
    pub(crate) fn seen(&self) -> StatusSnapshot {
        self.0.lock().clone()
    }

    /// Notes a scrape that could be read.
    pub(crate) fn scraped(&self, packed: &Packed, at_ms: i64) {
        let Packed { scraped: series, scraped_bytes: bytes, left_out, .. } = *packed;
        self.0.lock().scrape = Some(Scraped { at_ms, series, bytes, left_out });
    }

    /// Notes a cycle that went through.
    pub(crate) fn succeeded(&self, report: &CycleReport, at_ms: i64) {
        let mut seen = self.0.lock();
        seen.failures_in_a_row = 0;
        seen.nothing = crate::nothing::uploaded(report);
        if seen.nothing.is_none() {
            let CycleReport { uploaded: series, bytes, took, .. } = *report;
            seen.upload = Some(Uploaded { at_ms, series, bytes, took });
        }
    }

    /// Notes a cycle that failed.
    pub(crate) fn failed(&self, error: &CycleError, at_ms: i64) {
        let mut seen = self.0.lock();
        seen.failures_in_a_row += 1;
        seen.failure = Some(LastFailure { at_ms, words: error.to_string() });
    }

    /// Notes when the next cycle begins.
    pub(crate) fn next(&self, at_ms: i64) {
        self.0.lock().next_ms = Some(at_ms);
    }
}
