//! Tests how the client handles the answers that Prometheus and the server may give.

use std::time::Duration;

use telemeter_client::{CycleError, token::TokenError};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use super::{
    PROTOBUF, TEXT,
    fake::{FakeTelemeter, ID, NOW_MS, config, prometheus, seen, uploaded},
    worker,
};

#[tokio::test]
async fn retry_after_comes_through() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = FakeTelemeter::default();
    let to = server.start().await;
    let (mut worker, _) = worker(&config(&from, &to));
    let answer = |status| ResponseTemplate::new(status).insert_header("retry-after", "77");
    let told = Some(Duration::from_secs(77));
    server.authorize(answer(429));
    assert_eq!(worker.cycle().await.expect_err("refused").retry_after(), told);
    for (status, expected) in [(429, told), (503, told), (500, told), (502, told), (400, None)] {
        server.upload(answer(status));
        assert_eq!(worker.cycle().await.expect_err("refused").retry_after(), expected, "{status}");
    }
    // A proxy in front of Prometheus may send `Retry-After` too, and as a date.
    let busy = MockServer::start().await;
    let dates = [("date", "Sun, 06 Nov 1994 08:49:07 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:50:24 GMT")];
    let answer = ResponseTemplate::new(502).append_headers(dates);
    Mock::given(method("GET")).respond_with(answer).mount(&busy).await;
    let (mut worker, _) = self::worker(&config(&busy, &FakeTelemeter::default().start().await));
    assert_eq!(worker.cycle().await.expect_err("busy").retry_after(), told);
}

#[tokio::test]
async fn a_redirected_scrape_in_gzip_of_several_members_is_read_to_its_end() {
    let member = |plain: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, plain.as_bytes()).expect("written");
        encoder.finish().expect("finished")
    };
    let members =
        [member(&format!("a 1 {NOW_MS}\nb")), member(&format!(" 2 {NOW_MS}\n")), member(&format!("c 3 {NOW_MS}\n"))];
    let from = MockServer::start().await;
    let metrics =
        ResponseTemplate::new(200).insert_header("content-encoding", "gzip").set_body_raw(members.concat(), TEXT);
    Mock::given(path("/federate/")).respond_with(metrics).mount(&from).await;
    let redirect = ResponseTemplate::new(301).insert_header("location", "/federate/");
    Mock::given(path("/federate")).respond_with(redirect).mount(&from).await;
    let to = FakeTelemeter::default().start().await;
    let (mut worker, _) = worker(&config(&from, &to));
    let report = worker.cycle().await.expect("a scrape");
    assert_eq!((report.scraped, report.kept), (3, 3));
    assert_eq!(seen(&from, "/federate/").await[0].headers["accept-encoding"], "gzip");
}

#[tokio::test]
async fn causes_are_in_words() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = FakeTelemeter::default();
    let to = server.start().await;
    let (mut worker, _) = worker(&config(&from, &to));
    let mut cause = async || worker.cycle().await.expect_err("refused").to_string();
    let answer = |status| ResponseTemplate::new(status).set_body_string("because\nmore");
    let (authorize, upload) = (format!("{}/authorize", to.uri()), format!("{}/upload", to.uri()));
    let asked = |text: &str, url: &str| format!("{text}; asked {url}");

    server.authorize(answer(401));
    assert_eq!(cause().await, asked("the server refused this cluster's token (401): because", &authorize));
    server.authorize(answer(502));
    assert_eq!(cause().await, asked("the server could not exchange the token (502): because", &authorize));
    server.authorize(ResponseTemplate::new(200).set_body_string("<html>"));
    assert!(cause().await.ends_with("(is --to a telemeter server?)"));
    server.upload(answer(400));
    assert_eq!(cause().await, asked("the server refused the metrics (400): because", &upload));
    server.upload(answer(503));
    assert_eq!(cause().await, asked("the server could not take the metrics now (503): because", &upload));
    server.upload(answer(429));
    assert_eq!(cause().await, asked("the server asks us to come less often (429): because", &upload));
    server.upload(answer(413));
    let too_large = cause().await;
    assert!(too_large.contains("larger than the server takes (413): because; asked http"), "{too_large}");
    let elsewhere = "a redirect to http://127.0.0.1:1/, which is not followed";
    server.upload(ResponseTemplate::new(302).insert_header("location", "http://127.0.0.1:1/"));
    let expected = format!("nothing at that address is a telemeter server (302): {elsewhere}; asked {upload}");
    assert_eq!(cause().await, format!("{expected} (is --to, or --to-upload, right?)"));
}

