//! One connection: its handshake, its requests, its end.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use super::{Limits, Peer};
use crate::client::words;
use crate::panics;
use crate::tls::Tls;

/// What a listener is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Finish what is in flight, take no more.
    Draining,
    /// Close, whatever is in flight.
    Closing,
}

pub(super) struct Server {
    router: Router,
    tls: Option<TlsAcceptor>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    limits: Limits,
}

impl Server {
    pub(super) fn new(router: Router, tls: Option<&Tls>, limits: Limits) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_header_size(usize::try_from(limits.header_bytes).unwrap_or(usize::MAX));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(limits.ping)
            .keep_alive_timeout(limits.ping)
            .max_header_list_size(limits.header_bytes)
            .max_concurrent_streams(limits.streams);
        let tls = tls.map(|tls| TlsAcceptor::from(tls.server_config()));
        Self { router, tls, http1, http2, limits }
    }

    pub(super) async fn connection(&self, stream: TcpStream, peer: Peer, mut phase: watch::Receiver<Phase>) {
        let Some(acceptor) = &self.tls else { return self.http1(stream, peer, phase).await };
        let handshake = timeout(self.limits.handshake_timeout, acceptor.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            _ = phase.wait_for(|phase| *phase != Phase::Serving) => return,
        };
        match shaken {
            Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
                self.http2(stream, peer, phase).await;
            }
            Ok(Ok(stream)) => self.http1(stream, peer, phase).await,
            Ok(Err(error)) => tracing::debug!(peer = %peer.0, error = words::of_caller(&error), "no TLS handshake"),
            Err(_elapsed) => tracing::debug!(peer = %peer.0, "no TLS handshake in time"),
        }
    }

    /// HTTP/1: hyper closes silent, dripping and idle peers by its own header timeout.
    async fn http1(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        mut phase: watch::Receiver<Phase>,
    ) {
        let service = service_fn(|request| respond(self.router.clone(), request, peer));
        let mut connection = pin!(self.http1.serve_connection(TokioIo::new(stream), service));
        let mut draining = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => return log_end(peer, ended),
                Some(next) = changed(&mut phase, draining) => match next {
                    Phase::Closing => return,
                    _ => { draining = true; connection.as_mut().graceful_shutdown(); }
                },
            }
        }
    }

    /// HTTP/2: hyper has no timeout for a preface or a request that does not come, so that idleness is watched here.
    async fn http2(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        mut phase: watch::Receiver<Phase>,
    ) {
        let activity = Arc::new(Activity::default());
        let service = {
            let (activity, router) = (activity.clone(), self.router.clone());
            service_fn(move |request| {
                let under_way = UnderWay::start(&activity);
                let response = respond(router.clone(), request, peer);
                async move {
                    let response = response.await;
                    drop(under_way);
                    response
                }
            })
        };
        let mut connection = pin!(self.http2.serve_connection(TokioIo::new(stream), service));
        let period = self.limits.header_timeout;
        let mut ticks = interval_at(tokio::time::Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut draining, mut seen) = (false, 0);
        loop {
            tokio::select! {
                ended = connection.as_mut() => return log_end(peer, ended),
                Some(next) = changed(&mut phase, draining) => match next {
                    Phase::Closing => return,
                    _ => { draining = true; connection.as_mut().graceful_shutdown(); }
                },
                _ = ticks.tick() => {
                    // A whole period without a start or an end: an answer has had that long to be sent.
                    let events = activity.events.load(Ordering::Relaxed);
                    let idle = events == seen && activity.under_way.load(Ordering::Relaxed) == 0;
                    if idle && (events == 0 || draining) {
                        return tracing::debug!(peer = %peer.0, "closed: no request in time");
                    }
                    if idle {
                        draining = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    seen = events;
                }
            }
        }
    }
}

/// The next phase; `None` (which disables a branch of `select!`) when the listener is gone.
///
/// A connection that is draining already, by itself, has only [`Phase::Closing`] to wait for.
async fn changed(phase: &mut watch::Receiver<Phase>, draining: bool) -> Option<Phase> {
    let wanted = |phase: &Phase| *phase == Phase::Closing || (*phase == Phase::Draining && !draining);
    phase.wait_for(wanted).await.ok().map(|phase| *phase)
}

async fn respond(router: Router, request: Request<Incoming>, peer: Peer) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    let answer = async { router.oneshot(request).await.unwrap_or_else(|never| match never {}) };
    Ok(panics::caught(answer).await)
}

fn log_end(peer: Peer, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(peer = %peer.0, error = crate::body::chain(&error), "connection broke off");
    }
}

/// What an HTTP/2 connection has asked for so far.
#[derive(Default)]
struct Activity {
    /// Starts and ends of requests.
    events: AtomicUsize,
    under_way: AtomicUsize,
}

struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn start(activity: &Arc<Activity>) -> Self {
        activity.events.fetch_add(1, Ordering::Relaxed);
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        Self(activity.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.events.fetch_add(1, Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
