//! The pool of outbound connections: idle ones, and those that are being made.
//!
//! A task of its own makes each connection. The request that started the task may give up: the task continues, and its
//! connection becomes idle and serves the next request. So where a name server needs six seconds, a request that waits
//! five fails, and the one after it succeeds.

mod attempt;
mod lease;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use url::Url;

use self::attempt::{ConnectAttempt, start};
pub(super) use self::lease::PoolLease;
use super::connect::{ConnectProgress, Connector, Origin, OutboundConnection, Proxies};
use super::error::{ConnectError, OutboundError, seconds};
use super::redact::bare_url;

/// The time for which an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// The cap on idle connections to one origin.
const MAX_IDLE: usize = 100;
/// The cap on connections to one origin that are made at the same time; further requests wait for these.
const MAX_CONNECTING: usize = 16;

/// The pool. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub(super) struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connector: Connector,
    proxies: Proxies,
    /// Whether a connection is kept after its response.
    keep_alive: bool,
    hosts: Mutex<Hosts>,
}

#[derive(Debug, Default)]
struct Hosts {
    /// There are mostly one or two origins, so a list is faster than a map.
    list: Vec<Host>,
    /// Whether the task that closes idle connections is running.
    is_swept: bool,
}

/// The connections of one origin.
#[derive(Debug)]
struct Host {
    origin: Arc<Origin>,
    /// The idle connections of HTTP/1.1, each of which serves one request at a time. The last one used is used next. Where
    /// connections are not kept, those that no request waited for any more, of either version.
    idle: Vec<(OutboundConnection, Instant)>,
    /// The connection of HTTP/2, which serves all requests, with the time when it was last used; `None` where connections are not
    /// kept.
    shared: Option<(OutboundConnection, Instant)>,
    waiting: VecDeque<oneshot::Sender<Result<PoolLease, ConnectError>>>,
    /// The number of connections that are being made.
    connecting: usize,
    /// The current step of the latest of these.
    progress: Arc<ConnectProgress>,
}

enum PoolCheckout {
    Ready(PoolLease),
    AlmostReady(PoolLease),
    Wait(oneshot::Receiver<Result<PoolLease, ConnectError>>, Arc<Origin>, Arc<ConnectProgress>),
}

impl Pool {
    pub(super) fn new(connector: Connector, proxies: Proxies, keep_alive: bool) -> Self {
        Self(Arc::new(Inner { connector, proxies, keep_alive, hosts: Mutex::default() }))
    }

    /// Gets a connection to this URL's origin, for which the caller waits at most `wait`.
    pub(super) async fn lease(&self, url: &Url, wait: Duration) -> Result<PoolLease, OutboundError> {
        let (receiver, origin, progress) = loop {
            match self.0.check_out(url)? {
                PoolCheckout::Ready(lease) => return Ok(lease),
                PoolCheckout::AlmostReady(mut lease) => {
                    if lease.becomes_ready().await {
                        return Ok(lease);
                    }
                }
                PoolCheckout::Wait(receiver, origin, progress) => break (receiver, origin, progress),
            }
        };
        let error = match timeout(wait, receiver).await {
            Ok(Ok(Ok(lease))) => return Ok(lease),
            Ok(Ok(Err(error))) => error,
            Ok(Err(_)) => ConnectError::new("the task that connects ended"),
            Err(_elapsed) => ConnectError::timeout(format!(
                "no connection within {}: still {}, which goes on",
                seconds(wait),
                progress.step()
            )),
        };
        let text = format!("cannot connect to {}: {} ({})", bare_url(url), error.text, origin.path());
        Err(if error.is_timeout { OutboundError::ConnectTimeout(text) } else { OutboundError::Connect(text) })
    }

    /// Gets a connection on which no request was sent. Idle HTTP/1.1 connections are closed, since the peer closed one
    /// that was as old. HTTP/2 detects by itself that the peer closed it, so its connection is used again.
    pub(super) async fn lease_new(&self, url: &Url, wait: Duration) -> Result<PoolLease, OutboundError> {
        for _ in 0..=MAX_IDLE {
            let lease = self.lease(url, wait).await?;
            if !lease.is_reused || matches!(lease.connection, Some(OutboundConnection::H2(_))) {
                return Ok(lease);
            }
            drop(lease.forget());
        }
        self.lease(url, wait).await
    }
}

impl Pool {
    /// Makes a connection to this URL's origin for a check, and returns each step of it; no request uses the
    /// connection.
    pub(super) async fn probe(
        &self,
        url: &Url,
    ) -> Result<(Arc<Origin>, ConnectProgress, Result<(), ConnectError>), OutboundError> {
        let (is_https, host, port) = parts(url)?;
        let origin = Arc::new(self.0.origin(url, is_https, host, port)?);
        let progress = ConnectProgress::recording();
        let made = self.0.connector.connect(&origin, &progress).await.map(drop);
        Ok((origin, progress, made))
    }

