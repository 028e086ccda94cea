//! The token that outbound calls carry: OIDC client credentials, cached and renewed ahead of time.
//!
//! The provider may be out, at start or later: a token that is still good goes on being used, and without one
//! [`TokenSource::status`] says why.

mod answer;
mod provider;
mod rest;

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use telemeter_http::client::Outbound;
use telemeter_http::clock::Clock;
use tokio::sync::Notify;

use self::answer::Granted;
use self::provider::Provider;
use crate::{Error, Secret};

/// The deadline of everything that one token takes: discovery and one or two questions, each with its own deadline.
const DEADLINE: Duration = Duration::from_secs(60);
/// Another reason why there is no token is logged again after this: a provider may put a time into each.
const BETWEEN_REASONS: Duration = Duration::from_secs(30);
/// A provider that failed is not asked again on a caller's behalf before this.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// The longest wait between two tries in the background.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The wall clock may be set while we sleep: it is looked at again after this.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// A token refused by its target is given up at most this often: a target that refuses all must not make us flood the
/// provider.
const BETWEEN_INVALIDATIONS_MS: i64 = 10_000;

/// Who asks whom, for what.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    /// The provider (`--oidc-issuer`), as it names itself.
    pub issuer: String,
    /// Our name there (`--client-id`).
    pub client_id: String,
    /// Our password there (`--client-secret`).
    pub client_secret: Secret,
    /// Whom the token is for (`--oidc-audience`).
    pub audience: Option<String>,
}

/// Gives out the current token. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct TokenSource(Arc<Inner>);

struct Inner {
    provider: Provider,
    clock: Clock,
    state: RwLock<State>,
    /// One renewal at a time; it runs in a task of its own, so that no caller's end breaks it off.
    renewal: tokio::sync::Mutex<()>,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    failure: Option<Failure>,
    invalidated_ms: Option<i64>,
}

struct Current {
    token: Secret,
    /// From then on a new one is asked for in the background.
    renew_ms: i64,
    /// From then on it is no longer given out.
    expires_ms: i64,
}

struct Failure {
    error: Error,
    at: tokio::time::Instant,
    logged: tokio::time::Instant,
}

impl TokenSource {
    /// Starts to fetch a token, and keeps it fresh until the last clone goes. Runs within a tokio runtime.
    pub fn new(config: OidcConfig, outbound: Outbound, clock: Clock) -> Self {
        let inner = Arc::new(Inner {
            provider: Provider::new(config, outbound),
            clock,
            state: RwLock::default(),
            renewal: tokio::sync::Mutex::default(),
            wake: Arc::default(),
        });
        tokio::spawn(keep_fresh(Arc::downgrade(&inner), inner.wake.clone()));
        Self(inner)
    }

    /// The current token; waits for one when there is none.
    ///
    /// # Errors
    /// [`Error::ProviderUnavailable`] when there is none and the provider gives none.
    pub async fn token(&self) -> Result<Secret, Error> {
        if let Some(token) = self.0.valid() {
            return Ok(token);
        }
        let inner = self.0.clone();
        let renewal = tokio::spawn(async move { inner.renew(Want::Valid).await });
        renewal.await.unwrap_or_else(|_| Err(unavailable("the question was dropped")))
    }

    /// The target refused this token (401): it is given up, unless another has taken its place by now. True when it
    /// was; then a second try with [`TokenSource::token`] has a new one.
    pub fn invalidate(&self, token: &Secret) -> bool {
        let now_ms = self.0.clock.now_ms();
        let mut state = self.0.state.write();
        let is_current = state.current.as_ref().is_some_and(|current| current.token == *token);
        let too_soon = state.invalidated_ms.is_some_and(|last| now_ms.saturating_sub(last) < BETWEEN_INVALIDATIONS_MS);
        if !is_current || too_soon {
            return false;
        }
        state.current = None;
        state.invalidated_ms = Some(now_ms);
        drop(state);
        self.0.wake.notify_one();
        true
    }

    /// Takes another password; the next token is asked for with it, at once.
    pub fn replace_secret(&self, client_secret: Secret) {
        if self.0.provider.replace_secret(client_secret) {
            self.0.provider.rest.end();
            if let Some(current) = &mut self.0.state.write().current {
                current.renew_ms = i64::MIN;
            }
            self.0.wake.notify_one();
        }
    }

