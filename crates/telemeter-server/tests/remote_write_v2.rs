//! Remote write 2.0 at `/metrics/v1/receive`: what the specification asks of a receiver, each with the section that it stands
//! in. What goes to the store is 1.0.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.
#![allow(clippy::unwrap_used)]

mod support;

use support::{
    CLUSTER, CallerAnswer, NOW_MS, TestServer, body,
    body_v2::{self, Metadata, Request},
    fake::FakeAnswer,
};

const SERIES: [&str; 3] = ["up,_id=c1,job=a 1@0", "up,_id=c1,job=b 1@-1000 2@0", "cluster_version,_id=c1 1@0"];

/// What an answer says was written: samples, histograms, exemplars.
fn written(told: &CallerAnswer) -> Option<[u64; 3]> {
    let count = |what: &str| {
        let header = told.header(&format!("x-prometheus-remote-write-{what}-written"))?;
        Some(header.parse().unwrap_or_else(|_| panic!("{header} is one number")))
    };
    match ["samples", "histograms", "exemplars"].map(count) {
        [Some(samples), Some(histograms), Some(exemplars)] => Some([samples, histograms, exemplars]),
        [None, None, None] => None,
        some => panic!("all three headers or none: {some:?}"),
    }
}

#[track_caller]
fn check(told: &CallerAnswer, status: u16, counts: [u64; 3], what: &str) {
    assert_eq!((told.status, written(told)), (status, Some(counts)), "{what}: {told:?}");
}

/// "Response": success is 2xx, better 204, without a body. "Required Written Response Headers": how many of each.
#[tokio::test]
async fn what_the_store_took_is_204_and_counted() {
    let world = TestServer::new().await;
    let told = world.receive_v2(CLUSTER, &Request::of(&SERIES)).await;
    check(&told, 204, [4, 0, 0], "samples");
    assert_eq!(told.body, "");
    let mut expected = SERIES.to_vec();
    expected[2] = "cluster_version,_id=c1 1@0";
    assert_eq!(world.stored(), expected);

    let histogram = body::Histogram {
        count: 3,
        sum: 2.5,
        schema: 3,
        positive_deltas: vec![1, 2],
        timestamp: NOW_MS,
        ..body::Histogram::default()
    };
    let exemplar = body::Exemplar {
        labels: vec![body::Label { name: "trace_id".to_owned(), value: "x".to_owned() }],
        value: 0.5,
        timestamp: NOW_MS,
    };
    let mut series = body::time_series("request_seconds,_id=c1");
    series.histograms = vec![histogram.clone()];
    series.exemplars = vec![exemplar.clone(), exemplar.clone()];
    let mut request = Request::new();
    request.push(&series);
    check(&world.receive_v2(CLUSTER, &request).await, 204, [0, 1, 2], "a histogram and exemplars");
    let stored: Vec<_> = world.store.take().iter().flat_map(|request| body::of_block(&request.body)).collect();
    assert_eq!(stored, [series]);
}

/// "Content-Type": the header alone says which message it is, and without it it is 1.0. A 1.0 request is answered as ever.
#[tokio::test]
async fn the_content_type_chooses_the_message() {
    let world = TestServer::new().await;
    let told = world.receive(CLUSTER, &SERIES).await;
    assert_eq!((told.status, written(&told)), (200, None), "1.0: {told:?}");
    let one = body::block(&body::write_request(&SERIES));
    let told =
        world.send(world.receive_of(CLUSTER, one.clone()).header("content-type", "application/x-protobuf")).await;
    assert_eq!((told.status, written(&told)), (200, None), "1.0 named: {told:?}");
    assert_eq!(world.stored().len(), 2 * SERIES.len());
    // The version header changes nothing.
    let told =
        world.send(world.receive_of(CLUSTER, one.clone()).header("x-prometheus-remote-write-version", "2.0.0")).await;
    assert_eq!((told.status, written(&told)), (200, None), "1.0 with the version of 2.0: {told:?}");
    // The wrong message is not taken for an empty one.
    check(&world.send(world.receive_v2_of(CLUSTER, one)).await, 400, [0; 3], "1.0 sent as 2.0");
    let two = Request::of(&SERIES).block();
    let told = world.send(world.receive_of(CLUSTER, two).header("content-type", "application/x-protobuf")).await;
    assert_eq!(told.status, 200, "2.0 sent as 1.0 is an empty message, as the specification has it: {told:?}");
}

