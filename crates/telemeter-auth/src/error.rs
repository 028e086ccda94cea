//! What can go wrong while finding out who is calling.

use std::time::Duration;

use crate::jwt::TokenFault;

/// Why a caller is not known, or why we cannot find out. It answers nobody: the server turns it into a status.
///
/// No variant holds a token, a password or an address of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request names no sender.
    #[error("no Authorization header")]
    CredentialsMissing,
    /// The `Authorization` header is not one bearer token.
    #[error("bad Authorization header: {0}")]
    CredentialsMalformed(&'static str),
    /// The bearer token of a remote-write request is not a composite token.
    #[error("bad composite token: {0}; it is the base64 of {{\"authorization_token\":\"...\",\"cluster_id\":\"...\"}}")]
    CompositeToken(&'static str),
    /// The bearer token of an upload is not one that we gave out, or no longer good.
    #[error("bad token: {0}")]
    Token(#[from] TokenFault),
    /// The authority refuses the caller.
    #[error("the authority refused with status {status}{}", quoted(.said))]
    Refused {
        /// The authority's own status: 4xx, but not 429.
        status: u16,
        /// The start of what stands in the body of its answer, on one line and without secrets; may be empty. It is for our
        /// log alone.
        said: String,
    },
    /// The authority asks this caller to slow down.
    #[error("the authority limits the rate of this caller")]
    RateLimited {
        /// How long the caller should wait.
        retry_after: Duration,
    },
    /// The authority gave no usable answer: it is down, slow, or talks about something else.
    #[error("the authority is unavailable: {reason}")]
    AuthorityUnavailable {
        /// What was seen, with the start of what stands in the body of its answer. It is for our log alone.
        reason: String,
        /// How long it asked us to wait, when it did.
        retry_after: Option<Duration>,
    },
    /// The authority is not asked: this caller asks too often, or too many questions wait.
    #[error("too many questions for the authority: {reason}")]
    TooManyQuestions {
        /// Whose are too many.
        reason: &'static str,
        /// How long the caller should wait.
        retry_after: Duration,
    },
    /// The OIDC provider gave no usable token, and none is left from before.
    #[error("no token from the OIDC provider: {reason}")]
    ProviderUnavailable {
        /// What was seen, without any secret.
        reason: String,
    },
    /// A signing key cannot be used.
    #[error("bad signing key: {0}")]
    Key(String),
    /// A file of tokens for the authority's stand-in cannot be read.
    #[error("bad list of tokens: {0}")]
    Tokens(String),
}

/// What was said, to stand behind a reason.
pub(crate) fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": \"{said}\"") }
}
