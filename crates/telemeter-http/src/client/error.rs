//! Why an outbound call brought no answer, in words for a log.

use std::time::Duration;

pub(crate) use crate::file::io_words;

/// Why a call brought no answer.
///
/// `Display` says which step failed, for which target (without user, password and query) and on which path: directly, or
/// through which proxy of which variable. It holds no token and no body.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutboundError {
    /// The configuration cannot work: a file is missing or wrong, a proxy variable, a URL that is not HTTP's.
    #[error("{0}")]
    Setup(String),
    /// The deadline of the answer passed.
    #[error("{0}")]
    Timeout(String),
    /// There was no connection in time. It goes on being made, for the next call.
    #[error("{0}")]
    ConnectTimeout(String),
    /// No connection came about: refused, no such name, a proxy that refuses, or a certificate that is not trusted.
    #[error("{0}")]
    Connect(String),
    /// The answer is longer than the cap.
    #[error("the answer of {target} is longer than {cap_bytes} bytes")]
    TooLarge {
        /// The cap; an answer of exactly this length is within it.
        cap_bytes: usize,
        /// Whose answer.
        target: String,
    },
    /// The connection broke, or the answer is not HTTP.
    #[error("{0}")]
    Broken(String),
    /// A redirect that cannot be followed, or too many of them.
    #[error("{0}")]
    Redirect(String),
}

impl OutboundError {
    /// Whether what answered a plain request does not speak HTTP: it may speak TLS.
    pub fn is_not_http(&self) -> bool {
        matches!(self, Self::Broken(text) if text.contains(super::words::NOT_HTTP))
    }

    /// A short word for it, from a closed set: fit for a metric's label.
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

    /// The same error, with more said of how it came to the call that failed.
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

/// Why there is no connection. All who waited for it are told the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectError {
    pub(super) is_timeout: bool,
    /// The step and the cause: `looking up store.example: no such name`.
    pub(super) text: String,
    /// What to do about it; may be empty.
    pub(super) advice: &'static str,
}

impl ConnectError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { is_timeout: false, text: text.into(), advice: "" }
    }

    pub(super) fn timeout(text: impl Into<String>) -> Self {
        Self { is_timeout: true, text: text.into(), advice: "" }
    }

    /// The same, with what to do about it.
    pub(super) fn advise(self, advice: &'static str) -> Self {
        Self { advice, ..self }
    }
}

/// A deadline as a reader sees it: `5 s`, `200 ms`.
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
        assert_eq!(io_words(&error), "Connection refused");
        assert_eq!(io_words(&std::io::Error::other("odd")), "odd");
    }
}
