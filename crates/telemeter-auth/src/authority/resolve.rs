//! Answers a question, from memcached or else by the authority, and updates the caches from the answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::approvals::CachedApproval;
use super::origin::QuestionClient;
use super::question::{AuthorityQuestion, QuestionKind};
use super::shared::SharedRefusal;
use super::{Approval, ApprovalResult, CLOCK_TOLERANCE_MS, Inner, Purpose, REFRESH_RETRY_MS, millis, unavailable};
use crate::Error;
use crate::bounded::Digest;

/// What a waiting question takes in addition to its body, roughly.
const WAITER_OVERHEAD_BYTES: usize = 512;
/// The `Retry-After` of a caller that came while too many questions waited.
pub(super) const BUSY_RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is written to memcached after the callers have their answer.
pub(super) enum SharedUpdate {
    None,
    Approved(Arc<str>),
    /// A refusal. It is written only where an approval came before it.
    Refused {
        was_approved: bool,
    },
}

/// What memcached holds for a question.
enum CacheAnswer {
    /// No value that counts.
    None,
    Approval(CachedApproval),
    /// A refusal after an approval, this many milliseconds ago.
    Refused {
        age_ms: i64,
    },
}

impl Inner {
    /// Answers a question through `sender`, and returns what to write to memcached. A question of remote write is
    /// answered at once from an approval in memcached; the authority is then asked only if a refresh is due, while this
    /// goes on. Any other question waits for the authority.
    pub(super) async fn resolve(
        &self,
        question: &AuthorityQuestion,
        purpose: Purpose,
        sender: &watch::Sender<Option<ApprovalResult>>,
    ) -> SharedUpdate {
        let key = &question.key;
        let mut was_approved = false;
        if question.kind == QuestionKind::Receive {
            match self.look_up_shared(question).await {
                CacheAnswer::None => {}
                CacheAnswer::Refused { age_ms } => {
                    was_approved = true;
                    self.remove_if_older(question, age_ms);
                }
                CacheAnswer::Approval(shared) => {
                    was_approved = true;
                    let now_ms = self.clock.monotonic_ms();
                    let is_refresh_due = now_ms >= shared.refresh_ms;
                    let approval = shared.approval(now_ms);
                    if !is_refresh_due {
                        self.approvals.insert(key, shared, now_ms);
                    } else if self.approvals.get(key, now_ms).is_none() {
                        self.approvals.insert(key, shared.with_refresh_started(now_ms), now_ms);
                    }
                    // A caller that was approved does not wait for the authority.
                    sender.send_replace(Some(Ok(approval)));
                    if !is_refresh_due {
                        return SharedUpdate::None;
                    }
                }
            }
        }
        let cached = self.approvals.get(key, self.clock.monotonic_ms());
        was_approved |= cached.is_some();
        let started = tokio::time::Instant::now();
        let answer = self.ask_with_permit(question, purpose, cached.is_some()).await;
        let answer = self.check_fleet_refusal(&key.cluster, answer, cached.is_some(), started.elapsed());
        let (result, update) = self.apply(question, answer, was_approved).await;
        sender.send_replace(Some(result));
        update
    }

    /// Asks the authority, after this client has got a permit for an open question.
    async fn ask_with_permit(
        &self,
        question: &AuthorityQuestion,
        purpose: Purpose,
        is_cached: bool,
    ) -> Result<Arc<str>, Error> {
        let cluster = &question.key.cluster;
        let (queue, client, wait) = match purpose {
            Purpose::Refresh => (&self.refresh_queue, QuestionClient::Cluster(*cluster), self.config.deadline),
            // This caller already has its answer, from memcached: what is left is a refresh.
            Purpose::Caller(_) if is_cached && question.kind == QuestionKind::Receive => {
                (&self.refresh_queue, QuestionClient::Cluster(*cluster), self.config.deadline)
            }
            Purpose::Caller(_) if is_cached => {
                (&self.caller_queue, QuestionClient::Cluster(*cluster), self.config.max_wait)
            }
            Purpose::Caller(origin) => (&self.caller_queue, QuestionClient::Peer(origin.into()), self.config.max_wait),
        };
        let bytes = question.body.expose().len() + WAITER_OVERHEAD_BYTES;
        let Some(_permit) = queue.acquire(client, bytes, wait).await else {
            // Our own limit says nothing about the authority's availability.
            return Err(Error::TooManyQuestions { reason: "open at a time", retry_after: BUSY_RETRY_AFTER });
        };
        self.ask_authority(question).await
    }

