//! `--partial-writes`: the good series of a remote write are stored, and the answer is 400 all the same.
#![allow(clippy::unwrap_used)]

mod support;

use support::{CLUSTER, CallerAnswer, TestServer, body, body_v2::Request, fake::FakeAnswer};

const GOOD: [&str; 2] = ["up,_id=c1,job=a 1@0", "cluster_version,_id=c1 1@0 2@5"];
const BAD: [&str; 5] = [
    "other_identity,_id=c2 1@0",
    "no_identity 1@0",
    "label_twice,_id=c1,a=b,a=c 1@0",
    "in_the_future,_id=c1 1@600001",
    "_id=c1,without=name 1@0",
];

async fn world(partial_writes: bool) -> TestServer {
    TestServer::with(|config| config.partial_writes = partial_writes).await
}

/// Good series with a bad one before, between and behind them.
fn mixed() -> Vec<&'static str> {
    vec![BAD[0], GOOD[0], BAD[1], BAD[2], GOOD[1], BAD[3], BAD[4]]
}

fn written(told: &CallerAnswer) -> Option<&str> {
    told.header("x-prometheus-remote-write-samples-written")
}

const LINE: &str = "5 of 7 series were refused, the others were stored: \
    other_identity: label \"_id\" does not have the value that these credentials allow; \
    no_identity: label \"_id\" is missing or empty; \
    label_twice: duplicate label \"a\" in one series; and 2 more (request ";

#[tokio::test]
async fn the_good_series_are_stored_and_the_others_named() {
    let world = world(true).await;
    let told = world.receive(CLUSTER, &mixed()).await;
    assert_eq!((told.status, written(&told)), (400, None), "{told:?}");
    assert!(told.body.starts_with(LINE), "{}", told.body);
    assert_eq!(world.stored(), GOOD);
    let told = world.receive_v2(CLUSTER, &Request::of(&mixed())).await;
    assert_eq!((told.status, written(&told)), (400, Some("3")), "{told:?}");
    assert!(told.body.starts_with(LINE), "{}", told.body);
    assert_eq!(world.stored(), GOOD);
    let metrics = world.scrape().await;
    let line = "telemeter_refused_requests_total{handler=\"receive\",reason=\"identity\"} 2";
    assert!(metrics.lines().any(|found| found == line), "the reason is that of the first");
    assert!(metrics.lines().any(|found| found == "telemeter_receive_series_processed_total 4"));
}

#[tokio::test]
async fn nothing_changes_for_a_good_request() {
    let world = world(true).await;
    assert_eq!(world.receive(CLUSTER, &GOOD).await.status, 200);
    let told = world.receive_v2(CLUSTER, &Request::of(&GOOD)).await;
    assert_eq!((told.status, written(&told)), (204, Some("3")), "{told:?}");
    assert_eq!(world.stored().len(), 2 * GOOD.len());
}

#[tokio::test]
async fn without_the_flag_one_bad_series_refuses_the_request() {
    let world = world(false).await;
    let told = world.receive(CLUSTER, &mixed()).await;
    assert_eq!(told.status, 400, "{told:?}");
    let told = world.receive_v2(CLUSTER, &Request::of(&mixed())).await;
    assert_eq!((told.status, written(&told)), (400, Some("0")), "{told:?}");
    assert!(world.store.take().is_empty());
}

#[tokio::test]
async fn where_all_are_bad_the_store_is_not_asked() {
    let world = world(true).await;
    let told = world.receive(CLUSTER, &BAD).await;
    assert_eq!(told.status, 400, "{told:?}");
    assert!(told.body.starts_with("all 5 series were refused: other_identity: "), "{}", told.body);
    let told = world.receive_v2(CLUSTER, &Request::of(&BAD)).await;
    assert_eq!((told.status, written(&told)), (400, Some("0")), "{told:?}");
    assert!(world.store.take().is_empty());
}

/// What the store does not take is told as ever: the sender has to send all of it again.
#[tokio::test]
async fn a_store_that_is_unavailable_is_503() {
    let world = world(true).await;
    world.store.answers(FakeAnswer::of(503));
    let told = world.receive_v2(CLUSTER, &Request::of(&mixed())).await;
    assert_eq!((told.status, written(&told)), (503, Some("0")), "{told:?}");
}

#[tokio::test]
async fn references_that_cannot_be_are_of_their_series_alone() {
    let world = world(true).await;
    let mut request = Request::of(&[GOOD[0], "broken,_id=c1 1@0", GOOD[1], "no_identity 1@0"]);
    request.timeseries[1].labels_refs[1] = 99;
    let told = world.receive_v2(CLUSTER, &request).await;
    assert_eq!((told.status, written(&told)), (400, Some("3")), "{told:?}");
    let line = "2 of 4 series were refused, the others were stored: series 1 has the reference 99, and there are";
    assert!(told.body.starts_with(line), "{}", told.body);
    assert_eq!(world.stored(), GOOD);
    // Bytes that are no message are nobody's series.
    let told = world.send(world.receive_v2_of(CLUSTER, body::block(b"no message"))).await;
    assert_eq!((told.status, written(&told)), (400, Some("0")), "{told:?}");
}

/// What the whitelist leaves out is not refused.
#[tokio::test]
async fn what_the_whitelist_leaves_out_is_written() {
    let world = TestServer::with(|config| {
        config.partial_writes = true;
        config.rules.whitelist = vec!["nothing_at_all".to_owned()];
    })
    .await;
    let told = world.receive_v2(CLUSTER, &Request::of(&[GOOD[0], BAD[0]])).await;
    assert_eq!((told.status, written(&told)), (400, Some("1")), "{told:?}");
    assert!(told.body.starts_with("1 of 2 series were refused, the others were stored: "), "{}", told.body);
    assert!(world.store.take().is_empty());
}
