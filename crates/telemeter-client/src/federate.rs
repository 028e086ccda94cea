//! Scrapes a Prometheus with `GET /federate`, and reads the answer in chunks as it arrives.

use http::{HeaderValue, StatusCode, header};
use telemeter_http::client::{OpenAnswer, Outbound, OutboundError, OutboundRequest};
use telemeter_wire::{excerpt, exposition::ExpositionFormat};
use url::Url;

use crate::{
    config::{Config, Credential},
    credential::{self, CredentialError},
    matches::Selectors,
    metrics::Metrics,
    refusal::ServerRefusal,
};

/// The formats that the scrape asks for. Protobuf is preferred, because it is cheaper to decode and only it has native
/// histograms. Without `escaping`, Prometheus escapes names outside the old character set.
const ACCEPT: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
                      text/plain;version=0.0.4;q=0.3";
/// As [`ACCEPT`], but the source sends names unescaped where it can; the media ranges without `escaping` are for
/// sources that do not know this parameter.
const ACCEPT_UTF8: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8;q=0.8,\
     application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,\
     text/plain;version=0.0.4;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3";
/// How many bytes are read of an answer with a status other than 200, to show its first line.
const REFUSAL_BYTES: usize = 4096;

/// Why a scrape failed. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FederateError {
    /// The bearer token cannot be read.
    #[error("the token for Prometheus cannot be used: {0}")]
    Credential(#[from] CredentialError),
    /// There was no answer, or it ended early.
    #[error("Prometheus was not reached: {0}")]
    Unreachable(OutboundError),
    /// The answer is over `--limit-bytes`.
    #[error("Prometheus answered with more than {limit_bytes} bytes: raise --limit-bytes, or narrow --match")]
    TooLarge {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// Prometheus, or a proxy in front of it, refused the credentials.
    #[error("Prometheus did not let us in {0}; see --from-token-file and --tls-cert-file")]
    Refused(ServerRefusal),
    /// Prometheus answered with another status.
    #[error("Prometheus did not answer the scrape {0}")]
    Failed(ServerRefusal),
    /// The answer is not in the format that its Content-Type says.
    #[error("the metrics of Prometheus cannot be read: {0}")]
    Decode(telemeter_wire::Error),
    /// The Content-Type of the answer is not a metrics format, and the body cannot be read as the text format.
    #[error("the answer is no metrics: {content_type}, and read as text: {error} (is --from a Prometheus?)")]
    NoMetrics {
        /// The Content-Type for the message, like `Content-Type: text/html`, or `no Content-Type`.
        content_type: String,
        /// Why the body cannot be read as the text format.
        error: telemeter_wire::Error,
    },
}

impl FederateError {
    /// How long Prometheus, or a proxy in front of it, asks to wait before the next try.
    pub(crate) fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Failed(refusal) | Self::Refused(refusal) => refusal.retry_after,
            Self::Credential(_)
            | Self::Unreachable(_)
            | Self::TooLarge { .. }
            | Self::NoMetrics { .. }
            | Self::Decode(_) => None,
        }
    }
}

impl From<OutboundError> for FederateError {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::TooLarge { cap_bytes, .. } => Self::TooLarge { limit_bytes: cap_bytes },
            other => Self::Unreachable(other),
        }
    }
}

/// Scrapes one Prometheus.
pub(crate) struct Federate {
    outbound: Outbound,
    url: Url,
    token: Option<Credential>,
    limit_bytes: usize,
    metrics: Metrics,
    /// The problem with the first selector that cannot be parsed.
    selector_problem: Option<String>,
}

/// A scrape with a body that is being read.
pub(crate) struct Scrape {
    /// The format of the body.
    pub(crate) format: ExpositionFormat,
    /// The Content-Type, where it does not name a known format.
    unknown_type: Option<String>,
    opened: OpenAnswer,
}

/// The headers of an answer that the client uses.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The Content-Type as text; `no Content-Type` where there is none.
    pub(crate) content_type: String,
    /// The `Date` of the answer, in Unix milliseconds.
    pub(crate) date_ms: Option<i64>,
}

impl Scrape {
    /// The headers of the answer that the client uses.
    pub(crate) fn head(&self) -> Head {
        let header = |name| self.opened.headers.get(name);
        let date = header(header::DATE).and_then(|date| date.to_str().ok());
        Head {
            content_type: header(header::CONTENT_TYPE)
                .map_or_else(|| "no Content-Type".to_owned(), |value| excerpt(value.as_bytes())),
            date_ms: date.and_then(telemeter_http::clock::http_date_ms),
        }
    }

    /// The next chunk of the body; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<bytes::Bytes>, FederateError> {
        Ok(self.opened.chunk().await?)
    }

    /// The error of a scrape with a body that cannot be decoded.
    pub(crate) fn undecodable(&self, error: telemeter_wire::Error) -> FederateError {
        match self.unknown_type.clone() {
            Some(content_type) => FederateError::NoMetrics { content_type, error },
            None => FederateError::Decode(error),
        }
    }
}

impl Federate {
    /// Scrapes the series that `selectors` select.
    pub(crate) fn new(config: &Config, selectors: &Selectors, outbound: Outbound, metrics: Metrics) -> Self {
        let mut url = config.from.url.clone();
        url.query_pairs_mut().extend_pairs(selectors.texts().map(|selector| ("match[]", selector)));
        let (token, limit_bytes) = (config.from.token.clone(), config.limit_bytes);
        Self { outbound, url, token, limit_bytes, metrics, selector_problem: selectors.first_problem() }
    }

    /// Sends the request and reads the head of the answer. With `utf8_names` the source may send names with any
    /// characters.
    ///
    /// # Errors
    /// [`FederateError`] where there is no answer, or one with a status other than 200.
    pub(crate) async fn open(&self, utf8_names: bool) -> Result<Scrape, FederateError> {
        let mut request = OutboundRequest::get(self.url.clone());
        request
            .headers_mut()
            .insert(header::ACCEPT, HeaderValue::from_static(if utf8_names { ACCEPT_UTF8 } else { ACCEPT }));
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, credential::bearer(token)?);
        }
        let opened = self.outbound.open(request, self.limit_bytes).await;
        self.metrics.count_scrape_request(opened.as_ref().ok().map(|opened| opened.status));
        let mut opened = opened?;
        if opened.status == StatusCode::OK {
            let content_type = opened.headers.get(header::CONTENT_TYPE);
            let (format, is_known) = ExpositionFormat::of_scrape(content_type.and_then(|value| value.to_str().ok()));
            let unknown_type = (!is_known).then(|| match content_type {
                Some(value) => format!("Content-Type: {}", excerpt(value.as_bytes())),
                None => "no Content-Type".to_owned(),
            });
            return Ok(Scrape { format, unknown_type, opened });
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = opened.chunk().await {
            body.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES - body.len())]);
            if body.len() == REFUSAL_BYTES {
                break;
            }
        }
        let mut refusal = ServerRefusal::new(opened.status, &body, opened.retry_after());
        if let Some(problem) = self.selector_problem.as_ref().filter(|_| opened.status == StatusCode::BAD_REQUEST) {
            refusal.line = format!("{}; {problem}", refusal.line);
        }
        let refusal = refusal.with_redirect(opened.redirect_target().as_deref()).with_path(opened.through());
        Err(match opened.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FederateError::Refused(refusal),
            _ => FederateError::Failed(refusal),
        })
    }
}
