//! What the handlers share, and the steps that they have in common.

mod deliver;
mod encode;
mod large;
mod read;
#[cfg(test)]
mod sizing;
mod workspaces;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use telemeter_auth::{authority::Authority, jwt::TokenVerifier, oidc::TokenSource};
use telemeter_fleet::{ReportRoute, recent_store::RecentStore};
use telemeter_http::clock::Clock;
use telemeter_rules::StepCounts;

pub(crate) use self::encode::EncodeBuffers;
pub use self::{
    deliver::Write,
    workspaces::{Workspace, Workspaces},
};
use crate::{
    concurrency::{Concurrency, RequestPermit},
    error::{Error, RequestError},
    fleet::{Fleet, ObservedReport},
    forward::Forward,
    metrics::Metrics,
    protocol::Protocol,
    ratelimit::{RateLimit, Slot},
    rules::ServerRules,
    sender::{Sender, cut},
};

/// While it waits for the store a message is held twice: by its caller, and joined with others.
pub(crate) const FORWARD_FACTOR: usize = 2;

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<GatewayParts>);

/// The parts of a [`Gateway`].
pub struct GatewayParts {
    /// The time.
    pub clock: Clock,
    /// The counters.
    pub metrics: Metrics,
    /// Verifies the access tokens that this server signed.
    pub verifier: TokenVerifier,
    /// Asks the authority which cluster a token may report for; `None`: every token may report for every cluster.
    pub authority: Option<Authority>,
    /// The least time between two uploads of a cluster; `None`: no limit.
    pub ratelimit: Option<Arc<RateLimit>>,
    /// The operator's rules.
    pub rules: ArcSwap<ServerRules>,
    /// Sends to the store; `None` where the recent store takes its place.
    pub forward: Option<Forward>,
    /// The token for calls to the store and the authority, where an OIDC provider gives one.
    pub token: Option<TokenSource>,
    /// What was forwarded lately; `None` without `--recent-store`.
    pub recent_store: Option<Arc<RecentStore>>,
    /// The label that carries the cluster's ID.
    pub partition_label: String,
    /// Put into each access token; clients read them in the answer of `/authorize`.
    pub required_labels: Vec<(String, String)>,
    /// How long an access token is valid.
    pub token_expire: Duration,
    /// Cap on the body of an upload, in decompressed bytes.
    pub limit_bytes: usize,
    /// Cap on the body of a remote write, in compressed bytes.
    pub limit_receive_bytes: usize,
    /// Set once the server shuts down.
    pub draining: AtomicBool,
    /// Whether debug lines name the cluster of a receive request.
    pub log_tenant: bool,
    /// What is known of each cluster.
    pub fleet: Fleet,
    /// The buffers that requests work in.
    pub workspaces: Workspaces,
    /// Counts the requests of each cluster that are under way.
    pub concurrency: Concurrency,
    /// The slowest that a body may arrive after its first seconds, in bytes a second; 0: no limit.
    pub min_body_rate: u64,
    /// Whether the valid series of a remote write are stored where others are refused.
    pub partial_writes: bool,
    /// Whether metadata goes on to the store.
    pub forward_metadata: bool,
}

impl std::ops::Deref for Gateway {
    type Target = GatewayParts;

    fn deref(&self) -> &GatewayParts {
        &self.0
    }
}

impl Gateway {
    /// Shares these parts.
    #[must_use]
    pub fn new(parts: GatewayParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Lets a request in, unless the server shuts down.
    ///
    /// # Errors
    /// [`Error::Draining`].
    pub fn enter(&self) -> Result<(), Error> {
        if self.draining.load(Ordering::Relaxed) { Err(Error::Draining) } else { Ok(()) }
    }

    /// Takes the upload slot of a cluster.
    ///
    /// # Errors
    /// [`Error::RateLimited`].
    pub fn acquire_slot(&self, cluster: &str, now_ms: i64) -> Result<Slot, Error> {
        match &self.ratelimit {
            None => Ok(Slot::unlimited()),
            Some(limit) => limit
                .acquire(cluster, now_ms)
                .map_err(|limited| Error::RateLimited { period: limit.period(), retry_after: limited.retry_after }),
        }
    }

    /// Counts a request of a cluster as under way, until the permit is dropped.
    ///
    /// # Errors
    /// [`Error::ManyAtOnce`] where the cluster has as many as it may have.
    pub fn acquire_permit(&self, cluster: &str) -> Result<RequestPermit<'_>, Error> {
        self.concurrency.acquire(cluster).ok_or(Error::ManyAtOnce)
    }

    /// Adds what the rules counted in one request to the metrics, and writes a debug line where duplicates were dropped or series
    /// were refused alone (`--partial-writes`); `refused` is how many these are.
    pub fn record_counts(&self, route: ReportRoute, cluster: &str, counts: &StepCounts, refused: usize) {
        self.metrics.add(route, counts, refused as u64);
        let duplicates = counts.duplicates;
        if duplicates > 0 || refused > 0 {
            // Lines about remote writes name the cluster only where the operator asks for that.
            let cluster = (route == ReportRoute::Upload || self.log_tenant).then(|| cut(cluster));
            let (route, series) = (route.name(), counts.series);
            tracing::debug!(route, cluster, series, duplicates, refused, "series left out");
        }
    }

    /// Records a request that succeeded; `report` is what it held, and how many samples of it the store accepted.
    pub fn record_accepted(
        &self,
        route: ReportRoute,
        cluster: &str,
        sender: &Sender,
        report: Option<(&ObservedReport, usize)>,
    ) {
        self.fleet.record_accepted(route, cluster, sender, report, self.clock.now_ms());
    }

    /// Records a request that did not succeed: in the counters, in the registry and in the log.
    pub fn record_refused(&self, route: ReportRoute, sender: &Sender, refused: &RequestError) {
        self.metrics.record_refused(route, &refused.error);
        self.fleet.record_refused(route, sender, refused, self.clock.now_ms());
    }

    /// The version of remote write that the store is sent.
    #[must_use]
    pub fn forward_protocol(&self) -> Protocol {
        self.forward.as_ref().map_or(Protocol::V1, Forward::protocol)
    }
}
