//! The exposition formats: what a `/federate` answers with, and what `/upload` takes.

pub mod delimited;
mod escaping;
mod float;
pub(crate) mod native_histogram;
mod pieces;
pub mod text;

pub use escaping::{Escaping, NameKind, is_known_name};
pub use float::put_float;
pub use native_histogram::{BucketSign, HistogramFlaw, NativeHistogram, NativeHistograms};
pub use pieces::{PIECE_BYTES, Pieces};
pub use text::TextFamilies;

use crate::{
    error::{DecodeLimits, Error},
    series::SeriesSet,
};

/// The Content-Type of delimited protobuf, as senders write it.
pub const DELIMITED_CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// The Content-Type of the text format.
pub const TEXT_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How a body is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpositionFormat {
    /// The text format, version 0.0.4.
    Text,
    /// `io.prometheus.client.MetricFamily` messages, each behind its length.
    Delimited,
}

/// A Content-Type that is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Content-Type is neither text/plain (version 0.0.4) nor application/vnd.google.protobuf \
     (proto=io.prometheus.client.MetricFamily; encoding=delimited)"
)]
pub struct UnknownFormat;

impl ExpositionFormat {
    /// How the answer to a scrape is read, and whether its Content-Type says so: one that is not there, or says something
    /// else, is read as text.
    ///
    /// As in Go: protobuf without parameters is the delimited form, and a parameter without a value makes a type unknown.
    ///
    /// Source: Go: `github.com/prometheus/common/expfmt`, `ResponseFormat` and `NewDecoder`.
    #[must_use]
    pub fn of_scrape(content_type: Option<&str>) -> (Self, bool) {
        let Some(content_type) = content_type else { return (Self::Text, false) };
        let mut parts = content_type.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let (mut delimited, mut version) = (true, true);
        for part in parts.filter(|part| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else { return (Self::Text, false) };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "proto" => delimited &= value == "io.prometheus.client.MetricFamily",
                "encoding" => delimited &= value == "delimited",
                "version" => version &= value == "0.0.4",
                _ => {}
            }
        }
        if media.eq_ignore_ascii_case("application/vnd.google.protobuf") && delimited {
            return (Self::Delimited, true);
        }
        (Self::Text, media.eq_ignore_ascii_case("text/plain") && version)
    }

    /// The format that a Content-Type names.
    ///
    /// # Errors
    /// [`UnknownFormat`] for none and for any other, the compact forms of protobuf and OpenMetrics among them.
    pub fn of(content_type: Option<&str>) -> Result<Self, UnknownFormat> {
        // The media type stands first, its parameters behind it.
        let mut parts = content_type.ok_or(UnknownFormat)?.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        let mut parameters = parts.filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_ascii_lowercase()))
        });
        if media.eq_ignore_ascii_case("text/plain") {
            let known = parameters.all(|(name, value)| name != "version" || value == "0.0.4");
            return if known { Ok(Self::Text) } else { Err(UnknownFormat) };
        }
        if media.eq_ignore_ascii_case("application/vnd.google.protobuf") {
            let (mut proto, mut encoding) = (None, None);
            for (name, value) in parameters {
                // Of a parameter that stands twice, both have to be right.
                let (is_right, wanted) = match name.as_str() {
                    "proto" => (&mut proto, "io.prometheus.client.metricfamily"),
                    "encoding" => (&mut encoding, "delimited"),
                    _ => continue,
                };
                *is_right = Some(is_right.unwrap_or(true) && value == wanted);
            }
            return if (proto, encoding) == (Some(true), Some(true)) {
                Ok(Self::Delimited)
            } else {
                Err(UnknownFormat)
            };
        }
        Err(UnknownFormat)
    }
}

/// Decodes a whole body into `set`. `__name__` is the first label of each series, but for a family of the delimited format
/// without a name: its metrics have the labels that stand in them, and no other. Classic histograms and summaries come
/// as the series that the text format writes for them, native histograms as they are. The series of one family share one and
/// the same text as their name.
///
/// # Errors
/// [`Error::Text`] or [`Error::Protobuf`] for bytes of neither format; [`Error::NotUtf8`] for a text in it that is not;
/// [`Error::Limit`] above one of `limits`.
pub fn decode<'a>(
    format: ExpositionFormat,
    body: &'a [u8],
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
) -> Result<(), Error> {
    match format {
        ExpositionFormat::Text => text::decode(body, limits, set),
        ExpositionFormat::Delimited => delimited::decode(body, limits, set),
    }
}

