//! Asks the authority whether a caller may report for a cluster, and caches its approvals.
//!
//! The authority is the only one who knows the tokens of clusters, and it is far away: a question about one token is asked
//! once at a time, and an approval is cached here and in memcached. It is refreshed in the background before it runs out, and
//! while the authority is unavailable it counts for a while after that: whoever was approved does not wait for the authority.
//! A refusal is answered anew each time; it removes a cached approval, and no approval from before it counts again.
//!
//! Questions that callers wait for and refreshes have open questions of their own; both are shared fairly by client. All
//! waiting and keeping is measured on the monotonic clock.

mod answer;
mod approvals;
mod client;
mod excerpt;
mod fair_queue;
mod fleet_refusal;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod mock;
mod question;
mod question_rate;
mod resolve;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use telemeter_http::availability::{Availability, AvailabilityRecord};
use telemeter_http::client::Outbound;
use telemeter_http::clock::Clock;
use tokio::sync::watch;
use tracing::Instrument as _;
use url::Url;

use self::approvals::Approvals;
pub use self::client::QuestionOrigin;
use self::fair_queue::QuestionQueue;
use self::fleet_refusal::FleetRefusal;
use self::question::{AuthorityQuestion, QuestionKey, QuestionKind};
use self::question_rate::QuestionRate;
pub use self::question_rate::Rate;
use self::resolve::BUSY;
pub use self::shared::SharedCache;
use crate::bounded::{Bounded, Digest};
use crate::composite_token::CompositeToken;
use crate::oidc::TokenSource;
use crate::{Error, Secret};

/// A refresh that did not succeed is tried again after this.
const REFRESH_AGAIN_MS: i64 = 30_000;
/// How far the clocks of replicas may be apart.
const CLOCK_TOLERANCE_MS: i64 = 60_000;
/// So many questions may be under way, those that wait for memcached or for their turn included.
const MAX_ASKED: usize = 8_192;
/// How long `/authorize` waits for an authority that is unavailable, where an earlier approval is there.
const WAIT_WHILE_UNAVAILABLE: Duration = Duration::from_secs(2);
/// The part of the open questions that refreshes have to themselves: a quarter.
const REFRESH_PART: usize = 4;

/// How the authority is asked, and how long its approval lasts.
#[derive(Clone, Debug)]
pub struct AuthorityConfig {
    /// Where it is asked (`--authorize`).
    pub authorize: Url,
    /// For the answer, to its last byte, once there is a connection. All of a question, with our own token, the connection
    /// and a second try, may take three times that.
    pub deadline: Duration,
    /// How many questions may be open at a time: three quarters that callers wait for, a quarter to refresh approvals.
    pub questions: usize,
    /// How long a caller waits until a question may be opened.
    pub max_wait: Duration,
    /// How long this process goes by an approval; after four fifths of it the approval is refreshed.
    pub fresh: Duration,
    /// An approval in memcached that is older, or older than four fifths of `--memcached-expire`, is refreshed.
    pub renew_shared: Duration,
    /// For how long after its end an approval still counts while it cannot be refreshed (`--authorize-stale`).
    pub stale: Duration,
    /// How many approvals this process caches: about 250 bytes each.
    pub remember: usize,
    /// Questions about one cluster from one peer, where there is no approval.
    pub rate_of_claim: Rate,
    /// Questions from one peer, where there is no approval.
    pub rate_of_peer: Rate,
}

impl AuthorityConfig {
    /// 20 s, 256 questions, 2 s of waiting for one, an approval for 5 minutes and an hour beyond, 65,536 of them, renewed in
    /// memcached after an hour; 60 questions a minute about a cluster from a peer, 5,000 a second from a peer.
    pub fn new(authorize: Url) -> Self {
        Self {
            authorize,
            deadline: Duration::from_secs(20),
            questions: 256,
            max_wait: Duration::from_secs(2),
            fresh: Duration::from_secs(5 * 60),
            renew_shared: Duration::from_secs(60 * 60),
            stale: Duration::from_secs(60 * 60),
            remember: 65_536,
            rate_of_claim: Rate { burst: 60, per_minute: 60 },
            rate_of_peer: Rate { burst: 10_000, per_minute: 300_000 },
        }
    }
}

