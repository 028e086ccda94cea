//! A whole server in this process: on free ports, between a fake authority and a fake store, at a fixed time.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod body;
pub(crate) mod body_v2;
pub(crate) mod fake;
pub(crate) mod gateway;
pub(crate) mod log;
pub(crate) mod receiver_v1;
pub(crate) mod receiver_v2;
pub(crate) mod refusal;
pub(crate) mod stored;

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, StatusCode};
use telemeter_http::clock::{Clock, ClockHandle};
use telemeter_server::{
    Config, RunningServer,
    config::{AuthoritySettings, AuthorizationMode, ForwardProtocol, ForwardSettings},
};

use self::{
    body::{DELIMITED, TEXT},
    fake::{FakeAnswer, FakeServer},
};

/// The time of the fixed clock, until a test moves it.
pub(crate) const NOW_MS: i64 = 1_800_000_000_000;
/// Long enough for anything that should happen, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The cluster of tests that need no particular one.
pub(crate) const CLUSTER: &str = "c1";

/// A server, its fake authority and store, and a client that calls it.
pub(crate) struct TestServer {
    pub(crate) server: RunningServer,
    pub(crate) clock: ClockHandle,
    offset_ms: AtomicI64,
    pub(crate) authority: FakeServer,
    pub(crate) store: FakeServer,
    pub(crate) outbound: TestClient,
}

