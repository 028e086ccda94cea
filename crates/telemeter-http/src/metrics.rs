//! The program's own metrics: histograms with the buckets of the contract, and the exposition in the format that a
//! scrape asks for.

mod format;
mod process;
mod text;

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};
use prometheus_client::encoding::{EncodeLabelSet, prometheus_protobuf};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use http::Method;
use prometheus_client::metrics::histogram::{Histogram, NativeHistogramConfig};

pub use self::format::MetricsFormat;

/// The buckets of a duration, in seconds.
pub const DURATION_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The buckets of the time that a forward takes, in seconds: its deadline is 5 s.
pub const FORWARD_BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// The buckets of a body's size, in bytes.
pub const SIZE_BUCKETS: [f64; 7] = [1024.0, 8192.0, 65_536.0, 262_144.0, 524_288.0, 1_048_576.0, 2_097_152.0];

/// A histogram with the given classic buckets and with native ones: factor 1.1, at most 100 buckets, reset after 1 h.
pub fn histogram(classic_buckets: impl IntoIterator<Item = f64>) -> Histogram {
    let native = NativeHistogramConfig::new(1.1).max_buckets(100).min_reset_duration(Duration::from_secs(60 * 60));
    Histogram::new_classic_and_native(classic_buckets, native)
}

/// A [`histogram`] with [`DURATION_BUCKETS`]; the constructor of a metric family.
pub fn duration_histogram() -> Histogram {
    histogram(DURATION_BUCKETS)
}

/// A [`histogram`] with [`FORWARD_BUCKETS`]; the constructor of a metric family.
pub fn forward_histogram() -> Histogram {
    histogram(FORWARD_BUCKETS)
}

/// A [`histogram`] with [`SIZE_BUCKETS`]; the constructor of a metric family.
pub fn size_histogram() -> Histogram {
    histogram(SIZE_BUCKETS)
}

/// The counter of log lines that were dropped because the log was read too slowly. Cheap to clone; clones share the
/// count.
#[derive(Clone, Debug, Default)]
pub struct DroppedLogLines(Counter);

impl DroppedLogLines {
    /// Counts one more dropped line.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// The number of dropped lines.
    pub fn get(&self) -> u64 {
        self.0.get()
    }

    /// Registers the counter as `telemeter_log_dropped_lines_total`.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Lines of the log that were dropped because the log was read too slowly";
        registry.register("telemeter_log_dropped_lines", help, self.0.clone());
    }
}

/// Registers the version of the program, as `telemeter_build_info{version,revision}` with the value 1.
pub fn register_build_info(registry: &mut Registry, version: &'static str, revision: &'static str) {
    let info = Family::<Build, Gauge>::default();
    info.get_or_create(&Build { version, revision }).set(1);
    registry.register("telemeter_build_info", "The version of the program, and the revision of its source", info);
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
    revision: &'static str,
}

/// A method as a label value: lower case, from a closed set; any other method is `unknown`.
pub fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "CONNECT" => "connect",
        "OPTIONS" => "options",
        "TRACE" => "trace",
        _ => "unknown",
    }
}

/// A complete registry that can be scraped: the program's own metrics, those of its process, and those of the scrape
/// itself.
#[derive(Clone, Debug)]
pub struct Exposition(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    requests: Family<Code, Counter>,
    in_flight: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: u16,
}

impl Exposition {
    /// Adds `process_*` and `promhttp_metric_handler_*` to `registry`, which is then complete.
    pub fn new(mut registry: Registry) -> Self {
        registry.register_collector(Box::new(process::ProcessCollector));
        let (requests, in_flight) = (Family::<Code, Counter>::default(), Gauge::default());
        let help = "Total number of scrapes by HTTP status code";
        registry.register("promhttp_metric_handler_requests", help, requests.clone());
        let help = "Current number of scrapes being served";
        registry.register("promhttp_metric_handler_requests_in_flight", help, in_flight.clone());
        for code in [200, 500, 503] {
            drop(requests.get_or_create(&Code { code }));
        }
        Self(Arc::new(Inner { registry, requests, in_flight }))
    }

    /// Encodes all metrics in `format`.
    ///
    /// # Errors
    /// A metric cannot be encoded: a histogram without a bucket, for example.
    pub fn encode(&self, format: MetricsFormat) -> Result<Vec<u8>, std::fmt::Error> {
        let registry = &self.0.registry;
        if format == MetricsFormat::Protobuf {
            return prometheus_protobuf::encode_to_vec(registry).map_err(|_error| std::fmt::Error);
        }
        let mut open_metrics = String::new();
        prometheus_client::encoding::text::encode(&mut open_metrics, registry)?;
        let text = match format {
            MetricsFormat::OpenMetrics => text::to_valid_open_metrics(&open_metrics),
            MetricsFormat::Text | MetricsFormat::Protobuf => text::to_prometheus_text(&open_metrics),
        };
        Ok(text.into_bytes())
    }

    /// Responds to a scrape, in the format that its `Accept` prefers, and counts it. Where a metric cannot be encoded,
    /// it is a 500.
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        self.0.in_flight.inc();
        let format = MetricsFormat::accepted(headers);
        let response = match self.encode(format) {
            Ok(body) => ([(header::CONTENT_TYPE, format.content_type())], body).into_response(),
            Err(_error) => (StatusCode::INTERNAL_SERVER_ERROR, "a metric cannot be encoded\n").into_response(),
        };
        self.0.requests.get_or_create(&Code { code: response.status().as_u16() }).inc();
        self.0.in_flight.dec();
        response
    }
}

#[cfg(test)]
mod tests;
