//! The stream of a connection: it reports the bytes that are read and written to the [table](super::table).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::header_table::HeaderTable;
use super::table::{FIRST_BUFFER_BYTES, Reporter};

/// A stream that can be waited for without a buffer to read into.
pub(super) trait PollReadable {
    /// Resolves when there is something to read: bytes, the end, or an error. It may resolve too early.
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A stream that counts the bytes that are read and written.
pub(super) struct CountedStream<S> {
    /// Bytes that HTTP read and did not parse before it released its buffers: they are read again before others.
    unread: Bytes,
    stream: S,
    reporter: Reporter,
    reads: ReadSizes,
    /// The header table of HTTP/2, as long as it may hold headers.
    header_table: Option<HeaderTable>,
    /// Whether the peer has closed its side of the connection.
    has_ended: bool,
}

/// The size of the reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReadSizes {
    /// Reads fit into the first buffer: no larger read was asked for.
    First,
    /// Reads are smaller than the first buffer, so that HTTP/1 does not enlarge its buffer.
    Little,
    /// Reads are as large as asked for.
    Much,
}

impl ReadSizes {
    const LITTLE_BYTES: usize = FIRST_BUFFER_BYTES - 1;

    /// The size of the next read, into a buffer with `room_bytes` free.
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
        Self { unread: Bytes::new(), stream, reporter, reads: ReadSizes::First, header_table: None, has_ended: false }
    }

    /// The stream as it is before the next request, without a buffer of HTTP; `unread` are bytes that HTTP did not parse.
    pub(super) fn with_unread(self, unread: Bytes) -> Self {
        // Even where they are none, `Bytes` keep the buffer that they were in.
        let unread = if unread.is_empty() { Bytes::new() } else { unread };
        Self { unread, ..Self::new(self.stream, self.reporter) }
    }

    /// The stream of an HTTP/2 connection, which also counts the header table.
    pub(super) fn of_http2(stream: S, reporter: Reporter) -> Self {
        Self { header_table: Some(HeaderTable::new()), ..Self::new(stream, reporter) }
    }

    /// Records that bytes arrived: updates the time of the last activity, counts the bytes of an HTTP/1 request header,
    /// and passes them to the HTTP/2 header table. Returns an error if the memory budget has no room for the header.
    fn record_read(&mut self, read: &[u8]) -> io::Result<()> {
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

    /// Reports the outcome of a write, and passes it on. Bytes that were written are counted; where the peer does not
    /// take them, they are charged to the memory budget, and the write fails if there is no memory for them.
    fn report<T>(&self, written: Poll<io::Result<T>>, bytes: impl FnOnce(&T) -> usize) -> Poll<io::Result<T>> {
        match &written {
            Poll::Ready(Ok(written)) => self.reporter.wrote(bytes(written)),
            Poll::Pending if !self.reporter.blocked() => return Poll::Ready(Err(no_memory(UNREAD))),
            Poll::Pending | Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl<S: PollReadable> PollReadable for CountedStream<S> {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_empty() { self.stream.poll_readable(context) } else { Poll::Ready(Ok(())) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CountedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(unread) = take(&mut self.unread, into.remaining()) {
            into.put_slice(&unread);
            return Poll::Ready(self.record_read(&unread));
        }
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
        if read.is_empty() {
            self.has_ended = true;
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.record_read(read))
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
        if self.has_ended {
            // The peer has closed its side, so a TLS `close_notify` is not needed; closing the socket is enough.
            return Poll::Ready(Ok(()));
        }
        let closed = Pin::new(&mut self.stream).poll_shutdown(context);
        self.report(closed, |()| 0)
    }
}

/// Takes at most `max` bytes from the front of `bytes`, whose memory is freed with the last of them.
fn take(bytes: &mut Bytes, max: usize) -> Option<Bytes> {
    if bytes.len() > max {
        return Some(bytes.split_to(max));
    }
    Some(std::mem::take(bytes)).filter(|taken| !taken.is_empty())
}

const UNREAD: &str = "no memory for answers that are not read";

fn no_memory(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::OutOfMemory, why)
}

/// A socket whose first bytes were read already: they are returned before others.
///
/// The bytes that TLS writes at the end of a handshake, such as a session ticket, can be held until the first response
/// is written, or until the next read: one system call then writes both.
pub(super) struct Socket {
    first: Bytes,
    stream: TcpStream,
    held: BytesMut,
    is_holding: bool,
}

impl Socket {
    pub(super) fn new(first: Bytes, stream: TcpStream) -> Self {
        Self { first, stream, held: BytesMut::new(), is_holding: false }
    }

    /// From now on, written bytes are held until the next read.
    pub(super) fn hold(&mut self) {
        self.is_holding = true;
    }

    /// From now on, bytes are written at once. The held bytes go with the next write, or before the next read.
    pub(super) fn hold_no_more(&mut self) {
        self.is_holding = false;
    }

    /// Writes the held bytes.
    pub(super) fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(written);
        }
        // Its memory is not needed any more.
        self.held = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Writes the held bytes and then `pieces`; returns how many bytes of `pieces` were written.
    fn poll_with_held(&mut self, context: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let held = self.held.len();
        let all: Vec<_> = std::iter::once(io::IoSlice::new(&self.held)).chain(pieces.iter().copied()).collect();
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, &all))?;
        self.held.advance(written.min(held));
        if let Some(written) = written.checked_sub(held).filter(|written| *written > 0) {
            return Poll::Ready(Ok(written));
        }
        ready!(self.poll_held(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(context))?;
        let Some(first) = take(&mut self.first, into.remaining()) else {
            return Pin::new(&mut self.stream).poll_read(context, into);
        };
        into.put_slice(&first);
        Poll::Ready(Ok(()))
    }
}

