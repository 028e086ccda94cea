//! Simulates honest callers: they send at a steady rate, whatever the outcome of their requests, and record all errors.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{interval, timeout},
};

use crate::{
    call::{self, CallAnswer, CallConnection, Endpoint},
    payload::{self, GOOD_TOKEN},
    server::AttackedServer,
};

/// The number of honest clusters.
const CLUSTERS: usize = 30;
/// The time between two requests of one kind.
const PERIOD: Duration = Duration::from_millis(250);
/// How long a caller waits for its answer: longer than any deadline of the server for a request that has arrived
/// completely.
const PATIENCE: Duration = Duration::from_secs(25);
/// A request waits at most 5 s until it is sent to the store, and the store may take 5 s to answer; a busy machine
/// needs additional time.
const UNAVAILABLE_WITHIN: Duration = Duration::from_secs(15);
/// How many errors are kept.
const MAX_COMPLAINTS: usize = 5;

/// The kinds of requests of honest callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HonestKind {
    /// `/upload` on a connection that is kept open.
    Upload,
    /// `/upload` on a new connection each time.
    UploadAnew,
    /// `/metrics/v1/receive` of a cluster with a cached approval, on a connection that is kept open.
    Receive,
    /// `/metrics/v1/receive` of a new cluster, on a new connection.
    ReceiveAnew,
    /// `/authorize` of a new cluster, on a new connection.
    Authorize,
    /// `/healthz` of the external listener, on a new connection.
    Health,
    /// `/metrics` of the internal listener, on a new connection.
    Metrics,
}

impl HonestKind {
    const ALL: [Self; 7] = [
        Self::Upload,
        Self::UploadAnew,
        Self::Receive,
        Self::ReceiveAnew,
        Self::Authorize,
        Self::Health,
        Self::Metrics,
    ];

    const fn keeps_its_connection(self) -> bool {
        matches!(self, Self::Upload | Self::Receive)
    }

    /// The source address of this kind of request.
    const fn source(self) -> Ipv4Addr {
        Ipv4Addr::new(127, 77, 0, 1 + self as u8)
    }
}

/// The expected answer for a kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpectedAnswer {
    Success,
    /// A prompt 503 with `Retry-After`: the authority or the store is unavailable.
    Unavailable,
    /// Any outcome; it is not counted.
    Anything,
}

/// The outcomes of all requests that are counted.
pub(crate) struct Figures {
    pub(crate) latency: Histogram<u64>,
    pub(crate) asked: usize,
    pub(crate) right: usize,
    /// Requests that were sent again on a new connection, because the kept one had been closed.
    pub(crate) reconnected: usize,
    pub(crate) complaints: Vec<String>,
}

impl Figures {
    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// All honest callers of one server.
pub(crate) struct Honest {
    external: Endpoint,
    internal: Endpoint,
    /// The access tokens from `/authorize`, by cluster.
    pub(crate) tokens: Vec<String>,
    /// The source address of all callers, as behind a load balancer; `None`: each kind of request has its own.
    pub(crate) behind_one_address: Option<Ipv4Addr>,
    /// Idle connections, by kind of request.
    kept: [Mutex<Vec<CallConnection>>; HonestKind::ALL.len()],
    next: AtomicUsize,
}

pub(crate) fn cluster(number: usize) -> String {
    format!("honest-{number}")
}

impl Honest {
    /// Requests the access tokens of the clusters, and gets their approvals cached.
    pub(crate) async fn start(server: &AttackedServer) -> Result<Arc<Self>, String> {
        let mut honest = Self {
            external: server.external.clone(),
            internal: server.internal.clone(),
            tokens: Vec::new(),
            behind_one_address: None,
            kept: Default::default(),
            next: AtomicUsize::new(CLUSTERS),
        };
        let source = HonestKind::Authorize.source();
        let mut connection = CallConnection::open(&honest.external, source).await?;
        for number in 0..CLUSTERS {
            let name = cluster(number);
            let answer = connection.send(payload::authorize(GOOD_TOKEN, &name)).await?;
            let granted: serde_json::Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
            let token = granted.get("token").and_then(|token| token.as_str()).ok_or("no token in the grant")?;
            honest.tokens.push(token.to_owned());
            let answer = connection.send(payload::receive(GOOD_TOKEN, &name)).await?;
            if !answer.status.is_success() {
                return Err(format!("the first remote write of {name}: {answer:?}"));
            }
        }
        Ok(Arc::new(honest))
    }

    pub(crate) fn behind(self: Arc<Self>, address: Ipv4Addr) -> Arc<Self> {
        let mut honest = Arc::into_inner(self).expect("nobody sends yet");
        honest.behind_one_address = Some(address);
        Arc::new(honest)
    }

