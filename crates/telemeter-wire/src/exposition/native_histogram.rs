//! Native histograms of the delimited format: decodes and checks them, and encodes them for remote write.
//!
//! A series has the `io.prometheus.client.Histogram` message as it came, so that a client can forward it; the message is decoded
//! when it is checked, and when it is encoded for a store.
//!
//! Source: <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>; Go:
//! `prometheus/model/textparse/protobufparse.go` and `prometheus/model/histogram`, `Validate`; the exponential schemas:
//! <https://prometheus.io/docs/specs/native_histograms/>.

mod remote;

use std::fmt;

use crate::protobuf::{FieldReader, WireType};

/// One native histogram at one time, in the encoding of the delimited format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NativeHistogram<'a> {
    /// An `io.prometheus.client.Histogram` that was checked when it was decoded. Its classic buckets and exemplars are ignored.
    pub message: &'a [u8],
    /// The time in milliseconds since 1970; `None` where the sender gave none.
    pub timestamp_ms: Option<i64>,
}

/// How native histograms are decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NativeHistograms {
    /// They become [`Points::Histogram`](crate::Points::Histogram).
    #[default]
    Keep,
    /// Their sum and count, and the classic buckets beside them, become series, as those of classic histograms do.
    AsClassic,
}

/// The sign of the values in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketSign {
    /// The buckets of values below the zero bucket.
    Negative,
    /// The buckets of values above the zero bucket.
    Positive,
}

impl fmt::Display for BucketSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Negative => "negative",
            Self::Positive => "positive",
        })
    }
}

/// Why a store would refuse a native histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistogramFlaw {
    /// The schema is unknown, so that the bounds of buckets are, too.
    #[error("its schema is {schema}, which is not within -4 and 8")]
    Schema {
        /// What it says.
        schema: i32,
    },
    /// The spans and the buckets have different numbers.
    #[error("its {sign} spans need {needed} buckets, and it has {buckets}")]
    Spans {
        /// Of which buckets.
        sign: BucketSign,
        /// How many buckets the spans cover.
        needed: u64,
        /// How many there are.
        buckets: u64,
    },
    /// A span begins before the end of the previous one.
    #[error("its {sign} span {span} has the negative offset {offset}")]
    Offset {
        /// Of which buckets.
        sign: BucketSign,
        /// Which span, from 1.
        span: usize,
        /// The offset.
        offset: i32,
    },
    /// The count of a bucket is negative or too large.
    #[error("its {sign} bucket {bucket} has a count that is below zero or too large")]
    Bucket {
        /// Of which buckets.
        sign: BucketSign,
        /// Which bucket, from 1.
        bucket: usize,
    },
    /// The count of all observations, or of those in the zero bucket, is negative.
    #[error("one of its counts is below zero")]
    NegativeCount,
    /// The counts of integer buckets do not add up to the count of observations.
    #[error("its count is {count}, and its buckets hold {buckets} observations")]
    Count {
        /// What it says.
        count: u64,
        /// The sum of its buckets, including the zero bucket.
        buckets: u128,
    },
}

/// The smallest and the largest exponential schema: the resolution of the buckets.
const SCHEMAS: std::ops::RangeInclusive<i32> = -4..=8;

/// A field of a message that was checked.
enum Field<'a> {
    Varint(u64),
    Double(f64),
    Bytes(&'a [u8]),
}

/// The known fields of a checked message.
fn fields(message: &[u8]) -> impl Iterator<Item = (u32, Field<'_>)> {
    let mut reader = FieldReader::new(message);
    std::iter::from_fn(move || {
        loop {
            // An error can only be the end: the message was checked when it was decoded.
            let (number, wire) = reader.field().ok()??;
            let field = match wire {
                WireType::Varint => Field::Varint(reader.varint().ok()?),
                WireType::Fixed64 => Field::Double(reader.double().ok()?),
                WireType::Bytes => Field::Bytes(reader.bytes().ok()?),
                WireType::GroupStart | WireType::GroupEnd | WireType::Fixed32 => {
                    reader.skip(number, wire).ok()?;
                    continue;
                }
            };
            return Some((number, field));
        }
    })
}

/// The fields of a histogram other than its buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Totals {
    count: u64,
    count_float: f64,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
}

impl Totals {
    /// Whether it is a float histogram, by the rule of Prometheus.
    fn is_float(&self) -> bool {
        self.count_float > 0.0 || self.zero_count_float > 0.0
    }
}

