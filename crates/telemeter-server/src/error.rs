//! The status table: what a caller is answered, in one short line, and what the log says.
//!
//! A sender reads a status as an order: 4xx is dropped for good, 5xx is tried again. So 4xx is only for what can never
//! succeed; every failure that is ours or a dependency's is 503 with `Retry-After`.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use telemeter_auth::Error as AuthError;
use telemeter_fleet::{Reason, ReportRoute};
use telemeter_http::{body::BodyError, instrument::RequestId, panics};
use telemeter_rules::Refusal;
use telemeter_wire::{Error as WireError, exposition::UnknownFormat};

use crate::{
    gateway::Gateway,
    protocol::{put_written, say_nothing_written},
    receive::is_v2,
    sender::{ClusterId, Sender},
};

pub use self::partial::PartialWrite;

mod partial;

/// How long a caller should wait where nobody told us.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// Why a request is not answered with success.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another method than a route takes.
    #[error("the method is not POST")]
    Method,
    /// Who is calling could not be told, or may not call.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A token of ours without the label that names a cluster.
    #[error("the token names no cluster")]
    TokenWithoutCluster,
    /// `/authorize` without a usable `id`.
    #[error("{0}")]
    Form(&'static str),
    /// A Content-Type of neither exposition format.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
    /// Another Content-Type or Content-Encoding than a route takes.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body could not be decoded.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The series make the request be refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Some series make the request be refused; the others were stored (`--partial-writes`).
    #[error("{0}")]
    PartialWrite(Box<PartialWrite>),
    /// This cluster uploaded a moment ago.
    #[error("one upload every {} seconds; the next in {}", .period.as_secs(), seconds(*.retry_after))]
    RateLimited {
        /// Time from one upload to the next.
        period: Duration,
        /// Until the next.
        retry_after: Duration,
    },
    /// The store refused the data for good.
    #[error("the store refused the data with status {status}{}{said}", if .said.is_empty() { "" } else { ": " })]
    StoreRefused {
        /// The store's own: 400, 409, 413 or 422.
        status: StatusCode,
        /// An excerpt of its words; goes to the log alone.
        said: Arc<str>,
    },
    /// The store did not take the data this time.
    #[error("the store did not take the data: {cause}")]
    StoreUnavailable {
        /// What was seen; goes to the log alone.
        cause: String,
        /// What the store asked for, if it did.
        retry_after: Option<Duration>,
    },
    /// Too much waits for the store.
    #[error("too many requests at once")]
    Overloaded,
    /// This cluster has as many requests under way as it may (`--limit-concurrent-per-cluster`).
    #[error("too many requests of this cluster at once")]
    ManyAtOnce,
    /// On the way out.
    #[error("shutting down")]
    Draining,
    /// A bug of ours; the log has a line about it already.
    #[error("a panic")]
    Panic,
}

impl Error {
    /// What the caller is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Auth(error) => auth_status(error),
            Self::TokenWithoutCluster => StatusCode::UNAUTHORIZED,
            Self::Form(_) | Self::Refused(_) | Self::PartialWrite(_) | Self::Body(BodyError::Malformed(_)) => {
                StatusCode::BAD_REQUEST
            }
            Self::Format(UnknownFormat) | Self::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Wire(WireError::TooLong { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Wire(
                WireError::Snappy(_)
                | WireError::Protobuf(_)
                | WireError::Text { .. }
                | WireError::DuplicateLabel { .. }
                | WireError::NotUtf8(_)
                | WireError::Reference(_)
                | WireError::Limit { .. },
            ) => StatusCode::BAD_REQUEST,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::StoreRefused { status, .. } => *status,
            // A caller that drips may have a slow network: what it sends is not wrong.
            Self::Body(BodyError::Timeout | BodyError::TooSlow { .. } | BodyError::Aborted(_) | BodyError::NoRoom)
            | Self::StoreUnavailable { .. }
            | Self::Overloaded
            | Self::ManyAtOnce
            | Self::Draining => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panic => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// How long the caller should wait; told with 429 and 503.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {}
            _ => return None,
        }
        Some(match self {
            Self::Auth(AuthError::RateLimited { retry_after } | AuthError::TooManyQuestions { retry_after, .. })
            | Self::RateLimited { retry_after, .. } => *retry_after,
            Self::Auth(AuthError::AuthorityUnavailable { retry_after, .. })
            | Self::StoreUnavailable { retry_after, .. } => retry_after.unwrap_or(RETRY_AFTER),
            Self::Overloaded | Self::ManyAtOnce | Self::Draining | Self::Body(BodyError::NoRoom) => {
                Duration::from_secs(5)
            }
            _ => RETRY_AFTER,
        })
    }

