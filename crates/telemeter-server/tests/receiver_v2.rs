//! Remote write 2.0 at `/metrics/v1/receive`: what the specification requires of a receiver, each rule with its section. What goes to the store is 1.0.
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
fn written(answer: &CallerAnswer) -> Option<[u64; 3]> {
    let count = |what: &str| {
        let header = answer.header(&format!("x-prometheus-remote-write-{what}-written"))?;
        Some(header.parse().unwrap_or_else(|_| panic!("{header} is one number")))
    };
    match ["samples", "histograms", "exemplars"].map(count) {
        [Some(samples), Some(histograms), Some(exemplars)] => Some([samples, histograms, exemplars]),
        [None, None, None] => None,
        some => panic!("all three headers or none: {some:?}"),
    }
}

#[track_caller]
fn check(answer: &CallerAnswer, status: u16, counts: [u64; 3], what: &str) {
    assert_eq!((answer.status, written(answer)), (status, Some(counts)), "{what}: {answer:?}");
}

/// "Response": success is 2xx, better 204, without a body. "Required Written Response Headers": how many of each.
#[tokio::test]
async fn what_the_store_took_is_204_and_counted() {
    let server = TestServer::new().await;
    let answer = server.receive_v2(CLUSTER, &Request::of(&SERIES)).await;
    check(&answer, 204, [4, 0, 0], "samples");
    assert_eq!(answer.body, "");
    let mut expected = SERIES.to_vec();
    expected[2] = "cluster_version,_id=c1 1@0";
    assert_eq!(server.stored(), expected);

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
    check(&server.receive_v2(CLUSTER, &request).await, 204, [0, 1, 2], "a histogram and exemplars");
    let stored: Vec<_> = server.store.take().iter().flat_map(|request| body::of_block(&request.body)).collect();
    assert_eq!(stored, [series]);
}

/// "Content-Type": the header alone says which message it is, and without it it is 1.0. A 1.0 request is answered as ever.
#[tokio::test]
async fn the_content_type_chooses_the_message() {
    let server = TestServer::new().await;
    let answer = server.receive(CLUSTER, &SERIES).await;
    assert_eq!((answer.status, written(&answer)), (200, None), "1.0: {answer:?}");
    let one = body::block(&body::write_request(&SERIES));
    let answer =
        server.send(server.receive_of(CLUSTER, one.clone()).header("content-type", "application/x-protobuf")).await;
    assert_eq!((answer.status, written(&answer)), (200, None), "1.0 named: {answer:?}");
    assert_eq!(server.stored().len(), 2 * SERIES.len());
    // The version header changes nothing.
    let answer =
        server.send(server.receive_of(CLUSTER, one.clone()).header("x-prometheus-remote-write-version", "2.0.0")).await;
    assert_eq!((answer.status, written(&answer)), (200, None), "1.0 with the version of 2.0: {answer:?}");
    // The wrong message is not taken for an empty one.
    check(&server.send(server.receive_v2_of(CLUSTER, one)).await, 400, [0; 3], "1.0 sent as 2.0");
    let two = Request::of(&SERIES).block();
    let answer = server.send(server.receive_of(CLUSTER, two).header("content-type", "application/x-protobuf")).await;
    assert_eq!(answer.status, 200, "2.0 sent as 1.0 is an empty message, as the specification has it: {answer:?}");
}

/// "Unsupported Request Content": 415 for any other Content-Type or Content-Encoding.
#[tokio::test]
async fn other_content_is_415() {
    let server = TestServer::new().await;
    let block = Request::of(&SERIES).block();
    let send = |content_type: &'static str, encoding: &'static str| {
        let request = server.receive_of(CLUSTER, block.clone()).header("content-type", content_type);
        server.send(request.header("content-encoding", encoding))
    };
    for content_type in ["application/json", "image/png", "application/x-protobuf;proto=io.prometheus.write.v3.Request"]
    {
        let answer = send(content_type, "snappy").await;
        assert_eq!((answer.status, written(&answer)), (415, None), "{content_type}: {answer:?}");
    }
    for encoding in ["gzip", "deflate", "zstd"] {
        let answer = send(body_v2::CONTENT_TYPE, encoding).await;
        assert_eq!(answer.status, 415, "{encoding}: {answer:?}");
    }
}

