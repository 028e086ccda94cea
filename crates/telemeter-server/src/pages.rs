//! The pages of the internal listener: which clusters report, which are silent, which are refused and why. And `/federate`, which
//! shows a Prometheus what was forwarded lately.
//!
//! They show what the JSON API shows ([`FleetView`]). They work without JavaScript and load nothing from other hosts; every text
//! of a cluster is escaped.

mod assets;
mod chart;
mod cluster;
mod clusters;
mod families;
mod family;
mod federate;
pub(crate) mod human;
mod listing;
mod overview;
mod refused;
mod series;
mod sparkline;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use telemeter_http::{
    internal::{InternalRouter, paths_json},
    page::{self, wants_html},
};
use tokio::sync::Semaphore;

use crate::{api, fleet_view::FleetView};

/// The paths of the pages, for the list that machines read. A `{…}` is a parameter.
const PATHS: [&str; 5] = ["/clusters", "/clusters/{id}", "/families", "/families/{name}", "/refused"];

/// The state that the handlers of the pages share.
#[derive(Clone)]
struct Pages {
    view: FleetView,
    federations: Arc<Semaphore>,
}

impl Pages {
    fn new(view: FleetView) -> Self {
        Self { view, federations: Arc::new(Semaphore::new(federate::AT_A_TIME)) }
    }
}

/// Adds the pages and the API to the internal listener; `/` answers browsers with the overview, and machines with the paths.
pub fn attach(internal: InternalRouter, view: FleetView) -> Router {
    let federate = view.gateway().recent_store.is_some().then_some("/federate");
    let internal = api::PATHS.into_iter().chain(PATHS).chain(federate).fold(internal, InternalRouter::list);
    let json = paths_json(&internal.paths());
    let pages = Pages::new(view.clone());
    let overview = pages.clone();
    let root = get(move |headers: HeaderMap| async move {
        if wants_html(&headers) {
            return overview::overview(State(overview)).await;
        }
        ([(header::CONTENT_TYPE, "application/json"), (header::VARY, "accept")], json).into_response()
    });
    internal.root(root).with(api::router(view)).with(router(pages)).router()
}

/// The routes of the pages but `/`, which [`attach`] adds: it answers machines, too.
fn router(pages: Pages) -> Router {
    Router::new()
        .route("/federate", get(federate::federate))
        .route("/clusters", get(clusters::clusters))
        .route("/clusters/{id}", get(cluster::cluster))
        .route("/refused", get(refused::refused))
        .route("/families", get(families::families))
        .route("/families/{name}", get(family::family))
        .route("/assets/{name}", get(assets::asset))
        .fallback(not_found)
        .with_state(pages)
}

/// What every page shows: its head, the navigation, the foot.
struct PageFrame {
    style: &'static str,
    script: &'static str,
    /// Which link of the navigation leads to this page.
    here: &'static str,
    /// When the page was made.
    now: human::ShownTime,
    replica: String,
    version: &'static str,
    has_federate: bool,
}

impl PageFrame {
    fn new(here: &'static str, view: &FleetView) -> Self {
        let now_ms = view.now_ms();
        Self {
            style: assets::style_name(),
            script: assets::script_name(),
            here,
            now: human::ShownTime::new(now_ms, now_ms),
            replica: view.replica_info().replica.clone(),
            version: view.replica_info().version,
            has_federate: view.gateway().recent_store.is_some(),
        }
    }
}

/// As [`page::HEADERS`], with the script that refreshes numbers.
const PAGE_HEADERS: [(HeaderName, HeaderValue); 6] = page::headers(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => (status, PAGE_HEADERS, text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page did not render");
            (StatusCode::INTERNAL_SERVER_ERROR, "the page did not render\n").into_response()
        }
    }
}

#[derive(Template)]
#[template(path = "not_found.html")]
struct NotFound {
    frame: PageFrame,
    path: String,
}

/// Answers requests for a path that does not exist.
async fn not_found(State(pages): State<Pages>, headers: HeaderMap, uri: Uri) -> Response {
    if wants_html(&headers) {
        let path = uri.path()[..uri.path().floor_char_boundary(256)].to_owned();
        return page(StatusCode::NOT_FOUND, &NotFound { frame: PageFrame::new("", &pages.view), path });
    }
    (StatusCode::NOT_FOUND, "no such path; GET / lists them\n").into_response()
}
