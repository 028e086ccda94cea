//! Remote write 1.0: decodes and encodes `WriteRequest`. The bytes of an unchanged series are copied as they came ("spliced").
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>, `prometheus/prompb/{remote,types}.proto`.

mod layout;
mod metadata;
mod series_writer;
#[cfg(test)]
mod tests;
mod time_order;
pub mod v2;

use std::ops::Range;

use crate::{
    error::{DecodeLimits, Error, TextPart},
    labels,
    protobuf::{
        FieldReader, NOT_UTF8, TIMESTAMP_LEN, WireType, expect, key, put_bytes, put_message, timestamp, varint_len,
    },
    schema,
    series::{Encoded, MetricType, Points, Sample, SentLabels, Series, SeriesSet, decode_sample},
};

use self::time_order::TimeOrder;
pub use crate::series::FloatSamples;
pub use layout::{EncodedSeries, Layout, put_labels, read_labels};
pub use series_writer::{SeriesWriter, take_out};

const TIMESERIES: u8 = key(1, WireType::Bytes);
const SAMPLE: u8 = key(2, WireType::Bytes);
const HISTOGRAM: u8 = key(4, WireType::Bytes);
const VALUE: u8 = key(1, WireType::Fixed64);
const TIMESTAMP: u8 = key(2, WireType::Varint);

/// The metadata of a request, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestMetadata {
    /// The number of entries (type, help and unit of a family).
    pub entries: usize,
}

/// Decodes one decompressed `WriteRequest` into `set`. The labels keep their order, and borrow from `message`. Metadata is
/// not kept.
///
/// ```
/// use telemeter_wire::{Arena, DecodeLimits, Label, MetricType, Points, Sample, SeriesSet, remote_write};
///
/// let arena = Arena::new();
/// let mut sent = SeriesSet::new_in(&arena);
/// let sample = Sample { value: 1.0, timestamp_ms: Some(1_700_000_000_000) };
/// sent.push(&[Label::new("__name__", "up"), Label::new("job", "node")], MetricType::Untyped, Points::Sample(sample));
/// let mut message = Vec::new();
/// remote_write::encode(&sent, &mut message);
///
/// let mut received = SeriesSet::new_in(&arena);
/// remote_write::decode(&message, &DecodeLimits::default(), &mut received)?;
/// assert_eq!(received.at(0).name(), "up");
/// assert_eq!(received.at(0).samples().collect::<Vec<_>>(), [sample]);
/// # Ok::<(), telemeter_wire::Error>(())
/// ```
///
/// # Errors
/// [`Error::Protobuf`] for bytes that are not such a message; [`Error::NotUtf8`] for a text that is not UTF-8;
/// [`Error::Limit`] above one of `limits`.
pub fn decode<'a>(message: &'a [u8], limits: &DecodeLimits, set: &mut SeriesSet<'a>) -> Result<RequestMetadata, Error> {
    decode_keeping(message, false, limits, set)
}

