//! The decoder of the delimited format: `io.prometheus.client.MetricFamily` messages, each after its length as a varint.
//!
//! Source: <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto> (proto2: whether
//! a field is there matters).

mod distribution;
mod encode;

use self::distribution::{Distribution, histogram, summary};
use crate::{
    error::{DecodeLimits, Error, TextPart},
    exposition::native_histogram::{NativeHistogram, NativeHistograms},
    labels,
    protobuf::{FieldReader, NOT_UTF8, TIMESTAMP_LEN, WireType, expect, key, timestamp, timestamp_varint, utf8},
    schema,
    series::{Label, MetricType, NAME_LABEL, Points, Sample, SeriesSet},
};

pub use encode::encode;

/// Decodes a whole body into `set`; see [`decode`](super::decode).
///
/// # Errors
/// [`Error::Protobuf`] for other bytes, also for a truncated message; [`Error::NotUtf8`] for a text that is not UTF-8;
/// [`Error::Limit`] above one of `limits`.
pub fn decode<'a>(body: &'a [u8], limits: &DecodeLimits, set: &mut SeriesSet<'a>) -> Result<(), Error> {
    decode_with(body, limits, NativeHistograms::Keep, set)
}

/// As [`decode`]; `native` is how native histograms are decoded.
///
/// # Errors
/// The errors of [`decode`].
pub fn decode_with<'a>(
    body: &'a [u8],
    limits: &DecodeLimits,
    native: NativeHistograms,
    set: &mut SeriesSet<'a>,
) -> Result<(), Error> {
    set.set_source(body);
    let mut reader = FieldReader::new(body);
    while reader.remaining() > 0 {
        let message = reader.bytes()?;
        let family = FamilyHeader::of(message, native).map_err(|error| locate(error, message))?;
        let mut reader = FieldReader::new(message);
        while let Some((number, wire)) = reader.field()? {
            if number == 4 {
                let metric = reader.bytes()?;
                decode_metric(metric, &family, limits, set)
                    .map_err(|error| labels::locate(error, metric, family.name.map(str::as_bytes)))?;
            } else {
                reader.skip(number, wire)?;
            }
        }
    }
    Ok(())
}

/// Adds to a [`NOT_UTF8`] error which text of a family, outside of its metrics, is not UTF-8; other errors stay as they
/// are.
#[cold]
fn locate(error: Error, family: &[u8]) -> Error {
    if error != NOT_UTF8 {
        return error;
    }
    let last =
        |wanted| crate::protobuf::fields(family).filter(|(number, _)| *number == wanted).last().map(|(_, text)| text);
    let name = last(1);
    let is_name = name.is_some_and(|name| std::str::from_utf8(name).is_err());
    let part = if is_name { TextPart::MetricName } else { TextPart::Named("the help or the unit") };
    Error::not_utf8("protobuf", None, name, part)
}

/// The fields of a family other than its metrics.
struct FamilyHeader<'a> {
    name: Option<&'a str>,
    kind: MetricType,
    /// How native histograms in it are decoded.
    native: NativeHistograms,
}

impl<'a> FamilyHeader<'a> {
    /// Finds the name and the type of a `MetricFamily`, which may also follow its metrics. The metrics are not decoded.
    /// Returns an error for malformed bytes and for an unknown type.
    fn of(message: &'a [u8], native: NativeHistograms) -> Result<Self, Error> {
        // As in the schema, the default type is counter.
        let (mut name, mut kind) = (None, 0);
        let mut reader = FieldReader::new(message);
        while let Some((number, wire)) = reader.field()? {
            match number {
                1 => {
                    expect(wire, WireType::Bytes)?;
                    name = Some(utf8(reader.bytes()?)?);
                }
                2 | 5 => schema::check_field(&mut reader, wire, schema::FieldKind::Text)?,
                3 => {
                    expect(wire, WireType::Varint)?;
                    kind = reader.varint()? as i32;
                }
                4 => {
                    expect(wire, WireType::Bytes)?;
                    reader.bytes()?;
                }
                _ => reader.skip(number, wire)?,
            }
        }
        Ok(Self { name, kind: metric_type(kind)?, native })
    }
}

/// The type for its number in the protobuf enum `MetricType`. Returns an error for an unknown number.
fn metric_type(number: i32) -> Result<MetricType, Error> {
    Ok(match number {
        0 => MetricType::Counter,
        1 => MetricType::Gauge,
        2 => MetricType::Summary,
        3 => MetricType::Untyped,
        4 => MetricType::Histogram,
        5 => MetricType::GaugeHistogram,
        _ => return Err(Error::protobuf("a metric type that does not exist")),
    })
}

