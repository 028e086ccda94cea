//! The layer of every route that turns an error into the response that the caller reads, and records the refusal.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderValue, StatusCode, header};
use telemeter_auth::Error as AuthError;
use telemeter_fleet::ReportRoute;
use telemeter_http::{instrument::RequestId, panics};

use crate::{
    error::{Error, RequestError},
    gateway::Gateway,
    protocol::{add_zero_written_headers, put_written},
    receive::is_v2,
    sender::Sender,
};

/// A layer around the handler of a route. Where the handler failed, it writes the body of the response (one line, with the ID of
/// the request) and records the refusal; a panic becomes 500. A response to remote write 2.0 always says how much was written.
pub async fn explain(State((gateway, route)): State<(Gateway, ReportRoute)>, request: Request, next: Next) -> Response {
    let is_v2 = route == ReportRoute::Receive && is_v2(request.headers());
    let mut response = explain_error(&gateway, route, request, next).await;
    if is_v2 {
        add_zero_written_headers(response.headers_mut());
    }
    response
}

/// Runs the handler, and replaces the response where it has an error: records the refusal in the registry, and writes
/// the error's text with the request ID as the body. A panic is a 500. `WWW-Authenticate` is added where the
/// credentials are missing, malformed or not valid.
async fn explain_error(gateway: &Gateway, route: ReportRoute, request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().copied();
    let sender = Sender::of(&request);
    let mut response = panics::catch_panic(next.run(request)).await;
    let refused = match response.extensions_mut().remove::<Arc<RequestError>>() {
        Some(refused) => refused,
        None if response.status() == StatusCode::INTERNAL_SERVER_ERROR => Arc::new(Error::Panic.into()),
        None => return response,
    };
    let (error, id) = (&refused.error, id.as_ref().map_or("-", RequestId::as_str));
    gateway.record_refused(route, &sender, &refused);
    *response.body_mut() = Body::from(format!("{} (request {id})\n", error.body()));
    if let Error::PartialWrite(partial) = error
        && let Some(written) = partial.written()
    {
        put_written(response.headers_mut(), written);
    }
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    if matches!(
        error,
        Error::Auth(AuthError::CredentialsMissing | AuthError::CredentialsMalformed(_) | AuthError::Token(_))
    ) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
