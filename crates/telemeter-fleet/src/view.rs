//! The public view of a cluster's record, and its status: silent, refused, new or reporting.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::{
    outcome::{Reason, ReportRoute, RequestOutcome},
    record::{ClusterRecord, RecordedRefusal, RecordedRefusals, address, milliseconds},
    shard::RegistryShard,
    symbols::TextTable,
};

/// When a cluster counts as silent, refused or new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// A cluster is silent after so many of its own intervals without a report,
    pub silent_intervals: u32,
    /// but not before this time: a remote writer sends several times a second.
    pub silent_at_least: Duration,
    /// The interval that is assumed for a cluster with less than two reports.
    pub assumed_interval: Duration,
    /// A cluster is new for so long after its first request.
    pub new_for: Duration,
}

impl Default for Thresholds {
    /// 3 intervals, at least 3 minutes; an assumed interval of 4m30s; new for a day.
    fn default() -> Self {
        Self {
            silent_intervals: 3,
            silent_at_least: Duration::from_secs(180),
            assumed_interval: Duration::from_secs(270),
            new_for: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// The status of a cluster. Where several apply, it is the first of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterStatus {
    /// No request for [`Thresholds::silent_intervals`] of its intervals.
    Silent,
    /// It sends requests, and the last one was refused.
    Refused,
    /// It reports, and its first request was less than [`Thresholds::new_for`] ago.
    New,
    /// It reports.
    Reporting,
}

impl ClusterStatus {
    /// Every status, in the order of precedence.
    pub const ALL: [Self; 4] = [Self::Silent, Self::Refused, Self::New, Self::Reporting];

    /// The status in one word, as in the API and on the pages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::New => "new",
            Self::Reporting => "reporting",
        }
    }

    /// The status with this [`ClusterStatus::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// One past request of a cluster, and its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastExchange {
    /// The time, in milliseconds since 1970. It is less exact for older exchanges: each gap between two is exact to 6 %.
    pub at_ms: i64,
    /// The outcome.
    pub outcome: RequestOutcome,
}

/// The last refusal of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRefusal {
    /// The time, in milliseconds since 1970, exact to a second.
    pub at_ms: i64,
    /// The route of the request.
    pub route: ReportRoute,
    /// The reason of the refusal.
    pub reason: Reason,
    /// The HTTP status of the response.
    pub status: u16,
}

/// The refusals of a cluster for one reason on one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalCount {
    /// The route of the requests.
    pub route: ReportRoute,
    /// The reason of the refusals.
    pub reason: Reason,
    /// The HTTP status of the last response.
    pub status: u16,
    /// The number of refusals.
    pub count: u32,
    /// The time of the first refusal, in milliseconds since 1970, exact to a second.
    pub first_ms: i64,
    /// The time of the last refusal, in milliseconds since 1970, exact to a second.
    pub last_ms: i64,
}

/// A record of the registry, borrowed while its shard is locked.
#[derive(Clone, Copy)]
pub struct ClusterRef<'a> {
    symbols: &'a TextTable,
    record: &'a ClusterRecord,
    refusals: Option<&'a RecordedRefusals>,
    labels: &'a [u32],
    id: &'a str,
}

/// An owned copy of a cluster's record. Times are in milliseconds since 1970, exact to a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// Its ID.
    pub id: String,
    /// The time of its first request with accepted credentials.
    pub first_seen_ms: i64,
    /// The time of its last request with accepted credentials, whatever the outcome.
    pub last_heard_ms: i64,
    /// The time of its last accepted upload.
    pub last_upload_ms: Option<i64>,
    /// The time of its last accepted remote write.
    pub last_receive_ms: Option<i64>,
    /// The number of accepted uploads.
    pub uploads: u32,
    /// The number of accepted remote writes.
    pub receives: u32,
    /// Series of its last report that were kept.
    pub series: u32,
    /// Series of its last report that no rule of the whitelist allows.
    pub filtered: u32,
    /// Bytes of its last report.
    pub bytes: u32,
    /// The smoothed time between two reports; `None` before the second one.
    pub interval: Option<Duration>,
    /// How far the newest sample of its last report was ahead of our clock, in milliseconds.
    pub drift_ms: i32,
    /// Its `User-Agent`.
    pub user_agent: Arc<str>,
    /// The address of its last request.
    pub peer: Option<IpAddr>,
    /// The values of the fleet labels, in the order of the configuration; empty where a value is not known.
    pub labels: Vec<Arc<str>>,
    /// Its last refusal.
    pub last_refusal: Option<LastRefusal>,
    /// Its refusals by route and reason, the latest first.
    pub refusals: Vec<RefusalCount>,
    /// Its last exchanges, newest first.
    pub exchanges: Vec<PastExchange>,
}

impl<'a> ClusterRef<'a> {
    pub(crate) fn new(symbols: &'a TextTable, shard: &'a RegistryShard, slot: u32, id: &'a str) -> Self {
        let record = shard.record(slot);
        Self { symbols, record, refusals: shard.refusals(record), labels: shard.labels(slot), id }
    }

