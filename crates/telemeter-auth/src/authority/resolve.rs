//! How a question is answered: from memcached, else by the authority; and what an answer changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::approvals::CachedApproval;
use super::client::QuestionClient;
use super::question::{AuthorityQuestion, QuestionKind};
use super::shared::SharedRefusal;
use super::{Approval, ApprovalResult, CLOCK_TOLERANCE_MS, Inner, Purpose, REFRESH_AGAIN_MS, millis, unavailable};
use crate::Error;
use crate::bounded::Digest;

/// A question that waits holds its body, and about as much beside it.
const WAITING_BYTES: usize = 512;
/// How long a caller waits who came when too many questions waited.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// What to tell memcached, once the callers have their answer.
pub(super) enum SharedUpdate {
    None,
    Approved(Arc<str>),
    /// Refused. Where it was approved before, that is remembered.
    Refused {
        was_approved: bool,
    },
}

/// What memcached says of a question.
enum CacheAnswer {
    /// Nothing that counts.
    None,
    Approval(CachedApproval),
    /// What the authority approved, it refused this many milliseconds ago.
    Refused {
        age_ms: i64,
    },
}

impl Inner {
    /// Answers a question; whoever waits for the answer may get one before this returns.
    pub(super) async fn resolve(
        &self,
        question: &AuthorityQuestion,
        purpose: Purpose,
        answer: &watch::Sender<Option<ApprovalResult>>,
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
                        self.approvals.insert(key, shared.being_refreshed(now_ms), now_ms);
                    }
                    // Whoever was approved does not wait for the authority.
                    answer.send_replace(Some(Ok(approval)));
                    if !is_refresh_due {
                        return SharedUpdate::None;
                    }
                }
            }
        }
        let known = self.approvals.get(key, self.clock.monotonic_ms());
        was_approved |= known.is_some();
        let started = tokio::time::Instant::now();
        let heard = self.ask_in_turn(question, purpose, known.is_some()).await;
        let heard = self.unless_fleet_is_refused(&key.cluster, heard, known.is_some(), started.elapsed());
        let (resolved, update) = self.apply(question, heard, was_approved).await;
        answer.send_replace(Some(resolved));
        update
    }

    /// Asks the authority once this client may have a question open.
    async fn ask_in_turn(
        &self,
        question: &AuthorityQuestion,
        purpose: Purpose,
        is_known: bool,
    ) -> Result<Arc<str>, Error> {
        let cluster = &question.key.cluster;
        let (queue, client, wait) = match purpose {
            Purpose::Refresh => (&self.refreshes, QuestionClient::Cluster(*cluster), self.config.deadline),
            // Who asks to receive went on by then.
            Purpose::Caller(_) if is_known && question.kind == QuestionKind::Receive => {
                (&self.refreshes, QuestionClient::Cluster(*cluster), self.config.deadline)
            }
            Purpose::Caller(_) if is_known => (&self.callers, QuestionClient::Cluster(*cluster), self.config.max_wait),
            Purpose::Caller(asker) => (&self.callers, QuestionClient::Peer(asker.into()), self.config.max_wait),
        };
        let bytes = question.body.expose().len() + WAITING_BYTES;
        let Some(_permit) = queue.acquire(client, bytes, wait).await else {
            // That is not the authority's fault, and no sign that it is unavailable.
            return Err(Error::TooManyQuestions { reason: "open at a time", retry_after: BUSY });
        };
        self.question_authority(question).await
    }

    /// What the authority's answer changes here, and what the callers get.
    async fn apply(
        &self,
        question: &AuthorityQuestion,
        heard: Result<Arc<str>, Error>,
        was_approved: bool,
    ) -> (ApprovalResult, SharedUpdate) {
        let (key, now_ms) = (&question.key, self.clock.monotonic_ms());
        match heard {
            Ok(account) => {
                self.approvals.insert(key, self.approved(account.clone(), now_ms), now_ms);
                self.refusals.remove(&key.digest);
                (Ok(Approval { account: account.clone(), is_stale: false }), SharedUpdate::Approved(account))
            }
            Err(error @ Error::Refused { .. }) => {
                self.approvals.remove(key);
                let was_approved =
                    was_approved || !matches!(self.look_up_shared_to_register(question).await, CacheAnswer::None);
                // Where nothing was approved there is no approval that could count again; and anybody could fill the map.
                if was_approved {
                    self.refusals.insert(key.digest, now_ms, now_ms.saturating_add(self.longest_life_ms()), now_ms);
                }
                (Err(error), SharedUpdate::Refused { was_approved })
            }
            Err(error @ (Error::AuthorityUnavailable { .. } | Error::TooManyQuestions { .. })) => {
                let known = match self.approvals.get(key, now_ms) {
                    Some(known) => known,
                    None => match self.look_up_shared_to_register(question).await {
                        CacheAnswer::Approval(shared) => shared,
                        CacheAnswer::None | CacheAnswer::Refused { .. } => return (Err(error), SharedUpdate::None),
                    },
                };
                tracing::debug!(%error, "an earlier approval counts");
                (Ok(Approval { is_stale: true, ..known.approval(now_ms) }), SharedUpdate::None)
            }
            Err(Error::RateLimited { retry_after }) => {
                // An approval still counts, and is refreshed when the authority wants to be asked.
                let known = self.approvals.get(key, now_ms).filter(|_| question.kind == QuestionKind::Receive);
                let Some(known) = known else { return (Err(Error::RateLimited { retry_after }), SharedUpdate::None) };
                let approval = known.approval(now_ms);
                let refresh_ms = now_ms.saturating_add(millis(retry_after).max(REFRESH_AGAIN_MS));
                self.approvals.insert(key, CachedApproval { refresh_ms, ..known }, now_ms);
                (Ok(approval), SharedUpdate::None)
            }
            Err(error) => (Err(error), SharedUpdate::None),
        }
    }

    /// An approval that was just heard.
    fn approved(&self, account: Arc<str>, now_ms: i64) -> CachedApproval {
        let fresh_ms = millis(self.config.fresh);
        let fresh_until_ms = now_ms.saturating_add(fresh_ms);
        CachedApproval {
            account,
            approved_ms: now_ms,
            refresh_ms: now_ms.saturating_add(fresh_ms / 5 * 4),
            fresh_until_ms,
            ends_ms: fresh_until_ms.saturating_add(millis(self.config.stale)),
        }
    }

    /// For how long an approval can count anywhere.
    fn longest_life_ms(&self) -> i64 {
        let fresh = self.shared.as_ref().map_or(self.config.fresh, |shared| shared.expire().max(self.config.fresh));
        millis(fresh.saturating_add(self.config.stale)).saturating_add(CLOCK_TOLERANCE_MS)
    }

    /// `/authorize` asks memcached only where it has to: a question of `/metrics/v1/receive` did so before.
    async fn look_up_shared_to_register(&self, question: &AuthorityQuestion) -> CacheAnswer {
        match question.kind {
            QuestionKind::Register => self.look_up_shared(question).await,
            QuestionKind::Receive => CacheAnswer::None,
        }
    }

    /// What memcached says, in this process's terms: ages instead of the wall clock's times.
    async fn look_up_shared(&self, question: &AuthorityQuestion) -> CacheAnswer {
        let Some(shared) = &self.shared else { return CacheAnswer::None };
        let digest = &question.key.digest;
        let found = shared.approval(digest, self.clock.now_ms()).await;
        if found.is_none() && self.approvals.get(&question.key, self.clock.monotonic_ms()).is_none() {
            return CacheAnswer::None;
        }
        let refusal = shared.refusal(digest).await;
        let (now_ms, now_unix_ms) = (self.clock.monotonic_ms(), self.clock.now_ms());
        let shared_refusal_age_ms = match refusal {
            SharedRefusal::At(at_unix_ms) => Some(now_unix_ms.saturating_sub(at_unix_ms)),
            SharedRefusal::None | SharedRefusal::Unknown => None,
        };
        let Some(found) = found else {
            // It may have been taken away because of a refusal, which then is for our own approval, too.
            return shared_refusal_age_ms.map_or(CacheAnswer::None, |age_ms| CacheAnswer::Refused { age_ms });
        };
        let age_ms = now_unix_ms.saturating_sub(found.approved_unix_ms);
        if age_ms < -CLOCK_TOLERANCE_MS {
            tracing::debug!("an approval in memcached is from the future: it does not count");
            return CacheAnswer::None;
        }
        let age_ms = age_ms.max(0);
        // The refusal that this process heard; then the one that another replica heard.
        let own_refusal_age_ms = self.refusals.get(digest, now_ms).map(|at_ms| now_ms.saturating_sub(at_ms));
        for refused_age_ms in [own_refusal_age_ms, shared_refusal_age_ms].into_iter().flatten() {
            if age_ms.saturating_add(CLOCK_TOLERANCE_MS) >= refused_age_ms {
                return CacheAnswer::Refused { age_ms: refused_age_ms };
            }
        }
        let expire_ms = millis(shared.expire());
        let ends_in_ms = expire_ms.saturating_add(millis(self.config.stale)).saturating_sub(age_ms);
        if ends_in_ms <= 0 {
            return CacheAnswer::None;
        }
        let fresh_for_ms = millis(self.config.fresh);
        let refresh_in_ms = match refusal {
            SharedRefusal::Unknown => 0,
            _ => (millis(self.config.renew_shared).min(expire_ms / 5 * 4) - age_ms).clamp(0, fresh_for_ms / 5 * 4),
        };
        CacheAnswer::Approval(CachedApproval {
            account: found.account,
            approved_ms: now_ms.saturating_sub(age_ms),
            refresh_ms: now_ms.saturating_add(refresh_in_ms),
            fresh_until_ms: now_ms.saturating_add((expire_ms - age_ms).clamp(0, fresh_for_ms)),
            ends_ms: now_ms.saturating_add(ends_in_ms),
        })
    }

    /// Removes our approval where another replica heard a refusal after it.
    fn remove_if_older(&self, question: &AuthorityQuestion, refused_age_ms: i64) {
        let now_ms = self.clock.monotonic_ms();
        let known = self.approvals.get(&question.key, now_ms);
        if known.is_some_and(|known| now_ms.saturating_sub(known.approved_ms) > refused_age_ms) {
            self.approvals.remove(&question.key);
        }
    }

    /// Tells memcached.
    pub(super) async fn update_shared(&self, question: &AuthorityQuestion, update: SharedUpdate) {
        let Some(shared) = &self.shared else { return };
        let (digest, now_unix_ms) = (&question.key.digest, self.clock.now_ms());
        match update {
            SharedUpdate::None => {}
            SharedUpdate::Approved(account) => {
                shared.put_approval(digest, &account, now_unix_ms, self.config.stale).await;
            }
            SharedUpdate::Refused { was_approved: true } => {
                shared.put_refusal(digest, now_unix_ms, self.config.stale).await;
            }
            SharedUpdate::Refused { was_approved: false } => shared.remove_approval(digest).await,
        }
    }

    /// A 401 to a caller with a cached approval is not believed where such callers are refused one after the other.
    fn unless_fleet_is_refused(
        &self,
        cluster: &Digest,
        heard: Result<Arc<str>, Error>,
        is_known: bool,
        took: Duration,
    ) -> Result<Arc<str>, Error> {
        let heard = match heard {
            Err(Error::Refused { status: 401, .. })
                if is_known && self.fleet_refusal.lock().refused(cluster, self.clock.monotonic_ms()) =>
            {
                Err(unavailable("it refuses one caller after the other that it approved before (401)"))
            }
            heard => heard,
        };
        if heard.is_ok() {
            self.fleet_refusal.lock().approved();
        }
        if !matches!(heard, Err(Error::TooManyQuestions { .. })) {
            self.record_availability(&heard, took);
        }
        heard
    }
}
