//! Tests how the whole forwarder sends messages to a fake store, and which outcome each caller gets.
#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicUsize, Ordering};

use telemeter_http::client::{OutboundConfig, Resolver};
use telemeter_wire::{Arena, DecodeLimits, SeriesSet, remote_write, snappy};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::{scheduler::BUDGET, *};

mod raw_store;
mod traces;

/// A `WriteRequest` with one series of this name.
fn message(name: &str) -> WriteMessage {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    let label = telemeter_wire::Label::new("__name__", name);
    let sample = telemeter_wire::Sample { value: 1.0, timestamp_ms: Some(1) };
    set.push(&[label], telemeter_wire::MetricType::Untyped, telemeter_wire::Points::Sample(sample));
    let (mut plain, mut block) = (Vec::new(), Vec::new());
    remote_write::encode(&set, &mut plain);
    drop(set);
    snappy::Encoder::new().block(&plain, &mut block);
    WriteMessage::V1 { block: block.into(), plain_bytes: plain.len() }
}

/// The metric names in the body of a request to the store.
fn names(request: &wiremock::Request) -> Vec<String> {
    names_of(&request.body)
}

fn names_of(body: &[u8]) -> Vec<String> {
    let mut plain = Vec::new();
    snappy::decode_block(body, 1 << 20, &mut plain).unwrap();
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    remote_write::decode(&plain, &DecodeLimits::default(), &mut set).unwrap();
    set.iter().map(|series| series.name().to_owned()).collect()
}

fn forward(store: &MockServer, config: BatchConfig) -> Forward {
    let outbound = Outbound::new(OutboundConfig::new("forward"), None).unwrap();
    Forward::new(store.uri().parse().unwrap(), Some("tenant"), outbound, None, config, Negotiation::fixed(Protocol::V1))
        .unwrap()
}

async fn store(answer: impl Fn(&wiremock::Request) -> ResponseTemplate + Send + Sync + 'static) -> MockServer {
    let store = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&store).await;
    store
}

#[tokio::test]
async fn a_request_is_remote_write() {
    let store = store(|_| ResponseTemplate::new(204)).await;
    let outcome = forward(&store, BatchConfig::default()).send("a", message("up")).await;
    assert_eq!(outcome.status_code(), 204);
    let requests = store.received_requests().await.unwrap();
    assert_eq!(names(&requests[0]), ["up"]);
    let header = |name: &str| requests[0].headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("thanos-tenant"), "tenant");
    assert_eq!(header("content-type"), "application/x-protobuf");
    assert_eq!(header("content-encoding"), "snappy");
    assert_eq!(header("x-prometheus-remote-write-version"), "0.1.0");
    assert!(header("user-agent").starts_with("telemeter/"));
}

#[tokio::test]
async fn concurrent_callers_share_a_request() {
    let store = store(|_| ResponseTemplate::new(200)).await;
    let config = BatchConfig { linger: Duration::from_millis(100), ..BatchConfig::default() };
    let forward = forward(&store, config);
    let sends = (0..20).map(|index| {
        let forward = forward.clone();
        tokio::spawn(async move { forward.send(&index.to_string(), message(&format!("m{index}"))).await.into_result() })
    });
    for send in futures_util::future::join_all(sends).await {
        assert_eq!(send.unwrap().unwrap(), StatusCode::OK);
    }
    let requests = store.received_requests().await.unwrap();
    assert!(requests.len() < 5, "{} requests", requests.len());
    assert_eq!(requests.iter().map(|request| names(request).len()).sum::<usize>(), 20);
}

#[tokio::test]
async fn a_bad_message_fails_its_own_caller_alone() {
    let store = store(|request| {
        let bad = names(request).iter().any(|name| name == "m3" || name == "m11");
        ResponseTemplate::new(if bad { 400 } else { 200 })
    })
    .await;
    let forward = forward(&store, BatchConfig { linger: Duration::from_millis(100), ..BatchConfig::default() });
    let sends = (0..16).map(|index| {
        let forward = forward.clone();
        tokio::spawn(async move { (index, forward.send(&index.to_string(), message(&format!("m{index}"))).await) })
    });
    for send in futures_util::future::join_all(sends).await {
        let (index, outcome) = send.unwrap();
        assert_eq!(outcome.status_code(), if index == 3 || index == 11 { 400 } else { 200 }, "m{index}");
    }
    // Each good message is in exactly one request that the store accepted.
    let requests = store.received_requests().await.unwrap();
    let taken: Vec<_> = requests
        .iter()
        .map(names)
        .filter(|names| !names.contains(&"m3".into()) && !names.contains(&"m11".into()))
        .flatten()
        .collect();
    assert_eq!(taken.len(), 14);
}

