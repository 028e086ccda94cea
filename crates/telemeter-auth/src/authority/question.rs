//! One question to the authority: what it is about, how it is sent, and what is heard.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use parking_lot::Mutex;
use telemeter_http::client::{Answer, OutboundError, OutboundRequest};

use super::{Inner, answer, unavailable};
use crate::bounded::{Digest, sha256, sha256_of};
use crate::oidc::SendError;
use crate::{Error, Secret};

/// The longest answer of the authority that is read.
pub(super) const MAX_ANSWER_BYTES: usize = 32 * 1024;

/// One question: the body that is sent, and what it is about.
pub(super) struct AuthorityQuestion {
    pub(super) kind: QuestionKind,
    pub(super) key: QuestionKey,
    pub(super) body: Secret,
    pub(super) cluster: String,
    /// The caller's token.
    pub(super) token: Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuestionKind {
    /// `/authorize`: once a day a cluster, always asked.
    Register,
    /// `/metrics/v1/receive`: with every request, mostly answered from memory.
    Receive,
}

/// What a question means: its kind, the cluster, and the token; not how the caller spelled them.
///
/// A composite token may hold other fields beside the two, which the authority sees and the key does not. All spellings with
/// the same two values share one approval. That is safe: an approval lets nobody be anything but the cluster of the key, and
/// whoever could have another spelling approved holds the very token, and could send that spelling themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QuestionKey {
    /// Of the cluster's ID.
    pub(super) cluster: Digest,
    /// Of all.
    pub(super) digest: Digest,
}

impl QuestionKey {
    pub(super) fn new(kind: QuestionKind, cluster: &str, token: &str) -> Self {
        let kind: &[u8] = match kind {
            QuestionKind::Register => b"register ",
            QuestionKind::Receive => b"receive ",
        };
        let cluster = sha256(cluster.as_bytes());
        // The kinds differ in their first byte, and a digest has one length: no two meanings have the same bytes.
        Self { cluster, digest: sha256_of(&[kind, &cluster, token.as_bytes()]) }
    }
}

/// How long a caller whom the authority limits on `/authorize` waits at least. Source: Go.
const REGISTER_RETRY_AFTER: Duration = Duration::from_secs(300);

impl QuestionKind {
    /// How long a caller waits whose rate the authority limits.
    pub(super) fn retry_after(self, asked_to: Option<Duration>) -> Duration {
        match self {
            Self::Register => asked_to.unwrap_or_default().max(REGISTER_RETRY_AFTER),
            Self::Receive => asked_to.unwrap_or(Duration::from_secs(60)),
        }
    }
}

impl Inner {
    /// The account that the authority names.
    pub(super) async fn question_authority(&self, question: &AuthorityQuestion) -> Result<Arc<str>, Error> {
        let shown = Mutex::new(Vec::new());
        match tokio::time::timeout(3 * self.config.deadline, self.send(question, &shown)).await {
            Ok(answer) => {
                let (answer, shown) = (answer?, shown.lock());
                let secrets: Vec<&str> = shown.iter().chain([&question.token]).map(Secret::expose).collect();
                answer::read(&answer, question, &secrets)
            }
            Err(_elapsed) => Err(unavailable("no answer in time")),
        }
    }

    /// Sends a question, with our own token where there is a source of them; `shown` gets each that was sent.
    async fn send(&self, question: &AuthorityQuestion, shown: &Mutex<Vec<Secret>>) -> Result<Answer, Error> {
        let Some(source) = &self.token else {
            return self.post(question, None).await.map_err(|error| unavailable(error.to_string()));
        };
        let sent = source.send(|token| async move {
            shown.lock().push(token.clone());
            self.post(question, Some(&token)).await
        });
        sent.await.map_err(|error| match error {
            SendError::NoToken(error) => unavailable(error.to_string()),
            SendError::TokenRefused => unavailable("it refuses our own token (401)"),
            SendError::Outbound(error) => unavailable(error.to_string()),
        })
    }

    async fn post(&self, question: &AuthorityQuestion, token: Option<&Secret>) -> Result<Answer, OutboundError> {
        let authorization = token.map(bearer).transpose()?;
        let request = || {
            let mut request = OutboundRequest::post(self.config.authorize.clone());
            let json = header::HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json.clone());
            request.headers_mut().insert(header::ACCEPT, json);
            if let Some(authorization) = &authorization {
                request.headers_mut().insert(header::AUTHORIZATION, authorization.clone());
            }
            *request.body_mut() = Some(question.body.expose().to_owned().into());
            Ok(request.with_timeout(self.config.deadline))
        };
        self.outbound.send_idempotent(request, MAX_ANSWER_BYTES).await
    }

    /// Records how a question ended that took so long. Says once that the authority is unavailable, and once that it
    /// answers again.
    pub(super) fn record_availability(&self, answer: &Result<Arc<str>, Error>, took: Duration) {
        let now_ms = self.clock.now_ms();
        match answer {
            Err(Error::AuthorityUnavailable { reason, .. }) => {
                if self.availability.unavailable(reason, now_ms) {
                    tracing::warn!(
                        %reason,
                        "the authority is unavailable: callers that it approved before go on, others are answered 503"
                    );
                }
            }
            _ => {
                if self.availability.available(Some(took), now_ms) {
                    tracing::info!("the authority is available again");
                }
            }
        }
    }
}

fn bearer(token: &Secret) -> Result<header::HeaderValue, OutboundError> {
    let value = header::HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.map_err(|_| OutboundError::Setup("our token cannot stand in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}
