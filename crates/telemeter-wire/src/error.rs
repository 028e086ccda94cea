//! Errors of decoding, and the limits that decoders check.

use std::fmt;

/// Why bytes cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There are more decompressed bytes than the cap allows.
    #[error("over {cap_bytes} bytes when decompressed")]
    TooLong {
        /// The cap that the caller set.
        cap_bytes: usize,
    },
    /// The bytes are not valid snappy.
    #[error("not valid snappy: {0}")]
    Snappy(&'static str),
    /// The bytes are not valid protobuf, or not the expected message.
    #[error("not valid protobuf: {0}")]
    Protobuf(&'static str),
    /// The bytes are not valid in the text format.
    #[error("not valid text format: line {line}: {reason}")]
    Text {
        /// The number of the line, counted from 1.
        line: usize,
        /// What is wrong with the line.
        reason: &'static str,
    },
    /// A sample of the text format has two labels with the same name.
    #[error("not valid text format: line {line}: label \"{label}\" is a duplicate")]
    DuplicateLabel {
        /// The number of the line, counted from 1.
        line: usize,
        /// An [`excerpt`] of the name.
        label: String,
    },
    /// A text is not UTF-8.
    #[error("{0}")]
    NotUtf8(Box<NotUtf8>),
    /// The symbols of remote write 2.0, or references to them, are not valid.
    #[error("not valid remote write 2.0: {0}")]
    Reference(ReferenceError),
    /// There is more than one of the [`DecodeLimits`] allows.
    #[error("over the limit of {limit} {what}")]
    Limit {
        /// The plural of what is limited: `series`, `labels in one series`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl Error {
    pub(crate) const fn protobuf(reason: &'static str) -> Self {
        Self::Protobuf(reason)
    }

    /// The error for a text that is not UTF-8; `metric` is the name of its metric, where that is known.
    #[cold]
    pub(crate) fn not_utf8(format: &'static str, line: Option<usize>, metric: Option<&[u8]>, part: TextPart) -> Self {
        Self::NotUtf8(Box::new(NotUtf8 { format, line, metric: metric.map(excerpt), part }))
    }
}

/// What is wrong with the symbols of a remote write 2.0 request, or with references to them. Series are given by their index
/// in the request, and texts as an [`excerpt`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The first symbol is not the empty text, as it has to be for references to nothing.
    #[error("the first symbol is \"{symbol}\", and not the empty text")]
    FirstSymbol {
        /// The first symbol.
        symbol: String,
    },
    /// The message is not empty, but has no symbols.
    #[error("there are no symbols: is this a prometheus.WriteRequest?")]
    NoSymbols,
    /// A symbol is not UTF-8.
    #[error("symbol {index} (\"{symbol}\") is not UTF-8")]
    NotUtf8 {
        /// The index of the symbol.
        index: usize,
        /// The symbol.
        symbol: String,
    },
    /// A reference of a series, of its exemplars or of its metadata is not below the number of symbols.
    #[error("series {series} has the reference {reference}, and there are {symbols} symbols")]
    OutOfRange {
        /// The index of the series.
        series: usize,
        /// The reference.
        reference: u32,
        /// The number of symbols.
        symbols: usize,
    },
    /// A series has an odd number of references to labels, so that a label has no value.
    #[error("series {series} has {count} references to labels: a name has no value")]
    Odd {
        /// The index of the series.
        series: usize,
        /// The number of references.
        count: usize,
    },
    /// An exemplar has an odd number of references to labels, so that a label has no value.
    #[error("an exemplar of series {series} has {count} references to labels: a name has no value")]
    OddOfExemplar {
        /// The index of the series.
        series: usize,
        /// The number of references.
        count: usize,
    },
}

/// The position of a text that is not UTF-8; names are given as an [`excerpt`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotUtf8 {
    format: &'static str,
    line: Option<usize>,
    metric: Option<String>,
    part: TextPart,
}

/// The part of a metric that has the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TextPart {
    /// The metric name.
    MetricName,
    /// The name of a label, given as an excerpt.
    LabelName(String),
    /// The value of the label with this name.
    LabelValue(String),
    /// Another part, with its description: `an exemplar`.
    Named(&'static str),
    /// Another part.
    Elsewhere,
}

