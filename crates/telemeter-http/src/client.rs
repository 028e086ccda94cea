//! Outbound calls: one deadline round each, answers capped, no redirect followed, nothing secret in a log or an error.

mod metrics;
mod opened;
mod redact;
mod renewal;
mod roots;
mod tls;
pub(crate) mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};

use self::renewal::Connections;
pub use self::{metrics::OutboundMetrics, opened::Opened, renewal::OutboundRenewal, tls::system_tls};
use crate::body::chain;
use crate::clock::{Clock, unix_ms};
use crate::propagate;

/// The longest wait that a `Retry-After` can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How one kind of outbound call is made.
#[derive(Clone, Debug)]
pub struct OutboundConfig {
    /// Which calls these are: the metrics' `client` label.
    pub name: &'static str,
    /// A PEM bundle to trust beside the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, for servers that ask for one.
    pub identity: Option<Identity>,
    /// Whether proxy variables apply.
    pub proxy: Proxy,
    /// Deadline of a new connection, its TLS handshake included.
    pub connect_timeout: Duration,
    /// Deadline of a whole exchange: connect, send, and read the answer to its end.
    pub timeout: Duration,
    /// Keeps connections for the next call.
    pub keep_alive: bool,
    /// Asks for gzip and decodes it; the cap counts decoded bytes.
    pub gzip: bool,
    /// The `User-Agent`.
    pub user_agent: String,
    /// Logs each round trip, without secrets and without bodies.
    pub verbose: bool,
}

/// A client certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, followed by its chain.
    pub cert_file: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1.
    pub key_file: PathBuf,
}

/// Whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (or their lower-case forms) apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// They do. As in Go, a loopback address is never asked for through a proxy.
    FromEnvironment,
    /// They do not.
    None,
}

impl OutboundConfig {
    /// Kept connections, no proxy, no gzip, 5 s to connect and 20 s in all, the system's roots.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            ca_file: None,
            identity: None,
            proxy: Proxy::None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
            keep_alive: true,
            gzip: false,
            user_agent: concat!("telemeter/", env!("CARGO_PKG_VERSION")).to_owned(),
            verbose: false,
        }
    }
}

/// Makes outbound calls. Cheap to clone; clones share connections.
///
/// Roots and certificates are read when it is built, and again by [`Outbound::read`].
#[derive(Clone, Debug)]
pub struct Outbound {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: OutboundConfig,
    current: ArcSwap<Connections>,
    metrics: Option<OutboundMetrics>,
}

/// Why a call brought no answer. `Display` holds no URL, no token and no body.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The configuration cannot work: a file is missing or wrong.
    #[error("{0}")]
    Setup(String),
    /// The deadline of the connection or of the exchange passed.
    #[error("no answer in time")]
    Timeout,
    /// No connection came about: refused, no such name, or a certificate that is not trusted.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The answer is longer than the cap.
    #[error("the answer is longer than {cap_bytes} bytes")]
    TooLarge {
        /// The cap; an answer of exactly this length is within it.
        cap_bytes: usize,
    },
    /// The connection broke, or the answer is not HTTP.
    #[error("the exchange broke off: {0}")]
    Broken(String),
}

impl OutboundError {
    /// A short word for it, from a closed set: fit for a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Setup(_) => "setup",
            Self::Timeout => "timeout",
            Self::Connect(_) => "connect",
            Self::TooLarge { .. } => "too_large",
            Self::Broken(_) => "broken",
        }
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status; a redirect is one like any other.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decoded when gzip was asked for.
    pub body: Bytes,
}

impl Outbound {
    /// Reads the certificates and makes a pool for the connections.
    ///
    /// Roots that the system lacks are no error: only calls to `https` then fail.
    ///
    /// # Errors
    /// [`OutboundError::Setup`] naming the file that is missing or wrong, or the proxy variable.
    pub fn new(config: OutboundConfig, metrics: Option<OutboundMetrics>) -> Result<Self, OutboundError> {
        let current = ArcSwap::from_pointee(Connections::new(&config)?);
        Ok(Self { shared: Arc::new(Shared { config, current, metrics }) })
    }

    /// For building requests. Send them with [`Outbound::send`], which adds the caps, the deadline and the metrics.
    pub fn http(&self) -> reqwest::Client {
        self.shared.current.load().http.clone()
    }

    /// What it was built from.
    pub fn config(&self) -> &OutboundConfig {
        &self.shared.config
    }

    /// Sends one request and reads its answer, of at most `cap_bytes`, to the end.
    ///
    /// Any status is an answer. The trace context of the current span goes along.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn send(&self, mut request: reqwest::Request, cap_bytes: usize) -> Result<Answer, OutboundError> {
        propagate::inject(request.headers_mut());
        let trip = self.shared.config.verbose.then(|| redact::RoundTrip::of(&request));
        let method = crate::metrics::method_label(request.method());
        let in_flight = self.shared.metrics.as_ref().map(|metrics| metrics.start(self.shared.config.name));
        let start = Instant::now();

        let outcome = match tokio::time::timeout(self.shared.config.timeout, self.exchange(request, cap_bytes)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(OutboundError::Timeout),
        };

        let took = start.elapsed();
        if let Some(in_flight) = in_flight {
            in_flight.end(method, outcome.as_ref().ok().map(|answer| answer.status), took);
        }
        if let Some(trip) = trip {
            trip.log(self.shared.config.name, &outcome, took);
        }
        outcome
    }

    async fn exchange(&self, request: reqwest::Request, cap_bytes: usize) -> Result<Answer, OutboundError> {
        let mut response = self.http().execute(request).await.map_err(failure)?;
        if response.content_length().is_some_and(|declared| declared > cap_bytes as u64) {
            return Err(OutboundError::TooLarge { cap_bytes });
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(failure)? {
            if chunk.len() > cap_bytes - body.len() {
                return Err(OutboundError::TooLarge { cap_bytes });
            }
            body.extend_from_slice(&chunk);
        }
        let status = response.status();
        Ok(Answer { status, headers: std::mem::take(response.headers_mut()), body: body.freeze() })
    }
}

impl Answer {
    /// How long it asks us to wait (`Retry-After`, in seconds or as a date), at most a day.
    ///
    /// A date is held against the answer's own `Date`, where it has one: the two clocks need not agree.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, Clock::system().now_ms())
    }
}

fn retry_after(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let date_ms = |name| {
        let text = headers.get(name)?.to_str().ok()?;
        httpdate::parse_http_date(text.trim()).ok().map(unix_ms)
    };
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at_ms = date_ms(header::RETRY_AFTER)?;
        let from_ms = date_ms(header::DATE).unwrap_or(now_ms);
        Duration::from_millis(u64::try_from(at_ms.saturating_sub(from_ms)).unwrap_or(0))
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

fn failure(error: reqwest::Error) -> OutboundError {
    if error.is_timeout() {
        return OutboundError::Timeout;
    }
    let connect = error.is_connect();
    let error = error.without_url();
    // The library's own sentence says less than its causes do.
    let cause = words::of_cause(&error);
    let cause = cause.unwrap_or_else(|| std::error::Error::source(&error).map_or_else(|| error.to_string(), chain));
    if connect { OutboundError::Connect(cause) } else { OutboundError::Broken(cause) }
}

#[cfg(test)]
mod tests;
