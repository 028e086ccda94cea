//! What this replica knows of its fleet: which clusters report, which are refused and why, how much they send, and whether the
//! services that it depends on answer.
//!
//! Each request ends in [`Fleet::record_accepted`] or [`Fleet::record_refused`]; pages, the API and the series for the store read.

pub mod dependencies;
pub mod dropped;
pub mod file;
pub mod labels;
pub mod rates;
pub mod refusal_log;
pub mod reserved;
pub mod series;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use telemeter_fleet::{
    AcceptedRequest, MAX_LABELS, Reason, RefusedRequest, Registry, RegistryConfig, ReportRoute, ReportSummary,
    Thresholds,
};
use telemeter_wire::SeriesSet;

use self::{
    dependencies::Dependencies, dropped::DroppedNames, labels::FleetLabels, rates::Rates, refusal_log::RefusalLog,
};
use crate::{
    config,
    error::{RequestError, StatusRow},
    sender::{ClusterId, Sender, cut},
};

/// What this replica knows of its fleet, and the counts that go with it. Bounded, and shared by all requests.
pub struct Fleet {
    /// What is known of each cluster.
    pub registry: Registry,
    /// After which time a cluster counts as silent, or no longer as new.
    pub thresholds: Thresholds,
    /// Requests and samples a second.
    pub rates: Rates,
    /// Metric names that the whitelist drops.
    pub dropped: DroppedNames,
    /// Whether the services that the server depends on answer.
    pub dependencies: Dependencies,
    labels: FleetLabels,
    log: RefusalLog,
    /// Refusals since the start, by route and reason.
    refused: RefusalCounters,
    /// Refusals of requests whose credentials were not accepted.
    unverified: RefusalCounters,
}

/// Counters of refusals, by route and reason.
#[derive(Default)]
struct RefusalCounters([[AtomicU64; Reason::ALL.len()]; ReportRoute::ALL.len()]);

impl RefusalCounters {
    fn inc(&self, route: ReportRoute, reason: Reason) {
        self.0[route as usize][reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The routes and reasons with at least one refusal, and their numbers.
    fn list(&self) -> impl Iterator<Item = (ReportRoute, Reason, u64)> {
        ReportRoute::ALL.into_iter().flat_map(move |route| {
            Reason::ALL.into_iter().filter_map(move |reason| {
                let count = self.0[route as usize][reason as usize].load(Ordering::Relaxed);
                (count > 0).then_some((route, reason, count))
            })
        })
    }
}

/// What the registry records of a report once the store has accepted it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedReport {
    /// Series that no rule of the whitelist allows.
    pub filtered: usize,
    /// Samples that passed.
    pub samples: u64,
    /// Bytes of the body as its cap counts them: of an upload decompressed, of a remote write compressed.
    pub bytes: usize,
    /// How far the newest sample was ahead of our clock, in milliseconds.
    pub drift_ms: Option<i64>,
    /// The values of the fleet labels, where one is another than what is known.
    pub labels: Option<Box<[Option<Box<str>>]>>,
}

impl Fleet {
    /// A fleet without clusters.
    #[must_use]
    pub fn new(config: &config::FleetSettings, log_refusals_per_second: u32) -> Self {
        let labels = FleetLabels::new(config.labels.clone());
        let registry = Registry::new(RegistryConfig {
            max_clusters: config.max_clusters,
            forget_after: config.forget_after,
            labels: labels.names().map(str::to_owned).collect(),
        });
        Self {
            registry,
            thresholds: Thresholds::default(),
            rates: Rates::default(),
            dropped: DroppedNames::default(),
            dependencies: Dependencies::default(),
            labels,
            log: RefusalLog::new(log_refusals_per_second),
            refused: RefusalCounters::default(),
            unverified: RefusalCounters::default(),
        }
    }

    /// Observes the series of a report that passed the rules; `filtered` is how many series the whitelist dropped, `bytes` the size of
    /// the body as its cap counts it.
    pub fn observe(
        &self,
        cluster: &str,
        set: &SeriesSet<'_>,
        filtered: u64,
        bytes: usize,
        now_ms: i64,
    ) -> ObservedReport {
        let observed = self.labels.observe(set);
        let labels = &observed.labels[..self.labels.names().len()];
        let is_new = labels.iter().any(Option::is_some) && self.registry.labels_differ(cluster, labels);
        ObservedReport {
            filtered: usize::try_from(filtered).unwrap_or(usize::MAX),
            samples: observed.samples,
            bytes,
            drift_ms: observed.newest_ms.map(|newest_ms| newest_ms.saturating_sub(now_ms)),
            labels: is_new.then(|| labels.iter().map(|label| label.map(Box::from)).collect()),
        }
    }

