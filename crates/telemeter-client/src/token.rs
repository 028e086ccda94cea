//! Exchanges the cluster token for an access token, and for the labels that every uploaded series must have.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use telemeter_auth::token_response::TokenResponse;
use telemeter_http::{
    client::{Outbound, OutboundError, OutboundRequest},
    clock::Clock,
};
use telemeter_wire::{UPLOAD_ACCEPTS_HEADER, UploadAccepts};
use url::Url;

use crate::{
    config::Credential,
    credential::{self, CredentialError},
    metrics::Metrics,
    refusal::{ServerRefusal, is_from_other_program},
};

/// Cap on the names and values of all labels of an answer together, in bytes.
const MAX_LABEL_BYTES: usize = 4096;
/// An access token is replaced this long before it expires, so that it does not expire during an upload.
const EXPIRY_MARGIN: Duration = Duration::from_secs(15);
/// How long the server may take to answer: it has to ask its authority first.
const DEADLINE: Duration = Duration::from_secs(60);
/// Cap on the answer to `/authorize`.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why there is no access token. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The cluster token cannot be read.
    #[error("the token for the server cannot be used (--to-token-file): {0}")]
    Credential(#[from] CredentialError),
    /// The server did not answer.
    #[error("the server (--to) was not reached to exchange the token: {0}")]
    Unreachable(#[from] OutboundError),
    /// The authority does not know the token, or does not allow it for this cluster.
    #[error("the server refused this cluster's token {0}")]
    Refused(ServerRefusal),
    /// Another program answers at that address.
    #[error("nothing at that address is a telemeter server {0} (is --to right?)")]
    NotAServer(ServerRefusal),
    /// The port expects TLS, and the URL says `http://`.
    #[error("the server speaks TLS on this port: write https:// in --to {0}")]
    WantsHttps(ServerRefusal),
    /// The server answered with another status.
    #[error("the server could not exchange the token {0}")]
    Failed(ServerRefusal),
    /// The answer does not have the form of an answer to `/authorize`.
    #[error("the server's answer to the exchange of the token makes no sense: {0} (is --to a telemeter server?)")]
    Answer(&'static str),
}

impl TokenError {
    /// How long the server asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) | Self::Failed(refusal) | Self::NotAServer(refusal) | Self::WantsHttps(refusal) => {
                refusal.retry_after
            }
            Self::Credential(_) | Self::Unreachable(_) | Self::Answer(_) => None,
        }
    }
}

/// The answer of `/authorize`: the access token of uploads, and the labels that uploads must have.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The value of the `Authorization` header of uploads.
    pub authorization: HeaderValue,
    /// Labels, name and value, that the server requires on every series.
    pub labels: Vec<(String, String)>,
    /// Whether the server accepts native histograms and UTF-8 names.
    pub accepts: UploadAccepts,
    /// From when it is no longer used, in milliseconds of the monotonic clock: if the wall clock is set back, an
    /// expired token must not be used longer.
    expires_ms: i64,
}

/// Requests access tokens, and caches the latest one.
pub struct AccessTokens {
    outbound: Outbound,
    url: Url,
    credential: Credential,
    clock: Clock,
    metrics: Metrics,
    current: Option<AccessToken>,
}

impl AccessTokens {
    /// Exchanges the cluster token `credential` at `url`, which contains the cluster ID.
    pub fn new(outbound: Outbound, url: Url, credential: Credential, clock: Clock, metrics: Metrics) -> Self {
        Self { outbound, url, credential, clock, metrics, current: None }
    }

    /// The cached access token, or a new one where there is none or it expires within 15 s.
    ///
    /// # Errors
    /// [`TokenError`] where a new one is needed and the server gives none.
    pub async fn current(&mut self) -> Result<AccessToken, TokenError> {
        let now_ms = self.clock.monotonic_ms();
        if let Some(token) = self.current.as_ref().filter(|token| now_ms < token.expires_ms) {
            return Ok(token.clone());
        }
        self.current = None;
        let token = self.request_token(now_ms).await?;
        Ok(self.current.insert(token).clone())
    }

    /// Drops the cached access token, after the server refused it.
    pub fn discard(&mut self) {
        self.current = None;
    }

    /// Exchanges the cluster token for an access token, and counts the status in the metrics; does not change the
    /// cached one. `now_ms` is the monotonic time, from which the lifetime is counted, less a margin.
    ///
    /// # Errors
    /// [`TokenError`]: the credential cannot be read, the server does not answer or refuses, or its answer is invalid
    /// or has too long labels.
    async fn request_token(&self, now_ms: i64) -> Result<AccessToken, TokenError> {
        let mut request = OutboundRequest::post(self.url.clone());
        request.headers_mut().insert(header::AUTHORIZATION, credential::bearer(&self.credential)?);
        request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        // The request is safe to send twice: the server only asks its authority again.
        let request = request.with_timeout(DEADLINE);
        let answer = self.outbound.send_idempotent(|| Ok(request.clone()), ANSWER_BYTES).await;
        self.metrics.count_token_request(answer.as_ref().ok().map(|answer| answer.status));
        let answer = answer?;
        if !answer.status.is_success() {
            let refusal = ServerRefusal::of(&answer).with_url(&self.url);
            return Err(match answer.status {
                _ if answer.wants_https() => TokenError::WantsHttps(refusal),
                _ if is_from_other_program(&answer) => TokenError::NotAServer(refusal.with_other_program(&answer)),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::CONFLICT => {
                    TokenError::Refused(refusal)
                }
                _ => TokenError::Failed(refusal),
            });
        }
        let exchange = TokenResponse::from_json(&answer.body).map_err(TokenError::Answer)?;
        // The labels are set on every series, so long ones would make an upload much larger.
        let label_bytes: usize = exchange.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        if label_bytes > MAX_LABEL_BYTES {
            return Err(TokenError::Answer("its labels are longer than 4 KiB"));
        }
        let accepts = answer.headers.get(UPLOAD_ACCEPTS_HEADER).and_then(|value| value.to_str().ok());
        let lifetime_ms = exchange.expires_in_seconds.saturating_mul(1000);
        Ok(AccessToken {
            authorization: credential::bearer_of(exchange.token.expose())?,
            labels: exchange.labels.into_iter().collect(),
            accepts: accepts.map(UploadAccepts::parse).unwrap_or_default(),
            expires_ms: now_ms.saturating_add(lifetime_ms).saturating_sub(EXPIRY_MARGIN.as_millis() as i64),
        })
    }
}
