//! The token that outbound calls carry: OIDC client credentials, cached and renewed ahead of time.
//!
//! The provider may be out, at start or later: a token that is still good goes on being used, and without one
//! [`TokenSource::status`] says why.
//!
//! [`TokenSource::send`] holds the rule for a 401: whether it is about our token or about the request. How long a token
//! is kept and when it is renewed is measured on the monotonic clock: a wall clock that is set changes neither.

mod answer;
mod challenge;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod provider;
mod rest;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::StatusCode;
use parking_lot::RwLock;
use telemeter_http::client::{Answer, Outbound, OutboundError};
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
/// The clock of a machine that sleeps stands still: it is looked at again after this.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// A token that its target refused is renewed at most this often: a target that refuses all must not make us flood the
/// provider. For as long after such a renewal, a refusal is not about the token.
const BETWEEN_REFUSALS_MS: i64 = 10_000;
/// How often one request is sent at most, each time with another token.
const MAX_SENDS: u32 = 4;

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
    state: RwLock<TokenState>,
    /// One renewal at a time; it runs in a task of its own, so that no caller's end breaks it off.
    renewal: tokio::sync::Mutex<()>,
    wake: Arc<Notify>,
    /// Whether a target called our token invalid although it was new; so that it is logged once.
    is_called_invalid: AtomicBool,
}

#[derive(Default)]
struct TokenState {
    current: Option<HeldToken>,
    failure: Option<TokenFailure>,
    /// When a refused token was last renewed.
    refused_ms: Option<i64>,
    /// How many tokens there have been.
    grants: u64,
}

/// A token, and the times of its life, all on the monotonic clock.
struct HeldToken {
    token: Secret,
    /// Which grant it is from: a provider may give the same token again.
    grant: u64,
    /// When it was asked for.
    asked_ms: i64,
    /// From then on a new one is asked for in the background.
    renew_ms: i64,
    /// From then on it is no longer given out.
    expires_ms: i64,
    /// Whether a target refused it. It is given out until there is another: the refusal may be about something else.
    is_refused: bool,
    /// Whether it took the place of one that was refused.
    is_after_refusal: bool,
}

/// Why a request that carries our token brought no answer that is about the request.
#[derive(Debug)]
pub enum SendError {
    /// There is no token, and the provider gives none.
    NoToken(Error),
    /// The target refuses our token.
    TokenRefused,
    /// No answer came.
    Outbound(OutboundError),
}

/// What a 401 to a token calls for.
#[derive(Debug, PartialEq, Eq)]
enum TokenRefusal {
    /// There is another token by now: it is tried.
    Superseded,
    /// The token is to be renewed, and then tried.
    Renew,
    /// It is being renewed because of another refusal.
    Renewing,
    /// The token was renewed a moment ago because of another refusal: this one is about the request.
    OfRequest,
    /// A refused token was renewed too short a while ago for another renewal.
    TooSoon,
}

