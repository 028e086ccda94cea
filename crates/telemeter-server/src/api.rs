//! The JSON API of the internal listener, under `/api/v1`: what is known of the fleet, for programs.
//!
//! `docs/api.md` is its contract.

mod clusters;
mod query;

use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use serde::Serialize;

use self::query::QueryParameters;
use crate::fleet_view::{
    FleetView,
    cluster::UNKNOWN,
    metric::UNKNOWN_METRIC,
    metrics::{MetricQuery, MetricSort},
    refusals::RefusalQuery,
};

/// The paths of the API, for the list of all paths of the listener.
pub(crate) const PATHS: [&str; 7] = [
    "/api/v1/clusters",
    "/api/v1/clusters/{id}",
    "/api/v1/history",
    "/api/v1/metrics",
    "/api/v1/metrics/{name}",
    "/api/v1/refusals",
    "/api/v1/summary",
];

const NO_STORE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// The routes of the API.
pub fn router(view: FleetView) -> Router {
    let not_found = || async { ProblemJson(StatusCode::NOT_FOUND, "no such path; docs/api.md lists them".to_owned()) };
    let not_get = || async { ProblemJson(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here".to_owned()) };
    let api = Router::new()
        .route("/summary", get(summary).fallback(not_get))
        .route("/clusters", get(clusters::clusters).fallback(not_get))
        .route("/clusters/{id}", get(cluster).fallback(not_get))
        .route("/refusals", get(refusals).fallback(not_get))
        .route("/metrics", get(metrics).fallback(not_get))
        .route("/metrics/{name}", get(metric).fallback(not_get))
        .route("/history", get(history).fallback(not_get))
        .fallback(not_found)
        .with_state(view);
    Router::new().nest("/api/v1", api)
}

/// A response of failure: a status, and `{"error": TEXT}`.
struct ProblemJson(StatusCode, String);

impl From<String> for ProblemJson {
    fn from(text: String) -> Self {
        Self(StatusCode::BAD_REQUEST, text)
    }
}

impl IntoResponse for ProblemJson {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body {
            error: String,
        }
        (self.0, json(&Body { error: self.1 })).into_response()
    }
}

/// A 200 with this value as JSON, which no cache may keep. Where the value cannot be written, it is an empty 500, and
/// the error is logged.
fn json(body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(mut text) => {
            text.push('\n');
            ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), NO_STORE], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "an answer of the API cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn summary(State(view): State<FleetView>, uri: Uri) -> Result<Response, ProblemJson> {
    QueryParameters::of(&uri, &[])?;
    Ok(json(&view.read(FleetView::summary).await))
}

async fn history(State(view): State<FleetView>, uri: Uri) -> Result<Response, ProblemJson> {
    QueryParameters::of(&uri, &[])?;
    Ok(json(&view.read(FleetView::last_hour).await))
}

async fn metric(State(view): State<FleetView>, Path(name): Path<String>, uri: Uri) -> Result<Response, ProblemJson> {
    QueryParameters::of(&uri, &[])?;
    let found = view.read(move |view| view.metric(&name)).await;
    let unknown = || ProblemJson(StatusCode::NOT_FOUND, UNKNOWN_METRIC.to_owned());
    found.map(|metric| json(&metric)).ok_or_else(unknown)
}

async fn cluster(State(view): State<FleetView>, Path(id): Path<String>, uri: Uri) -> Result<Response, ProblemJson> {
    QueryParameters::of(&uri, &[])?;
    let found = view.read(move |view| view.cluster(&id)).await;
    found.map(|cluster| json(&cluster)).ok_or_else(|| ProblemJson(StatusCode::NOT_FOUND, UNKNOWN.to_owned()))
}

/// `/api/v1/refusals`: the callers that were refused, as far as the query parameters select them. An unknown or
/// malformed parameter is a 400.
async fn refusals(State(view): State<FleetView>, uri: Uri) -> Result<Response, ProblemJson> {
    let query = QueryParameters::of(&uri, &["reason", "route", "since", "cluster", "search", "limit", "offset"])?;
    let asked = RefusalQuery {
        reason: query.name("reason", telemeter_fleet::Reason::from_name)?,
        route: query.name("route", telemeter_fleet::ReportRoute::from_name)?,
        since: query.number("since")?,
        cluster: query.text("cluster").map(str::to_owned),
        search: query.text("search").unwrap_or_default().to_owned(),
    };
    let part = query.part()?;
    Ok(view.read(move |view| json(&view.refusals(&asked, part))).await)
}

/// `/api/v1/metrics`: the metrics of the fleet, searched and sorted by the query parameters. An unknown or malformed
/// parameter is a 400.
async fn metrics(State(view): State<FleetView>, uri: Uri) -> Result<Response, ProblemJson> {
    let query = QueryParameters::of(&uri, &["search", "sort", "order", "limit", "offset"])?;
    let sort = query.name("sort", MetricSort::from_name)?;
    let asked = MetricQuery {
        search: query.text("search").unwrap_or_default().to_owned(),
        sort: sort.unwrap_or_default(),
        descending: query.is_descending()?,
    };
    let part = query.part()?;
    Ok(view.read(move |view| json(&view.metrics(&asked, part))).await)
}
