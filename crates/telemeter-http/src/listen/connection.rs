//! Serves one connection: its client, its handshake, its requests, and its end.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use super::handshake::Handshakes;
use super::stream::{CountedStream, Socket};
use super::table::{AdmittedConnection, AnswerInProgress, BodyWait, Ending, Owner, Reporter};
use super::{ClientNetwork, ListenLimits, Peer, TrustedProxies, proxied};
use crate::panics;
use crate::tls::ListenerTls;

/// The most that HTTP/1 reads at once, and the most that it keeps of responses before it writes.
pub(super) const BUFFER_BYTES: usize = 64 << 10;
/// The bytes that a peer may send on one HTTP/2 stream before they are read.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The bytes that a peer may send on all streams of one HTTP/2 connection before they are read.
const WINDOW_BYTES: u32 = 128 << 10;
/// The bytes of one response that may wait in an HTTP/2 connection.
const SEND_BYTES: usize = 16 << 10;
/// The cap on streams of one HTTP/2 connection that were reset for a stream error, where the reset is not written yet.
const ERROR_RESETS: usize = 64;
/// The memory that one header field holds in addition to its text.
const FIELD_BYTES: usize = 100;

/// The phase of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Open requests are finished, and no new ones are accepted.
    Draining,
    /// Connections are closed, even where requests are open.
    Closing,
}

pub(super) struct HttpServer {
    responder: Arc<Responder>,
    handshakes: Option<Handshakes>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    limits: ListenLimits,
}

/// Responds to the requests of all connections.
struct Responder {
    router: Router,
    trusted_proxies: TrustedProxies,
}

/// The stream of a connection on which HTTP can start.
enum ServedStream {
    Plain(Box<Socket>),
    Tls(Box<TlsStream<Socket>>),
}

/// One connection while it is served.
struct ServedConnection<'a> {
    peer: Peer,
    admitted: &'a AdmittedConnection,
    phase: watch::Receiver<Phase>,
}

