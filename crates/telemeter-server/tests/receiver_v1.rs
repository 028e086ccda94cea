//! Remote write 1.0 at `/metrics/v1/receive`: what the specification requires of a receiver, each rule with its section.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.
#![allow(clippy::unwrap_used)]

mod support;

use support::{CLUSTER, TestServer, body, fake::FakeAnswer};

const SERIES: [&str; 2] = ["up,_id=c1,job=a 1@0", "up,_id=c1,job=b 1@-1000 2@0"];

/// "Protocol": a POST of a message in snappy's block format, never the framed one, with the headers that a sender has to send. The
/// body of success is empty.
#[tokio::test]
async fn a_request_of_the_specification_is_taken() {
    let server = TestServer::new().await;
    let message = body::write_request(&SERIES);
    let request = server.receive_of(CLUSTER, body::block(&message)).header("content-type", "application/x-protobuf");
    let request = request.header("content-encoding", "snappy").header("user-agent", "Prometheus/2.42.0");
    let answer = server.send(request.header("x-prometheus-remote-write-version", "0.1.0")).await;
    assert_eq!((answer.status, &*answer.body), (200, ""), "{answer:?}");
    assert_eq!(server.stored(), SERIES);
    for (body, reason) in [
        (body::framed(&message), "not valid snappy"),
        (message.clone(), "not valid snappy"),
        (body::block(b"no message"), "not valid protobuf"),
    ] {
        let answer = server.send(server.receive_of(CLUSTER, body)).await;
        assert_eq!(answer.status, 400, "{reason}: {answer:?}");
        assert!(answer.body.contains(reason), "{reason}: {answer:?}");
    }
    let get = server.outbound.http().get(server.external("/metrics/v1/receive"));
    assert_eq!(server.send(get).await.status, 405);
    assert_eq!(server.stored(), [""; 0]);
}

/// "Backward and forward compatibility": any sender of 1.x is read: with another version, and with fields that 1.0 has not.
#[tokio::test]
async fn any_sender_of_1_x_is_read() {
    let server = TestServer::new().await;
    // A field of number 99 in the request, in the series, and in the sample.
    let unknown = [0x98, 0x06, 7];
    let sample = [&[0x09][..], &1.0_f64.to_le_bytes(), &[0x10, 5], &unknown].concat();
    let labels = body::write_request(&["up,_id=c1"]);
    let labels = &labels[2..];
    let series = [labels, &[0x12, u8::try_from(sample.len()).unwrap()], &sample, &unknown].concat();
    let message = [&[0x0a, u8::try_from(series.len()).unwrap()], &series[..], &unknown].concat();
    for version in ["0.1.0", "1.0.0", "1.7.0"] {
        let request = server.receive_of(CLUSTER, body::block(&message));
        let answer = server.send(request.header("x-prometheus-remote-write-version", version)).await;
        assert_eq!(answer.status, 200, "{version}: {answer:?}");
        let stored = body::of_block(&server.store.take()[0].body);
        assert_eq!(stored[0].samples, [body::Sample { value: 1.0, timestamp: 5 }], "{version}");
    }
}

/// "Labels": 400 for a request with any series that is not valid, with a line that says why. Order is ours to mend, and an empty
/// value is as no label.
#[tokio::test]
async fn what_is_not_valid_is_400_and_named() {
    let server = TestServer::new().await;
    for (series, reason) in [
        ("up,_id=c1,job=a,job=b 1@0", "duplicate label \"job\""),
        ("_id=c1,job=a 1@0", "name"),
        ("up,_id=c2 1@0", "\"_id\""),
        ("up,_id=c1 1@600001", "over 10 minutes ahead"),
    ] {
        let answer = server.receive(CLUSTER, &[SERIES[0], series]).await;
        assert_eq!(answer.status, 400, "{series}: {answer:?}");
        assert!(answer.body.contains(reason), "{series}: {answer:?}");
    }
    let mut message = body::write_request(&["up,_id=c1,job=abc 1@0"]);
    let at = message.windows(3).position(|bytes| bytes == b"abc").unwrap();
    message[at] = 0xff;
    let answer = server.send(server.receive_of(CLUSTER, body::block(&message))).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("UTF-8"), "{answer:?}");
    assert_eq!(server.stored(), [""; 0], "nothing of them was stored");
    assert_eq!(server.receive(CLUSTER, &["z=z,up,_id=c1,a=,b=b 1@0"]).await.status, 200);
    assert_eq!(server.stored(), ["up,_id=c1,b=b,z=z 1@0"]);
}

/// "Retries & Backoff": 2xx for success, 5xx for what may succeed later, 4xx for what never will. "Stale Markers" are samples as
/// others.
#[tokio::test]
async fn the_status_says_whether_to_send_it_again() {
    let server = TestServer::new().await;
    for (store, expected) in [
        (FakeAnswer::of(200), 200),
        (FakeAnswer::of(204), 204),
        (FakeAnswer::of(500), 503),
        (FakeAnswer::of(503), 503),
        (FakeAnswer::of(429), 503),
        (FakeAnswer::of(401), 503),
        (FakeAnswer::of(400), 400),
        (FakeAnswer::of(409), 409),
    ] {
        server.store.answers(store.clone());
        let answer = server.receive(CLUSTER, &SERIES).await;
        assert_eq!(answer.status, expected, "{store:?}: {answer:?}");
        assert_eq!(answer.header("retry-after").is_some(), expected == 503, "{store:?}: {answer:?}");
    }
    server.store.answers(FakeAnswer::of(200));
    server.store.take();
    let mut series = body::time_series("up,_id=c1 1@0");
    series.samples[0].value = f64::from_bits(0x7ff0_0000_0000_0002);
    let request = body::WriteRequest { timeseries: vec![series], metadata: Vec::new() };
    let block = body::block(&prost::Message::encode_to_vec(&request));
    assert_eq!(server.send(server.receive_of(CLUSTER, block.clone())).await.status, 200);
    assert_eq!(server.store.take()[0].body, block);
}
