//! Requests that fail because of us: too many under way, a shutdown, a panic. The line of the log, the counter,
//! the registry and the JSON name the same cluster and the same reason; for the other reasons see `refusals.rs`.
#![allow(clippy::unwrap_used)]

mod support;

use std::{convert::Infallible, net::SocketAddr, sync::atomic::Ordering};

use axum::{Router, body::Body, extract::Request, middleware, routing::post};
use prometheus_client::registry::Registry;
use support::{
    CLUSTER, NOW_MS, SOON, body, composite,
    gateway::shared,
    log::LogCapture,
    refusal::{ExpectedRefusal, RefusedCaller},
};
use telemeter_fleet::ReportRoute;
use telemeter_http::{
    budget::{MemoryBudget, MemoryShare},
    instrument::HttpMetrics,
    internal::Health,
    listen::Peer,
};
use telemeter_server::{
    Config, api,
    concurrency::Concurrency,
    config::AuthorizationMode,
    explain::explain,
    fleet_view::{FleetView, ReplicaInfo},
    gateway::{Gateway, GatewayParts, Workspaces},
    routes,
};
use tower::ServiceExt as _;

/// Both routers over one gateway, its log and its metrics.
struct GatewayWatch {
    log: LogCapture,
    registry: Registry,
    gateway: Gateway,
    external: Router,
    api: Router,
    token: String,
}

impl GatewayWatch {
    fn new(change: impl FnOnce(&mut GatewayParts)) -> Self {
        let (log, mut registry) = (LogCapture::start(), Registry::default());
        let (mut shared, token) = shared(&Config::new(AuthorizationMode::AnyCluster), &mut registry);
        change(&mut shared);
        let gateway = Gateway::new(shared);
        let http = HttpMetrics::register(&mut registry);
        let external = routes::external(gateway.clone(), &Health::new(), &http);
        // The same layers as a route has, around another handler.
        let panics = post(panics)
            .layer::<_, Infallible>(middleware::from_fn_with_state((gateway.clone(), ReportRoute::Upload), explain))
            .layer::<_, Infallible>(http.layer("upload"));
        let external = external.route("/panics", panics);
        let (revision, replica) = ("", String::new());
        let about = ReplicaInfo { version: "", revision, started_ms: NOW_MS, replica, certificates: Vec::new() };
        let api = api::router(FleetView::new(gateway.clone(), about));
        Self { log, registry, gateway, external, api, token }
    }

    fn upload(&self, path: &str) -> Request {
        let builder = http::Request::post(path).header("authorization", format!("Bearer {}", self.token));
        builder.header("content-type", body::TEXT).body(Body::from(body::text(&["up,_id=c1,env=prod 1@0"]))).unwrap()
    }

    fn receive(&self) -> Request {
        let builder = http::Request::post("/metrics/v1/receive")
            .header("authorization", format!("Bearer {}", composite(CLUSTER)));
        builder.body(Body::from(body::block(&body::write_request(&["up,_id=c1 1@0"])))).unwrap()
    }

    /// Sends a request, and checks its refusal.
    async fn check(&self, mut request: Request, expected: ExpectedRefusal) {
        let peer: SocketAddr = "127.0.0.1:1".parse().unwrap();
        request.extensions_mut().insert(Peer(peer));
        let response = self.external.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), expected.status, "{}", expected.reason);
        let mut metrics = String::new();
        prometheus_client::encoding::text::encode(&mut metrics, &self.registry).unwrap();
        let counter = expected.counter();
        let counted = metrics.lines().find_map(|line| line.strip_prefix(&counter)?.trim().parse().ok());
        let get = async |path: String| {
            let request = http::Request::get(path).body(Body::empty()).unwrap();
            let response = self.api.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 200);
            let mut body = Vec::new();
            telemeter_http::body::read(response.into_body(), 1 << 20, SOON, &mut body).await.unwrap();
            serde_json::from_slice(&body).unwrap()
        };
        expected.check(&self.log.refusals(), counted.unwrap_or(0.0), get).await;
    }
}

async fn panics() -> http::StatusCode {
    panic!("of the test")
}

#[tokio::test]
async fn too_many_of_one_cluster_at_once() {
    let watch = GatewayWatch::new(|shared| shared.concurrency = Concurrency::new(0));
    let (status, reason, of, cause) = (503, "concurrency", RefusedCaller::Verified(CLUSTER), "at once");
    watch.check(watch.upload("/upload"), ExpectedRefusal { route: "upload", status, reason, of, cause }).await;
    watch.check(watch.receive(), ExpectedRefusal { route: "receive", status, reason, of, cause }).await;
}

#[tokio::test]
async fn no_memory_left() {
    let budget = MemoryBudget::new(1000);
    let _held = budget.try_reserve(MemoryShare::Workspaces, budget.capacity_bytes(MemoryShare::Workspaces)).unwrap();
    let watch = GatewayWatch::new(|shared| shared.workspaces = Workspaces::new(budget.clone()));
    let (status, reason, of, cause) = (503, "overloaded", RefusedCaller::Verified(CLUSTER), "");
    watch.check(watch.upload("/upload"), ExpectedRefusal { route: "upload", status, reason, of, cause }).await;
    watch.check(watch.receive(), ExpectedRefusal { route: "receive", status, reason, of, cause }).await;
}

#[tokio::test]
async fn shutting_down() {
    let watch = GatewayWatch::new(|_| ());
    watch.gateway.draining.store(true, Ordering::Relaxed);
    let (status, reason, of, cause) = (503, "draining", RefusedCaller::Nobody, "");
    watch.check(watch.upload("/upload"), ExpectedRefusal { route: "upload", status, reason, of, cause }).await;
    watch.check(watch.receive(), ExpectedRefusal { route: "receive", status, reason, of, cause }).await;
    let authorize = http::Request::post("/authorize?id=c7").header("authorization", "Bearer secret");
    let authorize = authorize.body(Body::empty()).unwrap();
    watch.check(authorize, ExpectedRefusal { route: "authorize", status, reason, of, cause }).await;
}

#[tokio::test]
async fn a_panic() {
    let watch = GatewayWatch::new(|_| ());
    let expected =
        ExpectedRefusal { route: "upload", status: 500, reason: "internal", of: RefusedCaller::Nobody, cause: "" };
    watch.check(watch.upload("/panics"), expected).await;
}
