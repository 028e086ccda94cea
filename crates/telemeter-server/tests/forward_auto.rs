//! `--forward-protocol auto`: the store is sent 2.0, and 1.0 for an hour where it shows that it does not take that.
#![allow(clippy::unwrap_used)]

mod support;

use support::{
    CLUSTER, TestServer, body,
    body_v2::{self, Request},
    fake::{FakeAnswer, ReceivedRequest},
    receiver_v2::{self, wrote},
};
use telemeter_server::config::ForwardProtocol;

const SERIES: [&str; 2] = ["up,_id=c1,job=a 1@0", "up,_id=c1,job=b 2@0"];
const HOUR_MS: i64 = 3_600_000;

async fn server(store: impl Fn(&ReceivedRequest) -> FakeAnswer + Send + Sync + 'static) -> TestServer {
    let server = TestServer::with(|config| config.forward.as_mut().unwrap().protocol = ForwardProtocol::Auto).await;
    server.store.says(store);
    server
}

fn is_v2(asked: &ReceivedRequest) -> bool {
    asked.headers["content-type"] == body_v2::CONTENT_TYPE
}

/// The versions of what the store was sent, and the series that it took of 1.0.
fn sent(server: &TestServer) -> (String, Vec<String>) {
    let asked = server.store.take();
    let versions: Vec<_> = asked.iter().map(|asked| if is_v2(asked) { "2.0" } else { "1.0" }).collect();
    let of_1_0 = asked.iter().filter(|asked| !is_v2(asked)).flat_map(|asked| body::of_block(&asked.body));
    (versions.join(" "), body::shown(&of_1_0.collect::<Vec<_>>()))
}

async fn in_use(server: &TestServer) -> [f64; 2] {
    let gauge = |version: &str| format!("telemeter_forward_protocol{{version=\"{version}\"}}");
    [server.metric(&gauge("1.0")).await, server.metric(&gauge("2.0")).await]
}

/// "2.x vs 1.x Compatibility", "Unsupported Request Content", "Required Written Response Headers": 415, 400 of a receiver of 1.x,
/// and success that does not say what was written.
#[tokio::test]
async fn a_store_of_1_0_is_sent_1_0_for_an_hour_and_nothing_is_lost() {
    for refusal in [415, 400, 200, 204] {
        let server = server(move |asked| FakeAnswer::of(if is_v2(asked) { refusal } else { 200 })).await;
        assert_eq!(in_use(&server).await, [0.0, 1.0], "{refusal}");
        let token = server.token(CLUSTER).await;
        assert_eq!(server.upload(&token, &SERIES).await.status, 200, "{refusal}");
        let series: Vec<_> = SERIES.iter().map(ToString::to_string).collect();
        assert_eq!(sent(&server), ("2.0 1.0".to_owned(), series.clone()), "{refusal}: the same once more");
        assert_eq!(in_use(&server).await, [1.0, 0.0], "{refusal}");
        assert_eq!(server.receive(CLUSTER, &SERIES).await.status, 200, "{refusal}");
        assert_eq!(server.receive_v2(CLUSTER, &Request::of(&SERIES)).await.status, 204, "{refusal}");
        let both = [series.clone(), series.clone()].concat();
        assert_eq!(sent(&server), ("1.0 1.0".to_owned(), both), "{refusal}: it is not asked again");
        server.advance_to_ms(HOUR_MS - 1);
        let later = [format!("up,_id=c1,job=a 1@{}", HOUR_MS - 1)];
        assert_eq!(server.receive(CLUSTER, &[&*later[0]]).await.status, 200, "{refusal}");
        assert_eq!(sent(&server), ("1.0".to_owned(), later.to_vec()), "{refusal}");
        server.advance_to_ms(HOUR_MS);
        assert_eq!(server.receive(CLUSTER, &[&*later[0]]).await.status, 200, "{refusal}");
        assert_eq!(sent(&server), ("2.0 1.0".to_owned(), later.to_vec()), "{refusal}: it is asked after an hour");
        assert!((server.metric("telemeter_forward_protocol_fallbacks_total").await - 2.0).abs() < 0.1, "{refusal}");
    }
}

