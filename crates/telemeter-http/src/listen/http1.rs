//! HTTP/1 on a connection: its requests, and the wait between two of them.
//!
//! hyper keeps the buffers of a connection, 8 KiB or more, for as long as it serves the connection, and most connections
//! of a fleet are idle most of the time. So when the table asks a connection that has been idle for a while to release its
//! buffers, its stream is taken out of hyper, which is dropped with all that it holds. As soon as bytes arrive, hyper
//! serves the stream again. A connection whose requests follow each other closely notices nothing of this.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::respond::Responder;
use super::served::ServedConnection;
use super::stream::{CountedStream, PollReadable};
use super::table::{Ending, Instruction, MAX_READ_BYTES, Reporter};

pub(super) struct Http1Server {
    builder: http1::Builder,
    responder: Arc<Responder>,
}

impl Http1Server {
    pub(super) fn new(responder: Arc<Responder>, header_bytes: u32) -> Self {
        let mut builder = http1::Builder::new();
        // The table closes connections of peers that are silent, send slowly or do not read, so that no request needs a
        // timer.
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(MAX_READ_BYTES)
            .max_header_size(usize::try_from(header_bytes).unwrap_or(usize::MAX));
        Self { builder, responder }
    }

    /// Serves a connection until one of the two sides ends it.
    pub(super) async fn serve<S>(&self, stream: S, mut served: ServedConnection<'_>)
    where
        S: AsyncRead + AsyncWrite + PollReadable + Unpin + Send + 'static,
    {
        let reporter = served.reporter();
        let mut stream = CountedStream::new(stream, reporter.clone());
        loop {
            // In a box of its own, so that an idle connection does not hold its memory.
            let Some(idle) = Box::pin(self.requests(stream, &reporter, &mut served)).await else { return };
            let Some(readable) = readable(idle, &mut served).await else { return };
            stream = readable;
            if !reporter.reserve_buffers() {
                tracing::debug!(peer = %served.peer().0, "no memory for the next request of a connection that was idle");
                return;
            }
        }
    }

    /// Serves requests until the connection ends, or until it is idle and asked to release its buffers: then its stream is
    /// returned.
    async fn requests<S>(
        &self,
        stream: CountedStream<S>,
        reporter: &Reporter,
        served: &mut ServedConnection<'_>,
    ) -> Option<CountedStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let peer = served.peer();
        let service = service_fn(|request| self.responder.respond(request, peer, reporter));
        let mut connection = self.builder.serve_connection(TokioIo::new(stream), service);
        loop {
            let instruction = tokio::select! {
                ended = &mut connection => {
                    served.log_end(ended);
                    return None;
                }
                instruction = served.instruction() => instruction,
            };
            match instruction {
                Instruction::End(Ending::Now) => return None,
                Instruction::End(_) => Pin::new(&mut connection).graceful_shutdown(),
                Instruction::ReleaseBuffers => {
                    if reporter.release_buffers() {
                        let parts = connection.into_parts();
                        return Some(parts.io.into_inner().with_unread(parts.read_buf));
                    }
                }
            }
        }
    }
}

/// Waits until an idle connection can be read from, and returns its stream. `None` where the connection was asked to end
/// before, and has ended.
async fn readable<S>(mut stream: CountedStream<S>, served: &mut ServedConnection<'_>) -> Option<CountedStream<S>>
where
    S: AsyncRead + AsyncWrite + PollReadable + Unpin,
{
    let ending = tokio::select! {
        readable = poll_fn(|context| stream.poll_readable(context)) => return readable.is_ok().then_some(stream),
        ending = served.ending() => ending,
    };
    if ending == Ending::Graceful {
        // A peer that does not read could make this wait.
        tokio::select! {
            _ = stream.shutdown() => {}
            _ = served.ending() => {}
        }
    }
    None
}