    /// Ready when there is a good token; else why there is none.
    ///
    /// # Errors
    /// The reason, fit for a page of the operator's: no secret is in it.
    pub fn status(&self) -> Result<(), String> {
        if self.0.valid().is_some() {
            return Ok(());
        }
        Err(match &self.0.state.read().failure {
            Some(failure) => failure.error.to_string(),
            None => "no token from the OIDC provider yet".to_owned(),
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}

/// What a renewal is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    /// A caller waits for any good token.
    Valid,
    /// It is time for a new one.
    Fresh,
}

impl Inner {
    fn valid(&self) -> Option<Secret> {
        let now_ms = self.clock.now_ms();
        let state = self.state.read();
        state.current.as_ref().filter(|current| now_ms < current.expires_ms).map(|current| current.token.clone())
    }

    fn is_due(&self) -> bool {
        let now_ms = self.clock.now_ms();
        self.state.read().current.as_ref().is_none_or(|current| now_ms >= current.renew_ms)
    }

    fn until_due(&self) -> Duration {
        let now_ms = self.clock.now_ms();
        let renew_ms = self.state.read().current.as_ref().map_or(now_ms, |current| current.renew_ms);
        Duration::from_millis(u64::try_from(renew_ms.saturating_sub(now_ms)).unwrap_or(0)).min(MAX_SLEEP)
    }

    /// Fetches a token, unless somebody else just did, or just failed to.
    async fn renew(&self, want: Want) -> Result<Secret, Error> {
        let _one_at_a_time = self.renewal.lock().await;
        if want == Want::Valid || !self.is_due() {
            if let Some(token) = self.valid() {
                return Ok(token);
            }
            if let Some(failure) = &self.state.read().failure
                && failure.at.elapsed() < AFTER_FAILURE
            {
                return Err(failure.error.clone());
            }
        }
        // The provider asked to be left alone: as long as it said, the failure stands.
        if self.provider.rest.left().is_some()
            && let Some(failure) = &self.state.read().failure
        {
            return Err(failure.error.clone());
        }
        let asked_ms = self.clock.now_ms();
        let granted = tokio::time::timeout(DEADLINE, self.provider.ask()).await;
        let granted = granted.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()));
        let mut state = self.state.write();
        match granted {
            Ok(granted) => {
                if state.failure.take().is_some() {
                    tracing::info!("the OIDC provider is back");
                }
                let token = granted.token.clone();
                state.current = Some(Current::new(granted, asked_ms));
                drop(state);
                self.wake.notify_one();
                Ok(token)
            }
            Err(reason) => {
                let (now, error) = (tokio::time::Instant::now(), unavailable(reason.as_str()));
                let known = state
                    .failure
                    .as_ref()
                    .filter(|last| last.error == error || now.saturating_duration_since(last.logged) < BETWEEN_REASONS);
                let logged = known.map_or(now, |last| last.logged);
                if known.is_none() {
                    tracing::warn!(%reason, "no token from the OIDC provider");
                }
                state.failure = Some(Failure { error: error.clone(), at: now, logged });
                Err(error)
            }
        }
    }
}

impl Current {
    /// Renewed at 80 % of its life or 10 s before its end, whichever is earlier; but not before half of its life.
    fn new(granted: Granted, asked_ms: i64) -> Self {
        let Some(life) = granted.lives else {
            return Self { token: granted.token, renew_ms: i64::MAX, expires_ms: i64::MAX };
        };
        let life_ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
        let renew_after_ms = (life_ms / 10 * 8).min(life_ms - 10_000).max(life_ms / 2);
        Self {
            token: granted.token,
            renew_ms: asked_ms.saturating_add(renew_after_ms),
            expires_ms: asked_ms.saturating_add(life_ms),
        }
    }
}

/// Between two renewals, whatever lifetime a provider says.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Renews in the background, and tries again and again while the provider gives no token.
async fn keep_fresh(source: Weak<Inner>, wake: Arc<Notify>) {
    let mut backoff = AFTER_FAILURE;
    while let Some(inner) = source.upgrade() {
        let wait = if !inner.is_due() || inner.renew(Want::Fresh).await.is_ok() {
            backoff = AFTER_FAILURE;
            inner.until_due().max(SHORTEST_WAIT)
        } else {
            let wait = inner.provider.rest.left().unwrap_or_default().max(backoff);
            backoff = (backoff * 2).min(MAX_BACKOFF);
            wait
        };
        drop(inner);
        // Woken by an invalidation, another password, a token that a caller fetched, or the end.
        let _ = tokio::time::timeout(wait, wake.notified()).await;
    }
}

fn unavailable(reason: impl Into<String>) -> Error {
    Error::ProviderUnavailable { reason: reason.into() }
}

#[cfg(test)]
mod tests;