/// A run of buckets: its distance from the end of the previous run, and the number of its buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BucketSpan {
    offset: i32,
    length: u32,
}

impl BucketSpan {
    /// Reads a span from its message, which was checked before. A missing field is 0; of a repeated one, the last
    /// counts.
    fn read(message: &[u8]) -> Self {
        let mut span = Self { offset: 0, length: 0 };
        for field in fields(message) {
            match field {
                (1, Field::Varint(offset)) => span.offset = unzigzag(u64::from(offset as u32)) as i32,
                (2, Field::Varint(length)) => span.length = length as u32,
                _ => {}
            }
        }
        span
    }
}

/// Decodes the zigzag encoding of a signed number, which has the sign in the lowest bit.
const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The numbers of a native histogram that describe it to a person.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HistogramOutline {
    /// The number of observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// The number of its buckets without the zero bucket.
    pub buckets: u64,
    /// The resolution of its buckets.
    pub schema: i32,
    /// Milliseconds since the Unix epoch; `None` where there is no time.
    pub timestamp_ms: Option<i64>,
}

impl HistogramOutline {
    /// Of a `prometheus.Histogram` of remote write, which was checked when it was decoded.
    #[allow(clippy::cast_precision_loss, reason = "the text format writes the count as a float, too")]
    pub(crate) fn from_remote_write(message: &[u8]) -> Self {
        let mut outline = Self { timestamp_ms: Some(0), ..Self::default() };
        for field in fields(message) {
            match field {
                (1, Field::Varint(count)) => outline.count = count as f64,
                (2, Field::Double(count)) => outline.count = count,
                (3, Field::Double(sum)) => outline.sum = sum,
                (4, Field::Varint(schema)) => outline.schema = unzigzag(u64::from(schema as u32)) as i32,
                (8 | 11, Field::Bytes(span)) => outline.buckets += u64::from(BucketSpan::read(span).length),
                (15, Field::Varint(time)) => outline.timestamp_ms = Some(time as i64),
                _ => {}
            }
        }
        outline
    }
}

impl<'a> NativeHistogram<'a> {
    /// The numbers that describe it to a person.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "the text format writes the count as a float, too")]
    pub fn outline(&self) -> HistogramOutline {
        let totals = self.totals();
        let buckets = [BucketSign::Negative, BucketSign::Positive]
            .map(|sign| self.spans(sign).map(|span| u64::from(span.length)).sum::<u64>());
        HistogramOutline {
            count: if totals.is_float() { totals.count_float } else { totals.count as f64 },
            sum: totals.sum,
            buckets: buckets.iter().sum(),
            schema: totals.schema,
            timestamp_ms: self.timestamp_ms,
        }
    }

    /// Checks whether a store would accept the histogram.
    ///
    /// # Errors
    /// The first [`HistogramFlaw`] for which a store would refuse it.
    pub fn check(&self) -> Result<(), HistogramFlaw> {
        let totals = self.totals();
        if !SCHEMAS.contains(&totals.schema) {
            return Err(HistogramFlaw::Schema { schema: totals.schema });
        }
        let mut observations = u128::from(totals.zero_count);
        for sign in [BucketSign::Negative, BucketSign::Positive] {
            let needed = self.check_spans(sign)?;
            let buckets =
                if totals.is_float() { self.check_counts(sign)? } else { self.check_deltas(sign, &mut observations)? };
            if needed != buckets {
                return Err(HistogramFlaw::Spans { sign, needed, buckets });
            }
        }
        if totals.is_float() {
            // Sums of floats are not exact, so the count of a float histogram is not compared with them.
            let is_negative = totals.count_float < 0.0 || totals.zero_count_float < 0.0;
            return if is_negative { Err(HistogramFlaw::NegativeCount) } else { Ok(()) };
        }
        // An observation that is NaN is in no bucket, and makes the sum NaN.
        let count = u128::from(totals.count);
        let adds_up = if totals.sum.is_nan() { observations <= count } else { observations == count };
        if adds_up { Ok(()) } else { Err(HistogramFlaw::Count { count: totals.count, buckets: observations }) }
    }

