//! Tests the client with its listener: the pages that it serves, a reload, and its end.

#![allow(clippy::disallowed_methods, reason = "the peers are played: their answers need no cap")]

mod access;
mod end;
#[path = "../fake/mod.rs"]
mod fake;
mod federate;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fake::{FakeTelemeter, ID, NOW_MS, config, header, prometheus, recorded, seen};
use telemeter_client::{BoundClient, Config, Observer, config::Credential};
use telemeter_http::clock::Clock;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A running client with its listener.
struct RunningClient {
    base: String,
    /// Gets a value after each cycle: `true` where it succeeded.
    cycles: mpsc::UnboundedReceiver<bool>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl RunningClient {
    async fn start(mut config: Config) -> Self {
        config.listen = Some("127.0.0.1:0".to_owned());
        let (clock, _) = Clock::fixed(NOW_MS);
        let (tell, cycles) = mpsc::unbounded_channel();
        let observer: Observer = Arc::new(move |ended| {
            let _ = tell.send(ended.is_ok());
        });
        let client = BoundClient::bind(config, clock).await.expect("set up").observe(observer);
        let base = format!("http://{}", client.local_addr().expect("it listens"));
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(client.serve(async {
            let _ = stopped.await;
        }));
        Self { base, cycles, stop: Some(stop), task }
    }

    async fn cycle(&mut self) -> bool {
        tokio::time::timeout(Duration::from_secs(20), self.cycles.recv()).await.expect("in time").expect("running")
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        reqwest::Client::builder().build().expect("a client").get(self.url(path)).send().await.expect("an answer")
    }

    async fn text(&self, path: &str) -> String {
        self.get(path).await.text().await.expect("text")
    }

    async fn reload(&self) -> (u16, String) {
        let client = reqwest::Client::builder().build().expect("a client");
        let answer = client.post(self.url("/-/reload")).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Makes the client end, and returns how long that took.
    async fn end(mut self) -> Duration {
        let start = Instant::now();
        let _ = self.stop.take().expect("once").send(());
        self.task.await.expect("it ends");
        start.elapsed()
    }
}

/// A configuration with a short interval, so that a test does not wait long for a cycle.
fn quick(from: &MockServer, to: &MockServer) -> Config {
    Config { interval: Duration::from_secs(1), ..config(from, to) }
}

/// The metrics that the Go client exports, except `go_*`; those with labels have `client` (`federate_from` or
/// `federate_to`) and `status_code`.
///
/// Source: Go: `pkg/forwarder`, `pkg/metricsclient`, and the metrics that `pkg/server` and `pkg/metricfamily` register
/// in any program that links them; checked against a scrape of the Go client.
/// that links them; held against a scrape of it.
const GO: [(&str, &str); 21] = [
    ("federate_filtered_samples", "gauge"),
    ("federate_requests_failed_total", "counter"),
    ("federate_requests_total", "counter"),
    ("federate_samples", "gauge"),
    ("metricsclient_http_requests_total", "counter"),
    ("metricsclient_request_retrieve", "gauge"),
    ("metricsclient_request_send", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_max_fds", "gauge"),
    ("process_network_receive_bytes_total", "counter"),
    ("process_network_transmit_bytes_total", "counter"),
    ("process_open_fds", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_virtual_memory_bytes", "gauge"),
    ("process_virtual_memory_max_bytes", "gauge"),
    ("promhttp_metric_handler_requests_in_flight", "gauge"),
    ("promhttp_metric_handler_requests_total", "counter"),
    ("telemeter_elide_transform_dropped_total", "counter"),
    ("telemeter_v1_forward_overwritten_timestamps_total", "counter"),
    ("telemeter_v1_forward_samples_total", "counter"),
];

#[tokio::test]
async fn it_serves_its_last_upload_its_metrics_and_its_health() {
    let from = prometheus(TEXT, format!("# TYPE up gauge\nup{{a=\"1\"}} 1 {NOW_MS}\nup 1\n")).await;
    let server = FakeTelemeter::default();
    let to = server.start().await;
    server.upload(ResponseTemplate::new(500));
    let mut client = RunningClient::start(Config { interval: Duration::from_secs(30), ..config(&from, &to) }).await;
    let empty = client.get("/federate").await;
    assert_eq!((empty.status().as_u16(), empty.text().await.expect("text").as_str()), (200, ""));

    assert!(!client.cycle().await, "the upload failed");
    let federate = client.get("/federate").await;
    assert_eq!(federate.headers()["content-type"], format!("{TEXT}; escaping=underscores"));
    let shown = federate.text().await.expect("text");
    assert_eq!(shown, format!("# TYPE up gauge\nup{{_id=\"{ID}\",a=\"1\"}} 1 {NOW_MS}\n"), "what an upload would hold");

    let metrics = client.text("/metrics").await;
    for line in [
        "federate_samples 2",
        "federate_filtered_samples 1",
        "federate_invalid_samples 1",
        "federate_requests_total 1",
        "federate_requests_failed_total 1",
        "federate_unrequested_samples 0",
        "federate_consecutive_failures 1",
        "federate_last_success_timestamp_seconds 0.0",
        "metricsclient_http_requests_total{client=\"federate_from\",status_code=\"200\"} 1",
        "metricsclient_http_requests_total{client=\"federate_to\",status_code=\"200\"} 1",
        "metricsclient_http_requests_total{client=\"federate_to\",status_code=\"500\"} 1",
        "metricsclient_request_retrieve{client=\"federate_from\",status_code=\"200\"} 1",
        "metricsclient_request_send{client=\"federate_to\",status_code=\"500\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    for (name, kind) in GO {
        assert!(metrics.contains(&format!("\n# TYPE {name} {kind}\n")), "{name} ({kind}) is not in\n{metrics}");
    }
    for path in ["/healthz", "/healthz/ready"] {
        assert_eq!(client.text(path).await, "ok");
    }
    let paths: serde_json::Value = serde_json::from_str(&client.text("/").await).expect("JSON");
    let expected = [
        "/",
        "/-/reload",
        "/debug/pprof/",
        "/debug/pprof/heap",
        "/debug/pprof/profile",
        "/federate",
        "/healthz",
        "/healthz/ready",
        "/metrics",
    ];
    assert_eq!(paths, serde_json::json!({ "paths": expected }));
    let browser = reqwest::Client::builder().build().expect("a client");
    let page = browser.get(client.url("/")).header("accept", "text/html,*/*;q=0.8").send().await.expect("an answer");
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'self'") && !policy.contains("unsafe"), "{policy}");
    let page = page.text().await.expect("text");
    for part in ["Reports do not get through", "the server could not take the metrics now (500)", "<code>up</code>"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let style = page.split("href=\"/assets/").nth(1).and_then(|rest| rest.split('"').next()).expect("a style sheet");
    assert_eq!(client.get(&format!("/assets/{style}")).await.headers()["content-type"], "text/css; charset=utf-8");
    assert_eq!(client.get("/assets/style-0.css").await.status().as_u16(), 404);
    assert_eq!(client.get("/-/reload").await.status().as_u16(), 405);
    client.end().await;
}

#[tokio::test]
async fn a_large_family_is_shown_under_one_type_line() {
    let mut body = "# TYPE up gauge\n".to_owned();
    for series in 0..5000 {
        let time = NOW_MS - 5000 + series;
        body.push_str(&format!("up{{series=\"{series}\"}} 1 {time}\n"));
    }
    let (from, to) = (prometheus(TEXT, body.clone()).await, FakeTelemeter::default().start().await);
    let mut client = RunningClient::start(Config { limit_bytes: body.len(), ..quick(&from, &to) }).await;
    assert!(client.cycle().await);
    let metrics = client.text("/metrics").await;
    assert!(metrics.contains("\nfederate_last_success_timestamp_seconds 1795330870.734\n"), "{metrics}");
    assert!(metrics.contains("\nfederate_consecutive_failures 0\n"), "{metrics}");
    let expected = body.replace("up{", &format!("up{{_id=\"{ID}\","));
    assert!(client.text("/federate").await == expected, "not the series that were scraped");
    client.end().await;
}

#[tokio::test]
async fn every_name_of_the_recording_is_exported_with_its_type() {
    let (from, to) = (prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await, FakeTelemeter::default().start().await);
    let mut client = RunningClient::start(quick(&from, &to)).await;
    assert!(client.cycle().await);
    let metrics = client.text("/metrics").await;
    // This list is a part of the recorded metrics, for a checkout without the recording.
    let mut expected: Vec<String> = [
        "federate_filtered_samples gauge",
        "federate_requests_failed_total counter",
        "federate_requests_total counter",
        "federate_samples gauge",
        "metricsclient_http_requests_total counter",
        "metricsclient_request_retrieve gauge",
        "metricsclient_request_send gauge",
        "process_cpu_seconds_total counter",
        "telemeter_elide_transform_dropped_total counter",
        "telemeter_v1_forward_overwritten_timestamps_total counter",
        "telemeter_v1_forward_samples_total counter",
    ]
    .map(|line| format!("# TYPE {line}"))
    .into();
    if let Some(folder) = recorded() {
        let names = std::fs::read_to_string(folder.join("client-metric-names.txt")).expect("part of the recording");
        expected.extend(names.lines().filter(|line| !line.starts_with("# TYPE go_")).map(str::to_owned));
    }
    for line in expected {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    client.end().await;
}

/// The query of a scrape with the selector `two`.
const TWO: &str = "match%5B%5D=two";

#[tokio::test]
async fn a_reload_swaps_the_worker_and_a_bad_one_keeps_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let matches = folder.path().join("matches");
    std::fs::write(&matches, "one\n").expect("written");
    let (from, to) = (prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await, FakeTelemeter::default().start().await);
    let mut config = quick(&from, &to);
    config.matches.clear();
    config.match_file = Some(matches.clone());
    let mut client = RunningClient::start(config).await;
    assert!(client.cycle().await);

    std::fs::write(&matches, "two\n").expect("written");
    assert_eq!(client.reload().await, (200, "ok\n".to_owned()));
    let asks_for_two = || async { seen(&from, "/federate").await.iter().any(|scrape| scrape.url.query() == Some(TWO)) };
    // A cycle that began while the reload read its files still uses the old worker.
    while !asks_for_two().await {
        assert!(client.cycle().await);
    }
    let before = seen(&from, "/federate").await.len();

    std::fs::remove_file(&matches).expect("removed");
    let (status, line) = client.reload().await;
    assert_eq!(status, 500);
    assert!(line.contains("the old configuration stays: --match-file: "), "{line}");
    assert!(line.contains(&matches.display().to_string()), "{line}");
    while seen(&from, "/federate").await.len() <= before {
        assert!(client.cycle().await);
    }

    let asked: Vec<_> =
        seen(&from, "/federate").await.iter().map(|scrape| scrape.url.query().map(str::to_owned)).collect();
    let first_two = asked.iter().position(|query| query.as_deref() == Some(TWO)).expect("it was waited for");
    assert!(asked[..first_two].iter().all(|query| query.as_deref() == Some("match%5B%5D=one")), "{asked:?}");
    assert!(asked[first_two..].iter().all(|query| query.as_deref() == Some(TWO)), "{asked:?}");
    assert_eq!(seen(&to, "/authorize").await.len(), 2, "a new worker has no grant yet");
    client.end().await;
}

#[tokio::test]
async fn each_file_is_named_where_it_is_bad() {
    let (from, to) = (prometheus(TEXT, "").await, FakeTelemeter::default().start().await);
    let nowhere = || std::path::PathBuf::from("/nowhere");
    let file = || Credential::File(nowhere());
    type ConfigChange<'c> = &'c dyn Fn(&mut Config);
    let anonymize = || telemeter_client::config::AnonymizeSettings { labels: vec!["a".to_owned()], salt: file() };
    let tls = || telemeter_http::tls::CertificateFiles { cert_file: nowhere(), key_file: nowhere() };
    let changes: [(ConfigChange<'_>, &str); 6] = [
        (&|config| config.from.ca_file = Some(nowhere()), "the connection to Prometheus cannot be set up: /nowhere"),
        (&|config| config.from.identity = Some(tls()), "the connection to Prometheus cannot be set up: /nowhere"),
        (&|config| config.to.ca_file = Some(nowhere()), "the connection to the server cannot be set up: /nowhere"),
        (&|config| config.from.token = Some(file()), "--from-token-file: /nowhere"),
        (&|config| config.to.token = file(), "--to-token-file: /nowhere"),
        (&|config| config.anonymize = Some(anonymize()), "--anonymize-salt-file: /nowhere"),
    ];
    for (change, expected) in changes {
        let mut config = config(&from, &to);
        change(&mut config);
        let error = BoundClient::bind(config, Clock::system()).await.err().expect("no such file").to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = taken.local_addr().expect("bound").to_string();
    let config = Config { listen: Some(listen), ..config(&from, &to) };
    let error = BoundClient::bind(config, Clock::system()).await.err().expect("taken").to_string();
    assert!(error.starts_with("--listen: "), "{error}");
}

#[tokio::test]
async fn gzip_is_decoded_and_the_limit_counts_what_comes_out() {
    // printf 'up 1 1795330870734\n' | gzip -n9
    const BODY: &[u8] = &[
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 43, 45, 80, 48, 84, 48, 52, 183, 52, 53, 54, 54, 176, 48, 55, 48, 55, 54, 225,
        2, 0, 12, 127, 21, 18, 19, 0, 0, 0,
    ];
    let from = MockServer::start().await;
    let answer = ResponseTemplate::new(200).set_body_raw(BODY, TEXT).insert_header("content-encoding", "gzip");
    Mock::given(method("GET")).respond_with(answer).mount(&from).await;
    let to = FakeTelemeter::default().start().await;
    let seen_by: Arc<Mutex<Vec<String>>> = Arc::default();
    let observer: Observer = Arc::new({
        let seen_by = seen_by.clone();
        move |ended| {
            seen_by
                .lock()
                .expect("no panic")
                .push(ended.as_ref().map_or_else(ToString::to_string, |r| r.kept.to_string()))
        }
    });
    for (limit_bytes, expected) in
        [(19, "1"), (18, "Prometheus answered with more than 18 bytes: raise --limit-bytes, or narrow --match")]
    {
        let config = Config { limit_bytes, ..quick(&from, &to) };
        let client = BoundClient::bind(config, Clock::fixed(NOW_MS).0).await.expect("set up").observe(observer.clone());
        let before = seen_by.lock().expect("no panic").len();
        let until = async {
            while seen_by.lock().expect("no panic").len() == before {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        client.serve(until).await;
        assert_eq!(seen_by.lock().expect("no panic")[before], expected);
    }
    assert_eq!(header(&seen(&from, "/federate").await[0], "accept-encoding"), "gzip");
}
