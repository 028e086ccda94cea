//! Who is calling: bearer, composite token, JWT, the authority, caches, OIDC.
//!
//! Nothing here knows a metric that a cluster sends, and nothing here answers a caller: [`Error`] says what happened,
//! the server decides what to say.

pub mod authority;
pub mod bearer;
mod bounded;
pub mod composite_token;
mod error;
pub mod exchange;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod jwt;
pub mod memcached;
pub mod oidc;
mod secret;

pub use error::Error;
pub use secret::Secret;
