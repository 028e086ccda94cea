//! The caps: exactly the cap is within it, one more is refused, and nothing is believed that a header says.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use futures_util::stream;
use prost::Message as _;
use support::{CLUSTER, CallerAnswer, NOW_MS, SOON, TestServer, body};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The same bytes without a `Content-Length`, in pieces.
fn chunked(bytes: &[u8]) -> reqwest::Body {
    let pieces: Vec<_> =
        bytes.chunks(100).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    reqwest::Body::wrap_stream(stream::iter(pieces))
}

/// A good upload of exactly this many bytes.
fn text_of(len: usize) -> Vec<u8> {
    let mut text = body::text(&["up,_id=c1 1@0"]);
    text.extend(b"# ");
    text.resize(len - 1, b'x');
    text.push(b'\n');
    text
}

#[track_caller]
fn told(told: &CallerAnswer, status: u16, what: &str) {
    assert_eq!(told.status, status, "{what}: {told:?}");
    assert!(status != 413 || told.body.contains(" bytes"), "{what}: the cap is named: {told:?}");
}

#[tokio::test]
async fn an_upload_may_be_exactly_its_cap() {
    let world = TestServer::with(|config| config.limit_bytes = 1000).await;
    let token = world.token(CLUSTER).await;
    for (len, status) in [(1000, 200), (1001, 413), (5000, 413)] {
        let text = text_of(len);
        assert_eq!(text.len(), len);
        let upload = |body: reqwest::Body| world.upload_of(&token, body::TEXT, body);
        told(&world.send(upload(text.clone().into())).await, status, "with a Content-Length");
        told(&world.send(upload(chunked(&text))).await, status, "in chunks");
        let framed = body::framed(&text);
        assert!(framed.len() < 1000);
        let snappy = |body: reqwest::Body| upload(body).header("content-encoding", "snappy");
        told(&world.send(snappy(framed.clone().into())).await, status, "decompressed");
        told(&world.send(snappy(chunked(&framed))).await, status, "decompressed, in chunks");
    }
    let stored = world.stored();
    assert_eq!(stored, ["up,_id=c1 1@0"; 4], "each that passed was sent");
}

#[tokio::test]
async fn a_remote_write_request_may_be_exactly_its_cap() {
    // Text that snappy cannot make shorter.
    let noise: String =
        (0..400_u32).map(|at| char::from(b'!' + (at.wrapping_mul(2_654_435_761) >> 24) as u8 % 90)).collect();
    let noise = noise.replace([',', ' ', '=', '@'], "x");
    let series = format!("up,_id=c1,noise={noise} 1@0");
    let compressed = body::block(&body::write_request(&[&series]));
    for (cap, status) in [(compressed.len(), 200), (compressed.len() - 1, 413)] {
        let world = TestServer::with(|config| config.limit_receive_bytes = cap).await;
        told(&world.send(world.receive_of(CLUSTER, compressed.clone())).await, status, "with a Content-Length");
        told(&world.send(world.receive_of(CLUSTER, chunked(&compressed))).await, status, "in chunks");
        let limited = if status == 413 { 2.0 } else { 0.0 };
        assert_eq!(world.metric("telemeter_receive_size_limited_total").await, limited);
    }

    let cap = 500;
    let plain_of = |len: usize| {
        let plain = |pad: usize| body::write_request(&[&format!("up,_id=c1,pad={} 1@0", "x".repeat(pad))]);
        (0..len).map(|less| plain(len - less)).find(|plain| plain.len() == len).unwrap()
    };
    let world = TestServer::with(|config| config.limit_receive_bytes = cap).await;
    for (len, status) in [(16 * cap, 200), (16 * cap + 1, 413)] {
        let block = body::block(&plain_of(len));
        assert!(block.len() < cap);
        told(&world.send(world.receive_of(CLUSTER, block.clone())).await, status, "decompressed");
        told(&world.send(world.receive_of(CLUSTER, chunked(&block))).await, status, "decompressed, in chunks");
    }
    assert_eq!(world.metric("telemeter_receive_size_limited_total").await, 2.0);
}

