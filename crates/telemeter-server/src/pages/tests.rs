#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and reads answers that it made")]

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

/// The pages over a made-up registry and a made-up recent store, at a fixed time.
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
            Internal::new(&Health::default(), Exposition::new(prometheus_client::registry::Registry::default()));
        Self { router: attach(internal, view.clone()), view, clock: handle }
    }

    fn gateway(&self) -> &Gateway {
        self.view.gateway()
    }

    /// A series in the recent store.
    fn push(&self, cluster: &str, name: &str, labels: &[(&str, &str)], value: f64, ms: i64) {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let mut all = vec![Label::new("__name__", name), Label::new("_id", cluster)];
        all.extend(labels.iter().map(|(name, value)| Label::new(name, value)));
        set.push(&all, MetricType::Gauge, Points::Sample(Sample { value, timestamp_ms: Some(ms) }));
        self.gateway().recent_store.as_ref().unwrap().append(cluster, &set, ms);
    }

    /// An accepted upload in the registry.
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

    /// The same, of a cluster that is known for long and reports every 270 s, the last time so many seconds ago.
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

    /// Puts a series through the whitelist as a request does, and counts what it drops.
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

    /// A page that is there.
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

/// What stands between the first `from` and the next `to`.
fn between<'b>(body: &'b str, from: &str, to: &str) -> &'b str {
    let (_, rest) = body.split_once(from).unwrap_or_else(|| panic!("{from} is not in {body}"));
    rest.split_once(to).unwrap_or_else(|| panic!("{to} is not behind {from}")).0
}

/// A piece of a page as it is read: without tags, each white space as one space.
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

