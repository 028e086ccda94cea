//! Remote write 2.0: `io.prometheus.write.v2.Request` in and out. Its series become what those of 1.0 are, and the other way.
//!
//! All text stands once in a table of symbols, and labels are pairs of references to it. They are resolved without a copy: a
//! label borrows its texts from the request's body. Samples, native histograms and exemplars become fields of a 1.0
//! `TimeSeries`. A run of samples has the same bytes in both, and stays where it is; all else is written anew.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>,
//! `prometheus/prompb/io/prometheus/write/v2/types.proto`. A `start_timestamp` stands in samples and histograms in its newest
//! revision, and was `created_timestamp` of the series before: both are read.

mod join;
mod payload;
mod series;
mod symbols;
mod writer;

pub use writer::{RequestBuilder, RequestWriter};

use crate::{
    error::{DecodeLimits, Error, ReferenceError, excerpt},
    labels::fields,
    protobuf::{FieldReader, NOT_UTF8, Wire, expect, utf8},
    series::{Points, SeriesSet},
};

/// How many of each thing a request held, whatever becomes of them later. The `Written` headers of an answer count the first
/// three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Float samples.
    pub samples: u64,
    /// Samples that are native histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Series with metadata (type, help, unit). Whether it is kept says [`Keep`].
    pub metadata: u64,
    /// Start timestamps, of samples, histograms and whole series. Whether they are kept says [`Keep`]: 1.0 has none.
    pub start_timestamps: u64,
}

/// What is kept of a request beside what 1.0 has a place for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Start timestamps: in samples and histograms, as the newest revision has them; that of a whole series goes into each that
    /// has none of its own.
    pub start_timestamps: bool,
    /// Metadata of series.
    pub metadata: bool,
}

/// Decodes one `Request`, decompressed, into `set`. Labels stay as sent, unsorted. A series without samples, histograms and
/// exemplars (Prometheus sends metadata so) is checked, counted and left out.
///
/// # Errors
/// [`Error::Protobuf`] for bytes that are no such message; [`Error::NotUtf8`] for other text in it; [`Error::Reference`] for
/// symbols or references that are not as the specification wants them; [`Error::Limit`] above one of `limits`.
pub fn decode<'a>(message: &'a [u8], limits: &DecodeLimits, set: &mut SeriesSet<'a>) -> Result<Contents, Error> {
    decode_keeping(message, Keep::default(), limits, set, None)
}

/// As [`decode`], but a series whose references cannot be is left out and shown to `refused`; the others go on. What such a
/// series held is not in the [`Contents`].
///
/// # Errors
/// As [`decode`]; [`Error::Reference`] only for what is wrong with the symbols themselves.
pub fn decode_partial<'a>(
    message: &'a [u8],
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
    refused: &mut dyn FnMut(ReferenceError),
) -> Result<Contents, Error> {
    decode_keeping(message, Keep::default(), limits, set, Some(refused))
}

/// As [`decode`], or as [`decode_partial`] where series are shown to `refused`, and keeps more of the request.
///
/// # Errors
/// As those two.
pub fn decode_keeping<'a>(
    message: &'a [u8],
    keep: Keep,
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
    refused: Option<&mut dyn FnMut(ReferenceError)>,
) -> Result<Contents, Error> {
    // No label of it is a field that could be copied.
    set.set_source(&[]);
    set.set_start_timestamps(keep.start_timestamps);
    let arena = set.arena();
    let mut symbols = arena.take_symbols();
    let decoded = read_symbols(message, limits, &mut symbols).and_then(|()| {
        let mut decoder = series::Decoder::new(&symbols, keep, limits);
        read_series(message, &mut decoder, set, refused)?;
        Ok(decoder.contents)
    });
    arena.keep_symbols(symbols);
    decoded
}

/// The table of symbols, wherever in the message its entries stand.
fn read_symbols<'a>(message: &'a [u8], limits: &DecodeLimits, symbols: &mut Vec<&'a str>) -> Result<(), Error> {
    let mut reader = FieldReader::new(message);
    while let Some((number, wire)) = reader.field()? {
        if number != 4 {
            reader.skip(number, wire)?;
            continue;
        }
        expect(wire, Wire::Bytes)?;
        let symbol = reader.bytes()?;
        if symbols.len() >= limits.symbols {
            return Err(Error::Limit { what: "symbols", limit: limits.symbols });
        }
        symbols.push(utf8(symbol).map_err(|error| locate(error, symbols.len(), symbol))?);
    }
    match symbols.first() {
        Some(&"") => Ok(()),
        Some(first) => Err(Error::Reference(ReferenceError::FirstSymbol { symbol: excerpt(first.as_bytes()) })),
        // A message of 1.0 reads as one without symbols and without series.
        None if message.is_empty() => Ok(()),
        None => Err(Error::Reference(ReferenceError::NoSymbols)),
    }
}

/// Says which symbol is not UTF-8.
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
        expect(wire, Wire::Bytes)?;
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
    /// What one decoded series holds: samples, histograms, exemplars.
    #[must_use]
    pub fn of(points: &Points<'_>) -> Self {
        match points {
            Points::Encoded(encoded) => Self::of_payload(encoded.payload),
            Points::Sample(_) => Self { samples: 1, ..Self::default() },
            Points::Histogram(_) => Self { histograms: 1, ..Self::default() },
            Points::Absent => Self::default(),
        }
    }

    /// What the payload of a series holds, as 1.0 has it: samples, histograms, exemplars.
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

    /// What is left of these samples, histograms and exemplars without those of `other`.
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
mod tests;
