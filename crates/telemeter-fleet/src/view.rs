//! A cluster as people and programs see it, and what its state is called.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::{
    outcome::{Reason, ReportRoute, RequestOutcome},
    record::{ClusterRecord, RecordedRefusal, RecordedRefusals, address, milliseconds},
    registry::Registry,
    shard::RegistryShard,
};

/// When a cluster counts as silent, refused or new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Silent after so many of its own intervals without a report.
    pub silent_intervals: u32,
    /// But not before this: a remote writer sends several times a second.
    pub silent_at_least: Duration,
    /// The interval of a cluster that has reported once at most.
    pub assumed_interval: Duration,
    /// A cluster is new for so long after it was first seen.
    pub new_for: Duration,
}

impl Default for Thresholds {
    /// 3 intervals, at least 3 minutes; 4m30s until an interval was seen; new for a day.
    fn default() -> Self {
        Self {
            silent_intervals: 3,
            silent_at_least: Duration::from_secs(180),
            assumed_interval: Duration::from_secs(270),
            new_for: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// The state of a cluster in one word. Where several hold, the first of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterStatus {
    /// It was not heard from for some of its intervals.
    Silent,
    /// It calls, and its last request did not succeed.
    Refused,
    /// It was first seen a short while ago, and reports.
    New,
    /// It reports.
    Reporting,
}

impl ClusterStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Silent, Self::Refused, Self::New, Self::Reporting];

    /// In one word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::New => "new",
            Self::Reporting => "reporting",
        }
    }

    /// The status of a [`ClusterStatus::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// One exchange of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PastExchange {
    /// When, in milliseconds since 1970. The older it is, the less exact: to 6 % of the time between two exchanges.
    pub at_ms: i64,
    /// What became of it.
    pub outcome: RequestOutcome,
}

/// The last refusal of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRefusal {
    /// When, in milliseconds since 1970, exact to a second.
    pub at_ms: i64,
    /// What was asked for.
    pub route: ReportRoute,
    /// Why it was refused.
    pub reason: Reason,
    /// The status that it was answered with.
    pub status: u16,
}

/// How often a cluster was refused for one reason on one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalCount {
    /// What was asked for.
    pub route: ReportRoute,
    /// Why it was refused.
    pub reason: Reason,
    /// The status that the last one was answered with.
    pub status: u16,
    /// How often.
    pub count: u32,
    /// The first, in milliseconds since 1970, exact to a second.
    pub first_ms: i64,
    /// The last, likewise.
    pub last_ms: i64,
}

/// A cluster in the registry, read where it stands.
#[derive(Clone, Copy)]
pub struct ClusterRef<'a> {
    registry: &'a Registry,
    record: &'a ClusterRecord,
    refusals: Option<&'a RecordedRefusals>,
    labels: &'a [u32],
    id: &'a str,
}

/// All that is known of a cluster. Times are in milliseconds since 1970, exact to a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// Its ID.
    pub id: String,
    /// Its first request with good credentials.
    pub first_seen_ms: i64,
    /// Its last request, whatever became of it.
    pub last_heard_ms: i64,
    /// Its last accepted upload.
    pub last_upload_ms: Option<i64>,
    /// Its last accepted remote write.
    pub last_receive_ms: Option<i64>,
    /// Accepted uploads.
    pub uploads: u32,
    /// Accepted remote writes.
    pub receives: u32,
    /// Series of its last report that were kept.
    pub series: u32,
    /// Series of its last report that no rule of the whitelist allows.
    pub filtered: u32,
    /// Bytes of its last report.
    pub bytes: u32,
    /// The time from one report to the next, once there were two.
    pub interval: Option<Duration>,
    /// How far the newest sample of its last report was ahead of our clock, in milliseconds.
    pub drift_ms: i32,
    /// Its `User-Agent`.
    pub user_agent: Arc<str>,
    /// Where its last request came from.
    pub peer: Option<IpAddr>,
    /// The values of the fleet labels, in their order; empty where one was not seen.
    pub labels: Vec<Arc<str>>,
    /// Its last refusal.
    pub last_refusal: Option<LastRefusal>,
    /// Its refusals by route and reason, the last one first.
    pub refusals: Vec<RefusalCount>,
    /// Its last exchanges, newest first.
    pub exchanges: Vec<PastExchange>,
}

