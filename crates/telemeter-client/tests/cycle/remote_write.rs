//! Tests `--protocol remote-write`: the requests and the token that the receiver gets, and how the client handles its
//! answers.

use std::time::Duration;

use telemeter_auth::composite_token;
use telemeter_client::{Config, CycleError, Worker, metrics::Metrics, remote_write::RemoteWriteError};
use telemeter_http::clock::Clock;
use telemeter_wire::{
    Arena, DecodeLimits, Label, MetricType, NativeHistogram, Points, SeriesSet, exposition::delimited, remote_write,
    series::NAME_LABEL, snappy,
};
use wiremock::{
    Mock, MockServer, Request, ResponseTemplate,
    matchers::{method, path},
};

use super::{
    PROTOBUF, TEXT,
    fake::{self, ID, NOW_MS, header, prometheus, seen},
    worker,
};

const ROUTE: &str = "/metrics/v1/receive";

/// The configuration of a client that sends remote write to `to`.
fn config(from: &MockServer, to: &MockServer) -> Config {
    let mut config = fake::config(from, to);
    config.to.receive = Some(format!("{}{ROUTE}", to.uri()).parse().expect("a URL"));
    config
}

/// A receiver that gives these answers in order, and repeats the last one.
async fn receiver(answers: &[ResponseTemplate]) -> MockServer {
    let server = MockServer::start().await;
    let (last, first) = answers.split_last().expect("an answer");
    for answer in first {
        let once = Mock::given(method("POST")).and(path(ROUTE)).respond_with(answer.clone()).up_to_n_times(1);
        once.mount(&server).await;
    }
    Mock::given(method("POST")).and(path(ROUTE)).respond_with(last.clone()).mount(&server).await;
    server
}

/// A series: its labels, its samples with their times, and how many histograms it has.
type ShownSeries = (String, Vec<(f64, Option<i64>)>, usize);

/// Decodes the series of a request.
fn series(request: &Request) -> Vec<ShownSeries> {
    let mut plain = Vec::new();
    snappy::decode_block(&request.body, 10 << 20, &mut plain).expect("a snappy block");
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    remote_write::decode(&plain, &DecodeLimits::default(), &mut set).expect("a WriteRequest");
    let shown = |series: telemeter_wire::Series<'_, '_>| {
        let labels: Vec<_> = series.labels.iter().map(|label| format!("{}={}", label.name, label.value)).collect();
        let samples = series.samples().map(|sample| (sample.value, sample.timestamp_ms)).collect();
        (labels.join(","), samples, series.histograms().count())
    };
    set.iter().map(shown).collect()
}

#[tokio::test]
async fn the_receiver_gets_the_series_with_their_own_times() {
    let (older, newer) = (NOW_MS - 60_000, NOW_MS - 1_000);
    let body = format!(
        "# TYPE ALERTS untyped\nALERTS{{alertname=\"a\"}} 1 {older}\n\
         # TYPE up gauge\nup{{z=\"1\",job=\"b\"}} 1 {newer}\nup{{job=\"b\",z=\"1\"}} 0 {older}\n\
         up{{job=\"\"}} 2 {older}\nup{{job=\"old\"}} 1 {}\n",
        NOW_MS - 90_000_000
    );
    let from = prometheus(TEXT, body).await;
    let to = receiver(&[ResponseTemplate::new(200)]).await;
    let mut config = config(&from, &to);
    config.labels = vec![("site".to_owned(), "here".to_owned())];
    let (mut worker, _) = worker(&config);
    let report = worker.cycle().await.expect("sent");
    assert_eq!((report.scraped, report.kept, report.uploaded), (5, 3, 3));
    assert_eq!((report.left_out.outdated, report.left_out.duplicates), (1, 1));
    let requests = seen(&to, ROUTE).await;
    assert_eq!((requests.len(), requests[0].body.len()), (1, report.bytes));
    assert_eq!(seen(&to, "/authorize").await.len() + seen(&to, "/upload").await.len(), 0);
    for (name, expected) in [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
    ] {
        assert_eq!(header(&requests[0], name), expected);
    }
    let token = header(&requests[0], "authorization").strip_prefix("Bearer ").expect("a bearer token");
    let token = composite_token::decode(token).expect("a composite token");
    assert_eq!((token.authorization_token().expose(), token.cluster_id()), ("a-token", ID));
    // Labels are sorted, and a label with an empty value is removed; of duplicates the newest is sent.
    let identity = format!("_id={ID}");
    assert_eq!(
        series(&requests[0]),
        [
            (format!("__name__=alerts,{identity},alertname=a,site=here"), vec![(1.0, Some(older))], 0),
            (format!("__name__=up,{identity},job=b,site=here,z=1"), vec![(1.0, Some(newer))], 0),
            (format!("__name__=up,{identity},site=here"), vec![(2.0, Some(older))], 0),
        ]
    );
}

