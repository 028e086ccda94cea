//! Attacks with connections that send nothing, half a TLS handshake, half a header, or requests without reading the
//! answers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{io::AsyncWriteExt as _, task::JoinSet, time::timeout};
use tokio_rustls::rustls::{ClientConnection, pki_types::ServerName};

use super::{AttackContext, AttackTally, Faults, hold, hold_unencrypted};
use crate::call::SERVER_NAME;

/// Connections that send nothing.
pub(crate) async fn silent(arena: Arc<AttackContext>) -> Faults {
    hold(&arena, 1100, Arc::new(|_| Vec::new())).await;
    Faults::new()
}

/// TLS handshakes that stop before the first message, in the middle of it, or after it.
pub(crate) async fn half_handshakes(arena: Arc<AttackContext>) -> Faults {
    let Some(tls) = &arena.external.tls else { return vec!["the server does not speak TLS".to_owned()] };
    let name = ServerName::try_from(SERVER_NAME).expect("it is one");
    let mut client = ClientConnection::new(tls.config().clone(), name).expect("its own configuration");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("there is room");
    let hello = Bytes::from(hello);
    let half = hello.slice(..hello.len() / 2);
    let opening = move |at: usize| match at % 3 {
        0 => Vec::new(),
        1 => vec![half.clone()],
        _ => vec![hello.clone()],
    };
    hold_unencrypted(&arena, arena.number(10_000, 900), Arc::new(opening)).await;
    Faults::new()
}

/// Each connection sends half a header: larger than the server accepts, or slightly smaller.
pub(crate) async fn half_headers(arena: Arc<AttackContext>) -> Faults {
    let header = |bytes: usize| {
        let text = format!("GET / HTTP/1.1\r\nhost: telemeter\r\nx-long: {}", "x".repeat(bytes));
        Bytes::from(text)
    };
    let parts = [header(63_000), header(15_000)];
    let opening = move |at: usize| vec![parts[at % parts.len()].clone()];
    hold(&arena, arena.number(16_000, 1500), Arc::new(opening)).await;
    Faults::new()
}

/// Each connection sends 40 requests without a pause, with headers of 6 KB each, and reads the answers; then it sends
/// nothing.
pub(crate) async fn pipelined_long_headers(arena: Arc<AttackContext>) -> Faults {
    let request = format!("GET / HTTP/1.1\r\nhost: telemeter\r\nx-long: {}\r\n\r\n", "x".repeat(6000));
    let requests = Bytes::from(request.repeat(40));
    hold(&arena, arena.number(3000, 150), Arc::new(move |_| vec![requests.clone()])).await;
    Faults::new()
}

/// Sends requests without a pause and reads no answer. The server must close each connection within its deadline.
pub(crate) async fn pipelining(arena: Arc<AttackContext>) -> Faults {
    /// The server waits 10 s until an answer is read; a busy machine needs additional time.
    const PATIENCE: Duration = Duration::from_secs(15);
    let requests = Bytes::from("GET / HTTP/1.1\r\nhost: telemeter\r\n\r\n".repeat(1000));
    let mut connections = JoinSet::new();
    for number in 0..arena.number(100, 24) {
        let (arena, requests) = (arena.clone(), requests.clone());
        connections.spawn(async move {
            arena.pace.wait().await;
            let mut stream = arena.external.connect_narrow(arena.source(number)).await.ok()?;
            AttackTally::add(&arena.tally.opened);
            // Writes until the server reads no more, because its answers are not read.
            while let Ok(Ok(())) = timeout(Duration::from_secs(1), stream.write_all(&requests)).await {}
            let stuck = Instant::now();
            // A write fails once the server has closed the connection; without that, no write would succeed or fail.
            while stuck.elapsed() < PATIENCE && !arena.is_over() {
                match timeout(Duration::from_millis(200), stream.write_all(b"G")).await {
                    Ok(Err(_closed)) => {
                        AttackTally::add(&arena.tally.closed);
                        return None;
                    }
                    Ok(Ok(())) => tokio::time::sleep(Duration::from_millis(200)).await,
                    Err(_full) => {}
                }
            }
            (stuck.elapsed() >= PATIENCE).then(|| format!("a connection that reads nothing is open after {PATIENCE:?}"))
        });
    }
    connections.join_all().await.into_iter().flatten().take(3).collect()
}
