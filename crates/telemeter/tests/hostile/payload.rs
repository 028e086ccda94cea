//! Builds requests as clusters send them: an upload in the text format, or a remote write of one snappy block.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use telemeter_wire::snappy;

use crate::remote_write::{QueriedSeries, write_request};

/// The token that the authority knows.
pub(crate) const GOOD_TOKEN: &str = "good";
/// The number of series in one honest request.
const SERIES: usize = 50;

/// Returns the time in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_millis()).expect("before the year 292 million")
}

/// Returns the bearer token of a remote-write request.
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

/// Builds an upload of a cluster, with the access token from `/authorize`.
pub(crate) fn upload(token: &str, cluster: &str) -> Request<Full<Bytes>> {
    let (mut text, now_ms) = (String::new(), now_ms());
    for at in 0..SERIES {
        let _ = writeln!(text, "up{{_id=\"{cluster}\",pod=\"pod-{at}\"}} 1 {now_ms}");
    }
    upload_of(token, text.into())
}

/// Builds an upload with this body.
pub(crate) fn upload_of(token: &str, body: Bytes) -> Request<Full<Bytes>> {
    let request = Request::post("/upload").header("host", "telemeter").header("content-type", TEXT);
    request.header("authorization", format!("Bearer {token}")).body(Full::new(body)).expect("a request")
}

/// Builds a remote-write request of a cluster.
pub(crate) fn receive(token: &str, cluster: &str) -> Request<Full<Bytes>> {
    receive_with(&composite_token(token, cluster), cluster)
}

/// Builds a remote-write request of a cluster, with any spelling of its token.
pub(crate) fn receive_with(composite_token: &str, cluster: &str) -> Request<Full<Bytes>> {
    let (pods, now_ms): (Vec<_>, _) = ((0..SERIES).map(|at| format!("pod-{at}")).collect(), now_ms());
    let series = |pod| QueriedSeries {
        labels: vec![("__name__", "up"), ("_id", cluster), ("pod", pod)],
        samples: vec![(now_ms, 1.0)],
    };
    let all: Vec<_> = pods.iter().map(|pod| series(pod.as_str())).collect();
    let mut block = Vec::new();
    snappy::Encoder::new().block(&write_request(&all), &mut block);
    let request = Request::post("/metrics/v1/receive").header("host", "telemeter");
    let request = request.header("content-type", PROTOBUF).header("content-encoding", "snappy");
    let request = request.header("authorization", format!("Bearer {composite_token}"));
    request.body(Full::new(block.into())).expect("a request")
}

const TEXT: &str = "text/plain; version=0.0.4";
const PROTOBUF: &str = "application/x-protobuf";

/// Returns the head of an upload or a remote-write request, without the body.
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
