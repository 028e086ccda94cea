//! What outbound calls count: `client_api_requests_total`, `client_in_flight_requests`, `request_duration_seconds`.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::duration_histogram;

/// Counts outbound calls. Cheap to clone; clones share the counts, so one serves every [`Outbound`](super::Outbound).
#[derive(Clone, Debug)]
pub struct OutboundMetrics {
    requests: Family<RequestLabels, Counter>,
    in_flight: Family<ClientLabels, Gauge>,
    duration: Family<DurationLabels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    client: &'static str,
    code: Cow<'static, str>,
    method: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ClientLabels {
    client: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DurationLabels {
    client: &'static str,
    method: &'static str,
}

impl OutboundMetrics {
    /// Makes the metrics and puts them into `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            in_flight: Family::default(),
            duration: Family::new_with_constructor(duration_histogram),
        };
        registry.register(
            "client_api_requests",
            "Outbound requests by client, status code (error: no answer came) and method",
            metrics.requests.clone(),
        );
        registry.register(
            "client_in_flight_requests",
            "Outbound requests under way by client",
            metrics.in_flight.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "Time that outbound requests took by client and method",
            metrics.duration.clone(),
        );
        metrics
    }

    pub(super) fn start(&self, client: &'static str) -> InFlight<'_> {
        let gauge = self.in_flight.get_or_create(&ClientLabels { client }).clone();
        gauge.inc();
        InFlight { metrics: self, client, gauge }
    }
}

/// One request under way; ends with its drop, be it answered or given up.
pub(super) struct InFlight<'a> {
    metrics: &'a OutboundMetrics,
    client: &'static str,
    gauge: Gauge,
}

impl InFlight<'_> {
    pub(super) fn end(self, method: &'static str, status: Option<StatusCode>, took: Duration) {
        let client = self.client;
        let code = status.map_or(Cow::Borrowed("error"), |status| Cow::Owned(status.as_str().to_owned()));
        self.metrics.requests.get_or_create(&RequestLabels { client, code, method }).inc();
        self.metrics.duration.get_or_create(&DurationLabels { client, method }).observe(took.as_secs_f64());
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
