//! The JSON API, and what it says of a fleet.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{CLUSTER, CallerAnswer, TestServer, body, fake::FakeAnswer};
use telemeter_server::config::{FleetLabel, RecentStoreSettings};

async fn get(server: &TestServer, path: &str) -> CallerAnswer {
    server.get(server.internal(&format!("/api/v1/{path}"))).await
}

async fn ok(server: &TestServer, path: &str) -> Value {
    let answer = get(server, path).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{path}: {answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    answer.json()
}

fn ids(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

fn with_labels(config: &mut telemeter_server::Config) {
    let labels =
        [r#"version=cluster_version{type="current"}/version"#, "provider=cluster_infrastructure_provider/type"];
    config.fleet.labels = labels.map(|label| FleetLabel::parse(label).unwrap()).into();
    config.fleet.replica = "replica-1".to_owned();
}

/// Uploads of a cluster of this version and this provider.
async fn report(server: &TestServer, cluster: &str, version: &str, provider: &str) {
    let token = server.token(cluster).await;
    let series = [
        format!("cluster_version,_id={cluster},type=current,version={version} 1@0"),
        format!("cluster_version,_id={cluster},type=failure,version=old 1@0"),
        format!("cluster_infrastructure_provider,_id={cluster},type={provider} 1@0"),
    ];
    let series: Vec<&str> = series.iter().map(String::as_str).collect();
    assert_eq!(server.upload(&token, &series).await.status, 200);
}

#[tokio::test]
async fn a_cluster_as_it_is_known() {
    let server = TestServer::with(with_labels).await;
    report(&server, "c1", "4.16.9", "AWS").await;
    server.set_offset_ms(270_000);
    let token = server.token("c1").await;
    let text = body::text(&["up,_id=c1 1@1500", "down,_id=c1 1@1500"]);
    let upload = server.upload_of(&token, body::TEXT, text).header("user-agent", "telemeter/9.8.7");
    assert_eq!(server.send(upload).await.status, 200);
    let cluster = ok(&server, "clusters/c1").await;
    for (field, expected) in [
        ("id", json!("c1")),
        ("status", json!("new")),
        ("first_seen", json!("2027-01-15T08:00:00Z")),
        ("last_report", json!("2027-01-15T08:04:30Z")),
        ("last_upload", json!("2027-01-15T08:04:30Z")),
        ("last_receive", json!(null)),
        ("uploads_total", json!(2)),
        ("series", json!(2)),
        ("filtered", json!(0)),
        ("interval_seconds", json!(270.0)),
        ("drift_seconds", json!(-268.5)),
        ("peer", json!("127.0.0.1")),
        ("labels", json!({"version": "4.16.9", "provider": "AWS"})),
        ("last_refusal", json!(null)),
        ("alerts", json!(null)),
    ] {
        assert_eq!(cluster[field], expected, "{field}: {cluster}");
    }
    assert_eq!(cluster["client"], "telemeter/9.8.7", "{cluster}");
    let outcomes: Vec<_> =
        cluster["exchanges"].as_array().unwrap().iter().map(|one| one["route"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["upload", "authorize", "upload", "authorize"]);
    report(&server, "c1", "4.17.0", "AWS").await;
    assert_eq!(ok(&server, "clusters/c1").await["labels"]["version"], "4.17.0");
    server.set_offset_ms(270_000 * 10);
    assert!(
        ok(&server, "clusters/c1").await["state"].as_str().unwrap().starts_with("silent for 40 min: it reported every")
    );

    let answer = get(&server, "clusters/unknown").await;
    assert_eq!(answer.status, 404);
    assert!(answer.json()["error"].as_str().unwrap().contains("--fleet-file"), "{answer:?}");
}

#[tokio::test]
async fn clusters_are_searched_filtered_sorted_and_paged() {
    let server = TestServer::with(with_labels).await;
    for (cluster, version, provider) in
        [("a-1", "4.9.2", "AWS"), ("a-2", "4.16.9", "GCP"), ("b-1", "4.16.10", "AWS"), ("b-2", "4.16.9", "Azure")]
    {
        report(&server, cluster, version, provider).await;
        server.set_offset_ms(server.offset_ms() + 1000);
    }
    server.set_offset_ms(2_000_000);
    report(&server, "b-1", "4.16.10", "AWS").await;
    report(&server, "b-2", "4.16.9", "Azure").await;
    let token = server.token("b-2").await;
    server.upload(&token, &["up,_id=other 1@0"]).await;
    for (query, expected) in [
        ("", &["a-2", "a-1", "b-2", "b-1"][..]),
        ("status=silent", &["a-2", "a-1"]),
        ("status=refused", &["b-2"]),
        ("status=new", &["b-1"]),
        ("status=reporting", &[]),
        ("status=silent&silent_for=1999", &["a-2", "a-1"][..]),
        ("silent_for=2000", &["a-1"]),
        ("search=A-", &["a-2", "a-1"]),
        ("search=aws&sort=id", &["a-1", "b-1"]),
        ("search=4.16.9&sort=id", &["a-2", "b-2"]),
        ("search=4.16&sort=id", &["a-2", "b-1", "b-2"]),
        ("search=nothing", &[]),
        ("sort=id&order=desc", &["b-2", "b-1", "a-2", "a-1"]),
        ("sort=version", &["a-1", "a-2", "b-2", "b-1"]),
        ("sort=last_report", &["a-1", "a-2", "b-1", "b-2"]),
        ("sort=refused&order=desc&limit=1", &["b-2"]),
        ("sort=id&limit=2&offset=1", &["a-2", "b-1"]),
        ("sort=id&limit=2&offset=9", &[]),
    ] {
        let list = ok(&server, &format!("clusters?{query}")).await;
        assert_eq!(ids(&list), expected, "{query}: {list}");
        assert_eq!(list["whole"], true);
    }
    let list = ok(&server, "clusters?sort=id&limit=1&offset=2").await;
    assert_eq!((&list["total"], &list["offset"]), (&json!(4), &json!(2)));

    let csv = get(&server, "clusters?sort=id&format=csv&limit=2").await;
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    let lines: Vec<_> = csv.body.split("\r\n").collect();
    assert!(
        lines[0].starts_with("id,status,first_seen,") && lines[0].ends_with(",label_version,label_provider"),
        "{csv:?}"
    );
    assert!(lines[1].starts_with("a-1,silent,2027-01-15T08:00:00Z,") && lines[1].ends_with(",4.9.2,AWS"), "{csv:?}");
    assert_eq!((lines.len(), lines[3]), (4, ""));
}

#[tokio::test]
async fn a_long_list_is_written_piece_by_piece() {
    let server = TestServer::with(|config| config.fleet.max_clusters = 250).await;
    for number in 0..300 {
        server.receive(&format!("c-{number:03}"), &[&format!("up,_id=c-{number:03} 1@0")]).await;
        server.set_offset_ms(server.offset_ms() + 1000);
    }
    for (limit, expected) in [(0, 250), (200, 200), (64, 64), (65, 65)] {
        let list = ok(&server, &format!("clusters?sort=id&limit={limit}")).await;
        assert_eq!((ids(&list).len(), &list["total"], &list["whole"]), (expected, &json!(250), &json!(false)));
        assert!(ids(&list).is_sorted());
    }
    assert_eq!(get(&server, "clusters?limit=0&format=csv").await.body.lines().count(), 251);
    assert_eq!(ok(&server, "summary").await["clusters"]["evicted"], 50);
}

#[tokio::test]
async fn what_cannot_be_asked() {
    let server = TestServer::new().await;
    for (path, status, text) in [
        ("clusters?sort=size", 400, "sort"),
        ("clusters?order=up", 400, "order"),
        ("clusters?limit=10001", 400, "10000"),
        ("clusters?limit=-1", 400, "limit"),
        ("clusters?status=dead", 400, "status"),
        ("clusters?status=new&status=new", 400, "duplicate"),
        ("clusters?q=a", 400, "\"q\""),
        ("clusters?format=xml", 400, "format"),
        ("summary?x=1", 400, "\"x\""),
        ("refusals?reason=none", 400, "reason"),
        ("refusals?route=/upload", 400, "route"),
        ("refusals?since=1h", 400, "since"),
        ("metrics?sort=age", 400, "sort"),
        ("nothing", 404, "docs/api.md"),
    ] {
        let answer = get(&server, path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, Some("application/json")),
            "{path}: {answer:?}"
        );
        assert!(answer.json()["error"].as_str().unwrap().contains(text), "{path}: {answer:?}");
    }
    let answer = server.send(server.outbound.http().post(server.internal("/api/v1/summary"))).await;
    assert_eq!(answer.status, 405);
    let paths = server.get(server.internal("/")).await.json();
    assert!(paths["paths"].as_array().unwrap().contains(&json!("/api/v1/clusters/{id}")), "{paths}");
    let answer = server.get(server.external("/api/v1/summary")).await;
    assert_eq!(answer.status, 404, "not for the outside");
}

#[tokio::test]
async fn the_summary() {
    let server = TestServer::with(|config| {
        with_labels(config);
        config.revision = "abc123";
        config.rules.whitelist = vec!["up".to_owned(), "{__name__=~\"cluster_.*\"}".to_owned()];
    })
    .await;
    report(&server, "c1", "4.16.9", "AWS").await;
    let token = server.token("c1").await;
    server.upload(&token, &["up,_id=c1 1@0", "noise,_id=c1 1@0", "noise,_id=c1,a=b 1@0"]).await;
    server.store.answers(FakeAnswer::of(500).body("it broke"));
    server.upload(&token, &["up,_id=c1 1@0"]).await;
    server.receive("c2", &["up,_id=c1 1@0"]).await;
    let summary = ok(&server, "summary").await;
    assert_eq!((&summary["replica"], &summary["revision"]), (&json!("replica-1"), &json!("abc123")));
    assert_eq!(
        (&summary["now"], &summary["started_at"]),
        (&json!("2027-01-15T08:00:00Z"), &json!("2027-01-15T08:00:00Z"))
    );
    let clusters = json!({"total": 2, "reporting": 0, "new": 0, "silent": 0, "refused": 2, "evicted": 0});
    assert_eq!(summary["clusters"], clusters);
    assert_eq!(summary["requests"]["upload"]["accepted_total"], 2, "{summary}");
    assert_eq!(summary["requests"]["upload"]["refused_total"], 1, "{summary}");
    assert_eq!(summary["requests"]["authorize"]["accepted_total"], 2, "{summary}");
    assert_eq!(summary["filtered_metrics"], json!([{"name": "noise", "series_total": 2}]));
    let refusals = summary["refusals"].as_array().unwrap();
    assert!(refusals.contains(&json!({"reason": "identity", "route": "receive", "count": 1})), "{summary}");
    let dependencies = summary["dependencies"].as_array().unwrap();
    let of = |name: &str| dependencies.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(
        (&of("store")["state"], &of("store")["last_error"]),
        (&json!("failing"), &json!("it answered 500: it broke"))
    );
    assert_eq!(of("authority")["state"], "ok");
    assert!(of("authority")["latency_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(dependencies.len(), 2, "{summary}");
}

#[tokio::test]
async fn metrics_with_their_rules() {
    let server = TestServer::with(|config| {
        config.recent_store = Some(RecentStoreSettings { keep: Duration::from_secs(3600), max_bytes: 64 << 20 });
        config.rules.whitelist =
            vec!["up{a!=\"b\"}".to_owned(), "down".to_owned(), "{__name__=~\"alerts\"}".to_owned()];
    })
    .await;
    server
        .receive(
            CLUSTER,
            &[
                "up,_id=c1 1@0",
                "up,_id=c1,a=c 1@0",
                "noise,_id=c1 1@0",
                "alerts,_id=c1,alertname=Bad,alertstate=firing,severity=critical 1@0",
                "alerts,_id=c1,alertname=Soon,alertstate=pending,severity=info 1@0",
            ],
        )
        .await;
    let metrics = ok(&server, "metrics").await;
    let up = json!({"name": "up", "series": 2, "clusters": 1, "rule": "{__name__=\"up\",a!=\"b\"}"});
    assert_eq!(metrics["items"][1], up, "{metrics}");
    assert_eq!((&metrics["total"], &metrics["whole"]), (&json!(2), &json!(true)));
    assert_eq!(metrics["dropped"], json!([{"name": "noise", "series_total": 1}]));
    assert_eq!(metrics["unmatched_rules"], json!(["{__name__=\"down\"}"]));
    let alerts = ok(&server, "clusters/c1").await["alerts"].clone();
    assert_eq!(alerts, json!([{"name": "Bad", "severity": "critical", "since": "2027-01-15T08:00:00Z"}]));
}
