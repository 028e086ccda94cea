//! The errors that end a request. `error/status.rs` is the table of how each is answered.

mod partial;
mod status;

use std::{sync::Arc, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use telemeter_auth::Error as AuthError;
use telemeter_http::body::BodyError;
use telemeter_rules::Refusal;
use telemeter_wire::{Error as WireError, exposition::UnknownFormat};

pub use self::{partial::PartialWrite, status::StatusRow};
use crate::sender::ClusterId;

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The method is not the one of the route.
    #[error("the method is not POST")]
    Method,
    /// The caller could not be verified, or may not report.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// An access token without the partition label.
    #[error("the token names no cluster")]
    TokenWithoutCluster,
    /// The `id` of `/authorize` is missing or not valid.
    #[error("{0}")]
    Form(&'static str),
    /// The Content-Type is of neither exposition format.
    #[error(transparent)]
    Format(#[from] UnknownFormat),
    /// The route does not accept the Content-Type or the Content-Encoding.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body could not be decoded.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The rules refuse a series, and with it the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The rules refuse some series; the others were stored (`--partial-writes`).
    #[error("{0}")]
    PartialWrite(Box<PartialWrite>),
    /// The cluster uploaded less than `--ratelimit` ago.
    #[error("one upload every {} seconds; the next in {}", .period.as_secs(), seconds(*.retry_after))]
    RateLimited {
        /// Time from one upload to the next.
        period: Duration,
        /// Time until the next upload.
        retry_after: Duration,
    },
    /// The store refused the data for good.
    #[error("the store refused the data with status {status}{}{store_message}", if .store_message.is_empty() { "" } else { ": " })]
    StoreRefused {
        /// The store's status: 400, 409, 413 or 422.
        status: StatusCode,
        /// An excerpt of the store's response, for the log alone.
        store_message: Arc<str>,
    },
    /// The store did not take the data this time.
    #[error("the store did not take the data: {cause}")]
    StoreUnavailable {
        /// What happened, for the log alone.
        cause: String,
        /// The wait that the store asked for; `None` where it asked for none.
        retry_after: Option<Duration>,
    },
    /// Too much waits for the store, or there is no memory left.
    #[error("too many requests at once")]
    Overloaded,
    /// The cluster has as many requests under way as it may have (`--limit-concurrent-per-cluster`).
    #[error("too many requests of this cluster at once")]
    ManyAtOnce,
    /// The server shuts down.
    #[error("shutting down")]
    Draining,
    /// The handler panicked; the panic is in the log already.
    #[error("a panic")]
    Panic,
}

/// A duration as `Retry-After` writes it: whole seconds, rounded up, at least one.
fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// An error, and the cluster whose request it ended.
#[derive(Debug)]
pub struct RequestError {
    /// What went wrong.
    pub error: Error,
    /// The cluster, as far as it was known when the request failed.
    pub cluster: ClusterId,
}

impl RequestError {
    /// The error of a request whose credentials were accepted.
    pub fn verified(cluster: &str, error: impl Into<Error>) -> Self {
        Self { error: error.into(), cluster: ClusterId::Verified(cluster.into()) }
    }

    /// The error of a request that claimed this cluster, and whose credentials were not accepted; an empty ID is none.
    pub fn claimed(cluster: &str, error: impl Into<Error>) -> Self {
        let cluster = if cluster.is_empty() { ClusterId::Unknown } else { ClusterId::Claimed(cluster.into()) };
        Self { error: error.into(), cluster }
    }
}

impl<E: Into<Error>> From<E> for RequestError {
    /// The error of a request that named no cluster.
    fn from(error: E) -> Self {
        Self { error: error.into(), cluster: ClusterId::Unknown }
    }
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let StatusRow { status, retry_after, .. } = self.error.row();
        let mut response = status.into_response();
        if let Some(retry_after) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds(retry_after)));
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[cfg(test)]
mod tests;
