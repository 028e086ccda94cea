//! The errors of authenticating a caller, and of getting our own token.

use std::time::Duration;

use crate::jwt::TokenFault;

/// Why a caller is not authenticated, or why that cannot be decided now. The server turns it into a status.
///
/// No variant holds a token, a password or an address of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request has no `Authorization` header.
    #[error("no Authorization header")]
    CredentialsMissing,
    /// The `Authorization` header is not one bearer token.
    #[error("bad Authorization header: {0}")]
    CredentialsMalformed(&'static str),
    /// The bearer token of a remote-write request is not a composite token.
    #[error("bad composite token: {0}; it is the base64 of {{\"authorization_token\":\"...\",\"cluster_id\":\"...\"}}")]
    CompositeToken(&'static str),
    /// The bearer token of an upload is not one that we issued, or it is no longer valid.
    #[error("bad token: {0}")]
    Token(#[from] TokenFault),
    /// The authority refuses the caller.
    #[error("the authority refused with status {status}{}", quoted(.excerpt))]
    Refused {
        /// The authority's own status: 4xx, but not 429.
        status: u16,
        /// An excerpt of the body of its answer, on one line and without secrets; may be empty. It is for our log alone.
        excerpt: String,
    },
    /// The authority asks this caller to slow down.
    #[error("the authority limits the rate of this caller")]
    RateLimited {
        /// How long the caller should wait.
        retry_after: Duration,
    },
    /// The authority gave no usable answer: it is down or slow, or its answer is about something else.
    #[error("the authority is unavailable: {reason}")]
    AuthorityUnavailable {
        /// What happened, with an excerpt of the body of its answer. It is for our log alone.
        reason: String,
        /// How long it asked us to wait, where it did.
        retry_after: Option<Duration>,
    },
    /// The authority was not asked: this caller asks too often, or too many questions wait.
    #[error("too many questions for the authority: {reason}")]
    TooManyQuestions {
        /// Which limit was reached.
        reason: &'static str,
        /// How long the caller should wait.
        retry_after: Duration,
    },
    /// The OIDC provider gave no usable token, and no earlier token is still valid.
    #[error("no token from the OIDC provider: {reason}")]
    ProviderUnavailable {
        /// What happened, without any secret.
        reason: String,
    },
    /// A signing key cannot be used.
    #[error("bad signing key: {0}")]
    Key(String),
    /// A file of tokens for the mock authority cannot be read.
    #[error("bad list of tokens: {0}")]
    Tokens(String),
}

/// An excerpt to append to a reason: `: "..."`, or nothing where it is empty.
pub(crate) fn quoted(excerpt: &str) -> String {
    if excerpt.is_empty() { String::new() } else { format!(": \"{excerpt}\"") }
}