/// The authority approves the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The account that the cluster belongs to.
    pub account: Arc<str>,
    /// Whether it has run out, and counts because it could not be refreshed yet.
    pub is_stale: bool,
}

/// Stands between callers and the authority. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

/// How a question ends.
type ApprovalResult = Result<Approval, Error>;
/// An answer that is on its way.
type PendingApproval = watch::Receiver<Option<ApprovalResult>>;

/// What a question is asked for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// A caller waits for the answer.
    Caller(QuestionOrigin),
    /// Nobody waits: an approval is refreshed.
    Refresh,
}

struct Inner {
    config: AuthorityConfig,
    outbound: Outbound,
    token: Option<TokenSource>,
    clock: Clock,
    shared: Option<SharedCache>,
    approvals: Approvals,
    /// When a question was refused, on the monotonic clock.
    refusals: Bounded<i64>,
    asked: Mutex<HashMap<Digest, PendingApproval>>,
    callers: Arc<QuestionQueue>,
    refreshes: Arc<QuestionQueue>,
    rate: QuestionRate,
    availability: Availability,
    fleet_refusal: Mutex<FleetRefusal>,
}

impl Authority {
    /// Asks with `outbound`, showing our own `token` where there is a source; `shared` is what replicas remember together.
    pub fn new(
        config: AuthorityConfig,
        outbound: Outbound,
        clock: Clock,
        shared: Option<SharedCache>,
        token: Option<TokenSource>,
    ) -> Self {
        let refreshes = config.questions / REFRESH_PART;
        Self(Arc::new(Inner {
            approvals: Approvals::new(config.remember),
            refusals: Bounded::new(config.remember),
            callers: QuestionQueue::new(config.questions - refreshes),
            refreshes: QuestionQueue::new(refreshes),
            rate: QuestionRate::new(config.rate_of_claim, config.rate_of_peer),
            config,
            outbound,
            token,
            clock,
            shared,
            asked: Mutex::default(),
            availability: Availability::default(),
            fleet_refusal: Mutex::default(),
        }))
    }

    /// Whether `cluster` may report with `token`: the question of `/authorize`. The authority is asked each time; only
    /// while it is unavailable, or too many questions are open, does an earlier approval count.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::RateLimited`], [`Error::AuthorityUnavailable`], [`Error::TooManyQuestions`].
    pub async fn register(&self, asker: QuestionOrigin, token: &Secret, cluster: &str) -> Result<Approval, Error> {
        let inner = &self.0;
        let key = QuestionKey::new(QuestionKind::Register, cluster, token.expose());
        let body = answer::registration(token, cluster);
        let (cluster, token) = (cluster.to_owned(), token.clone());
        let question = AuthorityQuestion { kind: QuestionKind::Register, key, body, cluster, token };
        let coming = self.join(question, Purpose::Caller(asker));
        if inner.availability.is_unavailable()
            && let Some(known) = inner.approvals.get(&key, inner.clock.monotonic_ms())
        {
            let earlier = Approval { is_stale: true, ..known.approval(inner.clock.monotonic_ms()) };
            return tokio::time::timeout(WAIT_WHILE_UNAVAILABLE, wait_for(coming)).await.unwrap_or(Ok(earlier));
        }
        wait_for(coming).await
    }