/// An optional value of an optional message.
type OptionalValue = Option<Option<f64>>;

/// The fields of one metric, until all of them are decoded.
#[derive(Default)]
struct MetricFields<'a> {
    gauge: OptionalValue,
    counter: OptionalValue,
    untyped: OptionalValue,
    summary: Option<Distribution>,
    histogram: Option<Distribution>,
    timestamp_ms: Option<i64>,
    /// Whether its first label is the name of its family.
    named: bool,
    message: &'a [u8],
}

/// Decodes one metric and adds its series: one, or several for a summary or a classic histogram. Returns an error for
/// malformed bytes, and where a limit is reached.
fn decode_metric<'a>(
    message: &'a [u8],
    family: &FamilyHeader<'a>,
    limits: &DecodeLimits,
    set: &mut SeriesSet<'a>,
) -> Result<(), Error> {
    limits.check_series(set.len())?;
    // The labels are not longer than the metric; the family's name is added to each of its series.
    set.charge(family.name.map_or(0, str::len) + message.len(), limits)?;
    let mark = set.mark();
    if let Some(name) = family.name {
        limits.check_label(NAME_LABEL.as_bytes(), name.as_bytes())?;
        set.push_label(Label { name: NAME_LABEL, value: name });
    }
    // The most common form: labels, a value of the family's type, and its time. The family's name is one more label.
    if let Some((sample, run)) = plain_sample(message, family.kind)
        && labels::whole(run, limits, set)?
    {
        limits.check_labels(set.mark() - mark)?;
        limits.check_all_labels(set.mark())?;
        set.finish_decoded(mark, family.kind, Points::Sample(sample), true);
        return Ok(());
    }
    let front = labels::front(message, limits, set)?;
    limits.check_labels(set.mark() - mark)?;
    let mut metric = MetricFields { message, named: family.name.is_some(), ..MetricFields::default() };
    let mut reader = FieldReader::new(&message[front..]);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => {
                expect(wire, WireType::Bytes)?;
                let (label, _) = labels::decode(reader.bytes()?, limits)?;
                limits.check_labels(set.mark() - mark + 1)?;
                set.push_label(label);
            }
            2 => value(&mut reader, wire, &mut metric.gauge, &[])?,
            3 => value(&mut reader, wire, &mut metric.counter, schema::COUNTER)?,
            5 => value(&mut reader, wire, &mut metric.untyped, &[])?,
            4 => summary(&mut reader, wire, metric.summary.get_or_insert_default())?,
            7 => histogram(&mut reader, wire, metric.histogram.get_or_insert_default())?,
            6 => {
                expect(wire, WireType::Varint)?;
                metric.timestamp_ms = Some(reader.varint()? as i64);
            }
            _ => reader.skip(number, wire)?,
        }
    }
    limits.check_all_labels(set.mark())?;
    metric.finish(mark, family, limits, set)
}

/// If the end of a metric looks like the value of a `Gauge`, `Counter` or `Untyped` and a timestamp of six bytes: that sample,
/// and the bytes before it. If those bytes are labels, the end is indeed such a sample.
#[inline]
fn plain_sample(metric: &[u8], kind: MetricType) -> Option<(Sample, &[u8])> {
    let (run, &[wrapper, len, VALUE, ref value @ .., TIMESTAMP, t0, t1, t2, t3, t4, t5]) =
        metric.split_last_chunk::<{ 2 + VALUE_LEN + 1 + TIMESTAMP_LEN }>()?
    else {
        return None;
    };
    let &value: &[u8; 8] = value;
    let timestamp_ms = Some(timestamp([t0, t1, t2, t3, t4, t5])?);
    let plain = usize::from(len) == VALUE_LEN && wrapper == value_key(kind)?;
    plain.then_some((Sample { value: f64::from_le_bytes(value), timestamp_ms }, run))
}

/// The key of the field with the value of a metric of this type; `None` for types with more than one value.
#[inline]
const fn value_key(kind: MetricType) -> Option<u8> {
    match kind {
        MetricType::Gauge => Some(key(2, WireType::Bytes)),
        MetricType::Counter => Some(key(3, WireType::Bytes)),
        MetricType::Untyped => Some(key(5, WireType::Bytes)),
        MetricType::Summary | MetricType::Histogram | MetricType::GaugeHistogram => None,
    }
}

