//! Sentences about a cycle, for the log, the page, the check and the preview: why nothing was uploaded, which series were
//! left out, which series no selector names, and that two clocks differ.

use std::time::Duration;

use telemeter_http::duration::HumanDuration;

use crate::{outcome::CycleReport, pipeline::LeftOut};

/// Why a cycle uploaded nothing; `None` where it uploaded something.
pub(crate) fn no_upload_reason(report: &CycleReport) -> Option<String> {
    let CycleReport { scraped, left_out, newest_age_ms, .. } = *report;
    let LeftOut { unrequested, untimed, outdated, .. } = left_out;
    if report.uploaded > 0 {
        return None;
    }
    let usable = scraped - unrequested;
    let all = |count: usize| count > 0 && count == usable;
    let reason = match () {
        () if scraped == 0 => "nothing matched: Prometheus has no series that --match names".to_owned(),
        () if usable == 0 => format!(
            "nothing matched: no selector of --match names any of the {scraped} series that came (does --from lead to \
             a /federate that obeys match[]?)"
        ),
        () if all(untimed) => format!(
            "all without a time: none of the {untimed} series has a timestamp, which a /federate gives (is --from the \
             /metrics of some program?)"
        ),
        () if all(outdated) => {
            let age = newest_age_ms.and_then(|age| u64::try_from(age).ok()).map(Duration::from_millis);
            let newest = age.map(|age| format!(", the newest by {}", HumanDuration(age))).unwrap_or_default();
            format!(
                "all too old: each of the {outdated} series is over 24 hours behind this machine's clock{newest} (is \
                 this clock right, and that of Prometheus?)"
            )
        }
        () => format!("none of the {scraped} series can be uploaded: {}", left_out_counts(&left_out)),
    };
    Some(reason)
}

/// Each reason for leaving series out, with its count: `2 without a time, 1 over 24 hours old`.
pub(crate) fn left_out_counts(left_out: &LeftOut) -> String {
    let LeftOut { unrequested, untimed, outdated, invalid, duplicates, .. } = *left_out;
    let reasons = [
        (unrequested, "that nobody asked for"),
        (untimed, "without a time"),
        (outdated, "over 24 hours old"),
        (invalid, "invalid"),
        (duplicates, "duplicate"),
    ];
    let reasons = reasons.iter().filter(|(count, _)| *count > 0);
    reasons.map(|(count, reason)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ")
}

/// A warning about series that Prometheus answered with though no selector names them; `None` where there are none.
pub(crate) fn unrequested_warning(left_out: &LeftOut) -> Option<String> {
    let LeftOut { unrequested, unrequested_uploaded, .. } = *left_out;
    match (unrequested, unrequested_uploaded) {
        (0, 0) => None,
        (0, uploaded) => Some(format!(
            "Prometheus answered with {uploaded} series that nobody asked for, and they are uploaded: give --match, and \
             the client leaves out what it does not name"
        )),
        (left_out, _) => {
            Some(format!("Prometheus answered with {left_out} series that no --match names; they are not uploaded"))
        }
    }
}

/// A warning where the newest sample of a scrape is over 2 minutes ahead of this machine's clock, or over 30 minutes
/// behind it; `None` where it is not. Both times are Unix milliseconds.
pub(crate) fn clock_warning(newest_ms: Option<i64>, now_ms: i64) -> Option<String> {
    const AHEAD: Duration = Duration::from_mins(2);
    const BEHIND: Duration = Duration::from_mins(30);
    let behind_ms = now_ms.saturating_sub(newest_ms?);
    let distance = Duration::from_millis(behind_ms.unsigned_abs());
    let (limit, direction) = if behind_ms < 0 { (AHEAD, "ahead of") } else { (BEHIND, "behind") };
    (distance > limit).then(|| {
        let distance = HumanDuration(distance);
        format!(
            "the newest sample of Prometheus is {distance} {direction} this machine's clock: one of the two clocks is \
             wrong, or Prometheus has stopped to scrape"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_differs_is_named_with_the_difference() {
        let check = |newest_ms, expected: Option<&str>| {
            let warning = clock_warning(newest_ms, 10_000_000);
            assert_eq!(warning.is_some(), expected.is_some(), "{warning:?}");
            assert!(warning.unwrap_or_default().contains(expected.unwrap_or_default()), "{expected:?}");
        };
        check(None, None);
        check(Some(10_000_000), None);
        check(Some(10_100_000), None);
        check(Some(8_300_000), None);
        check(Some(10_842_000), Some("is 14m2s ahead of this machine's clock"));
        check(Some(2_740_000), Some("is 2h1m behind this machine's clock"));
    }

    #[test]
    fn the_warning_says_why_nothing_was_uploaded() {
        let check = |scraped, left_out: LeftOut, newest_age_ms, expected: &str| {
            let report = CycleReport { scraped, left_out, newest_age_ms, ..CycleReport::default() };
            let reason = no_upload_reason(&report).expect("nothing was uploaded");
            assert!(reason.starts_with(expected), "{reason}");
        };
        let none = LeftOut::default();
        check(0, none, None, "nothing matched: Prometheus has no series");
        check(
            7,
            LeftOut { unrequested: 7, ..none },
            None,
            "nothing matched: no selector of --match names any of the 7",
        );
        check(7, LeftOut { untimed: 7, ..none }, None, "all without a time: none of the 7 series has a timestamp");
        check(9, LeftOut { unrequested: 2, untimed: 7, ..none }, None, "all without a time: none of the 7 series");
        check(
            7,
            LeftOut { outdated: 7, ..none },
            Some(108_000_000),
            "all too old: each of the 7 series is over 24 hours behind this machine's clock, the newest by 30h (",
        );
        check(
            7,
            LeftOut { unrequested: 1, untimed: 3, outdated: 2, invalid: 1, ..none },
            None,
            "none of the 7 series can be uploaded: 1 that nobody asked for, 3 without a time, 2 over 24 hours old, 1 inv",
        );
        let report = CycleReport { scraped: 7, kept: 1, uploaded: 1, ..CycleReport::default() };
        assert_eq!(no_upload_reason(&report), None);
    }

    #[test]
    fn series_that_no_selector_names_are_a_warning() {
        let none = LeftOut::default();
        assert_eq!(unrequested_warning(&LeftOut { untimed: 3, ..none }), None);
        let left_out =
            unrequested_warning(&LeftOut { unrequested: 3, unrequested_uploaded: 0, ..none }).expect("a warning");
        assert!(left_out.contains("3 series that no --match names; they are not uploaded"), "{left_out}");
        let sent = unrequested_warning(&LeftOut { unrequested_uploaded: 4, ..none }).expect("a warning");
        assert!(sent.contains("4 series that nobody asked for, and they are uploaded"), "{sent}");
    }
}
