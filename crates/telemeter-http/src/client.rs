//! Outbound calls: HTTP requests with a deadline for each step and a cap on the response; no log line and no error
//! contains a secret.
//!
//! A redirect is followed only where the configuration allows it.

mod connect;
mod early_answer;
mod error;
mod excerpt;
mod exchange;
#[cfg(any(test, feature = "fuzzing"))]
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

pub(crate) use self::error::io_error_text;
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
    renewal::check_roots_left,
    request::OutboundRequest,
    tls::{outbound_tls, system_tls},
};
use crate::clock::{Clock, unix_ms};
use crate::propagate;
use crate::tls::CertificateFiles;

/// The cap on the wait that a `Retry-After` asks for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// The configuration of one kind of outbound call.
#[derive(Clone, Debug)]
pub struct OutboundConfig {
    /// The name of this kind of call: the label `client` of the metrics.
    pub name: &'static str,
    /// A PEM bundle of certificates to trust in addition to the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The flag that names such a bundle; an error mentions it where a bundle would help.
    pub ca_flag: Option<&'static str>,
    /// Our client certificate, for servers that ask for one.
    pub identity: Option<CertificateFiles>,
    /// Whether the proxy variables of the environment apply.
    pub proxy: ProxyUse,
    /// The resolver that looks up host names.
    pub resolver: Resolver,
    /// The deadline of a new connection, from the name lookup to the end of the TLS handshake.
    pub connect_timeout: Duration,
    /// The deadline of a TLS handshake, within `connect_timeout`.
    pub handshake_timeout: Duration,
    /// The time that a call waits for a connection. A connection that is not ready by then is still completed, for the
    /// next call.
    pub connection_wait: Duration,
    /// The deadline of the whole response, counted from the time when there is a connection. A request may set another
    /// one.
    pub timeout: Duration,
    /// Whether connections are kept for the next call.
    pub keep_alive: bool,
    /// Whether responses are asked for in gzip and decoded; the cap counts decoded bytes.
    pub gzip: bool,
    /// Whether [`Outbound::open`] follows redirects.
    pub redirects: Redirects,
    /// The value of the header `User-Agent`.
    pub user_agent: String,
    /// Whether each round trip is logged, without secrets and without bodies.
    pub verbose: bool,
    /// The counters of TLS handshakes.
    pub handshakes: OutboundHandshakes,
}

/// Whether `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (or their lower-case forms) apply.
#[derive(Clone, PartialEq, Eq)]
pub enum ProxyUse {
    /// The process's variables apply. As in Go, a loopback address is never reached through a proxy.
    FromEnvironment,
    /// These variables apply, instead of the process's own.
    FromVariables(Vec<(String, String)>),
    /// No variables apply.
    None,
}

/// Prints the variant only, since the values may contain passwords.
impl std::fmt::Debug for ProxyUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::FromEnvironment => "FromEnvironment",
            Self::FromVariables(_) => "FromVariables",
            Self::None => "None",
        })
    }
}

/// The handling of a response that is a redirect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// The redirect is returned like any other response.
    Answer,
    /// The redirect is followed, as Go's `http.Client` does for a `GET`. `docs/compatibility.md` lists the differences.
    Follow,
}

impl OutboundConfig {
    /// A configuration with kept connections, no proxy, no gzip, no redirects and the system's roots; 30 s to make a
    /// connection, 10 s of them for the TLS handshake; a call waits 10 s for a connection and 20 s for the response.
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

/// A client for outbound calls. Cheap to clone; clones share connections.
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

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status; a redirect is returned like any other status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decoded where gzip was asked for.
    pub body: Bytes,
    /// The target of a redirect, without user, password and query.
    pub redirect: Option<String>,
    /// The proxy that it came through, as text: `through the proxy http://proxy:3128 of HTTP_PROXY`. The response may
    /// come from the proxy itself.
    pub through: Option<String>,
}

impl Outbound {
    /// Reads the certificates and makes a pool for the connections.
    ///
    /// It is not an error where the system has no roots: then only calls to `https` fail.
    ///
    /// # Errors
    /// [`OutboundError::Setup`] naming the file that is missing or wrong, or the proxy variable.
    pub fn new(config: OutboundConfig, metrics: Option<OutboundMetrics>) -> Result<Self, OutboundError> {
        let user_agent = HeaderValue::try_from(&config.user_agent)
            .map_err(|_| OutboundError::Setup("the User-Agent cannot stand in a header".to_owned()))?;
        let current = ArcSwap::from_pointee(Connections::new(&config, metrics.as_ref())?);
        Ok(Self { shared: Arc::new(Inner { config, user_agent, current, metrics }) })
    }

