//! Outbound calls: a deadline for each step, answers capped, nothing secret in a log or an error.
//!
//! A redirect is followed only where the configuration says so.

mod connect;
mod early_answer;
mod error;
mod excerpt;
mod exchange;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gunzip;
mod metrics;
mod opened;
mod pool;
mod probe;
mod redact;
mod redirect;
mod renewal;
mod replay;
mod request;
mod roots;
mod sessions;
mod tls;
mod verifier;
pub(crate) mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};

pub(crate) use self::error::io_words;
use self::exchange::ConnectionPath;
use self::renewal::Connections;
use self::replay::FailedExchange;
pub use self::{
    connect::Resolver,
    error::OutboundError,
    excerpt::{excerpt, redacted},
    metrics::{OutboundHandshakes, OutboundMetrics},
    opened::OpenAnswer,
    probe::{ConnectStage, Probe, ProbeStep},
    redact::bare_url,
    renewal::OutboundRenewal,
    renewal::still_trusting,
    request::OutboundRequest,
    tls::{outbound_tls, system_tls},
};
use crate::clock::{Clock, unix_ms};
use crate::propagate;
use crate::tls::CertificateFiles;

/// The longest wait that a `Retry-After` can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// How one kind of outbound call is made.
#[derive(Clone, Debug)]
pub struct OutboundConfig {
    /// Which calls these are: the metrics' `client` label.
    pub name: &'static str,
    /// A PEM bundle to trust beside the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The flag that names such a bundle: an error says that it would help.
    pub ca_flag: Option<&'static str>,
    /// Our own certificate, for servers that ask for one.
    pub identity: Option<CertificateFiles>,
    /// Whether proxy variables apply.
    pub proxy: ProxyUse,
    /// Who looks names up.
    pub resolver: Resolver,
    /// Deadline of a new connection, from the name lookup to the end of the TLS handshake.
    pub connect_timeout: Duration,
    /// Deadline of a TLS handshake within that.
    pub handshake_timeout: Duration,
    /// How long a call waits for a connection. One that is not made by then goes on being made, for the next call.
    pub connection_wait: Duration,
    /// Deadline of the answer, to its end, once there is a connection. A request may have another.
    pub timeout: Duration,
    /// Keeps connections for the next call.
    pub keep_alive: bool,
    /// Asks for gzip and decodes it; the cap counts decoded bytes.
    pub gzip: bool,
    /// Whether [`Outbound::open`] follows redirects.
    pub redirects: Redirects,
    /// The `User-Agent`.
    pub user_agent: String,
    /// Logs each round trip, without secrets and without bodies.
    pub verbose: bool,
    /// Where TLS handshakes are counted.
    pub handshakes: OutboundHandshakes,
}

/// Whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (or their lower-case forms) apply.
#[derive(Clone, PartialEq, Eq)]
pub enum ProxyUse {
    /// They do. As in Go, a loopback address is never asked for through a proxy.
    FromEnvironment,
    /// These variables do, in place of the process's own.
    FromVariables(Vec<(String, String)>),
    /// They do not.
    None,
}

/// The values may hold passwords.
impl std::fmt::Debug for ProxyUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FromEnvironment => "FromEnvironment",
            Self::FromVariables(_) => "FromVariables",
            Self::None => "None",
        })
    }
}

/// What is done with an answer that points elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// It is an answer like any other.
    Answer,
    /// It is followed, as Go's `http.Client` does for a `GET`. See `docs/compatibility.md` for what differs.
    Follow,
}

impl OutboundConfig {
    /// Kept connections, no proxy, no gzip, no redirect, the system's roots; 30 s to make a connection, 10 s of them for
    /// the TLS handshake; a call waits 10 s for a connection and 20 s for its answer.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            ca_file: None,
            ca_flag: None,
            identity: None,
            proxy: ProxyUse::None,
            resolver: Resolver::system(),
            connect_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            connection_wait: Duration::from_secs(10),
            timeout: Duration::from_secs(20),
            keep_alive: true,
            gzip: false,
            redirects: Redirects::Answer,
            user_agent: concat!("telemeter/", env!("CARGO_PKG_VERSION")).to_owned(),
            verbose: false,
            handshakes: OutboundHandshakes::default(),
        }
    }
}

/// Makes outbound calls. Cheap to clone; clones share connections.
///
/// Roots and certificates are read when it is built, and again by [`Outbound::read`].
#[derive(Clone, Debug)]
pub struct Outbound {
    shared: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: OutboundConfig,
    current: ArcSwap<Connections>,
    user_agent: HeaderValue,
    metrics: Option<OutboundMetrics>,
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
    /// Where a redirect points, without user, password and query.
    pub redirect: Option<String>,
    /// Through which proxy it came, in words: `through the proxy http://proxy:3128 of HTTP_PROXY`. The answer may be the
    /// proxy's own.
    pub through: Option<String>,
}