struct TokenFailure {
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
            is_called_invalid: AtomicBool::new(false),
        });
        tokio::spawn(keep_fresh(Arc::downgrade(&inner), inner.wake.clone()));
        Self(inner)
    }

    /// The current token; waits for one when there is none.
    ///
    /// # Errors
    /// [`Error::ProviderUnavailable`] when there is none and the provider gives none.
    pub async fn token(&self) -> Result<Secret, Error> {
        self.granted().await.map(|(token, _)| token)
    }

    /// The current token, and which grant it is from.
    async fn granted(&self) -> Result<(Secret, u64), Error> {
        if let Some(granted) = self.0.valid() {
            return Ok(granted);
        }
        self.renewed(RenewalPurpose::Valid).await?;
        self.0.valid().ok_or_else(|| unavailable("the token ended at once"))
    }

    async fn renewed(&self, want: RenewalPurpose) -> Result<(), Error> {
        let inner = self.0.clone();
        let renewal = tokio::spawn(async move { inner.renew(want).await });
        renewal.await.unwrap_or_else(|_| Err(unavailable("the question was dropped")))
    }

    /// Sends a request that carries our token, and holds the one rule for a 401.
    ///
    /// `send` sends the request with a token; it is called again with a newer one where the answer is 401 to one from
    /// before a renewal. An answer of 401 that comes back from here was given to a token that was renewed a moment ago, and
    /// is not said to be about the token (`invalid_token`): it is about what was asked.
    ///
    /// # Errors
    /// [`SendError`].
    ///
    /// Source: RFC 6750 3 and 3.1.
    pub async fn send<F>(&self, send: impl Fn(Secret) -> F) -> Result<Answer, SendError>
    where
        F: Future<Output = Result<Answer, OutboundError>>,
    {
        let (mut token, mut grant) = self.granted().await.map_err(SendError::NoToken)?;
        for _ in 0..MAX_SENDS {
            let answer = send(token).await.map_err(SendError::Outbound)?;
            if answer.status != StatusCode::UNAUTHORIZED {
                if self.0.is_called_invalid.load(Ordering::Relaxed) {
                    self.0.is_called_invalid.store(false, Ordering::Relaxed);
                }
                return Ok(answer);
            }
            let refusal = self.0.state.write().on_refusal(grant, self.0.clock.monotonic_ms());
            match refusal {
                TokenRefusal::Superseded => {}
                TokenRefusal::Renew | TokenRefusal::Renewing => {
                    if refusal == TokenRefusal::Renew {
                        self.0.wake.notify_one();
                    }
                    self.renewed(RenewalPurpose::Other { than: grant }).await.map_err(SendError::NoToken)?;
                }
                TokenRefusal::OfRequest if !challenge::is_invalid_token(&answer.headers) => return Ok(answer),
                TokenRefusal::OfRequest => {
                    if !self.0.is_called_invalid.swap(true, Ordering::Relaxed) {
                        tracing::error!("our token is refused as invalid although it was just renewed");
                    }
                    return Err(SendError::TokenRefused);
                }
                TokenRefusal::TooSoon => return Err(SendError::TokenRefused),
            }
            (token, grant) = self.granted().await.map_err(SendError::NoToken)?;
        }
        Err(SendError::TokenRefused)
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
enum RenewalPurpose {
    /// A caller waits for any good token.
    Valid,
    /// It is time for a new one.
    Fresh,
    /// This grant's token was refused.
    Other {
        /// Its number.
        than: u64,
    },
}

impl TokenState {
    /// What a 401 to the token of this grant calls for.
    fn on_refusal(&mut self, grant: u64, now_ms: i64) -> TokenRefusal {
        let Some(current) = &mut self.current else { return TokenRefusal::Renewing };
        if current.grant != grant {
            return TokenRefusal::Superseded;
        }
        if current.is_refused {
            return TokenRefusal::Renewing;
        }
        if current.is_after_refusal && now_ms.saturating_sub(current.asked_ms) < BETWEEN_REFUSALS_MS {
            return TokenRefusal::OfRequest;
        }
        if self.refused_ms.is_some_and(|last_ms| now_ms.saturating_sub(last_ms) < BETWEEN_REFUSALS_MS) {
            return TokenRefusal::TooSoon;
        }
        self.refused_ms = Some(now_ms);
        current.is_refused = true;
        // In the background, too, until it has worked.
        current.renew_ms = i64::MIN;
        TokenRefusal::Renew
    }
}

impl Inner {
    fn valid(&self) -> Option<(Secret, u64)> {
        let now_ms = self.clock.monotonic_ms();
        let state = self.state.read();
        let current = state.current.as_ref().filter(|current| now_ms < current.expires_ms)?;
        Some((current.token.clone(), current.grant))
    }

    fn has(&self, want: RenewalPurpose) -> bool {
        match want {
            RenewalPurpose::Valid => self.valid().is_some(),
            RenewalPurpose::Fresh => !self.is_due() && self.valid().is_some(),
            RenewalPurpose::Other { than } => self.valid().is_some_and(|(_, grant)| grant != than),
        }
    }

    fn is_due(&self) -> bool {
        let now_ms = self.clock.monotonic_ms();
        self.state.read().current.as_ref().is_none_or(|current| now_ms >= current.renew_ms)
    }

    fn until_due(&self) -> Duration {
        let now_ms = self.clock.monotonic_ms();
        let renew_ms = self.state.read().current.as_ref().map_or(now_ms, |current| current.renew_ms);
        Duration::from_millis(u64::try_from(renew_ms.saturating_sub(now_ms)).unwrap_or(0)).min(MAX_SLEEP)
    }

    /// Fetches a token, unless somebody else just did, or just failed to.
    async fn renew(&self, want: RenewalPurpose) -> Result<(), Error> {
        let _one_at_a_time = self.renewal.lock().await;
        if self.has(want) {
            return Ok(());
        }
        if want != RenewalPurpose::Fresh
            && let Some(failure) = &self.state.read().failure
            && failure.at.elapsed() < AFTER_FAILURE
        {
            return Err(failure.error.clone());
        }
        // The provider asked to be left alone: as long as it said, the failure stands.
        if self.provider.rest.left().is_some()
            && let Some(failure) = &self.state.read().failure
        {
            return Err(failure.error.clone());
        }
        let asked_ms = self.clock.monotonic_ms();
        let granted = tokio::time::timeout(DEADLINE, self.provider.ask()).await;
        let granted = granted.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()));
        let mut state = self.state.write();
        match granted {
            Ok(granted) => {
                if state.failure.take().is_some() {
                    tracing::info!("the OIDC provider is back");
                }
                state.grants += 1;
                let is_after_refusal = state.current.as_ref().is_some_and(|current| current.is_refused);
                state.current = Some(HeldToken { is_after_refusal, ..HeldToken::new(granted, state.grants, asked_ms) });
                drop(state);
                self.wake.notify_one();
                Ok(())
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
                state.failure = Some(TokenFailure { error: error.clone(), at: now, logged });
                Err(error)
            }
        }
    }
}

impl HeldToken {
    /// Renewed at 80 % of its life or 10 s before its end, whichever is earlier; but not before half of its life.
    fn new(granted: Granted, grant: u64, asked_ms: i64) -> Self {
        let (renew_ms, expires_ms) = match granted.lives {
            None => (i64::MAX, i64::MAX),
            Some(life) => {
                let life_ms = i64::try_from(life.as_millis()).unwrap_or(i64::MAX);
                let renew_after_ms = (life_ms / 10 * 8).min(life_ms - 10_000).max(life_ms / 2);
                (asked_ms.saturating_add(renew_after_ms), asked_ms.saturating_add(life_ms))
            }
        };
        let token = granted.token;
        Self { token, grant, asked_ms, renew_ms, expires_ms, is_refused: false, is_after_refusal: false }
    }
}

/// Between two renewals, whatever lifetime a provider says.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Renews in the background, and tries again and again while the provider gives no token.
async fn keep_fresh(source: Weak<Inner>, wake: Arc<Notify>) {
    let mut backoff = AFTER_FAILURE;
    while let Some(inner) = source.upgrade() {
        let wait = if !inner.is_due() || inner.renew(RenewalPurpose::Fresh).await.is_ok() {
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