/// A refused token gives another error than an address without a telemeter server.
#[tokio::test]
async fn what_is_no_telemeter_server_does_not_blame_the_token() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = FakeTelemeter::default();
    let to = server.start().await;
    let (mut worker, _) = worker(&config(&from, &to));
    let mut cause = async || worker.cycle().await.expect_err("refused");
    let nginx = "<html>\n<head><title>404 Not Found</title></head><body>…</body></html>";
    for (answer, expected) in [
        (
            ResponseTemplate::new(404).insert_header("server", "nginx/1.25.3").set_body_raw(nginx, "text/html"),
            Some("(404): nginx/1.25.3, a page of HTML, 404 Not Found; asked http"),
        ),
        (
            ResponseTemplate::new(404).set_body_string("404 page not found\n"),
            Some("(404): 404 page not found; asked http"),
        ),
        (ResponseTemplate::new(404), Some("(404); asked http")),
        (ResponseTemplate::new(405), Some("(405); asked http")),
        (
            ResponseTemplate::new(403).set_body_raw("<!DOCTYPE html><title>Sign in</title>", "text/html"),
            Some("Sign in"),
        ),
        (ResponseTemplate::new(307).insert_header("location", "/elsewhere"), Some("(307): a redirect to http")),
        // The next answer is that of a Go server; the two after it are those of our server.
        (ResponseTemplate::new(404).set_body_string("not found\n"), None),
        (ResponseTemplate::new(404).set_body_string("the authority does not know this cluster (request 1)\n"), None),
        (ResponseTemplate::new(403).set_body_string("the authority does not allow this cluster\n"), None),
    ] {
        server.authorize(answer);
        let error = cause().await;
        match (&error, expected) {
            (CycleError::Token(TokenError::NotAServer(_)), Some(expected)) => {
                let text = error.to_string();
                assert!(text.starts_with("nothing at that address is a telemeter server ("), "{text}");
                assert!(text.contains(expected), "{text}");
            }
            (CycleError::Token(TokenError::Refused(_)), None) => {}
            _ => panic!("{error}, not {expected:?}"),
        }
    }
    let nginx = "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>";
    server.authorize(ResponseTemplate::new(400).set_body_raw(nginx, "text/html"));
    assert!(cause().await.to_string().starts_with("the server speaks TLS on this port: write https:// in --to"));
}

/// The error of a cycle against a Prometheus that gives this answer.
async fn scrape_error(answer: ResponseTemplate) -> String {
    let from = MockServer::start().await;
    Mock::given(method("GET")).respond_with(answer).mount(&from).await;
    let to = FakeTelemeter::default().start().await;
    let error = worker(&config(&from, &to)).0.cycle().await.expect_err("no scrape");
    assert_eq!(seen(&to, "/upload").await.len(), 0);
    error.to_string()
}

#[tokio::test]
async fn what_prometheus_may_answer() {
    let answer = |status| ResponseTemplate::new(status).set_body_string("because");
    let refused = scrape_error(answer(403)).await;
    assert_eq!(refused, "Prometheus did not let us in (403): because; see --from-token-file and --tls-cert-file");
    assert_eq!(scrape_error(answer(503)).await, "Prometheus did not answer the scrape (503): because");
    let html = scrape_error(ResponseTemplate::new(200).set_body_raw("<html>", "text/html")).await;
    assert_eq!(
        html,
        "the answer is no metrics: Content-Type: text/html, and read as text: not valid text format: line 1: a metric name \
         was expected (is --from a Prometheus?)"
    );
    let untyped = scrape_error(ResponseTemplate::new(200).set_body_bytes("<html>")).await;
    assert!(untyped.starts_with("the answer is no metrics: no Content-Type, and read as text: "), "{untyped}");
    let range = scrape_error(ResponseTemplate::new(200).set_body_raw("up 1\nup{_id=\"A\"} 1e400\n", TEXT)).await;
    assert!(range.ends_with("line 2: a value over the range of a 64-bit float"), "{range}");
    let broken = scrape_error(ResponseTemplate::new(200).set_body_raw("up 1\nup{ 1\n", TEXT)).await;
    assert!(
        broken.starts_with("the metrics of Prometheus cannot be read: not valid text format: line 2: "),
        "{broken}"
    );
    let broken = scrape_error(ResponseTemplate::new(200).set_body_raw(vec![0xff; 100], PROTOBUF)).await;
    assert!(broken.contains("not valid protobuf"), "{broken}");
}

#[tokio::test]
async fn a_scrape_of_another_type_is_read_as_text() {
    for content_type in [None, Some("text/html"), Some("application/openmetrics-text; version=1.0.0")] {
        let from = MockServer::start().await;
        let body = format!("# TYPE up GAUGE\nup{{job=\"a\"}} 1 {NOW_MS}\n");
        let answer = match content_type {
            Some(content_type) => ResponseTemplate::new(200).set_body_raw(body, content_type),
            None => ResponseTemplate::new(200).set_body_bytes(body),
        };
        Mock::given(method("GET")).respond_with(answer).mount(&from).await;
        let to = FakeTelemeter::default().start().await;
        worker(&config(&from, &to)).0.cycle().await.expect("uploaded");
        let uploads = seen(&to, "/upload").await;
        let expected = format!("# TYPE up gauge\nup{{_id=\"{ID}\",job=\"a\"}} 1 {NOW_MS}\n");
        assert_eq!(uploaded(&uploads[0]), expected, "{content_type:?}");
    }
}
