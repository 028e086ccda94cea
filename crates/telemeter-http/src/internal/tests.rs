use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use prometheus_client::registry::Registry;
use tower::ServiceExt as _;

use super::*;

async fn answer(router: &Router, method: &str, path: &str) -> (StatusCode, HeaderMap, String) {
    let request = http::Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let mut text = Vec::new();
    crate::body::read(body, 1 << 20, std::time::Duration::from_secs(5), &mut text).await.unwrap();
    (parts.status, parts.headers, String::from_utf8_lossy(&text).into_owned())
}

fn internal(health: &Health) -> InternalRouter {
    InternalRouter::new(health, Exposition::new(Registry::default()))
}

#[tokio::test]
async fn health_is_ok_and_readiness_says_why_not() {
    let health = Health::new();
    let router = internal(&health).router();
    assert_eq!(answer(&router, "GET", "/healthz/ready").await.2, "ok");
    let store = health.condition("store");
    store.not_ready("it does not answer");
    let (status, headers, text) = answer(&router, "GET", "/healthz/ready").await;
    assert_eq!((status.as_u16(), text.as_str()), (503, "store: it does not answer\n"));
    assert!(headers.contains_key("retry-after"));
    let (status, _, text) = answer(&router, "GET", "/healthz").await;
    assert_eq!((status.as_u16(), text.as_str()), (200, "ok"));
}

#[tokio::test]
async fn the_list_has_every_path_sorted() {
    let internal = internal(&Health::new()).reload(|| async { Ok(()) }).route("/federate", get(|| async { "" }));
    let router = internal.router();
    let (_, headers, text) = answer(&router, "GET", "/").await;
    assert_eq!(headers["content-type"], "application/json");
    let expected = r#"{"paths":["/","/-/reload","/debug/pprof/","/debug/pprof/heap","/debug/pprof/profile","/federate","/healthz","/healthz/ready","/metrics"]}"#;
    assert_eq!(text, expected);
    assert_eq!(answer(&router, "GET", "/debug/pprof/cmdline").await.0, 404);
}

#[tokio::test]
async fn the_root_can_be_another_page() {
    let internal = internal(&Health::new());
    let list = paths_json(&internal.paths());
    let router = internal.root(get(|| async { "a page" })).router();
    assert_eq!(answer(&router, "GET", "/").await.2, "a page");
    assert!(list.starts_with(r#"{"paths":["/","/debug"#), "{list}");
}

#[tokio::test]
async fn reload_is_a_post_that_says_what_failed() {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let router = internal(&Health::new())
        .reload(move || {
            let call = count.fetch_add(1, Ordering::Relaxed);
            async move { if call == 0 { Ok(()) } else { Err("tls.crt is not PEM".to_owned()) } }
        })
        .router();
    assert_eq!(answer(&router, "GET", "/-/reload").await.0, 405);
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(answer(&router, "POST", "/-/reload").await.0, 200);
    let (status, _, text) = answer(&router, "POST", "/-/reload").await;
    assert_eq!(status, 500);
    assert_eq!(text, "not reloaded, the old configuration stays: tls.crt is not PEM\n");
}

#[tokio::test]
async fn a_reload_that_panics_is_a_500() {
    let router = internal(&Health::new()).reload(|| async { panic!("no") }).router();
    assert_eq!(answer(&router, "POST", "/-/reload").await.0, 500);
}

#[tokio::test]
async fn without_jemalloc_heap_says_who_has_it() {
    let (status, _, text) = answer(&internal(&Health::new()).router(), "GET", "/debug/pprof/heap").await;
    assert_eq!(status, 501);
    assert!(text.contains("`telemeter` has them"), "{text}");
}

#[tokio::test]
async fn a_bad_number_of_seconds_is_a_400() {
    let router = internal(&Health::new()).router();
    assert_eq!(answer(&router, "GET", "/debug/pprof/profile?seconds=3600").await.0, 400);
}

#[tokio::test]
async fn another_site_s_page_reloads_nothing() {
    let router = internal(&Health::new()).reload(|| async { Ok(()) }).router();
    for (site, expected) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)] {
        let request = http::Request::post("/-/reload").header("sec-fetch-site", site).body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), expected, "{site}");
    }
}

#[tokio::test]
async fn those_outside_are_not_told_why() {
    let health = Health::new();
    let condition = health.condition("store");
    condition.not_ready("10.0.0.1 is down");
    let router = Router::new().route("/ready", readiness_without_reasons(&health));
    let (status, headers, text) = answer(&router, "GET", "/ready").await;
    assert_eq!((status.as_u16(), text.as_str()), (503, "not ready\n"));
    assert_eq!(headers["retry-after"], "5");
    condition.ready();
    assert_eq!(answer(&router, "GET", "/ready").await.0, 200);
}
