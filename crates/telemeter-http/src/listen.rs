//! Listeners: bound as Go binds them, with a deadline for every wait and a cap on connections, drained at the end.
//!
//! Plaintext speaks HTTP/1.1 only; TLS speaks HTTP/2 and HTTP/1.1, by ALPN. A body's deadline is its handler's
//! ([`crate::body::read`]).

mod bind;
mod connection;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::connection::{Phase, Server};
use crate::tls::Tls;

/// Bound sockets, and the certificate they show.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    tls: Option<Tls>,
}

/// The address of whoever sent a request: an extension of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The deadlines and caps of a listener.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For the headers of a request, and for a kept connection to bring the next one.
    pub header_timeout: Duration,
    /// For a TLS handshake.
    pub handshake_timeout: Duration,
    /// Between two pings of an HTTP/2 connection, and for the answer to one.
    pub ping: Duration,
    /// For what is in flight when the listener is told to stop.
    pub drain_timeout: Duration,
    /// Connections at once; the next one waits to be accepted.
    pub connections: usize,
    /// Of the headers of a request, its first line included.
    pub header_bytes: u32,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            ping: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(20),
            connections: 20_000,
            header_bytes: 64 * 1024,
            streams: 250,
        }
    }
}

/// Binds `address`: `HOST:PORT`, where port 0 means any free one.
///
/// `localhost` answers on 127.0.0.1 and, where there is one, on ::1, on the same port. As in Go, no host, `0.0.0.0` and
/// `[::]` mean every address of both families.
///
/// # Errors
/// Says which address and why.
pub async fn bind(address: &str) -> io::Result<Listener> {
    let sockets = bind::sockets(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
    Ok(Listener { sockets, tls: None })
}

impl Listener {
    /// The same sockets, speaking TLS only.
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The address of the first socket, with the port that was found.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.first().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

/// Serves until `shutdown` resolves and what is in flight is done, or its deadline has passed.
///
/// From that moment on no connection is accepted and idle ones are closed. Nothing that a peer does ends it.
pub async fn serve(listener: Listener, router: Router, limits: Limits, shutdown: impl Future<Output = ()>) {
    let (phase, watching) = watch::channel(Phase::Serving);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let drain_timeout = limits.drain_timeout;
    let server = Arc::new(Server::new(router, listener.tls.as_ref(), limits));

    let mut acceptors = JoinSet::new();
    for socket in listener.sockets {
        acceptors.spawn(accept(socket, server.clone(), slots.clone(), watching.clone()));
    }
    drop(watching);

    shutdown.await;
    // Sockets are closed before anything is waited for: a load balancer must see the refusal at once.
    acceptors.shutdown().await;
    phase.send_replace(Phase::Draining);
    if timeout(drain_timeout, phase.closed()).await.is_err() {
        tracing::warn!(connections = phase.receiver_count(), "closing connections that did not finish in time");
        phase.send_replace(Phase::Closing);
        let _ = timeout(Duration::from_secs(1), phase.closed()).await;
    }
}

async fn accept(socket: TcpListener, server: Arc<Server>, slots: Arc<Semaphore>, phase: watch::Receiver<Phase>) {
    let mut pause = Duration::ZERO;
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match next(&socket).await {
            Ok((stream, peer)) => {
                pause = Duration::ZERO;
                let (server, phase) = (server.clone(), phase.clone());
                tokio::spawn(async move {
                    server.connection(stream, Peer(peer), phase).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: trying at once would only burn the processor.
                pause = (pause * 2).clamp(Duration::from_millis(10), Duration::from_secs(1));
                tracing::warn!(%error, ?pause, "cannot accept a connection");
                sleep(pause).await;
            }
        }
    }
}

/// The next connection; one that was gone before it was accepted is passed over.
async fn next(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                return Ok((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())));
            }
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
    }
}
