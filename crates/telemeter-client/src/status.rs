//! How the last cycles ended, for the page. Its size does not depend on the size of a scrape.

use std::time::Duration;

use parking_lot::Mutex;

use crate::{
    explain,
    outcome::{CycleError, CycleReport},
    pipeline::{LeftOut, Packed},
};

/// How the last cycles ended, shared by the loop and the page. Times are milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(crate) struct ClientStatus(Mutex<StatusSnapshot>);

/// A copy of [`ClientStatus`], taken at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusSnapshot {
    /// The last scrape that could be read.
    pub(crate) scrape: Option<Scraped>,
    /// The last upload that the server accepted.
    pub(crate) upload: Option<Uploaded>,
    /// Why the last cycle that did not fail uploaded nothing.
    pub(crate) no_upload_reason: Option<String>,
    /// The last failure.
    pub(crate) failure: Option<LastFailure>,
    /// Failures since the last cycle that did not fail.
    pub(crate) failures_in_a_row: u32,
    /// When the next cycle begins.
    pub(crate) next_ms: Option<i64>,
}

/// The last scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scraped {
    pub(crate) at_ms: i64,
    /// Series that Prometheus answered with.
    pub(crate) series: usize,
    /// Size of the answer, decompressed, in bytes.
    pub(crate) bytes: usize,
    /// Series that are not uploaded.
    pub(crate) left_out: LeftOut,
}

/// The last upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uploaded {
    pub(crate) at_ms: i64,
    pub(crate) series: usize,
    /// Size of the upload, compressed, in bytes.
    pub(crate) bytes: usize,
    /// How long the cycle took.
    pub(crate) took: Duration,
}

/// The last failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastFailure {
    pub(crate) at_ms: i64,
    /// What failed, and what to do.
    pub(crate) text: String,
}

impl ClientStatus {
    /// The status now.
    pub(crate) fn snapshot(&self) -> StatusSnapshot {
        self.0.lock().clone()
    }

    /// Records a scrape that could be read.
    pub(crate) fn scraped(&self, packed: &Packed, at_ms: i64) {
        let Packed { scraped: series, scraped_bytes: bytes, left_out, .. } = *packed;
        self.0.lock().scrape = Some(Scraped { at_ms, series, bytes, left_out });
    }

    /// Records a cycle that did not fail.
    pub(crate) fn succeeded(&self, report: &CycleReport, at_ms: i64) {
        let mut status = self.0.lock();
        status.failures_in_a_row = 0;
        status.no_upload_reason = explain::no_upload_reason(report);
        if status.no_upload_reason.is_none() {
            let CycleReport { uploaded: series, bytes, took, .. } = *report;
            status.upload = Some(Uploaded { at_ms, series, bytes, took });
        }
    }

    /// Records a cycle that failed.
    pub(crate) fn failed(&self, error: &CycleError, at_ms: i64) {
        let mut status = self.0.lock();
        status.failures_in_a_row += 1;
        status.failure = Some(LastFailure { at_ms, text: error.to_string() });
    }

    /// Records when the next cycle begins.
    pub(crate) fn set_next(&self, at_ms: i64) {
        self.0.lock().next_ms = Some(at_ms);
    }
}
