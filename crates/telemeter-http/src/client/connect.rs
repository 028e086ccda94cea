//! Makes outbound connections: name lookup, TCP, the proxy, TLS, and the start of HTTP. Each step is recorded when it
//! starts, so that the error of a request that timed out names the step.

mod dial;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod handshake;
mod proxy;
mod resolver;
mod tunnel;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderValue;
use http::uri::Authority;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

pub(super) use self::proxy::{Proxies, ProxyKind, ProxyServer};
pub use self::resolver::Resolver;
use super::early_answer::ReadsAfterFailedWrite;
use super::error::{ConnectError, seconds};
use super::metrics::{ConnectEvent, ConnectTimer, OutboundHandshakes, OutboundMetrics};
use super::probe::ConnectStage;
use super::sessions::Sessions;
use super::tls::OutboundTls;
use super::verifier::RecordingVerifier;
use super::words;

/// The silence of an HTTP/2 peer, while a response is due, after which it gets a ping.
const PING_AFTER: Duration = Duration::from_secs(30);
/// The time for the response to that ping.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The target of a connection, and the proxy on the way to it.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) is_https: bool,
    /// The host as in a URL: an IPv6 address has brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) proxy: Option<Arc<ProxyServer>>,
    /// The host, and the port where it is not the default of the scheme.
    pub(super) authority: Authority,
    pub(super) host_header: HeaderValue,
}

impl Origin {
    /// The path to the target, as text.
    pub(super) fn path(&self) -> String {
        match &self.proxy {
            None => "reached directly".to_owned(),
            Some(proxy) => format!("through the proxy {proxy}"),
        }
    }

    /// The text of [`path`](Self::path) where it leads through a proxy; `None` where it is direct.
    pub(super) fn through(&self) -> Option<String> {
        self.proxy.is_some().then(|| self.path())
    }

    /// Whether requests contain the whole URL, because an HTTP proxy forwards them.
    pub(super) fn is_forwarded(&self) -> bool {
        !self.is_https && self.proxy.as_ref().is_some_and(|proxy| proxy.kind != ProxyKind::Socks5)
    }
}

/// The current step of a connection that is being made; for a probe, all steps so far.
#[derive(Debug, Default)]
pub(super) struct ConnectProgress {
    step: Mutex<String>,
    steps: Option<Mutex<Vec<RecordedStep>>>,
}

/// A recorded step of a probe.
#[derive(Debug)]
pub(super) struct RecordedStep {
    pub(super) stage: ConnectStage,
    /// The description of the step: `looking up store.example`.
    pub(super) tried: String,
    pub(super) began: Instant,
    /// The time when the step was done, and its result; `None` where it was not done.
    pub(super) found: Option<(Instant, String)>,
}

impl ConnectProgress {
    /// Starts a record that keeps every step.
    pub(super) fn recording() -> Self {
        Self { step: Mutex::default(), steps: Some(Mutex::default()) }
    }

    /// Sets the step that is under way, and adds it to the record of steps, where one is kept.
    fn set(&self, stage: ConnectStage, step: impl Into<String>) {
        let tried = step.into();
        if let Some(steps) = &self.steps {
            steps.lock().push(RecordedStep { stage, tried: tried.clone(), began: Instant::now(), found: None });
        }
        *self.step.lock() = tried;
    }

    /// Records the result of the current step.
    fn found(&self, what: impl FnOnce() -> String) {
        if let Some(steps) = &self.steps
            && let Some(step) = steps.lock().last_mut()
        {
            step.found = Some((Instant::now(), what()));
        }
    }

    pub(super) fn step(&self) -> String {
        self.step.lock().clone()
    }

    /// The recorded steps; empty where none were kept.
    pub(super) fn into_steps(self) -> Vec<RecordedStep> {
        self.steps.map(Mutex::into_inner).unwrap_or_default()
    }
}

/// The settings of a TLS handshake.
#[derive(Debug)]
struct TlsSettings {
    config: Arc<ClientConfig>,
    verifier: Arc<RecordingVerifier>,
    sessions: Sessions,
    handshakes: OutboundHandshakes,
    client: &'static str,
}

/// A connection that requests can be sent on, by HTTP version.
#[derive(Debug)]
pub(super) enum OutboundConnection {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

/// A stream of bytes in both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
type OutboundStream = Box<dyn Duplex>;

/// The code and the settings that make connections.
#[derive(Debug)]
pub(super) struct Connector {
    tls: TlsSettings,
    /// The settings for HTTPS proxies, which speak HTTP/1.1.
    proxy_tls: Option<TlsSettings>,
    resolver: Resolver,
    connect_timeout: Duration,
    handshake_timeout: Duration,
    metrics: Option<OutboundMetrics>,
    client: &'static str,
}

impl Connector {
    pub(super) fn new(
        tls: OutboundTls,
        proxies: &Proxies,
        config: &super::OutboundConfig,
        metrics: Option<OutboundMetrics>,
    ) -> Self {
        config.handshakes.begin(config.name);
        let settings = |tls_config: ClientConfig| TlsSettings {
            config: Arc::new(tls_config),
            verifier: tls.verifier.clone(),
            sessions: Sessions::default(),
            handshakes: config.handshakes.clone(),
            client: config.name,
        };
        let proxy_tls = proxies.needs_tls().then(|| {
            let mut config = tls.config.clone();
            config.alpn_protocols = Vec::new();
            settings(config)
        });
        Self {
            tls: settings(tls.config.clone()),
            proxy_tls,
            resolver: config.resolver.clone(),
            connect_timeout: config.connect_timeout,
            handshake_timeout: config.handshake_timeout,
            metrics,
            client: config.name,
        }
    }