impl fmt::Display for NotUtf8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid {}: ", self.format)?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str("text that is not UTF-8 in ")?;
        match &self.part {
            TextPart::MetricName => f.write_str("the name of ")?,
            TextPart::LabelName(label) => write!(f, "the name of label \"{label}\" of ")?,
            TextPart::LabelValue(label) => write!(f, "the value of label \"{label}\" of ")?,
            TextPart::Named(part) => write!(f, "{part} of ")?,
            TextPart::Elsewhere => {}
        }
        match &self.metric {
            Some(metric) => write!(f, "metric \"{metric}\""),
            None => f.write_str("a metric without a name"),
        }
    }
}

/// The length of an excerpt without its dots, in bytes.
const EXCERPT_BYTES: usize = 128;

/// A safe excerpt of bytes from a peer, for messages: quotes, backslashes, control characters and bytes that are not UTF-8
/// (`\xff`) are escaped, and after 128 bytes the text is cut and ends with three dots.
#[must_use]
pub fn excerpt(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut add = |piece: &str| {
        let fits = text.len() + piece.len() <= EXCERPT_BYTES;
        text.push_str(if fits { piece } else { "..." });
        fits
    };
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().chars().map(|c| c.escape_debug().to_string());
        let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        for piece in valid.chain(invalid) {
            if !add(&piece) {
                return text;
            }
        }
    }
    text
}

/// The limits for one request; a decoder checks each of them before it stores anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// The most series.
    pub series: usize,
    /// The most labels of all series together.
    pub labels: usize,
    /// The most bytes of all label names and values together. A text counts as often as it occurs in a series: a short
    /// message can repeat one long text in many series.
    pub text_bytes: usize,
    /// The most symbols of a remote write 2.0 request.
    pub symbols: usize,
    /// The most labels of one series, `__name__` included.
    pub labels_per_series: usize,
    /// The most bytes of a label's name.
    pub label_name_bytes: usize,
    /// The most bytes of a label's value.
    pub label_value_bytes: usize,
}

impl Default for DecodeLimits {
    /// Ten times the largest batch of a production sender.
    fn default() -> Self {
        Self {
            series: 100_000,
            labels: 1_000_000,
            text_bytes: 32 << 20,
            symbols: 400_000,
            labels_per_series: 128,
            label_name_bytes: 1024,
            label_value_bytes: 16 * 1024,
        }
    }
}

impl DecodeLimits {
    /// No limits: for bytes that were decoded with limits before.
    pub const NONE: Self = Self {
        series: usize::MAX,
        labels: usize::MAX,
        text_bytes: usize::MAX,
        symbols: usize::MAX,
        labels_per_series: usize::MAX,
        label_name_bytes: usize::MAX,
        label_value_bytes: usize::MAX,
    };

    /// Fails if `count` series are the most, so that no further one is allowed.
    #[inline]
    pub(crate) const fn check_series(&self, count: usize) -> Result<(), Error> {
        if count < self.series { Ok(()) } else { Err(Error::Limit { what: "series", limit: self.series }) }
    }

    /// Fails if a series must not have `count` labels.
    #[inline]
    pub(crate) const fn check_labels(&self, count: usize) -> Result<(), Error> {
        if count <= self.labels_per_series {
            Ok(())
        } else {
            Err(Error::Limit { what: "labels in one series", limit: self.labels_per_series })
        }
    }

    /// Fails if all series together must not have `count` labels.
    #[inline]
    pub(crate) const fn check_all_labels(&self, count: usize) -> Result<(), Error> {
        if count <= self.labels { Ok(()) } else { Err(Error::Limit { what: "labels", limit: self.labels }) }
    }

    /// Fails if the name or the value of a label is too long.
    #[inline]
    pub(crate) const fn check_label(&self, name: &[u8], value: &[u8]) -> Result<(), Error> {
        if name.len() > self.label_name_bytes {
            return Err(Error::Limit { what: "bytes in a label name", limit: self.label_name_bytes });
        }
        if value.len() > self.label_value_bytes {
            return Err(Error::Limit { what: "bytes in a label value", limit: self.label_value_bytes });
        }
        Ok(())
    }
}
