//! What can be wrong with bytes.

use std::fmt;

/// Why bytes are not what their format says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More decompressed bytes than the cap allows.
    #[error("over {cap_bytes} bytes when decompressed")]
    TooLong {
        /// The cap that the caller set.
        cap_bytes: usize,
    },
    /// Not snappy.
    #[error("not valid snappy: {0}")]
    Snappy(&'static str),
    /// Not protobuf, or not this message.
    #[error("not valid protobuf: {0}")]
    Protobuf(&'static str),
    /// Not the text format.
    #[error("not valid text format: line {line}: {reason}")]
    Text {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A sample of the text format in which two labels have the same name.
    #[error("not valid text format: line {line}: label \"{label}\" is a duplicate")]
    DuplicateLabel {
        /// Counted from 1.
        line: usize,
        /// The name, as [`excerpt`] has it.
        label: String,
    },
    /// Text that is not UTF-8.
    #[error("{0}")]
    NotUtf8(Box<NotUtf8>),
    /// Symbols of remote write 2.0, or references to them, that cannot be.
    #[error("not valid remote write 2.0: {0}")]
    Reference(ReferenceError),
    /// More than a [`DecodeLimits`] field allows.
    #[error("over the limit of {limit} {what}")]
    Limit {
        /// What there is too much of, as a person says it: `series`, `labels in one series`.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
}

impl Error {
    pub(crate) const fn protobuf(reason: &'static str) -> Self {
        Self::Protobuf(reason)
    }

    /// Text that is not UTF-8, in a metric whose name has these bytes, as far as is known.
    #[cold]
    pub(crate) fn not_utf8(format: &'static str, line: Option<usize>, metric: Option<&[u8]>, part: TextPart) -> Self {
        Self::NotUtf8(Box::new(NotUtf8 { format, line, metric: metric.map(excerpt), part }))
    }
}

/// What is wrong with the symbols of a remote write 2.0 request, or with references to them. Series are counted from 0, in the
/// order they came in; texts are shown as [`excerpt`] has them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The first symbol has to be the empty text, for references that mean nothing.
    #[error("the first symbol is \"{symbol}\", and not the empty text")]
    FirstSymbol {
        /// What it is.
        symbol: String,
    },
    /// There is something in the message, and no symbol.
    #[error("there are no symbols: is this a prometheus.WriteRequest?")]
    NoSymbols,
    /// A symbol is no text.
    #[error("symbol {index} (\"{symbol}\") is not UTF-8")]
    NotUtf8 {
        /// Its place in the table, from 0.
        index: usize,
        /// What it is.
        symbol: String,
    },
    /// A reference of a series, of its exemplars or of its metadata points behind the table.
    #[error("series {series} has the reference {reference}, and there are {symbols} symbols")]
    OutOfRange {
        /// Which series.
        series: usize,
        /// The reference.
        reference: u32,
        /// How many symbols there are.
        symbols: usize,
    },
    /// A label without a value.
    #[error("series {series} has {count} references to labels: a name has no value")]
    Odd {
        /// Which series.
        series: usize,
        /// How many references.
        count: usize,
    },
    /// A label of an exemplar without a value.
    #[error("an exemplar of series {series} has {count} references to labels: a name has no value")]
    OddOfExemplar {
        /// Which series.
        series: usize,
        /// How many references.
        count: usize,
    },
}

/// Where text stands that is not UTF-8. Names are shown as [`excerpt`] has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotUtf8 {
    format: &'static str,
    line: Option<usize>,
    metric: Option<String>,
    part: TextPart,
}

/// Which text of a metric it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TextPart {
    /// Its name.
    MetricName,
    /// The name of a label; this is it.
    LabelName(String),
    /// The value of the label of this name.
    LabelValue(String),
    /// Something beside its name and its labels, where more is known: `an exemplar`.
    Named(&'static str),
    /// Something beside its name and its labels.
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

/// How many bytes an excerpt has, before its dots.
const EXCERPT_BYTES: usize = 128;

/// Bytes from outside as a person may be shown them: quotes, backslashes, control characters and what is not UTF-8 (`\xff`) are
/// escaped, and what is over 128 bytes long is cut and ends with three dots.
#[must_use]
pub fn excerpt(bytes: &[u8]) -> String {
    let mut shown = String::new();
    let mut add = |piece: &str| {
        let fits = shown.len() + piece.len() <= EXCERPT_BYTES;
        shown.push_str(if fits { piece } else { "..." });
        fits
    };
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid().chars().map(|c| c.escape_debug().to_string());
        let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        for piece in valid.chain(invalid) {
            if !add(&piece) {
                return shown;
            }
        }
    }
    shown
}

/// How much one request may hold. Each is checked before anything is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Series.
    pub series: usize,
    /// Labels of all series together.
    pub labels: usize,
    /// Bytes of all label names and values together, told as often as they stand in a series: a short message can repeat
    /// one long text in many series.
    pub text_bytes: usize,
    /// Symbols of a remote write 2.0 request.
    pub symbols: usize,
    /// Labels of one series, `__name__` included.
    pub labels_per_series: usize,
    /// Bytes of a label's name.
    pub label_name_bytes: usize,
    /// Bytes of a label's value.
    pub label_value_bytes: usize,
}

impl Default for DecodeLimits {
    /// Room for a production sender's largest batch, ten times over.
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
    /// No limit: for what was held to limits before.
    pub const NONE: Self = Self {
        series: usize::MAX,
        labels: usize::MAX,
        text_bytes: usize::MAX,
        symbols: usize::MAX,
        labels_per_series: usize::MAX,
        label_name_bytes: usize::MAX,
        label_value_bytes: usize::MAX,
    };

    /// Whether one more series may come behind `held` of them.
    #[inline]
    pub(crate) const fn check_series(&self, held: usize) -> Result<(), Error> {
        if held < self.series { Ok(()) } else { Err(Error::Limit { what: "series", limit: self.series }) }
    }

    /// Whether a series may have `count` labels.
    #[inline]
    pub(crate) const fn check_labels(&self, count: usize) -> Result<(), Error> {
        if count <= self.labels_per_series {
            Ok(())
        } else {
            Err(Error::Limit { what: "labels in one series", limit: self.labels_per_series })
        }
    }

    /// Whether all series together may have `count` labels.
    #[inline]
    pub(crate) const fn check_held(&self, count: usize) -> Result<(), Error> {
        if count <= self.labels { Ok(()) } else { Err(Error::Limit { what: "labels", limit: self.labels }) }
    }

    /// Whether a label may be this long.
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
