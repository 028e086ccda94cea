//! Tests of outbound calls against a server that redirects, stalls, sends too much, or responds as it should.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use opentelemetry::trace::TracerProvider as _;
use prometheus_client::registry::Registry;
use telemeter_http::client::{Outbound, OutboundConfig, OutboundError, OutboundMetrics, OutboundRequest, ProxyUse};
use tracing_subscriber::layer::SubscriberExt as _;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use support::{LoggedLines, outbound};

async fn server(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET")).and(path("/")).respond_with(answer).mount(&server).await;
    server
}

async fn ask(outbound: &Outbound, url: &str, cap: usize) -> Result<telemeter_http::client::Answer, OutboundError> {
    outbound.send(OutboundRequest::get(url.parse().unwrap()), cap).await
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let target = server(ResponseTemplate::new(200)).await;
    let server = server(ResponseTemplate::new(307).insert_header("location", target.uri())).await;
    let answer = ask(&outbound(|_| ()), &server.uri(), 100).await.unwrap();
    assert_eq!(answer.status, 307);
    assert_eq!(target.received_requests().await.unwrap().len(), 0);
}

#[tokio::test]
async fn the_deadline_is_for_the_whole_exchange() {
    let server = server(ResponseTemplate::new(200).set_delay(Duration::from_secs(20))).await;
    let outbound = outbound(|config| config.timeout = Duration::from_millis(200));
    let start = Instant::now();
    let error = ask(&outbound, &server.uri(), 100).await.expect_err("too late");
    assert!(matches!(error, OutboundError::Timeout(_)), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_answer_that_drips_is_cut_off_too() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 1024]).await.unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n").await.unwrap();
        for _ in 0..100 {
            let _ = stream.write_all(b"x").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let outbound = outbound(|config| config.timeout = Duration::from_millis(300));
    let error = ask(&outbound, &url, 1000).await.expect_err("too late");
    assert!(matches!(error, OutboundError::Timeout(_)), "{error:?}");
}

/// A server that accepts one connection after the other, and passes the `n`th to `serve`.
async fn raw_server<F>(serve: impl Fn(usize, tokio::net::TcpStream) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(number, stream));
        }
    });
    url
}

/// Reads one request of at most `len` body bytes; returns false at the end of the connection.
async fn read_request(stream: &mut tokio::net::TcpStream, len: usize) -> bool {
    use tokio::io::AsyncReadExt as _;
    let mut read = Vec::new();
    loop {
        if let Some(head) = read.windows(4).position(|four| four == b"\r\n\r\n")
            && read.len() >= head + 4 + len
        {
            return true;
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

async fn post_twice_at_most(
    outbound: &Outbound,
    url: &str,
    body: &'static [u8],
) -> Result<telemeter_http::client::Answer, OutboundError> {
    let request = || Ok(OutboundRequest::post(url.parse().unwrap()).with_body(body));
    outbound.send_idempotent(request, 100).await
}

/// The peer closes a kept connection just when the second request arrives.
#[tokio::test]
async fn a_request_on_a_connection_that_was_closed_while_idle_is_sent_again_at_once() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::AsyncWriteExt as _;
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let url = raw_server(move |_, mut stream| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            if read_request(&mut stream, 4).await {
                stream.write_all(OK).await.unwrap();
                read_request(&mut stream, 4).await;
            }
        }
    })
    .await;
    let outbound = outbound(|_| ());
    for round in 0..20 {
        let answer = post_twice_at_most(&outbound, &url, b"body").await;
        assert_eq!(answer.unwrap_or_else(|error| panic!("round {round}: {error}")).status, 200);
    }
    assert!(connections.load(Ordering::Relaxed) > 10, "connections were closed on the way");
    // A request that may not arrive twice is sent once.
    let request = || OutboundRequest::post(url.parse().unwrap()).with_body("body");
    let failed = [outbound.send(request(), 100).await.is_err(), outbound.send(request(), 100).await.is_err()];
    assert!(failed.contains(&true), "{failed:?}");
}