impl PollReadable for Socket {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(context))?;
        if self.first.is_empty() { self.stream.poll_read_ready(context) } else { Poll::Ready(Ok(())) }
    }
}

/// Bytes that TLS has received and decrypted are read before its socket is waited for.
impl PollReadable for TlsStream<Socket> {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().0.poll_readable(context)
    }
}

impl<S: PollReadable> PollReadable for Box<S> {
    fn poll_readable(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_readable(context)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_holding || !self.held.is_empty() {
            return self.poll_write_vectored(context, &[io::IoSlice::new(bytes)]);
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_holding {
            pieces.iter().for_each(|piece| self.held.extend_from_slice(piece));
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        if !self.held.is_empty() {
            return self.poll_with_held(context, pieces);
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_holding {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_held(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_held(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    async fn both() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Socket::new(Bytes::new(), listener.accept().await.unwrap().0), peer)
    }

    async fn arrives(peer: &mut TcpStream, expected: &str) {
        let mut bytes = vec![0; expected.len()];
        timeout(Duration::from_secs(10), peer.read_exact(&mut bytes)).await.expect("it comes").unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
    }

    async fn nothing_arrives(peer: &mut TcpStream) {
        let waited = timeout(Duration::from_millis(50), peer.read(&mut [0])).await;
        assert!(waited.is_err(), "{waited:?}");
    }

    #[tokio::test]
    async fn what_is_held_goes_with_the_next_write_or_before_the_next_read() {
        let (mut socket, mut peer) = both().await;
        socket.hold();
        socket.write_all(b"ticket ").await.unwrap();
        socket.flush().await.unwrap();
        nothing_arrives(&mut peer).await;
        socket.hold_no_more();
        nothing_arrives(&mut peer).await;
        socket.write_all(b"answer ").await.unwrap();
        arrives(&mut peer, "ticket answer ").await;
        socket.write_all(b"more ").await.unwrap();
        arrives(&mut peer, "more ").await;

        socket.hold();
        socket.write_all(b"hello").await.unwrap();
        assert!(timeout(Duration::from_millis(50), socket.read(&mut [0])).await.is_err(), "there is nothing to read");
        arrives(&mut peer, "hello").await;
    }

    #[tokio::test]
    async fn much_is_held_and_written_in_order_to_a_peer_that_reads_slowly() {
        let (mut socket, mut peer) = both().await;
        let text = |letter: char| letter.to_string().repeat(3 << 20);
        let (first, second) = (text('a'), text('b'));
        socket.hold();
        socket.write_all(first.as_bytes()).await.unwrap();
        socket.hold_no_more();
        let expected = format!("{first}{second}");
        let writing = async {
            socket.write_all(second.as_bytes()).await.unwrap();
            socket.shutdown().await.unwrap();
        };
        tokio::join!(writing, arrives(&mut peer, &expected));
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0, "the end");
    }
}
