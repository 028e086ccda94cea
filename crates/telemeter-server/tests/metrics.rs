//! What the server exports, against the contract and against `docs/metrics.md`.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::{
    CLUSTER, TestServer,
    fake::{self, FakeAnswer, FakeServer},
    log::{LogCapture, LoggedLine},
};
use telemeter_server::config;

/// A metric that the Go server exports: its name, its type, and of each of its labels the values that it can have there
/// and that dashboards use; some, where they are numbers.
type GoMetric = (&'static str, &'static str, &'static [(&'static str, &'static [&'static str])]);

const HANDLERS: &[&str] = &["authorize", "upload", "receive"];
const CLIENTS: &[&str] = &["authorize", "forward", "oauth"];
const RESULTS: &[&str] = &["success", "error"];

/// Source: Go: `cmd/telemeter-server/main.go` (handlers and clients), `pkg/server/{instrument,forward}.go`,
/// `pkg/http/{client,routes}.go`, `pkg/receive/handler.go`, `pkg/cache/cache.go`, `pkg/metricfamily/{elide,overwrite}.go`,
/// and `promhttp`; held against a scrape of it. Not here: `go_*`, `dns_duration_seconds` and `tls_duration_seconds`.
const GO: [GoMetric; 20] = [
    ("cache_reads_total", "counter", &[("result", &["hit", "miss", "error"])]),
    ("cache_writes_total", "counter", &[("result", RESULTS)]),
    ("client_api_requests_total", "counter", &[("client", CLIENTS), ("code", &["200", "503"]), ("method", &["post"])]),
    ("client_in_flight_requests", "gauge", &[("client", CLIENTS)]),
    ("request_duration_seconds", "histogram", &[("client", CLIENTS), ("method", &["post"])]),
    ("http_requests_total", "counter", &[("code", &["200", "400"]), ("handler", HANDLERS), ("method", &["post"])]),
    (
        "http_request_duration_seconds",
        "histogram",
        &[("code", &["200", "400"]), ("handler", HANDLERS), ("method", &["post"])],
    ),
    (
        "http_request_size_bytes",
        "histogram",
        &[("code", &["200", "400"]), ("handler", HANDLERS), ("method", &["post"])],
    ),
    ("promhttp_metric_handler_requests_in_flight", "gauge", &[]),
    ("promhttp_metric_handler_requests_total", "counter", &[("code", &["200", "500", "503"])]),
    ("telemeter_elide_transform_dropped_total", "counter", &[]),
    ("telemeter_forward_requests_total", "counter", &[("result", RESULTS)]),
    ("telemeter_overwritten_timestamps_total", "counter", &[("tense", &["past", "present", "future"])]),
    ("telemeter_receive_request_missing_labels_total", "counter", &[]),
    ("telemeter_receive_series_processed_total", "counter", &[]),
    ("telemeter_receive_size_limited_total", "counter", &[]),
    ("telemeter_v1_forward_overwritten_timestamps_total", "counter", &[]),
    ("telemeter_v1_forward_request_duration_seconds", "histogram", &[("status_code", &["200", "503"])]),
    ("telemeter_v1_forward_requests_total", "counter", &[("result", RESULTS)]),
    ("telemeter_v1_forward_samples_total", "counter", &[]),
];

/// The metrics of every process, in both programs.
const PROCESS: [(&str, &str); 9] = [
    ("process_cpu_seconds_total", "counter"),
    ("process_max_fds", "gauge"),
    ("process_network_receive_bytes_total", "counter"),
    ("process_network_transmit_bytes_total", "counter"),
    ("process_open_fds", "gauge"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_virtual_memory_bytes", "gauge"),
    ("process_virtual_memory_max_bytes", "gauge"),
];

/// The type of a family, and the names of its labels.
type ScrapedFamily = (String, BTreeSet<String>);

/// The families of a scrape.
fn exported(scrape: &str) -> BTreeMap<String, ScrapedFamily> {
    let mut families: BTreeMap<String, ScrapedFamily> = BTreeMap::new();
    let mut current = String::new();
    for line in scrape.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            current = name.to_owned();
            families.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((_, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let (labels, _) = labels.rsplit_once('}').unwrap();
            let names = labels.split(',').map(|label| label.split_once('=').unwrap().0.to_owned());
            families.get_mut(&current).unwrap().1.extend(names.filter(|name| name != "le"));
        }
    }
    families
}

/// The families in the table under a heading.
fn documented(heading: &str) -> BTreeMap<String, ScrapedFamily> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("{row}") };
        assert!(!meaning.is_empty(), "{row}");
        let labels = labels.split(',').map(|label| label.trim().trim_matches('`').to_owned());
        (name.trim_matches('`').to_owned(), (kind.to_owned(), labels.filter(|label| !label.is_empty()).collect()))
    })
    .collect()
}

