//! One question to the authority: what it asks, and the key that its approval is cached by.

use std::time::Duration;

use serde::Serialize;

use crate::Secret;
use crate::bounded::{Digest, sha256, sha256_of};
use crate::composite_token::CompositeToken;

/// One question: the body that is sent, and what it is about.
pub(super) struct AuthorityQuestion {
    pub(super) kind: QuestionKind,
    pub(super) key: QuestionKey,
    /// The JSON that is sent.
    pub(super) body: Secret,
    pub(super) cluster: String,
    /// The caller's token.
    pub(super) token: Secret,
}

#[derive(Serialize)]
struct RegistrationBody<'a> {
    cluster_id: &'a str,
    authorization_token: &'a str,
    account_id: &'a str,
}

impl AuthorityQuestion {
    /// The question of `/authorize`: a JSON object of the cluster and its token.
    ///
    /// # Panics
    /// Never: texts always have a JSON form.
    pub(super) fn register(key: QuestionKey, token: &Secret, cluster: &str) -> Self {
        let body = RegistrationBody { cluster_id: cluster, authorization_token: token.expose(), account_id: "" };
        let body = serde_json::to_string(&body).expect("texts always have a JSON form").into();
        Self { kind: QuestionKind::Register, key, body, cluster: cluster.to_owned(), token: token.clone() }
    }

    /// The question of `/metrics/v1/receive`: the JSON of the composite token, byte for byte.
    pub(super) fn receive(key: QuestionKey, token: &CompositeToken) -> Self {
        Self {
            kind: QuestionKind::Receive,
            key,
            body: token.json().clone(),
            cluster: token.cluster_id().to_owned(),
            token: token.authorization_token().clone(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuestionKind {
    /// `/authorize`: once a day for each cluster; the authority is asked every time.
    Register,
    /// `/metrics/v1/receive`: with every request, mostly answered by a cached approval.
    Receive,
}

/// What a question means: its kind, the cluster and the token, however the caller spelled them.
///
/// A composite token may hold other fields, which the authority sees and the key does not. All spellings with the same two
/// values share one approval. That is safe: an approval allows a caller to report for the cluster of the key alone, and a
/// caller who had another spelling approved holds the same token, so it could send that spelling, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QuestionKey {
    /// The SHA-256 of the cluster's ID.
    pub(super) cluster: Digest,
    /// The SHA-256 of kind, cluster and token.
    pub(super) digest: Digest,
}

impl QuestionKey {
    pub(super) fn new(kind: QuestionKind, cluster: &str, token: &str) -> Self {
        let kind: &[u8] = match kind {
            QuestionKind::Register => b"register ",
            QuestionKind::Receive => b"receive ",
        };
        let cluster = sha256(cluster.as_bytes());
        // The kinds end in a space and a digest has a fixed length, so two different questions never hash the same bytes.
        Self { cluster, digest: sha256_of(&[kind, &cluster, token.as_bytes()]) }
    }
}

/// The shortest wait of a caller of `/authorize` whose rate the authority limits. Source: Go.
const REGISTER_RETRY_AFTER: Duration = Duration::from_secs(300);
/// The wait of a caller of `/metrics/v1/receive` where the authority's 429 has no `Retry-After`.
const RECEIVE_RETRY_AFTER: Duration = Duration::from_secs(60);

impl QuestionKind {
    /// How long a caller waits after a 429 of the authority; `retry_after` is what the authority asked for.
    pub(super) fn retry_after(self, retry_after: Option<Duration>) -> Duration {
        match self {
            Self::Register => retry_after.unwrap_or_default().max(REGISTER_RETRY_AFTER),
            Self::Receive => retry_after.unwrap_or(RECEIVE_RETRY_AFTER),
        }
    }
}
