//! Tests of clients behind a trusted load balancer: one of them cannot harm the others, on shared connections or on
//! separate ones.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use telemeter_http::body;
use telemeter_http::budget::{MemoryBudget, MemoryShare};
use telemeter_http::listen::ListenLimits;
use telemeter_http::tls::ListenerTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use support::{SOON, Serving, connect_from, frame, shake, write_pair};

const BALANCER: &str = "127.0.0.2";
/// The index of `:status: 200` in the static table of HPACK.
const OK: u8 = 0x88;

fn router() -> Router {
    let read = |body: Body| async move {
        let read = body::read(body, 1000, SOON * 10, &mut Vec::new()).await;
        if read.is_ok() { "read" } else { "broken" }
    };
    Router::new().route("/", get(|| async { "hello" })).route("/read", post(read))
}

/// Limits with long deadlines: memory has to be freed by evictions.
fn patient(budget: &MemoryBudget) -> ListenLimits {
    ListenLimits {
        header_timeout: SOON * 10,
        idle_timeout: SOON * 10,
        handshake_timeout: SOON * 10,
        write_timeout: SOON * 10,
        budget: budget.clone(),
        trusted_proxies: vec![BALANCER.parse().unwrap()].into(),
        ..ListenLimits::default()
    }
}

/// Sends a request on a kept connection; returns the response, which is empty where the connection was closed.
async fn ask(stream: &mut TcpStream, client: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {client}\r\n\r\n");
    let mut answer = vec![0; 512];
    if stream.write_all(request.as_bytes()).await.is_err() {
        return String::new();
    }
    let read = timeout(SOON, stream.read(&mut answer)).await.expect("soon").unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn connections_of_one_client_make_room_and_shared_ones_stay() {
    let limits = ListenLimits { connections: 40, ..patient(&MemoryBudget::unlimited()) };
    let serving = Serving::start(router(), None, limits).await;
    // These are kept connections of the load balancer, each of which has carried requests of several clients.
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut stream = connect_from(BALANCER, serving.address).await.unwrap();
        for client in ["1.2.3.4", "1.2.3.5"] {
            assert!(ask(&mut stream, client).await.ends_with("hello"));
        }
        kept.push(stream);
    }
    sleep(Duration::from_millis(300)).await;
    let stalled = b"POST /read HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 9.9.9.9\r\ncontent-length: 10\r\n\r\nu";
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut stream = connect_from(BALANCER, serving.address).await.unwrap();
        let _ = stream.write_all(stalled).await;
        held.push(stream);
        // The server must have read the request before the next one arrives, also on a busy machine.
        sleep(Duration::from_millis(5)).await;
    }
    for (at, stream) in kept.iter_mut().enumerate() {
        assert!(ask(stream, "1.2.3.4").await.ends_with("hello"), "connection {at} was closed for another client");
    }
    let mut new = connect_from(BALANCER, serving.address).await.unwrap();
    assert!(ask(&mut new, "1.2.3.6").await.ends_with("hello"));
}

/// A request of a client behind the load balancer; it does not end the stream where a body follows.
fn request(stream: u32, client: &str, path: &str, ends: bool) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let method = if ends { 0x82 } else { 0x83 };
    let fields = [vec![0x04], text(path), vec![0x01], text("x"), vec![0], text("x-forwarded-for"), text(client)];
    frame(1, if ends { 0x5 } else { 0x4 }, stream, &[&[method, 0x87][..], &fields.concat()].concat())
}

/// Reads until a request gets its response; returns the first byte of its headers.
async fn status(connection: &mut TlsStream<TcpStream>, stream: u32) -> u8 {
    let mut head = [0; 9];
    loop {
        timeout(SOON, connection.read_exact(&mut head)).await.expect("soon").expect("it is open");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        timeout(SOON, connection.read_exact(&mut payload)).await.expect("soon").expect("it is open");
        if head[3] == 1 && head[5..] == stream.to_be_bytes() {
            return payload[0];
        }
    }
}

#[tokio::test]
async fn requests_of_one_client_make_room_and_the_connection_that_they_share_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let budget = MemoryBudget::new(13 << 20);
    let serving = Serving::start(router(), Some(ListenerTls::load(&cert, &key).unwrap()), patient(&budget)).await;
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[])].concat();
    let mut shared = shake(&serving, BALANCER, &cert).await.unwrap();
    shared.write_all(&preface).await.unwrap();
    shared.write_all(&request(1, "1.2.3.5", "/read", false)).await.unwrap();
    for stream in (3..).step_by(2).take(240) {
        shared.write_all(&request(stream, "9.9.9.9", "/read", false)).await.unwrap();
    }
    shared.flush().await.unwrap();
    // Requests above the share are refused, or evict others.
    sleep(Duration::from_millis(500)).await;
    let capacity = budget.capacity_bytes(MemoryShare::Requests);
    assert!(budget.used_bytes(MemoryShare::Requests) > capacity / 2, "they are counted");

    let mut other = shake(&serving, BALANCER, &cert).await.unwrap();
    other.write_all(&preface).await.unwrap();
    for at in 0..80 {
        other.write_all(&request(2 * at + 1, "1.2.3.4", "/read", false)).await.unwrap();
    }
    for at in 0..80 {
        other.write_all(&frame(0, 1, 2 * at + 1, b"body")).await.unwrap();
        other.flush().await.unwrap();
        assert_eq!(status(&mut other, 2 * at + 1).await, OK, "request {at}");
    }
    // The oldest of these requests was evicted, with a 503 as its response.
    assert_ne!(status(&mut shared, 3).await, OK);
    // Another client, on the same connection as the client that holds most, is still served.
    shared.write_all(&frame(0, 1, 1, b"body")).await.unwrap();
    shared.flush().await.unwrap();
    assert_eq!(status(&mut shared, 1).await, OK);
    assert!(budget.used_bytes(MemoryShare::Requests) <= capacity);
}
