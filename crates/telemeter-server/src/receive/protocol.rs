//! Which message of remote write a request holds, and what an answer says was written of it.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>, "Content-Type" and "Required Written Response
//! Headers".

use http::{HeaderMap, HeaderName, HeaderValue, header};
use telemeter_wire::remote_write::v2::Contents;

use crate::{error::Error, gateway::single};

/// The message of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `prometheus.WriteRequest`, remote write 1.0.
    V1,
    /// `io.prometheus.write.v2.Request`, remote write 2.0.
    V2,
}

const MEDIA_TYPE: &str = "application/x-protobuf";
const MESSAGE_V1: &str = "prometheus.WriteRequest";
const MESSAGE_V2: &str = "io.prometheus.write.v2.Request";

const SAMPLES: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");
const HISTOGRAMS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-histograms-written");
const EXEMPLARS: HeaderName = HeaderName::from_static("x-prometheus-remote-write-exemplars-written");

impl Protocol {
    /// Reads the Content-Type, and holds the Content-Encoding to snappy. A sender that says neither means 1.0.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let content_type = single(headers, &header::CONTENT_TYPE)?.unwrap_or(MEDIA_TYPE);
        let protocol = Self::of_content_type(content_type)?;
        let encoding = single(headers, &header::CONTENT_ENCODING)?.unwrap_or("snappy");
        if !encoding.trim().eq_ignore_ascii_case("snappy") {
            return Err(Error::Unsupported("the Content-Encoding is not snappy"));
        }
        Ok(protocol)
    }

    fn of_content_type(content_type: &str) -> Result<Self, Error> {
        let mut parts = content_type.split(';').map(str::trim);
        if !parts.next().is_some_and(|media| media.eq_ignore_ascii_case(MEDIA_TYPE)) {
            return Err(Error::Unsupported("the Content-Type is not application/x-protobuf"));
        }
        let proto = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("proto"));
        match proto.map(|(_, message)| message.trim_matches('"')) {
            None | Some(MESSAGE_V1) => Ok(Self::V1),
            Some(MESSAGE_V2) => Ok(Self::V2),
            Some(_) => Err(Error::Unsupported(
                "the proto of the Content-Type is neither prometheus.WriteRequest nor io.prometheus.write.v2.Request",
            )),
        }
    }
}

/// Says in an answer how much of a 2.0 request was written.
pub(crate) fn put_written(headers: &mut HeaderMap, written: &Contents) {
    headers.insert(SAMPLES, HeaderValue::from(written.samples));
    headers.insert(HISTOGRAMS, HeaderValue::from(written.histograms));
    headers.insert(EXEMPLARS, HeaderValue::from(written.exemplars));
}

/// Whether a request is of 2.0, as its headers have it.
pub(crate) fn is_v2(headers: &HeaderMap) -> bool {
    matches!(Protocol::of(headers), Ok(Protocol::V2))
}

/// An answer to a 2.0 request that says nothing of what was written says that nothing was, whatever it was answered with: a
/// sender takes missing headers for a receiver of 1.0.
pub(crate) fn say_nothing_written(headers: &mut HeaderMap) {
    if !headers.contains_key(SAMPLES) {
        put_written(headers, &Contents::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_says_which_message_it_is() {
        for (content_type, expected) in [
            ("application/x-protobuf", Some(Protocol::V1)),
            ("application/x-protobuf;proto=prometheus.WriteRequest", Some(Protocol::V1)),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", Some(Protocol::V2)),
            ("Application/X-Protobuf ; Proto=\"io.prometheus.write.v2.Request\"", Some(Protocol::V2)),
            ("application/x-protobuf;version=2;proto=io.prometheus.write.v2.Request", Some(Protocol::V2)),
            ("application/x-protobuf;version=2", Some(Protocol::V1)),
            ("application/x-protobuf;proto=io.prometheus.write.v3.Request", None),
            ("application/x-protobuf;proto=", None),
            ("application/json", None),
            ("text/plain;proto=io.prometheus.write.v2.Request", None),
            ("", None),
        ] {
            assert_eq!(Protocol::of_content_type(content_type).ok(), expected, "{content_type}");
        }
    }
}
