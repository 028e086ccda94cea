//! A receiver of remote write 1.0 that keeps to the specification: it accepts what a sender MUST send, and nothing else.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.

use prost::Message as _;

use super::{
    body::{self, WriteRequest},
    fake::{FakeAnswer, ReceivedRequest},
};

/// Accepts a request, or answers what is wrong with it.
pub(crate) fn receive(asked: &ReceivedRequest) -> FakeAnswer {
    match request_of(asked) {
        Ok(_) => FakeAnswer::of(200),
        Err(violation) => FakeAnswer::of(400).body(violation),
    }
}

/// Checks what a sender MUST do, each rule with its section, but for the alphabet of names ([`check_names`]); the first rule that
/// the request breaks.
pub(crate) fn request_of(asked: &ReceivedRequest) -> Result<WriteRequest, String> {
    let header = |name: &str| asked.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    must(asked.method == "POST", "Protocol: POST")?;
    must(header("content-encoding") == "snappy", "Protocol: Content-Encoding: snappy")?;
    must(header("content-type") == "application/x-protobuf", "Protocol: Content-Type: application/x-protobuf")?;
    must(header("user-agent").contains('/'), "Protocol: User-Agent: name and version")?;
    must(header("x-prometheus-remote-write-version") == "0.1.0", "Protocol: X-Prometheus-Remote-Write-Version: 0.1.0")?;
    let len = snap::raw::decompress_len(&asked.body).map_err(|error| format!("Protocol: snappy's block: {error}"))?;
    let mut plain = vec![0; len];
    let decompressed = snap::raw::Decoder::new().decompress(&asked.body, &mut plain);
    decompressed.map_err(|error| format!("Protocol: snappy's block: {error}"))?;
    let request = WriteRequest::decode(&*plain).map_err(|error| format!("Protocol: a WriteRequest: {error}"))?;
    for series in &request.timeseries {
        must(series.labels.is_sorted_by(|one, next| one.name < next.name), "Labels: sorted, each name once")?;
        let is_empty = |label: &body::Label| label.name.is_empty() || label.value.is_empty();
        must(!series.labels.iter().any(is_empty), "Labels: none is empty")?;
        must(series.labels.iter().any(|label| label.name == "__name__"), "Labels: a name")?;
        must(series.samples.is_sorted_by_key(|sample| sample.timestamp), "Ordering: by time")?;
        must(series.histograms.is_sorted_by_key(|histogram| histogram.timestamp), "Ordering: by time")?;
    }
    Ok(request)
}

/// "Labels" of 1.0, "Series Labels" of 2.0: metric names match `[a-zA-Z_:]([a-zA-Z0-9_:])*`, label names
/// `[a-zA-Z_]([a-zA-Z0-9_])*`.
pub(crate) fn check_names(series: &[body::TimeSeries]) -> Result<(), String> {
    let is_name = |text: &str, colon: bool| {
        let mut bytes = text.bytes();
        let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || colon && byte == b':';
        bytes.next().is_some_and(is_first) && bytes.all(|byte| is_first(byte) || byte.is_ascii_digit())
    };
    for label in series.iter().flat_map(|series| &series.labels) {
        must(is_name(&label.name, false), &format!("Labels: the label name {:?}", label.name))?;
        let is_metric = label.name == "__name__";
        must(!is_metric || is_name(&label.value, true), &format!("Labels: the metric name {:?}", label.value))?;
    }
    Ok(())
}

fn must(holds: bool, violation: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(violation.to_owned()) }
}
