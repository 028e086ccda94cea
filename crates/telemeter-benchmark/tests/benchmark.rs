//! The benchmark against a played server.

#![allow(clippy::disallowed_methods, reason = "the peers are played: their answers need no cap")]

#[path = "../../telemeter-client/tests/fake/mod.rs"]
mod fake;

use std::{future::pending, path::PathBuf, time::Duration};

use fake::{FakeTelemeter, header, seen, uploaded};
use prometheus_client::registry::Registry;
use telemeter_auth::Secret;
use telemeter_benchmark::{
    BenchmarkError, Config, ReportOutput,
    config::{SimulatedFleet, Tokens},
};
use telemeter_client::config::{Credential, TargetSettings};
use telemeter_http::listen::{self, ConnectionMetrics, ListenLimits};
use telemeter_http::tls::ListenerTls;
use url::Url;
use wiremock::{MockServer, ResponseTemplate};

fn config(to: &MockServer, folder: &tempfile::TempDir) -> Config {
    let metrics_file = folder.path().join("metrics.txt");
    std::fs::write(&metrics_file, "# TYPE up gauge\nup{job=\"a\"} 1 1000\nup{job=\"b\"} 0\n").expect("written");
    let url = |path: &str| Url::parse(&format!("{}{path}", to.uri())).expect("a URL");
    let to = TargetSettings {
        authorize: url("/authorize"),
        upload: url("/upload"),
        receive: None,
        ca_file: None,
        token: Credential::Value(Secret::from("a-token")),
    };
    let interval = Duration::from_secs(1);
    Config { listen: None, to, metrics_file, interval, workers: 5, once: true, fleet: None }
}

/// Runs a benchmark to its end: how it ended and what it wrote.
async fn run(config: Config) -> (Result<u64, BenchmarkError>, String) {
    let mut written = Vec::new();
    let output = ReportOutput { writer: &mut written, terminal: false };
    let ended = telemeter_benchmark::run(config, output, pending()).await.map(|tally| tally.total_sent());
    (ended, String::from_utf8(written).expect("text"))
}

/// The value of a row of the table.
fn row<'t>(table: &'t str, name: &str) -> &'t str {
    let line = table.lines().find(|line| line.trim_start().starts_with(&format!("{name}  ")));
    line.unwrap_or_else(|| panic!("{name} is not in\n{table}")).trim_start()[name.len()..].trim()
}

#[tokio::test]
async fn once_is_one_upload_per_worker_each_under_its_own_id() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = FakeTelemeter::default().start().await;
    let (ended, table) = run(config(&to, &folder)).await;
    assert_eq!(ended.expect("all were taken"), 5);
    assert_eq!((row(&table, "sent"), row(&table, "failed")), ("5", "0"));
    for name in [
        "uploads a second",
        "series a second",
        "bytes a second",
        "latency p50",
        "latency p90",
        "latency p99",
        "latency p99.9",
        "latency max",
    ] {
        assert!(!row(&table, name).starts_with("0 "), "{table}");
    }
    let authorized = seen(&to, "/authorize").await;
    let ids: std::collections::BTreeSet<_> =
        authorized.iter().map(|request| request.url.query().unwrap_or("").to_owned()).collect();
    assert_eq!(ids.len(), 5, "{ids:?}");
    assert!(authorized.iter().all(|request| header(request, "authorization") == "Bearer a-token"));
    let uploads = seen(&to, "/upload").await;
    assert_eq!(uploads.len(), 5);
    for upload in &uploads {
        let text = uploaded(upload);
        assert!(text.contains("_id=\"") && !text.contains(" 1000\n"), "labelled and stamped anew: {text}");
        assert_eq!(text.lines().count(), 3, "the series without a time is stamped too: {text}");
    }
}

#[tokio::test]
async fn once_fails_where_an_upload_failed() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = FakeTelemeter::default();
    let to = server.start().await;
    server.upload(ResponseTemplate::new(429));
    server.upload(ResponseTemplate::new(503));
    server.authorize(ResponseTemplate::new(403));
    let (ended, table) = run(config(&to, &folder)).await;
    assert_eq!(ended.expect_err("three failed").to_string(), "3 of 5 uploads failed");
    let rows = ["sent", "failed", "authorize 403", "upload 429", "upload 503"].map(|name| row(&table, name));
    assert_eq!(rows, ["2", "3", "1", "1", "1"]);
}

