//! Asks the authority whether a caller may report for a cluster, and caches its approvals.
//!
//! Only the authority knows the tokens of clusters, and it is far away. So a question about one token is asked once at a
//! time, and an approval is cached here and in memcached. It is refreshed in the background before it expires. While the
//! authority is unavailable, an expired approval still counts for a while, so callers that were approved do not wait for
//! the authority. A refusal is never cached as an answer: it removes a cached approval, and no older approval counts again.
//!
//! Questions that callers wait for and questions that refresh an approval have separate limits; both are shared fairly by
//! client. Waits and lifetimes are measured on the monotonic clock.

mod answer;
mod approvals;
mod ask;
mod fair_queue;
mod fleet_refusal;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
pub mod mock;
mod origin;
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
use self::fair_queue::QuestionQueue;
use self::fleet_refusal::FleetRefusal;
pub use self::origin::QuestionOrigin;
use self::question::{AuthorityQuestion, QuestionKey, QuestionKind};
use self::question_rate::QuestionRate;
pub use self::question_rate::Rate;
use self::resolve::BUSY_RETRY_AFTER;
pub use self::shared::SharedCache;
use crate::bounded::{Bounded, Digest};
use crate::composite_token::CompositeToken;
use crate::oidc::TokenSource;
use crate::{Error, Secret};

/// The wait before a refresh that failed is tried again.
const REFRESH_RETRY_MS: i64 = 30_000;
/// The largest difference between the clocks of two replicas.
const CLOCK_TOLERANCE_MS: i64 = 60_000;
/// The cap on questions under way, including those that wait for memcached or for a permit.
const MAX_PENDING: usize = 8_192;
/// How long `/authorize` waits for an authority that is unavailable, where an approval is cached.
const WAIT_WHILE_UNAVAILABLE: Duration = Duration::from_secs(2);
/// One in so many open questions is reserved for refreshes.
const REFRESH_PART: usize = 4;

/// How the authority is asked, and how long its approvals count.
#[derive(Clone, Debug)]
pub struct AuthorityConfig {
    /// The authority's URL (`--authorize`).
    pub url: Url,
    /// The timeout for the whole answer, once there is a connection. A whole question, with our own token, the connection
    /// and a second try, may take three times as long.
    pub deadline: Duration,
    /// The cap on open questions: three quarters for questions that callers wait for, a quarter for refreshes.
    pub max_open_questions: usize,
    /// How long a caller waits for the permit to open a question.
    pub max_wait: Duration,
    /// How long an approval counts in this process; after four fifths of it, it is refreshed.
    pub fresh_for: Duration,
    /// The age, at most four fifths of `--memcached-expire`, from which an approval in memcached is refreshed.
    pub refresh_shared_after: Duration,
    /// How long an expired approval still counts while it cannot be refreshed (`--authorize-stale`).
    pub stale_for: Duration,
    /// How many approvals this process caches, at about 250 bytes each.
    pub max_approvals: usize,
    /// The limit on questions about one cluster from one peer, where no approval is cached.
    pub rate_by_cluster: Rate,
    /// The limit on all questions from one peer, where no approval is cached.
    pub rate_by_peer: Rate,
}

impl AuthorityConfig {
    /// The defaults: a deadline of 20 s; 256 open questions, 2 s of waiting for one; 65,536 approvals, each fresh for
    /// 5 minutes and stale for an hour, refreshed in memcached after an hour; 60 questions a minute about one cluster from
    /// one peer, 5,000 a second from one peer.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            deadline: Duration::from_secs(20),
            max_open_questions: 256,
            max_wait: Duration::from_secs(2),
            fresh_for: Duration::from_secs(5 * 60),
            refresh_shared_after: Duration::from_secs(60 * 60),
            stale_for: Duration::from_secs(60 * 60),
            max_approvals: 65_536,
            rate_by_cluster: Rate { burst: 60, per_minute: 60 },
            rate_by_peer: Rate { burst: 10_000, per_minute: 300_000 },
        }
    }
}

