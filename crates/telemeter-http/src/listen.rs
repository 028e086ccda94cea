//! Listeners: bound as Go binds them, with a deadline for every wait, caps on connections and on what they hold, drained
//! at the end.
//!
//! Plaintext speaks HTTP/1.1 only; TLS speaks HTTP/2 and HTTP/1.1, by ALPN. A body's deadline is its handler's
//! ([`crate::body::read`]). Where there is no more room, the connections of the client that holds most are closed.

mod bind;
mod connection;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handshake;
mod handshake_fault;
mod header_table;
mod metrics;
mod peers;
mod proxied;
mod stream;
mod table;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::connection::{HttpServer, Phase};
pub use self::metrics::ConnectionMetrics;
pub use self::peers::{Cidr, ClientNetwork, TrustedProxies};
use self::table::ConnectionTable;
use crate::budget::MemoryBudget;
use crate::tls::ListenerTls;

/// Bound sockets, and the certificate they show.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    tls: Option<ListenerTls>,
}

/// The address of the sender of a request, as a trusted proxy says where there is one: an extension of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The deadlines and caps of a listener.
#[derive(Clone, Debug)]
pub struct ListenLimits {
    /// For the headers of a request, from their first byte; and for the first request of a connection.
    pub header_timeout: Duration,
    /// For a kept connection to bring the next request.
    pub idle_timeout: Duration,
    /// For a TLS handshake, and what a proxy says before it.
    pub handshake_timeout: Duration,
    /// For a peer that does not read its answers.
    pub write_timeout: Duration,
    /// Between two pings of an HTTP/2 connection, and for the answer to one.
    pub ping: Duration,
    /// For what is in flight when the listener is told to stop.
    pub drain_timeout: Duration,
    /// Connections at once; for one more, others are closed.
    pub connections: usize,
    /// Connections at once of one client ([`ClientNetwork`]); for one more, its quietest is closed. 0: half of them all.
    pub connections_per_peer: usize,
    /// Of the headers of a request, its first line included.
    pub header_bytes: u32,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// Who is believed about whose a connection or a request is.
    pub trusted_proxies: TrustedProxies,
    /// What connections and requests may hold.
    pub budget: MemoryBudget,
    /// Where closed connections are counted.
    pub metrics: ConnectionMetrics,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            ping: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(20),
            connections: 20_000,
            connections_per_peer: 0,
            header_bytes: 16 * 1024,
            streams: 250,
            trusted_proxies: TrustedProxies::default(),
            budget: MemoryBudget::unlimited(),
            metrics: ConnectionMetrics::default(),
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
    pub fn with_tls(self, tls: ListenerTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The address of the first socket, with the port that was found.
    ///
    /// # Errors
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.first().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        let is_loopback =
            |socket: &TcpListener| socket.local_addr().is_ok_and(|at| at.ip().to_canonical().is_loopback());
        self.sockets.iter().all(is_loopback)
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

/// As [`serve`], on a thread of its own, so that it answers however busy the others are. Resolves at its end, too.
///
/// # Errors
/// The system gives no thread, or no more descriptors.
pub fn serve_apart(
    listener: Listener,
    router: Router,
    limits: ListenLimits,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let Listener { sockets, tls } = listener;
    let sockets = sockets.into_iter().map(TcpListener::into_std).collect::<io::Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (done, ended) = oneshot::channel::<()>();
    std::thread::Builder::new().name("internal".to_owned()).spawn(move || {
        let served = runtime.block_on(async {
            // They belong to the runtime that waits for them.
            let sockets = sockets.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>()?;
            serve(Listener { sockets, tls }, router, limits, shutdown).await;
            io::Result::Ok(())
        });
        if let Err(error) = served {
            tracing::error!(%error, "the internal listener does not listen");
        }
        runtime.shutdown_background();
        drop(done);
    })?;
    Ok(async move {
        let _ = ended.await;
    })
}

/// Serves until `shutdown` resolves and what is in flight is done, or its deadline has passed.
///
/// From that moment on no connection is accepted and idle ones are closed. Nothing that a peer does ends it.
pub async fn serve(listener: Listener, router: Router, limits: ListenLimits, shutdown: impl Future<Output = ()>) {
    let (phase, watching) = watch::channel(Phase::Serving);
    let drain_timeout = limits.drain_timeout;
    let table = ConnectionTable::new(&limits);
    let server = Arc::new(HttpServer::new(router, listener.tls.as_ref(), limits));

    let mut acceptors = JoinSet::new();
    for socket in listener.sockets {
        acceptors.spawn(accept(socket, server.clone(), table.clone(), watching.clone()));
    }
    drop(watching);
    let mut sweeping = JoinSet::new();
    sweeping.spawn(sweep(table));

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

/// Closes connections that are past a deadline.
async fn sweep(table: Arc<ConnectionTable>) {
    loop {
        sleep(table.period()).await;
        table.sweep();
    }
}

async fn accept(
    socket: TcpListener,
    server: Arc<HttpServer>,
    table: Arc<ConnectionTable>,
    phase: watch::Receiver<Phase>,
) {
    let mut pause = Duration::ZERO;
    loop {
        match next(&socket).await {
            Ok((stream, peer)) => {
                pause = Duration::ZERO;
                let Some(admitted) = table.admit(server.owner(Peer(peer)), server.is_tls()) else {
                    refuse(&stream, server.is_tls());
                    continue;
                };
                let (server, phase) = (server.clone(), phase.clone());
                tokio::spawn(async move { server.connection(stream, Peer(peer), admitted, phase).await });
            }
            Err(error) => {
                // Out of file descriptors, most likely: trying at once would only burn the processor.
                table.shed();
                pause = (pause * 2).clamp(Duration::from_millis(10), Duration::from_secs(1));
                tracing::warn!(%error, ?pause, "cannot accept a connection");
                sleep(pause).await;
            }
        }
    }
}

/// Tells a peer that there is no room for it, where that can be told without a handshake and without waiting.
fn refuse(stream: &TcpStream, tls: bool) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    if !tls {
        let _ = stream.try_write(ANSWER);
    }
}

/// The next connection; one that was gone before it was accepted is passed over.
async fn next(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                return Ok((stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())));
            }
            Err(error) => match error.kind() {
                io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
    }
}