#[tokio::test]
async fn without_once_it_goes_on_until_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = FakeTelemeter::default().start().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let mut config = config(&to, &folder);
    (config.once, config.interval, config.listen) = (false, Duration::from_millis(200), Some(port.to_string()));
    let metrics = std::sync::Mutex::new(String::new());
    let shutdown = async {
        while seen(&to, "/upload").await.len() < 12 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let client = reqwest::Client::builder().build().expect("a client");
        let answer = client.get(format!("http://{port}/metrics")).send().await.expect("an answer");
        *metrics.lock().expect("no panic") = answer.text().await.expect("text");
    };
    let mut written = Vec::new();
    let output = ReportOutput { writer: &mut written, terminal: false };
    let tally = telemeter_benchmark::run(config, output, shutdown).await.expect("told to end");
    assert!(tally.total_sent() >= 12, "more than one upload a worker");
    let metrics = metrics.into_inner().expect("no panic");
    let value = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{metrics}")).parse().expect("a number")
    };
    assert!(value("forwarded_samples") >= 24, "two a upload");
    assert_eq!(value("forward_errors"), 0);
    assert!(String::from_utf8(written).expect("text").contains("latency max"), "the table comes at the end");
}

/// A fleet of 20 clusters that each come once in half a second, for a second.
fn fleet(folder: &tempfile::TempDir) -> SimulatedFleet {
    SimulatedFleet {
        clusters: 20,
        duration: Duration::from_secs(1),
        tokens: Tokens::Exchanged,
        reconnects: false,
        resumes: false,
        connections: 4,
        report_svg: Some(folder.path().join("report.svg")),
        report_json: Some(folder.path().join("report.json")),
        server_pid: Some(std::process::id()),
    }
}

#[tokio::test]
async fn a_fleet_comes_by_its_schedule_however_slow_the_server_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = FakeTelemeter::default();
    let to = server.start().await;
    // Late by more than the whole run, for the connection that meets it; the others go on.
    server.upload(ResponseTemplate::new(200).set_delay(Duration::from_millis(600)));
    let mut config = config(&to, &folder);
    (config.interval, config.fleet) = (Duration::from_millis(500), Some(fleet(&folder)));
    let started = std::time::Instant::now();
    let (ended, table) = run(config).await;
    assert_eq!(ended.expect("all were taken"), 40);
    assert!(started.elapsed() >= Duration::from_millis(1000), "not before the last was due");
    assert_eq!((row(&table, "sent"), row(&table, "failed"), row(&table, "asked for, a second")), ("40", "0", "40.0"));
    for name in ["latency p99.9", "server CPU", "server memory", "generator CPU"] {
        assert!(!row(&table, name).is_empty(), "{table}");
    }
    let ids = |query: Option<&str>| query.unwrap_or("").to_owned();
    let authorized: Vec<_> = seen(&to, "/authorize").await.iter().map(|request| ids(request.url.query())).collect();
    let distinct: std::collections::BTreeSet<_> = authorized.iter().collect();
    assert_eq!(distinct.len(), 21, "a hundredth more, rounded up, so that none comes early");
    assert_eq!(authorized.len(), 22, "once each: tokens are kept; and the first question");
    let uploads = seen(&to, "/upload").await;
    assert_eq!(uploads.len(), 40);
    for upload in &uploads {
        assert!(header(upload, "authorization").starts_with("Bearer "));
        let text = uploaded(upload);
        assert!(text.contains("_id=\"") && !text.contains(" 1000\n"), "labelled and stamped anew: {text}");
    }
    let json = std::fs::read(folder.path().join("report.json")).expect("written");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!((&json["sent"], &json["clusters"]), (&40.into(), &20.into()));
    // The hundredth more, too.
    assert_eq!((&json["clusters_that_took_part"], row(&table, "that took part")), (&21.into(), "21"));
    let longest = json["latency_ms"]["max"].as_f64().expect("a number");
    assert!((600.0..1500.0).contains(&longest), "{longest}");
    assert!(json["seconds"][0]["sent_per_second"].as_f64().expect("a number") > 20.0, "{json}");
    let svg = std::fs::read_to_string(folder.path().join("report.svg")).expect("written");
    assert!(svg.starts_with("<svg") && svg.contains(" uploads a second, 0 failed"), "{svg}");
}

#[tokio::test]
async fn a_run_that_is_shorter_than_the_interval_says_how_many_clusters_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = FakeTelemeter::default();
    let to = server.start().await;
    let mut config = config(&to, &folder);
    let fleet = SimulatedFleet { clusters: 200, duration: Duration::from_millis(500), ..fleet(&folder) };
    (config.interval, config.fleet) = (Duration::from_secs(10), Some(fleet));
    let (ended, table) = run(config).await;
    assert_eq!(ended.expect("all were taken"), 10);
    assert_eq!((row(&table, "clusters"), row(&table, "that took part")), ("200", "10"), "{table}");
}

