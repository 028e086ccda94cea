//! The memory that the program allocates for an idle connection, by a counting allocator. A program of its own, since it
//! counts all allocations.
#![allow(clippy::unwrap_used)]

mod support;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use telemeter_http::listen::ListenLimits;
use telemeter_http::tls::ListenerTls;
use tokio::runtime::Runtime;

use support::{SOON, Serving, client_tls, write_pair};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 500;
/// The most that an idle connection may hold, in bytes. 20,000 with TLS fit into 200 MiB (10,485
/// bytes each), also where the allocator rounds up.
const MAX_PLAIN_BYTES: usize = 2500;
const MAX_TLS_BYTES: usize = 9300;

/// Sends an upload of the usual size, and reads the answer.
fn upload(stream: &mut (impl Read + Write)) {
    let mut request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10000\r\n\r\n".to_vec();
    request.resize(request.len() + 10_000, b'x');
    stream.write_all(&request).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "closed");
        answer.extend_from_slice(&piece[..read]);
    }
}

/// Connects and uploads. What remains of the client is its socket, which holds no memory of the program.
fn connection(serving: &Serving, tls: Option<&Arc<ClientConfig>>) -> TcpStream {
    let mut socket = TcpStream::connect(serving.address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let Some(config) = tls else {
        upload(&mut socket);
        return socket;
    };
    let session = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    upload(&mut stream);
    stream.sock
}

/// Returns the bytes that a connection holds after an upload, at once and while it is idle.
fn held(runtime: &Runtime, tls: bool) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let router = Router::new().route("/", post(|_: Bytes| async { "hello" }));
    let limits = ListenLimits { idle_timeout: SOON * 10, connections_per_peer: 10_000, ..ListenLimits::default() };
    let listener_tls = tls.then(|| ListenerTls::load(&cert, &key).unwrap());
    let serving = runtime.block_on(Serving::start(router, listener_tls, limits));
    let client = tls.then(|| client_tls(&cert, b"http/1.1"));
    // What the first connections allocate for all that follow.
    drop((0..50).map(|_| connection(&serving, client.as_ref())).collect::<Vec<_>>());
    std::thread::sleep(Duration::from_millis(300));
    let region = Region::new(ALLOCATOR);
    let of_each = || {
        let change = region.change();
        change.bytes_allocated.saturating_sub(change.bytes_deallocated) / CONNECTIONS
    };
    let mut open = Vec::with_capacity(CONNECTIONS);
    open.extend((0..CONNECTIONS).map(|_| connection(&serving, client.as_ref())));
    let (at_once, start) = (of_each(), Instant::now());
    let mut idle = at_once;
    while start.elapsed() < Duration::from_secs(4) {
        std::thread::sleep(Duration::from_millis(50));
        idle = idle.min(of_each());
    }
    drop(open);
    (at_once, idle)
}

#[test]
fn an_idle_connection_holds_little() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (tls, most_bytes) in [(false, MAX_PLAIN_BYTES), (true, MAX_TLS_BYTES)] {
        let (at_once, idle) = held(&runtime, tls);
        println!("TLS: {tls}. After an upload: {at_once} bytes a connection; idle: {idle}");
        assert!(idle <= most_bytes, "TLS: {tls}. An idle connection holds {idle} bytes");
        assert!(idle > 1000, "TLS: {tls}. Nothing was counted");
    }
}