impl<'a> ClusterRef<'a> {
    pub(crate) fn new(registry: &'a Registry, shard: &'a RegistryShard, place: u32, id: &'a str) -> Self {
        let record = shard.record(place);
        Self { registry, record, refusals: shard.refusals(record), labels: shard.labels(place), id }
    }

    /// Its ID.
    #[must_use]
    pub const fn id(&self) -> &'a str {
        self.id
    }

    /// Its last accepted report of either kind, in milliseconds since 1970.
    #[must_use]
    pub fn last_report_ms(&self) -> Option<i64> {
        milliseconds(self.record.last_report())
    }

    /// Its last request, likewise.
    #[must_use]
    pub fn last_heard_ms(&self) -> i64 {
        i64::from(self.record.last_heard) * 1000
    }

    /// Its first request with good credentials, likewise.
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

    /// How often it was refused, for whatever reason.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refusals.map_or(0, |refusals| refusals.0.iter().map(|one| u64::from(one.count)).sum())
    }

    /// How often it was refused, by route and reason; the last refusal stands first.
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

    /// Accepted uploads, and accepted remote writes.
    #[must_use]
    pub const fn reports(&self) -> (u32, u32) {
        (self.record.uploads, self.record.receives)
    }

    /// Its last accepted upload, in milliseconds since 1970.
    #[must_use]
    pub fn last_upload_ms(&self) -> Option<i64> {
        milliseconds(self.record.last_upload)
    }

    /// Its last accepted remote write, likewise.
    #[must_use]
    pub fn last_receive_ms(&self) -> Option<i64> {
        milliseconds(self.record.last_receive)
    }

    /// Where its last request came from.
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

    /// The value of a fleet label by its place in [`RegistryConfig::labels`](crate::RegistryConfig::labels).
    #[must_use]
    pub fn label(&self, at: usize) -> Arc<str> {
        self.registry.symbols.text(self.labels.get(at).copied().unwrap_or(0))
    }

    /// Its `User-Agent`.
    #[must_use]
    pub fn user_agent(&self) -> Arc<str> {
        self.registry.symbols.text(self.record.user_agent)
    }

    /// So long without a report, it is silent.
    #[must_use]
    pub fn silent_after(&self, thresholds: &Thresholds) -> Duration {
        let interval = match self.record.interval_ms {
            0 if self.record.uploads + self.record.receives < 2 => thresholds.assumed_interval,
            interval_ms => Duration::from_millis(interval_ms.into()),
        };
        (interval * thresholds.silent_intervals).max(thresholds.silent_at_least)
    }

    /// Whether there was no report for some of its own intervals. One that is refused all the time is silent, too: see
    /// [`ClusterRef::status`] for the word that says more.
    #[must_use]
    pub fn is_silent(&self, thresholds: &Thresholds, now_ms: i64) -> bool {
        let since_ms = self.last_report_ms().unwrap_or_else(|| self.first_seen_ms());
        is_past(since_ms, self.silent_after(thresholds), now_ms)
    }

    /// Whether its last request did not succeed.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let last = self.record.exchanges.newest_first(self.record.last_heard).next();
        matches!(last, Some((_, RequestOutcome::Refused(..))))
    }

    /// Whether it was first seen a short while ago.
    #[must_use]
    pub fn is_new(&self, thresholds: &Thresholds, now_ms: i64) -> bool {
        !is_past(self.first_seen_ms(), thresholds.new_for, now_ms)
    }

    /// Its state in one word.
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

    /// All of it.
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

fn is_past(since_ms: i64, wait: Duration, now_ms: i64) -> bool {
    let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    now_ms.saturating_sub(since_ms) > wait_ms
}