#[tokio::test]
async fn what_a_fleet_had_to_wait_for_a_connection_counts_as_latency() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = FakeTelemeter::default();
    let to = server.start().await;
    server.upload(ResponseTemplate::new(200).set_delay(Duration::from_millis(500)));
    let mut config = config(&to, &folder);
    let fleet = SimulatedFleet { clusters: 10, duration: Duration::from_millis(500), connections: 1, ..fleet(&folder) };
    (config.interval, config.fleet) = (Duration::from_millis(500), Some(fleet));
    let (ended, _) = run(config).await;
    assert_eq!(ended.expect("all were taken"), 10);
    let json = std::fs::read(folder.path().join("report.json")).expect("written");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    // The one behind the slow one is quick itself, but was due 50 ms after it.
    assert!(json["latency_ms"]["p50"].as_f64().expect("a number") > 150.0, "{json}");
}

#[tokio::test]
async fn a_fleet_speaks_tls_with_a_connection_for_each_upload_or_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let [cert, key] = ["crt", "key"].map(|name| folder.path().join(name));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let server = FakeTelemeter::default();
    let to = server.start().await;
    for (reconnects, resumes) in [(false, false), (true, false), (true, true)] {
        let mut registry = Registry::default();
        let limits = ListenLimits { metrics: ConnectionMetrics::register(&mut registry), ..ListenLimits::default() };
        let listener = listen::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let listener = listener.with_tls(ListenerTls::load(&cert, &key).expect("a certificate"));
        let router = axum::Router::new().route("/upload", axum::routing::post(|| async {}));
        let serving = tokio::spawn(listen::serve(listener, router, limits, std::future::pending()));

        let mut config = config(&to, &folder);
        config.to.upload = Url::parse(&format!("https://localhost:{port}/upload")).expect("a URL");
        config.to.ca_file = Some(cert.clone());
        let fleet = SimulatedFleet { reconnects, resumes, ..fleet(&folder) };
        (config.interval, config.fleet) = (Duration::from_millis(500), Some(fleet));
        assert_eq!(run(config).await.0.expect("all were taken"), 40);
        serving.abort();

        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        let count = |resumed: bool| -> u64 {
            let name = format!("telemeter_tls_handshakes_total{{resumed=\"{resumed}\"}} ");
            text.lines().find_map(|line| line.strip_prefix(&name)).expect("counted").parse().expect("a number")
        };
        match (reconnects, resumes) {
            (false, _) => assert!((1..=4).contains(&count(false)) && count(true) == 0, "4 connections\n{text}"),
            (true, false) => assert_eq!((count(false), count(true)), (40, 0)),
            (true, true) => {
                assert_eq!(count(false) + count(true), 40);
                assert!((1..=4).contains(&count(false)), "the first of each connection\n{text}");
            }
        }
    }
}

#[tokio::test]
async fn a_fleet_that_is_refused_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = FakeTelemeter::default();
    let to = server.start().await;
    server.upload(ResponseTemplate::new(429));
    server.upload(ResponseTemplate::new(503));
    let with = |fleet: SimulatedFleet| {
        let mut config = config(&to, &folder);
        (config.interval, config.fleet) = (Duration::from_millis(500), Some(fleet));
        config
    };
    let (ended, table) = run(with(fleet(&folder))).await;
    assert_eq!(ended.expect_err("two failed").to_string(), "2 of 40 uploads failed");
    assert_eq!(["sent", "failed", "upload 429", "upload 503"].map(|name| row(&table, name)), ["38", "2", "1", "1"]);

    let nobody = SimulatedFleet { server_pid: Some(u32::MAX), ..fleet(&folder) };
    assert!(run(with(nobody)).await.0.expect_err("no process").to_string().starts_with("--server-pid"));
    let keyless = SimulatedFleet { tokens: Tokens::Minted(PathBuf::from("/nowhere")), ..fleet(&folder) };
    assert!(run(with(keyless)).await.0.expect_err("no key").to_string().starts_with("--shared-key: "));
    let mut config = with(fleet(&folder));
    config.to.upload = Url::parse("https://server/upload").expect("a URL");
    config.to.ca_file = Some(PathBuf::from("/nowhere"));
    assert!(run(config).await.0.expect_err("no bundle").to_string().contains("/nowhere"));
    server.authorize(ResponseTemplate::new(403));
    let refused = run(with(fleet(&folder))).await.0.expect_err("no token").to_string();
    assert_eq!(refused, "the first token cannot be had: authorize 403");
}

#[tokio::test]
async fn what_is_wrong_at_the_start_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = FakeTelemeter::default().start().await;
    let mut config = config(&to, &folder);
    config.metrics_file = PathBuf::from("/nowhere");
    let (ended, written) = run(config).await;
    assert!(ended.expect_err("no file").to_string().starts_with("--metrics-file: /nowhere cannot be read: "));
    assert_eq!(written, "");
}
