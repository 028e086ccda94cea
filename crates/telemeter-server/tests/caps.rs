//! The caps: exactly the cap is within it, one more is refused, and no length in a header is trusted.
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

/// The same body without a `Content-Length`, in chunks.
fn chunked(bytes: &[u8]) -> reqwest::Body {
    let pieces: Vec<_> =
        bytes.chunks(100).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    reqwest::Body::wrap_stream(stream::iter(pieces))
}

/// A valid upload of exactly this many bytes.
fn text_of(len: usize) -> Vec<u8> {
    let mut text = body::text(&["up,_id=c1 1@0"]);
    text.extend(b"# ");
    text.resize(len - 1, b'x');
    text.push(b'\n');
    text
}

#[track_caller]
fn reply(reply: &CallerAnswer, status: u16, what: &str) {
    assert_eq!(reply.status, status, "{what}: {reply:?}");
    assert!(status != 413 || reply.body.contains(" bytes"), "{what}: the cap is named: {reply:?}");
}

#[tokio::test]
async fn an_upload_may_be_exactly_its_cap() {
    let server = TestServer::with(|config| config.limit_bytes = 1000).await;
    let token = server.token(CLUSTER).await;
    for (len, status) in [(1000, 200), (1001, 413), (5000, 413)] {
        let text = text_of(len);
        assert_eq!(text.len(), len);
        let upload = |body: reqwest::Body| server.upload_of(&token, body::TEXT, body);
        reply(&server.send(upload(text.clone().into())).await, status, "with a Content-Length");
        reply(&server.send(upload(chunked(&text))).await, status, "in chunks");
        let framed = body::framed(&text);
        assert!(framed.len() < 1000);
        let snappy = |body: reqwest::Body| upload(body).header("content-encoding", "snappy");
        reply(&server.send(snappy(framed.clone().into())).await, status, "decompressed");
        reply(&server.send(snappy(chunked(&framed))).await, status, "decompressed, in chunks");
    }
    let stored = server.stored();
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
        let server = TestServer::with(|config| config.limit_receive_bytes = cap).await;
        reply(&server.send(server.receive_of(CLUSTER, compressed.clone())).await, status, "with a Content-Length");
        reply(&server.send(server.receive_of(CLUSTER, chunked(&compressed))).await, status, "in chunks");
        let limited = if status == 413 { 2.0 } else { 0.0 };
        assert_eq!(server.metric("telemeter_receive_size_limited_total").await, limited);
    }

    let cap = 500;
    let plain_of = |len: usize| {
        let plain = |pad: usize| body::write_request(&[&format!("up,_id=c1,pad={} 1@0", "x".repeat(pad))]);
        (0..len).map(|less| plain(len - less)).find(|plain| plain.len() == len).unwrap()
    };
    let server = TestServer::with(|config| config.limit_receive_bytes = cap).await;
    for (len, status) in [(16 * cap, 200), (16 * cap + 1, 413)] {
        let block = body::block(&plain_of(len));
        assert!(block.len() < cap);
        reply(&server.send(server.receive_of(CLUSTER, block.clone())).await, status, "decompressed");
        reply(&server.send(server.receive_of(CLUSTER, chunked(&block))).await, status, "decompressed, in chunks");
    }
    assert_eq!(server.metric("telemeter_receive_size_limited_total").await, 2.0);
}

#[tokio::test]
async fn a_snappy_header_is_not_trusted() {
    let server = TestServer::new().await;
    for (header, status) in [
        (&[0xff, 0xff, 0xff, 0xff, 0x0f, 0][..], 413),
        (&[0x80, 0x80, 0x40, 0], 400),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], 400),
        (&[0x05, 0x00], 400),
    ] {
        reply(&server.send(server.receive_of(CLUSTER, header.to_vec())).await, status, &format!("{header:x?}"));
    }
    let token = server.token(CLUSTER).await;
    let lying = [&b"\xff\x06\x00\x00sNaPpY\x00\x09\x00\x00\0\0\0\0"[..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    let request = server.upload_of(&token, body::TEXT, lying).header("content-encoding", "snappy");
    assert!([400, 413].contains(&server.send(request).await.status));
}

/// Sends these lines as they are, and reads what is answered until the server closes or pauses for long.
async fn raw(server: &TestServer, request: String) -> String {
    let mut stream = TcpStream::connect(server.server.external()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(SOON, stream.read(&mut answer)).await.expect("an answer soon").unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn a_content_length_is_enough_to_be_refused() {
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    let composite = support::composite(CLUSTER);
    for (path, token, format) in
        [("/upload", &token, body::TEXT), ("/metrics/v1/receive", &composite, "application/x-protobuf")]
    {
        let answer = raw(
            &server,
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
async fn a_body_that_breaks_off_harms_no_other_request() {
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.server.external()).await.unwrap();
        let head = format!(
            "POST /upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: text/plain\r\n\
             content-length: 500\r\n\r\nup"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
    }
    reply(&server.upload(&token, &["up,_id=c1 1@0"]).await, 200, "another");
    assert_eq!(server.stored(), ["up,_id=c1 1@0"]);
}

#[tokio::test]
async fn caps_on_labels() {
    let labels = |count: usize| (2..count).map(|at| format!(",l{at}=v")).collect::<String>();
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
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
            server.upload(&token, &series).await,
            server.upload_delimited(&token, &series).await,
            server.receive(CLUSTER, &series).await,
        ];
        for answer in answers {
            reply(&answer, if what.is_some() { 400 } else { 200 }, &series[0][..40]);
            assert!(what.is_none_or(|what| answer.body.contains(what)), "{what:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn caps_on_series() {
    let server = TestServer::with(|config| {
        config.limit_bytes = 8 << 20;
        config.limit_receive_bytes = 8 << 20;
        // There is no store: only the decoders are tested.
        config.rules.whitelist = vec!["nothing".to_owned()];
    })
    .await;
    let token = server.token(CLUSTER).await;
    let line = format!("up{{_id=\"c1\"}} 1 {NOW_MS}\n");
    let series = body::write_request(&["up,_id=c1 1@0"]);
    for (count, status) in [(100_000, 200), (100_001, 400)] {
        let upload = server.send(server.upload_of(&token, body::TEXT, line.repeat(count))).await;
        let receive = server.send(server.receive_of(CLUSTER, body::block(&series.repeat(count)))).await;
        for answer in [upload, receive] {
            reply(&answer, status, "series");
            assert!(status == 200 || answer.body.contains("100000 series"), "{answer:?}");
        }
    }
    let mut wide = body::time_series("up,_id=c1 1@0");
    wide.labels.extend((0..98).map(|at| body::Label { name: format!("l{at}"), value: String::new() }));
    let wide = body::WriteRequest { timeseries: vec![wide], metadata: Vec::new() }.encode_to_vec();
    for (count, status) in [(10_000, 200), (10_001, 400)] {
        let answer = server.send(server.receive_of(CLUSTER, body::block(&wide.repeat(count)))).await;
        reply(&answer, status, "labels");
        assert!(status == 200 || answer.body.contains("1000000 labels"), "{answer:?}");
    }
}
