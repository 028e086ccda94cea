//! Reads from its headers which message of remote write a request holds.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>, "Content-Type".

use http::{HeaderMap, header};

use crate::{
    error::Error,
    headers::single_value,
    protocol::{MEDIA_TYPE, MESSAGE_V1, MESSAGE_V2, Protocol},
};

impl Protocol {
    /// Reads the Content-Type, and requires snappy as the Content-Encoding. Without either header it is 1.0.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for any other value.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let content_type = single_value(headers, &header::CONTENT_TYPE)?.unwrap_or(MEDIA_TYPE);
        let protocol = Self::of_content_type(content_type)?;
        let encoding = single_value(headers, &header::CONTENT_ENCODING)?.unwrap_or("snappy");
        if !encoding.trim().eq_ignore_ascii_case("snappy") {
            return Err(Error::Unsupported("the Content-Encoding is not snappy"));
        }
        Ok(protocol)
    }

    /// The protocol that a `Content-Type` names: 1.0 without `proto`. Returns an error for another media type or
    /// message.
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

/// Whether the headers say that a request is of 2.0.
pub(crate) fn is_v2(headers: &HeaderMap) -> bool {
    matches!(Protocol::of(headers), Ok(Protocol::V2))
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
