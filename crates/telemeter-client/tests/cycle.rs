//! One cycle between a played Prometheus and a played server.

mod fake;

use std::time::Duration;

use fake::{ID, NOW_MS, Server, config, grant, header, prometheus, seen, uploaded};
use telemeter_auth::Secret;
use telemeter_client::{
    Config, CycleError, CycleReport, LeftOut, Worker,
    config::{Anonymize, Credential},
    metrics::Metrics,
    token::TokenError,
    upload::UploadError,
};
use telemeter_http::clock::{Clock, ClockHandle};
use telemeter_wire::{
    Arena, Limits, SeriesSet,
    exposition::{self, Format},
};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// A worker whose clock stands at [`NOW_MS`].
fn worker(config: &Config) -> (Worker, ClockHandle) {
    let (clock, handle) = Clock::fixed(NOW_MS);
    (Worker::new(config, clock, Metrics::default()).expect("set up"), handle)
}

#[tokio::test]
async fn a_whole_cycle() {
    let at = |seconds: i64| NOW_MS - seconds * 1000;
    let body = format!(
        "# TYPE ALERTS untyped\n\
         ALERTS{{alertname=\"Watchdog\"}} 1 {now}\n\
         # TYPE up untyped\n\
         up{{job=\"b\",instance=\"10.0.0.1:9100\"}} 1 {newer}\n\
         up{{job=\"a\",instance=\"10.0.0.1:9100\"}} 0 {older}\n\
         up{{job=\"c\",instance=\"\"}} 0 {newer}\n\
         up{{job=\"no time\"}} 1\n\
         up{{job=\"long ago\"}} 1 {long_ago}\n",
        now = at(0),
        newer = at(10),
        older = at(20),
        long_ago = at(86_401),
    );
    let from = prometheus(TEXT, body).await;
    let server = Server::default();
    let to = server.start().await;
    server.authorize(grant("granted", 86_400, &[("_id", ID), ("plan", "gold")]));
    let mut config = config(&from, &to);
    config.matches = vec!["{__name__=\"up\"}".to_owned(), "ALERTS{a=\"1\"}".to_owned()];
    config.labels = vec![("site".to_owned(), "here".to_owned())];
    config.anonymize = Some(Anonymize {
        labels: vec!["instance".to_owned()],
        salt: Credential::Value(Secret::from("a-unique-value")),
    });
    let (mut worker, _) = worker(&config);

    let report = worker.cycle().await.expect("uploaded");

    assert_eq!((report.scraped, report.kept, report.uploaded), (6, 4, 4));
    let scrapes = seen(&from, "/federate").await;
    let pairs: Vec<_> = scrapes[0].url.query_pairs().map(|(k, v)| (k.into_owned(), v.into_owned())).collect();
    assert_eq!(
        pairs,
        [("match[]", "{__name__=\"up\"}"), ("match[]", "ALERTS{a=\"1\"}")].map(|(k, v)| (k.to_owned(), v.to_owned()))
    );
    assert!(header(&scrapes[0], "accept").starts_with("application/vnd.google.protobuf;"), "protobuf first");
    assert!(header(&scrapes[0], "accept").contains("text/plain;version=0.0.4"));
    assert_eq!(header(&scrapes[0], "accept-encoding"), "gzip");
    assert_eq!(header(&scrapes[0], "authorization"), "");

    let authorized = seen(&to, "/authorize").await;
    assert_eq!(authorized[0].url.query(), Some(format!("id={ID}").as_str()));
    assert_eq!(header(&authorized[0], "authorization"), "Bearer a-token");
    let uploads = seen(&to, "/upload").await;
    assert_eq!(header(&uploads[0], "authorization"), "Bearer granted");
    assert_eq!(uploads[0].body.len(), report.bytes);
    // By hand: printf 'a-unique-value10.0.0.1:9100' | sha256sum | cut -c1-18 | xxd -r -p | base64
    let hashed = "L14wVVhTMVhN";
    let expected = format!(
        "# TYPE alerts untyped\n\
         alerts{{_id=\"{ID}\",alertname=\"Watchdog\",plan=\"gold\",site=\"here\"}} 1 {now}\n\
         # TYPE up untyped\n\
         up{{_id=\"{ID}\",job=\"a\",instance=\"{hashed}\",plan=\"gold\",site=\"here\"}} 0 {older}\n\
         up{{_id=\"{ID}\",job=\"b\",instance=\"{hashed}\",plan=\"gold\",site=\"here\"}} 1 {newer}\n\
         up{{_id=\"{ID}\",job=\"c\",instance=\"\",plan=\"gold\",site=\"here\"}} 0 {newer}\n",
        now = at(0),
        newer = at(10),
        older = at(20),
    );
    assert_eq!(uploaded(&uploads[0]), expected);
}

