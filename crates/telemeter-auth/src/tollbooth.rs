//! Asks the authority who vouches for a cluster, and remembers its yes.
//!
//! The authority is the only one who knows the tokens of clusters, and it is far away: a question about one token is
//! asked once at a time, a yes is remembered here and in memcached, and while the authority is out the callers it
//! knew go on for a while. A no is never remembered, and takes a remembered yes with it.

mod answer;
mod fleet_refusal;
pub mod mock;
mod shared;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use http::header;
use parking_lot::Mutex;
use telemeter_http::client::{Answer, Outbound, OutboundError, Request};
use telemeter_http::clock::Clock;
use tokio::sync::{Semaphore, watch};
use tracing::Instrument as _;
use url::Url;

use self::fleet_refusal::FleetRefusal;
pub use self::shared::SharedCache;
use crate::bounded::{Bounded, Digest, sha256};
use crate::composite_token::CompositeToken;
use crate::oidc::{SendError, TokenSource};
use crate::{Error, Secret};

/// The longest answer of the authority that is read.
const MAX_ANSWER_BYTES: usize = 32 * 1024;
/// How long a caller whom the authority limits on `/authorize` waits at least. Source: Go.
const REGISTER_RETRY_AFTER: Duration = Duration::from_secs(300);
/// How long a caller who goes on without the authority does so before the authority is asked about it again.
const STALE_AGAIN: Duration = Duration::from_secs(30);

/// How the authority is asked, and how long its yes lasts.
#[derive(Clone, Debug)]
pub struct TollboothConfig {
    /// Where it is asked (`--authorize`).
    pub authorize: Url,
    /// For the answer, to its last byte, once there is a connection. All of a question, with our own token, the connection
    /// and a second try, may take three times that.
    pub deadline: Duration,
    /// How many questions may be open at a time.
    pub questions: usize,
    /// How long this process goes by a yes without asking again.
    pub fresh: Duration,
    /// For how long after that a yes still counts while the authority is out (`--authorize-stale`).
    pub stale: Duration,
    /// How many yeses this process remembers: about 250 bytes each.
    pub remember: usize,
}

impl TollboothConfig {
    /// 20 s, 256 questions, a yes for 5 minutes and an hour beyond, and 65,536 of them.
    pub fn new(authorize: Url) -> Self {
        Self {
            authorize,
            deadline: Duration::from_secs(20),
            questions: 256,
            fresh: Duration::from_secs(5 * 60),
            stale: Duration::from_secs(60 * 60),
            remember: 65_536,
        }
    }
}

/// The authority vouches for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Yes {
    /// The account that the cluster belongs to.
    pub account: Arc<str>,
    /// Whether this is an earlier yes, because the authority is out.
    pub stale: bool,
}

/// Stands between callers and the authority. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Tollbooth(Arc<Inner>);

/// An answer that is on its way.
type Coming = watch::Receiver<Option<Result<Yes, Error>>>;

struct Inner {
    config: TollboothConfig,
    outbound: Outbound,
    token: Option<TokenSource>,
    clock: Clock,
    shared: Option<SharedCache>,
    known: Bounded<Known>,
    asked: Mutex<HashMap<Digest, Coming>>,
    questions: Semaphore,
    out: AtomicBool,
    fleet_refusal: Mutex<FleetRefusal>,
}

/// A remembered yes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    account: Arc<str>,
    /// Until then it counts as if just said.
    fresh_until_ms: i64,
    /// Until then it counts while the authority is out.
    stale_until_ms: i64,
    /// Whether the authority was out when it was last asked.
    stale: bool,
}

impl Known {
    fn fresh(self, now_ms: i64) -> Option<Yes> {
        (now_ms < self.fresh_until_ms).then_some(Yes { account: self.account, stale: self.stale })
    }
}

/// One question: the body that is sent, and the cluster that it is about.
struct Question {
    kind: Kind,
    body: Secret,
    cluster: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `/authorize`: once a day a cluster, always asked.
    Register,
    /// `/metrics/v1/receive`: with every request, mostly answered from memory.
    Receive,
}

impl Kind {
    /// How long a caller waits whose rate the authority limits.
    fn retry_after(self, asked_to: Option<Duration>) -> Duration {
        match self {
            Self::Register => asked_to.unwrap_or_default().max(REGISTER_RETRY_AFTER),
            Self::Receive => asked_to.unwrap_or(Duration::from_secs(60)),
        }
    }
}

impl Tollbooth {
    /// Asks with `outbound`, showing our own `token` where there is a source; `shared` is what replicas remember together.
    pub fn new(
        config: TollboothConfig,
        outbound: Outbound,
        clock: Clock,
        shared: Option<SharedCache>,
        token: Option<TokenSource>,
    ) -> Self {
        Self(Arc::new(Inner {
            known: Bounded::new(config.remember),
            questions: Semaphore::new(config.questions),
            config,
            outbound,
            token,
            clock,
            shared,
            asked: Mutex::default(),
            out: AtomicBool::new(false),
            fleet_refusal: Mutex::default(),
        }))
    }

