//! `--partial-writes`: the valid series of a remote write are stored, and the answer is 400 all the same.
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

async fn server(partial_writes: bool) -> TestServer {
    TestServer::with(|config| config.partial_writes = partial_writes).await
}

/// Valid series with an invalid one before, between and after them.
fn mixed() -> Vec<&'static str> {
    vec![BAD[0], GOOD[0], BAD[1], BAD[2], GOOD[1], BAD[3], BAD[4]]
}

fn written(answer: &CallerAnswer) -> Option<&str> {
    answer.header("x-prometheus-remote-write-samples-written")
}

const LINE: &str = "5 of 7 series were refused, the others were stored: \
    other_identity: label \"_id\" does not have the value that these credentials allow; \
    no_identity: label \"_id\" is missing or empty; \
    label_twice: duplicate label \"a\" in one series; and 2 more (request ";

#[tokio::test]
async fn the_good_series_are_stored_and_the_others_named() {
    let server = server(true).await;
    let answer = server.receive(CLUSTER, &mixed()).await;
    assert_eq!((answer.status, written(&answer)), (400, None), "{answer:?}");
    assert!(answer.body.starts_with(LINE), "{}", answer.body);
    assert_eq!(server.stored(), GOOD);
    let answer = server.receive_v2(CLUSTER, &Request::of(&mixed())).await;
    assert_eq!((answer.status, written(&answer)), (400, Some("3")), "{answer:?}");
    assert!(answer.body.starts_with(LINE), "{}", answer.body);
    assert_eq!(server.stored(), GOOD);
    let metrics = server.scrape().await;
    let line = "telemeter_refused_requests_total{handler=\"receive\",reason=\"identity\"} 2";
    assert!(metrics.lines().any(|found| found == line), "the reason is that of the first");
    assert!(metrics.lines().any(|found| found == "telemeter_receive_series_processed_total 4"));
}

#[tokio::test]
async fn nothing_changes_for_a_good_request() {
    let server = server(true).await;
    assert_eq!(server.receive(CLUSTER, &GOOD).await.status, 200);
    let answer = server.receive_v2(CLUSTER, &Request::of(&GOOD)).await;
    assert_eq!((answer.status, written(&answer)), (204, Some("3")), "{answer:?}");
    assert_eq!(server.stored().len(), 2 * GOOD.len());
}

#[tokio::test]
async fn without_the_flag_one_bad_series_refuses_the_request() {
    let server = server(false).await;
    let answer = server.receive(CLUSTER, &mixed()).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    let answer = server.receive_v2(CLUSTER, &Request::of(&mixed())).await;
    assert_eq!((answer.status, written(&answer)), (400, Some("0")), "{answer:?}");
    assert!(server.store.take().is_empty());
}

#[tokio::test]
async fn where_all_are_bad_the_store_is_not_asked() {
    let server = server(true).await;
    let answer = server.receive(CLUSTER, &BAD).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.starts_with("all 5 series were refused: other_identity: "), "{}", answer.body);
    let answer = server.receive_v2(CLUSTER, &Request::of(&BAD)).await;
    assert_eq!((answer.status, written(&answer)), (400, Some("0")), "{answer:?}");
    assert!(server.store.take().is_empty());
}

/// Where the store accepts nothing, the answer is as without the flag: the sender has to send all of it again.
#[tokio::test]
async fn a_store_that_is_unavailable_is_503() {
    let server = server(true).await;
    server.store.answers(FakeAnswer::of(503));
    let answer = server.receive_v2(CLUSTER, &Request::of(&mixed())).await;
    assert_eq!((answer.status, written(&answer)), (503, Some("0")), "{answer:?}");
}

#[tokio::test]
async fn references_that_cannot_be_are_of_their_series_alone() {
    let server = server(true).await;
    let mut request = Request::of(&[GOOD[0], "broken,_id=c1 1@0", GOOD[1], "no_identity 1@0"]);
    request.timeseries[1].labels_refs[1] = 99;
    let answer = server.receive_v2(CLUSTER, &request).await;
    assert_eq!((answer.status, written(&answer)), (400, Some("3")), "{answer:?}");
    let line = "2 of 4 series were refused, the others were stored: series 1 has the reference 99, and there are";
    assert!(answer.body.starts_with(line), "{}", answer.body);
    assert_eq!(server.stored(), GOOD);
    // Bytes that are no message have no series to refuse.
    let answer = server.send(server.receive_v2_of(CLUSTER, body::block(b"no message"))).await;
    assert_eq!((answer.status, written(&answer)), (400, Some("0")), "{answer:?}");
}

/// What the whitelist leaves out is not refused.
#[tokio::test]
async fn what_the_whitelist_leaves_out_is_written() {
    let server = TestServer::with(|config| {
        config.partial_writes = true;
        config.rules.whitelist = vec!["nothing_at_all".to_owned()];
    })
    .await;
    let answer = server.receive_v2(CLUSTER, &Request::of(&[GOOD[0], BAD[0]])).await;
    assert_eq!((answer.status, written(&answer)), (400, Some("1")), "{answer:?}");
    assert!(answer.body.starts_with("1 of 2 series were refused, the others were stored: "), "{}", answer.body);
    assert!(server.store.take().is_empty());
}