/// "Unsupported Request Content": 415 for any other Content-Type or Content-Encoding.
#[tokio::test]
async fn other_content_is_415() {
    let world = TestServer::new().await;
    let block = Request::of(&SERIES).block();
    let send = |content_type: &'static str, encoding: &'static str| {
        let request = world.receive_of(CLUSTER, block.clone()).header("content-type", content_type);
        world.send(request.header("content-encoding", encoding))
    };
    for content_type in ["application/json", "image/png", "application/x-protobuf;proto=io.prometheus.write.v3.Request"]
    {
        let told = send(content_type, "snappy").await;
        assert_eq!((told.status, written(&told)), (415, None), "{content_type}: {told:?}");
    }
    for encoding in ["gzip", "deflate", "zstd"] {
        let told = send(body_v2::CONTENT_TYPE, encoding).await;
        assert_eq!(told.status, 415, "{encoding}: {told:?}");
    }
}

/// "Protocol": snappy's block format, never the framed one. "Invalid Samples": 400 for what can never be written, with a line
/// that says why ("Response"), and nothing was written.
#[tokio::test]
async fn what_is_not_valid_is_400_and_named() {
    let world = TestServer::new().await;
    let refused = async |body: Vec<u8>, reason: &str| {
        let told = world.send(world.receive_v2_of(CLUSTER, body)).await;
        check(&told, 400, [0; 3], reason);
        assert!(told.body.contains(reason), "{reason}: {told:?}");
    };
    let request = Request::of(&SERIES);
    refused(body::framed(&prost::Message::encode_to_vec(&request)), "not valid snappy").await;
    refused(b"0".to_vec(), "not valid snappy").await;
    refused(body::block(b"no message"), "not valid protobuf").await;
    let changed = |change: fn(&mut Request)| {
        let mut request = Request::of(&SERIES);
        change(&mut request);
        request.block()
    };
    // "Symbols".
    refused(changed(|request| request.symbols[0] = "up".to_owned()), "the first symbol is \"up\"").await;
    refused(changed(|request| request.symbols.truncate(1)), "series 0 has the reference").await;
    refused(changed(|request| request.timeseries[1].labels_refs[1] = 99), "series 1 has the reference 99").await;
    refused(changed(|request| request.timeseries[1].labels_refs.truncate(5)), "series 1 has 5 references").await;
    // "Series Labels". Order is ours to mend, and an empty value is as no label.
    let labels = |labels: &str| Request::of(&[labels]).block();
    refused(labels("up,_id=c1,job=a,job=b 1@0"), "\"job\"").await;
    refused(labels("_id=c1,job=a 1@0"), "name").await;
    assert_eq!(world.stored(), [""; 0], "nothing of them was stored");
    let told = world.send(world.receive_v2_of(CLUSTER, labels("z=z,up,_id=c1,a=,b=b 1@0"))).await;
    check(&told, 204, [1, 0, 0], "unsorted");
    assert_eq!(world.stored(), ["up,_id=c1,b=b,z=z 1@0"]);
}

/// The cluster's identity is held as in 1.0.
#[tokio::test]
async fn nobody_writes_under_another_name() {
    let world = TestServer::new().await;
    for series in ["up,_id=c2 1@0", "up 1@0", "up,_id= 1@0"] {
        check(&world.receive_v2(CLUSTER, &Request::of(&[series])).await, 400, [0; 3], series);
    }
    // One bad series refuses the request.
    check(&world.receive_v2(CLUSTER, &Request::of(&[SERIES[0], "up,_id=c2 1@0"])).await, 400, [0; 3], "one of two");
    assert_eq!(world.stored(), [""; 0]);
}

