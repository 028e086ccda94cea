//! The order of the steps: which problem of a request is answered, what a refusal costs, how often the authority is asked.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{CLUSTER, TestServer, body, fake::FakeAnswer, fake::approve};

const PERIOD: Duration = Duration::from_secs(270);

async fn limited() -> (TestServer, String) {
    let server = TestServer::with(|config| {
        config.ratelimit = Some(PERIOD);
        config.limit_bytes = 1000;
    })
    .await;
    let token = server.token(CLUSTER).await;
    (server, token)
}

#[tokio::test]
async fn of_several_problems_the_first_step_s_is_answered() {
    let (server, token) = limited().await;
    let upload = |token: &str, format: &str, body: Vec<u8>| server.send(server.upload_of(token, format, body));
    let large = vec![b'#'; 1001];
    let good = || body::text(&["up,_id=c1 1@0"]);
    // Each request has the problems of all steps after the one that answers.
    assert_eq!(upload("bad", "no/format", large.clone()).await.status, 401, "credentials first");
    assert_eq!(upload(&token, body::TEXT, good()).await.status, 200);
    assert_eq!(upload("bad", "no/format", large.clone()).await.status, 401, "credentials before the rate limit");
    assert_eq!(upload(&token, "no/format", large.clone()).await.status, 429, "the rate limit before the format");
    server.clock.advance(PERIOD);
    assert_eq!(upload(&token, "no/format", large.clone()).await.status, 415, "the format before the body");
    server.clock.advance(PERIOD);
    assert_eq!(upload(&token, body::TEXT, large).await.status, 413, "the body's size before its content");
    server.clock.advance(PERIOD);
    let undecodable = [&body::text(&["up 1@"])[..], b"up{"].concat();
    assert!(upload(&token, body::TEXT, undecodable).await.body.contains("not valid text"), "decode before check");
    server.clock.advance(PERIOD);
    let flawed = server.upload(&token, &["up,_id=other 1@"]).await;
    assert!(flawed.body.contains("timestamp"), "times before labels: {flawed:?}");
    server.clock.advance(PERIOD);
    let flawed = server.upload(&token, &["up,_id=other 1@0", "up,_id=c1,a=b 1@"]).await;
    assert!(flawed.body.contains("_id"), "the first series before the second: {flawed:?}");
}

#[tokio::test]
async fn receive_asks_who_calls_before_it_reads() {
    let server = TestServer::with(|config| config.limit_receive_bytes = 100).await;
    server.authority.answers(FakeAnswer::of(403));
    let receive = |cluster: &str, format: &str, body: Vec<u8>| {
        server.send(server.receive_of(cluster, body).header("content-type", format.to_owned()))
    };
    let large = vec![0; 101];
    assert_eq!(receive("c1", "no/format", large.clone()).await.status, 403, "the authority before the format");
    server.authority.says(approve);
    assert_eq!(receive("c1", "no/format", large.clone()).await.status, 415, "the format before the body");
    assert_eq!(receive("c1", "application/x-protobuf", large).await.status, 413, "size before content");
    let reply = server.receive("c1", &["up,_id=c2 1@900000"]).await;
    assert!(reply.body.contains("_id"), "identity before time: {reply:?}");
}

#[tokio::test]
async fn a_whitelist_does_not_hide_what_must_be_refused() {
    let server = TestServer::with(|config| config.rules.whitelist = vec!["wanted".to_owned()]).await;
    let token = server.token(CLUSTER).await;
    assert_eq!(server.upload(&token, &["unwanted,_id=c2 1@0"]).await.status, 400);
    assert_eq!(server.receive(CLUSTER, &["unwanted,_id=c2 1@0"]).await.status, 400);
}

#[tokio::test]
async fn a_refusal_costs_no_slot_and_each_cluster_has_its_own() {
    let (server, token) = limited().await;
    assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
    for _ in 0..5 {
        assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 429);
    }
    let other = server.token("c2").await;
    assert_eq!(server.upload(&other, &["up,_id=c2 1@0"]).await.status, 200);
    // Where a refusal used the slot, this would be too early.
    server.clock.advance(PERIOD);
    assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
}

#[tokio::test]
async fn a_slot_is_given_back_where_the_failure_was_ours() {
    let (server, token) = limited().await;
    for status in [503, 500, 401, 429] {
        server.store.answers(FakeAnswer::of(status));
        assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 503, "{status}");
    }
    server.store.answers(FakeAnswer::of(200));
    assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
}

#[tokio::test]
async fn a_caller_that_leaves_gets_its_slot_back_until_the_store_takes_its_data() {
    let (server, token) = limited().await;
    let upload = || server.upload(&token, &["up,_id=c1 1@0"]);
    for (status, until_then) in [(200, 429), (503, 200)] {
        server.store.answers(FakeAnswer::of(status).after(Duration::from_secs(2)));
        let asked = server.store.count();
        tokio::select! {
            answer = upload() => panic!("{answer:?} though the store hangs"),
            () = async { while server.store.count() == asked { tokio::time::sleep(Duration::from_millis(10)).await; } } => {}
        }
        // The caller has left. Then the store answers.
        tokio::time::sleep(Duration::from_secs(3)).await;
        server.store.answers(FakeAnswer::of(200));
        assert_eq!(upload().await.status, until_then, "the store answered {status}");
        server.clock.advance(PERIOD);
    }
}

