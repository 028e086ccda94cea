//! Remote write 1.0: `WriteRequest` in and out; an unchanged series is spliced, its bytes copied as they came.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>, `prometheus/prompb/{remote,types}.proto`.

mod layout;
mod metadata;
mod series_writer;
#[cfg(test)]
mod tests;
pub mod v2;

use std::ops::Range;

use crate::{
    error::{DecodeLimits, Error, TextPart},
    labels,
    protobuf::{
        FieldReader, NOT_UTF8, TIMESTAMP_LEN, Wire, expect, key, put_bytes, put_message, timestamp, varint_len,
    },
    schema,
    series::{Encoded, MetricType, Points, Sample, Series, SeriesSet},
};

pub use layout::{EncodedSeries, Layout, put_labels, read_labels};
pub use series_writer::{SeriesWriter, take_out};

const TIMESERIES: u8 = key(1, Wire::Bytes);
const SAMPLE: u8 = key(2, Wire::Bytes);
const HISTOGRAM: u8 = key(4, Wire::Bytes);
const VALUE: u8 = key(1, Wire::Fixed64);
const TIMESTAMP: u8 = key(2, Wire::Varint);

/// What a request held beside series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestMetadata {
    /// Entries of metadata (type, help, unit of a family).
    pub entries: usize,
}

/// Decodes one `WriteRequest`, decompressed, into `set`. Labels stay as sent, unsorted. Metadata is not kept.
///
/// # Errors
/// [`Error::Protobuf`] for bytes that are no such message; [`Error::NotUtf8`] for other text in it; [`Error::Limit`] above one of `limits`.
pub fn decode<'a>(message: &'a [u8], limits: &DecodeLimits, set: &mut SeriesSet<'a>) -> Result<RequestMetadata, Error> {
    decode_keeping(message, false, limits, set)
}

/// As [`decode`], and keeps the metadata where it is to: what becomes of that of families without series in the message is for
/// [`SeriesSet::settle_metadata`] to say.
///
/// # Errors
/// As [`decode`].
pub fn decode_keeping<'a>(
    message: &'a [u8],
    keep_metadata: bool,
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
) -> Result<RequestMetadata, Error> {
    set.set_source(message);
    let mut reader = FieldReader::new(message);
    let mut found = RequestMetadata::default();
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => {
                expect(wire, Wire::Bytes)?;
                let series = reader.bytes()?;
                decode_series(series, limits, set).map_err(|error| labels::locate(error, series, None))?;
            }
            3 => {
                expect(wire, Wire::Bytes)?;
                let entry = reader.bytes()?;
                schema::check(entry, schema::METADATA).map_err(|error| locate_metadata(error, entry))?;
                found.entries += 1;
                if keep_metadata {
                    metadata::decode(entry, limits, set)?;
                }
            }
            _ => reader.skip(number, wire)?,
        }
    }
    if keep_metadata && found.entries > 0 {
        set.find_metadata();
    }
    Ok(found)
}

/// Says of which metric the metadata is that has text that is not UTF-8.
#[cold]
fn locate_metadata(error: Error, entry: &[u8]) -> Error {
    if error != NOT_UTF8 {
        return error;
    }
    let metric = labels::fields(entry).filter(|(number, _)| *number == 2).last().map(|(_, name)| name);
    Error::not_utf8("protobuf", None, metric, TextPart::Named("the metadata"))
}

/// Decodes one `TimeSeries`. It can be spliced where all labels stand at its front and nothing in it is unknown.
fn decode_series<'a>(message: &'a [u8], limits: &DecodeLimits, set: &mut SeriesSet<'a>) -> Result<(), Error> {
    limits.check_series(set.len())?;
    let mark = set.mark();
    // The one form that is mostly seen: labels, and one sample.
    if let Some((timestamp_ms, run)) = plain_sample(message)
        && labels::whole(run, limits, set)?
    {
        limits.check_held(set.mark())?;
        set.charge(message.len(), limits)?;
        let (payload, whole) = (&message[run.len()..], Some(message));
        let points = Points::Encoded(Encoded { payload, whole, samples: 1, newest_ms: Some(timestamp_ms) });
        set.finish(mark, MetricType::Untyped, points);
        return Ok(());
    }
    let mut front = labels::front(message, limits, set)?;
    let mut reader = FieldReader::new(&message[front..]);
    let (mut spliced, mut behind_labels) = (true, false);
    let (mut samples, mut newest_ms) = (0, None);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => {
                expect(wire, Wire::Bytes)?;
                let (label, plain) = labels::decode(reader.bytes()?, limits)?;
                limits.check_labels(set.mark() - mark + 1)?;
                set.push_label(label);
                spliced &= plain && !behind_labels;
                front = message.len() - reader.remaining();
                continue;
            }
            2 => {
                expect(wire, Wire::Bytes)?;
                newest_ms = newest_ms.max(sample(reader.bytes()?)?.timestamp_ms);
                samples += 1;
            }
            3 => schema::check_field(&mut reader, wire, schema::FieldKind::Message(schema::REMOTE_EXEMPLAR))?,
            4 => {
                expect(wire, Wire::Bytes)?;
                newest_ms = newest_ms.max(Some(histogram_timestamp(reader.bytes()?)?));
                samples += 1;
            }
            _ => {
                reader.skip(number, wire)?;
                spliced = false;
            }
        }
        behind_labels = true;
    }
    limits.check_held(set.mark())?;
    set.charge(message.len(), limits)?;
    let payload = if spliced { &message[front..] } else { known_fields(message, set)? };
    let whole = spliced.then_some(message);
    let points = Points::Encoded(Encoded { payload, whole, samples, newest_ms });
    set.finish(mark, MetricType::Untyped, points);
    Ok(())
}

