//! Responds to the requests of all connections, and reports to the [table](super::table) what each of them holds and
//! waits for.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tower::ServiceExt as _;

use super::table::{AnswerInProgress, BodyWait, Reporter};
use super::{ClientNetwork, Peer, TrustedProxies};
use crate::panics;

/// The memory that one header field holds in addition to its text.
const FIELD_BYTES: usize = 100;

pub(super) struct Responder {
    pub(super) router: Router,
    pub(super) trusted_proxies: TrustedProxies,
}

impl Responder {
    /// Passes a request to the router and returns its response. The client that a trusted proxy names takes the place
    /// of the peer. The response is a 503 where there is no memory for the request, or where the request is evicted
    /// while the handler works on it; a panic of the handler is a 500.
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        peer: Peer,
        reporter: &Reporter,
    ) -> Result<http::Response<SentBody>, Infallible> {
        let client = self.trusted_proxies.client(peer.0, request.headers());
        let forwarded = (client != peer.0).then(|| ClientNetwork::from(client.ip()));
        let Some(working) = reporter.begin(header_bytes(&request), forwarded) else { return Ok(overloaded()) };
        let mut waiting = working.waiting();
        if let Some(waiting) = waiting.as_mut().filter(|_| request.body().is_end_stream()) {
            waiting.ended();
        }
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
        let is_read = matches!(frame, Poll::Ready(None)) || self.body.is_end_stream();
        if let Some(waiting) = &mut self.waiting {
            waiting.set(frame.is_pending());
            if is_read {
                waiting.ended();
            }
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
pub(super) struct SentBody {
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
