//! Counts the series of a scrape that are not uploaded, by reason.

use serde::Serialize;
use telemeter_rules::StepCounts;

/// How many series of a scrape are not uploaded, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// No selector matches them, but the source sent them.
    pub unrequested: usize,
    /// Their sample has no timestamp.
    pub untimed: usize,
    /// Their sample is over 24 hours old.
    pub outdated: usize,
    /// They have no name, an overlong name, no value of their type, or an invalid native histogram.
    pub invalid: usize,
    /// The same series was scraped more than once, and only the newest is sent. With `/upload` this is 0, because the
    /// server removes duplicates.
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicates: usize,
    /// No selector matches them, and they are not left out for that, because neither `--match` nor `--match-file` was given.
    /// They are counted before the other rules: one that such a rule leaves out is counted there as well. 0 where a selector
    /// cannot be checked, since then no series is compared with the selectors.
    #[serde(skip)]
    pub unrequested_uploaded: usize,
}

impl LeftOut {
    /// The numbers of series from the counts of one run of the pipeline.
    pub(super) fn from_counts(report: &StepCounts) -> Self {
        let count = |series: u64| usize::try_from(series).unwrap_or(usize::MAX);
        Self {
            unrequested: count(report.filtered),
            untimed: count(report.untimed),
            outdated: count(report.outdated),
            invalid: count(report.invalid - report.untimed - report.outdated),
            duplicates: count(report.duplicates),
            unrequested_uploaded: count(report.unrequested - report.filtered),
        }
    }

    /// The number of all series that are not uploaded.
    #[must_use]
    pub fn total(&self) -> usize {
        self.unrequested + self.untimed + self.outdated + self.invalid + self.duplicates
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}
