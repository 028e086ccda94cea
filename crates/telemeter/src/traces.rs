//! Sends spans as OTLP over HTTP, or nowhere. The W3C trace context of a caller is passed on either way.

use std::time::Duration;

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::{ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use telemeter_http::{
    client::{OutboundError, system_tls},
    instrument::UNTRACED,
};
use tracing::{Level, Subscriber};
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};
use url::Url;

/// Which traces are sent, and where to.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The name that our spans carry.
    pub service_name: String,
    /// The URL that spans are posted to; `None`: they are not sent.
    pub endpoint: Option<Url>,
    /// The share of traces that are sent, of those that begin in this program: 0 to 1.
    pub sampling_fraction: f64,
}

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The HTTP client cannot be built.
    #[error("cannot send traces: {0}")]
    Client(#[from] reqwest::Error),
    /// The trusted roots cannot be read.
    #[error("cannot send traces: {0}")]
    Roots(#[from] OutboundError),
    /// The exporter cannot be built.
    #[error("cannot send traces: {0}")]
    Exporter(#[from] ExporterBuildError),
}

/// Cap on one attempt to send spans.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// Collects spans and sends them.
pub struct Traces {
    provider: SdkTracerProvider,
    is_sending: bool,
}

/// Sets up the sending of spans, and the W3C trace context as the propagator of the process.
///
/// Blocks: call it outside the async runtime, and [`Traces::shutdown`] too.
///
/// # Errors
/// [`TracesError`]. An unavailable collector is no error: its spans are lost, and an error is logged.
pub fn build(config: &Config) -> Result<Traces, TracesError> {
    let Some(endpoint) = &config.endpoint else { return Ok(off()) };
    global::set_text_map_propagator(TraceContextPropagator::new());
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client(endpoint)?)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint.as_str())
        .with_timeout(SEND_TIMEOUT)
        .build()?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sampling_fraction)));
    let resource = Resource::builder().with_service_name(config.service_name.clone()).build();
    let builder = SdkTracerProvider::builder().with_resource(resource).with_sampler(sampler);
    Ok(Traces { provider: builder.with_batch_exporter(exporter).build(), is_sending: true })
}

/// Sends no spans, but passes on the trace context of a caller.
pub fn off() -> Traces {
    global::set_text_map_propagator(TraceContextPropagator::new());
    let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOff));
    Traces { provider: SdkTracerProvider::builder().with_sampler(sampler).build(), is_sending: false }
}

/// A client for one endpoint. Proxy variables are meant for the data path and do not apply.
fn client(endpoint: &Url) -> Result<reqwest::blocking::Client, TracesError> {
    let builder = reqwest::blocking::Client::builder()
        .timeout(SEND_TIMEOUT)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    let builder = if endpoint.scheme() == "http" {
        // No root certificates are needed, and an image may have none: reading the system's would fail there.
        builder.tls_certs_only(std::iter::empty())
    } else {
        builder.tls_backend_preconfigured(system_tls("traces")?)
    };
    Ok(builder.build()?)
}

impl Traces {
    /// The tracing layer that turns this project's spans, and the events in them, into OpenTelemetry's.
    pub fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let is_sending = self.is_sending;
        let is_ours = move |target: &str| target.starts_with("telemeter") && (is_sending || target != UNTRACED);
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("telemeter"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(move |meta| *meta.level() <= Level::INFO && is_ours(meta.target())))
    }

    /// Sends the remaining spans, for at most `deadline`. Returns whether all were sent.
    pub fn shutdown(self, deadline: Duration) -> bool {
        self.provider.shutdown_with_timeout(deadline).is_ok()
    }
}

#[cfg(test)]
mod tests;