#[tokio::test]
async fn a_snappy_header_is_not_believed() {
    let world = TestServer::new().await;
    for (header, status) in [
        (&[0xff, 0xff, 0xff, 0xff, 0x0f, 0][..], 413),
        (&[0x80, 0x80, 0x40, 0], 400),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 400),
        (&[0x05, 0x00], 400),
    ] {
        told(&world.send(world.receive_of(CLUSTER, header.to_vec())).await, status, &format!("{header:x?}"));
    }
    let token = world.token(CLUSTER).await;
    let lying = [&b"\xff\x06\x00\x00sNaPpY\x00\x09\x00\x00\0\0\0\0"[..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let request = world.upload_of(&token, body::TEXT, lying).header("content-encoding", "snappy");
    assert!([400, 413].contains(&world.send(request).await.status));
}

/// Sends these lines as they are, and reads what is answered until the server closes or pauses for long.
async fn raw(world: &TestServer, request: String) -> String {
    let mut stream = TcpStream::connect(world.server.external()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(SOON, stream.read(&mut answer)).await.expect("an answer soon").unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn a_content_length_is_enough_to_be_refused() {
    let world = TestServer::new().await;
    let token = world.token(CLUSTER).await;
    let composite = support::composite(CLUSTER);
    for (path, token, format) in
        [("/upload", &token, body::TEXT), ("/metrics/v1/receive", &composite, "application/x-protobuf")]
    {
        let answer = raw(
            &world,
            format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: {format}\r\n\
                 content-length: 99999999999\r\n\r\n"
            ),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_harms_nobody() {
    let world = TestServer::new().await;
    let token = world.token(CLUSTER).await;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(world.server.external()).await.unwrap();
        let head = format!(
            "POST /upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: text/plain\r\n\
             content-length: 500\r\n\r\nup"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
    }
    told(&world.upload(&token, &["up,_id=c1 1@0"]).await, 200, "another");
    assert_eq!(world.stored(), ["up,_id=c1 1@0"]);
}

#[tokio::test]
async fn caps_on_labels() {
    let labels = |count: usize| (2..count).map(|at| format!(",l{at}=v")).collect::<String>();
    let world = TestServer::new().await;
    let token = world.token(CLUSTER).await;
    for (series, what) in [
        (format!("up,_id=c1{} 1@0", labels(128)), None),
        (format!("up,_id=c1{} 1@0", labels(129)), Some("128 labels in one series")),
        (format!("up,_id=c1,{}=v 1@0", "n".repeat(1024)), None),
        (format!("up,_id=c1,{}=v 1@0", "n".repeat(1025)), Some("1024 bytes in a label name")),
        (format!("up,_id=c1,l={} 1@0", "v".repeat(16 * 1024)), None),
        (format!("up,_id=c1,l={} 1@0", "v".repeat(16 * 1024 + 1)), Some("16384 bytes in a label value")),
    ] {
        let series = [&*series];
        let answers = [
            world.upload(&token, &series).await,
            world.upload_delimited(&token, &series).await,
            world.receive(CLUSTER, &series).await,
        ];
        for answer in answers {
            told(&answer, if what.is_some() { 400 } else { 200 }, &series[0][..40]);
            assert!(what.is_none_or(|what| answer.body.contains(what)), "{what:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn caps_on_series() {
    let world = TestServer::with(|config| {
        config.limit_bytes = 8 << 20;
        config.limit_receive_bytes = 8 << 20;
        // Nothing is to be sent: only the decoders are asked.
        config.rules.whitelist = vec!["nothing".to_owned()];
    })
    .await;
    let token = world.token(CLUSTER).await;
    let line = format!("up{{_id=\"c1\"}} 1 {NOW_MS}\n");
    let series = body::write_request(&["up,_id=c1 1@0"]);
    for (count, status) in [(100_000, 200), (100_001, 400)] {
        let upload = world.send(world.upload_of(&token, body::TEXT, line.repeat(count))).await;
        let receive = world.send(world.receive_of(CLUSTER, body::block(&series.repeat(count)))).await;
        for answer in [upload, receive] {
            told(&answer, status, "series");
            assert!(status == 200 || answer.body.contains("100000 series"), "{answer:?}");
        }
    }
    let mut wide = body::time_series("up,_id=c1 1@0");
    wide.labels.extend((0..98).map(|at| body::Label { name: format!("l{at}"), value: String::new() }));
    let wide = body::WriteRequest { timeseries: vec![wide], metadata: Vec::new() }.encode_to_vec();
    for (count, status) in [(10_000, 200), (10_001, 400)] {
        let answer = world.send(world.receive_of(CLUSTER, body::block(&wide.repeat(count)))).await;
        told(&answer, status, "labels");
        assert!(status == 200 || answer.body.contains("1000000 labels"), "{answer:?}");
    }
}
