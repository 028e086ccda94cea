//! Encodes a native histogram for remote write: as `prometheus.Histogram` of 1.0, whose fields have the same numbers in
//! `io.prometheus.write.v2.Histogram`.

use super::{BucketSign, NativeHistogram};
use crate::protobuf::{WireType, key, put_message, put_varint};

/// `Histogram.ResetHint.GAUGE`: buckets may shrink without a reset.
const GAUGE: u8 = 3;

/// The zigzag encoding of a signed number, which has the sign in the lowest bit.
const fn zigzag(value: i64) -> u64 {
    (value << 1) as u64 ^ (value >> 63) as u64
}

fn put_double(out: &mut Vec<u8>, number: u8, value: f64) {
    out.push(key(number, WireType::Fixed64));
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_number(out: &mut Vec<u8>, number: u8, value: u64) {
    out.push(key(number, WireType::Varint));
    put_varint(out, value);
}

impl NativeHistogram<'_> {
    /// Appends the histogram as a field with this key. `is_gauge` is whether its buckets may shrink. Its start timestamp is left
    /// out.
    pub(crate) fn put_remote(&self, key_of_field: u8, is_gauge: bool, out: &mut Vec<u8>) {
        let totals = self.totals();
        let is_float = totals.is_float();
        out.push(key_of_field);
        put_message(out, |out| {
            // These two fields determine the kind of histogram, also if they are zero.
            if is_float {
                put_double(out, 2, totals.count_float);
            } else {
                put_number(out, 1, totals.count);
            }
            if totals.sum.to_bits() != 0 {
                put_double(out, 3, totals.sum);
            }
            if totals.schema != 0 {
                put_number(out, 4, zigzag(i64::from(totals.schema)));
            }
            if totals.zero_threshold.to_bits() != 0 {
                put_double(out, 5, totals.zero_threshold);
            }
            if is_float {
                put_double(out, 7, totals.zero_count_float);
            } else {
                put_number(out, 6, totals.zero_count);
            }
            self.put_buckets(BucketSign::Negative, is_float, [8, 9, 10], out);
            self.put_buckets(BucketSign::Positive, is_float, [11, 12, 13], out);
            if is_gauge {
                put_number(out, 14, u64::from(GAUGE));
            }
            if let Some(timestamp_ms) = self.timestamp_ms.filter(|timestamp_ms| *timestamp_ms != 0) {
                put_number(out, 15, timestamp_ms as u64);
            }
        });
    }

    /// Appends spans, and then deltas or counts, as fields of these numbers.
    fn put_buckets(&self, sign: BucketSign, is_float: bool, [spans, deltas, counts]: [u8; 3], out: &mut Vec<u8>) {
        for span in self.spans(sign) {
            out.push(key(spans, WireType::Bytes));
            put_message(out, |out| {
                if span.offset != 0 {
                    put_number(out, 1, zigzag(i64::from(span.offset)));
                }
                if span.length != 0 {
                    put_number(out, 2, u64::from(span.length));
                }
            });
        }
        let before = out.len();
        out.push(key(if is_float { counts } else { deltas }, WireType::Bytes));
        let (message, ()) = put_message(out, |out| {
            if is_float {
                self.counts(sign).for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
            } else {
                self.deltas(sign).for_each(|delta| put_varint(out, zigzag(delta)));
            }
        });
        if message.is_empty() {
            out.truncate(before);
        }
    }
}