    /// Whether `cluster` may report with `token`: the question of `/authorize`. The authority is asked each time; only
    /// while it is out does an earlier yes count.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::RateLimited`], [`Error::AuthorityUnavailable`].
    pub async fn register(&self, token: &Secret, cluster: &str) -> Result<Yes, Error> {
        let body = answer::registration(token, cluster);
        self.ask(Question { kind: Kind::Register, body, cluster: cluster.to_owned() }).await
    }

    /// Whether the cluster of a composite token may send: the question of `/metrics/v1/receive`. A remembered yes that
    /// is fresh counts.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::RateLimited`], [`Error::AuthorityUnavailable`].
    pub async fn receive(&self, token: &CompositeToken) -> Result<Yes, Error> {
        let (body, cluster) = (token.json().clone(), token.cluster_id().to_owned());
        self.ask(Question { kind: Kind::Receive, body, cluster }).await
    }

    /// Goes by another key for what memcached holds: what was written with the old one no longer counts.
    pub fn rekey(&self, keys: &crate::jwt::Keys) {
        if let Some(shared) = &self.0.shared {
            shared.rekey(keys);
        }
    }

    async fn ask(&self, question: Question) -> Result<Yes, Error> {
        let digest = question.digest();
        if question.kind == Kind::Receive {
            let now_ms = self.0.clock.now_ms();
            let known = self.0.known.get(&digest, now_ms);
            if let Some(yes) = known.and_then(|known| known.fresh(now_ms)) {
                return Ok(yes);
            }
        }
        let mut answer = self.join(digest, question);
        match answer.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(answer)) => answer.clone(),
            Ok(None) | Err(_) => Err(unavailable("the question was dropped")),
        }
    }

    /// The answer to come to this question, which is asked by a task of its own: its first caller may go away.
    fn join(&self, digest: Digest, question: Question) -> Coming {
        let mut asked = self.0.asked.lock();
        if let Some(answer) = asked.get(&digest) {
            return answer.clone();
        }
        let (sender, receiver) = watch::channel(None);
        asked.insert(digest, receiver.clone());
        // A runtime that is shutting down drops the task at once, and that takes the lock.
        drop(asked);
        let asking = Asking { inner: self.0.clone(), digest };
        let task = async move {
            let inner = asking.inner.clone();
            let (answer, memo) = inner.find_out(&digest, &question).await;
            sender.send_replace(Some(answer));
            drop(asking);
            inner.note(&digest, memo).await;
        };
        tokio::spawn(task.in_current_span());
        receiver
    }
}

/// A question that is being asked; whatever ends it, nobody joins it any more.
struct Asking {
    inner: Arc<Inner>,
    digest: Digest,
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.inner.asked.lock().remove(&self.digest);
    }
}

/// What to tell memcached, once the callers have their answer.
enum Memo {
    Nothing,
    Yes(Arc<str>),
    No,
}

impl Inner {
    async fn find_out(&self, digest: &Digest, question: &Question) -> (Result<Yes, Error>, Memo) {
        let mut told = None;
        if question.kind == Kind::Receive {
            told = self.told(digest).await;
            let now_ms = self.clock.now_ms();
            if let Some(yes) = told.clone().and_then(|known| known.fresh(now_ms)) {
                self.remember(digest, told, now_ms);
                return (Ok(yes), Memo::Nothing);
            }
        }
        let answer = match self.questions.try_acquire() {
            Ok(_permit) => {
                let answer = self.question_authority(question).await;
                let answer = self.unless_fleet_is_refused(answer, digest, told.as_ref());
                self.mark_out(&answer);
                answer
            }
            // That is not the authority's fault, and no sign that it is out.
            Err(_) => Err(unavailable("too many questions are open")),
        };
        let now_ms = self.clock.now_ms();
        match answer {
            Ok(account) => {
                let fresh_until_ms = after(now_ms, self.config.fresh);
                let stale_until_ms = after(fresh_until_ms, self.config.stale);
                let known = Known { account: account.clone(), fresh_until_ms, stale_until_ms, stale: false };
                self.remember(digest, Some(known), now_ms);
                (Ok(Yes { account: account.clone(), stale: false }), Memo::Yes(account))
            }
            Err(error @ Error::Refused { .. }) => {
                self.known.remove(digest);
                (Err(error), Memo::No)
            }
            Err(error @ Error::AuthorityUnavailable { .. }) => {
                let known = match self.known.get(digest, now_ms).or(told) {
                    Some(known) => Some(known),
                    None if question.kind == Kind::Register => self.told(digest).await,
                    None => None,
                };
                let Some(known) = known.filter(|known| now_ms < known.stale_until_ms) else {
                    return (Err(error), Memo::Nothing);
                };
                let account = known.account.clone();
                tracing::debug!(%error, "an earlier yes counts");
                let again_ms = after(now_ms, STALE_AGAIN).min(known.stale_until_ms).max(known.fresh_until_ms);
                self.remember(digest, Some(Known { fresh_until_ms: again_ms, stale: true, ..known }), now_ms);
                (Ok(Yes { account, stale: true }), Memo::Nothing)
            }
            Err(error) => (Err(error), Memo::Nothing),
        }
    }

