//! Remote write 2.0: decodes and encodes `io.prometheus.write.v2.Request`. Decoded series have the form of 1.0.
//!
//! A request has each text once, in a table of symbols, and labels are pairs of references to it. References are resolved
//! without a copy: a label borrows its texts from the request's body. Samples, native histograms and exemplars become fields
//! of a 1.0 `TimeSeries`. A run of samples has the same bytes in both versions, and is borrowed; all else is encoded again.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>,
//! `prometheus/prompb/io/prometheus/write/v2/types.proto`. In the newest revision, samples and histograms have a
//! `start_timestamp`; in an earlier one, series had a `created_timestamp`. Both are decoded.

mod join;
mod payload;
mod series;
mod symbols;
mod writer;

pub use writer::{RequestBuilder, RequestWriter};

use crate::{
    error::{DecodeLimits, Error, ReferenceError, excerpt},
    protobuf::{FieldReader, NOT_UTF8, WireType, expect, fields, utf8},
    series::{Points, SeriesSet},
};

/// The content of a request in numbers, before any step drops something. The `Written` headers of a response have the first
/// three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Float samples.
    pub samples: u64,
    /// Samples that are native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Series with metadata (type, help, unit). It is kept only with [`Keep`].
    pub metadata: u64,
    /// Start timestamps of samples, histograms and whole series. They are kept only with [`Keep`], since 1.0 has none.
    pub start_timestamps: u64,
}

/// The parts of a request that are kept although 1.0 cannot express them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Start timestamps of samples and histograms. The start timestamp of a whole series is copied into each sample and
    /// histogram that has none of its own.
    pub start_timestamps: bool,
    /// Metadata of series.
    pub metadata: bool,
}

/// Decodes one decompressed `Request` into `set`. The labels keep their order. A series without samples, histograms and
/// exemplars (Prometheus sends metadata that way) is checked, counted and left out.
///
/// # Errors
/// [`Error::Protobuf`] for bytes that are not such a message; [`Error::NotUtf8`] for a text that is not UTF-8;
/// [`Error::Reference`] for symbols or references that the specification does not allow; [`Error::Limit`] above one of
/// `limits`.
pub fn decode<'a>(message: &'a [u8], limits: &DecodeLimits, set: &mut SeriesSet<'a>) -> Result<Contents, Error> {
    decode_keeping(message, Keep::default(), limits, set, None)
}

/// As [`decode`], but a series with invalid references is left out, and `refused` is called with its error. The content of
/// such a series is not counted in [`Contents`].
///
/// # Errors
/// The errors of [`decode`]; [`Error::Reference`] only for invalid symbols.
pub fn decode_partial<'a>(
    message: &'a [u8],
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
    refused: &mut dyn FnMut(ReferenceError),
) -> Result<Contents, Error> {
    decode_keeping(message, Keep::default(), limits, set, Some(refused))
}

/// As [`decode_partial`] or, without `refused`, as [`decode`]; also keeps the parts of the request that `keep` selects.
///
/// # Errors
/// The errors of these two.
pub fn decode_keeping<'a>(
    message: &'a [u8],
    keep: Keep,
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
    refused: Option<&mut dyn FnMut(ReferenceError)>,
) -> Result<Contents, Error> {
    // Labels of 2.0 are not fields that could be copied from the message.
    set.set_source(&[]);
    set.set_start_timestamps(keep.start_timestamps);
    // A set has the symbols of one request: the references of another one would mean other texts.
    let is_first = set.is_empty() && set.symbols().is_empty();
    let mut symbols = if is_first { set.take_symbols() } else { Vec::new() };
    let decoded = read_symbols(message, limits, &mut symbols).and_then(|longest| {
        let mut decoder = series::Decoder::new(&symbols, longest, is_first, keep, limits);
        read_series(message, &mut decoder, set, refused)?;
        Ok(decoder.contents)
    });
    if is_first {
        set.set_symbols(symbols);
    }
    decoded
}

/// Decodes the table of symbols, whose entries may be anywhere in the message. Returns the length of the longest one.
fn read_symbols<'a>(message: &'a [u8], limits: &DecodeLimits, symbols: &mut Vec<&'a str>) -> Result<usize, Error> {
    let mut longest = 0;
    let mut reader = FieldReader::new(message);
    while let Some((number, wire)) = reader.field()? {
        if number != 4 {
            reader.skip(number, wire)?;
            continue;
        }
        expect(wire, WireType::Bytes)?;
        let symbol = reader.bytes()?;
        if symbols.len() >= limits.symbols {
            return Err(Error::Limit { what: "symbols", limit: limits.symbols });
        }
        symbols.push(utf8(symbol).map_err(|error| locate(error, symbols.len(), symbol))?);
        longest = longest.max(symbol.len());
    }
    match symbols.first() {
        Some(&"") => Ok(longest),
        Some(first) => Err(Error::Reference(ReferenceError::FirstSymbol { symbol: excerpt(first.as_bytes()) })),
        // A message of 1.0 is decoded as one without symbols and series.
        None if message.is_empty() => Ok(longest),
        None => Err(Error::Reference(ReferenceError::NoSymbols)),
    }
}

/// Adds to a [`NOT_UTF8`] error the symbol that is not UTF-8.
#[cold]
fn locate(error: Error, index: usize, symbol: &[u8]) -> Error {
    if error == NOT_UTF8 { Error::Reference(ReferenceError::NotUtf8 { index, symbol: excerpt(symbol) }) } else { error }
}

fn read_series<'a>(
    message: &'a [u8],
    decoder: &mut series::Decoder<'_, 'a>,
    set: &mut SeriesSet<'a>,
    mut refused: Option<&mut dyn FnMut(ReferenceError)>,
) -> Result<(), Error> {
    let mut reader = FieldReader::new(message);
    while let Some((number, wire)) = reader.field()? {
        if number != 5 {
            reader.skip(number, wire)?;
            continue;
        }
        expect(wire, WireType::Bytes)?;
        let mark = set.mark();
        match (decoder.series(reader.bytes()?, set), &mut refused) {
            (Ok(()), _) => {}
            (Err(Error::Reference(error)), Some(refused)) => {
                set.abandon(mark);
                refused(error);
            }
            (Err(error), _) => return Err(error),
        }
        decoder.index += 1;
    }
    Ok(())
}

impl Contents {
    /// The samples, histograms and exemplars of one series.
    #[must_use]
    pub fn of(points: &Points<'_>) -> Self {
        match points {
            Points::Encoded(encoded) => Self::of_payload(encoded.payload),
            Points::Sample(_) => Self { samples: 1, ..Self::default() },
            Points::Histogram(_) => Self { histograms: 1, ..Self::default() },
            Points::Absent => Self::default(),
        }
    }

    /// The samples, histograms and exemplars of a series, given by its fields of 1.0.
    fn of_payload(payload: &[u8]) -> Self {
        let mut contents = Self::default();
        for (number, _) in fields(payload) {
            match number {
                2 => contents.samples += 1,
                3 => contents.exemplars += 1,
                4 => contents.histograms += 1,
                _ => {}
            }
        }
        contents
    }

    /// The samples, histograms and exemplars less those of `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            samples: self.samples.saturating_sub(other.samples),
            histograms: self.histograms.saturating_sub(other.histograms),
            exemplars: self.exemplars.saturating_sub(other.exemplars),
            ..*self
        }
    }

    /// Adds these samples, histograms and exemplars.
    pub fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
    }
}

#[cfg(test)]
mod out_tests;
#[cfg(test)]
mod test_fields;
#[cfg(test)]
mod tests;
