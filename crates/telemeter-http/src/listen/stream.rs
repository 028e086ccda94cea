//! The stream of a connection: what goes through it is reported to the [table](super::table).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::header_table::HeaderTable;
use super::table::{FIRST_BUFFER_BYTES, Reporter};

/// A stream whose bytes are counted.
pub(super) struct CountedStream<S> {
    stream: S,
    reporter: Reporter,
    reads: ReadSizes,
    /// While HTTP/2 may remember headers.
    header_table: Option<HeaderTable>,
}

/// How much is read at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadSizes {
    /// What the first buffer holds: more was not asked for.
    First,
    /// Less than that, so that HTTP/1 lets its buffer stay as it is.
    Little,
    /// As much as is asked for.
    Much,
}

impl ReadSizes {
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

impl<S> CountedStream<S> {
    pub(super) fn new(stream: S, reporter: Reporter) -> Self {
        Self { stream, reporter, reads: ReadSizes::First, header_table: None }
    }

    /// The same for HTTP/2.
    pub(super) fn of_http2(stream: S, reporter: Reporter) -> Self {
        Self { header_table: Some(HeaderTable::new()), ..Self::new(stream, reporter) }
    }

    /// Counts what was read. An error where there is no memory for it.
    fn count(&mut self, read: &[u8]) -> io::Result<()> {
        let mut fits = self.reporter.read(read.len());
        if let Some(table) = &mut self.header_table {
            let before = table.held_bytes();
            table.receive(read);
            let held = table.held_bytes();
            fits = fits && (held == before || self.reporter.remembers(held));
            if table.is_gone() {
                self.header_table = None;
            }
        }
        if fits { Ok(()) } else { Err(no_memory("no memory for the header")) }
    }

    fn report<T>(&self, written: Poll<io::Result<T>>, bytes: impl FnOnce(&T) -> usize) -> Poll<io::Result<T>> {
        match &written {
            Poll::Ready(Ok(written)) => self.reporter.wrote(bytes(written)),
            Poll::Pending if !self.reporter.blocked() => return Poll::Ready(Err(no_memory(UNREAD))),
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        self.reads = self.reads.next(into.remaining(), &self.reporter);
        if self.reads == ReadSizes::Little && into.remaining() > ReadSizes::LITTLE_BYTES {
            let mut little = ReadBuf::new(into.initialize_unfilled_to(ReadSizes::LITTLE_BYTES));
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut little))?;
            let bytes = little.filled().len();
            into.advance(bytes);
        } else {
            ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        }
        let read = &into.filled()[before..];
        Poll::Ready(if read.is_empty() { Ok(()) } else { self.count(read) })
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CountedStream<S> {
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
            Poll::Pending if !self.reporter.blocked() => return Poll::Ready(Err(no_memory(UNREAD))),
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.report(closed, |()| 0)
    }
}

const UNREAD: &str = "no memory for answers that are not read";

fn no_memory(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, why)
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
