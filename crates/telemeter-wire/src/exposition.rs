//! The exposition formats: the formats of `/federate` responses and of `/upload` bodies.

pub mod delimited;
mod escaped_names;
mod escaping;
mod float;
pub(crate) mod native_histogram;
mod pieces;
pub mod text;

pub use escaped_names::EscapedNames;
pub use escaping::{Escaping, NameKind, is_known_name};
pub use float::put_float;
pub use native_histogram::{BucketSign, HistogramFlaw, HistogramOutline, NativeHistogram, NativeHistograms};
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

/// The format of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpositionFormat {
    /// The text format, version 0.0.4.
    Text,
    /// `io.prometheus.client.MetricFamily` messages, each after its length.
    Delimited,
}

/// The Content-Type is that of neither format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Content-Type is neither text/plain (version 0.0.4) nor application/vnd.google.protobuf \
     (proto=io.prometheus.client.MetricFamily; encoding=delimited)"
)]
pub struct UnknownFormat;

impl ExpositionFormat {
    /// The format of a scrape's response, and whether its Content-Type names that format. A missing or unknown Content-Type
    /// means text.
    ///
    /// As in Go: protobuf without parameters is the delimited format, and a parameter without a value makes a type unknown.
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

    /// The format of an upload, by its Content-Type.
    ///
    /// # Errors
    /// [`UnknownFormat`] for a missing Content-Type and for any other, including other forms of protobuf and OpenMetrics.
    pub fn of(content_type: Option<&str>) -> Result<Self, UnknownFormat> {
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
                // If a parameter occurs more than once, each has to be right.
                let (is_right, expected) = match name.as_str() {
                    "proto" => (&mut proto, "io.prometheus.client.metricfamily"),
                    "encoding" => (&mut encoding, "delimited"),
                    _ => continue,
                };
                *is_right = Some(is_right.unwrap_or(true) && value == expected);
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

/// Decodes a whole body into `set`.
///
/// `__name__` is the first label of each series; a family of the delimited format without a name has no such label. Classic
/// histograms and summaries become the series that the text format has for them; native histograms are kept as they are. The
/// names of all series of one family are the same text in memory.
///
/// ```
/// use telemeter_wire::{Arena, DecodeLimits, SeriesSet, exposition::{self, ExpositionFormat}};
///
/// let body = b"# TYPE up gauge\nup{job=\"node\"} 1 1700000000000\n";
/// let arena = Arena::new();
/// let mut set = SeriesSet::new_in(&arena);
/// exposition::decode(ExpositionFormat::Text, body, &DecodeLimits::default(), &mut set)?;
/// let series = set.at(0);
/// assert_eq!((series.name(), series.label("job")), ("up", Some("node")));
/// assert_eq!(series.points.newest_ms(), Some(1_700_000_000_000));
/// # Ok::<(), telemeter_wire::Error>(())
/// ```
///
/// # Errors
/// [`Error::Text`], [`Error::DuplicateLabel`] or [`Error::Protobuf`] for bytes that are not valid in the format;
/// [`Error::NotUtf8`] for a text that is not UTF-8; [`Error::Limit`] above one of `limits`.
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

/// Decodes a part of a body; the text format has to be cut between lines, the delimited format between messages. `families`
/// keeps what later parts need to know of earlier ones; it has to be cleared between bodies. `native` is how native histograms
/// are decoded.
///
/// # Errors
/// The errors of [`decode`].
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
    fn the_content_type_determines_the_format() {
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