/// Decodes a `Gauge`, `Counter` or `Untyped`, whose value is field 1.
fn value(
    reader: &mut FieldReader<'_>,
    wire: WireType,
    value: &mut OptionalValue,
    others: &'static [(u32, schema::FieldKind)],
) -> Result<(), Error> {
    expect(wire, WireType::Bytes)?;
    let value = value.get_or_insert(None);
    let message = reader.bytes()?;
    // The most common form: only the value.
    if let Some((&[0x09], bits)) = message.split_first_chunk::<1>()
        && let Ok(bits) = <[u8; 8]>::try_from(bits)
    {
        *value = Some(f64::from_le_bytes(bits));
        return Ok(());
    }
    fields(message, others, |number, wire, reader| {
        if number != 1 {
            return Ok(false);
        }
        expect(wire, WireType::Fixed64)?;
        *value = Some(reader.double()?);
        Ok(true)
    })
}

/// Calls `read` with each field of a message, and checks those that it does not read.
fn fields<'a>(
    message: &'a [u8],
    others: &'static [(u32, schema::FieldKind)],
    mut read: impl FnMut(u32, WireType, &mut FieldReader<'a>) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut reader = FieldReader::new(message);
    while let Some((number, wire)) = reader.field()? {
        if read(number, wire, &mut reader)? {
            continue;
        }
        match others.iter().find(|(known, _)| *known == number) {
            Some((_, kind)) => schema::check_field(&mut reader, wire, *kind)?,
            None => reader.skip(number, wire)?,
        }
    }
    Ok(())
}

impl<'a> MetricFields<'a> {
    /// Creates series from the decoded fields; the labels since `mark` are those of the metric. A metric without a
    /// value of the family's type, or with values of other types too, becomes one series without points.
    fn finish(
        &self,
        mark: usize,
        family: &FamilyHeader<'a>,
        limits: &DecodeLimits,
        set: &mut SeriesSet<'a>,
    ) -> Result<(), Error> {
        let kind = family.kind;
        let others = |mine: bool| {
            usize::from(mine)
                < usize::from(self.gauge.is_some())
                    + usize::from(self.counter.is_some())
                    + usize::from(self.untyped.is_some())
                    + usize::from(self.summary.is_some())
                    + usize::from(self.histogram.is_some())
        };
        let value = match kind {
            MetricType::Gauge => self.gauge,
            MetricType::Counter => self.counter,
            MetricType::Untyped => self.untyped,
            MetricType::Summary | MetricType::Histogram | MetricType::GaugeHistogram => {
                let summary = kind == MetricType::Summary;
                let distribution = if summary { self.summary } else { self.histogram };
                return match distribution {
                    Some(distribution)
                        if !others(true) && distribution.is_native() && family.native == NativeHistograms::Keep =>
                    {
                        let message = self.native_message(distribution, set)?;
                        let histogram = NativeHistogram { message, timestamp_ms: self.timestamp_ms };
                        set.finish(mark, kind, Points::Histogram(histogram));
                        Ok(())
                    }
                    Some(distribution) if !others(true) => self.expand(summary, distribution, mark, limits, set),
                    _ => {
                        set.finish(mark, kind, Points::Absent);
                        Ok(())
                    }
                };
            }
        };
        let points = match value {
            Some(Some(value)) if !others(true) => Points::Sample(Sample { value, timestamp_ms: self.timestamp_ms }),
            _ => Points::Absent,
        };
        set.finish(mark, kind, points);
        Ok(())
    }
}

/// The length of the time of a sample in a family, for times from 1971 to 2109.
pub const TIMESTAMP_BYTES: usize = TIMESTAMP_LEN;

/// The encoded time of a sample in a family, in milliseconds. It is wrong for times before 1971 and after 2109.
#[must_use]
pub fn timestamp_bytes(timestamp_ms: i64) -> [u8; TIMESTAMP_BYTES] {
    timestamp_varint(timestamp_ms)
}

const TIMESTAMP: u8 = key(6, WireType::Varint);
const VALUE: u8 = key(1, WireType::Fixed64);
/// A `Gauge`, `Counter` or `Untyped` with a value: key and eight bytes.
const VALUE_LEN: usize = 9;

#[cfg(test)]
mod tests;
