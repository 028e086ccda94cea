//! The fleet as series in the store, and that no cluster can send such series itself.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeSet, time::Duration};

use support::{CLUSTER, SOON, TestServer, body, fake::FakeAnswer};
use telemeter_server::config::FleetLabel;

/// Series of the fleet that reached the store, until `enough` says so.
async fn sent(server: &TestServer, enough: impl Fn(&BTreeSet<String>) -> bool) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let collect = async {
        while !enough(&all) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let stored = server.stored().into_iter();
            all.extend(stored.filter(|series| series.starts_with("telemeter_")));
        }
    };
    let in_time = tokio::time::timeout(SOON, collect).await;
    assert!(in_time.is_ok(), "{all:?}");
    all
}

#[tokio::test]
async fn what_is_known_of_a_cluster_reaches_the_store() {
    let server = TestServer::with(|config| {
        config.fleet.metrics = Some(Duration::from_millis(300));
        config.fleet.replica = "replica-1".to_owned();
        config.fleet.labels = vec![FleetLabel::parse("version=cluster_version/version").unwrap()];
        config.rules.labels = vec![("region".to_owned(), "eu".to_owned())];
        config.rules.whitelist = vec!["up".to_owned(), "cluster_version".to_owned()];
    })
    .await;
    let token = server.token(CLUSTER).await;
    let series = ["up,_id=c1 1@-2000", "cluster_version,_id=c1,version=4.16.9 1@-2000", "noise,_id=c1 1@-2000"];
    for (series, status) in [(&series[..], 200), (&["up,_id=other 1@0"], 400)] {
        let upload = server.upload_of(&token, body::TEXT, body::text(series)).header("user-agent", "telemeter/9.8.7");
        assert_eq!(server.send(upload).await.status, status);
    }
    server.authority.answers(FakeAnswer::of(401));
    server.authorize("stranger", "bad").await;
    let all = sent(&server, |all| all.iter().any(|series| series.starts_with("telemeter_unverified"))).await;
    let common = "_id=c1,region=eu,replica=replica-1";
    let rest = |name: &str| {
        let mut found = all.iter().filter(|series| series.starts_with(&format!("{name},")));
        let one = found.next().unwrap_or_else(|| panic!("{name}: {all:?}")).clone();
        assert_eq!(found.next(), None, "{name}: {all:?}");
        one.strip_prefix(&format!("{name},")).unwrap().to_owned()
    };
    assert_eq!(rest("telemeter_cluster_last_report_timestamp_seconds"), format!("{common},route=upload 1800000000@0"));
    assert_eq!(rest("telemeter_cluster_reports_total"), format!("{common},route=upload 1@0"));
    let refused = "_id=c1,reason=identity,region=eu,replica=replica-1,route=upload 1@0";
    assert_eq!(rest("telemeter_cluster_refused_total"), refused);
    assert_eq!(rest("telemeter_cluster_series"), format!("{common} 2@0"));
    assert_eq!(rest("telemeter_cluster_filtered_series"), format!("{common} 1@0"));
    assert_eq!(rest("telemeter_cluster_clock_drift_seconds"), format!("{common} -2@0"));
    let info = rest("telemeter_cluster_info");
    assert_eq!(info, "_id=c1,client_version=telemeter/9.8.7,region=eu,replica=replica-1,version=4.16.9 1@0");
    let unverified = "reason=authority_refused,region=eu,replica=replica-1,route=authorize 1@0";
    assert_eq!(rest("telemeter_unverified_refused_total"), unverified);
    assert!(!all.iter().any(|series| series.contains("stranger")), "{all:?}");
    assert!(server.metric("telemeter_fleet_forward_requests_total{result=\"success\"}").await >= 2.0);
}

#[tokio::test]
async fn silent_clusters_are_not_sent_and_many_clusters_take_several_requests() {
    let server = TestServer::with(|config| config.fleet.metrics = Some(Duration::from_millis(500))).await;
    server.receive("silent", &["up,_id=silent 1@0"]).await;
    server.set_offset_ms(60_000);
    for number in 0..600 {
        let id = format!("c-{number}");
        server.receive(&id, &[&format!("up,_id={id} 1@0")]).await;
    }
    let of = |all: &BTreeSet<String>| {
        all.iter().filter(|series| series.starts_with("telemeter_cluster_series,_id=c-")).count()
    };
    let all = sent(&server, |all| of(all) >= 600).await;
    let silent = |series: &&String| series.contains("silent") && series.ends_with("@60000");
    assert_eq!(all.iter().find(silent), None);
}

#[tokio::test]
async fn no_cluster_can_send_series_of_these_names() {
    for whitelist in
        [&[][..], &["{__name__=~\"telemeter.*|up\"}"], &["telemeter_cluster_series", "up", "telemeter_cluster"]]
    {
        let server = TestServer::with(|config| {
            config.rules.whitelist = whitelist.iter().map(|rule| (*rule).to_owned()).collect()
        })
        .await;
        let token = server.token(CLUSTER).await;
        let series = [
            "telemeter_cluster,_id=c1 1@0",
            "telemeter_cluster_series,_id=c1 1@0",
            "telemeter_cluster_info,_id=c1 1@0",
            "telemeter_unverified_refused_total,_id=c1 1@0",
            "up,_id=c1 1@0",
        ];
        assert_eq!(server.upload(&token, &series).await.status, 200);
        assert_eq!(server.upload_delimited(&token, &series).await.status, 200);
        assert_eq!(server.receive(CLUSTER, &series).await.status, 200);
        let stored = server.stored();
        let reserved =
            |series: &&String| series.starts_with("telemeter_cluster_") || series.starts_with("telemeter_unv");
        assert_eq!(stored.iter().find(reserved), None, "{whitelist:?}");
        assert_eq!(stored.iter().filter(|series| series.starts_with("up")).count(), 3, "{whitelist:?}: {stored:?}");
        let cluster = server.get(server.internal("/api/v1/clusters/c1")).await.json();
        assert!(cluster["filtered"].as_u64().unwrap() >= 3, "{cluster}");
    }
}