    /// Updates this process's cache from the authority's answer. Returns the callers' result and the update for memcached.
    async fn apply(
        &self,
        question: &AuthorityQuestion,
        answer: Result<Arc<str>, Error>,
        was_approved: bool,
    ) -> (ApprovalResult, SharedUpdate) {
        let (key, now_ms) = (&question.key, self.clock.monotonic_ms());
        match answer {
            Ok(account) => {
                self.approvals.insert(key, self.approved(account.clone(), now_ms), now_ms);
                self.refusals.remove(&key.digest);
                (Ok(Approval { account: account.clone(), is_stale: false }), SharedUpdate::Approved(account))
            }
            Err(error @ Error::Refused { .. }) => {
                self.approvals.remove(key);
                let was_approved =
                    was_approved || !matches!(self.look_up_shared_to_register(question).await, CacheAnswer::None);
                // A refusal is remembered to reject an older approval. Without one there is nothing to reject, and callers
                // without a valid token could fill the map.
                if was_approved {
                    self.refusals.insert(key.digest, now_ms, now_ms.saturating_add(self.longest_life_ms()), now_ms);
                }
                (Err(error), SharedUpdate::Refused { was_approved })
            }
            Err(error @ (Error::AuthorityUnavailable { .. } | Error::TooManyQuestions { .. })) => {
                let cached = match self.approvals.get(key, now_ms) {
                    Some(cached) => cached,
                    None => match self.look_up_shared_to_register(question).await {
                        CacheAnswer::Approval(shared) => shared,
                        CacheAnswer::None | CacheAnswer::Refused { .. } => return (Err(error), SharedUpdate::None),
                    },
                };
                tracing::debug!(%error, "an earlier approval counts");
                (Ok(Approval { is_stale: true, ..cached.approval(now_ms) }), SharedUpdate::None)
            }
            Err(Error::RateLimited { retry_after }) => {
                // A cached approval still counts, and is refreshed after the wait that the authority asked for.
                let cached = self.approvals.get(key, now_ms).filter(|_| question.kind == QuestionKind::Receive);
                let Some(cached) = cached else { return (Err(Error::RateLimited { retry_after }), SharedUpdate::None) };
                let approval = cached.approval(now_ms);
                let refresh_ms = now_ms.saturating_add(millis(retry_after).max(REFRESH_RETRY_MS));
                self.approvals.insert(key, CachedApproval { refresh_ms, ..cached }, now_ms);
                (Ok(approval), SharedUpdate::None)
            }
            Err(error) => (Err(error), SharedUpdate::None),
        }
    }

    /// The cache entry of an approval that the authority just gave.
    fn approved(&self, account: Arc<str>, now_ms: i64) -> CachedApproval {
        let fresh_ms = millis(self.config.fresh_for);
        let fresh_until_ms = now_ms.saturating_add(fresh_ms);
        CachedApproval {
            account,
            approved_ms: now_ms,
            refresh_ms: now_ms.saturating_add(fresh_ms / 5 * 4),
            fresh_until_ms,
            ends_ms: fresh_until_ms.saturating_add(millis(self.config.stale_for)),
        }
    }

    /// The longest time for which an approval can count in any replica.
    fn longest_life_ms(&self) -> i64 {
        let fresh =
            self.shared.as_ref().map_or(self.config.fresh_for, |shared| shared.expire().max(self.config.fresh_for));
        millis(fresh.saturating_add(self.config.stale_for)).saturating_add(CLOCK_TOLERANCE_MS)
    }

    /// What memcached holds for a question of `/authorize`, which is read only where the authority gave no approval. A
    /// question of `/metrics/v1/receive` reads it before it asks, so there is nothing to read here.
    async fn look_up_shared_to_register(&self, question: &AuthorityQuestion) -> CacheAnswer {
        match question.kind {
            QuestionKind::Register => self.look_up_shared(question).await,
            QuestionKind::Receive => CacheAnswer::None,
        }
    }

