//! Sends series on to the store as remote write, and tells each caller what the store said.
//!
//! Group commit: what concurrent callers bring within a moment is joined into one request, since `WriteRequest` messages
//! may be concatenated. When the store refuses a joined request, or breaks on it (500), it is split until each caller has
//! an answer of its own, so that one cluster's bad sample never fails another's. Whose own request did that goes alone for
//! a while.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use telemeter_auth::{Secret, oidc::TokenSource};
use telemeter_http::{
    body::BufferPool,
    client::{Answer, Outbound, Request},
};
use telemeter_wire::snappy;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::Instrument;
use url::Url;

use crate::error::Error;

/// How long the store may take to answer on a connection; a request that waited as long for its turn is not sent any more.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// How long one request may take in all: waiting for a connection (10 s), and two answers where our token was refused.
const SEND_DEADLINE: Duration = Duration::from_secs(20);

const TENANT: HeaderName = HeaderName::from_static("thanos-tenant");
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");
/// So long after a caller's arrival no further part of a split request is sent.
const BUDGET: Duration = Duration::from_secs(10);
/// After so many parts of a group that the store broke on (500), and none that it took, no more are tried.
const MAX_BROKEN: u32 = 8;
/// How long a cluster goes alone whose request the store refused or broke on.
const ALONE: Duration = Duration::from_secs(600);
/// So many clusters go alone at most; past that, those that have done so longest are joined again.
const MAX_ALONE: usize = 4096;
/// A store's answer has nothing to say but its status.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// What waits for its turn, all callers' together, before more are turned away.
const MAX_WAITING_BYTES: usize = 128 << 20;

/// How requests are joined and sent.
#[derive(Clone, Copy, Debug)]
pub struct Joining {
    /// How long the first of a group waits for others.
    pub linger: Duration,
    /// No group grows over this, in uncompressed bytes; a single request may be larger.
    pub max_bytes: usize,
    /// Requests to the store at once.
    pub lanes: usize,
}

impl Default for Joining {
    fn default() -> Self {
        Self { linger: Duration::from_millis(2), max_bytes: 1 << 20, lanes: 32 }
    }
}

/// The way to the store. Cheap to clone.
#[derive(Clone)]
pub struct Forward(Arc<Inner>);

struct Inner {
    url: Url,
    headers: HeaderMap,
    outbound: Outbound,
    token: Option<TokenSource>,
    joining: Joining,
    queue: Mutex<Queue>,
    full: Notify,
    alone: Mutex<Alone>,
    lanes: Arc<Semaphore>,
    buffers: BufferPool,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// What they hold together, as it waits and decompressed.
    bytes: usize,
    plain_bytes: usize,
    /// Whether somebody is about to send what waits.
    led: bool,
}

/// The clusters that go alone, each until a time, under a keyed hash of its ID.
#[derive(Default)]
struct Alone {
    keys: RandomState,
    until: HashMap<u64, Instant>,
}

impl Alone {
    fn key(&self, cluster: &str) -> u64 {
        self.keys.hash_one(cluster)
    }

    fn is_alone(&mut self, key: u64) -> bool {
        let Some(until) = self.until.get(&key) else { return false };
        let alone = *until > Instant::now();
        if !alone {
            self.until.remove(&key);
        }
        alone
    }

    fn send_alone(&mut self, key: u64) {
        let now = Instant::now();
        if self.until.len() >= MAX_ALONE && !self.until.contains_key(&key) {
            self.until.retain(|_, until| *until > now);
            let oldest = self.until.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key);
            if let Some(oldest) = oldest.filter(|_| self.until.len() >= MAX_ALONE) {
                self.until.remove(&oldest);
            }
        }
        self.until.insert(key, now + ALONE);
    }
}

/// A `WriteRequest` as it is sent.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its bytes, as a snappy block.
    pub block: Bytes,
    /// How many they are, decompressed.
    pub plain_bytes: usize,
}

/// One caller's message.
struct Waiting {
    cluster: u64,
    /// Not to be joined with others.
    alone: bool,
    message: Message,
    since: Instant,
    span: tracing::Span,
    answer: oneshot::Sender<Outcome>,
}

/// What became of a message.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The store has it, and said so with this status.
    Taken(StatusCode),
    /// The store will never take it.
    Refused(StatusCode),
    /// The store did not take it this time.
    Unavailable {
        /// Its status; `None` where there was no answer.
        status: Option<StatusCode>,
        /// For the log.
        cause: Arc<str>,
        /// What the store asked for.
        retry_after: Option<Duration>,
    },
    /// Too much waits for the store already.
    Overloaded,
}

impl Outcome {
    /// The store's status as a number, 0 where there was no answer.
    #[must_use]
    pub fn status_code(&self) -> u16 {
        match self {
            Self::Taken(status) | Self::Refused(status) | Self::Unavailable { status: Some(status), .. } => {
                status.as_u16()
            }
            Self::Unavailable { status: None, .. } | Self::Overloaded => 0,
        }
    }

