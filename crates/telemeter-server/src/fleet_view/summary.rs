//! The fleet on one page: how many clusters are how well, how much there is to do, and how well what we depend on is.

use std::collections::BTreeMap;

use serde::Serialize;
use telemeter_fleet::{ClusterStatus, ReportRoute};
use telemeter_http::{availability::AvailabilityRecord, tls::EXPIRES_SOON};

use super::{FleetView, Time};

/// So many names of dropped metrics are shown.
const FILTERED: usize = 20;

/// The summary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetSummary {
    /// The program's version.
    pub version: &'static str,
    /// The revision of its source.
    pub revision: &'static str,
    /// When it started.
    pub started_at: Time,
    /// The time of this summary.
    pub now: Time,
    /// The name of this replica.
    pub replica: String,
    /// How many clusters are how well.
    pub clusters: ClusterCounts,
    /// Requests by route.
    pub requests: BTreeMap<&'static str, RouteRates>,
    /// Samples of all routes, in the last minute.
    pub samples_per_second: f64,
    /// Refusals since the start, by reason and route, most frequent first.
    pub refusals: Vec<ReasonCount>,
    /// What we depend on.
    pub dependencies: Vec<Dependency>,
    /// The names of metrics that the whitelist drops most.
    pub filtered_metrics: Vec<FilteredMetric>,
    /// What the recent store holds, where there is one.
    pub recent_store: Option<RecentStoreSummary>,
}

/// What the recent store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RecentStoreSummary {
    /// Clusters that something is held of.
    pub clusters: usize,
    /// Their series.
    pub series: usize,
    /// Their samples.
    pub samples: usize,
    /// Bytes of it all.
    pub bytes: usize,
    /// As many it may become.
    pub max_bytes: usize,
    /// For how long a sample is kept.
    pub window_seconds: u64,
    /// How often a cluster was dropped, or cut short, for want of room.
    pub evictions: u64,
}

/// How many clusters are how well; each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClusterCounts {
    /// All that are known.
    pub total: usize,
    /// They report.
    pub reporting: usize,
    /// They report, and were first seen within a day.
    pub new: usize,
    /// They were not heard from for three of their intervals.
    pub silent: usize,
    /// Their last request did not succeed.
    pub refused: usize,
    /// They were forgotten because there were too many.
    pub evicted: u64,
}

impl ClusterCounts {
    /// Counts one more cluster.
    pub fn add(&mut self, status: ClusterStatus) {
        self.total += 1;
        match status {
            ClusterStatus::Silent => self.silent += 1,
            ClusterStatus::Refused => self.refused += 1,
            ClusterStatus::New => self.new += 1,
            ClusterStatus::Reporting => self.reporting += 1,
        }
    }

    /// How many are of this status.
    #[must_use]
    pub const fn of(&self, status: ClusterStatus) -> usize {
        match status {
            ClusterStatus::Silent => self.silent,
            ClusterStatus::Refused => self.refused,
            ClusterStatus::New => self.new,
            ClusterStatus::Reporting => self.reporting,
        }
    }
}

/// Requests on one route.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RouteRates {
    /// They succeeded, since the start.
    pub accepted_total: u64,
    /// They did not.
    pub refused_total: u64,
    /// They succeeded, in the last minute.
    pub accepted_per_second: f64,
    /// They did not.
    pub refused_per_second: f64,
    /// Samples of those that succeeded, in the last minute.
    pub samples_per_second: f64,
}

/// Refusals for one reason on one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// Why.
    pub reason: &'static str,
    /// What was asked for.
    pub route: &'static str,
    /// How many.
    pub count: u64,
}

/// Something we depend on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dependency {
    /// `store`, `authority`, `memcached`, `oidc`, `certificate:external` or `certificate:internal`.
    pub name: String,
    /// `ok`, `failing`, `unknown` (not asked yet) or `warning` (a certificate that expires within 7 days).
    pub state: &'static str,
    /// Since when.
    pub since: Option<Time>,
    /// What was wrong the last time.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Time>,
    /// How long its last answer took.
    pub latency_seconds: Option<f64>,
    /// When a certificate expires.
    pub expires_at: Option<Time>,
}

/// A name of metrics that the whitelist drops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilteredMetric {
    /// The name.
    pub name: String,
    /// Series that were dropped.
    pub series_total: u64,
}