    /// Sends requests for this duration; requests within `settle` are not counted.
    pub(crate) async fn send(
        self: &Arc<Self>,
        duration: Duration,
        settle: Duration,
        expected: fn(HonestKind) -> ExpectedAnswer,
    ) -> Figures {
        let figures = Arc::new(Mutex::new(Figures {
            latency: Histogram::new(3).expect("three digits"),
            asked: 0,
            right: 0,
            reconnected: 0,
            complaints: Vec::new(),
        }));
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for (at, kind) in HonestKind::ALL.into_iter().enumerate() {
            let (honest, figures) = (self.clone(), figures.clone());
            callers.spawn(async move {
                // The kinds of requests start at different times, so that they do not arrive together.
                tokio::time::sleep(PERIOD * at as u32 / HonestKind::ALL.len() as u32).await;
                let (mut ticks, mut requests) = (interval(PERIOD), JoinSet::new());
                while began.elapsed() < duration {
                    ticks.tick().await;
                    let (honest, figures, sent) = (honest.clone(), figures.clone(), began.elapsed());
                    requests.spawn(async move {
                        let outcome = honest.one(kind).await;
                        if sent >= settle {
                            figures.lock().record(kind, sent, began.elapsed() - sent, outcome, expected(kind));
                        }
                    });
                }
                while requests.join_next().await.is_some() {}
            });
        }
        while callers.join_next().await.is_some() {}
        let figures = Arc::into_inner(figures).expect("all callers have ended");
        figures.into_inner()
    }

    /// Sends one request; returns whether it was sent again, and the answer.
    async fn one(&self, kind: HonestKind) -> (bool, Result<CallAnswer, String>) {
        match timeout(PATIENCE, self.one_without_deadline(kind)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => (false, Err(format!("no answer within {PATIENCE:?}"))),
        }
    }

    async fn one_without_deadline(&self, kind: HonestKind) -> (bool, Result<CallAnswer, String>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let source = self.behind_one_address.unwrap_or(kind.source());
        let endpoint = if kind == HonestKind::Metrics { &self.internal } else { &self.external };
        if !kind.keeps_its_connection() {
            return (false, call::once(endpoint, source, self.request(kind, number)).await);
        }
        let idle = self.kept[kind as usize].lock().pop().filter(CallConnection::is_open);
        let repeated = idle.is_some();
        if let Some(mut connection) = idle
            && let Ok(answer) = connection.send(self.request(kind, number)).await
        {
            self.kept[kind as usize].lock().push(connection);
            return (false, Ok(answer));
        }
        // As in every HTTP client, a connection that was closed while it was idle is not a failure.
        let mut connection = match CallConnection::open(endpoint, source).await {
            Ok(connection) => connection,
            Err(error) => return (repeated, Err(error)),
        };
        let answer = connection.send(self.request(kind, number)).await;
        if answer.is_ok() {
            self.kept[kind as usize].lock().push(connection);
        }
        (repeated, answer)
    }

    fn request(&self, kind: HonestKind, number: usize) -> Request<Full<Bytes>> {
        let known = number % CLUSTERS;
        match kind {
            HonestKind::Upload | HonestKind::UploadAnew => payload::upload(&self.tokens[known], &cluster(known)),
            HonestKind::Receive => payload::receive(GOOD_TOKEN, &cluster(known)),
            HonestKind::ReceiveAnew => payload::receive(GOOD_TOKEN, &cluster(number)),
            HonestKind::Authorize => payload::authorize(GOOD_TOKEN, &cluster(number)),
            HonestKind::Health => payload::get("/healthz"),
            HonestKind::Metrics => payload::get("/metrics"),
        }
    }
}

impl Figures {
    fn record(
        &mut self,
        kind: HonestKind,
        sent: Duration,
        took: Duration,
        (reconnected, outcome): (bool, Result<CallAnswer, String>),
        expected: ExpectedAnswer,
    ) {
        let is_right = match expected {
            ExpectedAnswer::Anything => return,
            ExpectedAnswer::Success => outcome.as_ref().is_ok_and(|answer| answer.status.is_success()),
            ExpectedAnswer::Unavailable => outcome.as_ref().is_ok_and(|answer| {
                answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.retry_after && took <= UNAVAILABLE_WITHIN
            }),
        };
        self.asked += 1;
        self.right += usize::from(is_right);
        self.reconnected += usize::from(reconnected);
        if expected == ExpectedAnswer::Success {
            // The histogram cannot record more than an hour.
            let _ = self.latency.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
        if !is_right && self.complaints.len() < MAX_COMPLAINTS {
            let told = match outcome {
                Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body).trim()),
                Err(error) => error,
            };
            self.complaints.push(format!("{kind:?} after {:.1} s: {told} (took {took:.1?})", sent.as_secs_f64()));
        }
    }
}