#[tokio::test]
async fn a_slot_is_kept_where_the_failure_was_the_caller_s() {
    for flaw in ["ours", "the store's"] {
        let (server, token) = limited().await;
        let series = if flaw == "ours" { "up,_id=c2 1@0" } else { "up,_id=c1 1@0" };
        server.store.answers(FakeAnswer::of(400));
        assert_eq!(server.upload(&token, &[series]).await.status, 400, "{flaw}");
        assert_eq!(server.upload(&token, &[series]).await.status, 429, "{flaw}");
    }
}

#[tokio::test]
async fn the_authority_is_asked_no_more_than_it_must_be() {
    let server = TestServer::new().await;
    let malformed = server.send(server.post("/metrics/v1/receive").bearer_auth("e30=")).await;
    assert_eq!((malformed.status, server.authority.count()), (400, 0), "not about a malformed token");

    server.authority.says(|asked| approve(asked).after(Duration::from_millis(300)));
    let calls = (0..10).map(|_| server.receive(CLUSTER, &["up,_id=c1 1@0"]));
    let reply = futures_util::future::join_all(calls).await;
    assert!(reply.iter().all(|reply| reply.status == 200), "{reply:?}");
    assert_eq!(server.authority.count(), 1, "ten at once are one question");
    let question: serde_json::Value = serde_json::from_slice(&server.authority.take()[0].body).unwrap();
    assert_eq!(question, serde_json::json!({"authorization_token": "secret", "cluster_id": CLUSTER}));

    assert_eq!(server.receive(CLUSTER, &["up,_id=c1 1@0"]).await.status, 200);
    assert_eq!(server.authority.count(), 0, "an approval is cached");
    let calls = (0..10).map(|_| server.authorize(CLUSTER, "secret"));
    let reply = futures_util::future::join_all(calls).await;
    assert!(reply.iter().all(|reply| reply.status == 200));
    assert_eq!(server.authority.count(), 1, "/authorize asks each time, but once at a time");
}

#[tokio::test]
async fn drift_is_counted_by_tense() {
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    let series = [
        "a,_id=c1 1@-300001",
        "a,_id=c1,b=c 1@-300001",
        "b,_id=c1 1@-300000",
        "c,_id=c1 1@0",
        "d,_id=c1 1@300000",
        "e,_id=c1 1@300001",
    ];
    assert_eq!(server.upload(&token, &series).await.status, 200);
    let tense = async |tense: &str| {
        server.metric(&format!("telemeter_overwritten_timestamps_total{{tense=\"{tense}\"}}")).await
    };
    assert_eq!((tense("past").await, tense("present").await, tense("future").await), (2.0, 3.0, 1.0));
    assert_eq!(server.metric("telemeter_v1_forward_overwritten_timestamps_total").await, 2.0, "ahead of our clock");
}

#[tokio::test]
async fn what_happens_is_counted() {
    let server = TestServer::with(|config| {
        config.rules.whitelist = vec!["up".to_owned()];
        config.rules.elide_labels = vec!["pod".to_owned()];
        config.limit_receive_bytes = 100;
    })
    .await;
    let token = server.token(CLUSTER).await;
    server.upload(&token, &["up,_id=c1,pod=p 1@0", "down,_id=c1 1@0", "up,_id=c1,a=b 1@0"]).await;
    server.receive(CLUSTER, &["up,_id=c1,pod=p 1@0", "up,_id=c1,pod=q,z=z 1@0", "down,_id=c1 1@0"]).await;
    server.receive(CLUSTER, &["up 1@0"]).await;
    server.receive(CLUSTER, &["up,_id=c2 1@0"]).await;
    server.send(server.receive_of(CLUSTER, vec![0; 101])).await;
    server.store.answers(FakeAnswer::of(500));
    server.upload(&token, &["up,_id=c1 1@0"]).await;
    server.receive(CLUSTER, &["up,_id=c1 1@0"]).await;
    let scrape = server.scrape().await;
    for line in [
        "telemeter_v1_forward_samples_total 2",
        "telemeter_v1_forward_requests_total{result=\"success\"} 1",
        "telemeter_v1_forward_requests_total{result=\"error\"} 1",
        "telemeter_v1_forward_request_duration_seconds_count{status_code=\"200\"} 1",
        "telemeter_v1_forward_request_duration_seconds_count{status_code=\"500\"} 1",
        "telemeter_elide_transform_dropped_total 3",
        "telemeter_forward_requests_total{result=\"success\"} 1",
        "telemeter_forward_requests_total{result=\"error\"} 1",
        "telemeter_receive_size_limited_total 1",
        "telemeter_receive_request_missing_labels_total 1",
        "telemeter_receive_request_incorrect_label_values_total 1",
        "telemeter_receive_series_processed_total 2",
        "telemeter_filtered_series_total{handler=\"upload\"} 1",
        "telemeter_filtered_series_total{handler=\"receive\"} 1",
        "http_requests_total{code=\"200\",handler=\"upload\",method=\"post\"} 1",
        "http_requests_total{code=\"503\",handler=\"receive\",method=\"post\"} 1",
        "http_requests_total{code=\"413\",handler=\"receive\",method=\"post\"} 1",
        "http_requests_total{code=\"200\",handler=\"authorize\",method=\"post\"} 1",
        "http_request_duration_seconds_count{code=\"200\",handler=\"upload\",method=\"post\"} 1",
        "http_request_size_bytes_count{code=\"200\",handler=\"upload\",method=\"post\"} 1",
    ] {
        assert!(scrape.lines().any(|found| found == line), "{line} is not in\n{scrape}");
    }
}
