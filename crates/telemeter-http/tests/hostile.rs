//! Tests of an honest client next to hostile ones, which use up connections and memory from other addresses.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::routing::{get, post};
use telemeter_http::body;
use telemeter_http::budget::{MemoryBudget, MemoryShare};
use telemeter_http::client::OutboundRequest;
use telemeter_http::listen::{self, ListenLimits, Peer};
use telemeter_http::tls::ListenerTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use support::{SOON, Serving, connect_from, frame, limits, outbound, raw, read_to_close, shake, write_pair};

const HONEST: &str = "GET / HTTP/1.0\r\n\r\n";

fn router() -> Router {
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/large", get(|| async { "x".repeat(1 << 20) }))
        .route("/read", post(read))
        .route("/peer", get(|Extension(Peer(peer)): Extension<Peer>| async move { peer.ip().to_string() }))
}

async fn read(body: Body) -> String {
    let mut into = Vec::new();
    let read = body::read(body, 1000, SOON * 10, &mut into).await;
    format!("{} {}", into.len(), read.is_ok())
}

/// Limits with long deadlines: memory has to be freed by evictions.
fn patient(budget: &MemoryBudget) -> ListenLimits {
    ListenLimits {
        header_timeout: SOON * 10,
        idle_timeout: SOON * 10,
        handshake_timeout: SOON * 10,
        write_timeout: SOON * 10,
        budget: budget.clone(),
        ..ListenLimits::default()
    }
}

async fn flood(serving: &Serving, from: &str, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = connect_from(from, serving.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        streams.push(stream);
    }
    streams
}

/// The number of these connections that the server has closed.
async fn closed(streams: &mut [TcpStream]) -> usize {
    let mut count = 0;
    for stream in streams {
        let mut bytes = [0; 64];
        count +=
            usize::from(!matches!(timeout(Duration::from_millis(5), stream.read(&mut bytes)).await, Err(_elapsed)));
    }
    count
}

async fn honest(serving: &Serving) {
    let answer = raw(serving, HONEST).await;
    assert!(answer.ends_with("hello"), "an honest caller was answered {answer:?}");
}

#[tokio::test]
async fn silent_connections_shut_nobody_out() {
    let limits = ListenLimits { connections: 40, ..patient(&MemoryBudget::unlimited()) };
    let serving = Serving::start(router(), None, limits).await;
    let mut kept = serving.connect().await;
    kept.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 512];
    assert!(timeout(SOON, kept.read(&mut answer)).await.unwrap().unwrap() > 0);
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.extend(flood(&serving, "127.0.0.2", 30, b"").await);
        honest(&serving).await;
    }
    assert!(closed(&mut silent).await >= 110, "those who hold most are closed");
    kept.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(
        timeout(SOON, kept.read(&mut answer)).await.unwrap().unwrap() > 0,
        "a quiet client that holds one keeps it"
    );
}

