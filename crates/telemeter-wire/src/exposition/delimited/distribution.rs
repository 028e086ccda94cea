//! Converts summaries and classic histograms to the series that the text format has for them, and detects native histograms.

use super::{MetricFields, fields};
use crate::{
    error::{DecodeLimits, Error},
    exposition::put_float,
    protobuf::{FieldReader, WireType, expect},
    schema,
    series::{Label, MetricType, Points, Sample, SeriesSet},
};

/// `Metric.histogram`.
const HISTOGRAM: u32 = 7;

/// The count and the sum of a summary or histogram, and the marks of a native one.
#[derive(Clone, Copy, Default)]
pub(super) struct Distribution {
    count: u64,
    count_float: Option<f64>,
    sum: f64,
    zero_threshold: f64,
    zero_count: u64,
    has_spans: bool,
    /// Whether it has fields that a native histogram does not need.
    has_others: bool,
}

impl Distribution {
    #[allow(clippy::cast_precision_loss, reason = "the text format writes the count as a float, too")]
    fn count(self) -> f64 {
        self.count_float.unwrap_or(self.count as f64)
    }

    /// Whether it is a native histogram, by the rule of Prometheus: one without observations has an empty span to mark it as
    /// native.
    pub(super) fn is_native(self) -> bool {
        self.has_spans || self.zero_threshold > 0.0 || self.zero_count > 0
    }
}

