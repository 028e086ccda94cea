//! The current token of a source, when it is renewed, and what a 401 to it means.

use crate::oidc::answer::IssuedToken;
use crate::{Error, Secret};

/// A token that its target refused is renewed at most this often, so that a target that refuses every token does not make
/// us flood the provider. For as long after such a renewal, a 401 is not about the token.
const REFUSAL_INTERVAL_MS: i64 = 10_000;

#[derive(Default)]
pub(super) struct TokenState {
    pub(super) current: Option<HeldToken>,
    /// Why the last renewal failed; `None` after one that succeeded.
    pub(super) failure: Option<TokenFailure>,
    /// When a renewal because of a 401 was last started.
    refused_ms: Option<i64>,
    /// How many tokens the provider has issued.
    issued: u64,
}

/// A token, and when it is renewed and expires. All times are on the monotonic clock.
pub(super) struct HeldToken {
    pub(super) token: Secret,
    /// The number of the answer that it came with: a provider may issue the same token again.
    pub(super) number: u64,
    /// When the provider was asked for it.
    asked_ms: i64,
    /// When a new one is requested in the background.
    pub(super) renew_ms: i64,
    /// When it is no longer used.
    pub(super) expires_ms: i64,
    /// Whether a target refused it. It is used until there is another: the 401 may have been about the request.
    is_refused: bool,
    /// Whether it replaced one that was refused.
    is_after_refusal: bool,
}

/// A renewal that failed.
pub(super) struct TokenFailure {
    pub(super) error: Error,
    pub(super) at: tokio::time::Instant,
    /// When this reason was last logged.
    pub(super) logged: tokio::time::Instant,
}

/// What to do about a 401 to a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TokenRefusal {
    /// The token was replaced meanwhile: send again with the current one.
    Superseded,
    /// Renew the token, then send again.
    Renew,
    /// Wait for the renewal that another 401 started, then send again.
    Renewing,
    /// Nothing: the token was renewed a moment ago because of another 401, so this one is about the request.
    OfRequest,
    /// Fail: it is too soon for another renewal, so the 401 cannot be assigned to the token or the request.
    TooSoon,
}

impl TokenState {
    /// Decides on a 401 to the token of this number. Only [`TokenRefusal::Renew`] changes something: the current token
    /// is then refused and due. A 401 to an older token, to the first token after a refusal, or soon after the last
    /// renewal does not cause another renewal.
    pub(super) fn on_refusal(&mut self, number: u64, now_ms: i64) -> TokenRefusal {
        let Some(current) = &mut self.current else { return TokenRefusal::Renewing };
        if current.number != number {
            return TokenRefusal::Superseded;
        }
        if current.is_refused {
            return TokenRefusal::Renewing;
        }
        if current.is_after_refusal && now_ms.saturating_sub(current.asked_ms) < REFUSAL_INTERVAL_MS {
            return TokenRefusal::OfRequest;
        }
        if self.refused_ms.is_some_and(|last_ms| now_ms.saturating_sub(last_ms) < REFUSAL_INTERVAL_MS) {
            return TokenRefusal::TooSoon;
        }
        self.refused_ms = Some(now_ms);
        current.is_refused = true;
        // The background task retries the renewal until it succeeds.
        current.renew_ms = i64::MIN;
        TokenRefusal::Renew
    }

    /// Replaces the current token by one that was asked for at `asked_ms`.
    pub(super) fn replace(&mut self, issued: IssuedToken, asked_ms: i64) {
        self.issued += 1;
        let is_after_refusal = self.current.as_ref().is_some_and(|current| current.is_refused);
        self.current = Some(HeldToken { is_after_refusal, ..HeldToken::new(issued, self.issued, asked_ms) });
    }
}

impl HeldToken {
    /// A token that is renewed at 80 % of its lifetime or 10 s before its end, whichever is earlier, but not before half of
    /// its lifetime.
    pub(super) fn new(issued: IssuedToken, number: u64, asked_ms: i64) -> Self {
        let (renew_ms, expires_ms) = match issued.lifetime {
            None => (i64::MAX, i64::MAX),
            Some(lifetime) => {
                let lifetime_ms = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
                let renew_after_ms = (lifetime_ms / 10 * 8).min(lifetime_ms - 10_000).max(lifetime_ms / 2);
                (asked_ms.saturating_add(renew_after_ms), asked_ms.saturating_add(lifetime_ms))
            }
        };
        let token = issued.token;
        Self { token, number, asked_ms, renew_ms, expires_ms, is_refused: false, is_after_refusal: false }
    }
}