/// What a client with these selectors uploads of `body`, without the lines that say types; nothing where it uploads nothing.
async fn filtered(matches: &[&str], leave_out: bool, body: &str) -> (CycleReport, Vec<String>) {
    let (from, to) = (prometheus(TEXT, body).await, Server::default().start().await);
    let mut config = config(&from, &to);
    config.matches = matches.iter().map(|text| (*text).to_owned()).collect();
    config.leave_out_unrequested = leave_out;
    let (mut worker, _) = worker(&config);
    let report = worker.cycle().await.expect("a cycle");
    let uploads = seen(&to, "/upload").await;
    let text = uploads.first().map(uploaded).unwrap_or_default();
    (report, text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect())
}

#[tokio::test]
async fn what_nobody_asked_for_is_not_uploaded_whatever_the_source_answers() {
    // As of a proxy that drops the query, or of some program's /metrics: much more than was asked for.
    let body = format!(
        "# TYPE ALERTS untyped\nALERTS{{alertname=\"a\"}} 1 {NOW_MS}\n\
         # TYPE h histogram\nh_bucket{{le=\"+Inf\"}} 1 {NOW_MS}\nh_sum 1 {NOW_MS}\nh_count 1 {NOW_MS}\n\
         # TYPE secret gauge\nsecret{{user=\"me\"}} 1 {NOW_MS}\n\
         # TYPE up gauge\nup{{job=\"a\"}} 1 {NOW_MS}\nup{{job=\"b\"}} 1 {NOW_MS}\n"
    );
    // Selectors see the names as they were scraped: ALERTS becomes alerts only behind them.
    let asked = ["ALERTS", "{__name__=\"up\",job!=\"b\"}", "h_sum"];
    let (report, lines) = filtered(&asked, true, &body).await;
    let expected = [
        format!("alerts{{_id=\"{ID}\",alertname=\"a\"}} 1 {NOW_MS}"),
        format!("h_sum{{_id=\"{ID}\"}} 1 {NOW_MS}"),
        format!("up{{_id=\"{ID}\",job=\"a\"}} 1 {NOW_MS}"),
    ];
    assert_eq!(lines, expected);
    assert_eq!((report.scraped, report.kept, report.left_out.unrequested, report.left_out.total()), (7, 3, 4, 4));

    let (report, lines) = filtered(&["alerts"], true, &body).await;
    assert_eq!(
        (report.uploaded, report.left_out.unrequested, lines.len()),
        (0, 7, 0),
        "nothing is called alerts there"
    );

    // Without --match, everything is uploaded as ever, and counted.
    let (report, lines) = filtered(&["{__name__=\"up\"}"], false, &body).await;
    assert_eq!((report.uploaded, lines.len()), (7, 7));
    assert_eq!((report.left_out.unrequested, report.left_out.unrequested_uploaded), (0, 5));
    // Who cannot read a selector cannot tell what it asks for.
    let (report, lines) = filtered(&["up", "{job=a}"], true, &body).await;
    assert_eq!((report.uploaded, lines.len(), report.left_out.unrequested), (7, 7, 0));
}

#[tokio::test]
async fn a_scrape_that_is_refused_for_a_selector_names_it() {
    let (from, to) = (MockServer::start().await, Server::default().start().await);
    let refusal = ResponseTemplate::new(400).set_body_string("1:6: parse error");
    Mock::given(method("GET")).and(path("/federate")).respond_with(refusal).mount(&from).await;
    let mut config = config(&from, &to);
    config.matches = vec!["up".to_owned(), "{job=a}".to_owned()];
    let error = worker(&config).0.cycle().await.expect_err("refused").to_string();
    assert!(error.contains("(400): 1:6: parse error; --match {job=^a} cannot be read at column 6"), "{error}");
}

#[tokio::test]
async fn what_is_not_uploaded_is_counted_by_why() {
    let long_ago = NOW_MS - 30 * 3_600_000;
    let too_long = "x".repeat(300);
    let body =
        format!("up 1\nup{{a=\"1\"}} 1 {long_ago}\nup{{a=\"2\"}} 1 {NOW_MS}\n{too_long} 1 {NOW_MS}\ndown 1 {NOW_MS}\n");
    let (report, lines) = filtered(&["up", &too_long], true, &body).await;
    let LeftOut { unrequested, untimed, outdated, invalid, .. } = report.left_out;
    assert_eq!((unrequested, untimed, outdated, invalid, lines.len()), (1, 1, 1, 1, 1));

    let (report, _) = filtered(&["up"], true, &format!("up 1 {long_ago}\n")).await;
    assert_eq!((report.uploaded, report.left_out.outdated, report.newest_age_ms), (0, 1, Some(108_000_000)));
}

