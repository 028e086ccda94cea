//! The pages over a made-up registry and a made-up recent store, at a fixed time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and reads answers that it made")]

mod clusters;
mod every_page;
mod federate;
mod overview;
mod refusals_and_metrics;

use std::{net::SocketAddr, time::Duration};

use axum::{body::Body, extract::Request as AxumRequest};
use http::{Method, Request};
use telemeter_auth::Error as AuthError;
use telemeter_fleet::{Reason, ReportRoute};
use telemeter_http::{
    clock::{Clock, ClockHandle},
    internal::Health,
    listen::Peer,
    metrics::Exposition,
};
use telemeter_rules::{Refusal, StepCounts, Transform, transforms::filter::Filter};
use telemeter_wire::{Arena, Label, MetricType, Points, Sample, SeriesSet};
use tower::ServiceExt;

use super::*;
use crate::{
    Config,
    config::{AuthorizationMode, FleetLabel, RecentStoreSettings},
    error::{Error, RequestError},
    fleet::{ObservedReport, dropped::CountDropped},
    fleet_view::ReplicaInfo,
    gateway::Gateway,
    gateway_without_listener, refusals,
    sender::Sender,
};

const NOW_MS: i64 = 1_795_335_129_000;
const DAY_MS: i64 = 86_400_000;
const HOSTILE: &str = "\"><script>alert('x')</script>&";

/// The pages, their gateway and their clock.
struct TestPages {
    view: FleetView,
    router: Router,
    clock: ClockHandle,
}

impl TestPages {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(AuthorizationMode::AnyCluster);
        config.recent_store = Some(RecentStoreSettings { keep: Duration::from_secs(7200), max_bytes: 64 << 20 });
        config.fleet.replica = "replica-7".to_owned();
        let labels =
            [r#"version=cluster_version{type="current"}/version"#, "provider=cluster_infrastructure_provider/type"];
        config.fleet.labels = labels.map(|label| FleetLabel::parse(label).unwrap()).into();
        change(&mut config);
        let (clock, handle) = Clock::fixed(NOW_MS);
        let gateway = gateway_without_listener(&config, &clock).unwrap();
        let about = ReplicaInfo {
            version: "1.2.3",
            revision: "abcdef",
            started_ms: NOW_MS - 3 * DAY_MS,
            replica: config.fleet.replica.clone(),
            certificates: Vec::new(),
        };
        let view = FleetView::new(gateway, about);
        let internal =
            InternalRouter::new(&Health::default(), Exposition::new(prometheus_client::registry::Registry::default()));
        Self { router: attach(internal, view.clone()), view, clock: handle }
    }

    fn gateway(&self) -> &Gateway {
        self.view.gateway()
    }

    /// Adds a series to the recent store.
    fn push(&self, cluster: &str, name: &str, labels: &[(&str, &str)], value: f64, ms: i64) {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let mut all = vec![Label::new("__name__", name), Label::new("_id", cluster)];
        all.extend(labels.iter().map(|(name, value)| Label::new(name, value)));
        set.push(&all, MetricType::Gauge, Points::Sample(Sample { value, timestamp_ms: Some(ms) }));
        self.gateway().recent_store.as_ref().unwrap().append(cluster, &set, ms);
    }

    /// Adds an accepted upload to the registry.
    fn report(&self, cluster: &str, series: usize, labels: [&str; 2], ms: i64) {
        let labels = labels.map(|value| (!value.is_empty()).then(|| Box::from(value)));
        let seen = ObservedReport {
            filtered: series / 10,
            samples: series as u64,
            bytes: series * 100,
            drift_ms: Some(-900),
            labels: Some(labels.into()),
        };
        let sender = sender("telemeter/9.8.7");
        self.gateway().fleet.record_accepted(ReportRoute::Upload, cluster, &sender, Some((&seen, series)), ms);
    }

    /// Adds uploads of a cluster that is known for long and reports every 270 s, the last time so many seconds ago.
    fn reports(&self, cluster: &str, series: usize, labels: [&str; 2], seconds_ago: i64) {
        self.gateway().fleet.record_accepted(
            ReportRoute::Authorize,
            cluster,
            &sender("telemeter/9.8.7"),
            None,
            NOW_MS - 9 * DAY_MS,
        );
        for push in (0..4).rev() {
            self.report(cluster, series, labels, NOW_MS - seconds_ago * 1000 - push * 270_000);
        }
    }

    fn refuse(&self, refused: &RequestError, route: ReportRoute, ms: i64) {
        self.gateway().fleet.record_refused(route, &sender("curl/8"), refused, ms);
    }

