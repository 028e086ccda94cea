//! Our short-lived token: what `/authorize` gives out and `/upload` asks for.

mod claims;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
mod sign;
mod verified;
mod verify;

pub use claims::{AUDIENCE, Caller, Claims, ISSUER};
pub use keys::{Algorithm, Keys};
pub use sign::sign;
pub use verify::{REMEMBERED_BY_DEFAULT, TokenVerifier};

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It is not a token of this kind at all.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Its header names an algorithm that none of our keys has.
    #[error("none of our keys has its algorithm")]
    Algorithm,
    /// None of our keys made its signature.
    #[error("the signature is not ours")]
    Signature,
    /// Somebody else issued it.
    #[error("another issuer")]
    Issuer,
    /// It is meant for somebody else.
    #[error("another audience")]
    Audience,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Its time has not come.
    #[error("not valid yet")]
    NotYetValid,
}

/// A token that is not good, and whom it names where that is certain all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct BadToken {
    /// Why it is not good.
    pub fault: TokenFault,
    /// Whom it named while it was good: our signature is on it, and nothing but its time is wrong. To be told, and for
    /// nothing else.
    pub named: Option<Box<Caller>>,
}

impl From<TokenFault> for BadToken {
    fn from(fault: TokenFault) -> Self {
        Self { fault, named: None }
    }
}

impl From<BadToken> for crate::Error {
    fn from(bad: BadToken) -> Self {
        Self::Token(bad.fault)
    }
}

#[cfg(test)]
mod tests;
