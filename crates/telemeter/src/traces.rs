//! Where spans go: OTLP over HTTP, or nowhere. The W3C context of a caller is carried through either way.

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

/// What is traced, and who is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The name that our spans carry.
    pub service_name: String,
    /// Where spans are posted to, the whole URL; `None`: nowhere.
    pub endpoint: Option<Url>,
    /// The share of traces begun by us that are sent, 0 to 1.
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

/// One try at sending takes no longer.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// The spans on their way out.
pub struct Traces {
    provider: SdkTracerProvider,
    is_sending: bool,
}

/// Makes ready to send, and sets the process's propagator to W3C trace context.
///
/// Blocks, and must be called off the async runtime, as must [`Traces::shutdown`].
///
/// # Errors
/// See [`TracesError`]. A collector that is out is none: its spans are lost, and an error is logged.
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

/// Sends nothing, but carries a caller's context through: its trace, and whether it is sampled.
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
        // No roots are needed, and an image may have none: asking for the system's would fail there.
        builder.tls_certs_only(std::iter::empty())
    } else {
        builder.tls_backend_preconfigured(system_tls("traces")?)
    };
    Ok(builder.build()?)
}

impl Traces {
    /// The layer that turns our spans, and our events in them, into OpenTelemetry's.
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

    /// Sends what is left, for at most `deadline`. Whether all of it went out.
    pub fn shutdown(self, deadline: Duration) -> bool {
        self.provider.shutdown_with_timeout(deadline).is_ok()
    }
}

#[cfg(test)]
mod tests;
