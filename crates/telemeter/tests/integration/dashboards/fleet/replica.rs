//! A replica of the gateway with a clock of the test, and the requests that clusters send to it.

use std::collections::HashMap;
use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use telemeter_http::clock::{Clock, ClockHandle};
use telemeter_server::RunningServer;
use telemeter_server::config::{AuthoritySettings, AuthorizationMode, Config, FleetLabel, ForwardSettings};

use super::{STORED, Said, TOKEN, WRITES_EVERY};
use crate::ledger::composite_token;
use crate::process::until;
use crate::promql::http;
use crate::remote_write;

/// The selectors of the whitelist.
const ALLOWED: [&str; 5] =
    ["up", "cluster_version", "cluster_infrastructure_provider", "alerts", "cluster_operator_conditions"];
/// The fleet labels that `rules/` and the dashboards use.
const LABELS: [&str; 2] =
    [r#"version=cluster_version{type="current"}/version"#, "provider=cluster_infrastructure_provider/type"];

pub(crate) struct FleetReplica {
    server: RunningServer,
    clock: ClockHandle,
    now_ms: i64,
    tokens: HashMap<&'static str, String>,
}

impl FleetReplica {
    /// Starts a replica at this time. With `writes` it writes series about its fleet to the store.
    pub(crate) async fn start(name: &str, now_ms: i64, store: &str, authority: &str, writes: bool) -> Self {
        let url = |text: &str| text.parse().expect("a URL");
        let stale = Duration::from_secs(3600);
        let mut config = Config::new(AuthorizationMode::Authority(AuthoritySettings { url: url(authority), stale }));
        config.listen = "127.0.0.1:0".to_owned();
        config.listen_internal = "127.0.0.1:0".to_owned();
        config.ratelimit = None;
        config.limit_bytes = 50_000;
        config.forward = Some(ForwardSettings::new(url(store)));
        config.rules.whitelist = ALLOWED.map(str::to_owned).into();
        config.fleet.metrics = writes.then_some(WRITES_EVERY);
        config.fleet.replica = name.to_owned();
        config.fleet.labels = LABELS.iter().map(|label| FleetLabel::parse(label).expect("a fleet label")).collect();
        let (clock, handle) = Clock::fixed(now_ms);
        let server = RunningServer::start(config, clock).await.expect("a server");
        Self { server, clock: handle, now_ms, tokens: HashMap::new() }
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }

    /// Advances the clock to this time.
    pub(crate) fn set_ms(&mut self, now_ms: i64) {
        self.clock.advance(Duration::from_millis(now_ms.saturating_sub(self.now_ms).unsigned_abs()));
        self.now_ms = now_ms;
    }

    /// Requests an access token, and checks the status of the answer.
    pub(crate) async fn authorize(&mut self, cluster: &str, token: &str, expected: StatusCode) -> String {
        self.send(|external| http().post(format!("{external}/authorize?id={cluster}")).bearer_auth(token), expected)
            .await
    }

    pub(crate) async fn upload(&mut self, cluster: &'static str, said: &Said, expected: StatusCode) {
        if !self.tokens.contains_key(cluster) {
            let answer = self.authorize(cluster, TOKEN, StatusCode::OK).await;
            let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
            self.tokens.insert(cluster, answer["token"].as_str().expect("a token").to_owned());
        }
        let (token, text) = (self.tokens[cluster].clone(), said.text(cluster, self.now_ms));
        let upload = |external: &str| {
            let request = http().post(format!("{external}/upload")).bearer_auth(&token);
            request.header("user-agent", "telemeter-client/1.0.0").header("content-type", "text/plain").body(text)
        };
        self.send(upload, expected).await;
    }

    /// Sends a remote-write request of a Prometheus.
    pub(crate) async fn write(&mut self, cluster: &str, version: &str, provider: &str) {
        let time_ms = self.now_ms + 250;
        let of = |labels: &[(&str, &str)]| {
            let mut labels: Vec<(String, String)> =
                labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            labels.push(("_id".to_owned(), cluster.to_owned()));
            labels.sort();
            labels
        };
        let all = [
            of(&[("__name__", "up"), ("job", "a")]),
            of(&[("__name__", "cluster_version"), ("type", "current"), ("version", version)]),
            of(&[("__name__", "cluster_infrastructure_provider"), ("type", provider)]),
        ];
        let all: Vec<remote_write::QueriedSeries<'_>> = all
            .iter()
            .map(|labels| remote_write::QueriedSeries {
                labels: labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
                samples: vec![(time_ms, 1.0)],
            })
            .collect();
        let token = composite_token(cluster, TOKEN);
        let write = |external: &str| {
            let url = format!("{external}/metrics/v1/receive");
            remote_write::requests(&http(), &url, &all).bearer_auth(&token).header("user-agent", "Prometheus/2.42.0")
        };
        self.send(write, STORED).await;
    }

    /// Sends a request in a millisecond that nothing else uses: the state changes only in it, so a write at any other
    /// time has the state from before or from after the request.
    async fn send(&mut self, request: impl FnOnce(&str) -> RequestBuilder, expected: StatusCode) -> String {
        self.set_ms(self.now_ms + 1);
        let external = format!("http://{}", self.server.external());
        let answer = request(&external).send().await.expect("the server answers");
        let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
        assert_eq!(status, expected, "{body}");
        self.set_ms(self.now_ms + 1);
        body
    }

    /// Waits until the current state is written.
    pub(crate) async fn wrote(&self) {
        let written = || async {
            let url = format!("http://{}/metrics", self.server.internal());
            let metrics = http().get(url).send().await.expect("it answers").text().await.expect("text");
            let series = "telemeter_fleet_forward_requests_total{result=\"success\"} ";
            let count = metrics.lines().find_map(|line| line.strip_prefix(series)?.parse::<f64>().ok());
            count.unwrap_or(0.0)
        };
        // A round of writes has at most two requests: after four more, one round has begun and ended since the call.
        let enough = written().await + 4.0;
        until("what is known of the fleet is written", Duration::from_secs(60), || async {
            let count = written().await;
            if count >= enough { Ok(()) } else { Err(format!("{count} of {enough} requests")) }
        })
        .await;
    }
}
