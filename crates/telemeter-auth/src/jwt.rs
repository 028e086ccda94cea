//! Our access token, a short-lived JWT: `/authorize` signs it, `/upload` verifies it.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use telemeter_auth::jwt::{Claims, Keys, TokenVerifier, sign};
//!
//! let keys = Arc::new(Keys::generate()?);
//! let labels = [("_id".to_owned(), "c-1".to_owned())].into();
//! let token = sign(&keys, &Claims::new("account".to_owned(), labels, 0, Duration::from_secs(60)))?;
//! let caller = TokenVerifier::new(keys, 100).verify(token.expose(), 0)?;
//! assert_eq!(caller.label("_id"), Some("c-1"));
//! # Ok::<(), telemeter_auth::Error>(())
//! ```

mod claims;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod keys;
mod sign;
mod verified;
mod verify;

pub use claims::{AUDIENCE, Caller, Claims, ISSUER};
pub use keys::{Algorithm, Keys};
pub use sign::sign;
pub use verify::{DEFAULT_CACHED_TOKENS, TokenVerifier};

/// Why a token is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It is not a token of this kind at all.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Its header names an algorithm that none of our keys has.
    #[error("none of our keys has its algorithm")]
    Algorithm,
    /// Its signature was made by none of our keys.
    #[error("the signature is not ours")]
    Signature,
    /// Its issuer is not [`ISSUER`].
    #[error("another issuer")]
    Issuer,
    /// Its audience is not [`AUDIENCE`].
    #[error("another audience")]
    Audience,
    /// It has expired.
    #[error("expired")]
    Expired,
    /// Its time of issue, or the time from which it is valid, is in the future.
    #[error("not valid yet")]
    NotYetValid,
}

/// A token that is not valid, and its caller where that is certain nevertheless.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct BadToken {
    /// Why it is not valid.
    pub fault: TokenFault,
    /// The caller of a token that is valid but for its expiry, so that a log or page can name the cluster. It authorizes
    /// nothing.
    pub caller: Option<Box<Caller>>,
}

impl From<TokenFault> for BadToken {
    fn from(fault: TokenFault) -> Self {
        Self { fault, caller: None }
    }
}

impl From<BadToken> for crate::Error {
    fn from(bad: BadToken) -> Self {
        Self::Token(bad.fault)
    }
}

#[cfg(test)]
mod tests;
