//! The metrics of outbound calls: `client_api_requests_total`, `client_in_flight_requests`, `request_duration_seconds`,
//! and for their connections `dns_duration_seconds` and `tls_duration_seconds`.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::{duration_histogram, histogram};

/// The buckets are those of the Go version.
const DNS_BUCKETS: [f64; 4] = [0.005, 0.01, 0.025, 0.05];
const TLS_BUCKETS: [f64; 4] = [0.05, 0.1, 0.25, 0.5];

/// The metrics of outbound calls. Cheap to clone; clones share the counts, so one set serves every
/// [`Outbound`](super::Outbound).
#[derive(Clone, Debug)]
pub struct OutboundMetrics {
    requests: Family<RequestLabels, Counter>,
    in_flight: Family<ClientLabels, Gauge>,
    duration: Family<DurationLabels, Histogram, fn() -> Histogram>,
    dns: Family<EventLabels, Histogram, fn() -> Histogram>,
    tls: Family<EventLabels, Histogram, fn() -> Histogram>,
    handshakes: OutboundHandshakes,
}

/// The counter `telemeter_outbound_tls_handshakes_total{client,resumed}` of full and resumed TLS handshakes. Cheap to
/// clone; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct OutboundHandshakes(Family<HandshakeLabels, Counter>);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct HandshakeLabels {
    client: &'static str,
    resumed: &'static str,
}

impl OutboundHandshakes {
    /// Makes the metric and registers it in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let handshakes = Self::default();
        let help = "TLS handshakes of outbound connections, by client and by whether they resumed a session";
        registry.register("telemeter_outbound_tls_handshakes", help, handshakes.0.clone());
        handshakes
    }

    /// Starts both counts of a client at 0.
    pub(super) fn begin(&self, client: &'static str) {
        drop(self.of(client, false));
        drop(self.of(client, true));
    }

    pub(super) fn count(&self, client: &'static str, is_resumed: bool) {
        self.of(client, is_resumed).inc();
    }

    fn of(&self, client: &'static str, is_resumed: bool) -> Counter {
        let resumed = if is_resumed { "true" } else { "false" };
        self.0.get_or_create(&HandshakeLabels { client, resumed }).clone()
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EventLabels {
    client: &'static str,
    event: &'static str,
}

/// A step in making a connection. Source: Go, `promhttp.InstrumentTrace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectEvent {
    DnsStart,
    DnsDone,
    TlsStart,
    TlsDone,
}

/// Measures the steps of one connection from its start.
#[derive(Debug)]
pub(super) struct ConnectTimer<'a> {
    metrics: Option<(&'a OutboundMetrics, &'static str)>,
    began: Instant,
}

impl<'a> ConnectTimer<'a> {
    pub(super) fn begin(metrics: Option<&'a OutboundMetrics>, client: &'static str) -> Self {
        Self { metrics: metrics.map(|metrics| (metrics, client)), began: Instant::now() }
    }

    /// Records the time when a step was reached.
    pub(super) fn reached(&self, event: ConnectEvent) {
        let Some((metrics, client)) = self.metrics else { return };
        let (family, event) = match event {
            ConnectEvent::DnsStart => (&metrics.dns, "dns_start"),
            ConnectEvent::DnsDone => (&metrics.dns, "dns_done"),
            ConnectEvent::TlsStart => (&metrics.tls, "tls_handshake_start"),
            ConnectEvent::TlsDone => (&metrics.tls, "tls_handshake_done"),
        };
        family.get_or_create(&EventLabels { client, event }).observe(self.began.elapsed().as_secs_f64());
    }
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
    /// Makes the metrics and registers them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            in_flight: Family::default(),
            duration: Family::new_with_constructor(duration_histogram),
            dns: Family::new_with_constructor(|| histogram(DNS_BUCKETS)),
            tls: Family::new_with_constructor(|| histogram(TLS_BUCKETS)),
            handshakes: OutboundHandshakes::register(registry),
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
        registry.register(
            "dns_duration_seconds",
            "Time from the beginning of an outbound connection to the start and the end of its name lookup, by client",
            metrics.dns.clone(),
        );
        registry.register(
            "tls_duration_seconds",
            "Time from the beginning of an outbound connection to the start and the end of its TLS handshake, by client",
            metrics.tls.clone(),
        );
        metrics
    }

    /// The counter of TLS handshakes, for [`OutboundConfig::handshakes`](super::OutboundConfig::handshakes).
    pub fn handshakes(&self) -> OutboundHandshakes {
        self.handshakes.clone()
    }

    pub(super) fn start(&self, client: &'static str) -> InFlight<'_> {
        let gauge = self.in_flight.get_or_create(&ClientLabels { client }).clone();
        gauge.inc();
        InFlight { metrics: self, client, gauge }
    }
}

/// One open request, which ends when it is dropped, with a response or without one.
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