    /// What memcached holds, with the wall-clock times in it converted to times on this process's monotonic clock. An
    /// approval that is no newer than a refusal known here or there counts as refused; one that has expired or has a
    /// time in the future counts as none, as does everything where memcached is not configured.
    async fn look_up_shared(&self, question: &AuthorityQuestion) -> CacheAnswer {
        let Some(shared) = &self.shared else { return CacheAnswer::None };
        let digest = &question.key.digest;
        let value = shared.approval(digest, self.clock.now_ms()).await;
        if value.is_none() && self.approvals.get(&question.key, self.clock.monotonic_ms()).is_none() {
            return CacheAnswer::None;
        }
        let refusal = shared.refusal(digest).await;
        let (now_ms, now_unix_ms) = (self.clock.monotonic_ms(), self.clock.now_ms());
        let shared_refusal_age_ms = match refusal {
            SharedRefusal::At(at_unix_ms) => Some(now_unix_ms.saturating_sub(at_unix_ms)),
            SharedRefusal::None | SharedRefusal::Unknown => None,
        };
        let Some(value) = value else {
            // Another replica may have removed the approval because of a refusal, which then applies to ours, too.
            return shared_refusal_age_ms.map_or(CacheAnswer::None, |age_ms| CacheAnswer::Refused { age_ms });
        };
        let age_ms = now_unix_ms.saturating_sub(value.approved_unix_ms);
        if age_ms < -CLOCK_TOLERANCE_MS {
            tracing::debug!("an approval in memcached has a time in the future: it does not count");
            return CacheAnswer::None;
        }
        let age_ms = age_ms.max(0);
        // The refusal that this process received, then the one that another replica received.
        let own_refusal_age_ms = self.refusals.get(digest, now_ms).map(|at_ms| now_ms.saturating_sub(at_ms));
        for refused_age_ms in [own_refusal_age_ms, shared_refusal_age_ms].into_iter().flatten() {
            if age_ms.saturating_add(CLOCK_TOLERANCE_MS) >= refused_age_ms {
                return CacheAnswer::Refused { age_ms: refused_age_ms };
            }
        }
        let expire_ms = millis(shared.expire());
        let ends_in_ms = expire_ms.saturating_add(millis(self.config.stale_for)).saturating_sub(age_ms);
        if ends_in_ms <= 0 {
            return CacheAnswer::None;
        }
        let fresh_for_ms = millis(self.config.fresh_for);
        let refresh_in_ms = match refusal {
            SharedRefusal::Unknown => 0,
            _ => (millis(self.config.refresh_shared_after).min(expire_ms / 5 * 4) - age_ms)
                .clamp(0, fresh_for_ms / 5 * 4),
        };
        CacheAnswer::Approval(CachedApproval {
            account: value.account,
            approved_ms: now_ms.saturating_sub(age_ms),
            refresh_ms: now_ms.saturating_add(refresh_in_ms),
            fresh_until_ms: now_ms.saturating_add((expire_ms - age_ms).clamp(0, fresh_for_ms)),
            ends_ms: now_ms.saturating_add(ends_in_ms),
        })
    }

    /// Removes our approval where another replica received a refusal after it.
    fn remove_if_older(&self, question: &AuthorityQuestion, refused_age_ms: i64) {
        let now_ms = self.clock.monotonic_ms();
        let cached = self.approvals.get(&question.key, now_ms);
        if cached.is_some_and(|cached| now_ms.saturating_sub(cached.approved_ms) > refused_age_ms) {
            self.approvals.remove(&question.key);
        }
    }

    /// Writes an update to memcached, where it is configured.
    pub(super) async fn update_shared(&self, question: &AuthorityQuestion, update: SharedUpdate) {
        let Some(shared) = &self.shared else { return };
        let (digest, now_unix_ms) = (&question.key.digest, self.clock.now_ms());
        match update {
            SharedUpdate::None => {}
            SharedUpdate::Approved(account) => {
                shared.put_approval(digest, &account, now_unix_ms, self.config.stale_for).await;
            }
            SharedUpdate::Refused { was_approved: true } => {
                shared.put_refusal(digest, now_unix_ms, self.config.stale_for).await;
            }
            SharedUpdate::Refused { was_approved: false } => shared.remove_approval(digest).await,
        }
    }

    /// Turns a 401 to a caller with a cached approval into unavailability where such callers are refused one after the other
    /// (see [`FleetRefusal`](super::fleet_refusal::FleetRefusal)), and records the authority's availability.
    fn check_fleet_refusal(
        &self,
        cluster: &Digest,
        answer: Result<Arc<str>, Error>,
        is_cached: bool,
        took: Duration,
    ) -> Result<Arc<str>, Error> {
        let answer = match answer {
            Err(Error::Refused { status: 401, .. })
                if is_cached && self.fleet_refusal.lock().record_refusal(cluster, self.clock.monotonic_ms()) =>
            {
                Err(unavailable("it refuses one caller after the other that it approved before (401)"))
            }
            answer => answer,
        };
        if answer.is_ok() {
            self.fleet_refusal.lock().record_approval();
        }
        if !matches!(answer, Err(Error::TooManyQuestions { .. })) {
            self.record_availability(&answer, took);
        }
        answer
    }
}
