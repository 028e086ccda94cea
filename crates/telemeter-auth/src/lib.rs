//! Authenticates callers: bearer tokens, composite tokens, our JWTs, the authority and its caches; and gets our own token
//! from an OIDC provider.
//!
//! This crate knows no metric that a cluster sends, and no status: the server turns an [`Error`] into an answer.

pub mod authority;
pub mod bearer;
mod bounded;
pub mod composite_token;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod jwt;
pub mod memcached;
pub mod oidc;
mod secret;
pub mod token_response;

pub use error::Error;
pub use secret::Secret;