/// The authority's permission for a caller to report for a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The account that the cluster belongs to.
    pub account: Arc<str>,
    /// Whether it has expired, and counts only because it could not be refreshed yet.
    pub is_stale: bool,
}

/// The client of the authority, with its cache. Cheap to clone; clones share one cache.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

/// How a question ends.
type ApprovalResult = Result<Approval, Error>;
/// Receives the result of a question that is under way.
type PendingApproval = watch::Receiver<Option<ApprovalResult>>;

/// What a question is asked for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// A caller waits for the answer.
    Caller(QuestionOrigin),
    /// A cached approval is refreshed; no caller waits.
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
    pending: Mutex<HashMap<Digest, PendingApproval>>,
    caller_queue: Arc<QuestionQueue>,
    refresh_queue: Arc<QuestionQueue>,
    rate: QuestionRate,
    availability: Availability,
    fleet_refusal: Mutex<FleetRefusal>,
}

impl Authority {
    /// A client that asks through `outbound`, with our own `token` where there is a source. Replicas share approvals
    /// through `shared`.
    pub fn new(
        config: AuthorityConfig,
        outbound: Outbound,
        clock: Clock,
        shared: Option<SharedCache>,
        token: Option<TokenSource>,
    ) -> Self {
        let refreshes = config.max_open_questions / REFRESH_PART;
        Self(Arc::new(Inner {
            approvals: Approvals::new(config.max_approvals),
            refusals: Bounded::new(config.max_approvals),
            caller_queue: QuestionQueue::new(config.max_open_questions - refreshes),
            refresh_queue: QuestionQueue::new(refreshes),
            rate: QuestionRate::new(config.rate_by_cluster, config.rate_by_peer),
            config,
            outbound,
            token,
            clock,
            shared,
            pending: Mutex::default(),
            availability: Availability::default(),
            fleet_refusal: Mutex::default(),
        }))
    }

    /// Whether `cluster` may report with `token`: the question of `/authorize`. The authority is asked each time; an earlier
    /// approval counts only while the authority is unavailable or too many questions are open.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::RateLimited`], [`Error::AuthorityUnavailable`], [`Error::TooManyQuestions`].
    pub async fn register(&self, origin: QuestionOrigin, token: &Secret, cluster: &str) -> Result<Approval, Error> {
        let inner = &self.0;
        let key = QuestionKey::new(QuestionKind::Register, cluster, token.expose());
        let question = AuthorityQuestion::register(key, token, cluster);
        let pending = self.ask_or_join(question, Purpose::Caller(origin));
        if inner.availability.is_unavailable()
            && let Some(cached) = inner.approvals.get(&key, inner.clock.monotonic_ms())
        {
            let earlier = Approval { is_stale: true, ..cached.approval(inner.clock.monotonic_ms()) };
            return tokio::time::timeout(WAIT_WHILE_UNAVAILABLE, wait_for(pending)).await.unwrap_or(Ok(earlier));
        }
        wait_for(pending).await
    }

    /// Whether the cluster of a composite token may send: the question of `/metrics/v1/receive`. A cached approval counts;
    /// where its refresh is due, one starts in the background.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::RateLimited`], [`Error::AuthorityUnavailable`], [`Error::TooManyQuestions`].
    pub async fn receive(&self, origin: QuestionOrigin, token: &CompositeToken) -> Result<Approval, Error> {
        let key = QuestionKey::new(QuestionKind::Receive, token.cluster_id(), token.authorization_token().expose());
        let question = || AuthorityQuestion::receive(key, token);
        if let Some((approval, is_refresh_due)) = self.0.approvals.for_request(&key, self.0.clock.monotonic_ms()) {
            if is_refresh_due {
                drop(self.ask_or_join(question(), Purpose::Refresh));
            }
            return Ok(approval);
        }
        wait_for(self.ask_or_join(question(), Purpose::Caller(origin))).await
    }

