//! W3C trace context over HTTP: it is extracted from the headers of requests and injected into those of outgoing ones.
//!
//! Only the `traceparent` of our own span is sent on. A caller chooses the values of `tracestate` and `baggage`, at any
//! length: a peer that refuses long headers would then refuse the data of all callers in the same batch.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry::{Context, global};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Writes the current span's context into the headers of an outgoing request.
pub(crate) fn inject(headers: &mut HeaderMap) {
    let context = tracing::Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut OutgoingHeaders(headers)));
}

/// The trace context of an incoming request, where it has a valid one.
pub(crate) fn extract(headers: &HeaderMap) -> Option<Context> {
    headers.get("traceparent")?;
    let extract = |propagator: &dyn TextMapPropagator| {
        propagator.extract_with_context(&Context::new(), &IncomingHeaders(headers))
    };
    Some(global::get_text_map_propagator(extract)).filter(|context| context.span().span_context().is_valid())
}

struct OutgoingHeaders<'a>(&'a mut HeaderMap);

impl Injector for OutgoingHeaders<'_> {
    fn set(&mut self, key: &str, value: String) {
        if !key.eq_ignore_ascii_case("traceparent") {
            return;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(key.as_bytes()), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

struct IncomingHeaders<'a>(&'a HeaderMap);

impl Extractor for IncomingHeaders<'_> {
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
    fn only_the_traceparent_goes_on() {
        let mut headers = HeaderMap::new();
        let mut out = OutgoingHeaders(&mut headers);
        out.set("traceparent", "\n".to_owned());
        out.set("traceparent", "00-1-2-01".to_owned());
        out.set("tracestate", "vendor=value".to_owned());
        out.set("baggage", "key=value".to_owned());
        assert_eq!(headers.len(), 1);
        assert_eq!(IncomingHeaders(&headers).get("traceparent"), Some("00-1-2-01"));
        assert_eq!(IncomingHeaders(&headers).keys(), ["traceparent"]);
    }
}
