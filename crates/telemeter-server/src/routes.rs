//! The routes of the external listener.

use std::convert::Infallible;

use axum::{
    Router, middleware,
    routing::{MethodRouter, any, post},
};
use http::StatusCode;
use telemeter_fleet::ReportRoute;
use telemeter_http::{
    instrument::HttpMetrics,
    internal::{Health, live, paths_route, readiness_without_reasons},
};

use crate::{
    authorize::authorize,
    error::{Error, RequestError},
    explain::explain,
    gateway::Gateway,
    receive::receive,
    upload::upload,
};

/// The paths that the external listener serves.
pub const EXTERNAL: [&str; 6] = ["/", "/authorize", "/healthz", "/healthz/ready", "/metrics/v1/receive", "/upload"];

/// The router of the external listener. Its three routes only accept POST; errors on them are explained, and their
/// requests counted and logged.
pub fn external(gateway: Gateway, health: &Health, http: &HttpMetrics) -> Router {
    // The layers that every route has, innermost first: errors are explained, requests are counted and logged.
    let shared = |route: ReportRoute, handler: MethodRouter<Gateway>| {
        let handler = handler.fallback(|| async { RequestError::from(Error::Method) });
        let explain = middleware::from_fn_with_state((gateway.clone(), route), explain);
        handler.layer::<_, Infallible>(explain).layer::<_, Infallible>(http.layer(route.name()))
    };
    Router::new()
        .route("/authorize", shared(ReportRoute::Authorize, post(authorize)))
        .route("/upload", shared(ReportRoute::Upload, post(upload)))
        .route("/metrics/v1/receive", shared(ReportRoute::Receive, post(receive)))
        .with_state(gateway.clone())
        .route("/healthz", live())
        .route("/healthz/ready", readiness_without_reasons(health))
        .route("/", paths_route(&EXTERNAL))
        .fallback(any(|| async { (StatusCode::NOT_FOUND, "no such path; GET / lists them\n") }))
}
