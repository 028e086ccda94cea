//! Tests of the internal listener, with the requests that Prometheus and pprof send.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use pprof::protos::{Message as _, Profile};
use prometheus_client::registry::Registry;
use telemeter_http::client::{Answer, OutboundRequest};
use telemeter_http::internal::{Health, InternalRouter};
use telemeter_http::listen::ListenLimits;
use telemeter_http::metrics::{Exposition, duration_histogram};

use support::{Serving, outbound};

async fn serving() -> Serving {
    let mut registry = Registry::default();
    let took = duration_histogram();
    took.observe(0.2);
    registry.register("took_seconds", "How long it took", took);
    let router = InternalRouter::new(&Health::new(), Exposition::new(registry)).router();
    Serving::start(router, None, ListenLimits::default()).await
}

async fn get(serving: &Serving, path: &str, accept: &str) -> Answer {
    let outbound = outbound(|_| ());
    let accept = http::HeaderValue::try_from(accept).unwrap();
    let request = OutboundRequest::get(serving.url(path).parse().unwrap()).header(http::header::ACCEPT, accept);
    outbound.send(request, 10 << 20).await.unwrap()
}

fn text(body: &Bytes) -> &str {
    std::str::from_utf8(body).unwrap()
}

#[tokio::test]
async fn metrics_in_three_formats() {
    let serving = serving().await;
    let plain = get(&serving, "/metrics", "*/*").await;
    assert_eq!(plain.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(text(&plain.body).contains("# TYPE process_cpu_seconds_total counter\n"));
    assert!(text(&plain.body).contains("took_seconds_bucket{le=\"+Inf\"} 1\n"));

    let open = get(&serving, "/metrics", "application/openmetrics-text; version=1.0.0").await;
    assert_eq!(open.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text(&open.body).contains("# TYPE process_cpu_seconds counter\n"));
    assert!(text(&open.body).ends_with("# EOF\n"));

    let accept = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    let protobuf = get(&serving, "/metrics", accept).await;
    assert_eq!(protobuf.headers["content-type"], accept);
    assert!(protobuf.body.windows(12).any(|bytes| bytes == b"took_seconds"));
    // There were three scrapes; the one that reads the counters is still in flight.
    let again = get(&serving, "/metrics", "").await;
    assert!(text(&again.body).contains("promhttp_metric_handler_requests_total{code=\"200\"} 3\n"));
    assert!(text(&again.body).contains("promhttp_metric_handler_requests_in_flight 1\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cpu_profile_is_pprof_and_one_is_taken_at_a_time() {
    let serving = serving().await;
    let over = Arc::new(AtomicBool::new(false));
    let busy = std::thread::spawn({
        let over = over.clone();
        move || {
            while !over.load(Ordering::Relaxed) {
                std::hint::black_box((0..100_000_u64).fold(0, |sum: u64, next| sum.wrapping_mul(31) ^ next));
            }
        }
    });
    let profile = async || get(&serving, "/debug/pprof/profile?seconds=1", "*/*").await;
    let second = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        profile().await
    };
    let (mut first, second) = tokio::join!(profile(), second);
    assert_eq!(second.status, 503);
    assert_eq!(text(&second.body), "another CPU profile is being taken\n");
    // The system counts CPU time in ticks: on a busy machine a second may pass without a tick for this process.
    for tries in 1.. {
        assert_eq!(first.status, 200);
        let profile_of = Profile::decode(first.body.as_ref()).expect("pprof's protobuf");
        if !profile_of.sample.is_empty() {
            assert!(!profile_of.function.is_empty());
            break;
        }
        assert!(tries < 20, "no sample in as many seconds");
        first = profile().await;
    }
    over.store(true, Ordering::Relaxed);
    busy.join().unwrap();
}

#[tokio::test]
async fn nothing_tells_the_arguments() {
    let serving = serving().await;
    assert_eq!(get(&serving, "/debug/pprof/cmdline", "*/*").await.status, 404);
    let program = std::env::args().next().unwrap();
    for path in ["/", "/debug/pprof/", "/metrics", "/healthz/ready"] {
        let answer = get(&serving, path, "*/*").await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(!text(&answer.body).contains(&program), "{path}");
    }
}