/// Reads `Metric.summary`: its count and sum go into `into`, its quantiles are only checked.
pub(super) fn summary(reader: &mut FieldReader<'_>, wire: WireType, into: &mut Distribution) -> Result<(), Error> {
    expect(wire, WireType::Bytes)?;
    fields(reader.bytes()?, schema::SUMMARY, |number, wire, reader| {
        match number {
            1 => {
                expect(wire, WireType::Varint)?;
                into.count = reader.varint()?;
            }
            2 => {
                expect(wire, WireType::Fixed64)?;
                into.sum = reader.double()?;
            }
            3 => {
                expect(wire, WireType::Bytes)?;
                pair(reader.bytes()?)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    })
}

/// Reads `Metric.histogram`: its count, sum, zero bucket and the presence of spans go into `into`; its classic buckets
/// are only checked, and native fields are skipped. Several messages of the field are merged.
pub(super) fn histogram(reader: &mut FieldReader<'_>, wire: WireType, into: &mut Distribution) -> Result<(), Error> {
    expect(wire, WireType::Bytes)?;
    fields(reader.bytes()?, schema::HISTOGRAM, |number, wire, reader| {
        match number {
            1 => {
                expect(wire, WireType::Varint)?;
                into.count = reader.varint()?;
            }
            2 => {
                expect(wire, WireType::Fixed64)?;
                into.sum = reader.double()?;
            }
            3 => {
                expect(wire, WireType::Bytes)?;
                bucket(reader.bytes()?)?;
                into.has_others = true;
            }
            4 => {
                expect(wire, WireType::Fixed64)?;
                into.count_float = Some(reader.double()?);
            }
            6 => {
                expect(wire, WireType::Fixed64)?;
                into.zero_threshold = reader.double()?;
            }
            7 => {
                expect(wire, WireType::Varint)?;
                into.zero_count = reader.varint()?;
            }
            9 | 12 => {
                into.has_spans = true;
                return Ok(false);
            }
            _ => {
                into.has_others |= !is_native_field(number);
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// Whether a field of a histogram belongs to native histograms. Classic buckets do not, nor exemplars, whose labels would not be
/// anonymized.
const fn is_native_field(number: u32) -> bool {
    matches!(number, 1..=2 | 4..=15)
}

/// Decodes a `Quantile`: the quantile, and its value.
fn pair(message: &[u8]) -> Result<(f64, f64), Error> {
    let (mut quantile, mut value) = (0.0, 0.0);
    fields(message, &[], |number, wire, reader| {
        let into = match number {
            1 => &mut quantile,
            2 => &mut value,
            _ => return Ok(false),
        };
        expect(wire, WireType::Fixed64)?;
        *into = reader.double()?;
        Ok(true)
    })?;
    Ok((quantile, value))
}

/// Decodes a `Bucket`: its upper bound, and the number of observations in it and below.
#[allow(clippy::cast_precision_loss, reason = "the text format writes the count as a float, too")]
fn bucket(message: &[u8]) -> Result<(f64, f64), Error> {
    let (mut bound, mut count, mut count_float) = (0.0, 0, None);
    fields(message, schema::BUCKET, |number, wire, reader| {
        match number {
            1 => {
                expect(wire, WireType::Varint)?;
                count = reader.varint()?;
            }
            2 => {
                expect(wire, WireType::Fixed64)?;
                bound = reader.double()?;
            }
            4 => {
                expect(wire, WireType::Fixed64)?;
                count_float = Some(reader.double()?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((bound, count_float.unwrap_or(count as f64)))
}

impl<'a> MetricFields<'a> {
    /// Adds the series of a summary or histogram as in the text format: `x{quantile=..}` or `x_bucket{le=..}`, `x_sum`,
    /// `x_count`. The buckets of a native histogram have no such series: only its sum and count are added.
    #[cold]
    pub(super) fn expand(
        &self,
        summary: bool,
        distribution: Distribution,
        mark: usize,
        limits: &DecodeLimits,
        set: &mut SeriesSet<'a>,
    ) -> Result<(), Error> {
        let (outer, bound_label) = if summary { (4, "quantile") } else { (HISTOGRAM, "le") };
        // The labels of the metric are moved to the arena, because each series needs a copy of them.
        let text = set.arena().text();
        let labels = &*text.alloc_slice_copy(set.pushed(mark));
        set.abandon(mark);
        let text_bytes = labels.iter().map(|label| label.name.len() + label.value.len()).sum();
        let named = |suffix: &str| match labels.first() {
            Some(name) if self.named => bumpalo::format!(in text, "{}{suffix}", name.value).into_bump_str(),
            _ => "",
        };
        let template = |name| SeriesTemplate { labels, name, text_bytes, timestamp_ms: self.timestamp_ms };
        let bounded = template(if summary { "" } else { named("_bucket") });
        let (mut any, mut to_infinity) = (false, false);
        let mut reader = FieldReader::new(self.message);
        while let Some((number, wire)) = reader.field()? {
            if number != outer {
                reader.skip(number, wire)?;
                continue;
            }
            let mut reader = FieldReader::new(reader.bytes()?);
            while let Some((number, wire)) = reader.field()? {
                if number != 3 {
                    reader.skip(number, wire)?;
                    continue;
                }
                let (bound, value) = if summary { pair(reader.bytes()?)? } else { bucket(reader.bytes()?)? };
                (any, to_infinity) = (true, to_infinity || bound == f64::INFINITY);
                bounded.push_series(Some((bound_label, bound)), value, limits, set)?;
            }
        }
        if !summary && any && !to_infinity {
            bounded.push_series(Some((bound_label, f64::INFINITY)), distribution.count(), limits, set)?;
        }
        template(named("_sum")).push_series(None, distribution.sum, limits, set)?;
        template(named("_count")).push_series(None, distribution.count(), limits, set)
    }
}

impl<'a> MetricFields<'a> {
    /// The message of the histogram, with only the fields of native histograms.
    #[cold]
    pub(super) fn native_message(&self, distribution: Distribution, set: &SeriesSet<'a>) -> Result<&'a [u8], Error> {
        let histograms =
            || crate::protobuf::fields(self.message).filter(|(number, _)| *number == HISTOGRAM).map(|(_, text)| text);
        if let (Some(only), None, false) = (histograms().next(), histograms().nth(1), distribution.has_others) {
            return Ok(only);
        }
        let mut kept = bumpalo::collections::Vec::new_in(set.arena().text());
        for histogram in histograms() {
            let mut reader = FieldReader::new(histogram);
            loop {
                let at = histogram.len() - reader.remaining();
                let Some((number, wire)) = reader.field()? else { break };
                reader.skip(number, wire)?;
                if is_native_field(number) {
                    kept.extend_from_slice(&histogram[at..histogram.len() - reader.remaining()]);
                }
            }
        }
        Ok(kept.into_bump_slice())
    }
}

/// The common parts of all series of one summary or histogram.
struct SeriesTemplate<'a> {
    labels: &'a [Label<'a>],
    /// Replaces the family's name, unless it is empty.
    name: &'a str,
    text_bytes: usize,
    timestamp_ms: Option<i64>,
}

impl<'a> SeriesTemplate<'a> {
    /// Adds one series with the common labels, this name, and, for a bucket or a quantile, the label `bound` with its
    /// number. Returns an error where a limit on series, labels or memory is reached.
    fn push_series(
        &self,
        bound: Option<(&'static str, f64)>,
        value: f64,
        limits: &DecodeLimits,
        set: &mut SeriesSet<'a>,
    ) -> Result<(), Error> {
        limits.check_series(set.len())?;
        limits.check_labels(self.labels.len() + 1)?;
        limits.check_all_labels(set.mark() + self.labels.len() + 1)?;
        set.charge(self.text_bytes, limits)?;
        let mark = set.mark();
        for &label in self.labels {
            set.push_label(label);
        }
        if !self.name.is_empty() {
            set.pushed_mut(mark)[0].value = self.name;
        }
        if let Some((name, bound)) = bound {
            let mut digits = bumpalo::collections::Vec::with_capacity_in(24, set.arena().text());
            put_float(&mut digits, bound);
            let value = std::str::from_utf8(digits.into_bump_slice()).expect("a number is ASCII");
            set.push_label(Label { name, value });
        }
        let points = Points::Sample(Sample { value, timestamp_ms: self.timestamp_ms });
        set.finish(mark, MetricType::Untyped, points);
        Ok(())
    }
}
