//! Sends one request on a connection, and receives the headers of its response.

use std::error::Error as _;

use bytes::Bytes;
use http::{HeaderValue, Uri, header};
use http_body_util::Full;
use hyper::body::Body as _;
use hyper::client::conn::TrySendError;
use tokio::time::{Instant, timeout_at};
use url::Position;

use super::connect::{Origin, OutboundConnection};
use super::error::seconds;
use super::gunzip::Gunzip;
use super::opened::OpenAnswer;
use super::redact::bare_url;
use super::replay::{self, FailedExchange};
use super::{Outbound, OutboundError, OutboundRequest, words};

/// The number of attempts to send a request, where the connection that was chosen had just been closed.
const MAX_TRIES: u32 = 4;

/// The choice of the connection for a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum ConnectionPath {
    /// A kept connection is used, where there is one.
    Any,
    /// A connection without an earlier request is used, within the deadline of the first attempt.
    New { deadline: Instant },
}

type RequestMessage = http::Request<Full<Bytes>>;

impl Outbound {
    /// Sends a request and waits for the headers of its response. The deadline of the response starts when there is a
    /// connection.
    pub(super) async fn begin(&self, request: OutboundRequest, cap_bytes: usize) -> Result<OpenAnswer, OutboundError> {
        Ok(self.begin_on(request, cap_bytes, ConnectionPath::Any).await?)
    }

    /// The same, on any connection or on a new one.
    pub(super) async fn begin_on(
        &self,
        mut request: OutboundRequest,
        cap_bytes: usize,
        route: ConnectionPath,
    ) -> Result<OpenAnswer, FailedExchange> {
        let config = &self.shared.config;
        self.complete(&mut request);
        let limit = request.timeout.unwrap_or(config.timeout);
        let mut tries = 0;
        loop {
            tries += 1;
            let pool = self.shared.current.load().pool.clone();
            let (mut lease, deadline) = match route {
                ConnectionPath::Any => {
                    let lease = pool.lease(&request.url, config.connection_wait).await?;
                    (lease, Instant::now() + limit)
                }
                ConnectionPath::New { deadline } => {
                    let wait = config.connection_wait.min(deadline - Instant::now());
                    (pool.lease_new(&request.url, wait).await?, deadline)
                }
            };
            let Some(mut connection) = lease.take() else { continue };
            let message = message(&mut request, &lease.origin, matches!(connection, OutboundConnection::H2(_)))?;
            let sent = async {
                match &mut connection {
                    OutboundConnection::H1(connection) => connection.try_send_request(message).await,
                    OutboundConnection::H2(connection) => connection.try_send_request(message).await,
                }
            };
            let about = |what: &str| format!("{what} ({})", lease.origin.path());
            let response = match timeout_at(deadline, sent).await {
                Ok(Ok(response)) => response,
                Ok(Err(error)) => match recover_unsent(error, &mut request) {
                    Ok(()) if lease.is_reused && tries < MAX_TRIES => continue,
                    Ok(()) => {
                        let text = format!("{}: the connection was closed before it was used", bare_url(&request.url));
                        return Err(OutboundError::Broken(about(&text)).into());
                    }
                    Err(error) => {
                        let text = format!(
                            "no answer from {}: {}",
                            bare_url(&request.url),
                            words::of_exchange(&error, lease.origin.is_https)
                        );
                        let closed_unanswered = Some(deadline).filter(|_| lease.is_reused && replay::is_closed(&error));
                        return Err(FailedExchange { error: OutboundError::Broken(about(&text)), closed_unanswered });
                    }
                },
                Err(_elapsed) => {
                    let text = format!("no answer from {} within {}", bare_url(&request.url), seconds(limit));
                    return Err(OutboundError::Timeout(about(&text)).into());
                }
            };
            let (mut parts, body) = response.into_parts();
            let gunzip = if config.gzip { Gunzip::of(&mut parts.headers) } else { None };
            let declared = body.size_hint().exact().filter(|_| gunzip.is_none());
            if declared.is_some_and(|bytes| bytes > cap_bytes as u64) {
                return Err(OutboundError::TooLarge { cap_bytes, target: bare_url(&request.url) }.into());
            }
            return Ok(OpenAnswer {
                status: parts.status,
                headers: parts.headers,
                body,
                gunzip,
                through: lease.origin.through(),
                connection: Some((lease, connection)),
                url: request.url,
                deadline,
                limit,
                cap_bytes,
                remaining_bytes: cap_bytes,
                received: 0,
            });
        }
    }

    /// Adds the headers that every request has: the login of its URL, the `User-Agent` unless it has one, and
    /// `Accept-Encoding` where gzip is configured.
    fn complete(&self, request: &mut OutboundRequest) {
        request.authorize_from_url();
        let headers = &mut request.headers;
        if !headers.contains_key(header::USER_AGENT) {
            headers.insert(header::USER_AGENT, self.shared.user_agent.clone());
        }
        if self.shared.config.gzip {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
}

/// Builds the request for a connection. The headers are moved into it; for HTTP/2 they are copied, since such a
/// connection may refuse the request later.
fn message(request: &mut OutboundRequest, origin: &Origin, is_h2: bool) -> Result<RequestMessage, OutboundError> {
    let path = &request.url[Position::BeforePath..Position::AfterQuery];
    let uri = if is_h2 || origin.is_forwarded() {
        let scheme = if origin.is_https { "https" } else { "http" };
        Uri::builder().scheme(scheme).authority(origin.authority.clone()).path_and_query(path).build().ok()
    } else {
        Uri::try_from(path).ok()
    };
    let Some(uri) = uri else {
        return Err(OutboundError::Setup(format!("{} cannot be asked for", bare_url(&request.url))));
    };
    let mut message = RequestMessage::new(Full::from(request.body.clone().unwrap_or_default()));
    *message.method_mut() = request.method.clone();
    *message.uri_mut() = uri;
    if is_h2 {
        *message.headers_mut() = request.headers.clone();
        return Ok(message);
    }
    let headers = message.headers_mut();
    *headers = std::mem::take(&mut request.headers);
    headers.insert(header::HOST, origin.host_header.clone());
    let authorization = origin.proxy.as_ref().and_then(|proxy| proxy.authorization.as_ref());
    if let Some(authorization) = authorization.filter(|_| origin.is_forwarded()) {
        headers.insert(header::PROXY_AUTHORIZATION, authorization.clone());
    }
    Ok(message)
}

/// Restores the request where the peer has not processed any of it; else returns the error.
fn recover_unsent(mut error: TrySendError<RequestMessage>, request: &mut OutboundRequest) -> Result<(), hyper::Error> {
    if let Some(message) = error.take_message() {
        request.headers = message.into_parts().0.headers;
        request.headers.remove(header::HOST);
        request.headers.remove(header::PROXY_AUTHORIZATION);
        return Ok(());
    }
    let error = error.into_error();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(h2) = cause.downcast_ref::<h2::Error>() {
            let is_refused = h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM);
            let is_leaving = h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR);
            return if h2.is_remote() && (is_refused || is_leaving) { Ok(()) } else { Err(error) };
        }
        source = cause.source();
    }
    Err(error)
}
