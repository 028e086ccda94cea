//! Listeners: they bind addresses as Go does, set a deadline for each wait, cap the connections and the memory that
//! these hold, and drain connections at shutdown.
//!
//! Plaintext listeners speak HTTP/1.1 only; TLS listeners speak HTTP/2 and HTTP/1.1, chosen by ALPN. The handler sets
//! the deadline for a body ([`crate::body::read`]). Where a cap or a memory share is used up, connections of the client
//! that holds most are closed.

mod bind;
mod connection;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod handshake;
mod handshake_fault;
mod header_table;
mod http1;
mod metrics;
mod peers;
mod proxied;
mod respond;
mod served;
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

use self::connection::HttpServer;
pub use self::metrics::ConnectionMetrics;
pub use self::peers::{Cidr, ClientNetwork, TrustedProxies};
use self::served::Phase;
use self::table::ConnectionTable;
pub use self::table::connection_bytes;
use crate::budget::MemoryBudget;
use crate::tls::ListenerTls;

/// Bound sockets, and the certificates that the listener sends where it speaks TLS.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    tls: Option<ListenerTls>,
}

/// The address of the client that sent a request; where the request came over a trusted proxy, the address that the
/// proxy names. Each request carries it as an extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The deadlines and caps of a listener.
#[derive(Clone, Debug)]
pub struct ListenLimits {
    /// The time for all headers of a request, from their first byte, and for the first request of a connection.
    pub header_timeout: Duration,
    /// The time that a connection may stay idle between two requests.
    pub idle_timeout: Duration,
    /// The time for a TLS handshake and for the PROXY protocol header before it.
    pub handshake_timeout: Duration,
    /// The time after which a connection is closed because its peer does not read the responses.
    pub write_timeout: Duration,
    /// The time between two pings of an HTTP/2 connection, and the time for the response to a ping.
    pub ping: Duration,
    /// The time for open requests to end once the listener shuts down.
    pub drain_timeout: Duration,
    /// The cap on open connections; at the cap, other connections are closed before one more is accepted.
    pub connections: usize,
    /// The cap on open connections of one client ([`ClientNetwork`]); at the cap, one of them that was idle for long is
    /// closed before one more is accepted. 0 means half of `connections`.
    pub connections_per_peer: usize,
    /// The cap on the headers of a request, its request line included.
    pub header_bytes: u32,
    /// The cap on open requests on one HTTP/2 connection.
    pub streams: u32,
    /// The proxies that may name the client of a connection or a request.
    pub trusted_proxies: TrustedProxies,
    /// The memory budget that connections and requests are counted in.
    pub budget: MemoryBudget,
    /// The counters of closed connections and of TLS handshakes.
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

/// Binds `address`: `HOST:PORT`, where port 0 means any free port.
///
/// `localhost` binds 127.0.0.1 and, where the machine has it, ::1, on the same port. As in Go, an empty host, `0.0.0.0`
/// and `[::]` mean every address of both families.
///
/// # Errors
/// The address is not valid, or the system cannot bind it; the text of the error contains the address.
pub async fn bind(address: &str) -> io::Result<Listener> {
    let sockets = bind::sockets(address)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
    Ok(Listener { sockets, tls: None })
}

impl Listener {
    /// Makes the listener speak TLS only, on the same sockets.
    pub fn with_tls(self, tls: ListenerTls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// The address of the first socket, with the port that the system chose where port 0 was asked for.
    ///
    /// # Errors
    /// The error that the system returns.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sockets.first().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// Whether all its sockets are bound to loopback addresses, which only this machine can reach.
    pub fn is_loopback(&self) -> bool {
        let is_loopback =
            |socket: &TcpListener| socket.local_addr().is_ok_and(|at| at.ip().to_canonical().is_loopback());
        self.sockets.iter().all(is_loopback)
    }

    /// Whether the listener speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

/// Serves as [`serve`] does, on a thread of its own, so that it responds however busy the other threads are. The
/// returned future resolves when the listener has ended.
///
/// # Errors
/// The system cannot start a thread, or has no file descriptor left.
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
            // Sockets have to be registered with the runtime that waits for them.
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

/// Serves until `shutdown` resolves and all open requests have ended, or `drain_timeout` has passed.
///
/// Once `shutdown` resolves, no connection is accepted and idle connections are closed. Nothing that a peer does can
/// end the listener.
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
    // The listening sockets are closed before open requests are waited for: a load balancer must see refused
    // connections at once.
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

/// Accepts the connections of a socket, for ever, and starts a task for each. One that the table does not admit is
/// answered with a 503, if it is plaintext, and closed. After an error, other connections are closed to free file
/// descriptors, and the loop pauses for 10 ms, twice as long with each error in a row, up to 1 s.
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
                // The process has most likely no file descriptor left: without a pause, the loop would only use up the
                // processor.
                table.free_descriptors();
                pause = (pause * 2).clamp(Duration::from_millis(10), Duration::from_secs(1));
                tracing::warn!(%error, ?pause, "cannot accept a connection");
                sleep(pause).await;
            }
        }
    }
}

/// Sends a 503 on a connection that is not accepted, where this is possible without a handshake and without waiting.
fn refuse(stream: &TcpStream, tls: bool) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    if !tls {
        let _ = stream.try_write(ANSWER);
    }
}

/// Accepts the next connection, and skips connections that were closed before they were accepted. Returns any other
/// error, such as that of a process without free file descriptors.
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