    /// The configuration that it was built from.
    pub fn config(&self) -> &OutboundConfig {
        &self.shared.config
    }

    /// Sends one request and reads the whole response, of at most `cap_bytes`.
    ///
    /// Any status counts as a response. The request carries the trace context of the current span.
    ///
    /// # Errors
    /// [`OutboundError`].
    pub async fn send(&self, mut request: OutboundRequest, cap_bytes: usize) -> Result<Answer, OutboundError> {
        propagate::inject(request.headers_mut());
        let call = self.begin_call(&request);
        let outcome = self.exchange(request, cap_bytes, ConnectionPath::Any).await;
        call.end(outcome.map_err(OutboundError::from))
    }

    /// Sends a request as [`Outbound::send`] does, where the request may arrive twice without harm. Where the peer
    /// closed a kept connection before the first byte of a response, the request is built and sent once more, at once,
    /// on a new connection, within the same deadline.
    ///
    /// # Errors
    /// [`OutboundError`], and the error of `request`.
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
        let call = self.begin_call(&first);
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

    /// Begins to measure a call: counts it as in flight, and with `verbose` keeps the parts of the request that are
    /// logged. [`OutboundCall::end`] ends it.
    fn begin_call(&self, request: &OutboundRequest) -> OutboundCall<'_> {
        OutboundCall {
            config: &self.shared.config,
            trip: self.shared.config.verbose.then(|| redact::RequestLogFields::of(request)),
            method: crate::metrics::method_label(request.method()),
            in_flight: self.shared.metrics.as_ref().map(|metrics| metrics.start(self.shared.config.name)),
            start: Instant::now(),
        }
    }

    /// Sends a request on a connection of this kind and reads the whole response, of at most `cap_bytes`; a longer one
    /// is an error. Neither counts nor logs the call.
    async fn exchange(
        &self,
        request: OutboundRequest,
        cap_bytes: usize,
        route: ConnectionPath,
    ) -> Result<Answer, FailedExchange> {
        let mut opened = self.begin_on(request, cap_bytes, route).await?;
        // Most responses are empty, or arrive in one piece: then nothing is copied.
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

/// One call that is counted, timed and logged once, also where it is sent twice.
struct OutboundCall<'o> {
    config: &'o OutboundConfig,
    trip: Option<redact::RequestLogFields>,
    method: &'static str,
    in_flight: Option<metrics::InFlight<'o>>,
    start: Instant,
}

impl OutboundCall<'_> {
    /// Counts and times the call by its outcome, logs it where the client is verbose, and returns the outcome
    /// unchanged.
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
    /// The wait that the response asks for (`Retry-After`, in seconds or as a date), at most an hour.
    ///
    /// A date is compared with the response's own `Date`, where it has one, since our clock may differ.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, Clock::system().now_ms())
    }

    /// The same, where the status is 429 or 5xx, which such a wait applies to; else `None`.
    pub fn asks_to_wait(&self) -> Option<Duration> {
        let is_one = self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error();
        self.retry_after().filter(|_| is_one)
    }

    /// Whether the response to a plain HTTP request says that this port speaks TLS, as servers of nginx, Go and Apache
    /// do.
    pub fn wants_https(&self) -> bool {
        const SAID: [&str; 3] = [
            "plain HTTP request was sent to HTTPS port",
            "sent an HTTP request to an HTTPS server",
            "speaking plain HTTP to an SSL-enabled server port",
        ];
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(4096)]);
        self.status.is_client_error() && SAID.iter().any(|said| text.contains(said))
    }

    /// Its status as text for a log, with the target of a redirect.
    pub fn status_words(&self) -> String {
        status_words(self.status, self.redirect.as_deref(), self.through.as_deref())
    }
}

/// The status as text, in brackets with a redirect that was not followed, the proxy that the response came through, and
/// the login that the proxy did not accept.
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

/// The wait that `Retry-After` asks for, as a number of seconds or as a date, up to [`MAX_RETRY_AFTER`]. A date is
/// compared with that of the response, or with `now_ms` where the response has none. `None` without the header, or
/// where it is malformed.
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