/// As [`decode`]; with `keep_metadata`, also keeps the metadata. [`SeriesSet::filter_metadata`] decides about the metadata of
/// families without series in the message.
///
/// # Errors
/// The errors of [`decode`].
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
                expect(wire, WireType::Bytes)?;
                let series = reader.bytes()?;
                decode_series(series, limits, set).map_err(|error| labels::locate(error, series, None))?;
            }
            3 => {
                expect(wire, WireType::Bytes)?;
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

/// Adds to a [`NOT_UTF8`] error the name of the metric whose metadata has the text.
#[cold]
fn locate_metadata(error: Error, entry: &[u8]) -> Error {
    if error != NOT_UTF8 {
        return error;
    }
    let metric = crate::protobuf::fields(entry).filter(|(number, _)| *number == 2).last().map(|(_, name)| name);
    Error::not_utf8("protobuf", None, metric, TextPart::Named("the metadata"))
}

/// Decodes one `TimeSeries`. It can be spliced if all labels are at its front, it has no unknown fields, and its samples are in
/// the order of their times, and its histograms, too; otherwise they are sorted.
fn decode_series<'a>(message: &'a [u8], limits: &DecodeLimits, set: &mut SeriesSet<'a>) -> Result<(), Error> {
    limits.check_series(set.len())?;
    let mark = set.mark();
    // The most common form: labels and one sample.
    if let Some((timestamp_ms, run)) = plain_sample(message)
        && labels::whole(run, limits, set)?
    {
        limits.check_all_labels(set.mark())?;
        set.charge(message.len(), limits)?;
        let (payload, sent) = (&message[run.len()..], SentLabels::Message(message));
        let points = Points::Encoded(Encoded { payload, sent, samples: 1, newest_ms: Some(timestamp_ms) });
        set.finish(mark, MetricType::Untyped, points);
        return Ok(());
    }
    let mut front = labels::front(message, limits, set)?;
    let mut reader = FieldReader::new(&message[front..]);
    let (mut spliced, mut after_labels) = (true, false);
    let (mut samples, mut newest_ms) = (0, None);
    let (mut sample_order, mut histogram_order) = (TimeOrder::default(), TimeOrder::default());
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => {
                expect(wire, WireType::Bytes)?;
                let (label, plain) = labels::decode(reader.bytes()?, limits)?;
                limits.check_labels(set.mark() - mark + 1)?;
                set.push_label(label);
                spliced &= plain && !after_labels;
                front = message.len() - reader.remaining();
                continue;
            }
            2 => {
                expect(wire, WireType::Bytes)?;
                let time_ms = decode_sample(reader.bytes()?)?.timestamp_ms.unwrap_or_default();
                sample_order.add(time_ms);
                newest_ms = newest_ms.max(Some(time_ms));
                samples += 1;
            }
            3 => schema::check_field(&mut reader, wire, schema::FieldKind::Message(schema::REMOTE_EXEMPLAR))?,
            4 => {
                expect(wire, WireType::Bytes)?;
                let time_ms = histogram_timestamp(reader.bytes()?)?;
                histogram_order.add(time_ms);
                newest_ms = newest_ms.max(Some(time_ms));
                samples += 1;
            }
            _ => {
                reader.skip(number, wire)?;
                spliced = false;
            }
        }
        after_labels = true;
    }
    limits.check_all_labels(set.mark())?;
    set.charge(message.len(), limits)?;
    let is_sorted = sample_order.is_sorted() && histogram_order.is_sorted();
    spliced &= is_sorted;
    let payload = match (spliced, is_sorted) {
        (true, _) => &message[front..],
        (false, true) => known_fields(message, set)?,
        (false, false) => set.arena().text().alloc_slice_copy(&time_order::sorted(message)),
    };
    let sent = if spliced { SentLabels::Message(message) } else { SentLabels::Changed };
    let points = Points::Encoded(Encoded { payload, sent, samples, newest_ms });
    set.finish(mark, MetricType::Untyped, points);
    Ok(())
}

/// If the end of a series looks like a sample with a value and a timestamp of six bytes: that timestamp, and the bytes before
/// the sample. If those bytes are labels, the end is indeed such a sample.
#[inline]
fn plain_sample(series: &[u8]) -> Option<(i64, &[u8])> {
    let (before, &[TIMESTAMP, t0, t1, t2, t3, t4, t5]) = series.split_last_chunk::<{ 1 + TIMESTAMP_LEN }>()? else {
        return None;
    };
    let timestamp_ms = timestamp([t0, t1, t2, t3, t4, t5])?;
    // A value of zero is not encoded.
    let run = match before {
        [run @ .., SAMPLE, 7] => run,
        [run @ .., SAMPLE, 16, VALUE, _, _, _, _, _, _, _, _] => run,
        _ => return None,
    };
    Some((timestamp_ms, run))
}

/// Copies samples, exemplars and histograms out of a series that also has other fields between them.
#[cold]
fn known_fields<'a>(message: &'a [u8], set: &SeriesSet<'a>) -> Result<&'a [u8], Error> {
    let mut fields = bumpalo::collections::Vec::new_in(set.arena().text());
    let mut reader = FieldReader::new(message);
    loop {
        let before = reader.remaining();
        let Some((number, wire)) = reader.field()? else { break };
        reader.skip(number, wire)?;
        if matches!(number, 2..=4) {
            fields.extend_from_slice(&message[message.len() - before..message.len() - reader.remaining()]);
        }
    }
    Ok(fields.into_bump_slice())
}