/// A body in the text format, as delimited protobuf.
fn delimited(text: &str) -> Vec<u8> {
    let (arena, mut protobuf) = (Arena::new(), Vec::new());
    let mut set = SeriesSet::new_in(&arena);
    exposition::decode(Format::Text, text.as_bytes(), &Limits::default(), &mut set).expect("text");
    exposition::delimited::encode(&set, &mut protobuf);
    protobuf
}

#[tokio::test]
async fn protobuf_and_text_come_to_the_same() {
    let text = format!("# TYPE up gauge\nup{{a=\"1\"}} 1 {NOW_MS}\nup{{a=\"2\"}} 0.5 {NOW_MS}\n");
    let protobuf = delimited(&text);

    let mut bodies = Vec::new();
    for (content_type, body) in [(TEXT, text.into_bytes()), (PROTOBUF, protobuf)] {
        let (from, to) = (prometheus(content_type, body).await, Server::default().start().await);
        let (mut worker, _) = worker(&config(&from, &to));
        worker.cycle().await.expect("uploaded");
        bodies.push(uploaded(&seen(&to, "/upload").await[0]));
    }
    assert!(bodies[0].contains(&format!("up{{_id=\"{ID}\",a=\"2\"}} 0.5 {NOW_MS}")), "{}", bodies[0]);
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test]
async fn a_scrape_of_many_pieces_arrives_whole() {
    let mut body = String::new();
    for family in 0..40 {
        body.push_str(&format!("# TYPE family_{family} gauge\n"));
        for series in 0..400 {
            let filling = "x".repeat(60);
            body.push_str(&format!("family_{family}{{series=\"{series}\",filling=\"{filling}\"}} 1 {NOW_MS}\n"));
        }
    }
    let from = prometheus(TEXT, body.clone()).await;
    let to = Server::default().start().await;
    let mut config = config(&from, &to);
    config.limit_bytes = body.len();
    let (mut worker, _) = worker(&config);
    let report = worker.cycle().await.expect("uploaded");
    assert_eq!((report.scraped, report.uploaded), (16_000, 16_000));
    let expected = body.replace("{series", &format!("{{_id=\"{ID}\",series"));
    let mut ours = String::new();
    // A family that fell into two slices is announced twice.
    for line in uploaded(&seen(&to, "/upload").await[0]).lines() {
        if !(line.starts_with('#') && ours.contains(line)) {
            ours.push_str(line);
            ours.push('\n');
        }
    }
    assert!(ours == expected, "the series are not those that were scraped");
}

#[tokio::test]
async fn exactly_the_limit_is_within_it() {
    let body = format!("up 1 {NOW_MS}\n");
    let from = prometheus(TEXT, body.clone()).await;
    let to = Server::default().start().await;
    let mut config = config(&from, &to);
    config.limit_bytes = body.len();
    worker(&config).0.cycle().await.expect("within");
    config.limit_bytes = body.len() - 1;
    let error = worker(&config).0.cycle().await.expect_err("over").to_string();
    let limit = body.len() - 1;
    assert_eq!(
        error,
        format!("Prometheus answered with more than {limit} bytes: raise --limit-bytes, or narrow --match")
    );
    assert_eq!(seen(&to, "/upload").await.len(), 1);
}

#[tokio::test]
async fn a_grant_is_kept_until_15_seconds_before_its_end() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = Server::default();
    let to = server.start().await;
    server.authorize(grant("first", 100, &[("_id", ID)]));
    let (mut worker, clock) = worker(&config(&from, &to));
    for (later, tokens) in [(0, "Bearer first"), (84, "Bearer first"), (1, "Bearer granted")] {
        clock.advance(Duration::from_secs(later));
        worker.cycle().await.expect("uploaded");
        let uploads = seen(&to, "/upload").await;
        assert_eq!(header(uploads.last().expect("one"), "authorization"), tokens, "{later} s later");
    }
    assert_eq!(seen(&to, "/authorize").await.len(), 2);
}

