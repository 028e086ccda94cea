//! One exchange of the Go programs, replayed: what their server sent on, ours sends on.
//!
//! It runs where the folder is that `TELEMETER_RECORDED` names.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::PathBuf,
};

use support::{
    TestServer,
    body::{self, DELIMITED, TimeSeries},
};

const CLUSTER: &str = "00000000-0000-4000-8000-000000000001";

fn folder() -> Option<PathBuf> {
    let default = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/recorded").into();
    let folder = std::env::var_os("TELEMETER_RECORDED").map_or_else(default, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    // Past the capture of output: the summary of `make test` shows it.
    let _ = writeln!(std::io::stderr(), "recorded exchange: NOT CHECKED: TELEMETER_RECORDED names its folder");
    None
}

/// Labels and the bits of the values: a NaN is like itself.
fn comparable(series: &[TimeSeries]) -> BTreeMap<Vec<(String, String)>, Vec<u64>> {
    let one = |series: &TimeSeries| {
        let mut labels: Vec<_> = series.labels.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
        labels.sort();
        (labels, series.samples.iter().map(|sample| sample.value.to_bits()).collect())
    };
    series.iter().map(one).collect()
}

#[tokio::test]
async fn the_recorded_upload_is_forwarded_as_recorded() {
    let Some(folder) = folder() else { return };
    let server = TestServer::with(|config| {
        config.rules.whitelist_file = Some(folder.join("../whitelist-bench.txt"));
        config.rules.elide_labels = vec!["prometheus_replica".to_owned()];
        config.rules.labels = vec![("received_by".to_owned(), "gateway".to_owned())];
    })
    .await;
    let exchange = std::fs::read(folder.join("authorize-response.json")).unwrap();
    let exchange: serde_json::Value = serde_json::from_slice(&exchange).unwrap();
    assert_eq!(exchange["labels"]["_id"], CLUSTER);
    // The second in which their token was issued.
    let claims = exchange["token"].as_str().unwrap().split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims).unwrap();
    let issued = serde_json::from_slice::<serde_json::Value>(&claims).unwrap()["iat"].as_i64().unwrap();
    server.clock.set_ms(issued * 1000);

    let token = server.token(CLUSTER).await;
    let upload = std::fs::read(folder.join("client-upload.snappy-framed")).unwrap();
    let request = server.upload_of(&token, DELIMITED, upload).header("content-encoding", "snappy");
    let answer = server.send(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let requests = server.store.take();
    assert_eq!(requests.len(), 1);
    let ours = body::of_block(&requests[0].body);
    let theirs = body::of_block(&std::fs::read(folder.join("server-forward.snappy-block")).unwrap());
    assert_eq!(theirs.len(), 225);
    assert_eq!(ours.len(), theirs.len());
    assert_eq!(comparable(&ours), comparable(&theirs));
    assert!(ours.iter().flat_map(|series| &series.samples).all(|sample| sample.timestamp == issued * 1000));
}

#[tokio::test]
async fn every_name_that_they_exported_is_exported() {
    let Some(folder) = folder() else { return };
    let server = TestServer::new().await;
    let token = server.token(support::CLUSTER).await;
    server.upload(&token, &["up,_id=c1 1@0"]).await;
    let types = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| line.starts_with("# TYPE ") && !line.starts_with("# TYPE go_"));
        lines.map(str::to_owned).collect()
    };
    let theirs = types(&std::fs::read_to_string(folder.join("server-metric-names.txt")).unwrap());
    assert!(theirs.len() > 20);
    let ours = types(&server.scrape().await);
    let missing: Vec<_> = theirs.difference(&ours).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
