//! The errors that end a request. `error/status.rs` says how each is answered.

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
