//! Sends `POST /upload`: a framed snappy stream of delimited protobuf, with the access token from `/authorize`.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use telemeter_http::client::{Outbound, OutboundError, OutboundRequest};
use telemeter_wire::{UPLOAD_COUNTS_HEADER, UploadCounts, exposition::DELIMITED_CONTENT_TYPE};
use url::Url;

use crate::{
    metrics::Metrics,
    refusal::{ServerRefusal, is_from_other_program},
    token::AccessToken,
};

/// Cap on the answer to an upload, in bytes; only its first line is shown.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why the server did not accept an upload.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The server did not answer.
    #[error("the server (--to) was not reached to upload: {0}")]
    Unreachable(#[from] OutboundError),
    /// The access token that the server gave is no longer valid.
    #[error("the server refused the token that it gave us itself {0}")]
    Unauthorized(ServerRefusal),
    /// The client uploads too often.
    #[error("the server asks us to come less often {0}")]
    TooOften(ServerRefusal),
    /// The upload is larger than the server allows.
    #[error(
        "the upload of {bytes} bytes is larger than the server takes {refusal}; narrow --match, or raise the server's --limit-bytes"
    )]
    TooLarge {
        /// The size of the upload, compressed.
        bytes: usize,
        /// The answer of the server.
        refusal: ServerRefusal,
    },
    /// The server refuses the metrics: sending them again will not help.
    #[error("the server refused the metrics {0}")]
    Refused(ServerRefusal),
    /// The program that answered is not a telemeter server.
    #[error("nothing at that address is a telemeter server {0} (is --to, or --to-upload, right?)")]
    NotAServer(ServerRefusal),
    /// The server, or a proxy or store that it depends on, has a problem of its own.
    #[error("the server could not take the metrics now {0}")]
    Failed(ServerRefusal),
}

impl UploadError {
    /// How long the server asks to wait before the next upload.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable(_) => None,
            Self::Unauthorized(refusal)
            | Self::TooOften(refusal)
            | Self::TooLarge { refusal, .. }
            | Self::Refused(refusal)
            | Self::NotAServer(refusal)
            | Self::Failed(refusal) => refusal.retry_after,
        }
    }
}

/// Sends uploads to one server.
#[derive(Clone)]
pub struct Uploads {
    outbound: Outbound,
    url: Url,
    metrics: Metrics,
}

impl Uploads {
    /// Uploads to `url`.
    pub fn new(outbound: Outbound, url: Url, metrics: Metrics) -> Self {
        Self { outbound, url, metrics }
    }

    /// Sends `body`, a framed snappy stream of delimited families, with the access token `access_token`. Returns how many of
    /// its series the server kept and dropped, or `None` where the answer does not say: a Go server never says.
    pub async fn send(&self, access_token: &AccessToken, body: Bytes) -> Result<Option<UploadCounts>, UploadError> {
        let bytes = body.len();
        let mut request = OutboundRequest::post(self.url.clone());
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(DELIMITED_CONTENT_TYPE));
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(header::AUTHORIZATION, access_token.authorization.clone());
        *request.body_mut() = Some(body);
        let answer = self.outbound.send(request, ANSWER_BYTES).await;
        self.metrics.count_upload_request(answer.as_ref().ok().map(|answer| answer.status));
        let answer = answer?;
        if answer.status.is_success() {
            let counts = answer.headers.get(UPLOAD_COUNTS_HEADER).and_then(|value| value.to_str().ok());
            return Ok(counts.and_then(UploadCounts::parse));
        }
        let refusal = ServerRefusal::of(&answer).with_url(&self.url);
        Err(match answer.status {
            _ if is_from_other_program(&answer) => UploadError::NotAServer(refusal.with_other_program(&answer)),
            StatusCode::UNAUTHORIZED => UploadError::Unauthorized(refusal),
            StatusCode::TOO_MANY_REQUESTS => UploadError::TooOften(refusal),
            StatusCode::PAYLOAD_TOO_LARGE => UploadError::TooLarge { bytes, refusal },
            status if status.is_client_error() => UploadError::Refused(refusal),
            _ => UploadError::Failed(refusal),
        })
    }
}
