//! The stream of a connection: what goes through it is reported to the [table](super::table).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::table::{FIRST_BUFFER_BYTES, Reporter};

/// A stream whose bytes are counted.
pub(super) struct Counted<S> {
    stream: S,
    reporter: Reporter,
    reads: Reads,
}

/// How much is read at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// What the first buffer holds: more was not asked for.
    First,
    /// Less than that, so that HTTP/1 lets its buffer stay as it is.
    Little,
    /// As much as is asked for.
    Much,
}

impl Reads {
    const LITTLE_BYTES: usize = FIRST_BUFFER_BYTES - 1;

    /// At the next read, into a buffer with so much room.
    fn next(self, room_bytes: usize, reporter: &Reporter) -> Self {
        match self {
            Self::Much => Self::Much,
            Self::First if room_bytes <= FIRST_BUFFER_BYTES => Self::First,
            Self::First | Self::Little if reporter.may_read_much() => Self::Much,
            Self::First | Self::Little => Self::Little,
        }
    }
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, reporter: Reporter) -> Self {
        Self { stream, reporter, reads: Reads::First }
    }

    fn report<T>(&self, written: Poll<io::Result<T>>, bytes: impl FnOnce(&T) -> usize) -> Poll<io::Result<T>> {
        match &written {
            Poll::Ready(Ok(written)) => self.reporter.wrote(bytes(written)),
            Poll::Pending => self.reporter.blocked(),
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        self.reads = self.reads.next(into.remaining(), &self.reporter);
        if self.reads == Reads::Little && into.remaining() > Reads::LITTLE_BYTES {
            let mut little = ReadBuf::new(into.initialize_unfilled_to(Reads::LITTLE_BYTES));
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut little))?;
            let bytes = little.filled().len();
            into.advance(bytes);
        } else {
            ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        }
        let bytes = into.filled().len() - before;
        if bytes > 0 && !self.reporter.read(bytes) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::OutOfMemory, "no memory for the header")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.report(written, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.report(written, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        match &flushed {
            Poll::Ready(Ok(())) => self.reporter.flushed(),
            Poll::Pending => self.reporter.blocked(),
            Poll::Ready(Err(_)) => {}
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.report(closed, |()| 0)
    }
}

/// A socket, before which stands what was read of it already.
pub(super) struct Socket {
    first: Bytes,
    stream: TcpStream,
}

impl Socket {
    pub(super) fn new(first: Bytes, stream: TcpStream) -> Self {
        Self { first, stream }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let bytes = self.first.len().min(into.remaining());
        into.put_slice(&self.first[..bytes]);
        self.first.advance(bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