/// "Required Written Response Headers": also where nothing was written, whoever says so. "Retries & Backoff": 5xx for what may
/// succeed later.
#[tokio::test]
async fn every_answer_to_2_0_says_what_was_written() {
    let world = TestServer::new().await;
    let request = Request::of(&SERIES);
    for (store, status) in [(503, 503), (500, 503), (429, 503), (401, 503), (400, 400), (413, 413)] {
        world.store.answers(FakeAnswer::of(store));
        check(&world.receive_v2(CLUSTER, &request).await, status, [0; 3], "the store");
    }
    world.authority.answers(FakeAnswer::of(401));
    check(&world.receive_v2("c3", &request).await, 401, [0; 3], "the authority");
    let unknown = world.post("/metrics/v1/receive").header("content-type", body_v2::CONTENT_TYPE).body("");
    check(&world.send(unknown).await, 401, [0; 3], "no token");
    let get = world.outbound.http().get(world.external("/metrics/v1/receive"));
    check(&world.send(get.header("content-type", body_v2::CONTENT_TYPE)).await, 405, [0; 3], "another method");
    let large = TestServer::with(|config| config.limit_receive_bytes = 10).await;
    check(&large.receive_v2(CLUSTER, &request).await, 413, [0; 3], "too large");
}

/// What the whitelist leaves out counts as written, or a sender would count it as lost.
#[tokio::test]
async fn what_the_rules_leave_out_counts_as_written() {
    let world = TestServer::with(|config| config.rules.whitelist = vec!["cluster_version".to_owned()]).await;
    check(&world.receive_v2(CLUSTER, &Request::of(&SERIES)).await, 204, [4, 0, 0], "one of three passes");
    assert_eq!(world.stored(), [SERIES[2]]);
    check(&world.receive_v2(CLUSTER, &Request::of(&SERIES[..2])).await, 204, [3, 0, 0], "none passes");
    check(&world.receive_v2(CLUSTER, &Request::new()).await, 204, [0; 3], "nothing was sent");
    assert!(world.store.take().is_empty(), "the store is not asked");
}

/// "Metadata": fields that 1.0 has no place for are left out, and counted. "Samples and Histogram Samples": a start timestamp
/// of zero is none.
#[tokio::test]
async fn metadata_and_start_timestamps_are_left_out_and_counted() {
    let world = TestServer::new().await;
    let mut request = Request::of(&SERIES[..2]);
    let help_ref = request.symbol("Whether it is up.");
    request.timeseries[0].metadata = Some(Metadata { kind: 2, help_ref, unit_ref: 0 });
    request.timeseries[0].samples[0].start_timestamp = NOW_MS - 5000;
    request.timeseries[1].created_timestamp = NOW_MS - 5000;
    check(&world.receive_v2(CLUSTER, &request).await, 204, [3, 0, 0], "samples");
    assert_eq!(world.stored(), SERIES[..2]);
    let metrics = world.scrape().await;
    for line in [
        "telemeter_receive_metadata_requests_total 1",
        "telemeter_receive_start_timestamps_dropped_total 2",
        "telemeter_receive_series_processed_total 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
    // Prometheus sends metadata in a series without samples.
    let mut request = Request::of(&["up,_id=c1"]);
    request.timeseries[0].metadata = Some(Metadata { kind: 2, help_ref: 0, unit_ref: 0 });
    check(&world.receive_v2(CLUSTER, &request).await, 204, [0; 3], "metadata alone");
}

/// A short message can refer to one long text again and again: what it then takes is held to a cap, before it is taken.
#[tokio::test]
async fn texts_count_as_often_as_they_are_referenced() {
    let world = TestServer::with(|config| config.limit_receive_bytes = 64 << 10).await;
    let long = |count: usize| {
        let series = format!("up,_id=c1,long={} 1@0", "x".repeat(10_000));
        Request::of(&vec![&*series; count])
    };
    // More than is usual, within the cap of 16 times 64 KiB: taken at the second try.
    let told = world.receive_v2(CLUSTER, &long(100)).await;
    check(&told, 204, [100, 0, 0], "a megabyte of text");
    assert_eq!(world.stored().len(), 100);
    let told = world.receive_v2(CLUSTER, &long(110)).await;
    check(&told, 400, [0; 3], "more than the cap");
    assert!(told.body.contains("over the limit of 1048576 bytes in all labels"), "{told:?}");
}
