//! A listener's metrics: connections that were closed or refused, and TLS handshakes, the failed ones by reason.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use rustls::HandshakeKind;

use super::handshake_fault::HandshakeFault;

/// The metrics `telemeter_connections_closed_total{reason}`, `telemeter_tls_handshakes_total{resumed}` and
/// `telemeter_tls_handshake_failures_total{reason}`. Cheap to clone; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    closed: Family<CloseLabels, Counter>,
    full: Counter,
    resumed: Counter,
    failures: Family<FaultLabels, Counter>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResumedLabels {
    resumed: &'static str,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct FaultLabels {
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CloseLabels {
    reason: &'static str,
}

/// The reason for which a connection was closed: the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// The connection, or a request on it, was evicted for others: because of a cap, a memory share, or missing file
    /// descriptors.
    Evicted,
    /// The connection was refused: no other connection could be evicted for it.
    Refused,
    /// The headers of a request, or the first request, did not arrive in time.
    Header,
    /// No further request arrived in time.
    Idle,
    /// The peer did not read the responses.
    Unread,
}

impl CloseReason {
    const ALL: [Self; 5] = [Self::Evicted, Self::Refused, Self::Header, Self::Idle, Self::Unread];

    /// The value of the metric's label `reason`.
    const fn label(self) -> &'static str {
        match self {
            Self::Evicted => "room",
            Self::Refused => "refused",
            Self::Header => "header",
            Self::Idle => "idle",
            Self::Unread => "unread",
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl ConnectionMetrics {
    /// Makes the metrics, registers them in `registry`, and starts each reason at 0.
    pub fn register(registry: &mut Registry) -> Self {
        let handshakes = Family::<ResumedLabels, Counter>::default();
        let of = |resumed| handshakes.get_or_create(&ResumedLabels { resumed }).clone();
        let metrics = Self { full: of("false"), resumed: of("true"), ..Self::default() };
        let help = "TLS handshakes of callers, by whether they resumed a session";
        registry.register("telemeter_tls_handshakes", help, handshakes.clone());
        let help = "TLS handshakes of callers that failed, by reason";
        registry.register("telemeter_tls_handshake_failures", help, metrics.failures.clone());
        for fault in HandshakeFault::ALL {
            drop(metrics.failures.get_or_create(&FaultLabels { reason: fault.label() }));
        }
        let help = "Connections of callers that were closed or refused, by reason";
        registry.register("telemeter_connections_closed", help, metrics.closed.clone());
        for reason in CloseReason::ALL {
            drop(metrics.closed.get_or_create(&CloseLabels { reason: reason.label() }));
        }
        metrics
    }

    pub(super) fn established(&self, kind: Option<HandshakeKind>) {
        match kind {
            Some(HandshakeKind::Resumed) => self.resumed.inc(),
            _ => self.full.inc(),
        };
    }

    pub(super) fn failed(&self, fault: HandshakeFault) {
        self.failures.get_or_create(&FaultLabels { reason: fault.label() }).inc();
    }

    pub(super) fn closed(&self, reason: CloseReason) {
        self.closed.get_or_create(&CloseLabels { reason: reason.label() }).inc();
    }
}