/// A server that has answered one request on each route.
async fn used() -> TestServer {
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    server.upload(&token, &["up,_id=c1 1@0"]).await;
    server.receive(CLUSTER, &["up,_id=c1 1@0"]).await;
    server.receive(CLUSTER, &["up,_id=c2 1@0"]).await;
    server
}

/// A server with TLS on its external listener.
async fn with_a_certificate() -> TestServer {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let [cert_file, key_file] = ["crt", "key"].map(|name| folder.path().join(name));
    std::fs::write(&cert_file, made.cert.pem()).unwrap();
    std::fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
    TestServer::with(|config| config.tls = vec![telemeter_http::tls::CertificateFiles { cert_file, key_file }]).await
}

/// A server whose store has a host name and an `https` URL; one upload was tried.
async fn with_a_named_store() -> TestServer {
    let server = TestServer::with(|config| {
        let forward = config.forward.as_mut().unwrap();
        forward.url.set_host(Some("localhost")).unwrap();
        forward.url.set_scheme("https").unwrap();
    })
    .await;
    let token = server.token(CLUSTER).await;
    assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 503);
    server
}

#[tokio::test]
async fn the_making_of_a_connection_is_timed_as_in_go() {
    let scrape = with_a_named_store().await.scrape().await;
    for (name, event) in
        [("dns", "dns_start"), ("dns", "dns_done"), ("tls", "tls_handshake_start"), ("tls", "tls_handshake_done")]
    {
        let count = format!("{name}_duration_seconds_count{{client=\"forward\",event=\"{event}\"}} ");
        let found = scrape.lines().find_map(|line| line.strip_prefix(&count));
        assert!(found.is_some_and(|count| count != "0"), "no {count} in\n{scrape}");
    }
    for (name, bounds) in [("dns", ["0.005", "0.01", "0.025", "0.05"]), ("tls", ["0.05", "0.1", "0.25", "0.5"])] {
        for bound in bounds {
            let of_family = |line: &str| line.starts_with(&format!("{name}_duration_seconds_bucket"));
            let bucket = format!("le=\"{bound}\"");
            assert!(scrape.lines().any(|line| of_family(line) && line.contains(&bucket)), "{name} {bound}\n{scrape}");
        }
    }
}

#[tokio::test]
async fn a_scrape_is_what_the_page_says() {
    let server = used().await;
    let (mut exported, documented) = (exported(&server.scrape().await), documented("telemeter-server"));
    exported.extend(
        self::exported(&with_a_certificate().await.scrape().await)
            .into_iter()
            .filter(|(name, _)| name.contains("certificate")),
    );
    exported.extend(
        self::exported(&with_a_named_store().await.scrape().await)
            .into_iter()
            .filter(|(name, _)| name.starts_with("dns_") || name.starts_with("tls_")),
    );
    for (name, family) in &exported {
        assert_eq!(Some(family), documented.get(name), "{name}: exported, and documented");
    }
    for name in documented.keys() {
        assert!(exported.contains_key(name), "{name} is documented, but not exported");
    }
}

