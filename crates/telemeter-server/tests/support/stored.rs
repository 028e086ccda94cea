//! What reached the store, of either version of remote write, as text: a line a series, then a line an entry of metadata.
//!
//! `up,_id=c1 1@0 2@5^-5 #0.5@0{trace_id=x} type=2,help=Text,unit=s`: the labels, samples with their times as [`body`] writes them,
//! after `^` the distance of the start timestamp, exemplars, metadata. A NaN is shown with its bits.

use std::fmt::Write as _;

use super::{
    NOW_MS, TestServer, body, body_v2,
    fake::ReceivedRequest,
    receiver_v1,
    receiver_v2::{self, request_of},
};

/// Whether this request is of 2.0.
pub(crate) fn is_v2(asked: &ReceivedRequest) -> bool {
    asked.headers["content-type"] == body_v2::CONTENT_TYPE
}

/// The series of a request that has to be as the specification of its version wants it.
#[track_caller]
pub(crate) fn series_of(asked: &ReceivedRequest) -> Vec<body::TimeSeries> {
    match is_v2(asked) {
        true => receiver_v2::series_of(asked),
        false => receiver_v1::request_of(asked).unwrap_or_else(|violation| panic!("{violation}: {asked:?}")).timeseries,
    }
}

/// All that these requests hold, as lines; each has to be as the specification of its version wants it.
#[track_caller]
pub(crate) fn lines(asked: &[ReceivedRequest]) -> Vec<String> {
    let mut lines = Vec::new();
    for asked in asked {
        let series = series_of(asked);
        if is_v2(asked) {
            let request = request_of(asked).unwrap_or_else(|violation| panic!("{violation}: {asked:?}"));
            let text = |reference: u32| request.symbols[reference as usize].as_str();
            for (series, sent) in series.iter().zip(&request.timeseries) {
                let starts: Vec<_> = sent.samples.iter().map(|sample| sample.start_timestamp).collect();
                let mut line = line(series, &starts);
                if let Some(body_v2::Metadata { kind, help_ref, unit_ref }) = sent.metadata {
                    let _ = write!(line, " type={kind},help={},unit={}", text(help_ref), text(unit_ref));
                }
                lines.push(line);
            }
        } else {
            lines.extend(series.iter().map(|series| line(series, &[])));
            let request = receiver_v1::request_of(asked).unwrap_or_default();
            let entry = |entry: &body::Metadata| {
                format!("metadata {} type={},help={},unit={}", entry.family, entry.kind, entry.help, entry.unit)
            };
            lines.extend(request.metadata.iter().map(entry));
        }
    }
    lines
}

impl TestServer {
    /// What reached the store since the last call, as [`lines`].
    #[track_caller]
    pub(crate) fn stored_lines(&self) -> Vec<String> {
        lines(&self.store.take())
    }
}

/// A series, whose samples have these start timestamps.
fn line(series: &body::TimeSeries, starts: &[i64]) -> String {
    let mut line = labels(&series.labels);
    for (at, sample) in series.samples.iter().enumerate() {
        let value = match sample.value.is_nan() {
            true => format!("NaN:{:016x}", sample.value.to_bits()),
            false => format!("{:?}", sample.value).trim_end_matches(".0").to_owned(),
        };
        let _ = write!(line, " {value}@{}", sample.timestamp - NOW_MS);
        line.extend(starts.get(at).filter(|start| **start != 0).map(|start| format!("^{}", start - NOW_MS)));
    }
    line.extend(series.histograms.iter().map(|one| format!(" {}", histogram(one))));
    for exemplar in &series.exemplars {
        let time = if exemplar.timestamp == 0 { String::new() } else { (exemplar.timestamp - NOW_MS).to_string() };
        let _ = write!(line, " #{}@{time}{{{}}}", exemplar.value, labels(&exemplar.labels));
    }
    line
}

fn labels(labels: &[body::Label]) -> String {
    let label = |label: &body::Label| match &*label.name {
        "__name__" => label.value.clone(),
        name => format!("{name}={}", label.value),
    };
    labels.iter().map(label).collect::<Vec<_>>().join(",")
}

/// A native histogram: what it has of counts, sum and buckets, and its time.
pub(crate) fn histogram(one: &body::Histogram) -> String {
    let count = one.count_float.map_or_else(|| one.count.to_string(), |count| format!("float {count}"));
    let mut text = format!("h({count} sum={} schema={}", one.sum, one.schema);
    let zero = one.zero_count_float.unwrap_or(one.zero_count as f64);
    if one.zero_threshold != 0.0 || zero != 0.0 {
        let _ = write!(text, " zero={zero}/{}", one.zero_threshold);
    }
    let negative = (&one.negative_spans, &one.negative_deltas, &one.negative_counts);
    let positive = (&one.positive_spans, &one.positive_deltas, &one.positive_counts);
    for (sign, (spans, deltas, counts)) in [("-", negative), ("+", positive)] {
        let spans: Vec<_> = spans.iter().map(|span| format!("{}:{}", span.offset, span.length)).collect();
        if !(spans.is_empty() && deltas.is_empty() && counts.is_empty()) {
            let _ = write!(text, " {sign}[{}]{deltas:?}{counts:?}", spans.join(" "));
        }
    }
    if !one.custom_values.is_empty() {
        let _ = write!(text, " custom={:?}", one.custom_values);
    }
    if one.reset_hint != 0 {
        let _ = write!(text, " hint={}", one.reset_hint);
    }
    let _ = write!(text, ")@{}", one.timestamp - NOW_MS);
    if one.start_timestamp != 0 {
        let _ = write!(text, "^{}", one.start_timestamp - NOW_MS);
    }
    text
}
