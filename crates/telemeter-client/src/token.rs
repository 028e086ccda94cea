//! The grant: our token exchanged for a short-lived one, and the labels that uploads must carry.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};
use telemeter_auth::token_response::TokenResponse;
use telemeter_http::{
    client::{Outbound, OutboundError, OutboundRequest},
    clock::Clock,
};
use telemeter_wire::{NativeHistograms, UPLOAD_ACCEPTS_HEADER, accepts_native_histograms};
use url::Url;

use crate::{
    config::Credential,
    credential::{self, CredentialError},
    metrics::Metrics,
    refusal::{ServerRefusal, is_of_another_program},
};

/// The labels of a grant, together.
const MAX_LABEL_BYTES: usize = 4096;
/// A grant is not used in its last seconds: it would end under way.
const SPARE: Duration = Duration::from_secs(15);
/// How long the server may take to answer; it may wait as long for its authority itself.
const DEADLINE: Duration = Duration::from_secs(60);
/// Cap on the answer to `/authorize`.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why there is no grant.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The token that is exchanged cannot be read.
    #[error("the token for the server cannot be used (--to-token-file): {0}")]
    Credential(#[from] CredentialError),
    /// No answer.
    #[error("the server (--to) was not reached to exchange the token: {0}")]
    Unreachable(#[from] OutboundError),
    /// The server does not know the token, or not for this cluster.
    #[error("the server refused this cluster's token {0}")]
    Refused(ServerRefusal),
    /// What answered is no telemeter server.
    #[error("nothing at that address is a telemeter server {0} (is --to right?)")]
    NotAServer(ServerRefusal),
    /// The port speaks TLS, and was asked in plain HTTP.
    #[error("the server speaks TLS on this port: write https:// in --to {0}")]
    WantsHttps(ServerRefusal),
    /// The server answered with something else.
    #[error("the server could not exchange the token {0}")]
    Failed(ServerRefusal),
    /// The answer is not a grant.
    #[error("the server's answer to the exchange of the token makes no sense: {0} (is --to a telemeter server?)")]
    Answer(&'static str),
}

impl TokenError {
    /// When the server wants to see us again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) | Self::Failed(refusal) | Self::NotAServer(refusal) | Self::WantsHttps(refusal) => {
                refusal.retry_after
            }
            Self::Credential(_) | Self::Unreachable(_) | Self::Answer(_) => None,
        }
    }
}

/// What the server granted.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// The `Authorization` header of uploads.
    pub authorization: HeaderValue,
    /// What uploads must carry.
    pub labels: Vec<(String, String)>,
    /// What native histograms become for this server.
    pub native: NativeHistograms,
    /// On the monotonic clock: a wall clock that is set back must not keep a grant that has ended.
    until_ms: i64,
}

/// Asks for grants, and keeps the last.
pub struct AccessTokens {
    outbound: Outbound,
    url: Url,
    credential: Credential,
    clock: Clock,
    metrics: Metrics,
    current: Option<AccessToken>,
}

impl AccessTokens {
    /// Exchanges `credential` at `url`, which names the cluster.
    pub fn new(outbound: Outbound, url: Url, credential: Credential, clock: Clock, metrics: Metrics) -> Self {
        Self { outbound, url, credential, clock, metrics, current: None }
    }

    /// The grant that is kept, or a new one.
    pub async fn grant(&mut self) -> Result<AccessToken, TokenError> {
        let now_ms = self.clock.monotonic_ms();
        if let Some(grant) = self.current.as_ref().filter(|grant| now_ms < grant.until_ms) {
            return Ok(grant.clone());
        }
        self.current = None;
        let grant = self.ask(now_ms).await?;
        Ok(self.current.insert(grant).clone())
    }

    /// Forgets the grant that is kept: the server no longer takes it.
    pub fn forget(&mut self) {
        self.current = None;
    }

    async fn ask(&self, now_ms: i64) -> Result<AccessToken, TokenError> {
        let mut request = OutboundRequest::post(self.url.clone());
        request.headers_mut().insert(header::AUTHORIZATION, credential::bearer(&self.credential)?);
        request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        // It may arrive twice: the server asks its authority again, and nothing else comes of it.
        let request = request.with_timeout(DEADLINE);
        let answer = self.outbound.send_idempotent(|| Ok(request.clone()), ANSWER_BYTES).await;
        self.metrics.authorized(answer.as_ref().ok().map(|answer| answer.status));
        let answer = answer?;
        if !answer.status.is_success() {
            let refusal = ServerRefusal::of(&answer).with_asked(&self.url);
            return Err(match answer.status {
                _ if answer.wants_https() => TokenError::WantsHttps(refusal),
                _ if is_of_another_program(&answer) => TokenError::NotAServer(refusal.with_what_is_there(&answer)),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::CONFLICT => {
                    TokenError::Refused(refusal)
                }
                _ => TokenError::Failed(refusal),
            });
        }
        let exchange = TokenResponse::from_json(&answer.body).map_err(TokenError::Answer)?;
        // They stand on every series: a few long ones would make an upload of any size.
        let label_bytes: usize = exchange.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        if label_bytes > MAX_LABEL_BYTES {
            return Err(TokenError::Answer("its labels are longer than 4 KiB"));
        }
        let accepts = answer.headers.get(UPLOAD_ACCEPTS_HEADER).and_then(|value| value.to_str().ok());
        let native = match accepts {
            Some(accepts) if accepts_native_histograms(accepts) => NativeHistograms::Keep,
            _ => NativeHistograms::AsClassic,
        };
        let lasts_ms = exchange.expires_in_seconds.saturating_mul(1000);
        Ok(AccessToken {
            authorization: credential::bearer_of(exchange.token.expose())?,
            labels: exchange.labels.into_iter().collect(),
            native,
            until_ms: now_ms.saturating_add(lasts_ms).saturating_sub(SPARE.as_millis() as i64),
        })
    }
}
