//! What a listener counts: connections that it closed or refused, and why.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// `telemeter_connections_closed_total{reason}`. Cheap to clone; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    closed: Family<CloseLabels, Counter>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CloseLabels {
    reason: &'static str,
}

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// Others were in need of what it held.
    Room,
    /// All others had a better right to what they held.
    Refused,
    /// No whole header in time, or no first request.
    Header,
    /// No further request in time.
    Idle,
    /// It did not read its answers.
    Unread,
}

impl CloseReason {
    const ALL: [Self; 5] = [Self::Room, Self::Refused, Self::Header, Self::Idle, Self::Unread];

    const fn label(self) -> &'static str {
        match self {
            Self::Room => "room",
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
    /// Makes the metric, puts it into `registry`, and begins each reason at 0.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Connections of callers that were closed or refused, by reason";
        registry.register("telemeter_connections_closed", help, metrics.closed.clone());
        for reason in CloseReason::ALL {
            drop(metrics.closed.get_or_create(&CloseLabels { reason: reason.label() }));
        }
        metrics
    }

    pub(super) fn closed(&self, reason: CloseReason) {
        self.closed.get_or_create(&CloseLabels { reason: reason.label() }).inc();
    }
}
