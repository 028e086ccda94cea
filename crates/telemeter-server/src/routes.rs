//! The routes of both listeners, on one page.

use std::convert::Infallible;

use axum::{
    Router, middleware,
    routing::{MethodRouter, any, post},
};
use http::StatusCode;
use telemeter_http::{
    instrument::HttpMetrics,
    internal::{Health, live, paths_route, ready_or_not},
};

use crate::{
    authorize::authorize,
    error::{Error, explain},
    gateway::Gateway,
    receive::receive,
    upload::upload,
};

/// What the external listener serves.
pub const EXTERNAL: [&str; 6] = ["/", "/authorize", "/healthz", "/healthz/ready", "/metrics/v1/receive", "/upload"];

/// The external listener's router.
pub fn external(gateway: Gateway, health: &Health, http: &HttpMetrics) -> Router {
    // What every route shares, innermost first: errors are explained, requests counted and logged.
    let shared = |handler, route: MethodRouter<Gateway>| {
        let route = route.fallback(|| async { Error::Method });
        route.layer::<_, Infallible>(middleware::from_fn(explain)).layer::<_, Infallible>(http.layer(handler))
    };
    Router::new()
        .route("/authorize", shared("authorize", post(authorize)))
        .route("/upload", shared("upload", post(upload)))
        .route("/metrics/v1/receive", shared("receive", post(receive)))
        .with_state(gateway)
        .route("/healthz", live())
        .route("/healthz/ready", ready_or_not(health))
        .route("/", paths_route(&EXTERNAL))
        .fallback(any(|| async { (StatusCode::NOT_FOUND, "no such path; GET / lists them\n") }))
}