    /// As the caller is told.
    ///
    /// # Errors
    /// [`Error::StoreRefused`], [`Error::StoreUnavailable`], [`Error::Overloaded`].
    pub fn into_result(self) -> Result<StatusCode, Error> {
        match self {
            Self::Taken(status) => Ok(status),
            Self::Refused(status) => Err(Error::StoreRefused { status }),
            Self::Unavailable { cause, retry_after, .. } => {
                Err(Error::StoreUnavailable { cause: cause.to_string(), retry_after })
            }
            Self::Overloaded => Err(Error::Overloaded),
        }
    }

    fn unavailable(status: Option<StatusCode>, cause: impl Into<Arc<str>>) -> Self {
        Self::Unavailable { status, cause: cause.into(), retry_after: None }
    }
}

impl Forward {
    /// Sends to `url` through `outbound`, with this tenant, and with a token where there is a source of them.
    ///
    /// # Errors
    /// Where the tenant cannot stand in a header.
    pub fn new(
        url: Url,
        tenant: Option<&str>,
        outbound: Outbound,
        token: Option<TokenSource>,
        joining: Joining,
    ) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(VERSION, HeaderValue::from_static("0.1.0"));
        if let Some(tenant) = tenant {
            let tenant =
                HeaderValue::from_str(tenant).map_err(|_| "--tenant-id cannot stand in a header".to_owned())?;
            headers.insert(TENANT, tenant);
        }
        Ok(Self(Arc::new(Inner {
            url,
            headers,
            outbound,
            token,
            joining,
            queue: Mutex::default(),
            full: Notify::new(),
            alone: Mutex::default(),
            lanes: Arc::new(Semaphore::new(joining.lanes)),
            buffers: BufferPool::new(8, 4 << 20),
        })))
    }

    /// Sends a message of a cluster, and waits for what the store says of it.
    pub async fn send(&self, cluster: &str, message: Message) -> Outcome {
        let (answer, told) = oneshot::channel();
        let (cluster, alone) = {
            let mut alone = self.0.alone.lock();
            let key = alone.key(cluster);
            (key, alone.is_alone(key))
        };
        let waiting =
            Waiting { cluster, alone, message, since: Instant::now(), span: tracing::Span::current(), answer };
        {
            let mut queue = self.0.queue.lock();
            if queue.bytes + waiting.message.block.len() > MAX_WAITING_BYTES && !queue.waiting.is_empty() {
                return Outcome::Overloaded;
            }
            queue.bytes += waiting.message.block.len();
            queue.plain_bytes += waiting.message.plain_bytes;
            let full = queue.plain_bytes >= self.0.joining.max_bytes;
            queue.waiting.push_back(waiting);
            if !std::mem::replace(&mut queue.led, true) {
                tokio::spawn(lead(self.0.clone()));
            }
            if full {
                self.0.full.notify_one();
            }
        }
        told.await.unwrap_or_else(|_| Outcome::unavailable(None, "the task that sends ended"))
    }
}

/// Sends groups until nothing waits any more.
async fn lead(inner: Arc<Inner>) {
    loop {
        if !inner.joining.linger.is_zero() {
            let _ = tokio::time::timeout(inner.joining.linger, inner.full.notified()).await;
        }
        let lane = turn(&inner).await;
        let (group, more) = {
            let mut queue = inner.queue.lock();
            queue.expire();
            let group = queue.group(inner.joining.max_bytes);
            queue.led = !queue.waiting.is_empty();
            (group, queue.led)
        };
        if let Some(first) = group.first() {
            let span = first.span.clone();
            tokio::spawn(send_group(inner.clone(), group, lane).instrument(span));
        }
        if !more {
            return;
        }
    }
}

/// The next free lane. Until there is one, those who have waited too long are told so.
async fn turn(inner: &Arc<Inner>) -> OwnedSemaphorePermit {
    let mut lane = pin!(inner.lanes.clone().acquire_owned());
    loop {
        match tokio::time::timeout(DEADLINE / 10, &mut lane).await {
            Ok(lane) => return lane.expect("the lanes are never closed"),
            Err(_) => inner.queue.lock().expire(),
        }
    }
}