/// A fleet with something of each kind.
fn fleet() -> TestPages {
    let site = TestPages::with(|config| {
        config.rules.whitelist =
            ["up", r#"alerts{alertstate="firing"}"#, "nobody_sends_this"].map(str::to_owned).into();
    });
    site.reports("steady-1", 1234, ["4.16.9", "AWS"], 20);
    site.reports("steady-2", 80, ["4.9.2", "GCP"], 30);
    site.report("fresh", 70, ["4.16.10", "AWS"], NOW_MS - 60_000);
    site.reports("quiet-1", 60, ["4.16.9", "Azure"], 4000);
    site.reports("quiet-2", 50, ["4.9.2", "AWS"], 9000);
    site.reports("wrong", 40, ["4.16.9", "AWS"], 3000);
    for minute in 0..14 {
        site.refuse(&RequestError::verified("wrong", identity()), ReportRoute::Upload, NOW_MS - (14 - minute) * 60_000);
    }
    for minute in 0..3 {
        let refused = RequestError::claimed("stranger", unknown_token());
        site.refuse(&refused, ReportRoute::Authorize, NOW_MS - (2 - minute) * 60_000);
    }
    site.refuse(&RequestError::from(Error::Method), ReportRoute::Receive, NOW_MS - 2 * DAY_MS);
    site.drop_series("container_memory_rss");
    site.drop_series("container_memory_rss");
    site.drop_series("go_goroutines");
    site.push("steady-1", "up", &[("job", "x")], 1.0, NOW_MS - 290_000);
    site.push("steady-1", "up", &[("job", "x")], 24_149_606_400.0, NOW_MS - 20_000);
    site.push(
        "steady-1",
        "alerts",
        &[("alertname", "Watchdog"), ("alertstate", "firing"), ("severity", "none")],
        1.0,
        NOW_MS,
    );
    for pod in ["a", "b"] {
        let labels = [("alertname", "Crash"), ("alertstate", "firing"), ("pod", pod), ("severity", "critical")];
        site.push("steady-1", "alerts", &labels, 1.0, NOW_MS);
    }
    site.push("steady-2", "up", &[("job", "y")], 1.0, NOW_MS);
    site
}

#[tokio::test]
async fn the_overview_counts_who_is_how_and_links_there() {
    let site = fleet();
    let body = site.page("/").await;
    for (status, state, count) in
        [("silent", "bad", "2"), ("refused", "warn", "1"), ("new", "", "1"), ("reporting", "", "2")]
    {
        let link = format!("<a id=\"clusters-{status}\" class=\"{state}\" href=\"/clusters?status={status}\">");
        assert!(between(&body, &link, "</a>").contains(&format!("<strong>{count}</strong>")), "{status}: {body}");
    }
    assert!(between(&body, "id=\"clusters-total\"", "</a>").contains("<strong>6</strong>"));
    let lead = words(between(&body, "<p class=\"lead\">", "</p>"));
    assert_eq!(lead, "Replica replica-7 , telemeter 1.2.3 (abcdef) , up for 3 d");
    // Most frequent first, each a link to who it was.
    let refusals = between(&body, "id=\"refusals\"", "</table>");
    for (reason, route, count) in
        [("identity", "upload", "14"), ("authority_refused", "authorize", "3"), ("method", "receive", "1")]
    {
        let link = format!("href=\"/refused?reason={reason}&#38;route={route}\"");
        assert_eq!(
            words(between(refusals, &link, "</tr>").split_once('>').unwrap().1),
            format!("{reason} {route} {count}")
        );
    }
    let dropped = words(between(&body, "id=\"dropped\"", "</table>"));
    assert!(dropped.ends_with("container_memory_rss 2 go_goroutines 1"), "{dropped}");
    assert!(body.contains("href=\"/families/container_memory_rss\""));
    assert!(
        words(between(&body, "id=\"recent-store\"", "</p>")).contains("5 series of 2 clusters, 6 samples"),
        "{body}"
    );
}

#[tokio::test]
async fn the_overview_shows_what_it_depends_on() {
    let site = TestPages::with(|config| {
        config.forward = Some(crate::config::ForwardSettings::new("http://127.0.0.1:9/".parse().unwrap()));
    });
    let card = |body: &str| words(between(body, "data-dependency=\"store\"", "</li>").split_once('>').unwrap().1);
    assert_eq!(card(&site.page("/").await), "Store Not asked yet");
    let store = &site.gateway().fleet.dependencies.store;
    store.available(Some(Duration::from_millis(12)), NOW_MS - 7_200_000);
    assert_eq!(card(&site.page("/").await), "Store Answers in 12 ms since 2026-11-22 06:12:09 UTC , 2 h ago");
    store.unavailable("connection refused", NOW_MS - 60_000);
    let body = site.page("/").await;
    assert!(body.contains("data-dependency=\"store\" data-state=\"bad\""));
    assert_eq!(card(&body), "Store Fails in 12 ms since 2026-11-22 08:11:09 UTC , 1 min ago connection refused");
    store.available(None, NOW_MS - 1000);
    assert!(card(&site.page("/").await).ends_with("Last failure 1 min ago: connection refused"));
}

#[tokio::test]
async fn the_overview_has_the_last_hour_by_route() {
    let site = TestPages::new();
    for second in (0..3600).rev() {
        let ms = NOW_MS - second * 1000;
        site.gateway().fleet.tick(ms);
        if second % 2 == 0 {
            site.report("a", 100, ["", ""], ms);
        }
        if second % 10 == 0 {
            site.refuse(&RequestError::verified("a", identity()), ReportRoute::Upload, ms);
        }
    }
    let body = site.page("/").await;
    let upload = row(&body, "data-route=\"upload\"");
    // To the second, a minute of these is not the same everywhere.
    assert!(upload.starts_with("upload /upload 0.5") && upload.ends_with(" 1,800 360"), "{upload}");
    let chart = between(&body, "<svg class=\"hour\"", "</svg>");
    assert!(
        chart.contains("Requests a second in the last hour: at most 0.") && chart.contains("line upload"),
        "{chart}"
    );
    assert!((60..=62).contains(&chart.matches("<rect").count()), "{chart}");
    assert!(chart.contains("upload 0.50"), "{chart}");
    let history = site.json("/api/v1/history").await;
    let minutes = history["minutes"].as_array().unwrap();
    assert!((60..=61).contains(&minutes.len()));
    assert_eq!(minutes[30]["routes"]["upload"]["samples_per_second"], 50.0);
    assert_eq!(minutes[30]["routes"]["upload"]["refused_per_second"], 0.1);
}

fn ids(body: &str) -> Vec<&str> {
    body.split("data-cluster=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect()
}

#[tokio::test]
async fn clusters_are_searched_filtered_and_sorted() {
    let site = fleet();
    for (query, expected) in [
        ("", &["quiet-1", "quiet-2", "wrong", "steady-1", "steady-2", "fresh"][..]),
        ("?status=silent", &["quiet-1", "quiet-2"]),
        ("?status=refused", &["wrong"]),
        ("?status=new", &["fresh"]),
        ("?status=reporting", &["steady-1", "steady-2"]),
        ("?status=nonsense&search=quiet", &["quiet-1", "quiet-2"]),
        ("?search=EADY", &["steady-1", "steady-2"]),
        ("?search=4.16.9&sort=id", &["quiet-1", "steady-1", "wrong"]),
        ("?search=aws&sort=id&order=desc", &["wrong", "steady-1", "quiet-2", "fresh"]),
        ("?search=aws&status=silent", &["quiet-2"]),
        ("?sort=series&order=desc&search=steady", &["steady-1", "steady-2"]),
        ("?sort=version&order=desc&search=aws", &["fresh", "wrong", "steady-1", "quiet-2"]),
        ("?sort=refused&order=desc&search=wr", &["wrong"]),
        ("?search=nothing-like-it", &[]),
    ] {
        let body = site.page(&format!("/clusters{query}")).await;
        assert_eq!(ids(&body), expected, "{query}");
    }
    let body = site.page("/clusters?search=aws").await;
    let choices = words(between(&body, "aria-label=\"Status\">", "</nav>"));
    assert_eq!(choices, "All 4 Silent 1 Refused 1 New 1 Reporting 1");
    assert!(body.contains("href=\"/clusters?search=aws&#38;status=silent\" data-choice=\"silent\""), "{body}");
    assert_eq!(
        row(&body, "data-cluster=\"wrong\""),
        "wrong Refused 50 min ago 1 min ago identity 40 4 \u{2212}0.9 s 4.16.9 AWS"
    );
    assert!(site.page("/clusters?search=nothing-like-it").await.contains("No cluster matches “nothing-like-it”"));
}

#[tokio::test]
async fn the_list_is_turned_page_by_page_and_taken_as_csv_and_json() {
    let site = TestPages::new();
    for cluster in 0..1250 {
        site.report(&format!("cluster-{cluster:04}"), 10, ["4.16", "AWS"], NOW_MS - cluster * 100);
    }
    let first = site.page("/clusters?sort=id&search=cluster").await;
    assert_eq!(ids(&first).len(), 100);
    assert!(first.contains("1–100 of 1,250") && words(&first).contains("Page 1 of 13"), "numbers have one form");
    assert!(first.contains("rel=\"next\" href=\"/clusters?search=cluster&#38;sort=id&#38;page=2\""), "{first}");
    let last = site.page("/clusters?sort=id&page=13").await;
    assert_eq!((ids(&last).len(), ids(&last)[49]), (50, "cluster-1249"));
    for (name, lines) in [("CSV", 1251), ("JSON", 1)] {
        let link = first.split("<a href=\"").find(|part| part.contains(&format!(">{name}</a>"))).unwrap();
        let link = link.split_once('"').unwrap().0.replace("&#38;", "&");
        let (status, body) = site.get(&link).await;
        assert_eq!((status, body.lines().count()), (StatusCode::OK, lines), "{link}");
        assert!(body.contains("cluster-0000") && body.contains("cluster-1249"));
    }
    // An order that the API does not know is not handed on to it.
    let body = site.page("/clusters?sort=nonsense").await;
    assert!(body.contains("href=\"/api/v1/clusters?limit=0\""), "{body}");
}

#[tokio::test]
async fn a_cluster_says_how_it_is() {
    let site = fleet();
    let body = site.page("/clusters/wrong").await;
    let state = words(between(&body, "id=\"state\" data-status=\"refused\">", "</p>"));
    assert_eq!(
        state,
        "Refused 14 times in the last hour : the partition label or a required label is missing, or has a value that the \
         credentials do not allow (400)"
    );
    let facts = words(between(&body, "<dl class=\"facts\">", "</dl>"));
    for part in ["version 4.16.9", "provider AWS", "Client curl/8", "2026-11-13 08:12:09 UTC 9 d ago", "192.0.2.7"] {
        assert!(facts.contains(part), "{part}: {facts}");
    }
    let exchanges = between(&body, "id=\"exchanges\"", "</table>");
    assert_eq!(exchanges.matches("href=\"/refused?cluster=wrong&#38;reason=identity\"").count(), 14);
    assert_eq!(exchanges.matches(">accepted<").count(), 5);
    assert_eq!(between(&body, "<svg class=\"timeline\"", "</svg>").matches("class=\"bad\"").count(), 14);
    let limits = words(between(&body, "id=\"limits\"", "</table>"));
    for part in [
        "Upload, decompressed 3.9 KiB under 1 % of 500 KiB",
        "Uploads the next at once one every 4 min 30 s",
        "Requests at once 0 0 % of 128",
    ] {
        assert!(limits.contains(part), "{part}: {limits}");
    }
    assert!(words(between(&body, "id=\"refusals\"", "</table>")).ends_with("identity upload 14"));
    assert!(body.contains("the recent store holds nothing of this cluster"), "{body}");

    let body = site.page("/clusters/quiet-2").await;
    let state = words(between(&body, "id=\"state\"", "</p>"));
    assert!(
        state.ends_with("Silent for 2 h 30 min : it reported every 4 min 30 s, the last time 2 h 30 min ago"),
        "{state}"
    );
}

#[tokio::test]
async fn a_cluster_shows_its_series_and_alerts() {
    let site = fleet();
    let body = site.page("/clusters/steady-1").await;
    let alerts = words(between(&body, "id=\"alerts\"", "</table>"));
    assert!(alerts.ends_with("Crash × 2 critical just now Watchdog none just now"), "{alerts}");
    for part in [
        "<b>job</b>x",
        "title=\"2.41496064e&#43;10\">24.1 G",
        "20 s ago",
        "gauge",
        "lowest 1, highest 24.1 G, last 24.1 G, 2 samples",
        "href=\"/federate?match%5B%5D=%7B_id%3D%22steady-1%22%7D\"",
        "href=\"/families/up\"",
    ] {
        assert!(body.contains(part) || body.contains(&part.replace("&#43;", "+")), "{part}: {body}");
    }
    assert!(!body.contains("<b>_id</b>"));
    // The store has seen it for as long as its first sample is old, and not for its whole window.
    assert!(words(&body).contains("samples a minute over the 4 min that were seen"), "{}", words(&body));
    let body = site.page("/clusters/steady-1?search=ALERT").await;
    assert!(body.contains("<b>alertstate</b>") && !body.contains("<b>job</b>"));
    let body = site.page(&format!("/clusters/steady-1?search={}", encoded("{job=~\"x+\"}"))).await;
    assert!(!body.contains("<b>alertstate</b>") && body.contains("<b>job</b>"));
    let (status, body) = site.get("/clusters/steady-1?search=%7Bjob").await;
    assert!(status == StatusCode::BAD_REQUEST && body.contains("This is no selector"), "{body}");
}

#[tokio::test]
async fn a_cluster_that_is_not_known_is_told_of_all_the_same() {
    let site = fleet();
    let (status, body) = site.get("/clusters/nobody").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let text = words(&body);
    assert!(text.contains("this replica has never accepted a request of this cluster"), "{text}");
    assert!(
        text.contains("ask the other replicas or the store") && text.contains("Nobody who was refused lately"),
        "{text}"
    );
    let (status, body) = site.get("/clusters/stranger").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let claims = words(between(&body, "id=\"refusals\"", "</table>"));
    assert!(claims.ends_with("authority_refused 401 authorize 192.0.2.7 3 just now"), "{claims}");
    assert!(body.contains("href=\"/refused?cluster=stranger&#38;reason=authority_refused\""));
}

#[tokio::test]
async fn who_is_refused_why_and_what_to_do() {
    let site = fleet();
    let body = site.page("/refused").await;
    for reason in [Reason::Identity, Reason::AuthorityRefused, Reason::Method] {
        let explained =
            row(between(&body, "id=\"reasons\"", "</table>"), &format!("data-reason=\"{}\"", reason.name()));
        for text in [refusals::explain(reason).meaning, refusals::explain(reason).action] {
            assert!(explained.contains(&text.replace('`', "")), "{explained}: {text}");
        }
    }
    let who = between(&body, "id=\"refused\"", "</table>");
    assert_eq!(
        words(who.split_once("</thead>").unwrap().1),
        "claims to be stranger 192.0.2.7 authorize authority_refused 401 3 2 min ago just now \
         wrong 192.0.2.7 upload identity 400 14 14 min ago 1 min ago \
         no cluster named 192.0.2.7 receive method 405 1 2 d ago 2 d ago"
    );
    assert!(who.contains("href=\"/clusters/wrong\"") && !who.contains("href=\"/clusters/stranger\""), "{who}");
    for (query, expected) in [
        ("reason=identity", &["identity"][..]),
        ("reason=nonsense", &["authority_refused", "identity", "method"]),
        ("route=authorize", &["authority_refused"]),
        ("since=3600", &["authority_refused", "identity"]),
        ("cluster=wrong", &["identity"]),
        ("search=RANGE", &["authority_refused"]),
        ("search=192.0.2", &["authority_refused", "identity", "method"]),
    ] {
        let body = site.page(&format!("/refused?{query}")).await;
        let who = between(&body, "id=\"refused\"", "</table>");
        let reasons: Vec<_> = who.split("data-reason=\"").skip(1).map(|rest| rest.split_once('"').unwrap().0).collect();
        assert_eq!(reasons, expected, "{query}");
        let json = site.json(&format!("/api/v1/refusals?{}", query.replace("reason=nonsense", ""))).await;
        assert_eq!(json["items"].as_array().unwrap().len(), expected.len(), "{query}: the API says the same");
    }
    let body = site.page("/refused?search=nobody").await;
    assert!(body.contains("No refusal is like that"), "{body}");
    let json = site.json("/api/v1/refusals").await;
    let reasons: Vec<_> = json["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["reason"].as_str().unwrap(), one["count"].as_u64()))
        .collect();
    assert_eq!(reasons, [("identity", Some(14)), ("authority_refused", Some(3)), ("method", Some(1))]);
}

#[tokio::test]
async fn metrics_say_which_rule_lets_them_in_by_their_labels() {
    let site = TestPages::with(|config| {
        config.rules.whitelist = [
            "alerts{severity=\"critical\"}",
            "alerts",
            "up{job=\"x\"}",
            "up",
            "up{job=\"z\"}",
            "{__name__=~\"a.*\",pod!=\"\"}",
            "{__name__=\"gone\"}",
        ]
        .map(str::to_owned)
        .into();
        config.rules.elide_labels = vec!["pod".to_owned()];
    });
    for cluster in ["a", "b"] {
        site.push(cluster, "up", &[("job", "x")], 1.0, NOW_MS);
        site.push(cluster, "up", &[("job", "y")], 1.0, NOW_MS);
    }
    site.push("a", "alerts", &[("severity", "warning")], 1.0, NOW_MS);
    site.push("a", "unruly", &[], 1.0, NOW_MS);
    let body = site.page("/families?sort=series&order=desc").await;
    let metric = |name: &str| row(&body, &format!("data-metric=\"{name}\""));
    assert_eq!(metric("up"), "up 100 % 2 4 {__name__=\"up\",job=\"x\"}");
    assert_eq!(metric("alerts"), "alerts 50 % 1 1 {__name__=\"alerts\"}", "no series has the label of the rule before");
    assert_eq!(metric("unruly"), "unruly 50 % 1 1 no rule any more");
    assert!(body.find("data-metric=\"up\"") < body.find("data-metric=\"alerts\""));
    let unmatched = words(between(&body, "id=\"unmatched\"", "</ul>").split_once('>').unwrap().1);
    // Of a label that is taken off behind the whitelist, nothing is known: its rule counts by the rest.
    assert_eq!(
        unmatched,
        "{__name__=\"alerts\",severity=\"critical\"} {__name__=\"up\",job=\"z\"} {__name__=\"gone\"}"
    );
    let json = site.json("/api/v1/metrics").await;
    assert_eq!(json["unmatched_rules"].as_array().unwrap().len(), 3);
    assert_eq!(json["items"][2]["rule"], "{__name__=\"up\",job=\"x\"}");

    let body = site.page("/families/up").await;
    assert!(
        words(&body).contains("Gets through : 2 clusters (100 % of those held) send 4 series of it."),
        "{}",
        words(&body)
    );
    let rules = words(between(&body, "id=\"rules\"", "</table>").split_once("</thead>").unwrap().1);
    assert_eq!(rules, "{__name__=\"up\",job=\"x\"} 2 {__name__=\"up\"} 2 {__name__=\"up\",job=\"z\"} 0");
    let labels = words(between(&body, "id=\"labels\"", "</table>").split_once("</thead>").unwrap().1);
    assert!(["_id 2 4 a b job 2 4 x y", "_id 2 4 b a job 2 4 x y"].contains(&labels.as_str()), "{labels}");
    let senders = words(between(&body, "id=\"senders\"", "</table>").split_once("</thead>").unwrap().1);
    assert_eq!(senders, "a 2 b 2");
    assert!(
        words(&site.page("/families/unruly").await)
            .contains("no rule any more: they came before the rules were changed 1")
    );
    let metric = site.json("/api/v1/metrics/up").await;
    assert_eq!(
        (&metric["clusters"], &metric["series"], &metric["rules"][0]["series"]),
        (&2.into(), &4.into(), &2.into())
    );
    assert_eq!(site.get("/api/v1/metrics/nothing").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_metric_that_does_not_get_through_says_so() {
    let site = fleet();
    let body = site.page("/families/container_memory_rss").await;
    assert!(words(&body).contains("Dropped : 2 series of it were dropped since the start"), "{}", words(&body));
    assert!(
        words(between(&body, "id=\"rules\">", "</p>")).starts_with("None: no rule of the whitelist takes this name.")
    );
    let (status, body) = site.get("/families/nobody_sends_this").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(words(&body).contains("No series of this metric is held"), "{body}");
    assert!(
        words(between(&body, "id=\"rules\"", "</table>")).ends_with("{__name__=\"nobody_sends_this\"} 0"),
        "{body}"
    );
}

#[tokio::test]
async fn nothing_that_comes_from_outside_is_taken_for_markup() {
    let site = TestPages::with(|config| config.rules.whitelist = vec!["{__name__!~\".*drop.*\"}".to_owned()]);
    site.push(HOSTILE, HOSTILE, &[(HOSTILE, HOSTILE)], 1.0, NOW_MS);
    site.push(
        HOSTILE,
        "alerts",
        &[("alertname", HOSTILE), ("alertstate", "firing"), ("severity", HOSTILE)],
        1.0,
        NOW_MS,
    );
    site.report(HOSTILE, 10, [HOSTILE, HOSTILE], NOW_MS);
    site.gateway().fleet.record_accepted(ReportRoute::Authorize, HOSTILE, &sender(HOSTILE), None, NOW_MS);
    site.refuse(&RequestError::verified(HOSTILE, identity()), ReportRoute::Upload, NOW_MS);
    site.refuse(&RequestError::claimed(HOSTILE, unknown_token()), ReportRoute::Authorize, NOW_MS);
    site.refuse(&RequestError::claimed(&format!("{HOSTILE}2"), unknown_token()), ReportRoute::Authorize, NOW_MS);
    site.drop_series(&format!("drop{HOSTILE}"));
    let segment = listing::path_segment(HOSTILE);
    let mut seen = String::new();
    for path in [
        "/".to_owned(),
        "/clusters".to_owned(),
        format!("/clusters?search={}", encoded(HOSTILE)),
        format!("/clusters?status={}", encoded(HOSTILE)),
        format!("/clusters/{segment}"),
        format!("/clusters/{segment}2"),
        format!("/clusters/{segment}?search={}", encoded("{<script>")),
        "/refused".to_owned(),
        format!("/refused?cluster={}", encoded(HOSTILE)),
        format!("/refused?search={}", encoded(HOSTILE)),
        "/families".to_owned(),
        format!("/families?search={}", encoded(HOSTILE)),
        format!("/families/{segment}"),
        format!("/families/drop{segment}"),
        format!("/families/unknown{segment}"),
        format!("/nowhere/{segment}"),
    ] {
        let (_, body) = site.get(&path).await;
        let own = body.matches("<script src=\"/assets/refresh-").count();
        assert_eq!((body.matches("<script").count(), own), (1, 1), "{path}: {body}");
        assert!(!body.contains("'x'") && !body.contains("\"><script>"), "{path}: {body}");
        seen += &body;
    }
    assert!(seen.matches("&#60;script&#62;").count() > 40, "it is shown, escaped");
}

#[tokio::test]
async fn every_page_forbids_what_it_does_not_need() {
    let site = fleet();
    for path in [
        "/",
        "/clusters",
        "/clusters/steady-1",
        "/clusters/nobody",
        "/clusters/steady-1?search={",
        "/refused",
        "/families",
        "/families/up",
        "/families/nothing",
        "/nowhere",
    ] {
        let (_, headers, body) = site.ask(Method::GET, path).await;
        assert_eq!(
            headers["content-security-policy"],
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["vary"], "accept");
        // What the policy would refuse is not on the page, nor anything from elsewhere.
        assert!(!body.contains(" style=") && !body.contains("<style") && !body.contains("javascript:"), "{path}");
        for attribute in ["src=\"", "href=\"", "action=\""] {
            let outside = body.split(attribute).skip(1).find(|link| link.starts_with("http") || link.starts_with("//"));
            assert_eq!(outside, None, "{path}");
        }
        assert!(!body.contains(" onclick=") && !body.contains(" onload="), "{path}");
        assert!(body.starts_with("<!doctype html>\n<html lang=\"en\">"), "{path}");
        // What a script refreshes, and what a reader goes by.
        for part in ["id=\"main\"", "id=\"stamp\"", "<nav aria-label=\"Pages\">", "<h1"] {
            assert_eq!(body.matches(part).count(), 1, "{path}: {part}");
        }
    }
}

#[tokio::test]
async fn style_sheet_and_script_are_where_the_pages_say() {
    let site = TestPages::new();
    let body = site.page("/").await;
    for (begin, content_type, content) in [
        ("/assets/style-", "text/css; charset=utf-8", assets::STYLE),
        ("/assets/refresh-", "text/javascript; charset=utf-8", assets::SCRIPT),
    ] {
        let path = body.split('"').find(|part| part.starts_with(begin)).unwrap();
        let (status, headers, text) = site.ask(Method::GET, path).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, content));
        assert_eq!(headers["content-type"], content_type);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
    }
    for path in ["/assets/style-0.css", "/assets/refresh.js", "/assets/x"] {
        assert_eq!(site.get(path).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn an_unknown_path_is_the_site_s_own_404() {
    let site = TestPages::new();
    for path in ["/nowhere", "/clusters/a/b", "/families/", "/api"] {
        let (status, headers, body) = site.ask(Method::GET, path).await;
        assert_eq!(
            (status, &headers["content-type"]),
            (StatusCode::NOT_FOUND, &HeaderValue::from_static("text/html; charset=utf-8")),
            "{path}"
        );
        assert!(body.contains("<h1>No such page</h1>") && words(&body).contains(path), "{path}: {body}");
        let request = Request::builder().uri(path).header("accept", "*/*").body(Body::empty()).unwrap();
        let (status, _, body) = site.send(request).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, "no such path; GET / lists them\n"), "{path}");
    }
    let (status, headers, _) = site.ask(Method::GET, "/api/v1/nothing").await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::NOT_FOUND, &HeaderValue::from_static("application/json"))
    );
}

#[tokio::test]
async fn without_a_recent_store_all_pages_are_there() {
    let site = TestPages::with(|config| {
        config.recent_store = None;
        config.rules.whitelist = vec!["up".to_owned()];
    });
    site.reports("a", 1234, ["4.16.9", "AWS"], 20);
    site.drop_series("go_goroutines");
    for (path, part) in [
        ("/", "There is none. With --recent-store=2h"),
        ("/clusters", "4.16.9"),
        ("/clusters/a", "They are in the recent store, which this server does not have"),
        ("/clusters/a", "Not known: they are in the recent store"),
        ("/refused", "No request was refused"),
        ("/families", "Not known without a recent store."),
        ("/families", "go_goroutines 1"),
        ("/families/go_goroutines", "1 series of it were dropped"),
    ] {
        let text = words(&site.page(path).await);
        assert!(text.contains(part), "{path}: {part}: {text}");
    }
    let request = Request::builder().uri("/").body(Body::empty()).unwrap();
    let (_, _, paths) = site.send(request).await;
    assert!(paths.contains("\"/clusters/{id}\"") && !paths.contains("/federate"), "{paths}");
    let (status, body) = site.get("/federate?match[]=up").await;
    assert!(status == StatusCode::NOT_FOUND && body.contains("--recent-store"), "{body}");
}

#[tokio::test]
async fn a_newcomer_is_told_what_to_do() {
    let site = TestPages::new();
    for path in ["/", "/clusters"] {
        let body = site.page(path).await;
        assert!(body.contains("telemeter-client --id") && body.contains("/metrics/v1/receive"), "{body}");
    }
    for path in ["/refused", "/families"] {
        site.page(path).await;
    }
}

#[tokio::test]
async fn a_list_that_is_not_whole_says_so() {
    let site = TestPages::with(|config| config.fleet.max_clusters = 3);
    for cluster in 0..1003 {
        site.report(&format!("c-{cluster}"), 1, ["", ""], NOW_MS);
    }
    for path in ["/", "/clusters"] {
        let text = words(&site.page(path).await);
        assert!(
            text.contains("1,000 clusters were forgotten because there were more than --fleet-max-clusters"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn time_goes_on_between_two_looks() {
    let site = fleet();
    assert!(site.page("/").await.contains("08:12:09 UTC</time>"));
    site.clock.set_ms(NOW_MS + 3_600_000);
    let body = site.page("/").await;
    assert!(body.contains("09:12:09 UTC</time>"));
    assert!(between(&body, "id=\"clusters-silent\"", "</a>").contains("<strong>6</strong>"), "all are silent by now");
}

#[tokio::test]
async fn federate_answers_with_what_is_asked_for() {
    let site = TestPages::new();
    site.push("a", "up", &[], 1.0, NOW_MS);
    site.push("a", "alerts", &[], 1.0, NOW_MS);
    site.push("b", "up", &[], 0.0, NOW_MS);
    let (status, headers, body) = site.ask(Method::GET, "/federate?match[]=up&match[]=%7B_id%3D%22c%22%7D").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    let mut lines: Vec<_> = body.lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(lines, ["# TYPE up untyped", "up{_id=\"a\"} 1 1795335129000", "up{_id=\"b\"} 0 1795335129000"]);
    let (_, body) = site.get("/federate?match%5B%5D=%7B__name__%3D~%22.%2B%22%7D").await;
    assert_eq!(body.lines().count(), 5);
}

#[tokio::test]
async fn federate_escapes_names_as_the_reader_asks() {
    let site = TestPages::new();
    site.push("a", "http.status", &[], 1.0, NOW_MS);
    for (accept, escaping, name) in [
        (&[][..], "underscores", "http_status{"),
        (&["text/plain; version=0.0.4; escaping=dots"], "dots", "http_dot_status{"),
        (&["text/plain;escaping=values;q=0.9", "text/plain;q=0.1"], "values", "U__http_2e_status{"),
        (
            &["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3"],
            "allow-utf-8",
            "{\"http.status\",",
        ),
    ] {
        let mut request = Request::builder().uri("/federate?match[]=%7B_id%3D%22a%22%7D");
        for value in accept {
            request = request.header(header::ACCEPT, *value);
        }
        let (status, headers, body) = site.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        let expected = format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}");
        assert_eq!(headers["content-type"], expected);
        assert_eq!(headers["vary"], "accept");
        assert!(body.lines().nth(1).unwrap().starts_with(name), "{body}");
    }
}

#[tokio::test]
async fn federate_says_what_is_wrong() {
    let site = TestPages::new();
    for (path, reason) in [
        ("/federate".to_owned(), "say which series"),
        ("/federate?match=up".to_owned(), "say which series"),
        ("/federate?match[]=%7Ba".to_owned(), "match[]: "),
        ("/federate?match[]=%7Ba%3D~%22(%22%7D".to_owned(), "match[]: "),
        (format!("/federate?match[]={}", "a".repeat(4097)), "over the limit of 4096 bytes"),
        (format!("/federate?{}", "match[]=a&".repeat(1001)), "over the limit of 1000 match[]"),
    ] {
        let (status, body) = site.get(&path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        assert!(body.contains(reason) && body.lines().count() == 1, "{body}");
    }
    assert_eq!(site.ask(Method::POST, "/federate?match[]=up").await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn more_readers_than_there_is_room_for_come_again() {
    let pages = Pages::new(TestPages::new().view);
    let held = Arc::clone(&pages.federations).try_acquire_many_owned(4).unwrap();
    let router = router(pages);
    let ask = || Request::builder().uri("/federate?match[]=up").body(Body::empty()).unwrap();
    let response = router.clone().oneshot(ask()).await.unwrap();
    let retry_after = response.headers()["retry-after"].to_str().unwrap();
    assert_eq!((response.status(), retry_after), (StatusCode::SERVICE_UNAVAILABLE, "15"));
    drop(held);
    assert_eq!(router.oneshot(ask()).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let site = fleet();
    for path in
        ["/", "/clusters", "/clusters/steady-1", "/refused", "/families", "/families/up", "/federate?match[]=up"]
    {
        let (status, headers, body) = site.ask(Method::HEAD, path).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""), "{path}");
        assert!(headers.contains_key("content-type"), "{path}");
    }
}

#[tokio::test]
async fn the_internal_listener_has_it_all() {
    let site = TestPages::new();
    for (accept, content_type, part) in
        [("text/html", "text/html; charset=utf-8", "<h1>Fleet</h1>"), ("*/*", "application/json", "\"/federate\"")]
    {
        let request = Request::builder().uri("/").header("accept", accept).body(Body::empty()).unwrap();
        let (status, headers, body) = site.send(request).await;
        assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &HeaderValue::from_static(content_type)));
        assert!(body.contains(part), "{body}");
    }
    for path in ["/healthz", "/families", "/federate?match[]=up", "/api/v1/summary", "/metrics"] {
        assert_eq!(site.get(path).await.0, StatusCode::OK, "{path}");
    }
}

#[test]
fn a_browser_is_told_from_a_machine() {
    for (accept, expected) in [
        ("", false),
        ("*/*", false),
        ("application/json", false),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
        ("application/json, text/html;q=0.5", false),
        ("text/html;q=0", false),
        ("TEXT/HTML", true),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        assert_eq!(wants_html(&headers), expected, "{accept}");
    }
    assert!(!wants_html(&HeaderMap::new()));
}
