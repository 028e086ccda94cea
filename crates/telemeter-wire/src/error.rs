//! What can be wrong with bytes.

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
    /// More than a [`Limits`] field allows.
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
}

/// How much one request may hold. Each is checked before anything is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Series.
    pub series: usize,
    /// Labels of all series together.
    pub labels: usize,
    /// Bytes of all label names and values together, told as often as they stand in a series: a short message can repeat
    /// one long text in many series.
    pub text_bytes: usize,
    /// Labels of one series, `__name__` included.
    pub labels_per_series: usize,
    /// Bytes of a label's name.
    pub label_name_bytes: usize,
    /// Bytes of a label's value.
    pub label_value_bytes: usize,
}

impl Default for Limits {
    /// Room for a production sender's largest batch, ten times over.
    fn default() -> Self {
        Self {
            series: 100_000,
            labels: 1_000_000,
            text_bytes: 32 << 20,
            labels_per_series: 128,
            label_name_bytes: 1024,
            label_value_bytes: 16 * 1024,
        }
    }
}

impl Limits {
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
