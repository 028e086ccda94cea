//! How a cycle ends: a report, or why it failed; and why a worker cannot be built.

use std::time::Duration;

use telemeter_http::{client::OutboundError, file::FileError};
use telemeter_wire::UploadCounts;

use crate::{
    credential::CredentialError, federate::FederateError, pipeline::LeftOut, remote_write::RemoteWriteError,
    token::TokenError, upload::UploadError,
};

/// The result of a cycle that did not fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CycleReport {
    /// Series that Prometheus answered with.
    pub scraped: usize,
    /// Series that the rules kept.
    pub kept: usize,
    /// Series that are not uploaded, by reason.
    pub left_out: LeftOut,
    /// Age of the newest sample of the scrape, by the client's clock; negative for a time in the future.
    pub newest_age_ms: Option<i64>,
    /// Series that the server accepted: all of `kept`, or 0 where nothing was uploaded.
    pub uploaded: usize,
    /// What the server did with them; `None` where its answer does not say.
    pub counts: Option<UploadCounts>,
    /// Size of the upload, compressed, in bytes.
    pub bytes: usize,
    /// How long the cycle took.
    pub took: Duration,
}

/// Why a cycle failed. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// The scrape failed.
    #[error(transparent)]
    Federate(#[from] FederateError),
    /// The exchange of the token failed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The upload failed.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// Remote write, in place of the exchange and the upload, failed.
    #[error(transparent)]
    RemoteWrite(#[from] RemoteWriteError),
}

impl CycleError {
    /// How long to wait before the next try, where the server or Prometheus answered with `Retry-After`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Federate(error) => error.retry_after(),
            Self::Token(error) => error.retry_after(),
            Self::Upload(error) => error.retry_after(),
            Self::RemoteWrite(error) => error.retry_after(),
        }
    }
}

/// Why a worker cannot be built: a file that its configuration names is missing or wrong.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Of the connection to Prometheus: `--from-ca-file`, `--tls-cert-file`, `--tls-private-key-file`.
    #[error("the connection to Prometheus cannot be set up: {0}")]
    From(#[source] OutboundError),
    /// Of the connection to the server: `--to-ca-file`.
    #[error("the connection to the server cannot be set up: {0}")]
    To(#[source] OutboundError),
    /// `--match-file`.
    #[error("--match-file: {0}")]
    MatchFile(#[from] FileError),
    /// `--from-token-file`.
    #[error("--from-token-file: {0}")]
    FromToken(#[source] CredentialError),
    /// `--to-token-file`.
    #[error("--to-token-file: {0}")]
    ToToken(#[source] CredentialError),
    /// `--anonymize-salt-file`.
    #[error("--anonymize-salt-file: {0}")]
    Salt(#[source] CredentialError),
}
