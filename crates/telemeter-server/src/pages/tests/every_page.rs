//! What holds for every page: escaping, headers, assets, other paths.

use super::*;

#[tokio::test]
async fn texts_of_clusters_are_escaped() {
    let pages = TestPages::with(|config| config.rules.whitelist = vec!["{__name__!~\".*drop.*\"}".to_owned()]);
    pages.push(HOSTILE, HOSTILE, &[(HOSTILE, HOSTILE)], 1.0, NOW_MS);
    pages.push(
        HOSTILE,
        "alerts",
        &[("alertname", HOSTILE), ("alertstate", "firing"), ("severity", HOSTILE)],
        1.0,
        NOW_MS,
    );
    pages.report(HOSTILE, 10, [HOSTILE, HOSTILE], NOW_MS);
    pages.gateway().fleet.record_accepted(ReportRoute::Authorize, HOSTILE, &sender(HOSTILE), None, NOW_MS);
    pages.refuse(&RequestError::verified(HOSTILE, identity()), ReportRoute::Upload, NOW_MS);
    pages.refuse(&RequestError::claimed(HOSTILE, unknown_token()), ReportRoute::Authorize, NOW_MS);
    pages.refuse(&RequestError::claimed(&format!("{HOSTILE}2"), unknown_token()), ReportRoute::Authorize, NOW_MS);
    pages.drop_series(&format!("drop{HOSTILE}"));
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
        let (_, body) = pages.get(&path).await;
        let own = body.matches("<script src=\"/assets/refresh-").count();
        assert_eq!((body.matches("<script").count(), own), (1, 1), "{path}: {body}");
        assert!(!body.contains("'x'") && !body.contains("\"><script>"), "{path}: {body}");
        seen += &body;
    }
    assert!(seen.matches("&#60;script&#62;").count() > 40, "it is shown, escaped");
}

#[tokio::test]
async fn every_page_forbids_what_it_does_not_need() {
    let pages = fleet();
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
        let (_, headers, body) = pages.ask(Method::GET, path).await;
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
async fn style_sheet_and_script_are_at_the_paths_that_the_pages_name() {
    let pages = TestPages::new();
    let body = pages.page("/").await;
    for (begin, content_type, content) in [
        ("/assets/style-", "text/css; charset=utf-8", assets::STYLE),
        ("/assets/refresh-", "text/javascript; charset=utf-8", assets::SCRIPT),
    ] {
        let path = body.split('"').find(|part| part.starts_with(begin)).unwrap();
        let (status, headers, text) = pages.ask(Method::GET, path).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, content));
        assert_eq!(headers["content-type"], content_type);
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
    }
    for path in ["/assets/style-0.css", "/assets/refresh.js", "/assets/x"] {
        assert_eq!(pages.get(path).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn an_unknown_path_is_the_site_s_own_404() {
    let pages = TestPages::new();
    for path in ["/nowhere", "/clusters/a/b", "/families/", "/api"] {
        let (status, headers, body) = pages.ask(Method::GET, path).await;
        assert_eq!(
            (status, &headers["content-type"]),
            (StatusCode::NOT_FOUND, &HeaderValue::from_static("text/html; charset=utf-8")),
            "{path}"
        );
        assert!(body.contains("<h1>No such page</h1>") && words(&body).contains(path), "{path}: {body}");
        let request = Request::builder().uri(path).header("accept", "*/*").body(Body::empty()).unwrap();
        let (status, _, body) = pages.send(request).await;
        assert_eq!((status, body.as_str()), (StatusCode::NOT_FOUND, "no such path; GET / lists them\n"), "{path}");
    }
    let (status, headers, _) = pages.ask(Method::GET, "/api/v1/nothing").await;
    assert_eq!(
        (status, &headers["content-type"]),
        (StatusCode::NOT_FOUND, &HeaderValue::from_static("application/json"))
    );
}

#[tokio::test]
async fn without_a_recent_store_all_pages_are_there() {
    let pages = TestPages::with(|config| {
        config.recent_store = None;
        config.rules.whitelist = vec!["up".to_owned()];
    });
    pages.reports("a", 1234, ["4.16.9", "AWS"], 20);
    pages.drop_series("go_goroutines");
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
        let text = words(&pages.page(path).await);
        assert!(text.contains(part), "{path}: {part}: {text}");
    }
    let request = Request::builder().uri("/").body(Body::empty()).unwrap();
    let (_, _, paths) = pages.send(request).await;
    assert!(paths.contains("\"/clusters/{id}\"") && !paths.contains("/federate"), "{paths}");
    let (status, body) = pages.get("/federate?match[]=up").await;
    assert!(status == StatusCode::NOT_FOUND && body.contains("--recent-store"), "{body}");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let pages = fleet();
    for path in
        ["/", "/clusters", "/clusters/steady-1", "/refused", "/families", "/families/up", "/federate?match[]=up"]
    {
        let (status, headers, body) = pages.ask(Method::HEAD, path).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, ""), "{path}");
        assert!(headers.contains_key("content-type"), "{path}");
    }
}

#[tokio::test]
async fn the_internal_listener_serves_pages_api_and_metrics() {
    let pages = TestPages::new();
    for (accept, content_type, part) in
        [("text/html", "text/html; charset=utf-8", "<h1>Fleet</h1>"), ("*/*", "application/json", "\"/federate\"")]
    {
        let request = Request::builder().uri("/").header("accept", accept).body(Body::empty()).unwrap();
        let (status, headers, body) = pages.send(request).await;
        assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &HeaderValue::from_static(content_type)));
        assert!(body.contains(part), "{body}");
    }
    for path in ["/healthz", "/families", "/federate?match[]=up", "/api/v1/summary", "/metrics"] {
        assert_eq!(pages.get(path).await.0, StatusCode::OK, "{path}");
    }
}

#[test]
fn a_browser_is_recognized_by_its_accept_header() {
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