/// The response that a caller got.
#[derive(Debug)]
pub(crate) struct CallerAnswer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl TestServer {
    /// Starts a server with the default configuration, but without a rate limit.
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same, with a changed configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let authority = FakeServer::start(fake::approve).await;
        let store = FakeServer::start(|_| FakeAnswer::of(200)).await;
        let authorization =
            AuthorizationMode::Authority(AuthoritySettings { url: authority.url(), stale: Duration::from_secs(3600) });
        let mut config = Config::new(authorization);
        config.listen = "127.0.0.1:0".to_owned();
        config.listen_internal = "127.0.0.1:0".to_owned();
        config.ratelimit = None;
        config.forward =
            Some(ForwardSettings { tenant: Some("tenant".to_owned()), ..ForwardSettings::new(store.url()) });
        change(&mut config);
        let (clock, handle) = Clock::fixed(NOW_MS);
        let server = RunningServer::start(config, clock).await.expect("a server");
        Self { server, clock: handle, offset_ms: AtomicI64::new(0), authority, store, outbound: TestClient::new() }
    }

    /// A server whose store is a receiver of remote write 2.0.
    pub(crate) async fn forwarding_v2(change: impl FnOnce(&mut Config)) -> Self {
        let server = Self::with(|config| {
            config.forward.as_mut().expect("a store").protocol = ForwardProtocol::V2;
            change(config);
        })
        .await;
        server.store.says(receiver_v2::receive);
        server
    }

    /// Sets the clock to this distance to [`NOW_MS`].
    pub(crate) fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
        self.clock.set_ms(NOW_MS + offset_ms);
    }

    /// Lets time pass, on both clocks, until this distance to [`NOW_MS`].
    pub(crate) fn advance_to_ms(&self, offset_ms: i64) {
        let before_ms = self.offset_ms.swap(offset_ms, Ordering::Relaxed);
        self.clock.advance(Duration::from_millis(offset_ms.saturating_sub(before_ms).unsigned_abs()));
    }

    /// The distance that it was set to last.
    pub(crate) fn offset_ms(&self) -> i64 {
        self.offset_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn external(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.external())
    }

    pub(crate) fn internal(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.internal())
    }

    /// A `POST` to the external listener.
    pub(crate) fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.outbound.http().post(self.external(path))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> CallerAnswer {
        send(&self.outbound, request).await
    }

    pub(crate) async fn get(&self, url: String) -> CallerAnswer {
        self.send(self.outbound.http().get(url)).await
    }

    pub(crate) async fn authorize(&self, cluster: &str, token: &str) -> CallerAnswer {
        self.send(self.post(&format!("/authorize?id={cluster}")).bearer_auth(token)).await
    }

    /// A token of ours for this cluster.
    pub(crate) async fn token(&self, cluster: &str) -> String {
        let answer = self.authorize(cluster, "secret").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["token"].as_str().expect("a token").to_owned()
    }

    /// Uploads these series (see [`body`]) as text.
    pub(crate) async fn upload(&self, token: &str, series: &[&str]) -> CallerAnswer {
        self.send(self.upload_of(token, TEXT, body::text(series))).await
    }

    /// Uploads these series as delimited protobuf in framed snappy.
    pub(crate) async fn upload_delimited(&self, token: &str, series: &[&str]) -> CallerAnswer {
        let body = body::framed(&body::delimited(series));
        self.send(self.upload_of(token, DELIMITED, body).header("content-encoding", "snappy")).await
    }

    pub(crate) fn upload_of(
        &self,
        token: &str,
        format: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::RequestBuilder {
        self.post("/upload").bearer_auth(token).header("content-type", format).body(body)
    }

    /// Remote-writes these series, as this cluster.
    pub(crate) async fn receive(&self, cluster: &str, series: &[&str]) -> CallerAnswer {
        self.send(self.receive_of(cluster, body::block(&body::write_request(series)))).await
    }

    pub(crate) fn receive_of(&self, cluster: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.post("/metrics/v1/receive").bearer_auth(composite(cluster)).body(body)
    }

    /// Remote-writes this request of 2.0, as this cluster.
    pub(crate) async fn receive_v2(&self, cluster: &str, request: &body_v2::Request) -> CallerAnswer {
        self.send(self.receive_v2_of(cluster, request.block())).await
    }

    pub(crate) fn receive_v2_of(&self, cluster: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        let request = self.receive_of(cluster, body).header("content-type", body_v2::CONTENT_TYPE);
        request.header("content-encoding", "snappy").header("x-prometheus-remote-write-version", "2.0.0")
    }

    /// The series that reached the store since the last call, as [`body`] writes them.
    pub(crate) fn stored(&self) -> Vec<String> {
        let requests = self.store.take();
        requests.iter().flat_map(|request| body::shown(&body::of_block(&request.body))).collect()
    }

    /// As [`stored`](Self::stored), of a store that was sent 2.0; each request has to be valid by the specification.
    pub(crate) fn stored_v2(&self) -> Vec<String> {
        body::shown(&self.store.take().iter().flat_map(receiver_v2::series_of).collect::<Vec<_>>())
    }

    pub(crate) async fn reload(&self) -> CallerAnswer {
        self.send(self.outbound.http().post(self.internal("/-/reload"))).await
    }

    pub(crate) async fn scrape(&self) -> String {
        self.get(self.internal("/metrics")).await.body
    }

    /// The value of one of our own series, 0 where it is not there.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let scrape = self.scrape().await;
        let mut lines = scrape.lines().filter_map(|line| line.rsplit_once(' '));
        lines.find(|(name, _)| *name == series).map_or(0.0, |(_, value)| value.parse().expect("a number"))
    }
}

impl CallerAnswer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

pub(crate) async fn send(client: &TestClient, request: reqwest::RequestBuilder) -> CallerAnswer {
    let (status, headers, body) = client.send(request).await.expect("an answer");
    CallerAnswer { status: status.as_u16(), headers, body: String::from_utf8(body).expect("text") }
}

/// A client of the server: another HTTP library than the one under test.
#[derive(Clone)]
pub(crate) struct TestClient(reqwest::Client);

impl TestClient {
    fn new() -> Self {
        let client = reqwest::Client::builder().timeout(SOON).no_proxy().redirect(reqwest::redirect::Policy::none());
        Self(client.build().expect("a client"))
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.0
    }

    pub(crate) async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(StatusCode, HeaderMap, Vec<u8>), reqwest::Error> {
        let mut response = request.send().await?;
        let (status, headers, mut body) = (response.status(), response.headers().clone(), Vec::new());
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        Ok((status, headers, body))
    }
}

/// The composite token of a cluster.
pub(crate) fn composite(cluster: &str) -> String {
    let json = serde_json::json!({"authorization_token": "secret", "cluster_id": cluster});
    BASE64_STANDARD.encode(json.to_string())
}

/// An address without a listener.
pub(crate) fn nowhere() -> url::Url {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}/", listener.local_addr().expect("its address")).parse().expect("a URL")
}
