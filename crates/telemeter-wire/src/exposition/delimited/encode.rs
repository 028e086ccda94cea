//! Writes families.

use super::{TIMESTAMP, VALUE, VALUE_LEN, value_key};
use crate::{
    labels,
    protobuf::{Wire, key, put_bytes, put_message, put_varint},
    series::{MetricType, NAME_LABEL, Points, Sample, Series, SeriesSet},
};

const NAME: u8 = key(1, Wire::Bytes);
const TYPE: u8 = key(3, Wire::Varint);
const METRIC: u8 = key(4, Wire::Bytes);
const UNTYPED: u8 = key(5, Wire::Bytes);

/// Appends all series of `set` to `out`, a family for each run of series of one name and type. Series of remote write,
/// and those without a value, have no form here and are left out.
pub fn encode(set: &SeriesSet<'_>, out: &mut Vec<u8>) {
    let mut index = 0;
    while index < set.len() {
        let first = set.at(index);
        let name = first.name();
        let run = (index..set.len()).take_while(|&next| {
            let next = set.at(next);
            next.kind == first.kind && next.name() == name
        });
        let run = index..index + run.count();
        index = run.end;
        let before = out.len();
        let (_, any) = put_message(out, |out| {
            put_bytes(out, NAME, name.as_bytes());
            out.extend_from_slice(&[TYPE, scalar(first.kind) as u8]);
            let head = out.len();
            for series in run.map(|at| set.at(at)) {
                if let Points::Sample(sample) = series.points {
                    put_metric(&series, sample, out);
                }
            }
            out.len() > head
        });
        if !any {
            out.truncate(before);
        }
    }
}

/// A single value cannot be a summary or histogram.
const fn scalar(kind: MetricType) -> MetricType {
    match kind {
        MetricType::Counter | MetricType::Gauge | MetricType::Untyped => kind,
        MetricType::Summary | MetricType::Histogram | MetricType::GaugeHistogram => MetricType::Untyped,
    }
}

fn put_metric(series: &Series<'_, '_>, sample: Sample, out: &mut Vec<u8>) {
    out.push(METRIC);
    put_message(out, |out| {
        for label in series.labels.iter().filter(|label| label.name != NAME_LABEL) {
            labels::put_label(out, *label);
        }
        let wrapper = value_key(series.kind).unwrap_or(UNTYPED);
        out.extend_from_slice(&[wrapper, VALUE_LEN as u8, VALUE]);
        out.extend_from_slice(&sample.value.to_le_bytes());
        if let Some(timestamp) = sample.timestamp_ms {
            out.push(TIMESTAMP);
            put_varint(out, timestamp as u64);
        }
    });
}
