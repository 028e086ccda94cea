//! Tests of a real listener with peers that behave, peers that misbehave, and peers that disconnect early.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::StatusCode;
use telemeter_http::body::{self, BodyError};
use telemeter_http::listen::{self, ListenLimits, Peer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use support::{SOON, Serving, limits, raw, read_to_close};

const CAP: usize = 1000;

async fn upload(body: Body) -> Response {
    let mut into = Vec::new();
    match body::read(body, CAP, Duration::from_millis(400), &mut into).await {
        Ok(()) => into.len().to_string().into_response(),
        Err(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(BodyError::Timeout | BodyError::TooSlow { .. }) => StatusCode::REQUEST_TIMEOUT.into_response(),
        Err(BodyError::NoMemory | BodyError::Aborted(_)) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Err(BodyError::Malformed(_)) => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn router() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/upload", post(upload))
        .route("/peer", get(|Extension(Peer(peer)): Extension<Peer>| async move { peer.to_string() }))
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("at the disco")
                }
            }),
        )
        .route(
            "/slow",
            get(|| async {
                sleep(Duration::from_millis(600)).await;
                "done"
            }),
        )
        .route("/stuck", get(std::future::pending::<()>))
}

async fn serving() -> Serving {
    Serving::start(router(), None, limits()).await
}

#[tokio::test]
async fn a_silent_client_is_closed() {
    let serving = serving().await;
    let start = Instant::now();
    assert_eq!(raw(&serving, "").await, "");
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
}

#[tokio::test]
async fn dripped_headers_are_closed() {
    let serving = serving().await;
    let mut stream = serving.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let start = Instant::now();
    let mut dripped = 0;
    while stream.write_all(b"a: b\r\n").await.is_ok() {
        dripped += 1;
        assert!(dripped < 200, "still open after {:?}", start.elapsed());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_idle_kept_connection_is_closed() {
    let serving = serving().await;
    let answer = raw(&serving, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn huge_headers_are_refused() {
    let serving = Serving::start(router(), None, ListenLimits { header_bytes: 8 * 1024, ..limits() }).await;
    let answer = raw(&serving, &format!("GET / HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(9000))).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_dripped_body_times_out() {
    let serving = serving().await;
    let mut stream = serving.connect().await;
    stream.write_all(b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n").await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let drip = tokio::spawn(async move {
        for _ in 0..100 {
            if to.write_all(b"x").await.is_err() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = [0; 12];
    timeout(Duration::from_secs(4), from.read_exact(&mut answer)).await.expect("before the body is there").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    drip.abort();
}

#[tokio::test]
async fn bodies_up_to_exactly_the_cap() {
    let serving = serving().await;
    let post = |bytes: usize| format!("POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n");
    let answer = raw(&serving, &(post(CAP) + &"x".repeat(CAP))).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("1000"), "{answer}");
    let answer = raw(&serving, &(post(CAP + 1) + &"x".repeat(CAP + 1))).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // The request is refused because of its declared length: no byte of the body was sent.
    let answer = raw(&serving, &post(1_000_000_000_000)).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let chunked = "POST /upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let answer = raw(&serving, &format!("{chunked}3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(CAP + 1))).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_next_request_is_served() {
    let serving = serving().await;
    let answer = raw(&serving, "GET /panic HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(!answer.contains("disco"), "{answer}");
    assert!(raw(&serving, "GET / HTTP/1.0\r\n\r\n").await.ends_with("hello"));
}

#[tokio::test]
async fn the_peer_is_an_extension() {
    let serving = serving().await;
    let mut stream = serving.connect().await;
    let us = stream.local_addr().unwrap().to_string();
    stream.write_all(b"GET /peer HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(read_to_close(&mut stream).await.ends_with(&us));
}

#[tokio::test]
async fn plaintext_speaks_no_http2() {
    let answer = raw(&serving().await, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_refuses_the_rest() {
    let mut serving = Serving::start(router(), None, ListenLimits { drain_timeout: SOON, ..limits() }).await;
    let mut idle = serving.connect().await;
    let mut in_flight = serving.connect().await;
    in_flight.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    let address = serving.address;

    serving.begin_stop();
    sleep(Duration::from_millis(100)).await;
    TcpStream::connect(address).await.expect_err("no new connection");
    assert_eq!(read_to_close(&mut idle).await, "");
    let answer = read_to_close(&mut in_flight).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("done"), "{answer}");
    serving.stopped().await;
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let serving =
        Serving::start(router(), None, ListenLimits { drain_timeout: Duration::from_millis(300), ..limits() }).await;
    let mut stuck = serving.connect().await;
    stuck.write_all(b"GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    serving.stopped().await;
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    assert_eq!(read_to_close(&mut stuck).await, "");
}

#[tokio::test]
async fn localhost_serves_on_every_socket() {
    let listener = listen::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(listen::serve(listener, router(), limits(), std::future::pending()));
    for ip in ["127.0.0.1", "::1"] {
        let Ok(mut stream) = TcpStream::connect((ip, port)).await else {
            assert_eq!(ip, "::1", "127.0.0.1 must answer");
            continue;
        };
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(read_to_close(&mut stream).await.ends_with("hello"), "{ip}");
    }
}

/// Sends the headers of a chunked upload, followed by `body`.
async fn chunked(serving: &Serving, body: &str) -> String {
    raw(serving, &format!("POST /upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{body}")).await
}

#[tokio::test]
async fn framing_that_is_broken_for_good_is_a_400_and_the_end() {
    let serving = serving().await;
    assert!(chunked(&serving, "1\r\nx\r\n0\r\n\r\n").await.starts_with("HTTP/1.1 200 "), "what is in order");
    assert!(chunked(&serving, "1;a=b\r\nx\r\n0\r\na: b\r\n\r\n").await.starts_with("HTTP/1.1 200 "), "with additions");
    let long = "x".repeat(20_000);
    for (broken, what) in [
        ("x\r\n", "a size that is no number"),
        ("-1\r\n", "a negative size"),
        ("\r\n", "no size"),
        ("1 1\r\n", "two sizes"),
        ("fffffffffffffffff\r\n", "a size of 17 digits"),
        ("1\nx\r\n", "a bare line feed behind the size"),
        ("1\r\nxx\r\n", "a chunk that is longer than it says"),
        ("1\r\nx\n", "a bare line feed behind the chunk"),
        (&format!("1;{long}"), "an extension without end"),
        (&format!("0\r\na: {long}"), "a trailer without end"),
        (&format!("0\r\n{}", "a: b\r\n".repeat(3000)), "trailers without end"),
    ] {
        let answer = chunked(&serving, broken).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{what}: and no more requests");
    }
}
