#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic, and reads answers that it made")]

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use telemeter_fleet::recent_store::RecentStoreConfig;
use telemeter_wire::{Arena, Label, MetricType, Points, Sample, SeriesSet};
use tower::ServiceExt;

use super::*;

const NOW_MS: i64 = 1_795_335_129_000;
const HOSTILE: &str = "\"><script>alert('x')</script>&";

struct Site {
    pages: Pages,
}

impl Site {
    fn new() -> Self {
        let config = RecentStoreConfig { window: Duration::from_secs(7200), max_bytes: 64 << 20 };
        let (clock, _) = Clock::fixed(NOW_MS);
        Self { pages: Pages::new(Arc::new(RecentStore::new(config)), clock) }
    }

    fn push(&self, cluster: &str, name: &str, labels: &[(&str, &str)], value: f64, ms: i64) {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let mut all = vec![Label::new("__name__", name), Label::new("_id", cluster)];
        all.extend(labels.iter().map(|(name, value)| Label::new(name, value)));
        set.push(&all, MetricType::Gauge, Points::Sample(Sample { value, timestamp_ms: Some(ms) }));
        self.pages.store.append(cluster, &set, ms);
    }

    async fn ask(&self, method: Method, path: &str) -> (StatusCode, HeaderMap, String) {
        self.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
        let index = Router::new().route("/", get(overview)).with_state(self.pages.clone());
        let router = router(self.pages.clone()).merge(index);
        let (head, body) = router.oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 16 << 20).await.unwrap();
        (head.status, head.headers, String::from_utf8(body.into()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let (status, _, body) = self.ask(Method::GET, path).await;
        (status, body)
    }
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn nothing_that_a_cluster_sends_is_taken_for_markup() {
    let site = Site::new();
    site.push(HOSTILE, HOSTILE, &[(HOSTILE, HOSTILE)], 1.0, NOW_MS);
    let cluster = format!("/clusters/{}", listing::path_segment(HOSTILE));
    for path in [
        "/",
        "/families",
        &cluster,
        &format!("/?q={}", encoded(HOSTILE)),
        &format!("{cluster}?q={}", encoded("{<script>")),
    ] {
        let (_, body) = site.get(path).await;
        assert!(!body.contains("<script") && !body.contains("'x'"), "{path}: {body}");
        assert!(body.contains("&#60;script&#62;"), "{path}: {body}");
    }
}

#[tokio::test]
async fn every_page_forbids_what_it_does_not_need() {
    let site = Site::new();
    site.push("a", "up", &[], 1.0, NOW_MS);
    for path in ["/", "/families", "/clusters/a", "/clusters/nobody", "/clusters/a?q={"] {
        let (_, headers, body) = site.ask(Method::GET, path).await;
        assert_eq!(
            headers["content-security-policy"],
            "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'"
        );
        assert_eq!(headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        assert_eq!(headers["cache-control"], "no-store");
        // What the policy would refuse is not on the page.
        assert!(
            !body.contains(" style=") && !body.contains("<style") && !body.contains("http://www.w3.org\""),
            "{path}"
        );
        assert!(body.starts_with("<!doctype html>\n<html lang=\"en\">"), "{path}");
    }
}

#[tokio::test]
async fn the_style_sheet_is_where_the_pages_say() {
    let site = Site::new();
    let (_, body) = site.get("/").await;
    let path = body.split('"').find(|part| part.starts_with("/assets/")).unwrap();
    let (status, headers, style) = site.ask(Method::GET, path).await;
    assert_eq!((status, style.as_str()), (StatusCode::OK, STYLE));
    assert_eq!(headers["content-type"], "text/css; charset=utf-8");
    assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
    assert_eq!(site.get("/assets/style-0.css").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_newcomer_is_told_what_to_do() {
    let site = Site::new();
    for path in ["/", "/families"] {
        let (status, body) = site.get(path).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("telemeter-client --id") && body.contains("/metrics/v1/receive"), "{body}");
    }
}

#[tokio::test]
async fn the_overview_finds_sorts_and_turns_pages() {
    let site = Site::new();
    for cluster in 0..250 {
        site.push(&format!("cluster-{cluster:03}"), "up", &[], 1.0, NOW_MS - cluster * 4_000);
    }
    let rows = |body: &str| body.matches("class=\"id\" href").count();
    let (_, first) = site.get("/").await;
    assert_eq!(rows(&first), 100);
    assert!(first.contains("1–100 of 250") && first.contains("href=\"/?page=2\""), "{first}");
    assert!(first.contains("<strong>151</strong> of 250") && first.contains("99 silent"), "{first}");
    let (_, last) = site.get("/?page=3").await;
    assert_eq!(rows(&last), 50);
    assert!(last.contains("cluster-249") && !last.contains("cluster-199"));
    let (_, found) = site.get("/?q=CLUSTER-24").await;
    assert_eq!(rows(&found), 10);
    let (_, oldest) = site.get("/?sort=seen").await;
    assert!(oldest.contains("cluster-249") && oldest.contains("aria-sort=\"ascending\""));
    let (_, newest) = site.get("/?sort=seen&dir=desc").await;
    assert!(newest.contains("cluster-000") && newest.contains("2026-11-22 08:12:09 UTC"));
    assert!(site.get("/?q=nothing-like-it").await.1.contains("No cluster matches"));
}

#[tokio::test]
async fn a_cluster_shows_its_series() {
    let site = Site::new();
    for (value, ms) in [(1.0, NOW_MS - 270_000), (24_149_606_400.0, NOW_MS - 5_000)] {
        site.push("a/b", "cluster:memory:sum", &[("node", "m5.large")], value, ms);
    }
    site.push("a/b", "alerts", &[("alertstate", "firing")], 1.0, NOW_MS);
    let (status, body) = site.get("/clusters/a%2Fb").await;
    assert_eq!(status, StatusCode::OK);
    for part in [
        "<b>node</b>m5.large",
        "title=\"24.1 G\">2.41496064e&#43;10",
        "5 s ago",
        "gauge",
        "lowest 1, highest 24.1 G, last 24.1 G, 2 samples",
        "href=\"/federate?match%5B%5D=%7B_id%3D%22a%2Fb%22%7D\"",
    ] {
        assert!(body.contains(part) || body.contains(&part.replace("&#43;", "+")), "{part}: {body}");
    }
    assert!(!body.contains("<b>_id</b>"));
    let (_, body) = site.get("/clusters/a%2Fb?q=ALERT").await;
    assert!(body.contains("<b>alertstate</b>") && !body.contains("<b>node</b>"));
    let (_, body) = site.get(&format!("/clusters/a%2Fb?q={}", encoded("{node=~\"m5.+\"}"))).await;
    assert!(!body.contains("<b>alertstate</b>") && body.contains("<b>node</b>"));
    let (status, body) = site.get("/clusters/a%2Fb?q=%7Bnode").await;
    assert!(status == StatusCode::BAD_REQUEST && body.contains("This is no selector"), "{body}");
    assert_eq!(site.get("/clusters/nobody").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_metrics_of_the_fleet_are_counted() {
    let site = Site::new();
    for cluster in ["a", "b"] {
        site.push(cluster, "up", &[("job", "x")], 1.0, NOW_MS);
        site.push(cluster, "up", &[("job", "y")], 1.0, NOW_MS);
    }
    site.push("a", "alerts", &[], 1.0, NOW_MS);
    let (_, body) = site.get("/families?sort=series&dir=desc").await;
    let (up, alerts) = (body.find("<code>up</code>").unwrap(), body.find("<code>alerts</code>").unwrap());
    assert!(up < alerts && body[up..alerts].contains("100 % of the clusters") && body[up..alerts].contains(">4</td>"));
    assert!(body[alerts..].contains("50 % of the clusters"));
}

#[tokio::test]
async fn federate_answers_with_what_is_asked_for() {
    let site = Site::new();
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
    let site = Site::new();
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
    let site = Site::new();
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
    let site = Site::new();
    let held = Arc::clone(&site.pages.federations).try_acquire_many_owned(4).unwrap();
    let (status, headers, _) = site.ask(Method::GET, "/federate?match[]=up").await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (StatusCode::SERVICE_UNAVAILABLE, "15"));
    drop(held);
    assert_eq!(site.get("/federate?match[]=up").await.0, StatusCode::OK);
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let site = Site::new();
    site.push("a", "up", &[], 1.0, NOW_MS);
    for path in ["/", "/families", "/clusters/a", "/federate?match[]=up"] {
        let (status, headers, body) = site.ask(Method::HEAD, path).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""), "{path}");
        assert!(headers.contains_key("content-type"), "{path}");
    }
}

#[tokio::test]
async fn the_internal_listener_has_it_all() {
    let site = Site::new();
    let exposition = telemeter_http::metrics::Exposition::new(prometheus_client::registry::Registry::default());
    let router = attach(Internal::new(&telemeter_http::internal::Health::default(), exposition), site.pages.clone());
    for (accept, content_type, part) in
        [("text/html", "text/html; charset=utf-8", "<h1>Fleet</h1>"), ("*/*", "application/json", "\"/federate\"")]
    {
        let request = Request::builder().uri("/").header("accept", accept).body(Body::empty()).unwrap();
        let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        assert_eq!(
            (head.status, &head.headers["content-type"]),
            (StatusCode::OK, &HeaderValue::from_static(content_type))
        );
        assert!(String::from_utf8_lossy(&body).contains(part), "{body:?}");
    }
    for path in ["/healthz", "/families", "/federate?match[]=up"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), StatusCode::OK, "{path}");
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
