//! The encoder of the text format.

use super::{TextFamilies, is_name_byte};
use crate::{
    exposition::{HistogramOutline, put_float},
    series::{Label, MetricType, NAME_LABEL, Sample, SeriesSet},
};

/// Appends all series of `set` to `out`, with a `# TYPE` line before the first of each name. Of remote-write series, only the
/// float samples can be written, each as a line. A native histogram is described by a comment.
pub fn encode(set: &SeriesSet<'_>, out: &mut Vec<u8>) {
    encode_part(set, &mut TextFamilies::default(), out);
}

/// As [`encode`], for a text that is written in parts: `families` has the names whose `# TYPE` line is in an earlier part.
pub fn encode_part(set: &SeriesSet<'_>, families: &mut TextFamilies, out: &mut Vec<u8>) {
    let mut last = None;
    for series in set.iter() {
        let name = series.name();
        series.histograms().for_each(|histogram| put_histogram(name, series.labels, &histogram, out));
        for sample in series.samples() {
            if last != Some(name) {
                last = Some(name);
                let kind = &mut families.find_or_add(name).kind;
                if kind.is_none() {
                    *kind = Some(MetricType::Untyped);
                    put_type(name, series.kind, out);
                }
            }
            put_sample(name, series.labels, sample, out);
        }
    }
}

/// Appends a `# TYPE` line. Any type but counter and gauge is written as untyped.
pub fn put_type(name: &str, kind: MetricType, out: &mut Vec<u8>) {
    out.extend_from_slice(b"# TYPE ");
    put_name(name, out);
    out.extend_from_slice(match kind {
        MetricType::Counter => b" counter\n",
        MetricType::Gauge => b" gauge\n",
        // Each series has a single value, also those of histograms and summaries.
        MetricType::Summary | MetricType::Untyped | MetricType::Histogram | MetricType::GaugeHistogram => b" untyped\n",
    });
}

/// Appends the line of one sample. `labels` may hold `__name__`: it is not written twice.
pub fn put_sample(name: &str, labels: &[Label<'_>], sample: Sample, out: &mut Vec<u8>) {
    put_series(name, labels, out);
    out.push(b' ');
    put_float(out, sample.value);
    put_timestamp(sample.timestamp_ms, out);
}

/// Appends a comment that describes a native histogram: `# native histogram x{a="b"} count=4 sum=8.5 buckets=2 schema=3 TIME`.
/// `labels` may hold `__name__`: it is not written twice.
pub fn put_histogram(name: &str, labels: &[Label<'_>], histogram: &HistogramOutline, out: &mut Vec<u8>) {
    out.extend_from_slice(b"# native histogram ");
    put_series(name, labels, out);
    for (what, value) in [(&b" count="[..], histogram.count), (b" sum=", histogram.sum)] {
        out.extend_from_slice(what);
        put_float(out, value);
    }
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b" buckets=");
    out.extend_from_slice(digits.format(histogram.buckets).as_bytes());
    out.extend_from_slice(b" schema=");
    out.extend_from_slice(digits.format(histogram.schema).as_bytes());
    put_timestamp(histogram.timestamp_ms, out);
}

/// Appends a name and labels.
#[inline]
fn put_series(name: &str, labels: &[Label<'_>], out: &mut Vec<u8>) {
    let plain = is_plain_name(name);
    if plain {
        out.extend_from_slice(name.as_bytes());
    }
    let mut separator = b'{';
    if !plain {
        out.push(separator);
        put_quoted(name, out);
        separator = b',';
    }
    for label in labels.iter().filter(|label| label.name != NAME_LABEL) {
        out.push(separator);
        separator = b',';
        if is_plain_name(label.name) && !label.name.contains(':') {
            out.extend_from_slice(label.name.as_bytes());
        } else {
            put_quoted(label.name, out);
        }
        out.push(b'=');
        put_quoted(label.value, out);
    }
    if separator == b',' {
        out.push(b'}');
    }
}

/// Appends the time, if there is one, and the end of the line.
#[inline]
fn put_timestamp(timestamp_ms: Option<i64>, out: &mut Vec<u8>) {
    if let Some(timestamp_ms) = timestamp_ms {
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(timestamp_ms).as_bytes());
    }
    out.push(b'\n');
}

/// Whether a name needs no quotes.
fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.as_bytes()[0].is_ascii_digit() && name.bytes().all(is_name_byte)
}

/// Writes a name, in quotes where the format requires these.
fn put_name(name: &str, out: &mut Vec<u8>) {
    if is_plain_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        put_quoted(name, out);
    }
}

/// Writes a value in quotes, with `"`, `\` and line feeds escaped.
fn put_quoted(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = value.as_bytes();
    while let Some(at) = memchr::memchr3(b'"', b'\\', b'\n', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            _ => b"\\n",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}
