//! The fleet on one page: clusters by status, requests by route, and the services that the server depends on.

use std::collections::BTreeMap;

use serde::Serialize;
use telemeter_fleet::{ClusterStatus, ReportRoute};
use telemeter_http::{availability::AvailabilityRecord, tls::EXPIRES_SOON};

use super::{FleetView, Time};

/// How many names of dropped metrics are shown.
const FILTERED: usize = 20;

/// What the overview and the API show of the fleet.
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
    /// How many clusters have which status.
    pub clusters: ClusterCounts,
    /// Requests by route.
    pub requests: BTreeMap<&'static str, RouteRates>,
    /// Samples a second of all routes, in the last minute.
    pub samples_per_second: f64,
    /// Refusals since the start, by reason and route, most frequent first.
    pub refusals: Vec<ReasonCount>,
    /// The services that the server depends on.
    pub dependencies: Vec<Dependency>,
    /// The metric names that the whitelist drops most.
    pub filtered_metrics: Vec<FilteredMetric>,
    /// What the recent store holds, where there is one.
    pub recent_store: Option<RecentStoreSummary>,
}

/// What the recent store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RecentStoreSummary {
    /// How many clusters have series in it.
    pub clusters: usize,
    /// How many series it holds.
    pub series: usize,
    /// How many samples it holds.
    pub samples: usize,
    /// How many bytes it holds.
    pub bytes: usize,
    /// How many bytes it may hold.
    pub max_bytes: usize,
    /// For how long a sample is kept.
    pub window_seconds: u64,
    /// How often a cluster was dropped, or cut short, because there was no memory left.
    pub evictions: u64,
}

/// How many clusters have which status; each is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClusterCounts {
    /// All known clusters.
    pub total: usize,
    /// Clusters that report.
    pub reporting: usize,
    /// Clusters that report and were first seen within the last day.
    pub new: usize,
    /// Clusters that were not heard from for three of their intervals.
    pub silent: usize,
    /// Clusters whose last request did not succeed.
    pub refused: usize,
    /// Clusters that were forgotten because there were too many.
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
    /// Accepted requests since the start.
    pub accepted_total: u64,
    /// Refused requests since the start.
    pub refused_total: u64,
    /// Accepted requests a second, in the last minute.
    pub accepted_per_second: f64,
    /// Refused requests a second, in the last minute.
    pub refused_per_second: f64,
    /// Samples of accepted requests a second, in the last minute.
    pub samples_per_second: f64,
}

/// Refusals for one reason on one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonCount {
    /// The reason, by its name.
    pub reason: &'static str,
    /// The route, by its name.
    pub route: &'static str,
    /// How many requests were refused.
    pub count: u64,
}

/// A service that the server depends on, or a certificate of a listener.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dependency {
    /// `store`, `authority`, `memcached`, `oidc`, `certificate:external` or `certificate:internal`.
    pub name: String,
    /// `ok`, `failing`, `unknown` (not called yet) or `warning` (a certificate that expires within 7 days).
    pub state: &'static str,
    /// Since when it is in this state.
    pub since: Option<Time>,
    /// Its last failure.
    pub last_error: Option<String>,
    /// When that happened.
    pub last_error_at: Option<Time>,
    /// How long its last answer took.
    pub latency_seconds: Option<f64>,
    /// When the certificate expires; `null` for a service.
    pub expires_at: Option<Time>,
}

/// A metric name that the whitelist drops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FilteredMetric {
    /// The name.
    pub name: String,
    /// How many series of it were dropped since the start.
    pub series_total: u64,
}

impl FleetView {
    /// Reads the summary.
    #[must_use]
    pub fn summary(&self) -> FleetSummary {
        let (fleet, now_ms, about) = (&self.gateway().fleet, self.now_ms(), self.replica_info());
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

    /// Counts the clusters by status.
    #[must_use]
    pub fn cluster_counts(&self) -> ClusterCounts {
        let (fleet, now_ms) = (&self.gateway().fleet, self.now_ms());
        let mut counts = ClusterCounts { evicted: fleet.registry.evicted(), ..ClusterCounts::default() };
        fleet.registry.for_each_without_id(|cluster| {
            counts.add(cluster.status(&fleet.thresholds, now_ms));
        });
        counts
    }

    /// Reads the metric names that the whitelist drops most, highest count first.
    #[must_use]
    pub fn filtered_metrics(&self, limit: usize) -> Vec<FilteredMetric> {
        let most = self.gateway().fleet.dropped.most(limit);
        most.into_iter().map(|(name, series_total)| FilteredMetric { name, series_total }).collect()
    }

    /// Reads the state of the services that are configured, and of the listeners' certificates.
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
        for (listener, tls) in &self.replica_info().certificates {
            all.push(certificate(listener, tls.expires_ms(), self.now_ms()));
        }
        all
    }
}

/// A service as the overview shows it. Its state is `ok`, `failing`, or `unknown` before its first answer.
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

/// The certificate of a listener, as a dependency. Its state is `failing` after it expired, `warning` where it expires
/// soon ([`EXPIRES_SOON`]), and `unknown` where its end cannot be read.
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
