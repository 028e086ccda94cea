#![allow(clippy::unwrap_used)]
use std::collections::HashMap;

use opentelemetry::{propagation::TextMapPropagator as _, trace::TraceContextExt as _};
use tracing::info_span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use super::*;

/// The `traceparent` that a span sends on, which was itself called with `incoming`.
fn carried(traces: &Traces, incoming: &str) -> String {
    tracing::subscriber::with_default(tracing_subscriber::registry().with(traces.layer()), || {
        let span = info_span!("request");
        let headers = HashMap::from([("traceparent".to_owned(), incoming.to_owned())]);
        let context = global::get_text_map_propagator(|propagator| propagator.extract(&headers));
        span.set_parent(context).unwrap();
        let mut sent = HashMap::new();
        span.in_scope(|| TraceContextPropagator::new().inject_context(&span.context(), &mut sent));
        sent.remove("traceparent").unwrap()
    })
}

#[test]
fn the_context_is_carried_through_even_when_nothing_is_sent() {
    let traces = off();
    for flags in ["00", "01"] {
        let sent = carried(&traces, &format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}"));
        let parts: Vec<_> = sent.split('-').collect();
        assert_eq!((parts[1], parts[3]), ("0af7651916cd43dd8448eb211c80319c", flags));
        assert_ne!(parts[2], "b7ad6b7169203331", "our own span stands between");
    }
    assert!(traces.shutdown(Duration::from_secs(1)));
}

#[test]
fn a_request_without_a_trace_begins_one_only_where_spans_are_sent() {
    let is_traced = |traces: &Traces| {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(traces.layer()), || {
            info_span!(target: UNTRACED, "request").context().span().span_context().is_valid()
        })
    };
    assert!(!is_traced(&off()));
    let endpoint = Url::parse("http://127.0.0.1:9/v1/traces").ok();
    let config = Config { service_name: "test".to_owned(), endpoint, sampling_fraction: 0.0 };
    assert!(is_traced(&build(&config).unwrap()));
}

/// A collector, and a runtime that keeps it alive.
fn collector() -> (tokio::runtime::Runtime, MockServer) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(async {
        let server = MockServer::start().await;
        Mock::given(matchers::method("POST")).respond_with(ResponseTemplate::new(200)).mount(&server).await;
        server
    });
    (runtime, server)
}

fn sent(fraction: f64, spans: usize) -> Vec<wiremock::Request> {
    let (runtime, server) = collector();
    let endpoint = Url::parse(&format!("{}/v1/traces", server.uri())).unwrap();
    let config =
        Config { service_name: "telemeter-test".to_owned(), endpoint: Some(endpoint), sampling_fraction: fraction };
    let traces = build(&config).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(traces.layer()), || {
        for _ in 0..spans {
            info_span!("upload").in_scope(|| ());
        }
    });
    assert!(traces.shutdown(Duration::from_secs(5)));
    runtime.block_on(server.received_requests()).unwrap()
}

#[test]
fn spans_are_flushed_at_the_end() {
    let requests = sent(1.0, 1);
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].url.path(), "/v1/traces");
    assert_eq!(requests[0].headers["content-type"], "application/x-protobuf");
    let body = String::from_utf8_lossy(&requests[0].body);
    assert!(body.contains("telemeter-test") && body.contains("upload"), "{body}");
}

#[test]
fn a_fraction_of_zero_sends_nothing() {
    assert!(sent(0.0, 20).is_empty());
}

#[test]
fn a_collector_that_is_out_delays_nobody() {
    let endpoint = Url::parse("http://127.0.0.1:9/v1/traces").ok();
    let traces = build(&Config { service_name: "test".to_owned(), endpoint, sampling_fraction: 1.0 }).unwrap();
    let begin = std::time::Instant::now();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(traces.layer()), || {
        info_span!("upload").in_scope(|| ());
    });
    traces.shutdown(Duration::from_millis(500));
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

/// Runs another test of this file in an image without CA certificates.
#[test]
fn a_plain_endpoint_needs_no_ca_certificates() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "traces::tests::spans_are_flushed_at_the_end"])
        .envs([("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