    /// Returns how many buckets the spans cover.
    fn check_spans(&self, sign: BucketSign) -> Result<u64, HistogramFlaw> {
        let mut needed = 0;
        for (at, span) in self.spans(sign).enumerate() {
            if at > 0 && span.offset < 0 {
                return Err(HistogramFlaw::Offset { sign, span: at + 1, offset: span.offset });
            }
            needed += u64::from(span.length);
        }
        Ok(needed)
    }

    /// Checks that no bucket of a float histogram has a negative count. Returns how many buckets of this sign there are.
    fn check_counts(&self, sign: BucketSign) -> Result<u64, HistogramFlaw> {
        let mut buckets = 0;
        for count in self.counts(sign) {
            buckets += 1;
            if count < 0.0 {
                return Err(HistogramFlaw::Bucket { sign, bucket: buckets });
            }
        }
        Ok(buckets as u64)
    }

    /// Checks the same of an integer histogram. Returns how many buckets of this sign there are, and adds their counts to
    /// `observations`.
    fn check_deltas(&self, sign: BucketSign, observations: &mut u128) -> Result<u64, HistogramFlaw> {
        let (mut buckets, mut count) = (0, 0_i64);
        for delta in self.deltas(sign) {
            buckets += 1;
            let flaw = HistogramFlaw::Bucket { sign, bucket: buckets };
            count = count.checked_add(delta).ok_or(flaw)?;
            *observations += u128::from(u64::try_from(count).map_err(|_| flaw)?);
        }
        Ok(buckets as u64)
    }

    /// Reads the fields that occur once. A missing field is 0; of a repeated one, the last counts.
    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for field in fields(self.message) {
            match field {
                (1, Field::Varint(count)) => totals.count = count,
                (2, Field::Double(sum)) => totals.sum = sum,
                (4, Field::Double(count)) => totals.count_float = count,
                (5, Field::Varint(schema)) => totals.schema = unzigzag(u64::from(schema as u32)) as i32,
                (6, Field::Double(threshold)) => totals.zero_threshold = threshold,
                (7, Field::Varint(count)) => totals.zero_count = count,
                (8, Field::Double(count)) => totals.zero_count_float = count,
                _ => {}
            }
        }
        totals
    }

    /// The spans of the positive or the negative buckets, in their order.
    fn spans(&self, sign: BucketSign) -> impl Iterator<Item = BucketSpan> + use<'a> {
        let wanted = match sign {
            BucketSign::Negative => 9,
            BucketSign::Positive => 12,
        };
        fields(self.message).filter_map(move |(number, field)| match field {
            Field::Bytes(span) if number == wanted => Some(BucketSpan::read(span)),
            _ => None,
        })
    }

    /// The difference of each bucket's count from the previous one, in an integer histogram.
    fn deltas(&self, sign: BucketSign) -> impl Iterator<Item = i64> + use<'a> {
        let wanted = match sign {
            BucketSign::Negative => 10,
            BucketSign::Positive => 13,
        };
        repeated(
            self.message,
            wanted,
            |field| match field {
                Field::Varint(delta) => Some(unzigzag(delta)),
                Field::Double(_) | Field::Bytes(_) => None,
            },
            |packed| packed.varint().ok().map(unzigzag),
        )
    }

    /// The count of each bucket of a float histogram.
    fn counts(&self, sign: BucketSign) -> impl Iterator<Item = f64> + use<'a> {
        let wanted = match sign {
            BucketSign::Negative => 11,
            BucketSign::Positive => 14,
        };
        repeated(
            self.message,
            wanted,
            |field| match field {
                Field::Double(count) => Some(count),
                Field::Varint(_) | Field::Bytes(_) => None,
            },
            |packed| packed.double().ok(),
        )
    }
}

/// The values of a repeated field, each in a field of its own or all in a packed field.
fn repeated<'a, T>(
    message: &'a [u8],
    wanted: u32,
    single: impl Fn(Field<'a>) -> Option<T>,
    next: impl Fn(&mut FieldReader<'a>) -> Option<T>,
) -> impl Iterator<Item = T> {
    let (mut all, mut packed) = (fields(message), FieldReader::new(&[]));
    std::iter::from_fn(move || {
        loop {
            if packed.remaining() > 0 {
                return next(&mut packed);
            }
            match all.next()? {
                (number, Field::Bytes(bytes)) if number == wanted => packed = FieldReader::new(bytes),
                (number, field) if number == wanted => return single(field),
                _ => {}
            }
        }
    })
}

#[cfg(test)]
mod tests;