impl Outbound {
    /// Reads the certificates and makes a pool for the connections.
    ///
    /// Roots that the system lacks are no error: only calls to `https` then fail.
    ///
    /// # Errors
    /// [`OutboundError::Setup`] naming the file that is missing or wrong, or the proxy variable.
    pub fn new(config: OutboundConfig, metrics: Option<OutboundMetrics>) -> Result<Self, OutboundError> {
        let user_agent = HeaderValue::try_from(&config.user_agent)
            .map_err(|_| OutboundError::Setup("the User-Agent cannot stand in a header".to_owned()))?;
        let current = ArcSwap::from_pointee(Connections::new(&config, metrics.as_ref())?);
        Ok(Self { shared: Arc::new(Inner { config, user_agent, current, metrics }) })
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
    pub async fn send(&self, mut request: OutboundRequest, cap_bytes: usize) -> Result<Answer, OutboundError> {
        propagate::inject(request.headers_mut());
        let call = self.call(&request);
        let outcome = self.exchange(request, cap_bytes, ConnectionPath::Any).await;
        call.end(outcome.map_err(OutboundError::from))
    }

    /// As [`Outbound::send`], for a request that may arrive twice. Where the peer closed a kept connection before any byte
    /// of an answer came, the request is made and sent once more, at once, on a new connection, within the same deadline.
    ///
    /// # Errors
    /// [`OutboundError`], and what `request` fails with.
    pub async fn send_idempotent(
        &self,
        request: impl Fn() -> Result<OutboundRequest, OutboundError>,
        cap_bytes: usize,
    ) -> Result<Answer, OutboundError> {
        let traced = || {
            let mut request = request()?;
            propagate::inject(request.headers_mut());
            Ok::<_, OutboundError>(request)
        };
        let first = traced()?;
        let call = self.call(&first);
        let outcome = match self.exchange(first, cap_bytes, ConnectionPath::Any).await {
            Err(FailedExchange { error, closed_unanswered: Some(deadline) }) => {
                tracing::debug!(%error, "a kept connection was closed: sent again on a new one");
                match traced() {
                    Ok(again) => self.exchange(again, cap_bytes, ConnectionPath::New { deadline }).await,
                    Err(error) => Err(error.into()),
                }
            }
            outcome => outcome,
        };
        call.end(outcome.map_err(OutboundError::from))
    }

    fn call(&self, request: &OutboundRequest) -> OutboundCall<'_> {
        OutboundCall {
            config: &self.shared.config,
            trip: self.shared.config.verbose.then(|| redact::RoundTrip::of(request)),
            method: crate::metrics::method_label(request.method()),
            in_flight: self.shared.metrics.as_ref().map(|metrics| metrics.start(self.shared.config.name)),
            start: Instant::now(),
        }
    }

    async fn exchange(
        &self,
        request: OutboundRequest,
        cap_bytes: usize,
        route: ConnectionPath,
    ) -> Result<Answer, FailedExchange> {
        let mut opened = self.begin_on(request, cap_bytes, route).await?;
        // Most answers are empty, or come in one piece: then nothing is copied.
        let mut body = opened.chunk().await?.unwrap_or_default();
        if !body.is_empty()
            && let Some(next) = opened.chunk().await?
        {
            let mut joined = BytesMut::from(body);
            joined.extend_from_slice(&next);
            while let Some(next) = opened.chunk().await? {
                joined.extend_from_slice(&next);
            }
            body = joined.freeze();
        }
        let redirect = opened.redirect_target();
        let through = opened.through();
        Ok(Answer { status: opened.status, headers: std::mem::take(&mut opened.headers), body, redirect, through })
    }
}

/// One call that is counted, timed and logged, however often it is sent.
struct OutboundCall<'o> {
    config: &'o OutboundConfig,
    trip: Option<redact::RoundTrip>,
    method: &'static str,
    in_flight: Option<metrics::InFlight<'o>>,
    start: Instant,
}

impl OutboundCall<'_> {
    fn end(self, outcome: Result<Answer, OutboundError>) -> Result<Answer, OutboundError> {
        let took = self.start.elapsed();
        if let Some(in_flight) = self.in_flight {
            in_flight.end(self.method, outcome.as_ref().ok().map(|answer| answer.status), took);
        }
        if let Some(trip) = self.trip {
            trip.log(self.config.name, &outcome, took);
        }
        outcome
    }
}

impl Answer {
    /// How long it asks us to wait (`Retry-After`, in seconds or as a date), at most an hour.
    ///
    /// A date is held against the answer's own `Date`, where it has one: the two clocks need not agree.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, Clock::system().now_ms())
    }

    /// The same where its status is one that such a wait goes with: 429, and every 5xx.
    pub fn asks_to_wait(&self) -> Option<Duration> {
        let is_one = self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error();
        self.retry_after().filter(|_| is_one)
    }

    /// Whether it says that this port speaks TLS, where it was asked in plain HTTP: servers of nginx, Go and Apache answer so.
    pub fn wants_https(&self) -> bool {
        const SAID: [&str; 3] = [
            "plain HTTP request was sent to HTTPS port",
            "sent an HTTP request to an HTTPS server",
            "speaking plain HTTP to an SSL-enabled server port",
        ];
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(4096)]);
        self.status.is_client_error() && SAID.iter().any(|said| text.contains(said))
    }

    /// Its status for a log; a redirect's with where it points.
    pub fn status_words(&self) -> String {
        status_words(self.status, self.redirect.as_deref(), self.through.as_deref())
    }
}

fn status_words(status: StatusCode, redirect: Option<&str>, through: Option<&str>) -> String {
    let mut remarks = Vec::new();
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED && through.is_some() {
        remarks.push("the proxy wants another user and password".to_owned());
    }
    remarks.extend(redirect.map(|target| format!("a redirect to {target}, which is not followed")));
    remarks.extend(through.map(str::to_owned));
    match remarks.is_empty() {
        true => status.as_u16().to_string(),
        false => format!("{} ({})", status.as_u16(), remarks.join("; ")),
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

#[cfg(test)]
mod tests;