    /// Whether the authority answers.
    #[must_use]
    pub fn availability(&self) -> AvailabilityRecord {
        self.0.availability.read()
    }

    /// Whether memcached answers, where it is configured.
    #[must_use]
    pub fn cache_availability(&self) -> Option<AvailabilityRecord> {
        self.0.shared.as_ref().map(SharedCache::availability)
    }

    /// Replaces the key that authenticates values in memcached: values written with the old one no longer count.
    pub fn replace_keys(&self, keys: &crate::jwt::Keys) {
        if let Some(shared) = &self.0.shared {
            shared.replace_keys(keys);
        }
    }

    /// Asks a question, or joins the same question where it is under way. A task of its own asks it, so it goes on when
    /// its first caller disconnects. Where a limit forbids another question, the answer is there at once: the cached
    /// approval, as a stale one, or the error of the limit.
    fn ask_or_join(&self, question: AuthorityQuestion, purpose: Purpose) -> PendingApproval {
        let digest = question.key.digest;
        let mut pending = self.0.pending.lock();
        if let Some(answer) = pending.get(&digest) {
            return answer.clone();
        }
        let now_ms = self.0.clock.monotonic_ms();
        if let Err(error) = self.0.check_limits(&question.key, purpose, pending.len(), now_ms) {
            let cached = self.0.approvals.get(&question.key, now_ms);
            let earlier = cached.map(|cached| Approval { is_stale: true, ..cached.approval(now_ms) });
            return watch::channel(Some(earlier.ok_or(error))).1;
        }
        let (sender, receiver) = watch::channel(None);
        pending.insert(digest, receiver.clone());
        // A runtime that is shutting down drops the task at once, and dropping the task takes this lock.
        drop(pending);
        let open = OpenQuestion { inner: self.0.clone(), digest };
        let task = async move {
            let inner = open.inner.clone();
            let update = inner.resolve(&question, purpose, &sender).await;
            drop(open);
            inner.update_shared(&question, update).await;
        };
        tokio::spawn(task.in_current_span());
        receiver
    }
}

impl Inner {
    /// Whether one more question may start. It is checked before memcached is asked and before a task is spawned.
    fn check_limits(&self, key: &QuestionKey, purpose: Purpose, under_way: usize, now_ms: i64) -> Result<(), Error> {
        if under_way >= MAX_PENDING {
            return Err(Error::TooManyQuestions { reason: "under way", retry_after: BUSY_RETRY_AFTER });
        }
        match purpose {
            Purpose::Caller(origin) if self.approvals.get(key, now_ms).is_none() => {
                self.rate.take(origin.into(), key, now_ms).map_err(|retry_after| Error::TooManyQuestions {
                    reason: "by this caller, within a minute",
                    retry_after,
                })
            }
            Purpose::Caller(_) | Purpose::Refresh => Ok(()),
        }
    }
}

/// Waits for the answer to a question that another request asks. [`Error::AuthorityUnavailable`] where that question
/// ends without an answer.
async fn wait_for(mut pending: PendingApproval) -> ApprovalResult {
    match pending.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(result)) => result.clone(),
        Ok(None) | Err(_) => Err(unavailable("the question was dropped")),
    }
}

/// A question under way. However it ends, dropping this removes it, so that no later caller joins it.
struct OpenQuestion {
    inner: Arc<Inner>,
    digest: Digest,
}

impl Drop for OpenQuestion {
    fn drop(&mut self) {
        self.inner.pending.lock().remove(&self.digest);
    }
}

/// The duration in whole milliseconds.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The error that the authority is unavailable for this reason, without a time to wait.
fn unavailable(reason: impl Into<String>) -> Error {
    Error::AuthorityUnavailable { reason: reason.into(), retry_after: None }
}

#[cfg(test)]
mod tests;
