//! Decides when a request that may arrive twice is sent once more: the peer closed its connection, and no byte of a
//! response was received.
//!
//! A peer closes connections that were idle for long, while the next request may be on its way. Such a close does not
//! mean that the request is wrong, so it is sent on another connection at once.
//!
//! Source: RFC 9112 9.3.1 and 9.5.

use std::error::Error;
use std::io::ErrorKind;

use tokio::time::Instant;

use super::OutboundError;

/// A request that got no response.
#[derive(Debug)]
pub(super) struct FailedExchange {
    pub(super) error: OutboundError,
    /// The deadline of the exchange, where a kept connection was closed or reset before the first byte of a response.
    pub(super) closed_unanswered: Option<Instant>,
}

impl From<OutboundError> for FailedExchange {
    fn from(error: OutboundError) -> Self {
        Self { error, closed_unanswered: None }
    }
}

impl From<FailedExchange> for OutboundError {
    fn from(failed: FailedExchange) -> Self {
        failed.error
    }
}

/// Whether an error in place of the response's headers means that the peer closed the connection.
pub(super) fn is_closed(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_canceled() || error.is_closed())
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            // An error of a connection that was never made does not count.
            let closed = [
                ErrorKind::ConnectionReset,
                ErrorKind::ConnectionAborted,
                ErrorKind::BrokenPipe,
                ErrorKind::NotConnected,
                ErrorKind::UnexpectedEof,
            ];
            return closed.contains(&error.kind());
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct WrappedError(#[source] std::io::Error);

    #[test]
    fn a_reset_anywhere_below_is_a_closed_connection() {
        for (kind, closed) in [
            (ErrorKind::ConnectionReset, true),
            (ErrorKind::ConnectionAborted, true),
            (ErrorKind::BrokenPipe, true),
            (ErrorKind::NotConnected, true),
            (ErrorKind::UnexpectedEof, true),
            (ErrorKind::ConnectionRefused, false),
            (ErrorKind::TimedOut, false),
            (ErrorKind::InvalidData, false),
        ] {
            assert_eq!(is_closed(&WrappedError(kind.into())), closed, "{kind:?}");
        }
    }
}
