//! Tests that a batch carries nothing of its callers' trace contexts to the store, and that its span is linked to
//! theirs.

use std::collections::HashMap;

use opentelemetry::{
    propagation::TextMapPropagator as _,
    trace::{SpanId, TracerProvider as _},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

#[derive(Clone, Debug, Default)]
struct Spans(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Spans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().extend(batch);
        Ok(())
    }
}

impl Spans {
    fn named(&self, name: &str) -> Vec<SpanData> {
        self.0.lock().iter().filter(|span| span.name == name).cloned().collect()
    }
}

/// Twenty callers send a `tracestate` of 14.5 KB each; the store refuses the data of one, so that batches are split.
#[tokio::test]
async fn a_batch_carries_no_header_value_of_a_caller() {
    let propagator = TraceContextPropagator::new();
    opentelemetry::global::set_text_map_propagator(propagator.clone());
    let spans = Spans::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    // While there is one dispatcher in a process, `tracing` asks the thread that reaches a span first whether it is of interest,
    // and remembers that for all: a test without a subscriber on another thread would switch the span off here. With a second
    // dispatcher it asks both of them.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let store = store(|request| {
        let bad = names(request).iter().any(|name| name == "m7");
        ResponseTemplate::new(if bad { 400 } else { 200 })
    })
    .await;
    let forward = forward(&store, BatchConfig { linger: Duration::from_millis(300), ..BatchConfig::default() });
    let sends = (0..20).map(|index| {
        let carrier = HashMap::from([
            ("traceparent".to_owned(), format!("00-{:032x}-{:016x}-01", 0xabc_0000 + index, 0xdef_0000 + index)),
            ("tracestate".to_owned(), format!("vendor={}", "x".repeat(14_500))),
            ("baggage".to_owned(), "key=value".to_owned()),
        ]);
        let span = tracing::info_span!("request");
        span.set_parent(propagator.extract(&carrier)).unwrap();
        let forward = forward.clone();
        let send = async move { forward.send(&index.to_string(), message(&format!("m{index}"))).await.status_code() };
        tokio::spawn(send.instrument(span))
    });
    let sends: Vec<_> = sends.collect();
    for (index, send) in sends.into_iter().enumerate() {
        assert_eq!(send.await.unwrap(), if index == 7 { 400 } else { 200 });
    }

    let requests = store.received_requests().await.unwrap();
    assert!(requests.len() > 5, "the batch was split");
    for request in &requests {
        let bytes: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        assert!(bytes < 1024, "{bytes} bytes of headers");
        assert!(!request.headers.contains_key("tracestate") && !request.headers.contains_key("baggage"));
        let traceparent = request.headers["traceparent"].to_str().unwrap();
        assert!(!traceparent.contains("abc00") && !traceparent.contains("def00"), "{traceparent}");
    }

    // A span ends with its task, shortly after its callers have their answers.
    for _ in 0..2000 {
        if spans.named("forward").len() == requests.len() && spans.named("request").len() == 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (batches, callers) = (spans.named("forward"), spans.named("request"));
    assert_eq!((batches.len(), callers.len()), (requests.len(), 20));
    assert!(batches.iter().all(|batch| batch.parent_span_id == SpanId::INVALID), "a trace of its own");
    for caller in &callers {
        let linked = |batch: &SpanData| {
            batch.links.iter().any(|link| link.span_context.span_id() == caller.span_context.span_id())
        };
        assert!(batches.iter().any(linked), "each caller finds the batches that it was in");
    }
}