/// The time of the sample at the end of a series, where it looks like one with a value and a timestamp of our days, and what
/// stands before it: if these are labels, it is what it looks like.
#[inline]
fn plain_sample(series: &[u8]) -> Option<(i64, &[u8])> {
    let (before, &[TIMESTAMP, t0, t1, t2, t3, t4, t5]) = series.split_last_chunk::<{ 1 + TIMESTAMP_LEN }>()? else {
        return None;
    };
    let timestamp_ms = timestamp([t0, t1, t2, t3, t4, t5])?;
    // A value of zero is left out.
    let run = match before {
        [run @ .., SAMPLE, 7] => run,
        [run @ .., SAMPLE, 16, VALUE, _, _, _, _, _, _, _, _] => run,
        _ => return None,
    };
    Some((timestamp_ms, run))
}

/// Copies samples, exemplars and histograms out of a series in which they stand between other fields.
#[cold]
fn known_fields<'a>(message: &'a [u8], set: &SeriesSet<'a>) -> Result<&'a [u8], Error> {
    let mut kept = bumpalo::collections::Vec::new_in(set.arena().text());
    let mut reader = FieldReader::new(message);
    loop {
        let before = reader.remaining();
        let Some((number, wire)) = reader.field()? else { break };
        reader.skip(number, wire)?;
        if matches!(number, 2..=4) {
            kept.extend_from_slice(&message[message.len() - before..message.len() - reader.remaining()]);
        }
    }
    Ok(kept.into_bump_slice())
}

/// Decodes a `Sample`; absent fields are zero, as in proto3.
#[inline]
fn sample(message: &[u8]) -> Result<Sample, Error> {
    let mut reader = FieldReader::new(message);
    let (mut value, mut timestamp_ms) = (0.0, 0);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => {
                expect(wire, Wire::Fixed64)?;
                value = reader.double()?;
            }
            2 => {
                expect(wire, Wire::Varint)?;
                timestamp_ms = reader.varint()? as i64;
            }
            _ => reader.skip(number, wire)?,
        }
    }
    Ok(Sample { value, timestamp_ms: Some(timestamp_ms) })
}

/// Checks a native histogram, and says its time.
fn histogram_timestamp(message: &[u8]) -> Result<i64, Error> {
    schema::check(message, schema::REMOTE_HISTOGRAM)?;
    let mut reader = FieldReader::new(message);
    let mut timestamp_ms = 0;
    while let Some((number, wire)) = reader.field()? {
        if number == 15 {
            expect(wire, Wire::Varint)?;
            timestamp_ms = reader.varint()? as i64;
        } else {
            reader.skip(number, wire)?;
        }
    }
    Ok(timestamp_ms)
}

/// Appends all series of `set`, and what it holds of metadata, to `out` as one `WriteRequest`. Such messages may be concatenated into one.
pub fn encode(set: &SeriesSet<'_>, out: &mut Vec<u8>) {
    let mut writer = Writer::new(set, out);
    for (index, series) in set.iter().enumerate() {
        writer.put(index, series.points);
    }
    metadata::encode(set, out);
}

/// As [`encode`], and says in `layout` where each series stands in `out`.
pub fn encode_placed(set: &SeriesSet<'_>, out: &mut Vec<u8>, layout: &mut Layout) {
    layout.clear();
    let mut writer = Writer::new(set, out);
    for (index, series) in set.iter().enumerate() {
        let labels = writer.put(index, series.points);
        layout.push(labels, writer.written().len(), series.kind);
    }
    metadata::encode(set, out);
}