impl Queue {
    /// Takes the next callers whose messages fit into one request; at least one. Those who waited too long are told so.
    fn group(&mut self, max_bytes: usize) -> Vec<Waiting> {
        let (mut group, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front() {
            if !group.is_empty() && (next.alone || bytes + next.message.plain_bytes > max_bytes) {
                break;
            }
            let Some(next) = self.waiting.pop_front() else { break };
            self.left(&next);
            bytes += next.message.plain_bytes;
            let alone = next.alone;
            group.push(next);
            if alone {
                break;
            }
        }
        group
    }

    fn left(&mut self, next: &Waiting) {
        self.bytes -= next.message.block.len();
        self.plain_bytes -= next.message.plain_bytes;
    }

    /// Tells those who waited too long for their turn.
    fn expire(&mut self) {
        while let Some(next) = self.waiting.pop_front_if(|next| next.since.elapsed() >= DEADLINE) {
            self.left(&next);
            next.tell(Outcome::unavailable(None, "the store is slow: no turn within the deadline"));
        }
    }
}

impl Waiting {
    fn tell(self, outcome: Outcome) {
        // A caller that left hears nothing, and that is fine.
        let _ = self.answer.send(outcome);
    }
}

/// Sends a group as one request. Where the store does not take it, its halves follow, one after the other and on the same
/// lane, down to single messages. A store that breaks on all of them is left alone soon: then it is not the messages.
async fn send_group(inner: Arc<Inner>, group: Vec<Waiting>, _lane: OwnedSemaphorePermit) {
    let mut parts = vec![group];
    let mut broke_on = Vec::new();
    let (mut taken, mut broken) = (false, 0);
    while let Some(part) = parts.pop() {
        let (mut part, late): (Vec<_>, Vec<_>) = part.into_iter().partition(|waiting| waiting.since.elapsed() < BUDGET);
        for waiting in late {
            waiting.tell(Outcome::unavailable(None, "the store did not take joined requests for too long"));
        }
        let outcome = match part.is_empty() {
            true => continue,
            false if broken >= MAX_BROKEN && !taken => {
                Outcome::unavailable(Some(StatusCode::INTERNAL_SERVER_ERROR), "it answered 500")
            }
            false => inner.send(&part).await,
        };
        taken |= matches!(outcome, Outcome::Taken(_));
        let breaks = outcome.status_code() == 500;
        broken += u32::from(breaks);
        if part.len() > 1 && (matches!(outcome, Outcome::Refused(_)) || breaks && (taken || broken < MAX_BROKEN)) {
            tracing::debug!(callers = part.len(), "the store did not take a joined request: it is split");
            parts.push(part.split_off(part.len() / 2));
            parts.push(part);
            continue;
        }
        if let [single] = &part[..] {
            match outcome {
                Outcome::Refused(_) => inner.alone.lock().send_alone(single.cluster),
                _ if breaks => broke_on.push(single.cluster),
                _ => {}
            }
        }
        for waiting in part {
            waiting.tell(outcome.clone());
        }
    }
    // What the store breaks on is the message only where it took another meanwhile.
    for cluster in broke_on.into_iter().filter(|_| taken) {
        inner.alone.lock().send_alone(cluster);
    }
}

impl Inner {
    /// Sends these messages as one request. A token that the store refuses is renewed once.
    async fn send(&self, group: &[Waiting]) -> Outcome {
        let body = match self.join(group) {
            Ok(body) => body,
            Err(error) => return Outcome::unavailable(None, error.to_string()),
        };
        let deadline = tokio::time::Instant::now() + SEND_DEADLINE;
        let attempts = async {
            let mut refused: Option<Secret> = None;
            loop {
                let token = match &self.token {
                    None => None,
                    // One that is asked for meanwhile is there for the next request.
                    Some(source) => match tokio::time::timeout(DEADLINE, source.token()).await {
                        Ok(Ok(token)) => Some(token),
                        Ok(Err(error)) => return Outcome::unavailable(None, error.to_string()),
                        Err(_) => return Outcome::unavailable(None, "no token from the OIDC provider in time"),
                    },
                };
                if refused.is_some() && refused == token {
                    return Outcome::unavailable(Some(StatusCode::UNAUTHORIZED), "it answered 401");
                }
                let answer = match self.post(body.clone(), token.as_ref()).await {
                    Ok(answer) => answer,
                    Err(cause) => return Outcome::unavailable(None, cause),
                };
                match (&self.token, token) {
                    // Another may be there already: then that is tried, by whoever else was refused, too.
                    (Some(source), Some(token)) if answer.status == StatusCode::UNAUTHORIZED && refused.is_none() => {
                        source.invalidate(&token);
                        refused = Some(token);
                    }
                    _ => return outcome_of(&answer),
                }
            }
        };
        match tokio::time::timeout_at(deadline, attempts).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::unavailable(None, "no answer within the deadline"),
        }
    }

    fn join(&self, group: &[Waiting]) -> Result<Bytes, telemeter_wire::Error> {
        if let [one] = group {
            return Ok(one.message.block.clone());
        }
        let mut joined = self.buffers.take();
        snappy::join_blocks(group.iter().map(|waiting| &waiting.message.block[..]), &mut joined)?;
        Ok(joined.freeze())
    }

    async fn post(&self, body: Bytes, token: Option<&Secret>) -> Result<Answer, String> {
        let mut request =
            Request::post(self.url.clone()).with_headers(self.headers.clone()).with_body(body).with_timeout(DEADLINE);
        if let Some(token) = token {
            request = request.with_bearer(token.expose()).map_err(|_| "our token cannot stand in a header")?;
        }
        self.outbound.send(request, MAX_ANSWER_BYTES).await.map_err(|error| error.to_string())
    }
}

/// The store's rows of the status table.
fn outcome_of(answer: &Answer) -> Outcome {
    let status = answer.status;
    match status.as_u16() {
        200..=299 => Outcome::Taken(status),
        400 | 409 | 413 | 422 => Outcome::Refused(status),
        _ => Outcome::Unavailable {
            status: Some(status),
            cause: format!("it answered {}", answer.status_words()).into(),
            retry_after: answer.asks_to_wait(),
        },
    }
}

#[cfg(test)]
mod tests;