#[tokio::test]
async fn no_group_is_over_its_bytes() {
    let store = store(|_| ResponseTemplate::new(200)).await;
    let max_bytes = 3 * message("m10").plain_bytes();
    let forward = forward(
        &store,
        BatchConfig { linger: Duration::from_millis(50), max_bytes, permits: 1, ..BatchConfig::default() },
    );
    let sends = (10..40).map(|index| {
        let forward = forward.clone();
        tokio::spawn(async move { forward.send(&index.to_string(), message(&format!("m{index}"))).await })
    });
    for send in futures_util::future::join_all(sends).await {
        assert_eq!(send.unwrap().status_code(), 200);
    }
    let requests = store.received_requests().await.unwrap();
    assert!(requests.iter().all(|request| names(request).len() <= 3));
}

#[tokio::test]
async fn a_message_that_breaks_the_store_fails_its_own_caller_alone_and_goes_alone_from_then_on() {
    let store = store(|request| {
        let bad = names(request).iter().any(|name| name == "m3");
        ResponseTemplate::new(if bad { 500 } else { 200 })
    })
    .await;
    let forward = forward(&store, BatchConfig { linger: Duration::from_millis(100), ..BatchConfig::default() });
    for round in 0..2 {
        let before = store.received_requests().await.unwrap().len();
        let sends = (0..16).map(|index| {
            let forward = forward.clone();
            tokio::spawn(async move { (index, forward.send(&index.to_string(), message(&format!("m{index}"))).await) })
        });
        for send in futures_util::future::join_all(sends).await {
            let (index, outcome) = send.unwrap();
            let expected = if index == 3 { 503 } else { 200 };
            let told = outcome.into_result().unwrap_or_else(|error| error.status()).as_u16();
            assert_eq!(told, expected, "m{index}");
        }
        let requests = store.received_requests().await.unwrap().len() - before;
        // In the first round the bad cluster is found by splitting; in the second round its request is not joined.
        assert!(if round == 0 { requests > 4 } else { requests <= 3 }, "round {round}: {requests} requests");
    }
}

