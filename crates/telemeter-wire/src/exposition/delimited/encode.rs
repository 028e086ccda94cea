//! The encoder of the delimited format.

use super::{TIMESTAMP, VALUE, VALUE_LEN, value_key};
use crate::{
    labels,
    protobuf::{WireType, key, put_bytes, put_message, put_varint},
    series::{MetricType, NAME_LABEL, Points, Sample, Series, SeriesSet},
};

const NAME: u8 = key(1, WireType::Bytes);
const TYPE: u8 = key(3, WireType::Varint);
const METRIC: u8 = key(4, WireType::Bytes);
const UNTYPED: u8 = key(5, WireType::Bytes);
const HISTOGRAM: u8 = key(7, WireType::Bytes);

/// Appends all series of `set` to `out`, with a family for each run of series of one name and type. The message of a native
/// histogram is copied as it came. Series of remote write, and those without a value, are left out.
pub fn encode(set: &SeriesSet<'_>, out: &mut Vec<u8>) {
    let mut index = 0;
    while index < set.len() {
        let first = set.at(index);
        let name = first.name();
        let run = (index..set.len()).take_while(|&next| {
            let next = set.at(next);
            next.kind == first.kind && is_native(&next) == is_native(&first) && next.name() == name
        });
        let run = index..index + run.count();
        index = run.end;
        let before = out.len();
        let (_, any) = put_message(out, |out| {
            put_bytes(out, NAME, name.as_bytes());
            let kind = if is_native(&first) { native(first.kind) } else { scalar(first.kind) };
            out.extend_from_slice(&[TYPE, kind as u8]);
            let head = out.len();
            for series in run.map(|at| set.at(at)) {
                match series.points {
                    Points::Sample(sample) => put_sample(&series, sample, out),
                    Points::Histogram(histogram) => put_metric(&series, histogram.timestamp_ms, out, |out| {
                        put_bytes(out, HISTOGRAM, histogram.message);
                    }),
                    Points::Encoded(_) | Points::Absent => {}
                }
            }
            out.len() > head
        });
        if !any {
            out.truncate(before);
        }
    }
}

/// The type for a single value, which cannot be a summary or histogram.
const fn scalar(kind: MetricType) -> MetricType {
    match kind {
        MetricType::Counter | MetricType::Gauge | MetricType::Untyped => kind,
        MetricType::Summary | MetricType::Histogram | MetricType::GaugeHistogram => MetricType::Untyped,
    }
}

/// The type for a native histogram, which cannot be one of the other types.
const fn native(kind: MetricType) -> MetricType {
    match kind {
        MetricType::GaugeHistogram => kind,
        MetricType::Histogram | MetricType::Counter | MetricType::Gauge | MetricType::Untyped | MetricType::Summary => {
            MetricType::Histogram
        }
    }
}

const fn is_native(series: &Series<'_, '_>) -> bool {
    matches!(series.points, Points::Histogram(_))
}

/// Writes a metric with one value. A type that has no message for one value is written as untyped.
#[inline]
fn put_sample(series: &Series<'_, '_>, sample: Sample, out: &mut Vec<u8>) {
    put_metric(series, sample.timestamp_ms, out, |out| {
        let wrapper = value_key(series.kind).unwrap_or(UNTYPED);
        out.extend_from_slice(&[wrapper, VALUE_LEN as u8, VALUE]);
        out.extend_from_slice(&sample.value.to_le_bytes());
    });
}

/// Appends a metric: its labels, the value that `put_value` appends, and its time.
#[inline]
fn put_metric(
    series: &Series<'_, '_>,
    timestamp_ms: Option<i64>,
    out: &mut Vec<u8>,
    put_value: impl FnOnce(&mut Vec<u8>),
) {
    out.push(METRIC);
    put_message(out, |out| {
        for label in series.labels.iter().filter(|label| label.name != NAME_LABEL) {
            labels::put_label(out, *label);
        }
        put_value(out);
        if let Some(timestamp_ms) = timestamp_ms {
            out.push(TIMESTAMP);
            put_varint(out, timestamp_ms as u64);
        }
    });
}