    /// What memcached says, in this process's terms.
    async fn told(&self, digest: &Digest) -> Option<Known> {
        let told = self.shared.as_ref()?.get(digest).await?;
        let fresh_until_ms = after(self.clock.now_ms(), self.config.fresh).min(told.fresh_until_ms);
        let stale_until_ms = after(told.fresh_until_ms, self.config.stale);
        Some(Known { account: told.account, fresh_until_ms, stale_until_ms, stale: false })
    }

    async fn note(&self, digest: &Digest, memo: Memo) {
        let Some(shared) = &self.shared else { return };
        match memo {
            Memo::Nothing => {}
            Memo::Yes(account) => shared.put(digest, &account, self.clock.now_ms(), self.config.stale).await,
            Memo::No => shared.remove(digest).await,
        }
    }

    fn remember(&self, digest: &Digest, known: Option<Known>, now_ms: i64) {
        if let Some(known) = known {
            let ends_ms = known.stale_until_ms;
            self.known.insert(*digest, known, ends_ms, now_ms);
        }
    }

    /// A 401 to a caller with a cached approval is not believed where such callers are refused one after the other.
    fn unless_fleet_is_refused(
        &self,
        answer: Result<Arc<str>, Error>,
        digest: &Digest,
        told: Option<&Known>,
    ) -> Result<Arc<str>, Error> {
        match answer {
            Ok(_) => self.fleet_refusal.lock().approved(),
            Err(Error::Refused { status: 401 }) => {
                let is_known = told.is_some() || self.known.get(digest, self.clock.now_ms()).is_some();
                if is_known && self.fleet_refusal.lock().refused(self.clock.monotonic_ms()) {
                    return Err(unavailable("it refuses one caller after the other that it approved before (401)"));
                }
            }
            Err(_) => {}
        }
        answer
    }

    /// The account that the authority names.
    async fn question_authority(&self, question: &Question) -> Result<Arc<str>, Error> {
        match tokio::time::timeout(3 * self.config.deadline, self.send(question)).await {
            Ok(answer) => answer::read(&answer?, question),
            Err(_elapsed) => Err(unavailable("no answer in time")),
        }
    }

    /// Sends a question, with our own token where there is a source of them.
    async fn send(&self, question: &Question) -> Result<Answer, Error> {
        let Some(source) = &self.token else {
            return self.post(question, None).await.map_err(|error| unavailable(error.to_string()));
        };
        let sent = source.send(|token| async move { self.post(question, Some(&token)).await }).await;
        sent.map_err(|error| match error {
            SendError::NoToken(error) => unavailable(error.to_string()),
            SendError::TokenRefused => unavailable("it refuses our own token (401)"),
            SendError::Outbound(error) => unavailable(error.to_string()),
        })
    }

    async fn post(&self, question: &Question, token: Option<&Secret>) -> Result<Answer, OutboundError> {
        let authorization = token.map(bearer).transpose()?;
        let request = || {
            let mut request = Request::post(self.config.authorize.clone());
            let json = header::HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json.clone());
            request.headers_mut().insert(header::ACCEPT, json);
            if let Some(authorization) = &authorization {
                request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
            }
            *request.body_mut() = Some(question.body.expose().to_owned().into());
            Ok(request.with_timeout(self.config.deadline))
        };
        self.outbound.send_idempotent(request, MAX_ANSWER_BYTES).await
    }

    /// Says once that the authority is out, and once that it is back.
    fn mark_out(&self, answer: &Result<Arc<str>, Error>) {
        match answer {
            Err(Error::AuthorityUnavailable { reason, .. }) => {
                if !self.out.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%reason, "the authority is out: the callers it knows go on, new ones must wait");
                }
            }
            _ => {
                if self.out.swap(false, Ordering::Relaxed) {
                    tracing::info!("the authority is back");
                }
            }
        }
    }
}

impl Question {
    fn digest(&self) -> Digest {
        let kind: &[u8] = match self.kind {
            Kind::Register => b"register ",
            Kind::Receive => b"receive ",
        };
        sha256(&[kind, self.body.expose().as_bytes()].concat())
    }
}

fn bearer(token: &Secret) -> Result<header::HeaderValue, OutboundError> {
    let value = header::HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| OutboundError::Setup("our token cannot stand in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn after(ms: i64, wait: Duration) -> i64 {
    ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

fn unavailable(reason: impl Into<String>) -> Error {
    Error::AuthorityUnavailable { reason: reason.into(), retry_after: None }
}

#[cfg(test)]
mod tests;