/// Decodes a part of a body, as [`decode`] the whole: the text format cut between lines, the delimited one between messages.
/// `families` holds what of the parts before counts for those behind; it is to be cleared between bodies. `native` says what
/// native histograms become.
///
/// # Errors
/// As [`decode`].
pub fn decode_part<'a>(
    format: ExpositionFormat,
    part: &'a [u8],
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
    families: &mut TextFamilies,
    native: NativeHistograms,
) -> Result<(), Error> {
    match format {
        ExpositionFormat::Text => text::decode_part(part, limits, set, families),
        ExpositionFormat::Delimited => delimited::decode_with(part, limits, native, set),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_type_says_the_format() {
        fn check(content_type: &str, expected: Option<ExpositionFormat>) {
            assert_eq!(ExpositionFormat::of(Some(content_type)).ok(), expected, "{content_type}");
        }
        assert_eq!(ExpositionFormat::of(None), Err(UnknownFormat));
        check(DELIMITED_CONTENT_TYPE, Some(ExpositionFormat::Delimited));
        check(
            "application/vnd.google.protobuf;encoding=delimited;proto=\"io.prometheus.client.MetricFamily\"",
            Some(ExpositionFormat::Delimited),
        );
        check("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text", None);
        check("application/vnd.google.protobuf", None);
        check(
            "application/vnd.google.protobuf; proto=x; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            None,
        );
        check(TEXT_CONTENT_TYPE, Some(ExpositionFormat::Text));
        check("text/plain", Some(ExpositionFormat::Text));
        check("TEXT/Plain; version=0.0.4; escaping=underscores", Some(ExpositionFormat::Text));
        check("text/plain; version=1.0.0", None);
        check("application/openmetrics-text; version=1.0.0", None);
        check("application/json", None);
        check("", None);
    }

    #[test]
    fn a_scrape_of_an_unknown_type_is_read_as_text() {
        fn check(content_type: &str, format: ExpositionFormat, known: bool) {
            assert_eq!(ExpositionFormat::of_scrape(Some(content_type)), (format, known), "{content_type}");
        }
        assert_eq!(ExpositionFormat::of_scrape(None), (ExpositionFormat::Text, false));
        check("", ExpositionFormat::Text, false);
        check(TEXT_CONTENT_TYPE, ExpositionFormat::Text, true);
        check("text/plain", ExpositionFormat::Text, true);
        check("Text/Plain; charset=utf-8;", ExpositionFormat::Text, true);
        check("text/plain; version=0.0.4; charset=utf-8; escaping=underscores", ExpositionFormat::Text, true);
        check("text/plain; version=1.0.0", ExpositionFormat::Text, false);
        check("text/plain; version=1.0.0; version=0.0.4", ExpositionFormat::Text, false);
        check("text/plain; charset", ExpositionFormat::Text, false);
        check("text/html", ExpositionFormat::Text, false);
        check("application/json", ExpositionFormat::Text, false);
        check("application/octet-stream", ExpositionFormat::Text, false);
        check("application/openmetrics-text; version=1.0.0", ExpositionFormat::Text, false);
        check(DELIMITED_CONTENT_TYPE, ExpositionFormat::Delimited, true);
        check("application/vnd.google.protobuf", ExpositionFormat::Delimited, true);
        check("application/vnd.google.protobuf; encoding=delimited", ExpositionFormat::Delimited, true);
        check(
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily",
            ExpositionFormat::Delimited,
            true,
        );
        check("application/vnd.google.protobuf; proto=another", ExpositionFormat::Text, false);
        check("application/vnd.google.protobuf; encoding=text", ExpositionFormat::Text, false);
        check("application/vnd.google.protobuf; encoding", ExpositionFormat::Text, false);
    }
}
