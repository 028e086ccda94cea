//! Serves one connection: its client, its handshake, its requests, and its end.

use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use super::handshake::Handshakes;
use super::http1::Http1Server;
use super::respond::Responder;
use super::served::{Phase, ServedConnection};
use super::stream::{CountedStream, Socket};
use super::table::{AdmittedConnection, Ending, Owner};
use super::{ListenLimits, Peer, proxied};
use crate::tls::ListenerTls;

/// The bytes that a peer may send on one HTTP/2 stream before they are read.
const STREAM_WINDOW_BYTES: u32 = 64 << 10;
/// The bytes that a peer may send on all streams of one HTTP/2 connection before they are read.
const WINDOW_BYTES: u32 = 128 << 10;
/// The bytes of one response that may wait in an HTTP/2 connection.
const SEND_BYTES: usize = 16 << 10;
/// The cap on streams of one HTTP/2 connection that were reset for a stream error, where the reset is not written yet.
const ERROR_RESETS: usize = 64;

pub(super) struct HttpServer {
    responder: Arc<Responder>,
    handshakes: Option<Handshakes>,
    http1: Http1Server,
    http2: http2::Builder<TokioExecutor>,
    limits: ListenLimits,
}

/// The stream of a connection on which HTTP can start.
enum ServedStream {
    Plain(Box<Socket>),
    Tls(Box<TlsStream<Socket>>),
}

impl HttpServer {
    pub(super) fn new(router: Router, tls: Option<&ListenerTls>, limits: ListenLimits) -> Self {
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
        let http1 = Http1Server::new(responder.clone(), limits.header_bytes);
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
            // In a box of its own, so that the connection does not hold its memory afterwards.
            established = Box::pin(self.established(stream, peer, &admitted)) => established,
            _ = admitted.ending(Ending::No) => return if admitted.is_late() { self.record_late_headers(peer) },
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
        };
        let Some((peer, stream)) = established else { return };
        admitted.established();
        let served = ServedConnection::new(peer, &admitted, phase);
        match stream {
            ServedStream::Plain(stream) => self.http1.serve(stream, served).await,
            ServedStream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                // In a box of its own, so that a connection of HTTP/1 does not hold its memory.
                admitted.speaks_http2();
                Box::pin(self.http2(stream, served)).await;
            }
            ServedStream::Tls(stream) => self.http1.serve(stream, served).await,
        }
    }

    fn record_late_headers(&self, peer: Peer) {
        match &self.handshakes {
            Some(handshakes) => handshakes.timed_out(peer.0),
            None => tracing::debug!(peer = %peer.0, "the proxy's header did not come in time"),
        }
    }

    /// Reads the client that a trusted proxy names, which then takes the place of the peer, and does the TLS handshake
    /// where the listener has TLS. `None` where one of the two failed, which is logged.
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

    /// Serves HTTP/2 until the peer ends the connection, or the table or the listener asks for its end: after the
    /// open requests, or at once.
    async fn http2(&self, stream: Box<TlsStream<Socket>>, mut served: ServedConnection<'_>) {
        let (peer, reporter) = (served.peer(), served.reporter());
        let service = {
            let (responder, reporter) = (self.responder.clone(), reporter.clone());
            service_fn(move |request| {
                let (responder, reporter) = (responder.clone(), reporter.clone());
                async move { responder.respond(request, peer, &reporter).await }
            })
        };
        let stream = TokioIo::new(CountedStream::of_http2(stream, reporter));
        let mut connection = pin!(self.http2.serve_connection(stream, service));
        loop {
            tokio::select! {
                ended = connection.as_mut() => return served.log_end(ended),
                ending = served.ending() => match ending {
                    Ending::Now => return,
                    _ => connection.as_mut().graceful_shutdown(),
                },
            }
        }
    }
}
