//! The versions of remote write: which message each is, and what an answer to 2.0 says was written.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>, "Content-Type" and "Required Written Response
//! Headers".

use http::{HeaderMap, HeaderName, HeaderValue};
use telemeter_wire::remote_write::v2::Contents;

/// A version of remote write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `prometheus.WriteRequest`, remote write 1.0.
    V1,
    /// `io.prometheus.write.v2.Request`, remote write 2.0.
    V2,
}

impl Protocol {
    /// Both versions.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// The number of the version.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
        }
    }
}

pub(crate) const MEDIA_TYPE: &str = "application/x-protobuf";
pub(crate) const MESSAGE_V1: &str = "prometheus.WriteRequest";
pub(crate) const MESSAGE_V2: &str = "io.prometheus.write.v2.Request";
pub(crate) const CONTENT_TYPE_V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

const SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

/// Sets the headers that say how much of a 2.0 request was written.
pub(crate) fn put_written(headers: &mut HeaderMap, written: &Contents) {
    headers.insert(SAMPLES, HeaderValue::from(written.samples));
    headers.insert(HISTOGRAMS, HeaderValue::from(written.histograms));
    headers.insert(EXEMPLARS, HeaderValue::from(written.exemplars));
}

/// How much of a 2.0 request was written, as the headers of the response say; `None` without these headers, as from a receiver of
/// 1.0. A header that is missing while others are there, or is not a number, counts as 0.
pub(crate) fn written(headers: &HeaderMap) -> Option<Contents> {
    let count = |name: &HeaderName| {
        let value = headers.get(name)?.to_str().unwrap_or_default();
        Some(value.trim().parse().unwrap_or(0))
    };
    match [SAMPLES, HISTOGRAMS, EXEMPLARS].map(|name| count(&name)) {
        [None, None, None] => None,
        [samples, histograms, exemplars] => Some(Contents {
            samples: samples.unwrap_or(0),
            histograms: histograms.unwrap_or(0),
            exemplars: exemplars.unwrap_or(0),
            ..Contents::default()
        }),
    }
}

/// Sets the headers to 0 where a response to a 2.0 request does not have them, whatever its status: a sender takes a response
/// without them for one of a receiver of 1.0.
pub(crate) fn add_zero_written_headers(headers: &mut HeaderMap) {
    if !headers.contains_key(SAMPLES) {
        put_written(headers, &Contents::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_was_written() {
        let check = |headers: &[(HeaderName, &'static str)], expected: Option<[u64; 3]>| {
            let map = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            let found = written(&map).map(|found| [found.samples, found.histograms, found.exemplars]);
            assert_eq!(found, expected, "{headers:?}");
        };
        check(&[], None);
        check(&[(SAMPLES, "3"), (HISTOGRAMS, "2"), (EXEMPLARS, "1")], Some([3, 2, 1]));
        check(&[(SAMPLES, " 3 ")], Some([3, 0, 0]));
        check(&[(EXEMPLARS, "18446744073709551615")], Some([0, 0, u64::MAX]));
        check(&[(SAMPLES, "all"), (HISTOGRAMS, "-1")], Some([0; 3]));
        let mut headers = HeaderMap::new();
        add_zero_written_headers(&mut headers);
        assert_eq!(written(&headers), Some(Contents::default()));
    }
}