#[tokio::test]
async fn native_histograms_and_utf8_names_are_sent() {
    // A count of 4, all in the zero bucket.
    let good: &[u8] = &[0x08, 4, 0x38, 4];
    let (arena, mut scraped) = (Arena::new(), Vec::new());
    let mut set = SeriesSet::new_in(&arena);
    let histogram = NativeHistogram { message: good, timestamp_ms: Some(NOW_MS) };
    set.push(&[Label::new(NAME_LABEL, "http.latency")], MetricType::Histogram, Points::Histogram(histogram));
    delimited::encode(&set, &mut scraped);
    let (from, to) = (prometheus(PROTOBUF, scraped).await, receiver(&[ResponseTemplate::new(204)]).await);
    let report = worker(&config(&from, &to)).0.cycle().await.expect("sent");
    assert_eq!(report.uploaded, 1);
    assert!(header(&seen(&from, "/federate").await[0], "accept").contains("encoding=delimited;escaping=allow-utf-8"));
    let expected = [(format!("__name__=http.latency,_id={ID}"), vec![], 1)];
    assert_eq!(series(&seen(&to, ROUTE).await[0]), expected);
}

#[tokio::test]
async fn many_series_go_in_several_requests_each_once() {
    let filling = "x".repeat(200);
    let lines = (0..6_000).map(|series| format!("up{{series=\"{series}\",filling=\"{filling}\"}} 1 {NOW_MS}\n"));
    let body: String = lines.collect();
    let (from, to) = (prometheus(TEXT, body.clone()).await, receiver(&[ResponseTemplate::new(200)]).await);
    let config = Config { limit_bytes: body.len(), ..config(&from, &to) };
    let report = worker(&config).0.cycle().await.expect("sent");
    let requests = seen(&to, ROUTE).await;
    assert!(requests.len() > 1, "{}", requests.len());
    assert!(requests.iter().all(|request| request.body.len() < 1 << 20));
    let mut all: Vec<String> = requests.iter().flat_map(series).map(|(labels, ..)| labels).collect();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), report.uploaded), (6_000, 6_000));
}

/// Runs a cycle against a receiver with these answers. Returns its error, how many requests came, how many were
/// retries, and how long it took.
async fn answered(answers: &[ResponseTemplate], interval: Duration) -> (Option<CycleError>, usize, u64, Duration) {
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let to = receiver(answers).await;
    let (config, metrics) = (Config { interval, ..config(&from, &to) }, Metrics::default());
    let mut worker = Worker::new(&config, Clock::fixed(NOW_MS).0, metrics.clone()).expect("set up");
    let start = std::time::Instant::now();
    let error = worker.cycle().await.err();
    (error, seen(&to, ROUTE).await.len(), metrics.remote_write_retries.get(), start.elapsed())
}

#[tokio::test]
async fn a_5xx_is_retried_when_the_receiver_says() {
    let minute = Duration::from_secs(60);
    let later = ResponseTemplate::new(503).insert_header("retry-after", "2");
    let (error, requests, retries, took) = answered(&[later, ResponseTemplate::new(200)], minute).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!((requests, retries), (2, 1));
    assert!(took >= Duration::from_secs(2), "{took:?}");
    let (error, requests, ..) = answered(&[ResponseTemplate::new(500), ResponseTemplate::new(200)], minute).await;
    assert!(error.is_none() && requests == 2, "{error:?}");
    // A wait beyond the end of the cycle is not part of the cycle: the schedule waits instead.
    let much_later = ResponseTemplate::new(503).insert_header("retry-after", "3600");
    let (error, requests, retries, took) = answered(&[much_later], minute).await;
    let error = error.expect("not taken");
    assert!(matches!(error, CycleError::RemoteWrite(RemoteWriteError::Failed(_))), "{error:?}");
    assert_eq!((requests, retries, error.retry_after()), (1, 0, Some(Duration::from_secs(3600))));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn a_4xx_is_final_and_said_in_words() {
    let minute = Duration::from_secs(60);
    for (status, expected) in [
        (400, "the receiver refused the series (400): because; asked http"),
        (413, "the receiver refused the series (413): because; asked http"),
        (401, "the receiver refused this cluster's token (401): because; asked http"),
        (403, "the receiver refused this cluster's token (403): because; asked http"),
        (404, "nothing at that address takes remote write (404): because; asked http"),
        (415, "nothing at that address takes remote write (415): because; asked http"),
        (429, "the receiver asks us to come less often (429): because; asked http"),
    ] {
        let answer = ResponseTemplate::new(status).set_body_string("because").insert_header("retry-after", "77");
        let (error, requests, retries, _) = answered(&[answer], minute).await;
        let error = error.expect("refused");
        assert!(error.to_string().starts_with(expected), "{error}");
        assert_eq!((requests, retries), (1, 0), "{status}");
        assert_eq!(error.retry_after(), (status == 429).then_some(Duration::from_secs(77)), "{status}");
    }
}

#[tokio::test]
async fn one_request_that_is_refused_does_not_keep_the_others_back() {
    let filling = "x".repeat(200);
    let lines = (0..6_000).map(|series| format!("up{{series=\"{series}\",filling=\"{filling}\"}} 1 {NOW_MS}\n"));
    let body: String = lines.collect();
    let from = prometheus(TEXT, body.clone()).await;
    let to = receiver(&[ResponseTemplate::new(400), ResponseTemplate::new(200)]).await;
    let config = Config { limit_bytes: body.len(), ..config(&from, &to) };
    let error = worker(&config).0.cycle().await.expect_err("one was refused");
    assert!(matches!(error, CycleError::RemoteWrite(RemoteWriteError::Refused(_))), "{error:?}");
    assert!(seen(&to, ROUTE).await.len() > 1);
}