/// Checks the fields of a native histogram, and returns its time in milliseconds since 1970.
fn histogram_timestamp(message: &[u8]) -> Result<i64, Error> {
    schema::check(message, schema::REMOTE_HISTOGRAM)?;
    let mut reader = FieldReader::new(message);
    let mut timestamp_ms = 0;
    while let Some((number, wire)) = reader.field()? {
        if number == 15 {
            expect(wire, WireType::Varint)?;
            timestamp_ms = reader.varint()? as i64;
        } else {
            reader.skip(number, wire)?;
        }
    }
    Ok(timestamp_ms)
}

/// Appends all series of `set`, and its metadata, to `out` as one `WriteRequest`. Several such messages can be concatenated to
/// one.
pub fn encode(set: &SeriesSet<'_>, out: &mut Vec<u8>) {
    let mut writer = Writer::new(set, out);
    for (index, series) in set.iter().enumerate() {
        writer.put(index, series.points);
    }
    metadata::encode(set, out);
}

/// As [`encode`]; `layout` receives the position of each series in `out`.
pub fn encode_placed(set: &SeriesSet<'_>, out: &mut Vec<u8>, layout: &mut Layout) {
    layout.clear();
    let mut writer = Writer::new(set, out);
    for (index, series) in set.iter().enumerate() {
        let labels = writer.put(index, series.points);
        layout.push(labels, writer.written().len(), series.kind);
    }
    metadata::encode(set, out);
}

/// Whether [`encode`] would write the same bytes as the message that was decoded into `set`.
#[must_use]
pub fn is_unchanged(set: &SeriesSet<'_>) -> bool {
    // Spliced series are disjoint parts of the message, in their order. If they are together as long as the message, they are
    // all of it.
    let field_len = |series: Series<'_, '_>| match series.points {
        Points::Encoded(Encoded { sent: SentLabels::Message(whole), .. }) => {
            Some(1 + varint_len(whole.len() as u64) + whole.len())
        }
        _ => None,
    };
    set.iter().map(field_len).sum::<Option<usize>>() == Some(set.source().len())
}

/// Encodes series of one set, one by one.
pub struct Writer<'w, 'a> {
    set: &'w SeriesSet<'a>,
    out: &'w mut Vec<u8>,
    /// Whether series share their texts, because they came with symbols.
    shares_texts: bool,
    /// The index of the series that was encoded last, and the begin of its labels in the output.
    previous: Option<(usize, usize)>,
}

impl<'w, 'a> Writer<'w, 'a> {
    /// A writer that appends to `out`.
    pub fn new(set: &'w SeriesSet<'a>, out: &'w mut Vec<u8>) -> Self {
        Self { set, out, shares_texts: !set.symbols().is_empty(), previous: None }
    }

    /// All bytes of the output, including those before the first series.
    #[must_use]
    #[inline]
    pub fn written(&self) -> &[u8] {
        self.out
    }

    /// Appends the series at `index`, with `points` in place of its own. Returns the range of its encoded labels: two series
    /// have the same labels, in the same order, exactly if these bytes are the same.
    #[inline]
    pub fn put(&mut self, index: usize, points: Points<'_>) -> Range<usize> {
        let Self { set, out, shares_texts, previous } = self;
        if let Points::Encoded(Encoded { sent: SentLabels::Message(whole), payload, .. }) = points {
            put_bytes(out, TIMESERIES, whole);
            return out.len() - whole.len()..out.len() - payload.len();
        }
        out.push(TIMESERIES);
        let (message, len) = put_message(out, |out| {
            let from = out.len();
            let Series { labels, kind, .. } = set.at(index);
            if *shares_texts {
                let before = previous.map_or((&[][..], 0), |(index, at)| (set.at(index).labels, at));
                labels::put_shared_labels(out, labels, before);
            } else if set.is_as_sent(index) {
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
        *previous = Some((index, message.start));
        message.start..message.start + len
    }
}

/// The longest field of a sample, in bytes: its key, its length, a value, and a time.
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
