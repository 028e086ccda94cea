//! `/federate`.

use super::*;

#[tokio::test]
async fn federate_answers_with_what_is_asked_for() {
    let pages = TestPages::new();
    pages.push("a", "up", &[], 1.0, NOW_MS);
    pages.push("a", "alerts", &[], 1.0, NOW_MS);
    pages.push("b", "up", &[], 0.0, NOW_MS);
    let (status, headers, body) = pages.ask(Method::GET, "/federate?match[]=up&match[]=%7B_id%3D%22c%22%7D").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    let mut lines: Vec<_> = body.lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(lines, ["# TYPE up untyped", "up{_id=\"a\"} 1 1795335129000", "up{_id=\"b\"} 0 1795335129000"]);
    let (_, body) = pages.get("/federate?match%5B%5D=%7B__name__%3D~%22.%2B%22%7D").await;
    assert_eq!(body.lines().count(), 5);
}

#[tokio::test]
async fn federate_escapes_names_as_the_reader_asks() {
    let pages = TestPages::new();
    pages.push("a", "http.status", &[], 1.0, NOW_MS);
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
        let (status, headers, body) = pages.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        let expected = format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}");
        assert_eq!(headers["content-type"], expected);
        assert_eq!(headers["vary"], "accept");
        assert!(body.lines().nth(1).unwrap().starts_with(name), "{body}");
    }
}

#[tokio::test]
async fn federate_says_what_is_wrong() {
    let pages = TestPages::new();
    for (path, reason) in [
        ("/federate".to_owned(), "say which series"),
        ("/federate?match=up".to_owned(), "say which series"),
        ("/federate?match[]=%7Ba".to_owned(), "match[]: "),
        ("/federate?match[]=%7Ba%3D~%22(%22%7D".to_owned(), "match[]: "),
        (format!("/federate?match[]={}", "a".repeat(4097)), "over the limit of 4096 bytes"),
        (format!("/federate?{}", "match[]=a&".repeat(1001)), "over the limit of 1000 match[]"),
    ] {
        let (status, body) = pages.get(&path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        assert!(body.contains(reason) && body.lines().count() == 1, "{body}");
    }
    assert_eq!(pages.ask(Method::POST, "/federate?match[]=up").await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn more_readers_than_are_answered_at_a_time_get_503() {
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