impl HttpServer {
    pub(super) fn new(router: Router, tls: Option<&ListenerTls>, limits: ListenLimits) -> Self {
        let mut http1 = http1::Builder::new();
        // The table closes connections of peers that are silent, send slowly or do not read, so that no request needs a
        // timer.
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(BUFFER_BYTES)
            .max_header_size(usize::try_from(limits.header_bytes).unwrap_or(usize::MAX));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.ping)
            .keep_alive_timeout(limits.ping)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .max_send_buf_size(SEND_BYTES)
            .max_header_list_size(limits.header_bytes)
            .header_table_size(0)
            .max_local_error_reset_streams(ERROR_RESETS)
            .max_concurrent_streams(limits.streams);
        let handshakes = tls.map(|tls| Handshakes::new(tls, limits.metrics.clone()));
        let responder = Arc::new(Responder { router, trusted_proxies: limits.trusted_proxies.clone() });
        Self { responder, handshakes, http1, http2, limits }
    }

    /// The client that a connection from this peer counts for, until a trusted proxy names another.
    pub(super) fn owner(&self, peer: Peer) -> Owner {
        Owner { client: peer.0.ip().into(), proxy: self.limits.trusted_proxies.contains(peer.0.ip()) }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.handshakes.is_some()
    }

    /// Serves a connection until one of the two sides ends it.
    pub(super) async fn connection(
        &self,
        stream: TcpStream,
        peer: Peer,
        admitted: AdmittedConnection,
        mut phase: watch::Receiver<Phase>,
    ) {
        let established = tokio::select! {
            established = self.established(stream, peer, &admitted) => established,
            _ = admitted.ending(Ending::No) => return if admitted.is_late() { self.record_late_headers(peer) },
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
        };
        let Some((peer, stream)) = established else { return };
        admitted.established();
        let connection = ServedConnection { peer, admitted: &admitted, phase };
        match stream {
            ServedStream::Plain(stream) => self.http1(*stream, connection).await,
            ServedStream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(*stream, connection).await;
            }
            ServedStream::Tls(stream) => self.http1(*stream, connection).await,
        }
    }

    fn record_late_headers(&self, peer: Peer) {
        match &self.handshakes {
            Some(handshakes) => handshakes.timed_out(peer.0),
            None => tracing::debug!(peer = %peer.0, "the proxy's header did not come in time"),
        }
    }

    /// Reads the client that a trusted proxy names, then does the TLS handshake. `None` where one of the two failed.
    async fn established(
        &self,
        mut stream: TcpStream,
        mut peer: Peer,
        admitted: &AdmittedConnection,
    ) -> Option<(Peer, ServedStream)> {
        let mut first = Bytes::new();
        if self.limits.trusted_proxies.contains(peer.0.ip()) {
            let (client, rest) = match proxied::header(&mut stream).await {
                Ok(header) => header,
                Err(error) => {
                    tracing::debug!(peer = %peer.0, %error, "no header of the proxy");
                    return None;
                }
            };
            first = rest;
            if let Some(client) = client {
                peer = Peer(client);
                admitted.belongs_to(self.owner(peer));
            }
        }
        let socket = Socket::new(first, stream);
        let Some(handshakes) = &self.handshakes else { return Some((peer, ServedStream::Plain(Box::new(socket)))) };
        let stream = handshakes.accept(socket, peer.0).await?;
        Some((peer, ServedStream::Tls(Box::new(stream))))
    }

    async fn http1(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        ServedConnection { peer, admitted, mut phase }: ServedConnection<'_>,
    ) {
        let reporter = admitted.reporter();
        let service = service_fn(|request| self.responder.respond(request, peer, &reporter));
        let stream = TokioIo::new(CountedStream::new(stream, reporter.clone()));
        let mut connection = pin!(self.http1.serve_connection(stream, service));
        let mut ending = Ending::No;
        loop {
            tokio::select! {
                ended = connection.as_mut() => return log_end(peer, ended),
                next = end(admitted, &mut phase, ending) => {
                    if next == Ending::Now {
                        return;
                    }
                    ending = next;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    async fn http2(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        ServedConnection { peer, admitted, mut phase }: ServedConnection<'_>,
    ) {
        admitted.speaks_http2();
        let reporter = admitted.reporter();
        let service = {
            let (responder, reporter) = (self.responder.clone(), reporter.clone());
            service_fn(move |request| {
                let (responder, reporter) = (responder.clone(), reporter.clone());
                async move { responder.respond(request, peer, &reporter).await }
            })
        };
        let stream = TokioIo::new(CountedStream::of_http2(stream, reporter));
        let mut connection = pin!(self.http2.serve_connection(stream, service));
        let mut ending = Ending::No;
        loop {
            tokio::select! {
                ended = connection.as_mut() => return log_end(peer, ended),
                next = end(admitted, &mut phase, ending) => {
                    if next == Ending::Now {
                        return;
                    }
                    ending = next;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Waits until the table or the listener asks the connection to end in a faster way than `seen`.
async fn end(admitted: &AdmittedConnection, phase: &mut watch::Receiver<Phase>, seen: Ending) -> Ending {
    let wanted = |phase: &Phase| *phase == Phase::Closing || (*phase == Phase::Draining && seen == Ending::No);
    tokio::select! {
        ending = admitted.ending(seen) => ending,
        // The sender of the phase is dropped only after all connections have ended.
        Ok(phase) = phase.wait_for(wanted) => match *phase {
            Phase::Closing => Ending::Now,
            _ => Ending::Graceful,
        },
        else => Ending::Now,
    }
}

impl Responder {
    /// Passes a request to the router and returns its response. The client that a trusted proxy names takes the place
    /// of the peer. The response is a 503 where there is no memory for the request, or where the request is evicted
    /// while the handler works on it; a panic of the handler is a 500.
    async fn respond(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        reporter: &Reporter,
    ) -> Result<http::Response<SentBody>, Infallible> {
        let client = self.trusted_proxies.client(peer.0, request.headers());
        let forwarded = (client != peer.0).then(|| ClientNetwork::from(client.ip()));
        let Some(working) = reporter.begin(header_bytes(&request), forwarded) else { return Ok(overloaded()) };
        let waiting = working.waiting();
        let mut request = request.map(|body| Body::new(ReceivedBody { body, waiting }));
        request.extensions_mut().insert(Peer(client));
        let answer = async { self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {}) };
        let response: Response = tokio::select! {
            biased;
            response = panics::catch_panic(answer) => response,
            () = working.ended() => return Ok(overloaded()),
        };
        let answering = working.answered();
        Ok(response.map(|body| SentBody { body, answering }))
    }
}

/// The response to a request for which there is no memory: it needs no memory itself, and does not wait for the peer to
/// read it.
fn overloaded() -> http::Response<SentBody> {
    let mut response = http::Response::new(SentBody { body: Body::empty(), answering: None });
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// An estimate of the memory that the headers of a request hold, in bytes.
fn header_bytes(request: &Request<Incoming>) -> usize {
    let fields = |headers: &HeaderMap| {
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum::<usize>()
    };
    request.uri().path().len() + request.uri().query().map_or(0, str::len) + fields(request.headers())
}

/// The body of a request, which reports when its handler waits for more of it.
struct ReceivedBody {
    body: Incoming,
    waiting: Option<BodyWait>,
}

impl HttpBody for ReceivedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Some(waiting) = &mut self.waiting {
            waiting.set(frame.is_pending());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a response, until the connection has taken all of it.
struct SentBody {
    body: Body,
    answering: Option<AnswerInProgress>,
}

impl HttpBody for SentBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(answering) = &self.answering {
            answering.goes_on();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn log_end(peer: Peer, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.0, error = crate::body::chain(&error), "connection broke off");
    }
}