    /// What the caller reads: short, and no word of an upstream's.
    #[must_use]
    pub fn body(&self) -> String {
        match self {
            Self::Auth(error) => auth_body(error),
            Self::StoreRefused { status, .. } => format!("the store refused the data with status {status}"),
            Self::StoreUnavailable { .. } => "the store did not take the data; try again later".to_owned(),
            Self::Overloaded | Self::Body(BodyError::NoRoom) => "too many requests at once; try again later".to_owned(),
            Self::ManyAtOnce => "too many requests of this cluster at once; try again later".to_owned(),
            Self::Draining => "shutting down; try again".to_owned(),
            Self::Panic => "internal error".to_owned(),
            Self::Body(BodyError::Malformed(_)) => "the framing of the body is malformed".to_owned(),
            Self::Body(BodyError::Timeout | BodyError::TooSlow { .. } | BodyError::Aborted(_)) => {
                "the body did not arrive in time; try again".to_owned()
            }
            Self::Method
            | Self::TokenWithoutCluster
            | Self::Form(_)
            | Self::Format(_)
            | Self::Unsupported(_)
            | Self::Body(BodyError::TooLarge { .. })
            | Self::Wire(_)
            | Self::Refused(_)
            | Self::PartialWrite(_)
            | Self::RateLimited { .. } => self.to_string(),
        }
    }

    /// Why, in one word of a closed set: the same in metrics, in the log, on pages and in the API.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Auth(error) => match error {
                AuthError::CredentialsMissing | AuthError::CredentialsMalformed(_) | AuthError::CompositeToken(_) => {
                    Reason::Credentials
                }
                AuthError::Token(_) => Reason::Token,
                AuthError::Refused { .. } => Reason::AuthorityRefused,
                AuthError::RateLimited { .. } => Reason::AuthorityRateLimited,
                AuthError::AuthorityUnavailable { .. } => Reason::AuthorityUnavailable,
                AuthError::TooManyQuestions { .. } => Reason::Overloaded,
                AuthError::ProviderUnavailable { .. } | AuthError::Key(_) | AuthError::Tokens(_) => Reason::Internal,
            },
            Self::TokenWithoutCluster => Reason::Token,
            Self::Form(_) => Reason::Form,
            Self::Method => Reason::Method,
            Self::Format(_) | Self::Unsupported(_) => Reason::Unsupported,
            Self::Body(BodyError::TooLarge { .. }) | Self::Wire(WireError::TooLong { .. }) => Reason::TooLarge,
            Self::Body(BodyError::Timeout | BodyError::TooSlow { .. } | BodyError::Aborted(_)) => Reason::Body,
            Self::Body(BodyError::Malformed(_)) => Reason::Framing,
            Self::Wire(WireError::Limit { .. }) => Reason::Limit,
            Self::Wire(WireError::DuplicateLabel { .. }) => Reason::Labels,
            Self::Wire(
                WireError::Snappy(_)
                | WireError::Protobuf(_)
                | WireError::Text { .. }
                | WireError::NotUtf8(_)
                | WireError::Reference(_),
            ) => Reason::Undecodable,
            Self::Refused(refusal) => refusal_reason(refusal),
            Self::PartialWrite(partial) => partial.refusal().map_or(Reason::Undecodable, refusal_reason),
            Self::RateLimited { .. } => Reason::RateLimited,
            Self::StoreRefused { .. } => Reason::StoreRefused,
            Self::StoreUnavailable { .. } => Reason::StoreUnavailable,
            Self::Body(BodyError::NoRoom) | Self::Overloaded => Reason::Overloaded,
            Self::ManyAtOnce => Reason::Concurrency,
            Self::Draining => Reason::Draining,
            Self::Panic => Reason::Internal,
        }
    }

    /// Whether the operator has to look after it, rather than whoever sends.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.status().is_server_error()
    }
}

fn refusal_reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::NoName
        | Refusal::LabelTwice { .. }
        | Refusal::SeriesBecomeOne { .. }
        | Refusal::LabelsBecomeOne { .. } => Reason::Labels,
        Refusal::LabelMissing { .. } | Refusal::LabelValue { .. } => Reason::Identity,
        Refusal::NoTimestamp | Refusal::Unsorted | Refusal::TooOld { .. } | Refusal::TooFarAhead { .. } => {
            Reason::Timestamps
        }
        Refusal::NoValue | Refusal::Histogram { .. } => Reason::Undecodable,
    }
}

