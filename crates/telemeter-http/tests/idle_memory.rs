//! Tests that the memory of idle connections matches the budget. It is a program of its own, since it measures its own
//! memory.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use telemeter_http::budget::{MemoryBudget, MemoryShare};
use telemeter_http::listen::ListenLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use support::{SOON, Serving};

const CONNECTIONS: usize = 300;
const REQUESTS: usize = 40;
/// The memory of the runtime, the allocator and the test's clients, that is of all but the connections.
const BESIDE_BYTES: usize = 10 << 20;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn connections_that_pipelined_or_sent_much_and_are_idle_keep_no_more_than_is_counted() {
    let budget = MemoryBudget::new(64 << 20);
    let router = Router::new().route("/", get(|| async { "hello" }).merge(post(|_: bytes::Bytes| async { "hello" })));
    let limits = ListenLimits {
        idle_timeout: SOON * 10,
        header_timeout: SOON * 10,
        connections_per_peer: 1000,
        connections: 1000,
        budget: budget.clone(),
        ..ListenLimits::default()
    };
    let serving = Serving::start(router, None, limits).await;
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(6000));
    let pipelined = head.repeat(REQUESTS).into_bytes();
    let mut body = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 857000\r\n\r\n".to_vec();
    body.resize(body.len() + 857_000, b'x');
    let mut idle = Vec::new();
    let mut before = 0;
    for at in 0..CONNECTIONS {
        let (sent, answers) = if at % 8 == 0 { (&body, 1) } else { (&pipelined, REQUESTS) };
        let (mut read, mut write) = serving.connect().await.into_split();
        let mut answered = Vec::new();
        let reading = async {
            while answered.windows(5).filter(|five| five == b"hello").count() < answers {
                let mut piece = [0; 4096];
                let bytes = timeout(SOON, read.read(&mut piece)).await.unwrap().unwrap();
                assert!(bytes > 0, "closed at connection {at}");
                answered.extend_from_slice(&piece[..bytes]);
            }
        };
        let (_, written) = tokio::join!(reading, write.write_all(sent));
        written.unwrap();
        idle.push((read, write));
        if at == 7 {
            before = resident_bytes();
        }
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (grown, used) = (resident_bytes().saturating_sub(before), budget.used_bytes(MemoryShare::Connections));
    println!("{CONNECTIONS} connections: {} KiB resident, {} KiB counted", grown >> 10, used >> 10);
    assert!(used <= budget.capacity_bytes(MemoryShare::Connections));
    assert!(grown <= used + BESIDE_BYTES, "{grown} bytes are resident, {used} counted");
}
