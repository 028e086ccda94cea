//! Tests how the client ends.

use std::{sync::Arc, time::Duration};

use telemeter_client::{BoundClient, Observer};
use telemeter_http::clock::Clock;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::method};

use super::{
    RunningClient, TEXT,
    fake::{FakeTelemeter, NOW_MS, seen},
    quick,
};

#[tokio::test]
async fn it_ends_within_a_second_in_the_middle_of_a_request() {
    let from = MockServer::start().await;
    let late = ResponseTemplate::new(200).set_body_raw("up 1\n", TEXT).set_delay(Duration::from_secs(10));
    Mock::given(method("GET")).respond_with(late).mount(&from).await;
    let to = FakeTelemeter::default().start().await;
    let client = RunningClient::start(quick(&from, &to)).await;
    while seen(&from, "/federate").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A request for a profile that takes 30 s does not delay the end either.
    let profile = client.url("/debug/pprof/profile?seconds=30");
    let asking =
        tokio::spawn(async move { reqwest::Client::builder().build().expect("a client").get(profile).send().await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let took = client.end().await;
    assert!(took < Duration::from_secs(1), "it took {took:?}");
    asking.abort();
}

#[tokio::test]
async fn a_panic_in_the_loop_ends_the_program() {
    let observer: Observer = Arc::new(|_| panic!("no more"));
    let (from, to) = (MockServer::start().await, MockServer::start().await);
    let config = quick(&from, &to);
    let client =
        BoundClient::bind(config, Clock::fixed(NOW_MS).0).await.expect("set up").observe(observer).start_immediately();
    let ended = tokio::time::timeout(Duration::from_secs(20), tokio::spawn(client.serve(std::future::pending()))).await;
    assert!(ended.expect("in time").expect_err("a panic").is_panic());
}