#[tokio::test]
async fn a_401_on_upload_asks_once_for_another_grant() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = Server::default();
    let to = server.start().await;
    server.authorize(grant("old", 86_400, &[("_id", ID)]));
    server.upload(ResponseTemplate::new(401));
    let (mut worker, _) = worker(&config(&from, &to));
    worker.cycle().await.expect("uploaded under the second grant");
    let tokens = |uploads: &[wiremock::Request]| -> Vec<String> {
        uploads.iter().map(|upload| header(upload, "authorization").to_owned()).collect()
    };
    assert_eq!(tokens(&seen(&to, "/upload").await), ["Bearer old", "Bearer granted"]);
    assert_eq!(seen(&from, "/federate").await.len(), 1, "the same labels: the same upload");

    // A second 401 is the end of the cycle.
    server.upload(ResponseTemplate::new(401).set_body_string("no"));
    server.upload(ResponseTemplate::new(401).set_body_string("still no"));
    let error = worker.cycle().await.expect_err("refused twice");
    assert!(matches!(error, CycleError::Upload(UploadError::Unauthorized(_))), "{error:?}");
    assert!(error.to_string().contains("(401): still no; asked http"), "{error}");
    assert_eq!(seen(&to, "/upload").await.len(), 4);
    assert_eq!(seen(&to, "/authorize").await.len(), 3);
}

#[tokio::test]
async fn another_grant_with_other_labels_scrapes_again() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = Server::default();
    let to = server.start().await;
    server.authorize(grant("old", 86_400, &[("_id", ID), ("plan", "gold")]));
    server.upload(ResponseTemplate::new(401));
    worker(&config(&from, &to)).0.cycle().await.expect("uploaded");
    let uploads = seen(&to, "/upload").await;
    assert!(uploaded(&uploads[0]).contains("plan=\"gold\""));
    assert!(!uploaded(&uploads[1]).contains("plan="));
    assert_eq!(seen(&from, "/federate").await.len(), 2);
}

#[tokio::test]
async fn retry_after_comes_through() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = Server::default();
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
    // What stands in front of Prometheus may ask for it as well, and by a date.
    let busy = MockServer::start().await;
    let dates = [("date", "Sun, 06 Nov 1994 08:49:07 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:50:24 GMT")];
    let answer = ResponseTemplate::new(502).append_headers(dates);
    Mock::given(method("GET")).respond_with(answer).mount(&busy).await;
    let (mut worker, _) = self::worker(&config(&busy, &Server::default().start().await));
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
    let to = Server::default().start().await;
    let (mut worker, _) = worker(&config(&from, &to));
    let report = worker.cycle().await.expect("a scrape");
    assert_eq!((report.scraped, report.kept), (3, 3));
    assert_eq!(seen(&from, "/federate/").await[0].headers["accept-encoding"], "gzip");
}

#[tokio::test]
async fn causes_are_in_words() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = Server::default();
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

/// A token that is refused is another matter than an address where no telemeter server is.
#[tokio::test]
async fn what_is_no_telemeter_server_does_not_blame_the_token() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = Server::default();
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
        // Of the Go server, and of ours.
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

/// What a cycle against a Prometheus with this one answer fails with.
async fn scrape_error(answer: ResponseTemplate) -> String {
    let from = MockServer::start().await;
    Mock::given(method("GET")).respond_with(answer).mount(&from).await;
    let to = Server::default().start().await;
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
        let to = Server::default().start().await;
        worker(&config(&from, &to)).0.cycle().await.expect("uploaded");
        let uploads = seen(&to, "/upload").await;
        let expected = format!("# TYPE up gauge\nup{{_id=\"{ID}\",job=\"a\"}} 1 {NOW_MS}\n");
        assert_eq!(uploaded(&uploads[0]), expected, "{content_type:?}");
    }
}

