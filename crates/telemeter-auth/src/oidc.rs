//! The access token that our outbound calls carry: OIDC client credentials, cached and renewed ahead of time.
//!
//! The provider may be unavailable, at start or later: a token that is still valid is used until it expires, and without
//! one [`TokenSource::status`] says why.
//!
//! [`TokenSource::send`] decides whether a 401 is about our token or about the request. Lifetimes are measured on the
//! monotonic clock, so a change of the wall clock does not affect them.

mod answer;
mod backoff;
mod challenge;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod provider;
mod state;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::StatusCode;
use parking_lot::RwLock;
use telemeter_http::client::{Answer, Outbound, OutboundError};
use telemeter_http::clock::Clock;
use tokio::sync::Notify;

use self::provider::Provider;
use self::state::{TokenFailure, TokenRefusal, TokenState};
use crate::{Error, Secret};

/// The timeout of one renewal: discovery and one or two requests for a token, each with its own timeout.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(60);
/// A failure with another reason than the last one is logged at most this often: a provider may put the time into each.
const LOG_INTERVAL: Duration = Duration::from_secs(30);
/// After a failed renewal, no caller starts another one before this.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait between two tries in the background.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The longest sleep of the background task: while a machine is suspended, timers do not advance.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// The shortest sleep of the background task after a renewal, however short a lifetime the provider says.
const MIN_SLEEP: Duration = Duration::from_secs(1);
/// How often one request is sent at most, each time with another token.
const MAX_SENDS: u32 = 4;

/// The provider, our credentials there, and the audience of the token.
#[derive(Clone, Debug)]
pub struct OidcConfig {
    /// The provider's issuer URL (`--oidc-issuer`), exactly as its metadata has it.
    pub issuer: String,
    /// Our client ID (`--client-id`).
    pub client_id: String,
    /// Our client secret (`--client-secret`).
    pub client_secret: Secret,
    /// The audience that the token is requested for (`--oidc-audience`).
    pub audience: Option<String>,
}

/// Holds the current token and renews it. Cheap to clone; clones share one token.
#[derive(Clone)]
pub struct TokenSource(Arc<Inner>);

struct Inner {
    provider: Provider,
    clock: Clock,
    state: RwLock<TokenState>,
    /// Held during a renewal, so that there is one at a time. A renewal runs in a task of its own, so it goes on when its
    /// caller is dropped.
    renewal: tokio::sync::Mutex<()>,
    wake: Arc<Notify>,
    /// Whether a target called our token invalid right after its renewal; set so that this is logged once.
    is_called_invalid: AtomicBool,
}

/// Why a request with our token brought no answer that is about the request.
#[derive(Debug)]
pub enum SendError {
    /// There is no token, and the provider issues none.
    NoToken(Error),
    /// The target refuses our token.
    TokenRefused,
    /// No answer came.
    Outbound(OutboundError),
}

/// What a renewal is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RenewalPurpose {
    /// A caller waits for any valid token.
    Valid,
    /// The background task renews the token because it is due.
    Due,
    /// The token of this number was refused.
    Refused { number: u64 },
}

impl TokenSource {
    /// A source that starts to request a token at once, and keeps it valid until the last clone is dropped. Has to be called
    /// within a tokio runtime.
    pub fn new(config: OidcConfig, outbound: Outbound, clock: Clock) -> Self {
        let inner = Arc::new(Inner {
            provider: Provider::new(config, outbound),
            clock,
            state: RwLock::default(),
            renewal: tokio::sync::Mutex::default(),
            wake: Arc::default(),
            is_called_invalid: AtomicBool::new(false),
        });
        tokio::spawn(renew_in_background(Arc::downgrade(&inner), inner.wake.clone()));
        Self(inner)
    }

    /// The current token; waits for a renewal where there is none.
    ///
    /// # Errors
    /// [`Error::ProviderUnavailable`] when there is none and the provider issues none.
    pub async fn token(&self) -> Result<Secret, Error> {
        self.current().await.map(|(token, _)| token)
    }