#[tokio::test]
async fn splitting_ends_within_the_budget() {
    let store = store(|_| ResponseTemplate::new(400).set_delay(Duration::from_secs(2))).await;
    let forward = forward(&store, BatchConfig { linger: Duration::from_millis(50), ..BatchConfig::default() });
    let started = Instant::now();
    let sends = (0..32).map(|index| {
        let forward = forward.clone();
        tokio::spawn(async move { forward.send(&index.to_string(), message("up")).await })
    });
    let outcomes = futures_util::future::join_all(sends).await.into_iter().map(|send| send.unwrap().status_code());
    let refused = outcomes.filter(|status| *status == 400).count();
    // The requests that were not sent again in time have status code 0: their callers get 503 and retry.
    assert!((5..32).contains(&refused), "{refused}");
    assert!(started.elapsed() < BUDGET + DEADLINE, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_store_that_breaks_on_everything_is_soon_left_alone() {
    let broken = Arc::new(AtomicUsize::new(1));
    let now = broken.clone();
    let store = store(move |_| ResponseTemplate::new(if now.load(Ordering::Relaxed) == 1 { 500 } else { 200 })).await;
    let forward = forward(&store, BatchConfig { linger: Duration::from_millis(100), ..BatchConfig::default() });
    let round = || async {
        let sends = (0..64).map(|index| {
            let forward = forward.clone();
            tokio::spawn(async move { forward.send(&index.to_string(), message("up")).await.status_code() })
        });
        let before = store.received_requests().await.unwrap().len();
        let statuses: Vec<_> = futures_util::future::join_all(sends).await.into_iter().map(Result::unwrap).collect();
        (statuses, store.received_requests().await.unwrap().len() - before)
    };
    let (statuses, requests) = round().await;
    assert!(statuses.iter().all(|status| *status == 500) && requests < 30, "{requests} requests: {statuses:?}");
    broken.store(0, Ordering::Relaxed);
    // No cluster is suspect because of these failures.
    let (statuses, requests) = round().await;
    assert!(statuses.iter().all(|status| *status == 200) && requests <= 4, "{requests} requests: {statuses:?}");
}

#[tokio::test]
async fn a_cluster_in_quarantine_takes_no_permit_of_others() {
    let store = store(|request| {
        let bad = names(request).iter().any(|name| name == "bad");
        ResponseTemplate::new(if bad { 400 } else { 200 }).set_delay(Duration::from_millis(50))
    })
    .await;
    let forward =
        forward(&store, BatchConfig { linger: Duration::from_millis(1), permits: 2, ..BatchConfig::default() });
    assert_eq!(forward.send("evil", message("bad")).await.status_code(), 400);
    let flood = (0..100).map(|_| {
        let forward = forward.clone();
        tokio::spawn(async move { forward.send("evil", message("up")).await.status_code() })
    });
    let flood: Vec<_> = flood.collect();
    let started = Instant::now();
    assert_eq!(forward.send("good", message("up")).await.status_code(), 200);
    assert!(started.elapsed() < DEADLINE, "{:?}", started.elapsed());
    for send in flood {
        assert_eq!(send.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_cluster_whose_data_is_always_refused_delays_nobody() {
    let store = store(|request| {
        let bad = names(request).iter().any(|name| name == "bad");
        ResponseTemplate::new(if bad { 400 } else { 200 }).set_delay(Duration::from_millis(20))
    })
    .await;
    let forward = forward(&store, BatchConfig::default());
    let flood: Vec<_> = (0..1500)
        .map(|_| {
            let forward = forward.clone();
            tokio::spawn(async move { forward.send("evil", message("bad")).await.status_code() })
        })
        .collect();
    let mut waits = Vec::new();
    for round in 0..40 {
        let started = Instant::now();
        assert_eq!(forward.send(&format!("good-{round}"), message("up")).await.status_code(), 200);
        waits.push(started.elapsed());
    }
    assert!(!flood.iter().all(tokio::task::JoinHandle::is_finished), "the flood is still there");
    waits.sort();
    assert!(waits[20] < Duration::from_secs(1), "{waits:?}");
    for send in flood {
        // The request was refused, or was not sent before the deadline.
        assert!([400, 0].contains(&send.await.unwrap()));
    }
}

/// The status and the seconds of `Retry-After` that a caller gets where the store answers so.
async fn told(template: ResponseTemplate) -> (u16, Option<u64>) {
    let store = store(move |_| template.clone()).await;
    match forward(&store, BatchConfig::default()).send("a", message("up")).await.into_result() {
        Ok(status) => (status.as_u16(), None),
        Err(error) => (error.status().as_u16(), error.retry_after().map(|wait| wait.as_secs())),
    }
}

#[tokio::test]
async fn the_store_s_answer_becomes_ours() {
    for (status, expected) in [
        (200, (200, None)),
        (204, (204, None)),
        (400, (400, None)),
        (409, (409, None)),
        (413, (413, None)),
        (422, (422, None)),
        (401, (503, Some(30))),
        (403, (503, Some(30))),
        (404, (503, Some(30))),
        (429, (503, Some(30))),
        (500, (503, Some(30))),
        (502, (503, Some(30))),
        (503, (503, Some(30))),
    ] {
        assert_eq!(told(ResponseTemplate::new(status)).await, expected, "{status}");
    }
    for status in [429, 500, 502, 503, 504] {
        assert_eq!(told(ResponseTemplate::new(status).insert_header("retry-after", "7")).await, (503, Some(7)));
    }
    let dates = [("date", "Sun, 06 Nov 1994 08:49:07 GMT"), ("retry-after", "Sun, 06 Nov 1994 08:49:14 GMT")];
    assert_eq!(told(ResponseTemplate::new(502).append_headers(dates)).await, (503, Some(7)));
    assert_eq!(told(ResponseTemplate::new(503).insert_header("retry-after", "86400")).await, (503, Some(3600)));
    // `Retry-After` of a status that does not ask for a later retry is not passed on.
    assert_eq!(told(ResponseTemplate::new(404).insert_header("retry-after", "7")).await, (503, Some(30)));
    assert_eq!(told(ResponseTemplate::new(302).insert_header("location", "/elsewhere")).await, (503, Some(30)));
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unavailable() {
    let outbound = Outbound::new(OutboundConfig::new("forward"), None).unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/").parse().unwrap();
    let forward =
        Forward::new(url, None, outbound, None, BatchConfig::default(), Negotiation::fixed(Protocol::V1)).unwrap();
    let error = forward.send("a", message("up")).await.into_result().unwrap_err();
    assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!error.body().contains("127.0.0.1"), "{}", error.body());
    // The error names the address.
    let expected = format!("cannot connect to http://{closed}/: connecting to {closed}: Connection refused");
    assert!(error.to_string().contains(&expected), "{error}");
}

#[tokio::test]
async fn a_redirect_of_the_store_is_not_followed_and_its_target_is_logged() {
    let store = store(|_| ResponseTemplate::new(308).insert_header("location", "/elsewhere?token=hunter2")).await;
    let outcome = forward(&store, BatchConfig::default()).send("a", message("up")).await;
    let StoreOutcome::Unavailable { status, cause, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(status, Some(StatusCode::PERMANENT_REDIRECT));
    let target = format!("{}/elsewhere", store.uri());
    assert_eq!(&*cause, format!("it answered 308 (a redirect to {target}, which is not followed)"));
    assert_eq!(store.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_slow_name_server_is_no_lasting_outage() {
    let store = store(|_| ResponseTemplate::new(200)).await;
    let address = *store.address();
    let resolver = Resolver::new(move |_, _| async move {
        tokio::time::sleep(Duration::from_millis(700)).await;
        Ok(vec![address])
    });
    let connection_wait = Duration::from_millis(250);
    let outbound =
        Outbound::new(OutboundConfig { resolver, connection_wait, ..OutboundConfig::new("forward") }, None).unwrap();
    let url = "http://store.test/write".parse().unwrap();
    let forward =
        Forward::new(url, None, outbound, None, BatchConfig::default(), Negotiation::fixed(Protocol::V1)).unwrap();
    let first = forward.send("a", message("up")).await;
    let StoreOutcome::Unavailable { cause, .. } = first else { panic!("{first:?}") };
    assert!(cause.contains("still looking up store.test, which goes on"), "{cause}");
    let mut tries = 0;
    while !matches!(forward.send("a", message("up")).await, StoreOutcome::Accepted(_)) {
        tries += 1;
        assert!(tries < 50, "the store is never reached");
    }
}

#[tokio::test]
async fn a_slow_store_is_given_up_at_the_deadline() {
    let store = store(|_| ResponseTemplate::new(200).set_delay(Duration::from_secs(60))).await;
    let started = Instant::now();
    let outcome = forward(&store, BatchConfig::default()).send("a", message("up")).await;
    assert!(matches!(outcome, StoreOutcome::Unavailable { status: None, .. }));
    assert!(started.elapsed() >= DEADLINE && started.elapsed() < 2 * DEADLINE, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_caller_that_waits_too_long_is_answered_so() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = served.clone();
    let store = store(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        ResponseTemplate::new(200).set_delay(Duration::from_secs(60))
    })
    .await;
    let forward =
        forward(&store, BatchConfig { linger: Duration::ZERO, max_bytes: 1, permits: 1, ..BatchConfig::default() });
    let sends = (0..5).map(|_| {
        let forward = forward.clone();
        tokio::spawn(async move { forward.send("a", message("up")).await })
    });
    for send in futures_util::future::join_all(sends).await {
        assert!(matches!(send.unwrap(), StoreOutcome::Unavailable { status: None, .. }));
    }
    assert_eq!(served.load(Ordering::Relaxed), 1, "those behind the first were not sent any more");
}
