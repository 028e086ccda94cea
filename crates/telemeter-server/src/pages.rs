//! The pages of the internal listener: who reports, what, and since when. And `/federate`, the same for a Prometheus.
//!
//! They work without JavaScript and load nothing from elsewhere; whatever came from a cluster is escaped.

mod cluster;
mod families;
mod federate;
pub(crate) mod human;
mod listing;
mod overview;
mod sparkline;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use telemeter_fleet::recent_store::RecentStore;
use telemeter_http::{
    clock::Clock,
    internal::{Internal, paths_json},
};
use tokio::sync::Semaphore;

pub use overview::overview;

use crate::read_turns::ReadTurns;

/// The paths that [`router`] answers, for the list that machines read. A `{…}` stands for what is filled in.
pub const PATHS: [&str; 3] = ["/federate", "/clusters/{id}", "/families"];

/// So many readers walk over the store at a time; the others wait for their turn.
const READERS: usize = 2;

/// What the pages read.
#[derive(Clone)]
pub struct Pages {
    store: Arc<RecentStore>,
    clock: Clock,
    turns: ReadTurns,
    federations: Arc<Semaphore>,
}

impl Pages {
    /// Pages about what `store` holds.
    #[must_use]
    pub fn new(store: Arc<RecentStore>, clock: Clock) -> Self {
        Self {
            store,
            clock,
            turns: ReadTurns::new(READERS),
            federations: Arc::new(Semaphore::new(federate::AT_A_TIME)),
        }
    }

    /// Reads the store on a thread that may take its time.
    async fn read<T: Send + 'static>(&self, read: impl FnOnce(&RecentStore, i64) -> T + Send + 'static) -> T {
        let (store, clock) = (Arc::clone(&self.store), self.clock.clone());
        self.turns.read(move || read(&store, clock.now_ms())).await
    }
}

/// The internal listener with the pages on it; `/` answers browsers with the overview, and machines with the paths.
pub fn attach(internal: Internal, pages: Pages) -> Router {
    let mut paths = internal.paths();
    paths.extend(PATHS.map(str::to_owned));
    paths.sort();
    let json = paths_json(&paths);
    let overview = pages.clone();
    let root = get(move |headers: HeaderMap, uri: Uri| async move {
        if wants_html(&headers) {
            return self::overview(State(overview), uri).await;
        }
        ([(header::CONTENT_TYPE, "application/json"), (header::VARY, "accept")], json).into_response()
    });
    internal.root(root).with(router(pages)).router()
}

/// All paths of the pages but `/`, which machines have a share in: see [`attach`], or [`wants_html`] and [`overview`].
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/federate", get(federate::federate))
        .route("/clusters/{id}", get(cluster::cluster))
        .route("/families", get(families::families))
        .route("/assets/{name}", get(asset))
        .with_state(pages)
}

/// Whether a request is a browser's: it names `text/html`, and does not like JSON better.
#[must_use]
pub fn wants_html(headers: &HeaderMap) -> bool {
    let mut likes = [0.0_f32; 2];
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    for range in ranges.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let at = match parts.next().unwrap_or("").to_ascii_lowercase().as_str() {
            "text/html" => 0,
            "application/json" => 1,
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        likes[at] = quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
    }
    likes[0] > 0.0 && likes[0] >= likes[1]
}

const STYLE: &str = include_str!("../templates/style.css");

/// The style sheet's name holds a hash of its content: it may be kept for ever.
fn style_name() -> String {
    // FNV-1a: it has only to differ when the content does.
    let hash = STYLE
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("style-{hash:016x}.css")
}

async fn asset(Path(name): Path<String>) -> Response {
    if name != style_name() {
        return (StatusCode::NOT_FOUND, "no such file\n").into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, STYLE).into_response()
}

/// What every page has beside its own.
struct Frame {
    style: String,
    /// Which link of the navigation leads here.
    here: &'static str,
}

impl Frame {
    fn new(here: &'static str) -> Self {
        Self { style: style_name(), here }
    }
}

const PAGE_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    // The same address answers machines with JSON.
    (header::VARY, HeaderValue::from_static("accept")),
];

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
#[template(path = "message.html")]
struct Message<'m> {
    frame: Frame,
    title: &'m str,
    text: &'m str,
}

fn message(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, &Message { frame: Frame::new(""), title, text })
}
