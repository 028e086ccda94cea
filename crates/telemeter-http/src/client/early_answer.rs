//! A stream from which a response can still be read after a write has failed.
//!
//! A peer may respond (413, 400) and close before it has read the whole request. Our next write then fails with a
//! reset, although the response was already received. hyper ends an exchange at the first error of either direction, so
//! that the order of two system calls decides whether the response is seen. With this stream it does not: from the
//! first failed write on, written bytes are discarded, and the reads decide how the exchange ends: with the response,
//! with the end of the stream, or with an error of their own.
//!
//! Source: RFC 9112 9.5 and 9.6: a client that sees a response while it sends stops sending, and reads the response.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Wraps a TCP stream, below TLS.
#[derive(Debug)]
pub(super) struct ReadsAfterFailedWrite<S> {
    stream: S,
    is_write_failed: bool,
}

impl<S> ReadsAfterFailedWrite<S> {
    /// Wraps this stream.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, is_write_failed: false }
    }

    /// The result of a write: after the first failure, the bytes count as written and are discarded.
    fn settle<T>(&mut self, outcome: Poll<io::Result<T>>, thrown_away: T) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(Err(_)) => {
                self.is_write_failed = true;
                Poll::Ready(Ok(thrown_away))
            }
            outcome => outcome,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadsAfterFailedWrite<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadsAfterFailedWrite<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_write_failed {
            return Poll::Ready(Ok(bytes.len()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.settle(outcome, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        if self.is_write_failed {
            return Poll::Ready(Ok(bytes));
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.settle(outcome, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_write_failed {
            return Poll::Ready(Ok(()));
        }
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.settle(outcome, ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_write_failed {
            return Poll::Ready(Ok(()));
        }
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.settle(outcome, ())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;

    use super::*;

    /// A peer that responds and resets the connection while the request is being written.
    struct AnsweredAndReset {
        answer: &'static [u8],
        is_written_to: bool,
    }

    impl AnsweredAndReset {
        fn with(answer: &'static [u8]) -> Self {
            Self { answer, is_written_to: false }
        }
    }

    impl AsyncRead for AnsweredAndReset {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if !self.is_written_to {
                return Poll::Pending;
            }
            match std::mem::take(&mut self.answer) {
                b"" => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                answer => {
                    into.put_slice(answer);
                    Poll::Ready(Ok(()))
                }
            }
        }
    }

    impl AsyncWrite for AnsweredAndReset {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            self.is_written_to = true;
            context.waker().wake_by_ref();
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn post<S>(stream: S) -> Result<u16, hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let body = Full::new(Bytes::from(vec![b'x'; 1 << 20]));
        let request = http::Request::post("/").header("host", "store").body(body).unwrap();
        let sent = tokio::time::timeout(std::time::Duration::from_secs(20), sender.send_request(request));
        sent.await.unwrap().map(|response| response.status().as_u16())
    }

    const ANSWER: &[u8] = b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn an_answer_that_came_before_the_reset_is_read() {
        let bare = post(AnsweredAndReset::with(ANSWER)).await;
        assert!(bare.is_err(), "without the wrapper it is lost; if it no longer is, the wrapper may go: {bare:?}");
        let wrapped = ReadsAfterFailedWrite::new(AnsweredAndReset::with(ANSWER));
        assert_eq!(post(wrapped).await.unwrap(), 413);
    }

    #[tokio::test]
    async fn a_reset_without_an_answer_is_an_error() {
        let wrapped = ReadsAfterFailedWrite::new(AnsweredAndReset::with(b""));
        let error = post(wrapped).await.unwrap_err();
        assert!(super::super::replay::is_closed(&error), "{error:?}");
    }
}
