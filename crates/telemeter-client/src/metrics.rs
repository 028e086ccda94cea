//! The client's own metrics.

use std::sync::atomic::AtomicU64;

use http::StatusCode;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use telemeter_http::client::OutboundHandshakes;
use telemeter_wire::UploadCounts;

use crate::pipeline::{LeftOut, Packed};

/// The metrics of the client. Cheap to clone; clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Series of the last scrape.
    pub federate_samples: Gauge,
    /// Series of the last scrape that were not uploaded.
    pub federate_filtered_samples: Gauge,
    /// Series of the last scrape that were left out because a server would refuse the upload for them.
    pub federate_invalid_samples: Gauge,
    /// Series of the last scrape that no selector names.
    pub federate_unrequested_samples: Gauge,
    /// Unix time of the last cycle that did not fail, in seconds; 0 before the first.
    pub federate_last_success_timestamp_seconds: Gauge<f64, AtomicU64>,
    /// Cycles that failed since the last one that did not.
    pub federate_consecutive_failures: Gauge,
    /// Cycles begun.
    pub federate_requests: Counter,
    /// Cycles that failed.
    pub federate_requests_failed: Counter,
    /// Remote writes that were sent again.
    pub remote_write_retries: Counter,
    /// Outbound requests, by side and by the status of the answer.
    http_requests: Family<CallLabels, Counter>,
    /// Scrapes answered.
    request_retrieve: Family<CallLabels, Gauge>,
    /// Uploads answered.
    request_send: Family<CallLabels, Gauge>,
    /// Series of the last upload, by what the server did with them.
    upload_series: Family<UploadLabels, Gauge>,
    /// TLS handshakes with Prometheus and with the server.
    pub(crate) handshakes: OutboundHandshakes,
}

/// The peer of an outbound request: the value of the label `client`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerLabel {
    /// Prometheus.
    From,
    /// The server.
    To,
}

impl PeerLabel {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::From => "federate_from",
            Self::To => "federate_to",
        }
    }
}

/// `result`: `sent`, or what the server did: `kept`, `filtered`, `duplicates`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UploadLabels {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    client: &'static str,
    /// Three digits, or `error` where no answer came.
    status_code: String,
}

impl CallLabels {
    fn new(side: PeerLabel, status: Option<StatusCode>) -> Self {
        let status_code = status.map_or_else(|| "error".to_owned(), |status| status.as_u16().to_string());
        Self { client: side.name(), status_code }
    }
}

