//! What the server exports, against the contract and against `docs/metrics.md`.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::{CLUSTER, World};

/// The names that dashboards, alerts and tests outside rely on.
const CONTRACT: [&str; 20] = [
    "http_requests_total",
    "http_request_duration_seconds",
    "http_request_size_bytes",
    "telemeter_v1_forward_samples_total",
    "telemeter_v1_forward_requests_total",
    "telemeter_v1_forward_request_duration_seconds",
    "telemeter_v1_forward_overwritten_timestamps_total",
    "telemeter_overwritten_timestamps_total",
    "telemeter_elide_transform_dropped_total",
    "telemeter_forward_requests_total",
    "telemeter_receive_size_limited_total",
    "telemeter_receive_request_missing_labels_total",
    "telemeter_receive_request_incorrect_label_values_total",
    "telemeter_receive_series_processed_total",
    "telemeter_receive_metadata_requests_total",
    "cache_reads_total",
    "cache_writes_total",
    "client_api_requests_total",
    "client_in_flight_requests",
    "request_duration_seconds",
];

/// Of a family: its type, and the names of its labels.
type Family = (String, BTreeSet<String>);

/// The families of a scrape.
fn exported(scrape: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
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
fn documented(heading: &str) -> BTreeMap<String, Family> {
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

/// A server that did each of its things once.
async fn used() -> World {
    let world = World::new().await;
    let token = world.token(CLUSTER).await;
    world.upload(&token, &["up,_id=c1 1@0"]).await;
    world.receive(CLUSTER, &["up,_id=c1 1@0"]).await;
    world.receive(CLUSTER, &["up,_id=c2 1@0"]).await;
    world
}

#[tokio::test]
async fn a_scrape_is_what_the_page_says() {
    let world = used().await;
    let (exported, documented) = (exported(&world.scrape().await), documented("telemeter-server"));
    for (name, family) in &exported {
        assert_eq!(Some(family), documented.get(name), "{name}: exported, and documented");
    }
    for name in documented.keys() {
        assert!(exported.contains_key(name), "{name} is documented, but not exported");
    }
}

#[tokio::test]
async fn a_scrape_holds_the_contract() {
    let world = used().await;
    let exported = exported(&world.scrape().await);
    for name in CONTRACT {
        assert!(exported.contains_key(name), "{name}");
    }
    let usual = exported.keys().filter(|name| name.starts_with("process_")).count();
    assert_eq!(usual, 9);
}

#[tokio::test]
async fn no_label_value_is_a_cluster_s() {
    let world = World::new().await;
    let token = world.token("cluster-of-somebody").await;
    world.upload(&token, &["up,_id=cluster-of-somebody 1@0"]).await;
    world.receive("cluster-of-somebody", &["up,_id=cluster-of-somebody 1@0"]).await;
    world.get(world.external("/cluster-of-somebody")).await;
    let method = "CLUSTER-OF-SOMEBODY".parse().unwrap();
    world.send(world.outbound.http().request(method, world.external("/upload"))).await;
    let scrape = world.scrape().await.to_lowercase();
    assert!(!scrape.contains("somebody"), "{scrape}");
}

#[tokio::test]
async fn every_format_is_spoken() {
    let world = used().await;
    for (accept, content_type) in [
        ("*/*", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0"),
    ] {
        let request = world.outbound.http().get(world.internal("/metrics")).header("accept", accept);
        let told = world.send(request).await;
        assert!(told.header("content-type").unwrap().starts_with(content_type), "{told:?}");
        assert!(told.body.contains("\nhttp_requests_total{"), "{accept}");
    }
}
