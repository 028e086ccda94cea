//! Requests as clusters send them: an upload in the text format, a remote write of one block.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use telemeter_wire::snappy;

/// The token that the authority knows.
pub(crate) const GOOD_TOKEN: &str = "good";
/// Series of one honest request.
const SERIES: usize = 50;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the year 292 million")
}

/// The bearer of a remote write.
pub(crate) fn composite_token(token: &str, cluster: &str) -> String {
    BASE64_STANDARD.encode(format!(r#"{{"authorization_token":"{token}","cluster_id":"{cluster}"}}"#))
}

pub(crate) fn authorize(token: &str, cluster: &str) -> Request<Full<Bytes>> {
    let request = Request::post(format!("/authorize?id={cluster}")).header("host", "telemeter");
    request.header("authorization", format!("Bearer {token}")).body(Full::default()).expect("a request")
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "localhost").body(Full::default()).expect("a request")
}

/// An upload of a cluster, with the token that /authorize gave.
pub(crate) fn upload(token: &str, cluster: &str) -> Request<Full<Bytes>> {
    let (mut text, now_ms) = (String::new(), now_ms());
    for at in 0..SERIES {
        let _ = writeln!(text, "up{{_id=\"{cluster}\",pod=\"pod-{at}\"}} 1 {now_ms}");
    }
    upload_of(token, text.into())
}

/// An upload of any body.
pub(crate) fn upload_of(token: &str, body: Bytes) -> Request<Full<Bytes>> {
    let request = Request::post("/upload").header("host", "telemeter").header("content-type", TEXT);
    request.header("authorization", format!("Bearer {token}")).body(Full::new(body)).expect("a request")
}

/// A remote write of a cluster.
pub(crate) fn receive(token: &str, cluster: &str) -> Request<Full<Bytes>> {
    receive_with(&composite_token(token, cluster), cluster)
}

/// A remote write of a cluster, with any spelling of its token.
pub(crate) fn receive_with(composite_token: &str, cluster: &str) -> Request<Full<Bytes>> {
    let (mut message, now_ms) = (Vec::new(), now_ms());
    for at in 0..SERIES {
        let pod = format!("pod-{at}");
        series(&mut message, &[("__name__", "up"), ("_id", cluster), ("pod", &pod)], now_ms);
    }
    let mut block = Vec::new();
    snappy::Encoder::new().block(&message, &mut block);
    let request = Request::post("/metrics/v1/receive").header("host", "telemeter");
    let request = request.header("content-type", PROTOBUF).header("content-encoding", "snappy");
    let request = request.header("authorization", format!("Bearer {composite_token}"));
    request.body(Full::new(block.into())).expect("a request")
}

const TEXT: &str = "text/plain; version=0.0.4";
const PROTOBUF: &str = "application/x-protobuf";

/// The head of an upload or a remote write, whose body is to follow.
pub(crate) fn head(path: &str, token: &str, length: usize) -> Vec<u8> {
    let format = match path {
        "/upload" => TEXT,
        "/authorize" => "application/x-www-form-urlencoded",
        _ => PROTOBUF,
    };
    format!(
        "POST {path} HTTP/1.1\r\nhost: telemeter\r\nauthorization: Bearer {token}\r\ncontent-type: {format}\r\n\
         content-length: {length}\r\n\r\n"
    )
    .into_bytes()
}

/// `TimeSeries{labels, samples: [{1, time}]}` as a field of a `WriteRequest`; the labels have to be sorted.
fn series(request: &mut Vec<u8>, labels: &[(&str, &str)], time_ms: i64) {
    let mut series = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        field(&mut label, 0x0a, name.as_bytes());
        field(&mut label, 0x12, value.as_bytes());
        field(&mut series, 0x0a, &label);
    }
    let mut sample = vec![0x09];
    sample.extend_from_slice(&1_f64.to_le_bytes());
    sample.push(0x10);
    varint(&mut sample, time_ms.cast_unsigned());
    field(&mut series, 0x12, &sample);
    field(request, 0x0a, &series);
}

fn field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