#[tokio::test]
async fn what_the_server_did_with_the_series_is_told_and_exported() {
    let from = prometheus(TEXT, format!("up{{a=\"1\"}} 1 {NOW_MS}\nup{{a=\"2\"}} 1 {NOW_MS}\n")).await;
    let server = Server::default();
    let to = server.start().await;
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::register(&mut registry);
    let mut worker = Worker::new(&config(&from, &to), Clock::fixed(NOW_MS).0, metrics).expect("set up");
    let mut cycle = async |header: Option<&str>| {
        let answer = ResponseTemplate::new(200);
        server.upload(match header {
            Some(value) => answer.insert_header("Telemeter-Series", value),
            None => answer,
        });
        let report = worker.cycle().await.expect("uploaded");
        assert_eq!(report.uploaded, 2);
        report.counts
    };
    let exported = |registry: &_| {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).expect("text");
        let mut lines: Vec<_> =
            text.lines().filter(|line| line.starts_with("upload_series{")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let counts = cycle(Some("received=2, kept=1, filtered=1, duplicates=0")).await.expect("counts");
    assert_eq!((counts.received, counts.kept, counts.filtered, counts.duplicates), (2, 1, 1, 0));
    let lines =
        ["duplicates", "filtered", "kept", "sent"].map(|result| format!("upload_series{{result=\"{result}\"}}"));
    let expected: Vec<_> = lines.iter().zip([0, 1, 1, 2]).map(|(line, value)| format!("{line} {value}")).collect();
    assert_eq!(exported(&registry), expected);
    // A server that says nothing, or something else.
    assert_eq!(cycle(None).await, None);
    assert_eq!(cycle(Some("many")).await, None);
    assert_eq!(exported(&registry), ["upload_series{result=\"sent\"} 2"]);
}

#[tokio::test]
async fn nothing_left_is_no_failure_and_no_upload() {
    let from = prometheus(TEXT, "up 1\n").await;
    let to = Server::default().start().await;
    let report = worker(&config(&from, &to)).0.cycle().await.expect("nothing to upload");
    assert_eq!((report.scraped, report.kept, report.uploaded, report.bytes), (1, 0, 0, 0));
    assert_eq!(seen(&to, "/upload").await.len(), 0);
}

#[tokio::test]
async fn token_files_are_read_each_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from_token, to_token) = (folder.path().join("from"), folder.path().join("to"));
    let write = |from: &str, to: &str| {
        std::fs::write(&from_token, from).expect("written");
        std::fs::write(&to_token, to).expect("written");
    };
    write("from-1\n", "to-1\n");
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = Server::default();
    let to = server.start().await;
    let mut config = config(&from, &to);
    config.from.token = Some(Credential::File(from_token.clone()));
    config.to.token = Credential::File(to_token.clone());
    // Grants that are too short to be kept.
    server.authorize(grant("a", 10, &[("_id", ID)]));
    server.authorize(grant("b", 10, &[("_id", ID)]));
    let (mut worker, _) = worker(&config);
    worker.cycle().await.expect("uploaded");
    write("from-2\n", "to-2\n");
    worker.cycle().await.expect("uploaded");
    let bearers = async |server: &MockServer, route: &str| -> Vec<String> {
        seen(server, route).await.iter().map(|request| header(request, "authorization").to_owned()).collect()
    };
    assert_eq!(bearers(&from, "/federate").await, ["Bearer from-1", "Bearer from-2"]);
    assert_eq!(bearers(&to, "/authorize").await, ["Bearer to-1", "Bearer to-2"]);

    std::fs::remove_file(&to_token).expect("removed");
    let error = worker.cycle().await.expect_err("no token");
    assert!(matches!(error, CycleError::Token(TokenError::Credential(_))), "{error:?}");
    assert!(error.to_string().contains(&to_token.display().to_string()), "{error}");
}

#[tokio::test]
async fn a_grant_ends_though_the_wall_clock_is_set_back() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let server = Server::default();
    let to = server.start().await;
    server.authorize(grant("a", 300, &[("_id", ID)]));
    server.authorize(grant("b", 300, &[("_id", ID)]));
    let (mut worker, clock) = worker(&config(&from, &to));
    for (seconds, exchanges) in [(0, 1), (100, 1), (201, 2)] {
        clock.advance(Duration::from_secs(seconds));
        clock.set_ms(NOW_MS);
        worker.cycle().await.expect("uploaded");
        assert_eq!(seen(&to, "/authorize").await.len(), exchanges, "{seconds} s later");
    }
}

#[tokio::test]
async fn a_match_file_is_added_to_the_matches() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("matches");
    std::fs::write(&file, "# what we send\n\n  {a=\"1\"}  \nup\n").expect("written");
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let to = Server::default().start().await;
    let mut config = config(&from, &to);
    config.match_file = Some(file.clone());
    worker(&config).0.cycle().await.expect("uploaded");
    let pairs: Vec<_> = seen(&from, "/federate").await[0].url.query_pairs().map(|(_, v)| v.into_owned()).collect();
    assert_eq!(pairs, ["{__name__=\"up\"}", "{a=\"1\"}", "up"]);
    std::fs::remove_file(&file).expect("removed");
    let error = Worker::new(&config, Clock::system(), Metrics::default()).err().expect("no file").to_string();
    assert!(error.starts_with(&format!("--match-file: {} cannot be read", file.display())), "{error}");
}

#[tokio::test]
async fn a_password_in_the_url_is_basic_authentication() {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let to = Server::default().start().await;
    let mut config = config(&from, &to);
    config.from.url.set_username("me").expect("a user");
    config.from.url.set_password(Some("secret")).expect("a password");
    worker(&config).0.cycle().await.expect("uploaded");
    assert_eq!(header(&seen(&from, "/federate").await[0], "authorization"), "Basic bWU6c2VjcmV0");
}