    /// Records a request that succeeded; `report` is what it held, and how many of its series were delivered.
    pub fn record_accepted(
        &self,
        route: ReportRoute,
        cluster: &str,
        sender: &Sender,
        report: Option<(&ObservedReport, usize)>,
        now_ms: i64,
    ) {
        self.rates.count_accepted(route, report.map_or(0, |(observed, _)| observed.samples));
        let mut labels = [None; MAX_LABELS];
        let changed = report.and_then(|(observed, _)| observed.labels.as_deref()).unwrap_or_default();
        for (label, changed) in labels.iter_mut().zip(changed) {
            *label = changed.as_deref();
        }
        self.registry.accept(&AcceptedRequest {
            cluster,
            route,
            now_ms,
            peer: sender.peer,
            user_agent: sender.user_agent(),
            report: report.map(|(observed, series)| ReportSummary {
                series,
                filtered: observed.filtered,
                bytes: observed.bytes,
                drift_ms: observed.drift_ms,
                labels: &labels[..changed.len()],
            }),
        });
    }

    /// Records a request that did not succeed: in the registry, in the rates and in the counters. Writes its line of
    /// the log, unless too many lines were written for this reason.
    pub fn record_refused(&self, route: ReportRoute, sender: &Sender, refused: &RequestError, now_ms: i64) {
        let StatusRow { status, reason, level, .. } = refused.error.row();
        let status = status.as_u16();
        self.rates.count_refused(route);
        self.refused.inc(route, reason);
        let (peer, user_agent) = (sender.peer, sender.user_agent());
        let refusal = |cluster| RefusedRequest { cluster, route, reason, status, now_ms, peer, user_agent };
        match &refused.cluster {
            ClusterId::Verified(cluster) => self.registry.refuse(&refusal(cluster)),
            ClusterId::Claimed(cluster) => self.registry.refuse_claimed(&refusal(cluster)),
            ClusterId::Unknown => self.registry.refuse_claimed(&refusal("")),
        }
        if refused.cluster.verified().is_none() {
            self.unverified.inc(route, reason);
        }
        let (is_allowed, left_out) = self.log.allow(reason, now_ms);
        log_left_out(reason, left_out);
        if !is_allowed {
            return;
        }
        let (route, reason) = (route.name(), reason.name());
        let (cluster, claimed_cluster) = (refused.cluster.verified().map(cut), refused.cluster.claimed().map(cut));
        let user_agent = cut(user_agent);
        let cause = &refused.error;
        if level == tracing::Level::WARN {
            tracing::warn!(route, status, reason, cluster, claimed_cluster, %peer, user_agent, %cause, "request failed");
        } else {
            tracing::info!(route, status, reason, cluster, claimed_cluster, %peer, user_agent, %cause, "request refused");
        }
    }

    /// Runs every second: records the rates, and logs how many lines about refusals were left out.
    pub fn tick(&self, now_ms: i64) {
        self.rates.tick(now_ms);
        self.log_left_out_counts(now_ms);
    }

    /// Logs how many lines about refusals were left out in seconds that are over.
    pub fn log_left_out_counts(&self, now_ms: i64) {
        for (reason, left_out) in self.log.left_out(now_ms) {
            log_left_out(reason, left_out);
        }
    }

    /// Refusals since the start, by route and reason.
    pub fn refusals(&self) -> impl Iterator<Item = (ReportRoute, Reason, u64)> {
        self.refused.list()
    }

    /// Refusals of requests whose credentials were not accepted, likewise.
    pub fn unverified_refusals(&self) -> impl Iterator<Item = (ReportRoute, Reason, u64)> {
        self.unverified.list()
    }
}

/// Logs how many refusals had no line of their own; nothing where there are none.
fn log_left_out(reason: Reason, more: u64) {
    if more > 0 {
        tracing::warn!(
            reason = reason.name(),
            more,
            "more requests did not succeed for this reason, without a line each"
        );
    }
}

/// The time between two calls of [`Fleet::tick`].
pub const TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