/// "Protocol": snappy's block format, never the framed one. "Invalid Samples": 400 for what can never be written, with a line
/// that says why ("Response"), and nothing was written.
#[tokio::test]
async fn what_is_not_valid_is_400_and_named() {
    let server = TestServer::new().await;
    let refused = async |body: Vec<u8>, reason: &str| {
        let answer = server.send(server.receive_v2_of(CLUSTER, body)).await;
        check(&answer, 400, [0; 3], reason);
        assert!(answer.body.contains(reason), "{reason}: {answer:?}");
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
    assert_eq!(server.stored(), [""; 0], "nothing of them was stored");
    let answer = server.send(server.receive_v2_of(CLUSTER, labels("z=z,up,_id=c1,a=,b=b 1@0"))).await;
    check(&answer, 204, [1, 0, 0], "unsorted");
    assert_eq!(server.stored(), ["up,_id=c1,b=b,z=z 1@0"]);
}

/// The cluster's identity is checked as in 1.0.
#[tokio::test]
async fn no_cluster_writes_under_another_name() {
    let server = TestServer::new().await;
    for series in ["up,_id=c2 1@0", "up 1@0", "up,_id= 1@0"] {
        check(&server.receive_v2(CLUSTER, &Request::of(&[series])).await, 400, [0; 3], series);
    }
    // One invalid series refuses the request.
    check(&server.receive_v2(CLUSTER, &Request::of(&[SERIES[0], "up,_id=c2 1@0"])).await, 400, [0; 3], "one of two");
    assert_eq!(server.stored(), [""; 0]);
}

/// "Required Written Response Headers": also where nothing was written, whatever the reason. "Retries & Backoff": 5xx for what may
/// succeed later.
#[tokio::test]
async fn every_answer_to_2_0_says_what_was_written() {
    let server = TestServer::new().await;
    let request = Request::of(&SERIES);
    for (store, status) in [(503, 503), (500, 503), (429, 503), (401, 503), (400, 400), (413, 413)] {
        server.store.answers(FakeAnswer::of(store));
        check(&server.receive_v2(CLUSTER, &request).await, status, [0; 3], "the store");
    }
    server.authority.answers(FakeAnswer::of(401));
    check(&server.receive_v2("c3", &request).await, 401, [0; 3], "the authority");
    let unknown = server.post("/metrics/v1/receive").header("content-type", body_v2::CONTENT_TYPE).body("");
    check(&server.send(unknown).await, 401, [0; 3], "no token");
    let get = server.outbound.http().get(server.external("/metrics/v1/receive"));
    check(&server.send(get.header("content-type", body_v2::CONTENT_TYPE)).await, 405, [0; 3], "another method");
    let large = TestServer::with(|config| config.limit_receive_bytes = 10).await;
    check(&large.receive_v2(CLUSTER, &request).await, 413, [0; 3], "too large");
}

/// What the whitelist leaves out counts as written, or a sender would count it as lost.
#[tokio::test]
async fn what_the_rules_leave_out_counts_as_written() {
    let server = TestServer::with(|config| config.rules.whitelist = vec!["cluster_version".to_owned()]).await;
    check(&server.receive_v2(CLUSTER, &Request::of(&SERIES)).await, 204, [4, 0, 0], "one of three passes");
    assert_eq!(server.stored(), [SERIES[2]]);
    check(&server.receive_v2(CLUSTER, &Request::of(&SERIES[..2])).await, 204, [3, 0, 0], "none passes");
    check(&server.receive_v2(CLUSTER, &Request::new()).await, 204, [0; 3], "nothing was sent");
    assert!(server.store.take().is_empty(), "the store is not asked");
}

/// "Metadata": fields that 1.0 has no place for are left out, and counted. "Samples and Histogram Samples": a start timestamp
/// of zero is none.
#[tokio::test]
async fn metadata_and_start_timestamps_are_left_out_and_counted() {
    let server = TestServer::new().await;
    let mut request = Request::of(&SERIES[..2]);
    let help_ref = request.symbol("Whether it is up.");
    request.timeseries[0].metadata = Some(Metadata { kind: 2, help_ref, unit_ref: 0 });
    request.timeseries[0].samples[0].start_timestamp = NOW_MS - 5000;
    request.timeseries[1].created_timestamp = NOW_MS - 5000;
    check(&server.receive_v2(CLUSTER, &request).await, 204, [3, 0, 0], "samples");
    assert_eq!(server.stored(), SERIES[..2]);
    let metrics = server.scrape().await;
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
    check(&server.receive_v2(CLUSTER, &request).await, 204, [0; 3], "metadata alone");
}

/// A short message can refer to one long text again and again: the text that it holds in all is capped before it is allocated.
#[tokio::test]
async fn texts_count_as_often_as_they_are_referenced() {
    let server = TestServer::with(|config| config.limit_receive_bytes = 64 << 10).await;
    let long = |count: usize| {
        let series = format!("up,_id=c1,long={} 1@0", "x".repeat(10_000));
        Request::of(&vec![&*series; count])
    };
    // More than is usual, within the cap of 16 times 64 KiB: accepted at the second try.
    let answer = server.receive_v2(CLUSTER, &long(100)).await;
    check(&answer, 204, [100, 0, 0], "a megabyte of text");
    assert_eq!(server.stored().len(), 100);
    let answer = server.receive_v2(CLUSTER, &long(110)).await;
    check(&answer, 400, [0; 3], "more than the cap");
    assert!(answer.body.contains("over the limit of 1048576 bytes in all labels"), "{answer:?}");
}

/// "Backward and Forward Compatibility": any sender of 2.x is read, also with fields that 2.0 has not, in each of its messages.
#[tokio::test]
async fn any_sender_of_2_x_is_read() {
    let server = TestServer::new().await;
    // A field of number 99, with the varint 7; and messages, which are short, as fields.
    let unknown = [0x98, 0x06, 7];
    let field = |number: u8, parts: &[&[u8]]| -> Vec<u8> {
        let message = parts.concat();
        [&[number << 3 | 2, u8::try_from(message.len()).unwrap()], &message[..]].concat()
    };
    let symbols: Vec<u8> =
        ["", "__name__", "up", "_id", CLUSTER].iter().flat_map(|text| field(4, &[text.as_bytes()])).collect();
    let value = [&[0x09][..], &1.0_f64.to_le_bytes()].concat();
    let exemplar_value = [&[0x11][..], &0.5_f64.to_le_bytes()].concat();
    let series = field(
        5,
        &[
            &field(1, &[&[1, 2, 3, 4]]),
            &field(2, &[&value, &[0x10, 5], &unknown]),
            &field(4, &[&exemplar_value, &[0x18, 5], &unknown]),
            &field(5, &[&[0x08, 2], &unknown]),
            &unknown,
        ],
    );
    let block = body::block(&[&symbols[..], &series, &unknown].concat());
    for version in ["2.0.0", "2.1.0", "2.9.3"] {
        let request = server.receive_of(CLUSTER, block.clone()).header("content-type", body_v2::CONTENT_TYPE);
        let answer = server.send(request.header("x-prometheus-remote-write-version", version)).await;
        check(&answer, 204, [1, 0, 1], version);
        let stored = body::of_block(&server.store.take()[0].body);
        assert_eq!(stored[0].samples, [body::Sample { value: 1.0, timestamp: 5 }]);
        assert_eq!(stored[0].exemplars.len(), 1);
    }
}

/// "Protobuf Message": labels MUST be provided. "Series Labels": names and values are any UTF-8, and nothing else.
#[tokio::test]
async fn labels_are_required_and_utf_8() {
    let server = TestServer::new().await;
    let mut request = Request::of(&SERIES);
    request.timeseries[1].labels_refs.clear();
    check(&server.receive_v2(CLUSTER, &request).await, 400, [0; 3], "a series without labels");
    let utf8 = ["http.größe,_id=c1,\u{1f600}=ß 1@0"];
    check(&server.receive_v2(CLUSTER, &Request::of(&utf8)).await, 204, [1, 0, 0], "UTF-8");
    assert_eq!(server.stored(), utf8);
    let mut message = prost::Message::encode_to_vec(&Request::of(&["up,_id=c1,job=abc 1@0"]));
    let at = message.windows(3).position(|bytes| bytes == b"abc").unwrap();
    message[at] = 0xff;
    let answer = server.send(server.receive_v2_of(CLUSTER, body::block(&message))).await;
    check(&answer, 400, [0; 3], "no UTF-8");
    assert!(answer.body.contains("UTF-8"), "{answer:?}");
}

/// "Retries on Partial Writes": a sender may send a request again; it reaches the store as the same one.
#[tokio::test]
async fn a_request_that_is_sent_again_is_the_same() {
    let server = TestServer::new().await;
    let (request, mut sent) = (Request::of(&SERIES), Vec::new());
    for (store, status, counts) in [(503, 503, [0; 3]), (500, 503, [0; 3]), (200, 204, [4, 0, 0])] {
        server.store.answers(FakeAnswer::of(store));
        check(&server.receive_v2(CLUSTER, &request).await, status, counts, "the store");
        sent.push(server.store.take().remove(0).body);
    }
    assert!(sent.iter().all(|body| *body == sent[0]));
}
