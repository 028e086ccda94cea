//! Sends the series of a cycle as Prometheus remote write 1.0, with the composite token (`--protocol remote-write`).
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>: a request is retried after a 5xx or no answer; a
//! 4xx is final.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use telemeter_auth::composite_token;
use telemeter_http::{
    client::{Outbound, OutboundError, OutboundRequest},
    duration::HumanDuration,
};
use tokio::time::Instant;
use url::Url;

use crate::{
    config::Credential,
    credential::{self, CredentialError},
    metrics::Metrics,
    refusal::ServerRefusal,
};

/// The label with the cluster ID as its value.
pub(crate) const ID_LABEL: &str = "_id";
/// Cap on an answer, in bytes; only its first line is shown.
const ANSWER_BYTES: usize = 64 * 1024;
/// The wait before the first retry, where the receiver sends no `Retry-After`; it doubles with each retry, up to
/// [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const VERSION_HEADER: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

/// Why the receiver did not accept all series.
#[derive(Debug, thiserror::Error)]
pub enum RemoteWriteError {
    /// The cluster token cannot be read.
    #[error("the token for the receiver cannot be used (--to-token-file): {0}")]
    Credential(#[from] CredentialError),
    /// The receiver did not answer, even to the last retry.
    #[error("the receiver was not reached for remote write: {0}")]
    Unreachable(#[from] OutboundError),
    /// The receiver does not know the token, or does not allow it for this cluster.
    #[error("the receiver refused this cluster's token {0}")]
    Unauthorized(ServerRefusal),
    /// The client sends too often.
    #[error("the receiver asks us to come less often {0}")]
    TooOften(ServerRefusal),
    /// The receiver refuses the series: sending them again will not help.
    #[error("the receiver refused the series {0}")]
    Refused(ServerRefusal),
    /// The program that answered does not accept remote write.
    #[error("nothing at that address takes remote write {0} (is --to, or --to-receive, right?)")]
    NotAReceiver(ServerRefusal),
    /// The receiver has a problem of its own, even at the last retry.
    #[error("the receiver could not take the series now {0}")]
    Failed(ServerRefusal),
}

impl RemoteWriteError {
    /// How long the receiver asks to wait before the next request.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Credential(_) | Self::Unreachable(_) => None,
            Self::Unauthorized(refusal)
            | Self::TooOften(refusal)
            | Self::Refused(refusal)
            | Self::NotAReceiver(refusal)
            | Self::Failed(refusal) => refusal.retry_after,
        }
    }

    /// Whether the receiver may accept the same request a little later.
    fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Failed(_))
    }
}

/// Sends remote-write requests of one cluster to one receiver.
pub(crate) struct RemoteWriter {
    outbound: Outbound,
    url: Url,
    cluster_id: String,
    token: Credential,
    /// The time for all requests of a cycle together, including retries.
    deadline: Duration,
    metrics: Metrics,
}

impl RemoteWriter {
    /// Sends to `url` for the cluster `cluster_id`, with this cluster token.
    pub(crate) fn new(
        outbound: Outbound,
        url: Url,
        cluster_id: String,
        token: Credential,
        deadline: Duration,
        metrics: Metrics,
    ) -> Self {
        Self { outbound, url, cluster_id, token, deadline, metrics }
    }

    /// Sends requests, each a snappy block. When the receiver refuses one for its content, the others are still sent;
    /// the first such error is returned.
    pub(crate) async fn send(&self, requests: impl Iterator<Item = Bytes>) -> Result<(), RemoteWriteError> {
        let end = Instant::now() + self.deadline;
        let mut refused = None;
        for request in requests {
            match self.send_one(request, end).await {
                Ok(()) => {}
                Err(error @ RemoteWriteError::Refused(_)) => drop(refused.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Sends one request, and retries it while the receiver may still accept it before `end`.
    async fn send_one(&self, request: Bytes, end: Instant) -> Result<(), RemoteWriteError> {
        let mut wait = FIRST_WAIT;
        loop {
            let error = match self.post(request.clone(), end).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let told = error.retry_after().map_or(wait, |told| told.max(FIRST_WAIT));
            if !error.is_temporary() || Instant::now() + told >= end {
                return Err(error);
            }
            tracing::info!(cause = %error, retry_in = %HumanDuration(told), "the receiver did not take a request");
            self.metrics.remote_write_retries.inc();
            tokio::time::sleep(told).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Sends one request without retries; it may take until `end`, but has at least a second.
    pub(crate) async fn post(&self, body: Bytes, end: Instant) -> Result<(), RemoteWriteError> {
        let mut request = OutboundRequest::post(self.url.clone())
            .with_body(body)
            .with_timeout(end.saturating_duration_since(Instant::now()).max(FIRST_WAIT));
        let headers = request.headers_mut();
        headers.insert(header::AUTHORIZATION, self.authorization()?);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(VERSION_HEADER, HeaderValue::from_static("0.1.0"));
        let answer = self.outbound.send(request, ANSWER_BYTES).await;
        self.metrics.count_upload_request(answer.as_ref().ok().map(|answer| answer.status));
        let answer = answer?;
        if answer.status.is_success() {
            return Ok(());
        }
        let refusal = ServerRefusal::of(&answer).with_url(&self.url);
        Err(match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RemoteWriteError::Unauthorized(refusal),
            StatusCode::TOO_MANY_REQUESTS => RemoteWriteError::TooOften(refusal),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                RemoteWriteError::NotAReceiver(refusal)
            }
            status if status.is_redirection() => RemoteWriteError::NotAReceiver(refusal),
            status if status.is_client_error() => RemoteWriteError::Refused(refusal),
            _ => RemoteWriteError::Failed(refusal),
        })
    }

    /// The `Authorization` header with the composite token; the token file is read each time.
    fn authorization(&self) -> Result<HeaderValue, CredentialError> {
        let token = composite_token::encode(&credential::read(&self.token)?, &self.cluster_id);
        credential::bearer_of(token.expose())
    }
}