impl FleetView {
    /// The summary.
    #[must_use]
    pub fn summary(&self) -> FleetSummary {
        let (fleet, now_ms, about) = (&self.gateway().fleet, self.now_ms(), self.about());
        let (counts, rates) = (fleet.rates.counts(), fleet.rates.per_second(now_ms));
        let requests = ReportRoute::ALL.map(|route| {
            let at = route as usize;
            let rates = RouteRates {
                accepted_total: counts.accepted[at],
                refused_total: counts.refused[at],
                accepted_per_second: rates.accepted[at],
                refused_per_second: rates.refused[at],
                samples_per_second: rates.samples[at],
            };
            (route.name(), rates)
        });
        let mut refusals: Vec<_> = fleet
            .refusals()
            .map(|(route, reason, count)| ReasonCount { reason: reason.name(), route: route.name(), count })
            .collect();
        refusals.sort_by_key(|one| std::cmp::Reverse(one.count));
        FleetSummary {
            version: about.version,
            revision: about.revision,
            started_at: Time(about.started_ms),
            now: Time(now_ms),
            replica: about.replica.clone(),
            clusters: self.cluster_counts(),
            requests: requests.into(),
            samples_per_second: rates.samples.iter().sum(),
            refusals,
            dependencies: self.dependencies(),
            filtered_metrics: self.filtered_metrics(FILTERED),
            recent_store: self.recent_store(),
        }
    }

    /// What the recent store holds, where there is one.
    #[must_use]
    pub fn recent_store(&self) -> Option<RecentStoreSummary> {
        let totals = self.gateway().recent_store.as_ref()?.totals(self.now_ms());
        Some(RecentStoreSummary {
            clusters: totals.clusters,
            series: totals.series,
            samples: totals.samples,
            bytes: totals.bytes,
            max_bytes: totals.max_bytes,
            window_seconds: totals.window.as_secs(),
            evictions: totals.evictions,
        })
    }

    /// How many clusters are how well.
    #[must_use]
    pub fn cluster_counts(&self) -> ClusterCounts {
        let (fleet, now_ms) = (&self.gateway().fleet, self.now_ms());
        let mut counts = ClusterCounts { evicted: fleet.registry.evicted(), ..ClusterCounts::default() };
        fleet.registry.for_each_without_id(|cluster| {
            counts.add(cluster.status(&fleet.thresholds, now_ms));
        });
        counts
    }

    /// The names that the whitelist drops most.
    #[must_use]
    pub fn filtered_metrics(&self, limit: usize) -> Vec<FilteredMetric> {
        let most = self.gateway().fleet.dropped.most(limit);
        most.into_iter().map(|(name, series_total)| FilteredMetric { name, series_total }).collect()
    }

    /// What we depend on, as far as it is configured.
    #[must_use]
    pub fn dependencies(&self) -> Vec<Dependency> {
        let gateway = self.gateway();
        let records = &gateway.fleet.dependencies;
        let mut all = Vec::new();
        if gateway.forward.is_some() {
            all.push(dependency("store", records.store.read()));
        }
        if let Some(authority) = &gateway.authority {
            all.push(dependency("authority", authority.availability()));
            all.extend(authority.cache_availability().map(|record| dependency("memcached", record)));
        }
        if gateway.token.is_some() {
            all.push(dependency("oidc", records.oidc.read()));
        }
        for (listener, tls) in &self.about().certificates {
            all.push(certificate(listener, tls.expires_ms(), self.now_ms()));
        }
        all
    }
}

fn dependency(name: &str, record: AvailabilityRecord) -> Dependency {
    Dependency {
        name: name.to_owned(),
        state: match record.is_available {
            Some(true) => "ok",
            Some(false) => "failing",
            None => "unknown",
        },
        since: record.is_available.map(|_| Time(record.since_ms)),
        last_error_at: record.last_error.as_ref().map(|(_, at_ms)| Time(*at_ms)),
        last_error: record.last_error.map(|(error, _)| error),
        latency_seconds: record.latency.map(|latency| latency.as_secs_f64()),
        expires_at: None,
    }
}

fn certificate(listener: &str, expires_ms: Option<i64>, now_ms: i64) -> Dependency {
    let soon_ms = i64::try_from(EXPIRES_SOON.as_millis()).unwrap_or(i64::MAX);
    let (state, error) = match expires_ms {
        None => ("unknown", None),
        Some(at_ms) if at_ms < now_ms => ("failing", Some("it has expired")),
        Some(at_ms) if at_ms - now_ms <= soon_ms => ("warning", Some("it expires within 7 days")),
        Some(_) => ("ok", None),
    };
    Dependency {
        name: format!("certificate:{listener}"),
        state,
        since: None,
        last_error: error.map(str::to_owned),
        last_error_at: None,
        latency_seconds: None,
        expires_at: expires_ms.map(Time),
    }
}
