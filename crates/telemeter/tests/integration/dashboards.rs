//! Tests the dashboards of `dashboards/`: every query of every panel and variable, as Grafana sends it, against a real
//! Prometheus. This Prometheus scrapes two running servers, has the series that two replicas wrote about a made-up
//! fleet, and evaluates `rules/`.

mod answers;
mod board;
mod fleet;
mod query;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use answers::{ChosenDashboard, QueryChecker};
use board::Board;
use query::{metric_names, regex};
use stage::{DashboardPrograms, JOB};

use crate::process::until;
use crate::promql::QueriedStore;

const PATIENCE: Duration = Duration::from_secs(120);
/// Metrics that Prometheus itself creates.
const OTHERS: [&str; 2] = ["ALERTS", "up"];

#[test]
fn each_is_whole_and_names_metrics_that_exist() {
    let boards = Board::all(&root().join("dashboards"));
    let uids: BTreeSet<&str> = boards.iter().map(|board| board.uid.as_str()).collect();
    assert_eq!(uids, BTreeSet::from(["telemeter-cluster", "telemeter-fleet", "telemeter-gateway"]));
    let known = known_metrics();
    let mut flaws = Vec::new();
    for board in &boards {
        flaws.extend(board.flaws());
        let links = board.links();
        flaws.extend(links.iter().filter(|uid| !uids.contains(uid.as_str())).map(|uid| format!("no dashboard {uid}")));
        for panel in board.panels() {
            let names = panel.queries.iter().flat_map(|query| metric_names(&query.expression));
            let unknown = names.filter(|name| !known.contains(name));
            flaws.extend(unknown.map(|name| format!("{}, {}: no metric {name}", board.uid, panel.title)));
        }
    }
    assert!(flaws.is_empty(), "{flaws:#?}");
    let from_fleet = boards.iter().find(|board| board.uid == "telemeter-fleet").map(Board::links);
    assert_eq!(from_fleet, Some(BTreeSet::from(["telemeter-cluster".to_owned()])), "the fleet leads to a cluster");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_query_of_each_panel_has_an_answer() {
    let boards = Board::all(&root().join("dashboards"));
    let stage = DashboardPrograms::set_up().await;
    let store = &stage.prometheus.api;
    let count = until("an answer to each query", PATIENCE, || async {
        let mut asked = QueryChecker { store, count: 0, flaws: Vec::new() };
        for board in &boards {
            asked.board(board).await;
        }
        if asked.flaws.is_empty() { Ok(asked.count) } else { Err(format!("{:#?}", asked.flaws)) }
    })
    .await;
    println!("{count} queries of {} dashboards have an answer", boards.len());
    assert!(count > 80, "{count} queries");
    the_fleet_shows_the_silent_and_the_refused(&boards, &stage).await;
    a_cluster_shows_its_state(&boards, store).await;
    the_gateway_shows_its_replicas(&boards, store).await;
    the_alert_names_the_silent_clusters(store).await;
    stage.end().await;
}

async fn the_fleet_shows_the_silent_and_the_refused(boards: &[Board], stage: &DashboardPrograms) {
    let store = &stage.prometheus.api;
    let fleet = ChosenDashboard { store, board: board(boards, "telemeter-fleet"), variables: BTreeMap::new() };
    fleet.number("Clusters that report", 3.0).await;
    fleet.number("Clusters that are silent", 2.0).await;
    fleet.number("Silent and refused", 1.0).await;
    fleet.number("Clusters with refusals", 2.0).await;
    fleet.number("Telemeter alerts", 2.0).await;
    fleet.number("Clusters with a critical alert", 1.0).await;
    let silent = [(fleet::SILENT, stage.last_reports.silent), (fleet::REFUSED, stage.last_reports.refused)];
    fleet.values("Silent clusters", "_id", &silent).await;
    fleet.values("Refused clusters", "_id", &[(fleet::REFUSED, fleet::REFUSALS), (fleet::REPORTING, 2.0)]).await;
    fleet.values("Refused clusters", "reason", &[(fleet::REFUSED_FOR, fleet::REFUSALS), ("too_large", 2.0)]).await;
    fleet.values("Silent clusters by version", "version", &[("4.15.0", 1.0), ("4.17.3", 1.0)]).await;
    fleet.values("Clusters by version", "version", &[("4.17.3", 1.0), ("4.18.1", 1.0)]).await;
    fleet.values("Clusters by provider", "provider", &[("AWS", 1.0), ("GCP", 1.0)]).await;
    fleet.values("Refused share by provider", "provider", &[("GCP", f64::NAN), ("AWS", f64::NAN)]).await;
    fleet.values("Refusals without valid credentials", "reason", &[("authority_refused", fleet::STRANGERS)]).await;
}

async fn a_cluster_shows_its_state(boards: &[Board], store: &QueriedStore) {
    let shown = |cluster: &str| ChosenDashboard {
        store,
        board: board(boards, "telemeter-cluster"),
        variables: BTreeMap::from([("_id".to_owned(), cluster.to_owned())]),
    };
    // The panel shows these numbers as words: reports, silent, reports and some refused, refused.
    let states = [
        (fleet::WRITING, 0.0),
        (fleet::UNWRITTEN, 0.0),
        (fleet::SILENT, 1.0),
        (fleet::REPORTING, 2.0),
        (fleet::REFUSED, 3.0),
    ];
    for (cluster, state) in states {
        shown(cluster).number("State", state).await;
    }
    assert!(shown("nobody").rows("State").await.is_empty(), "nobody knows it");
    let reporting = shown(fleet::REPORTING);
    reporting.number("Series", fleet::SERIES).await;
    reporting.number("Refused in the last hour", 2.0).await;
    reporting.number("Firing alerts", 1.0).await;
    reporting.values("What it is", "version", &[("4.18.1", 1.0)]).await;
    reporting.values("Last report by replica", "replica", &[("r0", f64::NAN), ("r1", f64::NAN)]).await;
    let refused = shown(fleet::REFUSED);
    refused.values("Refusals within the last hour", "reason", &[(fleet::REFUSED_FOR, fleet::REFUSALS)]).await;
}

async fn the_gateway_shows_its_replicas(boards: &[Board], store: &QueriedStore) {
    let variables = BTreeMap::from([("job".to_owned(), JOB.to_owned())]);
    let gateway = ChosenDashboard { store, board: board(boards, "telemeter-gateway"), variables };
    gateway.number("Replicas up", 2.0).await;
    gateway.number("Replicas down", 0.0).await;
    gateway.number("Failing share", 0.0).await;
    let reasons: BTreeSet<String> = gateway
        .rows("Refusals by reason")
        .await
        .into_iter()
        .filter_map(|mut row| row.labels.remove("reason"))
        .collect();
    assert_eq!(reasons, ["credentials", "identity"].map(str::to_owned).into());
}

async fn the_alert_names_the_silent_clusters(store: &QueriedStore) {
    let rows = store.query(r#"ALERTS{alertname="TelemeterClusterSilent",alertstate="firing"}"#).await;
    let named: BTreeSet<_> =
        rows.expect("Prometheus answers").into_iter().filter_map(|mut row| row.labels.remove("_id")).collect();
    assert_eq!(named, [fleet::SILENT, fleet::REFUSED].map(str::to_owned).into());
}

fn board<'a>(boards: &'a [Board], uid: &str) -> &'a Board {
    boards.iter().find(|board| board.uid == uid).unwrap_or_else(|| panic!("no dashboard {uid}"))
}