/// Behind a load balancer, stalled clients and honest ones have the same address.
#[tokio::test]
async fn behind_one_address_those_who_stall_make_room() {
    let limits = ListenLimits { connections: 40, connections_per_peer: 40, ..patient(&MemoryBudget::unlimited()) };
    let serving = Serving::start(router(), None, limits).await;
    let body = b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nu";
    let mut stalled = Vec::new();
    for bytes in [&body[..], b"GET / HTTP/1.1\r\n", b""] {
        stalled.extend(flood(&serving, "127.0.0.1", 60, bytes).await);
        sleep(Duration::from_millis(100)).await;
        for _ in 0..5 {
            honest(&serving).await;
        }
        let mut sender = serving.connect().await;
        sender.write_all(body).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        honest(&serving).await;
        sender.write_all(b"123456789").await.unwrap();
        let mut answer = [0; 12];
        timeout(SOON, sender.read_exact(&mut answer)).await.expect("soon").expect("a slow caller is not the slowest");
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    assert!(closed(&mut stalled).await > 130);
}

#[tokio::test]
async fn one_client_loses_its_quietest_connection() {
    let limits = ListenLimits { connections: 40, connections_per_peer: 2, ..patient(&MemoryBudget::unlimited()) };
    let serving = Serving::start(router(), None, limits).await;
    let mut first = flood(&serving, "127.0.0.2", 1, b"").await;
    sleep(Duration::from_millis(600)).await;
    let mut second = flood(&serving, "127.0.0.2", 1, b"GET /").await;
    sleep(Duration::from_millis(50)).await;
    let mut other = flood(&serving, "127.0.0.3", 1, b"").await;
    let mut third = flood(&serving, "127.0.0.2", 1, b"").await;
    assert_eq!(read_to_close(&mut first[0]).await, "");
    for still in [&mut second, &mut third, &mut other] {
        assert_eq!(closed(still).await, 0);
    }
}

#[tokio::test]
async fn half_a_header_holds_no_more_than_its_share() {
    let budget = MemoryBudget::new(8 << 20);
    let capacity = budget.capacity_bytes(MemoryShare::Connections);
    let serving = Serving::start(router(), None, patient(&budget)).await;
    let half = format!("GET / HTTP/1.1\r\nhost: x\r\na: {}", "b".repeat(15_000));
    let mut held = Vec::new();
    for _ in 0..10 {
        held.extend(flood(&serving, "127.0.0.2", 30, half.as_bytes()).await);
        honest(&serving).await;
        let used = budget.used_bytes(MemoryShare::Connections);
        assert!(used <= capacity, "{used} of {capacity}");
    }
    assert!(closed(&mut held).await > 200, "there is no room for so many");
    drop(held);
    let start = Instant::now();
    while budget.used_bytes(MemoryShare::Connections) > 0 {
        assert!(start.elapsed() < SOON, "all is given back");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_answers_is_closed() {
    let budget = MemoryBudget::unlimited();
    let limits = ListenLimits { write_timeout: Duration::from_millis(400), ..patient(&budget) };
    let serving = Serving::start(router(), None, limits).await;
    let pipelined = "GET /large HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    let mut streams = flood(&serving, "127.0.0.2", 5, pipelined.as_bytes()).await;
    let start = Instant::now();
    while budget.used_bytes(MemoryShare::Connections) > 0 {
        assert!(start.elapsed() < SOON, "still open");
        honest(&serving).await;
        sleep(Duration::from_millis(20)).await;
    }
    // A client that reads slowly gets the whole response.
    let mut slow = connect_from("127.0.0.2", serving.address).await.unwrap();
    slow.write_all(b"GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut read, mut bytes) = (0, vec![0; 200_000]);
    loop {
        let more = timeout(SOON, slow.read(&mut bytes)).await.unwrap().unwrap();
        read += more;
        if more == 0 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(read > 1 << 20, "{read}");
    assert_eq!(closed(&mut streams).await, 5);
}

/// The preface, and settings with a window of 0 for responses.
fn preface() -> Vec<u8> {
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat()
}

/// The headers of `GET /`, with the flag that ends the request.
fn get_of(stream: u32) -> Vec<u8> {
    frame(1, 0x5, stream, &[0x82, 0x87, 0x84, 0x41, 1, b'x'])
}

struct Secure {
    serving: Serving,
    cert: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

impl Secure {
    async fn start(limits: ListenLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = write_pair(folder.path(), "one");
        let serving = Serving::start(router(), Some(ListenerTls::load(&cert, &key).unwrap()), limits).await;
        Self { serving, cert, _folder: folder }
    }

    /// A new honest client, on a connection of its own.
    async fn honest(&self) {
        let outbound = outbound(|config| config.ca_file = Some(self.cert.clone()));
        let url = format!("https://localhost:{}/", self.serving.address.port());
        let answer = outbound.send(OutboundRequest::get(url.parse().unwrap()), 100).await.expect("an answer");
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn answers_that_wait_for_a_window_hold_no_more_than_their_share() {
    let budget = MemoryBudget::new(16 << 20);
    let secure = Secure::start(patient(&budget)).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let Ok(mut stream) = shake(&secure.serving, "127.0.0.2", &secure.cert).await else { continue };
        let requests: Vec<u8> = (0..200).flat_map(|at| get_of(2 * at + 1)).collect();
        let _ = stream.write_all(&[preface(), requests].concat()).await;
        let _ = stream.flush().await;
        held.push(stream);
        sleep(Duration::from_millis(50)).await;
        secure.honest().await;
        for share in [MemoryShare::Connections, MemoryShare::Requests] {
            let (used, capacity) = (budget.used_bytes(share), budget.capacity_bytes(share));
            assert!(used <= capacity, "{share:?}: {used} of {capacity}");
        }
    }
    // 200 requests of 6 KiB each on 8 connections are many times the share.
    assert!(
        budget.used_bytes(MemoryShare::Requests) > budget.capacity_bytes(MemoryShare::Requests) / 4,
        "they are counted"
    );
}

#[tokio::test]
async fn a_peer_whose_window_stays_closed_is_closed() {
    let budget = MemoryBudget::unlimited();
    let secure = Secure::start(ListenLimits { write_timeout: Duration::from_millis(400), ..patient(&budget) }).await;
    let mut stream = shake(&secure.serving, "127.0.0.2", &secure.cert).await.unwrap();
    stream.write_all(&[preface(), get_of(1)].concat()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("closed");
    sleep(Duration::from_millis(50)).await;
    assert_eq!(budget.used_bytes(MemoryShare::Requests), 0);
}

/// The memory of a header table is released once the peer has set its size to 0: it may not enlarge it again.
#[tokio::test]
async fn a_header_table_that_was_given_up_cannot_be_had_back() {
    let secure = Secure::start(patient(&MemoryBudget::unlimited())).await;
    let mut stream = shake(&secure.serving, "127.0.0.2", &secure.cert).await.unwrap();
    let get = |at: u32, size: &[u8]| frame(1, 0x5, 2 * at + 1, &[size, &[0x82, 0x87, 0x84, 0x01, 1, b'x']].concat());
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[])].concat();
    stream.write_all(&[preface, get(0, &[])].concat()).await.unwrap();
    // The server sends its settings before the response.
    let mut bytes = vec![0; 4096];
    let mut read = 0;
    while !bytes[..read].windows(5).any(|five| five == b"hello") {
        read += timeout(SOON, stream.read(&mut bytes[read..])).await.unwrap().unwrap();
    }
    let acknowledgement = frame(4, 1, 0, &[]);
    stream.write_all(&[acknowledgement, get(1, &[0x20])].concat()).await.unwrap();
    read = 0;
    while !bytes[..read].windows(5).any(|five| five == b"hello") {
        read += timeout(SOON, stream.read(&mut bytes[read..])).await.unwrap().unwrap();
    }
    // The peer sets the size to 4,096 bytes again.
    stream.write_all(&get(2, &[0x3f, 0xe1, 0x1f])).await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("closed");
    assert!(!rest.windows(5).any(|five| five == b"hello"));
}

#[tokio::test]
async fn streams_that_break_rules_end_the_connection() {
    let secure = Secure::start(patient(&MemoryBudget::unlimited())).await;
    let mut stream = shake(&secure.serving, "127.0.0.2", &secure.cert).await.unwrap();
    stream.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[])].concat()).await.unwrap();
    // The body is longer than its declared length.
    let broken = |at: u32| {
        let block = [&[0x83, 0x87, 0x04, 5][..], b"/read", &[0x01, 1, b'x', 0x0f, 13, 1, b'1']].concat();
        [frame(1, 0x4, 2 * at + 1, &block), frame(0, 0, 2 * at + 1, b"more")].concat()
    };
    for at in 0..200 {
        let _ = stream.write_all(&broken(at)).await;
        let _ = stream.flush().await;
    }
    let mut bytes = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("closed");
}

#[tokio::test]
async fn little_of_a_body_is_taken_that_nobody_reads() {
    let secure = Secure::start(patient(&MemoryBudget::unlimited())).await;
    let mut stream = shake(&secure.serving, "127.0.0.2", &secure.cert).await.unwrap();
    stream.write_all(&preface()).await.unwrap();
    let mut bytes = vec![0; 4096];
    let mut read = 0;
    let (mut header_table, mut stream_window, mut window) = (4096, 65_535, 65_535);
    // The server first sends its settings and a window update for the connection.
    while read < 9 || read < 9 + usize::from(bytes[2]) + 13 {
        read += timeout(SOON, stream.read(&mut bytes[read..])).await.unwrap().unwrap();
    }
    let mut rest = &bytes[..read];
    while let Some((head, behind)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, behind)) = behind.split_at_checked(length) else { break };
        match (head[3], head[4]) {
            (4, 0) => {
                for setting in payload.chunks_exact(6) {
                    let value = u32::from_be_bytes(setting[2..].try_into().unwrap());
                    match setting[1] {
                        1 => header_table = value,
                        4 => stream_window = value,
                        _ => {}
                    }
                }
            }
            (8, _) => window += u32::from_be_bytes(payload.try_into().unwrap()),
            _ => {}
        }
        rest = behind;
    }
    assert_eq!(header_table, 0, "no headers are to be remembered");
    assert!(stream_window <= 64 << 10, "{stream_window}");
    assert!(window <= 128 << 10, "{window}");
}

#[tokio::test]
async fn a_listener_apart_answers_while_this_thread_is_busy() {
    let listener = listen::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let ended = listen::serve_apart(listener, router(), limits(), async {
        let _ = stopped.await;
    });
    let ended = ended.unwrap();
    // This blocks the only thread of this test's runtime.
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(HONEST.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    stop.send(()).unwrap();
    timeout(SOON, ended).await.expect("it ends");
    TcpStream::connect(address).await.expect_err("nobody listens any more");
}

#[tokio::test]
async fn a_trusted_proxy_says_whose_a_connection_and_a_request_are() {
    let trusted = vec!["127.0.0.2".parse().unwrap()];
    let limits = ListenLimits { trusted_proxies: trusted.into(), connections_per_peer: 2, ..limits() };
    let serving = Serving::start(router(), None, limits).await;
    let ask = async |from: &str, request: &str| {
        let mut stream = connect_from(from, serving.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_close(&mut stream).await
    };
    let plain = "GET /peer HTTP/1.0\r\n\r\n";
    let proxied = format!("PROXY TCP4 1.2.3.4 10.0.0.1 5678 443\r\n{plain}");
    let forwarded = "GET /peer HTTP/1.0\r\nx-forwarded-for: 9.9.9.9, 1.2.3.5\r\n\r\n";
    for (from, request, expected) in [
        ("127.0.0.2", plain, "127.0.0.2"),
        ("127.0.0.2", &*proxied, "1.2.3.4"),
        ("127.0.0.2", forwarded, "1.2.3.5"),
        ("127.0.0.3", plain, "127.0.0.3"),
        ("127.0.0.3", forwarded, "127.0.0.3"),
    ] {
        let answer = ask(from, request).await;
        assert!(answer.ends_with(&format!("\r\n\r\n{expected}")), "{from} {request}: {answer}");
    }
    let answer = ask("127.0.0.3", &proxied).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "nobody else is believed: {answer}");
    assert_eq!(ask("127.0.0.2", "PROXY nonsense\r\n").await, "", "what cannot be understood is closed");

    // A proxy may have any number of connections; a client behind it has the cap of any other client.
    let mut proxy = flood(&serving, "127.0.0.2", 6, b"GET").await;
    let client = "PROXY TCP4 1.2.3.4 10.0.0.1 5678 443\r\nGET";
    let mut client = flood(&serving, "127.0.0.2", 6, client.as_bytes()).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!((closed(&mut proxy).await, closed(&mut client).await), (0, 4));
}