    /// The proxy that this URL's origin is reached through, or why it is reached directly, as a text.
    pub(super) fn route(&self, url: &Url) -> Result<String, OutboundError> {
        let (is_https, host, port) = parts(url)?;
        self.0.proxies.route(is_https, host, port).map_err(OutboundError::Setup)
    }
}

/// Splits a URL into whether it is `https`, its host and its port.
fn parts(url: &Url) -> Result<(bool, &str, u16), OutboundError> {
    let no_url = || OutboundError::Setup(format!("{} is no URL of http or https", bare_url(url)));
    let is_https = match url.scheme() {
        "https" => true,
        "http" => false,
        _ => return Err(no_url()),
    };
    let (host, port) = url.host_str().zip(url.port_or_known_default()).ok_or_else(no_url)?;
    Ok((is_https, host, port))
}

impl Inner {
    fn check_out(self: &Arc<Self>, url: &Url) -> Result<PoolCheckout, OutboundError> {
        let (is_https, host, port) = parts(url)?;

        let mut hosts = self.hosts.lock();
        let is_this =
            |known: &Host| known.origin.port == port && known.origin.is_https == is_https && known.origin.host == host;
        let at = match hosts.list.iter().position(is_this) {
            Some(at) => at,
            None => {
                let origin = self.origin(url, is_https, host, port)?;
                // Origins without connections, which remain after redirects, are removed.
                hosts.list.retain(|host| !host.is_empty());
                hosts.list.push(Host::new(Arc::new(origin)));
                hosts.list.len() - 1
            }
        };
        let host = &mut hosts.list[at];
        let now = Instant::now();
        if let Some((connection, used)) = host.shared.as_mut() {
            if connection.is_closed() {
                host.shared = None;
            } else if let Some(connection) = connection.share() {
                *used = now;
                return Ok(PoolCheckout::Ready(self.lease(connection, &host.origin, true)));
            }
        }
        host.idle.retain(|(connection, since)| !connection.is_closed() && now - *since < IDLE_TIMEOUT);
        if let Some(at) = host.idle.iter().rposition(|(connection, _)| connection.is_ready()) {
            let (connection, _) = host.idle.remove(at);
            return Ok(PoolCheckout::Ready(self.lease(connection, &host.origin, true)));
        }
        if let Some((connection, _)) = host.idle.pop() {
            return Ok(PoolCheckout::AlmostReady(self.lease(connection, &host.origin, true)));
        }
        host.waiting.retain(|waiter| !waiter.is_closed());
        let (sender, receiver) = oneshot::channel();
        host.waiting.push_back(sender);
        let attempt = self.next_attempt(host);
        let wait = PoolCheckout::Wait(receiver, host.origin.clone(), host.progress.clone());
        drop(hosts);
        start(attempt);
        Ok(wait)
    }

    /// The origin of a URL: its scheme, host and port, and the proxy through which it is reached. Returns an error
    /// where the host cannot be put into a header, or no proxy can be chosen for it.
    fn origin(&self, url: &Url, is_https: bool, host: &str, port: u16) -> Result<Origin, OutboundError> {
        let setup = |cause: &str| OutboundError::Setup(format!("{}: {cause}", bare_url(url)));
        let proxy = self.proxies.choose(is_https, host, port).map_err(|cause| setup(&cause))?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let host_header = HeaderValue::try_from(&authority).map_err(|_| setup("its host cannot stand in a header"))?;
        let authority = Authority::try_from(authority).map_err(|_| setup("its host is none of a URL"))?;
        Ok(Origin { is_https, host: host.to_owned(), port, proxy, authority, host_header })
    }

    fn lease(self: &Arc<Self>, connection: OutboundConnection, origin: &Arc<Origin>, is_reused: bool) -> PoolLease {
        PoolLease { connection: Some(connection), origin: origin.clone(), is_reused, pool: self.clone() }
    }

    /// The next connection to make, where more requests wait than connections are being made. It is started after the
    /// lock is released: a runtime that is shutting down drops it at once, and its drop takes the lock.
    fn next_attempt(self: &Arc<Self>, host: &mut Host) -> Option<ConnectAttempt> {
        let wanted = host.waiting.iter().filter(|waiter| !waiter.is_closed()).count();
        if host.connecting >= wanted.min(MAX_CONNECTING) {
            return None;
        }
        host.connecting += 1;
        host.progress = Arc::default();
        Some(ConnectAttempt {
            pool: self.clone(),
            origin: host.origin.clone(),
            progress: host.progress.clone(),
            outcome: None,
        })
    }

    /// Handles the outcome of an attempt; `None` where its task ended before there was one.
    fn finish_attempt(
        self: &Arc<Self>,
        origin: &Arc<Origin>,
        outcome: Option<Result<OutboundConnection, ConnectError>>,
    ) {
        let mut hosts = self.hosts.lock();
        let Some(host) = hosts.list.iter_mut().find(|host| Arc::ptr_eq(&host.origin, origin)) else { return };
        host.connecting -= 1;
        let has_ended = outcome.is_none();
        match outcome {
            Some(Ok(connection)) => self.hand_to_waiter(host, connection, false),
            Some(Err(error)) => host.refuse(error),
            None => host.refuse(ConnectError::new("the task that connects ended")),
        }
        // A runtime that is shutting down would end the next attempt as well.
        let attempt = if has_ended { None } else { self.next_attempt(host) };
        let sweep = self.begin_sweep(&mut hosts);
        drop(hosts);
        start(attempt);
        self.sweep_if(sweep);
    }