    /// Whether the cluster of a composite token may send: the question of `/metrics/v1/receive`. A cached approval counts;
    /// where it is due, a refresh begins.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::RateLimited`], [`Error::AuthorityUnavailable`], [`Error::TooManyQuestions`].
    pub async fn receive(&self, asker: QuestionOrigin, token: &CompositeToken) -> Result<Approval, Error> {
        let key = QuestionKey::new(QuestionKind::Receive, token.cluster_id(), token.authorization_token().expose());
        let question = || AuthorityQuestion {
            kind: QuestionKind::Receive,
            key,
            body: token.json().clone(),
            cluster: token.cluster_id().to_owned(),
            token: token.authorization_token().clone(),
        };
        if let Some((approval, is_refresh_due)) = self.0.approvals.for_request(&key, self.0.clock.monotonic_ms()) {
            if is_refresh_due {
                drop(self.join(question(), Purpose::Refresh));
            }
            return Ok(approval);
        }
        wait_for(self.join(question(), Purpose::Caller(asker))).await
    }

    /// Whether the authority answers.
    #[must_use]
    pub fn availability(&self) -> AvailabilityRecord {
        self.0.availability.read()
    }

    /// Whether memcached answers, where there is one.
    #[must_use]
    pub fn cache_availability(&self) -> Option<AvailabilityRecord> {
        self.0.shared.as_ref().map(SharedCache::availability)
    }

    /// Goes by another key for what memcached holds: what was written with the old one no longer counts.
    pub fn rekey(&self, keys: &crate::jwt::Keys) {
        if let Some(shared) = &self.0.shared {
            shared.rekey(keys);
        }
    }

    /// The answer to come to this question, which is asked by a task of its own: its first caller may go away.
    fn join(&self, question: AuthorityQuestion, purpose: Purpose) -> PendingApproval {
        let digest = question.key.digest;
        let mut asked = self.0.asked.lock();
        if let Some(answer) = asked.get(&digest) {
            return answer.clone();
        }
        let now_ms = self.0.clock.monotonic_ms();
        if let Err(error) = self.0.may_ask(&question.key, purpose, asked.len(), now_ms) {
            let known = self.0.approvals.get(&question.key, now_ms);
            let earlier = known.map(|known| Approval { is_stale: true, ..known.approval(now_ms) });
            return watch::channel(Some(earlier.ok_or(error))).1;
        }
        let (sender, receiver) = watch::channel(None);
        asked.insert(digest, receiver.clone());
        // A runtime that is shutting down drops the task at once, and that takes the lock.
        drop(asked);
        let asking = OpenQuestion { inner: self.0.clone(), digest };
        let task = async move {
            let inner = asking.inner.clone();
            let update = inner.resolve(&question, purpose, &sender).await;
            drop(asking);
            inner.update_shared(&question, update).await;
        };
        tokio::spawn(task.in_current_span());
        receiver
    }
}

impl Inner {
    /// Whether a question may begin where so many are under way: before memcached is asked, and before there is a task.
    fn may_ask(&self, key: &QuestionKey, purpose: Purpose, under_way: usize, now_ms: i64) -> Result<(), Error> {
        if under_way >= MAX_ASKED {
            return Err(Error::TooManyQuestions { reason: "under way", retry_after: BUSY });
        }
        match purpose {
            Purpose::Caller(asker) if self.approvals.get(key, now_ms).is_none() => {
                self.rate.admit(asker.into(), key, now_ms).map_err(|retry_after| Error::TooManyQuestions {
                    reason: "by this caller, within a minute",
                    retry_after,
                })
            }
            Purpose::Caller(_) | Purpose::Refresh => Ok(()),
        }
    }
}

async fn wait_for(mut coming: PendingApproval) -> ApprovalResult {
    match coming.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(resolved)) => resolved.clone(),
        Ok(None) | Err(_) => Err(unavailable("the question was dropped")),
    }
}

/// A question that is being asked; whatever ends it, nobody joins it any more.
struct OpenQuestion {
    inner: Arc<Inner>,
    digest: Digest,
}

impl Drop for OpenQuestion {
    fn drop(&mut self) {
        self.inner.asked.lock().remove(&self.digest);
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn unavailable(reason: impl Into<String>) -> Error {
    Error::AuthorityUnavailable { reason: reason.into(), retry_after: None }
}

#[cfg(test)]
mod tests;