#[tokio::test]
async fn a_peer_that_closes_every_connection_is_asked_twice_and_no_more() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let url = raw_server(move |_, mut stream| {
        let count = count.clone();
        async move {
            if read_request(&mut stream, 4).await {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .await;
    let error = post_twice_at_most(&outbound(|_| ()), &url, b"body").await.expect_err("closed");
    assert!(matches!(error, OutboundError::Broken(_)), "{error:?}");
    assert!(requests.load(Ordering::Relaxed) <= 2);
}

#[tokio::test]
async fn a_second_try_has_no_deadline_of_its_own() {
    use tokio::io::AsyncWriteExt as _;
    let url = raw_server(|number, mut stream| async move {
        read_request(&mut stream, 4).await;
        if number == 0 {
            stream.write_all(OK).await.unwrap();
            read_request(&mut stream, 4).await;
        } else {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    })
    .await;
    let outbound = outbound(|config| config.timeout = Duration::from_millis(500));
    assert_eq!(post_twice_at_most(&outbound, &url, b"body").await.unwrap().status, 200);
    let start = Instant::now();
    let error = post_twice_at_most(&outbound, &url, b"body").await.expect_err("too late");
    assert!(matches!(error, OutboundError::Timeout(_)), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// The peer responds after the headers of a request, and closes without reading the body, so that a reset follows its
/// response.
#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_is_the_answer() {
    use tokio::io::AsyncWriteExt as _;
    const BODY: &[u8] = &[b'x'; 4 << 20];
    let url = raw_server(|_, mut stream| async move {
        if read_request(&mut stream, 0).await {
            let answer = b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
    })
    .await;
    let outbound = outbound(|_| ());
    for round in 0..50 {
        let answer = post_twice_at_most(&outbound, &url, BODY).await;
        assert_eq!(answer.unwrap_or_else(|error| panic!("round {round}: {error}")).status, 413);
    }
}

#[tokio::test]
async fn an_answer_up_to_exactly_the_cap() {
    let server = server(ResponseTemplate::new(200).set_body_string("x".repeat(1000))).await;
    let outbound = outbound(|_| ());
    assert_eq!(ask(&outbound, &server.uri(), 1000).await.unwrap().body.len(), 1000);
    let error = ask(&outbound, &server.uri(), 999).await.expect_err("too long");
    assert!(matches!(error, OutboundError::TooLarge { cap_bytes: 999, .. }), "{error:?}");
}

#[tokio::test]
async fn gzip_is_asked_for_only_when_wanted() {
    let server = server(ResponseTemplate::new(200)).await;
    ask(&outbound(|config| config.gzip = true), &server.uri(), 10).await.unwrap();
    ask(&outbound(|_| ()), &server.uri(), 10).await.unwrap();
    let requests = server.received_requests().await.unwrap();
    let encodings: Vec<bool> = requests.iter().map(|request| request.headers.contains_key("accept-encoding")).collect();
    assert_eq!(encodings, [true, false]);
    assert!(requests[0].headers["user-agent"].to_str().unwrap().starts_with("telemeter/"));
}

#[tokio::test]
async fn calls_are_counted() {
    let server = server(ResponseTemplate::new(204)).await;
    let mut registry = Registry::default();
    let metrics = OutboundMetrics::register(&mut registry);
    let mut config = OutboundConfig::new("authorize");
    config.timeout = Duration::from_secs(5);
    let outbound = Outbound::new(config, Some(metrics)).unwrap();
    ask(&outbound, &server.uri(), 10).await.unwrap();
    ask(&outbound, "http://127.0.0.1:1/", 10).await.expect_err("nobody is there");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        r#"client_api_requests_total{client="authorize",code="204",method="get"} 1"#,
        r#"client_api_requests_total{client="authorize",code="error",method="get"} 1"#,
        r#"client_in_flight_requests{client="authorize"} 0"#,
        r#"request_duration_seconds_count{client="authorize",method="get"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn a_call_given_up_is_in_flight_no_more() {
    let server = server(ResponseTemplate::new(200).set_delay(Duration::from_secs(20))).await;
    let mut registry = Registry::default();
    let metrics = OutboundMetrics::register(&mut registry);
    let outbound = Outbound::new(OutboundConfig::new("forward"), Some(metrics)).unwrap();
    let _ = tokio::time::timeout(Duration::from_millis(100), ask(&outbound, &server.uri(), 10)).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains(r#"client_in_flight_requests{client="forward"} 0"#), "{text}");
}

#[tokio::test]
async fn the_trace_goes_along_without_an_empty_state() {
    opentelemetry::global::set_text_map_propagator(opentelemetry_sdk::propagation::TraceContextPropagator::new());
    let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let server = server(ResponseTemplate::new(200)).await;
    let outbound = outbound(|_| ());
    let span = tracing::info_span!("call");
    tracing::Instrument::instrument(ask(&outbound, &server.uri(), 10), span).await.unwrap();
    let headers = &server.received_requests().await.unwrap()[0].headers;
    assert_eq!(headers["traceparent"].len(), 55);
    assert!(!headers.contains_key("tracestate"));
}

#[tokio::test]
async fn verbose_shows_the_round_trip_without_its_secrets() {
    let lines = LoggedLines::default();
    let _default = tracing::subscriber::set_default(lines.subscriber());
    let answer = ResponseTemplate::new(200).insert_header("set-cookie", "hunter2").set_body_string("hunter3");
    let server = server(answer).await;
    for verbose in [false, true] {
        let outbound = outbound(|config| config.verbose = verbose);
        let request = OutboundRequest::get(format!("{}/?token=hunter4", server.uri()).parse().unwrap());
        outbound.send(request.with_bearer("hunter5").unwrap(), 100).await.unwrap();
        let text = lines.text();
        assert_eq!(text.matches("round trip").count(), usize::from(verbose), "{text}");
        assert!(!text.contains("hunter"), "{text}");
    }
    let text = lines.text();
    for part in ["method=\"GET\"", &format!("{}/", server.uri()), "status=200", "answered_bytes=7", "[redacted]"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

/// Runs one ignored test of this file in a process of its own, with these environment variables.
fn child(test: &str, variables: &[(&str, &str)]) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]).env_clear().envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn a_proxy_is_used_only_when_asked_for_and_never_for_loopback() {
    let proxy = MockServer::start().await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(299)).mount(&proxy).await;
    let address = proxy.uri();
    tokio::task::spawn_blocking(move || {
        child("in_a_child_with_a_proxy", &[("HTTP_PROXY", &address), ("NO_PROXY", "direct.invalid")]);
    })
    .await
    .unwrap();
    let asked: Vec<String> =
        proxy.received_requests().await.unwrap().iter().map(|request| request.url.path().to_owned()).collect();
    assert_eq!(asked, ["/through-the-proxy"]);
}

#[tokio::test]
#[ignore = "run by a_proxy_is_used_only_when_asked_for_and_never_for_loopback"]
async fn in_a_child_with_a_proxy() {
    let server = server(ResponseTemplate::new(200)).await;
    let with = outbound(|config| config.proxy = ProxyUse::FromEnvironment);
    let without = outbound(|config| config.proxy = ProxyUse::None);
    assert_eq!(ask(&with, "http://store.invalid/through-the-proxy", 10).await.unwrap().status, 299);
    assert_eq!(ask(&with, &server.uri(), 10).await.unwrap().status, 200);
    ask(&with, "http://direct.invalid/", 10).await.expect_err("NO_PROXY names it, and there is none");
    ask(&without, "http://store.invalid/without", 10).await.expect_err("there is none");
}

#[tokio::test]
async fn a_machine_without_roots_can_call_all_the_same() {
    tokio::task::spawn_blocking(|| {
        child("in_a_child_without_roots", &[("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")]);
    })
    .await
    .unwrap();
}

#[tokio::test]
#[ignore = "run by a_machine_without_roots_can_call_all_the_same"]
async fn in_a_child_without_roots() {
    let server = server(ResponseTemplate::new(200)).await;
    let outbound = outbound(|_| ());
    assert_eq!(ask(&outbound, &server.uri(), 10).await.unwrap().status, 200);
    let secure = server.uri().replace("http://", "https://");
    ask(&outbound, &secure, 10).await.expect_err("an http server speaks no TLS");

    assert_eq!(outbound.roots(), 0);
    let lines = LoggedLines::default();
    let _default = tracing::subscriber::set_default(lines.subscriber());
    outbound.warn_without_roots("--from", "http");
    assert!(lines.text().is_empty(), "nothing needs them");
    outbound.warn_without_roots("--to", "https");
    let text = lines.text();
    assert!(text.contains("WARN") && text.contains("no trusted roots") && text.contains("flag=\"--to\""), "{text}");
}
