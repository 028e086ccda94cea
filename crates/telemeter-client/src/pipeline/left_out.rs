//! Series of a scrape that are not uploaded, by why.

use serde::Serialize;
use telemeter_rules::StepCounts;

/// How many series of a scrape are not uploaded, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// No selector names them; the source answered with them all the same.
    pub unrequested: usize,
    /// Their sample has no time.
    pub untimed: usize,
    /// Their sample is over 24 hours old.
    pub outdated: usize,
    /// They have no name, an overlong one, or no value of their type.
    pub invalid: usize,
    /// They came twice, and the newest is sent; on `/upload` the server sorts them out.
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicates: usize,
    /// Series that no selector names either, and that are uploaded: no selector was given, or one cannot be checked.
    #[serde(skip)]
    pub unrequested_uploaded: usize,
}

impl LeftOut {
    pub(super) fn of(report: &StepCounts) -> Self {
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

    /// All of them.
    #[must_use]
    pub fn total(&self) -> usize {
        self.unrequested + self.untimed + self.outdated + self.invalid + self.duplicates
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}
