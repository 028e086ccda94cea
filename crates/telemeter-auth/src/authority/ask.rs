//! Sends a question to the authority, and records whether the authority is available.

use std::sync::Arc;
use std::time::Duration;

use http::header;
use parking_lot::Mutex;
use telemeter_http::client::{Answer, OutboundError, OutboundRequest};

use super::question::AuthorityQuestion;
use super::{Inner, answer, unavailable};
use crate::oidc::SendError;
use crate::{Error, Secret};

/// The longest answer of the authority that is read.
pub(super) const MAX_ANSWER_BYTES: usize = 32 * 1024;

impl Inner {
    /// The account that the authority names. With our own token, the connection and a second try, it takes three times the
    /// deadline at most.
    pub(super) async fn ask_authority(&self, question: &AuthorityQuestion) -> Result<Arc<str>, Error> {
        let sent_tokens = Mutex::new(Vec::new());
        match tokio::time::timeout(3 * self.config.deadline, self.send(question, &sent_tokens)).await {
            Ok(answer) => {
                let (answer, sent_tokens) = (answer?, sent_tokens.lock());
                let secrets: Vec<&str> = sent_tokens.iter().chain([&question.token]).map(Secret::expose).collect();
                answer::read(&answer, question, &secrets)
            }
            Err(_elapsed) => Err(unavailable("no answer in time")),
        }
    }

    /// Sends a question, with our own token where there is a source of them. Each token that was sent is added to
    /// `sent_tokens`, to be removed from what the log shows of the answer.
    async fn send(&self, question: &AuthorityQuestion, sent_tokens: &Mutex<Vec<Secret>>) -> Result<Answer, Error> {
        let Some(source) = &self.token else {
            return self.post_question(question, None).await.map_err(|error| unavailable(error.to_string()));
        };
        let sent = source.send(|token| async move {
            sent_tokens.lock().push(token.clone());
            self.post_question(question, Some(&token)).await
        });
        sent.await.map_err(|error| match error {
            SendError::NoToken(error) => unavailable(error.to_string()),
            SendError::TokenRefused => unavailable("it refuses our own token (401)"),
            SendError::Outbound(error) => unavailable(error.to_string()),
        })
    }

    /// Posts the question as JSON, with `token` as a bearer token where there is one, and returns the answer whatever its
    /// status. The request is sent once more where a kept connection turns out to be closed.
    ///
    /// # Errors
    /// The token is not valid in a header, or no answer came within the deadline.
    async fn post_question(
        &self,
        question: &AuthorityQuestion,
        token: Option<&Secret>,
    ) -> Result<Answer, OutboundError> {
        let request = || {
            let mut request = OutboundRequest::post(self.config.url.clone());
            let json = header::HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json.clone());
            request.headers_mut().insert(header::ACCEPT, json);
            let body = question.body.expose().to_owned();
            let request = request.with_body(body).with_timeout(self.config.deadline);
            let Some(token) = token else { return Ok(request) };
            let with_token = request.with_bearer(token.expose());
            with_token.map_err(|_| OutboundError::Setup("our token cannot stand in a header".to_owned()))
        };
        self.outbound.send_idempotent(request, MAX_ANSWER_BYTES).await
    }

    /// Records how a question ended, and after how long. It logs once that the authority is unavailable, and once that it
    /// is available again.
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