impl Metrics {
    /// Registers all metrics of the client with `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { handshakes: OutboundHandshakes::register(registry), ..Self::default() };
        registry.register("federate_samples", "Series of the last scrape", metrics.federate_samples.clone());
        registry.register(
            "federate_filtered_samples",
            "Series of the last scrape that were not uploaded",
            metrics.federate_filtered_samples.clone(),
        );
        registry.register(
            "federate_invalid_samples",
            "Series of the last scrape that a server would refuse the whole upload for, and that were left out",
            metrics.federate_invalid_samples.clone(),
        );
        registry.register(
            "federate_unrequested_samples",
            "Series of the last scrape that no selector names: the source answered with them all the same",
            metrics.federate_unrequested_samples.clone(),
        );
        registry.register(
            "federate_last_success_timestamp_seconds",
            "Unix time of the last cycle that went through; 0 before the first",
            metrics.federate_last_success_timestamp_seconds.clone(),
        );
        registry.register(
            "federate_consecutive_failures",
            "Cycles that failed since the last one that went through",
            metrics.federate_consecutive_failures.clone(),
        );
        registry.register("federate_requests", "Cycles of scrape and upload begun", metrics.federate_requests.clone());
        registry.register(
            "federate_requests_failed",
            "Cycles of scrape and upload that failed",
            metrics.federate_requests_failed.clone(),
        );
        registry.register(
            "remote_write_retries",
            "Remote writes sent again because the receiver had a problem or did not answer",
            metrics.remote_write_retries.clone(),
        );
        registry.register(
            "metricsclient_http_requests",
            "Outbound requests by side and by the status of the answer (error: no answer came)",
            metrics.http_requests.clone(),
        );
        registry.register(
            "metricsclient_request_retrieve",
            "Scrapes answered by side and status",
            metrics.request_retrieve.clone(),
        );
        registry.register(
            "metricsclient_request_send",
            "Uploads answered by side and status",
            metrics.request_send.clone(),
        );
        registry.register(
            "upload_series",
            "Series of the last upload: sent, and what the server did with them where it says so (kept, filtered, duplicates)",
            metrics.upload_series.clone(),
        );
        // As in Go: counters of the server that the client exports too; they stay 0.
        for (name, help) in [
            ("telemeter_elide_transform_dropped", "Labels elided; the client elides none"),
            ("telemeter_v1_forward_samples", "Samples forwarded; the client forwards none"),
            ("telemeter_v1_forward_overwritten_timestamps", "Timestamps overwritten; the client overwrites none"),
        ] {
            registry.register(name, help, Counter::<u64, AtomicU64>::default());
        }
        metrics
    }

    /// Sets the gauges about the series of the last scrape: how many there were, and how many of them are not uploaded, by
    /// cause.
    pub(crate) fn record_scrape(&self, packed: &Packed) {
        let gauge = |series: usize| i64::try_from(series).unwrap_or(i64::MAX);
        let LeftOut { unrequested, untimed, outdated, invalid, unrequested_uploaded, duplicates: _ } = packed.left_out;
        self.federate_samples.set(gauge(packed.scraped));
        self.federate_filtered_samples.set(gauge(packed.scraped - packed.kept));
        self.federate_invalid_samples.set(gauge(untimed + outdated + invalid));
        self.federate_unrequested_samples.set(gauge(unrequested + unrequested_uploaded));
    }

    /// Records a cycle that succeeded at `now_ms`, a Unix time in milliseconds.
    pub(crate) fn record_success(&self, now_ms: i64) {
        #[allow(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
        self.federate_last_success_timestamp_seconds.set(now_ms as f64 / 1000.0);
        self.federate_consecutive_failures.set(0);
    }

    /// Records a cycle that failed.
    pub(crate) fn record_failure(&self) {
        self.federate_requests_failed.inc();
        self.federate_consecutive_failures.inc();
    }

    /// Counts a request to Prometheus by the status of its response, or as `error` where there was none. Only requests with a
    /// response count in `request_retrieve`, too.
    pub(crate) fn count_scrape_request(&self, status: Option<StatusCode>) {
        let call = CallLabels::new(PeerLabel::From, status);
        self.http_requests.get_or_create(&call).inc();
        if status.is_some() {
            self.request_retrieve.get_or_create(&call).inc();
        }
    }

    /// Counts a request for an access token by the status of its response, or as `error` where there was none.
    pub(crate) fn count_token_request(&self, status: Option<StatusCode>) {
        self.http_requests.get_or_create(&CallLabels::new(PeerLabel::To, status)).inc();
    }

    /// Sets the gauges about the last upload: that it had `sent` series, and, where the response has the counts, how many of
    /// them the server kept, filtered, and dropped as duplicates.
    pub(crate) fn record_upload(&self, sent: usize, counts: Option<UploadCounts>) {
        self.upload_series.clear();
        let set = |result, series: u64| {
            let gauge = self.upload_series.get_or_create(&UploadLabels { result });
            gauge.set(i64::try_from(series).unwrap_or(i64::MAX));
        };
        set("sent", sent as u64);
        if let Some(counts) = counts {
            set("kept", counts.kept);
            set("filtered", counts.filtered);
            set("duplicates", counts.duplicates);
        }
    }

    /// Counts an upload, or a remote write, by the status of its response, or as `error` where there was none. Only those with
    /// a response count in `request_send`, too.
    pub(crate) fn count_upload_request(&self, status: Option<StatusCode>) {
        let call = CallLabels::new(PeerLabel::To, status);
        self.http_requests.get_or_create(&call).inc();
        if status.is_some() {
            self.request_send.get_or_create(&call).inc();
        }
    }
}
