//! Tests one cycle between a fake Prometheus and a fake server.

mod answers;
mod credentials;
#[path = "../fake/mod.rs"]
mod fake;
mod native_histograms;
mod remote_write;
mod selection;

use fake::{FakeTelemeter, ID, NOW_MS, config, grant, header, prometheus, seen, uploaded};
use telemeter_auth::Secret;
use telemeter_client::{
    Config, Worker,
    config::{AnonymizeSettings, Credential},
    metrics::Metrics,
};
use telemeter_http::clock::{Clock, ClockHandle};
use telemeter_wire::{
    Arena, DecodeLimits, SeriesSet,
    exposition::{self, ExpositionFormat},
};
use wiremock::ResponseTemplate;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const PROTOBUF: &str = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// A worker with a fixed clock at [`NOW_MS`].
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
    let server = FakeTelemeter::default();
    let to = server.start().await;
    server.authorize(grant("granted", 86_400, &[("_id", ID), ("plan", "gold")]));
    let mut config = config(&from, &to);
    config.matches = vec!["{__name__=\"up\"}".to_owned(), "ALERTS{a=\"1\"}".to_owned()];
    config.labels = vec![("site".to_owned(), "here".to_owned())];
    config.anonymize = Some(AnonymizeSettings {
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
    // The expected hash was computed with this command:
    // printf 'a-unique-value10.0.0.1:9100' | sha256sum | cut -c1-18 | xxd -r -p | base64
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

/// Converts a body in the text format to delimited protobuf.
fn delimited(text: &str) -> Vec<u8> {
    let (arena, mut protobuf) = (Arena::new(), Vec::new());
    let mut set = SeriesSet::new_in(&arena);
    exposition::decode(ExpositionFormat::Text, text.as_bytes(), &DecodeLimits::default(), &mut set).expect("text");
    exposition::delimited::encode(&set, &mut protobuf);
    protobuf
}

#[tokio::test]
async fn protobuf_and_text_come_to_the_same() {
    let text = format!("# TYPE up gauge\nup{{a=\"1\"}} 1 {NOW_MS}\nup{{a=\"2\"}} 0.5 {NOW_MS}\n");
    let protobuf = delimited(&text);

    let mut bodies = Vec::new();
    for (content_type, body) in [(TEXT, text.into_bytes()), (PROTOBUF, protobuf)] {
        let (from, to) = (prometheus(content_type, body).await, FakeTelemeter::default().start().await);
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
    let to = FakeTelemeter::default().start().await;
    let mut config = config(&from, &to);
    config.limit_bytes = body.len();
    let (mut worker, _) = worker(&config);
    let report = worker.cycle().await.expect("uploaded");
    assert_eq!((report.scraped, report.uploaded), (16_000, 16_000));
    let expected = body.replace("{series", &format!("{{_id=\"{ID}\",series"));
    let mut ours = String::new();
    // A family that was split between two slices has its header lines twice.
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
    let to = FakeTelemeter::default().start().await;
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
async fn what_the_server_did_with_the_series_is_told_and_exported() {
    let from = prometheus(TEXT, format!("up{{a=\"1\"}} 1 {NOW_MS}\nup{{a=\"2\"}} 1 {NOW_MS}\n")).await;
    let server = FakeTelemeter::default();
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
    // The server sends no counts, or a value that is not counts.
    assert_eq!(cycle(None).await, None);
    assert_eq!(cycle(Some("many")).await, None);
    assert_eq!(exported(&registry), ["upload_series{result=\"sent\"} 2"]);
}

#[tokio::test]
async fn nothing_left_is_no_failure_and_no_upload() {
    let from = prometheus(TEXT, "up 1\n").await;
    let to = FakeTelemeter::default().start().await;
    let report = worker(&config(&from, &to)).0.cycle().await.expect("nothing to upload");
    assert_eq!((report.scraped, report.kept, report.uploaded, report.bytes), (1, 0, 0, 0));
    assert_eq!(seen(&to, "/upload").await.len(), 0);
}

#[tokio::test]
async fn a_match_file_is_added_to_the_matches() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("matches");
    std::fs::write(&file, "# what we send\n\n  {a=\"1\"}  \nup\n").expect("written");
    let from = prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await;
    let to = FakeTelemeter::default().start().await;
    let mut config = config(&from, &to);
    config.match_file = Some(file.clone());
    worker(&config).0.cycle().await.expect("uploaded");
    let pairs: Vec<_> = seen(&from, "/federate").await[0].url.query_pairs().map(|(_, v)| v.into_owned()).collect();
    assert_eq!(pairs, ["{__name__=\"up\"}", "{a=\"1\"}", "up"]);
    std::fs::remove_file(&file).expect("removed");
    let error = Worker::new(&config, Clock::system(), Metrics::default()).err().expect("no file").to_string();
    assert!(error.starts_with(&format!("--match-file: {} cannot be read", file.display())), "{error}");
}
