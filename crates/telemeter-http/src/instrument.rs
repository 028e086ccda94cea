//! The middleware of every route: counts and durations by handler, a request ID, a trace span, an access log line, and
//! a 500 for a panic.

mod request_id;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::Body as _;
use parking_lot::RwLock;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tower::{Layer, Service};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub use self::request_id::RequestId;
use crate::metrics::{duration_histogram, method_label, size_histogram};
use crate::{panics, propagate};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The target of the span of a request that carries no trace context, and of a batch of such requests. Where no spans
/// are exported, the trace layer ignores these spans, since there is no trace to continue.
pub const UNTRACED: &str = "telemeter_http::untraced";

/// The metrics `http_requests_total`, `http_request_duration_seconds` and `http_request_size_bytes`, by `code`,
/// `handler`, `method`.
///
/// Cheap to clone; clones share the counts.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: Family<HttpLabels, Counter>,
    duration: Family<HttpLabels, Histogram, fn() -> Histogram>,
    size: Family<HttpLabels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct HttpLabels {
    code: StatusCode,
    handler: &'static str,
    method: &'static str,
}

impl EncodeLabelSet for HttpLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        use prometheus_client::encoding::EncodeLabel as _;
        ("code", self.code.as_str()).encode(encoder.encode_label())?;
        ("handler", self.handler).encode(encoder.encode_label())?;
        ("method", self.method).encode(encoder.encode_label())
    }
}

impl HttpMetrics {
    /// Makes the metrics and registers them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            requests: Family::default(),
            duration: Family::new_with_constructor(duration_histogram),
            size: Family::new_with_constructor(size_histogram),
        };
        let help = "Requests by status code, handler and method";
        registry.register("http_requests", help, metrics.requests.clone());
        let help = "Time to the answer by status code, handler and method";
        registry.register("http_request_duration_seconds", help, metrics.duration.clone());
        let help = "Size of requests, headers included, by status code, handler and method";
        registry.register("http_request_size_bytes", help, metrics.size.clone());
        metrics
    }

    /// Makes the layer for one handler: `route.layer(metrics.layer("upload"))`.
    pub fn layer(&self, handler: &'static str) -> Instrument {
        Instrument(Arc::new(Inner { handler, metrics: self.clone(), children: RwLock::default() }))
    }
}

/// The layer that counts, times and logs the requests of one handler, and gives each a request ID; a panic in the
/// handler becomes a 500 that is counted like any other.
#[derive(Clone, Debug)]
pub struct Instrument(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handler: &'static str,
    metrics: HttpMetrics,
    /// The few pairs of code and method that were seen so far: a search in this list is faster than a lookup in the
    /// family.
    children: RwLock<Vec<(StatusCode, &'static str, Child)>>,
}

#[derive(Clone, Debug)]
struct Child {
    requests: Counter,
    duration: Histogram,
    size: Histogram,
}

impl Inner {
    /// The metrics of this handler for a status and a method. They are made at the first such request, and kept from
    /// then on.
    fn child(&self, code: StatusCode, method: &'static str) -> Child {
        let same = |(c, m, _): &&(StatusCode, &'static str, Child)| *c == code && *m == method;
        if let Some((_, _, child)) = self.children.read().iter().find(same) {
            return child.clone();
        }
        let labels = HttpLabels { code, handler: self.handler, method };
        let child = Child {
            requests: self.metrics.requests.get_or_create(&labels).clone(),
            duration: self.metrics.duration.get_or_create(&labels).clone(),
            size: self.metrics.size.get_or_create(&labels).clone(),
        };
        let mut children = self.children.write();
        if !children.iter().any(|known| same(&known)) {
            children.push((code, method, child.clone()));
        }
        child
    }
}

impl<S> Layer<S> for Instrument {
    type Service = Instrumented<S>;
    fn layer(&self, inner: S) -> Instrumented<S> {
        Instrumented { inner, shared: self.0.clone() }
    }
}

/// A handler with an [`Instrument`] around it.
#[derive(Clone, Debug)]
pub struct Instrumented<S> {
    inner: S,
    shared: Arc<Inner>,
}

impl<S> Service<Request> for Instrumented<S>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Error: Into<std::convert::Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let (start, shared) = (Instant::now(), self.shared.clone());
        let method = method_label(request.method());
        let bytes = approximate_bytes(&request);
        let id = RequestId::of(request.headers());
        request.extensions_mut().insert(id);
        let span = span(shared.handler, method, id.as_str(), request.headers());
        // The clone may not be ready; the service that was polled is.
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);

        let answer = async move {
            let handled = async {
                match inner.call(request).await {
                    Ok(response) => response.into_response(),
                    Err(never) => match never.into() {},
                }
            };
            let mut response = panics::catch_panic(handled).await;
            let (code, took) = (response.status(), start.elapsed());
            let child = shared.child(code, method);
            child.requests.inc();
            child.duration.observe(took.as_secs_f64());
            child.size.observe(bytes as f64);
            if let Ok(value) = HeaderValue::from_str(id.as_str()) {
                response.headers_mut().insert(X_REQUEST_ID, value);
            }
            tracing::Span::current().record("code", code.as_u16());
            tracing::debug!(bytes, code = code.as_u16(), ?took, "request");
            Ok(response)
        };
        Box::pin(answer.instrument(span))
    }
}

/// The span of a request. It continues the trace that the headers name; without one, its target is [`UNTRACED`].
fn span(handler: &'static str, method: &'static str, request_id: &str, headers: &HeaderMap) -> tracing::Span {
    macro_rules! span {
        ($target:expr) => {
            tracing::info_span!(
                target: $target,
                "request",
                otel.name = handler,
                otel.kind = "server",
                handler,
                method,
                request_id,
                code = tracing::field::Empty
            )
        };
    }
    let Some(parent) = propagate::extract(headers) else { return span!(UNTRACED) };
    let span = span!(module_path!());
    // Without a trace layer there is no parent to set, so the error is ignored.
    let _ = span.set_parent(parent);
    span
}

/// The size of the request line, the headers and the declared body, in bytes.
fn approximate_bytes(request: &Request<Body>) -> u64 {
    let uri = request.uri();
    let line = request.method().as_str().len() + uri.path().len() + uri.query().map_or(0, str::len) + "HTTP/1.1".len();
    let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    (line + headers) as u64 + declared.unwrap_or_else(|| request.body().size_hint().lower())
}

#[cfg(test)]
mod tests;
