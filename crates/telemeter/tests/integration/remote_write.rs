//! A minimal sender of remote write 1.0, written by hand so that it shares no code with our codec.

use reqwest::{Client, RequestBuilder};

/// A series with its samples, oldest first: time in milliseconds since 1970, and value.
#[derive(Debug)]
pub(crate) struct QueriedSeries<'a> {
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    pub(crate) samples: Vec<(i64, f64)>,
}

/// Builds a request that writes one sample to `url`; the labels must be sorted.
pub(crate) fn request(http: &Client, url: &str, labels: &[(&str, &str)], value: f64, time_ms: i64) -> RequestBuilder {
    requests(http, url, &[QueriedSeries { labels: labels.to_vec(), samples: vec![(time_ms, value)] }])
}

/// Builds a request that writes all samples of `all` to `url`; the labels of each series must be sorted.
pub(crate) fn requests(http: &Client, url: &str, all: &[QueriedSeries<'_>]) -> RequestBuilder {
    http.post(url)
        .header("Content-Type", "application/x-protobuf")
        .header("Content-Encoding", "snappy")
        .header("X-Prometheus-Remote-Write-Version", "0.1.0")
        .body(snappy_of_literals(&write_request(all)))
}

/// Encodes `WriteRequest{timeseries: [{labels, samples: [{value, timestamp}]}]}`.
pub(crate) fn write_request(all: &[QueriedSeries<'_>]) -> Vec<u8> {
    let mut request = Vec::new();
    for QueriedSeries { labels, samples } in all {
        let mut series = Vec::new();
        for (name, value) in labels {
            let mut label = Vec::new();
            field(&mut label, 0x0a, name.as_bytes());
            field(&mut label, 0x12, value.as_bytes());
            field(&mut series, 0x0a, &label);
        }
        for (time_ms, value) in samples {
            let mut sample = vec![0x09];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(0x10);
            varint(&mut sample, time_ms.cast_unsigned());
            field(&mut series, 0x12, &sample);
        }
        field(&mut request, 0x0a, &series);
    }
    request
}

/// Makes a snappy block without compression: its length, then literals of at most 60 bytes.
fn snappy_of_literals(bytes: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    varint(&mut block, bytes.len() as u64);
    for literal in bytes.chunks(60) {
        block.push(u8::try_from((literal.len() - 1) << 2).expect("at most 59 << 2"));
        block.extend_from_slice(literal);
    }
    block
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
