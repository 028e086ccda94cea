//! Tests that the memory of HTTP/2 connections matches the budget. It is a program of its own, since it measures its
//! own memory.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use telemeter_http::budget::{MemoryBudget, MemoryShare};
use telemeter_http::listen::ListenLimits;
use telemeter_http::tls::ListenerTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use support::{SOON, Serving, frame, shake, write_pair};

const CONNECTIONS: usize = 24;
/// The entries of a connection's header table of 4,096 bytes: each of these paths takes 41.
const ENTRIES: u32 = 99;
/// The memory of the runtime, the allocator and the test's clients.
const BESIDE_BYTES: usize = 8 << 20;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// A `GET /` with a query that the header table keeps, and that was not sent before. The headers are so long that they
/// fill a buffer, and exceed our cap: the response is 431, and the query is kept nevertheless.
fn get_with_new_path(at: u32) -> Vec<u8> {
    let path = [b'/', b'?', b'a' + (at / 26) as u8, b'a' + (at % 26) as u8];
    let long = vec![b'v'; 16_300];
    let length = [0x7f, 0xad, 0x7e];
    let block = [&[0x82, 0x87, 0x01, 1, b'x', 0x44, 4][..], &path, &[0, 1, b'l'], &length, &long].concat();
    frame(1, 0x5, 2 * at + 1, &block)
}

/// A short `GET /`; where `gives_up` is true, it first sets the size of the header table to 0.
fn plain_get(at: u32, gives_up: bool) -> Vec<u8> {
    let block: &[u8] = &[0x20, 0x82, 0x87, 0x84, 0x01, 1, b'x'];
    frame(1, 0x5, 2 * at + 1, if gives_up { block } else { &block[1..] })
}

struct Http2Peer {
    read: ReadHalf<TlsStream<TcpStream>>,
    write: WriteHalf<TlsStream<TcpStream>>,
}

impl Http2Peer {
    async fn connect(serving: &Serving, cert: &Path) -> Self {
        let stream = shake(serving, "127.0.0.1", cert).await.unwrap();
        let (read, mut write) = tokio::io::split(stream);
        let settings = frame(4, 0, 0, &[]);
        write.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings].concat()).await.unwrap();
        let mut peer = Self { read, write };
        peer.ask(&[plain_get(0, false)], 1).await;
        peer
    }

    /// Sends all frames, and reads until as many responses arrived as `answers` says.
    async fn ask(&mut self, frames: &[Vec<u8>], answers: usize) {
        let writing = async {
            for frame in frames {
                self.write.write_all(frame).await.unwrap();
            }
            self.write.flush().await.unwrap();
        };
        let reading = async {
            let mut seen = Vec::new();
            while seen.windows(5).filter(|five| five == b"hello").count() < answers {
                let mut piece = [0; 4096];
                let bytes = timeout(SOON, self.read.read(&mut piece)).await.unwrap().unwrap();
                assert!(bytes > 0, "closed");
                seen.extend_from_slice(&piece[..bytes]);
            }
        };
        tokio::join!(writing, reading);
    }
}

#[tokio::test]
async fn what_header_compression_remembers_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let budget = MemoryBudget::new(4 << 30);
    let router = Router::new().route("/", get(|| async { "hello" }));
    let limits = ListenLimits {
        idle_timeout: SOON * 10,
        header_timeout: SOON * 10,
        budget: budget.clone(),
        ..ListenLimits::default()
    };
    let serving = Serving::start(router, Some(ListenerTls::load(&cert, &key).unwrap()), limits).await;
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS {
        peers.push(Http2Peer::connect(&serving, &cert).await);
    }
    // The memory of requests is released a moment after their responses.
    sleep(Duration::from_millis(300)).await;
    let (resident_before, counted_before) = (resident_bytes(), budget.used_bytes(MemoryShare::Connections));
    let frames: Vec<Vec<u8>> = (1..=ENTRIES).map(get_with_new_path).chain([plain_get(ENTRIES + 1, false)]).collect();
    for peer in &mut peers {
        peer.ask(&frames, 1).await;
    }
    sleep(Duration::from_millis(300)).await;
    let kept = resident_bytes().saturating_sub(resident_before);
    let counted = budget.used_bytes(MemoryShare::Connections) - counted_before;
    let of_each = |bytes: usize| bytes / CONNECTIONS / 1024;
    println!("{} KiB a connection are kept, {} KiB counted", of_each(kept), of_each(counted));
    assert!(kept > CONNECTIONS << 20, "{kept}: this test measures nothing");
    assert!(kept <= counted + BESIDE_BYTES, "{} KiB are kept, {} KiB counted", kept >> 10, counted >> 10);

    // Once a peer has set the size of its table to 0, nothing is kept and nothing counted.
    for peer in &mut peers {
        peer.ask(&[frame(4, 1, 0, &[]), plain_get(ENTRIES + 2, true), plain_get(ENTRIES + 3, false)], 2).await;
    }
    sleep(Duration::from_millis(300)).await;
    assert_eq!(budget.used_bytes(MemoryShare::Connections), counted_before);
}