/// Whether [`encode`] would write the very message that was decoded into `set`.
#[must_use]
pub fn is_unchanged(set: &SeriesSet<'_>) -> bool {
    // Spliced series are parts of the message, in their order, that do not overlap: as long as it, they are all of it.
    let field_len = |series: Series<'_, '_>| match series.points {
        Points::Encoded(Encoded { whole: Some(whole), .. }) => Some(1 + varint_len(whole.len() as u64) + whole.len()),
        _ => None,
    };
    set.iter().map(field_len).sum::<Option<usize>>() == Some(set.source().len())
}

/// Writes series of one set, one by one.
pub struct Writer<'w, 'a> {
    set: &'w SeriesSet<'a>,
    out: &'w mut Vec<u8>,
}

impl<'w, 'a> Writer<'w, 'a> {
    /// Writes to the end of `out`.
    pub fn new(set: &'w SeriesSet<'a>, out: &'w mut Vec<u8>) -> Self {
        Self { set, out }
    }

    /// What was written so far, and what stood before it.
    #[must_use]
    #[inline]
    pub fn written(&self) -> &[u8] {
        self.out
    }

    /// Appends the series at `index`, with these points in place of its own. Returns where its labels stand: two series
    /// have the same labels, in the same order, where the same bytes stand there.
    #[inline]
    pub fn put(&mut self, index: usize, points: Points<'_>) -> Range<usize> {
        let Self { set, out } = self;
        if let Points::Encoded(Encoded { whole: Some(whole), payload, .. }) = points {
            put_bytes(out, TIMESERIES, whole);
            return out.len() - whole.len()..out.len() - payload.len();
        }
        out.push(TIMESERIES);
        let (message, len) = put_message(out, |out| {
            let from = out.len();
            let Series { labels, kind, .. } = set.at(index);
            if set.is_as_sent(index) {
                labels::put_sent_labels(out, labels, set.source());
            } else {
                labels::put_labels(out, labels, set.source());
            }
            let len = out.len() - from;
            match points {
                Points::Encoded(encoded) => out.extend_from_slice(encoded.payload),
                Points::Sample(sample) => put_sample(sample, out),
                Points::Histogram(histogram) => {
                    histogram.put_remote(HISTOGRAM, kind == MetricType::GaugeHistogram, out)
                }
                Points::Absent => {}
            }
            len
        });
        message.start..message.start + len
    }
}

/// A sample as a field takes no more: its key, its length, a value, and a time.
const MAX_SAMPLE: usize = 2 + 9 + 11;

/// Appends a sample as a field of its series.
#[inline]
fn put_sample(sample: Sample, out: &mut Vec<u8>) {
    let mut field = [0; MAX_SAMPLE];
    let mut end = 2;
    if sample.value.to_bits() != 0 {
        field[end] = VALUE;
        field[end + 1..end + 9].copy_from_slice(&sample.value.to_le_bytes());
        end += 9;
    }
    let mut timestamp = sample.timestamp_ms.unwrap_or(0) as u64;
    if timestamp != 0 {
        field[end] = TIMESTAMP;
        end += 1;
        while timestamp >= 0x80 {
            field[end] = timestamp as u8 | 0x80;
            timestamp >>= 7;
            end += 1;
        }
        field[end] = timestamp as u8;
        end += 1;
    }
    field[0] = SAMPLE;
    field[1] = (end - 2) as u8;
    out.extend_from_slice(&field[..end]);
}

/// The float samples of a series, in order.
#[derive(Clone)]
pub struct FloatSamples<'a> {
    single: Option<Sample>,
    fields: FieldReader<'a>,
}

pub(crate) const fn sample_points<'a>(points: &Points<'a>) -> FloatSamples<'a> {
    match *points {
        Points::Sample(sample) => FloatSamples { single: Some(sample), fields: FieldReader::new(&[]) },
        Points::Encoded(encoded) => FloatSamples { single: None, fields: FieldReader::new(encoded.payload) },
        Points::Histogram(_) | Points::Absent => FloatSamples { single: None, fields: FieldReader::new(&[]) },
    }
}

impl Iterator for FloatSamples<'_> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        if let Some(sample) = self.single.take() {
            return Some(sample);
        }
        loop {
            // The payload was checked when it was decoded: an error here can only be its end.
            match self.fields.field().ok()?? {
                (2, Wire::Bytes) => return sample(self.fields.bytes().ok()?).ok(),
                (number, wire) => self.fields.skip(number, wire).ok()?,
            }
        }
    }
}