/// A store that learns 2.0 is sent it.
#[tokio::test]
async fn a_store_of_2_0_is_sent_2_0() {
    let server = server(receiver_v2::receive).await;
    for _ in 0..3 {
        assert_eq!(server.receive_v2(CLUSTER, &Request::of(&SERIES)).await.status, 204);
    }
    assert_eq!(sent(&server), ("2.0 2.0 2.0".to_owned(), Vec::new()));
    assert_eq!(in_use(&server).await, [0.0, 1.0]);
    // What it refuses from now on, it refuses; with or without the headers.
    for refusal in [wrote(400, [0; 3]), FakeAnswer::of(400)] {
        server.store.answers(refusal);
        assert_eq!(server.receive_v2(CLUSTER, &Request::of(&SERIES)).await.status, 400);
        assert_eq!(sent(&server), ("2.0".to_owned(), Vec::new()));
    }
    // But 415 is 415: it was another one that answered before.
    server.store.says(|asked| FakeAnswer::of(if is_v2(asked) { 415 } else { 200 }));
    assert_eq!(server.receive(CLUSTER, &SERIES).await.status, 200);
    assert_eq!(sent(&server).0, "2.0 1.0");
}

/// Bad data says nothing of the store: refused in both versions, it is refused, and the store is asked with 2.0 again.
#[tokio::test]
async fn one_cluster_s_bad_data_does_not_choose_the_version() {
    let server = server(|_| FakeAnswer::of(400)).await;
    assert_eq!(server.receive(CLUSTER, &SERIES).await.status, 400);
    assert_eq!(sent(&server).0, "2.0 1.0");
    assert_eq!(in_use(&server).await, [0.0, 1.0]);
    // A receiver of 2.0 says what it wrote of what it refuses.
    server.store.answers(wrote(400, [0; 3]));
    assert_eq!(server.receive("c2", &["up,_id=c2 1@0"]).await.status, 400);
    assert_eq!(sent(&server).0, "2.0");
    for status in [500, 503, 429, 404, 401] {
        server.store.answers(FakeAnswer::of(status));
        assert_eq!(server.receive("c3", &["up,_id=c3 1@0"]).await.status, 503, "{status}");
        assert_eq!(sent(&server).0, "2.0", "{status}");
    }
    assert_eq!(in_use(&server).await, [0.0, 1.0]);
}

/// Those that wait together fall back together: each of them is stored, and once.
#[tokio::test]
async fn concurrent_callers_fall_back_together() {
    let server = server(|asked| {
        FakeAnswer::of(if is_v2(asked) { 415 } else { 200 }).after(std::time::Duration::from_millis(50))
    })
    .await;
    let answer = futures_util::future::join_all((0..30).map(|cluster| {
        let (server, id) = (&server, format!("c{cluster}"));
        async move {
            let series = format!("up,_id={id} 1@0");
            match cluster % 2 {
                0 => server.receive(&id, &[&series]).await.status,
                _ => server.receive_v2(&id, &Request::of(&[&series])).await.status,
            }
        }
    }))
    .await;
    assert!(answer.iter().all(|status| [200, 204].contains(status)), "{answer:?}");
    let (_, mut stored) = sent(&server);
    stored.sort();
    let mut expected: Vec<_> = (0..30).map(|cluster| format!("up,_id=c{cluster} 1@0")).collect();
    expected.sort();
    assert_eq!(stored, expected);
    assert!((server.metric("telemeter_forward_protocol_fallbacks_total").await - 1.0).abs() < 0.1);
}

/// What was encoded as 2.0 and has to go as 1.0 after all keeps what 1.0 has a place for; the rest is counted.
#[tokio::test]
async fn what_is_encoded_again_loses_what_1_0_has_no_place_for() {
    let server = server(|asked| FakeAnswer::of(if is_v2(asked) { 415 } else { 200 })).await;
    let histogram = body::Histogram { count: 3, sum: 2.5, timestamp: support::NOW_MS, ..body::Histogram::default() };
    let mut series = body::time_series("request_seconds,_id=c1");
    series.histograms = vec![histogram.clone()];
    let labels = vec![body::Label { name: "trace_id".to_owned(), value: "x".to_owned() }];
    series.exemplars = vec![body::Exemplar { labels, value: 0.5, timestamp: support::NOW_MS }];
    let mut request = Request::of(&SERIES);
    request.push(&series);
    request.timeseries[0].samples[0].start_timestamp = 5;
    request.timeseries[2].histograms[0].start_timestamp = 6;
    assert_eq!(server.receive_v2(CLUSTER, &request).await.status, 204);
    let asked = server.store.take();
    let stored = body::of_block(&asked.last().unwrap().body);
    assert_eq!(stored, [body::time_series(SERIES[0]), body::time_series(SERIES[1]), series]);
    assert!((server.metric("telemeter_receive_start_timestamps_dropped_total").await - 2.0).abs() < 0.1);
}