fn auth_status(error: &AuthError) -> StatusCode {
    match error {
        AuthError::CredentialsMissing | AuthError::CredentialsMalformed(_) | AuthError::Token(_) => {
            StatusCode::UNAUTHORIZED
        }
        AuthError::CompositeToken(_) => StatusCode::BAD_REQUEST,
        AuthError::Refused { status, .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::FORBIDDEN),
        AuthError::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
        AuthError::AuthorityUnavailable { .. }
        | AuthError::TooManyQuestions { .. }
        | AuthError::ProviderUnavailable { .. }
        | AuthError::Key(_)
        | AuthError::Tokens(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn auth_body(error: &AuthError) -> String {
    match error {
        AuthError::CredentialsMissing
        | AuthError::CredentialsMalformed(_)
        | AuthError::CompositeToken(_)
        | AuthError::Token(_) => error.to_string(),
        AuthError::Refused { status: 401, .. } => "the authority does not know this token".to_owned(),
        AuthError::Refused { status: 403, .. } => "the authority does not allow this cluster".to_owned(),
        AuthError::Refused { status: 404, .. } => "the authority does not know this cluster".to_owned(),
        AuthError::Refused { status: 409, .. } => "the authority knows this cluster under another token".to_owned(),
        AuthError::Refused { status, .. } => format!("the authority refused with status {status}"),
        AuthError::RateLimited { .. } => "too many requests for this cluster; try again later".to_owned(),
        AuthError::TooManyQuestions { .. } => "too many requests at once; try again later".to_owned(),
        AuthError::AuthorityUnavailable { .. } => "who is calling cannot be found out now; try again later".to_owned(),
        AuthError::ProviderUnavailable { .. } => "the store cannot be reached now; try again later".to_owned(),
        AuthError::Key(_) | AuthError::Tokens(_) => "a failure of ours; try again later".to_owned(),
    }
}

/// Whole seconds, rounded up, at least one: what `Retry-After` can say.
fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// An error, and the cluster whose request it ended.
#[derive(Debug)]
pub struct RequestError {
    /// What went wrong.
    pub error: Error,
    /// As far as it is known by then.
    pub cluster: ClusterId,
}

impl RequestError {
    /// Of a cluster whose credentials were accepted.
    pub fn verified(cluster: &str, error: impl Into<Error>) -> Self {
        Self { error: error.into(), cluster: ClusterId::Verified(cluster.into()) }
    }

    /// Of a caller who gave this ID, with credentials that were not accepted; an empty one is none.
    pub fn claimed(cluster: &str, error: impl Into<Error>) -> Self {
        let cluster = if cluster.is_empty() { ClusterId::Unknown } else { ClusterId::Claimed(cluster.into()) };
        Self { error: error.into(), cluster }
    }
}

impl<E: Into<Error>> From<E> for RequestError {
    /// Of nobody who is known.
    fn from(error: E) -> Self {
        Self { error: error.into(), cluster: ClusterId::Unknown }
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let mut response = self.error.status().into_response();
        if let Some(retry_after) = self.error.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds(retry_after)));
        }
        if let Error::PartialWrite(partial) = &self.error
            && let Some(written) = partial.written()
        {
            put_written(response.headers_mut(), written);
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// A layer around the handler of a route: writes the line of each error that it answered with, and notes the refusal. An answer
/// to remote write 2.0 says what was written.
pub async fn explain(State((gateway, route)): State<(Gateway, ReportRoute)>, request: Request, next: Next) -> Response {
    let is_v2 = route == ReportRoute::Receive && is_v2(request.headers());
    let mut response = explained(&gateway, route, request, next).await;
    if is_v2 {
        say_nothing_written(response.headers_mut());
    }
    response
}

async fn explained(gateway: &Gateway, route: ReportRoute, request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().copied();
    let sender = Sender::of(&request);
    let mut response = panics::caught(next.run(request)).await;
    let refused = match response.extensions_mut().remove::<Arc<RequestError>>() {
        Some(refused) => refused,
        None if response.status() == StatusCode::INTERNAL_SERVER_ERROR => Arc::new(Error::Panic.into()),
        None => return response,
    };
    let (error, id) = (&refused.error, id.as_ref().map_or("-", RequestId::as_str));
    gateway.refused(route, &sender, &refused);
    *response.body_mut() = Body::from(format!("{} (request {id})\n", error.body()));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    if matches!(
        error,
        Error::Auth(AuthError::CredentialsMissing | AuthError::CredentialsMalformed(_) | AuthError::Token(_))
    ) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests;