/// Every metric of the Go server is here under its name, with its type, its labels and their values.
#[tokio::test]
async fn what_the_go_server_exports_is_exported() {
    let provider = FakeServer::start(|_| FakeAnswer::of(404)).await;
    let issuer = provider.url();
    provider.says(move |asked| match &*asked.path {
        "/token" => FakeAnswer::of(200).body(r#"{"access_token":"t"}"#),
        _ => FakeAnswer::of(200).body(
            serde_json::json!({"issuer": issuer.as_str(), "token_endpoint": issuer.join("/token").unwrap().as_str()})
                .to_string(),
        ),
    });
    let server = TestServer::with(|config| {
        config.oidc = Some(config::Oidc {
            issuer: provider.url().to_string(),
            client_id: "telemeter".to_owned(),
            client_secret: "hunter2".into(),
            audience: None,
        });
    })
    .await;
    // Each handler and each client succeeds once and fails once.
    server.authority.says(|asked| fake::approve(asked).with_status(200));
    let token = server.token(CLUSTER).await;
    let answer = [
        server.authorize("", "secret").await,
        server.upload(&token, &["up,_id=c1 1@0"]).await,
        server.upload(&token, &["up,_id=other 1@0"]).await,
        server.receive(CLUSTER, &["up,_id=c1 1@0"]).await,
        server.receive(CLUSTER, &["up,_id=other 1@0"]).await,
    ];
    assert_eq!(answer.each_ref().map(|answer| answer.status), [400, 200, 400, 200, 400], "{answer:?}");
    for outage in [&server.authority, &server.store] {
        outage.answers(FakeAnswer::of(503));
    }
    let answer = [server.authorize("another", "unknown").await, server.upload(&token, &["up,_id=c1 1@0"]).await];
    assert_eq!(answer.each_ref().map(|answer| answer.status), [503, 503], "{answer:?}");

    let scrape = server.scrape().await;
    let families = exported(&scrape);
    for (name, kind) in PROCESS {
        assert_eq!(families.get(name), Some(&(kind.to_owned(), BTreeSet::new())), "{name}");
    }
    for (name, kind, labels) in GO {
        let names = labels.iter().map(|(label, _)| (*label).to_owned()).collect();
        assert_eq!(families.get(name), Some(&(kind.to_owned(), names)), "{name}");
        for (label, value) in labels.iter().flat_map(|(label, values)| values.iter().map(move |value| (label, value))) {
            let pair = format!("{label}=\"{value}\"");
            let of_family = |line: &&str| line.strip_prefix(name).is_some_and(|rest| !rest.starts_with("_created"));
            let found = scrape.lines().filter(of_family).any(|line| line.contains(&pair));
            assert!(found, "no {name} with {pair} in\n{scrape}");
        }
    }
}

/// What is dropped for another reason than the whitelist is counted, and logged at debug.
#[tokio::test]
async fn dropped_duplicates_and_series_that_are_refused_alone_are_counted_and_logged() {
    let log = LogCapture::start_at(tracing::Level::DEBUG);
    let server = TestServer::with(|config| config.partial_writes = true).await;
    let token = server.token(CLUSTER).await;
    let uploaded = server.upload(&token, &["up,_id=c1,a=1 2@-5", "up,_id=c1,a=1 1@0", "up,_id=c1,a=2 3@0"]).await;
    let received = server.receive(CLUSTER, &["up,_id=c1 1@0", "up,_id=c2 1@0", "up,_id=c3 1@0"]).await;
    assert_eq!((uploaded.status, received.status), (200, 400), "{uploaded:?} {received:?}");
    let lines: Vec<_> = log.take().into_iter().filter(|line| line["message"] == "series left out").collect();
    let fields = |line: &LoggedLine| {
        ["route", "cluster", "series", "duplicates", "refused"].map(|name| line.get(name).cloned().unwrap_or_default())
    };
    let expected = [["upload", "c1", "3", "1", "0"], ["receive", "", "3", "0", "2"]];
    assert_eq!(lines.iter().map(fields).collect::<Vec<_>>(), expected);
    for (series, value) in [
        ("telemeter_received_series_total{handler=\"upload\"}", 3.0),
        ("telemeter_received_series_total{handler=\"receive\"}", 3.0),
        ("telemeter_upload_duplicate_samples_dropped_total", 1.0),
        ("telemeter_receive_refused_series_total", 2.0),
    ] {
        assert_eq!(server.metric(series).await, value, "{series}");
    }
}

#[tokio::test]
async fn no_label_value_is_a_cluster_s() {
    let server = TestServer::new().await;
    let token = server.token("cluster-of-somebody").await;
    server.upload(&token, &["up,_id=cluster-of-somebody 1@0"]).await;
    server.receive("cluster-of-somebody", &["up,_id=cluster-of-somebody 1@0"]).await;
    server.get(server.external("/cluster-of-somebody")).await;
    let method = "CLUSTER-OF-SOMEBODY".parse().unwrap();
    server.send(server.outbound.http().request(method, server.external("/upload"))).await;
    let scrape = server.scrape().await.to_lowercase();
    assert!(!scrape.contains("somebody"), "{scrape}");
}

#[tokio::test]
async fn every_format_is_spoken() {
    let server = used().await;
    for (accept, content_type) in [
        ("*/*", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0"),
    ] {
        let request = server.outbound.http().get(server.internal("/metrics")).header("accept", accept);
        let answer = server.send(request).await;
        assert!(answer.header("content-type").unwrap().starts_with(content_type), "{answer:?}");
        assert!(answer.body.contains("\nhttp_requests_total{"), "{accept}");
    }
}