    /// The current token and its number.
    async fn current(&self) -> Result<(Secret, u64), Error> {
        if let Some(current) = self.0.valid_token() {
            return Ok(current);
        }
        self.renew(RenewalPurpose::Valid).await?;
        self.0.valid_token().ok_or_else(|| unavailable("the token ended at once"))
    }

    /// Gets a new token where `purpose` needs one, in a task of its own: it goes on where the caller stops waiting.
    async fn renew(&self, purpose: RenewalPurpose) -> Result<(), Error> {
        let inner = self.0.clone();
        let renewal = tokio::spawn(async move { inner.renew(purpose).await });
        renewal.await.unwrap_or_else(|_| Err(unavailable("the question was dropped")))
    }

    /// Sends a request that carries our token, and decides what a 401 means. This rule is the same for every target.
    ///
    /// `send` sends the request with a token; it is called again with a newer one where the answer is 401 to one from
    /// before a renewal. A 401 that is returned was given to a token that was renewed a moment ago, and does not call that
    /// token invalid (`invalid_token`): so it is about the request.
    ///
    /// # Errors
    /// [`SendError`].
    ///
    /// Source: RFC 6750 3 and 3.1.
    pub async fn send<F>(&self, send: impl Fn(Secret) -> F) -> Result<Answer, SendError>
    where
        F: Future<Output = Result<Answer, OutboundError>>,
    {
        let (mut token, mut number) = self.current().await.map_err(SendError::NoToken)?;
        for _ in 0..MAX_SENDS {
            let answer = send(token).await.map_err(SendError::Outbound)?;
            if answer.status != StatusCode::UNAUTHORIZED {
                if self.0.is_called_invalid.load(Ordering::Relaxed) {
                    self.0.is_called_invalid.store(false, Ordering::Relaxed);
                }
                return Ok(answer);
            }
            let refusal = self.0.state.write().on_refusal(number, self.0.clock.monotonic_ms());
            match refusal {
                TokenRefusal::Superseded => {}
                TokenRefusal::Renew | TokenRefusal::Renewing => {
                    if refusal == TokenRefusal::Renew {
                        self.0.wake.notify_one();
                    }
                    self.renew(RenewalPurpose::Refused { number }).await.map_err(SendError::NoToken)?;
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
            (token, number) = self.current().await.map_err(SendError::NoToken)?;
        }
        Err(SendError::TokenRefused)
    }

    /// Replaces the client secret. Where it differs from the last one, a token is requested with it at once.
    pub fn replace_secret(&self, client_secret: Secret) {
        if self.0.provider.replace_secret(client_secret) {
            self.0.provider.backoff.clear();
            if let Some(current) = &mut self.0.state.write().current {
                current.renew_ms = i64::MIN;
            }
            self.0.wake.notify_one();
        }
    }

    /// Whether there is a valid token.
    ///
    /// # Errors
    /// Why there is none, fit for the operator's pages: it holds no secret.
    pub fn status(&self) -> Result<(), String> {
        if self.0.valid_token().is_some() {
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

impl Inner {
    /// The current token and its number; `None` where there is none or it has expired.
    fn valid_token(&self) -> Option<(Secret, u64)> {
        let now_ms = self.clock.monotonic_ms();
        let state = self.state.read();
        let current = state.current.as_ref().filter(|current| now_ms < current.expires_ms)?;
        Some((current.token.clone(), current.number))
    }

    /// Whether the current token is good enough for the purpose, so that no new one is needed.
    fn is_satisfied(&self, purpose: RenewalPurpose) -> bool {
        match purpose {
            RenewalPurpose::Valid => self.valid_token().is_some(),
            RenewalPurpose::Due => !self.is_due() && self.valid_token().is_some(),
            RenewalPurpose::Refused { number } => self.valid_token().is_some_and(|(_, current)| current != number),
        }
    }

    /// Whether the token should be renewed now; also where there is none.
    fn is_due(&self) -> bool {
        let now_ms = self.clock.monotonic_ms();
        self.state.read().current.as_ref().is_none_or(|current| now_ms >= current.renew_ms)
    }

    /// The time until the token should be renewed, at most [`MAX_SLEEP`]; zero where there is none.
    fn until_due(&self) -> Duration {
        let now_ms = self.clock.monotonic_ms();
        let renew_ms = self.state.read().current.as_ref().map_or(now_ms, |current| current.renew_ms);
        Duration::from_millis(u64::try_from(renew_ms.saturating_sub(now_ms)).unwrap_or(0)).min(MAX_SLEEP)
    }

    /// Requests a token and stores it; one renewal at a time. Does nothing where another renewal satisfied this purpose
    /// meanwhile. Returns the last error, without a request, where a renewal failed a moment ago or the provider's
    /// `Retry-After` is not over.
    async fn renew(&self, purpose: RenewalPurpose) -> Result<(), Error> {
        let _one_at_a_time = self.renewal.lock().await;
        if self.is_satisfied(purpose) {
            return Ok(());
        }
        if purpose != RenewalPurpose::Due
            && let Some(failure) = &self.state.read().failure
            && failure.at.elapsed() < RETRY_INTERVAL
        {
            return Err(failure.error.clone());
        }
        // The provider's `Retry-After` is not over: the last failure is still the answer.
        if self.provider.backoff.remaining().is_some()
            && let Some(failure) = &self.state.read().failure
        {
            return Err(failure.error.clone());
        }
        let asked_ms = self.clock.monotonic_ms();
        let issued = tokio::time::timeout(RENEWAL_TIMEOUT, self.provider.request_token()).await;
        match issued.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned())) {
            Ok(issued) => {
                let mut state = self.state.write();
                if state.failure.take().is_some() {
                    tracing::info!("the OIDC provider is available again");
                }
                state.replace(issued, asked_ms);
                drop(state);
                self.wake.notify_one();
                Ok(())
            }
            Err(reason) => Err(self.record_failure(&reason)),
        }
    }

    /// Records a failed renewal, and logs it unless this reason, or any reason a moment ago, was logged already.
    fn record_failure(&self, reason: &str) -> Error {
        let (now, error) = (tokio::time::Instant::now(), unavailable(reason));
        let mut state = self.state.write();
        let logged = state
            .failure
            .as_ref()
            .filter(|last| last.error == error || now.saturating_duration_since(last.logged) < LOG_INTERVAL)
            .map(|last| last.logged);
        if logged.is_none() {
            tracing::warn!(%reason, "no token from the OIDC provider");
        }
        state.failure = Some(TokenFailure { error: error.clone(), at: now, logged: logged.unwrap_or(now) });
        error
    }
}

/// Renews the token before it expires, and tries again with growing waits while the provider issues none.
async fn renew_in_background(source: Weak<Inner>, wake: Arc<Notify>) {
    let mut backoff = RETRY_INTERVAL;
    while let Some(inner) = source.upgrade() {
        let wait = if !inner.is_due() || inner.renew(RenewalPurpose::Due).await.is_ok() {
            backoff = RETRY_INTERVAL;
            inner.until_due().max(MIN_SLEEP)
        } else {
            let wait = inner.provider.backoff.remaining().unwrap_or_default().max(backoff);
            backoff = (backoff * 2).min(MAX_BACKOFF);
            wait
        };
        drop(inner);
        // A 401, another client secret, a caller's renewal or the drop of the source wakes it earlier.
        let _ = tokio::time::timeout(wait, wake.notified()).await;
    }
}

/// The error that the provider of tokens is unavailable for this reason.
fn unavailable(reason: impl Into<String>) -> Error {
    Error::ProviderUnavailable { reason: reason.into() }
}

#[cfg(test)]
mod tests;