    /// Puts a connection back into the pool.
    fn return_connection(self: &Arc<Self>, origin: &Arc<Origin>, connection: OutboundConnection) {
        let mut hosts = self.hosts.lock();
        let at = match hosts.list.iter().position(|host| Arc::ptr_eq(&host.origin, origin)) {
            Some(at) => at,
            None => {
                hosts.list.push(Host::new(origin.clone()));
                hosts.list.len() - 1
            }
        };
        self.hand_to_waiter(&mut hosts.list[at], connection, true);
        let sweep = self.begin_sweep(&mut hosts);
        drop(hosts);
        self.sweep_if(sweep);
    }

    /// Gives a connection to the request that has waited longest; where none waits, it becomes idle. A connection of HTTP/2 is
    /// given to all that wait, unless connections are not kept: then each request has its own.
    fn hand_to_waiter(self: &Arc<Self>, host: &mut Host, mut connection: OutboundConnection, is_reused: bool) {
        let now = Instant::now();
        if self.keep_alive
            && let Some(shared) = connection.share()
        {
            while let Some(waiter) = host.waiting.pop_front() {
                let Some(connection) = shared.share() else { break };
                if let Err(Ok(lease)) = waiter.send(Ok(self.lease(connection, &host.origin, true))) {
                    lease.forget();
                }
            }
            if host.shared.as_ref().is_none_or(|(known, _)| known.is_closed()) {
                host.shared = Some((shared, now));
            }
            return;
        }
        while let Some(waiter) = host.waiting.pop_front() {
            match waiter.send(Ok(self.lease(connection, &host.origin, is_reused))) {
                Err(Ok(lease)) => match lease.forget() {
                    Some(back) => connection = back,
                    None => return,
                },
                _ => return,
            }
        }
        if host.idle.len() >= MAX_IDLE {
            host.idle.remove(0);
        }
        host.idle.push((connection, now));
    }

    fn begin_sweep(&self, hosts: &mut Hosts) -> bool {
        let has_idle = hosts.list.iter().any(|host| !host.idle.is_empty() || host.shared.is_some());
        has_idle && !std::mem::replace(&mut hosts.is_swept, true)
    }

    fn sweep_if(self: &Arc<Self>, is_wanted: bool) {
        if !is_wanted {
            return;
        }
        match Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(sweep(Arc::downgrade(self)));
            }
            Err(_) => self.hosts.lock().is_swept = false,
        }
    }
}

/// Closes connections that have been idle for too long, until none is idle.
async fn sweep(pool: Weak<Inner>) {
    loop {
        sleep(IDLE_TIMEOUT / 3).await;
        let Some(pool) = pool.upgrade() else { return };
        let (now, mut closed) = (Instant::now(), Vec::new());
        let mut hosts = pool.hosts.lock();
        for host in &mut hosts.list {
            closed.extend(host.idle.extract_if(.., |(_, since)| now - *since >= IDLE_TIMEOUT));
            // Responses that are being received on an HTTP/2 connection are still completed.
            closed.extend(host.shared.take_if(|(_, used)| now - *used >= IDLE_TIMEOUT));
        }
        hosts.list.retain(|host| !host.is_empty());
        if hosts.list.iter().all(|host| host.idle.is_empty() && host.shared.is_none()) {
            hosts.is_swept = false;
            return;
        }
    }
}

impl Host {
    fn new(origin: Arc<Origin>) -> Self {
        Self {
            origin,
            idle: Vec::new(),
            shared: None,
            waiting: VecDeque::new(),
            connecting: 0,
            progress: Arc::default(),
        }
    }

    fn is_empty(&self) -> bool {
        self.idle.is_empty()
            && self.shared.is_none()
            && self.connecting == 0
            && self.waiting.iter().all(oneshot::Sender::is_closed)
    }

    /// Fails the request that has waited longest with an error.
    fn refuse(&mut self, mut error: ConnectError) {
        while let Some(waiter) = self.waiting.pop_front() {
            match waiter.send(Err(error)) {
                Err(Err(back)) => error = back,
                _ => return,
            }
        }
    }
}

impl OutboundConnection {
    fn is_closed(&self) -> bool {
        match self {
            Self::H1(connection) => connection.is_closed(),
            Self::H2(connection) => connection.is_closed(),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Self::H1(connection) => connection.is_ready(),
            Self::H2(connection) => connection.is_ready(),
        }
    }

    /// Another handle to the connection, where it serves many requests at once; `None` for HTTP/1.1.
    fn share(&self) -> Option<Self> {
        match self {
            Self::H1(_) => None,
            Self::H2(connection) => Some(Self::H2(connection.clone())),
        }
    }
}
