//! The errors of outbound calls, as text for a log.

use std::time::Duration;

pub(crate) use crate::file::io_error_text;

/// The reason for which a call got no response.
///
/// `Display` names the step that failed, the target (without user, password and query) and the path: directly, or
/// through a proxy and the variable that names it. It contains no token and no body.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutboundError {
    /// The configuration is wrong: a file that is missing or invalid, a proxy variable, or a URL that is neither `http`
    /// nor `https`.
    #[error("{0}")]
    Setup(String),
    /// The deadline of the response passed.
    #[error("{0}")]
    Timeout(String),
    /// There was no connection in time. It is still completed, for the next call.
    #[error("{0}")]
    ConnectTimeout(String),
    /// The connection failed: it was refused, the name does not exist, a proxy refused, or the certificate is not
    /// trusted.
    #[error("{0}")]
    Connect(String),
    /// The response is longer than the cap.
    #[error("the answer of {target} is longer than {cap_bytes} bytes")]
    TooLarge {
        /// The cap; a response of exactly this length is within it.
        cap_bytes: usize,
        /// The URL of the request, without secrets.
        target: String,
    },
    /// The connection broke, or the response is not HTTP.
    #[error("{0}")]
    Broken(String),
    /// A redirect cannot be followed, or there were too many of them.
    #[error("{0}")]
    Redirect(String),
}

impl OutboundError {
    /// Whether the response to a plain HTTP request was not HTTP: the server may speak TLS.
    pub fn is_not_http(&self) -> bool {
        matches!(self, Self::Broken(text) if text.contains(super::words::NOT_HTTP))
    }

    /// A short name of the error from a closed set, for the label of a metric.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Setup(_) => "setup",
            Self::Timeout(_) | Self::ConnectTimeout(_) => "timeout",
            Self::Connect(_) => "connect",
            Self::TooLarge { .. } => "too_large",
            Self::Broken(_) => "broken",
            Self::Redirect(_) => "redirect",
        }
    }

    /// Appends a text on what led to the call that failed; `TooLarge` has no text, and stays as it is.
    pub(super) fn with_context(self, context: &str) -> Self {
        let with = |text: String| format!("{text}; {context}");
        match self {
            Self::Setup(text) => Self::Setup(with(text)),
            Self::Timeout(text) => Self::Timeout(with(text)),
            Self::ConnectTimeout(text) => Self::ConnectTimeout(with(text)),
            Self::Connect(text) => Self::Connect(with(text)),
            Self::Broken(text) => Self::Broken(with(text)),
            Self::Redirect(text) => Self::Redirect(with(text)),
            Self::TooLarge { .. } => self,
        }
    }
}

/// The reason why there is no connection. Each request that waited for the connection gets the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectError {
    pub(super) is_timeout: bool,
    /// The step and the cause: `looking up store.example: no such name`.
    pub(super) text: String,
    /// Advice on what to do; may be empty.
    pub(super) advice: &'static str,
}

impl ConnectError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { is_timeout: false, text: text.into(), advice: "" }
    }

    pub(super) fn timeout(text: impl Into<String>) -> Self {
        Self { is_timeout: true, text: text.into(), advice: "" }
    }

    /// Adds the advice.
    pub(super) fn advise(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }
}

/// A deadline as text: `5 s`, `200 ms`.
pub(super) fn seconds(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{} s", duration.as_secs()),
        _ => format!("{} ms", duration.as_millis()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(seconds(Duration::from_secs(30)), "30 s");
        assert_eq!(seconds(Duration::from_millis(1500)), "1500 ms");
        let error = std::io::Error::from_raw_os_error(111);
        assert_eq!(io_error_text(&error), "Connection refused");
        assert_eq!(io_error_text(&std::io::Error::other("odd")), "odd");
    }
}