    /// Makes a connection, within `connect_timeout` for all steps. The error of a timeout names the step that was under
    /// way.
    pub(super) async fn connect(
        &self,
        origin: &Origin,
        progress: &ConnectProgress,
    ) -> Result<OutboundConnection, ConnectError> {
        match timeout(self.connect_timeout, self.make_connection(origin, progress)).await {
            Ok(made) => made,
            Err(_elapsed) => {
                let (limit, step) = (seconds(self.connect_timeout), progress.step());
                let advice = if step.starts_with("looking up") { words::advice::LOOKUP } else { words::advice::SLOW };
                Err(ConnectError::timeout(format!("no connection within {limit}: still {step}")).advise(advice))
            }
        }
    }

    /// Makes a connection step by step, without a deadline for all of them, and records each step in `progress`. The
    /// connection speaks HTTP/2 where TLS agreed on it, else HTTP/1.1.
    async fn make_connection(
        &self,
        origin: &Origin,
        progress: &ConnectProgress,
    ) -> Result<OutboundConnection, ConnectError> {
        let making = &ConnectTimer::begin(self.metrics.as_ref(), self.client);
        let stream = match &origin.proxy {
            None => {
                let stream = dial::dial(&self.resolver, &origin.host, origin.port, progress, making).await?;
                Box::new(ReadsAfterFailedWrite::new(stream))
            }
            Some(proxy) => self.through(proxy, origin, progress, making).await?,
        };
        if !origin.is_https {
            return start_http(stream, false).await;
        }
        let (stream, is_h2) = self.secure(&self.tls, (&origin.host, origin.port), stream, progress, making).await?;
        start_http(stream, is_h2).await
    }

    /// Connects to the proxy. A SOCKS proxy, and any proxy of an `https` origin, is asked for a tunnel to the origin;
    /// for an `http` origin, an HTTP proxy gets the requests themselves.
    async fn through(
        &self,
        proxy: &ProxyServer,
        origin: &Origin,
        progress: &ConnectProgress,
        making: &ConnectTimer<'_>,
    ) -> Result<OutboundStream, ConnectError> {
        let stream = dial::dial(&self.resolver, &proxy.host, proxy.port, progress, making).await?;
        let mut stream: OutboundStream = Box::new(ReadsAfterFailedWrite::new(stream));
        if let (ProxyKind::Https, Some(tls)) = (proxy.kind, &self.proxy_tls) {
            stream = self.secure(tls, (&proxy.host, proxy.port), stream, progress, making).await?.0;
        }
        match proxy.kind {
            ProxyKind::Socks5 => {
                progress
                    .set(ConnectStage::Proxy, format!("asking the proxy for a way to {}:{}", origin.host, origin.port));
                tunnel::socks5(&mut stream, &origin.host, origin.port, proxy.login.as_ref()).await?;
                progress.found(|| "the proxy opened one".to_owned());
            }
            ProxyKind::Http | ProxyKind::Https if origin.is_https => {
                progress
                    .set(ConnectStage::Proxy, format!("asking the proxy for a way to {}:{}", origin.host, origin.port));
                tunnel::connect(&mut stream, &origin.host, origin.port, proxy.authorization.as_ref()).await?;
                progress.found(|| "the proxy opened one".to_owned());
            }
            ProxyKind::Http | ProxyKind::Https => {}
        }
        Ok(stream)
    }

    /// Does a TLS handshake within its own deadline, and measures it; also returns whether HTTP/2 was agreed on.
    async fn secure(
        &self,
        tls: &TlsSettings,
        (host, port): (&str, u16),
        stream: OutboundStream,
        progress: &ConnectProgress,
        making: &ConnectTimer<'_>,
    ) -> Result<(OutboundStream, bool), ConnectError> {
        progress.set(ConnectStage::Tls, format!("in the TLS handshake with {host}"));
        making.reached(ConnectEvent::TlsStart);
        let shaken = timeout(self.handshake_timeout, handshake::handshake(tls, host, port, stream, progress)).await;
        making.reached(ConnectEvent::TlsDone);
        match shaken {
            Ok(outcome) => outcome.map(|(stream, is_h2)| (Box::new(stream) as OutboundStream, is_h2)),
            Err(_elapsed) => {
                let limit = seconds(self.handshake_timeout);
                let text = format!("the TLS handshake with {host} was not done within {limit}");
                Err(ConnectError::timeout(text).advise(words::advice::SILENT))
            }
        }
    }
}

/// Starts HTTP on a stream; a task of its own then drives the connection.
async fn start_http(stream: OutboundStream, is_h2: bool) -> Result<OutboundConnection, ConnectError> {
    let failed = |error: hyper::Error| {
        ConnectError::new(format!("beginning HTTP: {}", words::error_text(&error))).advise(words::advice::CLOSED)
    };
    let io = TokioIo::new(stream);
    if is_h2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(PING_AFTER).keep_alive_timeout(PING_TIMEOUT);
        let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
        tokio::spawn(run(connection));
        return Ok(OutboundConnection::H2(sender));
    }
    let (sender, connection) = http1::handshake(io).await.map_err(failed)?;
    tokio::spawn(run(connection));
    Ok(OutboundConnection::H1(sender))
}

async fn run(connection: impl Future<Output = Result<(), hyper::Error>>) {
    // A request that waits for a response on the connection gets the error itself.
    if let Err(error) = connection.await {
        tracing::debug!(error = words::error_text(&error), "an outbound connection ended");
    }
}
