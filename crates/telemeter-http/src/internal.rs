//! The internal routes of both programs: health, metrics, profiles, reload, and a list of the paths.

mod access;
mod health;
mod profile;

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, get, post};
use http::{HeaderMap, StatusCode, header};
use tokio::sync::Mutex;

pub use self::access::{Access, TokenRenewal};
pub use self::health::{Health, HealthCondition};
use crate::metrics::Exposition;

/// The path of the heap profile.
const HEAP: &str = "/debug/pprof/heap";

/// Builds the router of an internal listener.
#[must_use]
pub struct InternalRouter {
    router: Router,
    paths: Vec<String>,
    root: Option<MethodRouter>,
    heap: MethodRouter,
    access: Access,
    more: Router,
}

type Reloading = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

impl InternalRouter {
    /// Starts with `/healthz`, `/healthz/ready`, `/metrics`, `/debug/pprof/` and the CPU profile. The heap profile is a
    /// 501 until it is added.
    pub fn new(health: &Health, exposition: Exposition) -> Self {
        let metrics = get(move |headers: HeaderMap| {
            let answer = exposition.answer(&headers);
            async move { answer }
        });
        let (heap, access) = (get(profile::no_heap), Access::default());
        Self { router: Router::new(), paths: vec![HEAP.to_owned()], root: None, heap, access, more: Router::new() }
            .route("/healthz", live())
            .route("/healthz/ready", ready(health))
            .route("/metrics", metrics)
            .route("/debug/pprof/", get(profile::index))
            .route("/debug/pprof/profile", get(profile::cpu))
    }

    /// Serves a profile at `/debug/pprof/heap`, where the program allocates with jemalloc. A program that does not call
    /// this does not link jemalloc.
    pub fn heap_profile(self) -> Self {
        Self { heap: get(profile::heap), ..self }
    }

    /// Adds `POST /-/reload`: 200 where `reload` succeeds, else 500 with its error in one line. One reload runs at a
    /// time, and it continues where the caller closes the connection.
    pub fn reload<F>(self, reload: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let reload: Arc<dyn Fn() -> Reloading + Send + Sync> = Arc::new(move || Box::pin(reload()));
        let turn = Arc::new(Mutex::new(()));
        let handler = move || {
            let (reload, turn) = (reload.clone(), turn.clone());
            let work = tokio::spawn(async move {
                let _mine = turn.lock().await;
                reload().await
            });
            async move { reload_response(work.await.unwrap_or_else(|_panic| Err("internal error".to_owned()))) }
        };
        self.route("/-/reload", post(handler))
    }

    /// Adds a route, and lists its path.
    pub fn route(mut self, path: &str, handler: MethodRouter) -> Self {
        self.paths.push(path.to_owned());
        self.router = self.router.route(path, handler);
        self
    }

    /// Lists a path that another router serves.
    pub fn list(mut self, path: &str) -> Self {
        self.paths.push(path.to_owned());
        self
    }

    /// Sets the handler for `/` in place of the list; [`paths_json`] makes the list.
    pub fn root(self, handler: MethodRouter) -> Self {
        Self { root: Some(handler), ..self }
    }

    /// The listed paths and `/`, sorted.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = self.paths.clone();
        paths.push("/".to_owned());
        paths.sort();
        paths
    }

    /// Sets the access rules. By default every request is served, except a `POST` from a page of another origin.
    pub fn access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Adds the routes of another router, with the same access rules; [`InternalRouter::list`] lists them.
    pub fn with(self, more: Router) -> Self {
        Self { more: self.more.merge(more), ..self }
    }

    /// The finished router; every other path is 404.
    pub fn router(self) -> Router {
        let paths = self.paths();
        let root = self.root.unwrap_or_else(|| paths_route(&paths));
        let access = self.access;
        let check = middleware::from_fn(move |request, next| access.clone().check(request, next));
        self.router.route("/", root).route(HEAP, self.heap).merge(self.more).layer(check)
    }
}

/// The handler of `GET` for liveness: always 200 `ok`.
pub fn live() -> MethodRouter {
    get(|| async { "ok" })
}

/// The handler of `GET` for readiness: 200 `ok`, or 503 with a line for each condition that does not hold.
pub fn ready(health: &Health) -> MethodRouter {
    let health = health.clone();
    get(move || {
        let answer = match health.reasons() {
            reasons if reasons.is_empty() => "ok".into_response(),
            reasons => (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], reasons.join("\n") + "\n")
                .into_response(),
        };
        async move { answer }
    })
}

/// The same without the reasons, for callers from outside: 200 `ok`, or 503 `not ready`.
pub fn readiness_without_reasons(health: &Health) -> MethodRouter {
    let health = health.clone();
    get(move || {
        let answer = if health.is_ready() {
            "ok".into_response()
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], "not ready\n").into_response()
        };
        async move { answer }
    })
}

/// The handler of `GET` for the list of paths, as [`paths_json`].
pub fn paths_route<P: AsRef<str>>(paths: &[P]) -> MethodRouter {
    let body = paths_json(paths);
    get(move || async move { ([(header::CONTENT_TYPE, "application/json")], body) })
}

/// The paths as JSON, sorted: `{"paths":[...]}`.
pub fn paths_json<P: AsRef<str>>(paths: &[P]) -> String {
    let mut paths: Vec<&str> = paths.iter().map(AsRef::as_ref).collect();
    paths.sort_unstable();
    serde_json::json!({ "paths": paths }).to_string()
}

/// Logs the outcome of a reload and responds with it: `ok`, or a 500 with the error.
fn reload_response(outcome: Result<(), String>) -> Response {
    match outcome {
        Ok(()) => {
            tracing::info!("reloaded");
            "ok\n".into_response()
        }
        Err(error) => {
            tracing::error!(error, "not reloaded: the old configuration stays");
            let line = format!("not reloaded, the old configuration stays: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, line).into_response()
        }
    }
}

#[cfg(test)]
mod tests;