    /// Its ID; empty in [`Registry::for_each_without_id`](crate::Registry::for_each_without_id).
    #[must_use]
    pub const fn id(&self) -> &'a str {
        self.id
    }

    /// The time of its last accepted report of either kind, in milliseconds since 1970.
    #[must_use]
    pub fn last_report_ms(&self) -> Option<i64> {
        milliseconds(self.record.last_report())
    }

    /// The time of its last request, in milliseconds since 1970.
    #[must_use]
    pub fn last_heard_ms(&self) -> i64 {
        i64::from(self.record.last_heard) * 1000
    }

    /// The time of its first request with accepted credentials, in milliseconds since 1970.
    #[must_use]
    pub fn first_seen_ms(&self) -> i64 {
        i64::from(self.record.first_seen) * 1000
    }

    /// Its last refusal.
    #[must_use]
    pub fn last_refusal(&self) -> Option<LastRefusal> {
        let RecordedRefusal { route, reason, status, last_s, .. } = *self.refusals?.0.first()?;
        Some(LastRefusal { at_ms: milliseconds(last_s)?, route, reason, status })
    }

    /// The number of its refusals, for any reason.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refusals.map_or(0, |refusals| refusals.0.iter().map(|one| u64::from(one.count)).sum())
    }

    /// Its refusals by route and reason, the latest first.
    pub fn refusals(&self) -> impl Iterator<Item = RefusalCount> + use<'a> {
        self.refusals.map_or(&[][..], |refusals| &refusals.0).iter().map(|one| RefusalCount {
            route: one.route,
            reason: one.reason,
            status: one.status,
            count: one.count,
            first_ms: milliseconds(one.first_s).unwrap_or_default(),
            last_ms: milliseconds(one.last_s).unwrap_or_default(),
        })
    }

    /// The number of accepted uploads, and of accepted remote writes.
    #[must_use]
    pub const fn reports(&self) -> (u32, u32) {
        (self.record.uploads, self.record.receives)
    }

    /// The time of its last accepted upload, in milliseconds since 1970.
    #[must_use]
    pub fn last_upload_ms(&self) -> Option<i64> {
        milliseconds(self.record.last_upload)
    }

    /// The time of its last accepted remote write, in milliseconds since 1970.
    #[must_use]
    pub fn last_receive_ms(&self) -> Option<i64> {
        milliseconds(self.record.last_receive)
    }

    /// The address of its last request.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        address(self.record.peer)
    }

    /// Series of its last report that were kept, and that no rule of the whitelist allows.
    #[must_use]
    pub const fn series(&self) -> (u32, u32) {
        (self.record.series, self.record.filtered)
    }

    /// How far its newest sample was ahead of our clock, in milliseconds.
    #[must_use]
    pub const fn drift_ms(&self) -> i32 {
        self.record.drift_ms
    }

    /// The value of a fleet label, by its index in [`RegistryConfig::labels`](crate::RegistryConfig::labels).
    #[must_use]
    pub fn label(&self, at: usize) -> Arc<str> {
        self.symbols.text(self.labels.get(at).copied().unwrap_or(0))
    }

    /// Its `User-Agent`.
    #[must_use]
    pub fn user_agent(&self) -> Arc<str> {
        self.symbols.text(self.record.user_agent)
    }

    /// The time without a report after which it is silent.
    #[must_use]
    pub fn silent_after(&self, thresholds: &Thresholds) -> Duration {
        let interval = match self.record.interval_ms {
            0 if self.record.uploads + self.record.receives < 2 => thresholds.assumed_interval,
            interval_ms => Duration::from_millis(interval_ms.into()),
        };
        (interval * thresholds.silent_intervals).max(thresholds.silent_at_least)
    }

    /// Whether it sent no accepted report for [`silent_after`](Self::silent_after). This includes clusters that send
    /// requests which are all refused; [`ClusterRef::status`] distinguishes these.
    #[must_use]
    pub fn is_silent(&self, thresholds: &Thresholds, now_ms: i64) -> bool {
        let since_ms = self.last_report_ms().unwrap_or_else(|| self.first_seen_ms());
        is_past(since_ms, self.silent_after(thresholds), now_ms)
    }

    /// Whether its last request was refused.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let last = self.record.exchanges.newest_first(self.record.last_heard).next();
        matches!(last, Some((_, RequestOutcome::Refused(..))))
    }

    /// Whether its first request was less than [`Thresholds::new_for`] ago.
    #[must_use]
    pub fn is_new(&self, thresholds: &Thresholds, now_ms: i64) -> bool {
        !is_past(self.first_seen_ms(), thresholds.new_for, now_ms)
    }

    /// Its status at `now_ms`.
    #[must_use]
    pub fn status(&self, thresholds: &Thresholds, now_ms: i64) -> ClusterStatus {
        if is_past(self.last_heard_ms(), self.silent_after(thresholds), now_ms) {
            ClusterStatus::Silent
        } else if self.is_refused() {
            ClusterStatus::Refused
        } else if self.is_new(thresholds, now_ms) {
            ClusterStatus::New
        } else {
            ClusterStatus::Reporting
        }
    }

    /// An owned copy of the record.
    #[must_use]
    pub fn to_view(&self) -> ClusterView {
        let record = self.record;
        ClusterView {
            id: self.id.to_owned(),
            first_seen_ms: self.first_seen_ms(),
            last_heard_ms: self.last_heard_ms(),
            last_upload_ms: milliseconds(record.last_upload),
            last_receive_ms: milliseconds(record.last_receive),
            uploads: record.uploads,
            receives: record.receives,
            series: record.series,
            filtered: record.filtered,
            bytes: record.bytes,
            interval: (record.interval_ms > 0).then(|| Duration::from_millis(record.interval_ms.into())),
            drift_ms: record.drift_ms,
            user_agent: self.user_agent(),
            peer: address(record.peer),
            labels: (0..self.labels.len()).map(|at| self.label(at)).collect(),
            last_refusal: self.last_refusal(),
            refusals: self.refusals().collect(),
            exchanges: record
                .exchanges
                .newest_first(record.last_heard)
                .map(|(at_s, outcome)| PastExchange { at_ms: i64::from(at_s) * 1000, outcome })
                .collect(),
        }
    }
}

/// Whether more than `wait` has passed between `since_ms` and `now_ms`.
fn is_past(since_ms: i64, wait: Duration, now_ms: i64) -> bool {
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    now_ms.saturating_sub(since_ms) > wait_ms
}
