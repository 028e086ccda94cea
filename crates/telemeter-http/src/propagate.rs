//! W3C trace context across HTTP: out of a request's headers, into another's.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, global};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Writes the current span's context into the headers of an outgoing request.
pub(crate) fn inject(headers: &mut HeaderMap) {
    let context = tracing::Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut Out(headers)));
}

/// The context that the sender of a request stands in, where it stands in a trace.
pub(crate) fn extract(headers: &HeaderMap) -> Option<Context> {
    headers.get("traceparent")?;
    let extract = |propagator: &dyn TextMapPropagator| propagator.extract_with_context(&Context::new(), &In(headers));
    Some(global::get_text_map_propagator(extract)).filter(|context| context.span().span_context().is_valid())
}

struct Out<'a>(&'a mut HeaderMap);

impl Injector for Out<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty `tracestate` says nothing, and some peers refuse it.
        if value.is_empty() {
            return;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(key.as_bytes()), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

struct In<'a>(&'a HeaderMap);

impl Extractor for In<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_tracestate_is_dropped() {
        let mut headers = HeaderMap::new();
        let mut out = Out(&mut headers);
        out.set("traceparent", "00-1-2-01".to_owned());
        out.set("tracestate", String::new());
        out.set("bad name", "x".to_owned());
        out.set("bad-value", "\n".to_owned());
        assert_eq!(headers.len(), 1);
        assert_eq!(In(&headers).get("traceparent"), Some("00-1-2-01"));
        assert_eq!(In(&headers).keys(), ["traceparent"]);
    }
}