/// Returns the metrics that a query may select: those of the server, those that the replicas write, and those that
/// `rules/` records.
fn known_metrics() -> BTreeSet<String> {
    let docs = std::fs::read_to_string(root().join("docs/metrics.md")).expect("docs/metrics.md is there");
    let (_, server) = docs.split_once("\n## telemeter-server").expect("docs/metrics.md has the server's metrics");
    let server = server.split_once("\n## ").map_or(server, |(server, _)| server);
    let row = regex(r"(?m)^\| `(\w+)` \| (\w+) \|");
    let suffixes = |kind: &str| if kind == "histogram" { &["_bucket", "_sum", "_count"][..] } else { &[""][..] };
    let own = row.captures_iter(server).flat_map(|found| {
        suffixes(&found[2]).iter().map(|suffix| format!("{}{suffix}", &found[1])).collect::<Vec<_>>()
    });
    let mut known: BTreeSet<String> = own.collect();
    assert!(known.len() > 30, "{known:?}");
    known.extend(fleet::WRITTEN_BY_REPLICAS.iter().chain(&OTHERS).map(|name| (*name).to_owned()));
    for file in ["fleet.yaml", "gateway.yaml"] {
        let rules = std::fs::read_to_string(root().join("rules").join(file)).expect("the rules are there");
        known.extend(regex(r"(?m)^ *- record: (\S+)$").captures_iter(&rules).map(|found| found[1].to_owned()));
    }
    known
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