    /// Drops a series with the whitelist as a request does, and counts it.
    fn drop_series(&self, name: &str) {
        let rules = self.gateway().rules.load_full();
        let arena = Arena::new();
        let step = CountDropped::new(Filter::new(rules.whitelist())).counting(&self.gateway().fleet.dropped);
        let mut set = SeriesSet::new_in(&arena);
        let labels = [Label::new("__name__", name), Label::new("_id", "a")];
        set.push(&labels, MetricType::Gauge, Points::Sample(Sample { value: 1.0, timestamp_ms: Some(NOW_MS) }));
        let step: &dyn Transform = &step;
        telemeter_rules::run(&mut set, &[step], &mut StepCounts::default()).unwrap();
        assert_eq!(set.len(), 0, "{name} is to be dropped");
    }

    async fn ask(&self, method: Method, path: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::builder().method(method).uri(path).header("accept", "text/html");
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
        (head.status, head.headers, String::from_utf8(body.into()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let (status, _, body) = self.ask(Method::GET, path).await;
        (status, body)
    }

    /// The body of a page; fails where the status is not 200.
    async fn page(&self, path: &str) -> String {
        let (status, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    async fn json(&self, path: &str) -> serde_json::Value {
        serde_json::from_str(&self.page(path).await).unwrap()
    }
}

fn sender(program: &str) -> Sender {
    let mut request = AxumRequest::builder().header("user-agent", program).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer(SocketAddr::from(([192, 0, 2, 7], 4000))));
    Sender::of(&request)
}

fn identity() -> Error {
    Refusal::LabelValue { label: "_id".to_owned() }.into()
}

fn unknown_token() -> Error {
    AuthError::Refused { status: 401, excerpt: "".into() }.into()
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The text between the first `from` and the next `to`.
fn between<'b>(body: &'b str, from: &str, to: &str) -> &'b str {
    let (_, rest) = body.split_once(from).unwrap_or_else(|| panic!("{from} is not in {body}"));
    rest.split_once(to).unwrap_or_else(|| panic!("{to} is not behind {from}")).0
}

/// The text of a part of a page: without tags, each white space as one space.
fn words(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        text += before;
        text.push(' ');
        rest = after.split_once('>').map_or("", |(_, after)| after);
    }
    text += rest;
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("&#39;", "'").replace("&#34;", "\"")
}

/// The words of a row of a table whose first attribute is this one.
fn row(body: &str, attribute: &str) -> String {
    words(between(body, &format!("<tr role=\"row\" {attribute}"), "</tr>").split_once('>').unwrap().1)
}

/// A fleet with clusters of every status, refusals, dropped metrics and alerts.
fn fleet() -> TestPages {
    let pages = TestPages::with(|config| {
        config.rules.whitelist =
            ["up", r#"alerts{alertstate="firing"}"#, "nobody_sends_this"].map(str::to_owned).into();
    });
    pages.reports("steady-1", 1234, ["4.16.9", "AWS"], 20);
    pages.reports("steady-2", 80, ["4.9.2", "GCP"], 30);
    pages.report("fresh", 70, ["4.16.10", "AWS"], NOW_MS - 60_000);
    pages.reports("quiet-1", 60, ["4.16.9", "Azure"], 4000);
    pages.reports("quiet-2", 50, ["4.9.2", "AWS"], 9000);
    pages.reports("wrong", 40, ["4.16.9", "AWS"], 3000);
    for minute in 0..14 {
        pages.refuse(
            &RequestError::verified("wrong", identity()),
            ReportRoute::Upload,
            NOW_MS - (14 - minute) * 60_000,
        );
    }
    for minute in 0..3 {
        let refused = RequestError::claimed("stranger", unknown_token());
        pages.refuse(&refused, ReportRoute::Authorize, NOW_MS - (2 - minute) * 60_000);
    }
    pages.refuse(&RequestError::from(Error::Method), ReportRoute::Receive, NOW_MS - 2 * DAY_MS);
    pages.drop_series("container_memory_rss");
    pages.drop_series("container_memory_rss");
    pages.drop_series("go_goroutines");
    pages.push("steady-1", "up", &[("job", "x")], 1.0, NOW_MS - 290_000);
    pages.push("steady-1", "up", &[("job", "x")], 24_149_606_400.0, NOW_MS - 20_000);
    pages.push(
        "steady-1",
        "alerts",
        &[("alertname", "Watchdog"), ("alertstate", "firing"), ("severity", "none")],
        1.0,
        NOW_MS,
    );
    for pod in ["a", "b"] {
        let labels = [("alertname", "Crash"), ("alertstate", "firing"), ("pod", pod), ("severity", "critical")];
        pages.push("steady-1", "alerts", &labels, 1.0, NOW_MS);
    }
    pages.push("steady-2", "up", &[("job", "y")], 1.0, NOW_MS);
    pages
}
