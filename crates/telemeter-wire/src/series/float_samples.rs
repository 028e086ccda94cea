//! The float samples of a series, whether the series has a single one or the encoded fields of a remote write.

use super::{Points, Sample};
use crate::{
    error::Error,
    protobuf::{FieldReader, WireType, expect},
};

/// An iterator over the float samples of a series, in their order; native histograms are left out.
#[derive(Clone)]
pub struct FloatSamples<'a> {
    single: Option<Sample>,
    fields: FieldReader<'a>,
}

impl<'a> FloatSamples<'a> {
    /// The samples of these points.
    pub(crate) const fn of(points: &Points<'a>) -> Self {
        match *points {
            Points::Sample(sample) => Self::single(sample),
            Points::Encoded(encoded) => Self::encoded(encoded.payload),
            Points::Histogram(_) | Points::Absent => Self::encoded(&[]),
        }
    }

    /// One sample.
    pub(crate) const fn single(sample: Sample) -> Self {
        Self { single: Some(sample), fields: FieldReader::new(&[]) }
    }

    /// The samples among the encoded fields of a `prometheus.TimeSeries`.
    pub(crate) const fn encoded(fields: &'a [u8]) -> Self {
        Self { single: None, fields: FieldReader::new(fields) }
    }
}

impl Iterator for FloatSamples<'_> {
    type Item = Sample;

    fn next(&mut self) -> Option<Sample> {
        if let Some(sample) = self.single.take() {
            return Some(sample);
        }
        loop {
            // The fields were checked when they were decoded: an error can only be the end.
            match self.fields.field().ok()?? {
                (2, WireType::Bytes) => return decode_sample(self.fields.bytes().ok()?).ok(),
                (number, wire) => self.fields.skip(number, wire).ok()?,
            }
        }
    }
}

/// Decodes a `prometheus.Sample`; absent fields are zero, as in proto3.
#[inline]
pub(crate) fn decode_sample(message: &[u8]) -> Result<Sample, Error> {
    let mut reader = FieldReader::new(message);
    let (mut value, mut timestamp_ms) = (0.0, 0);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => {
                expect(wire, WireType::Fixed64)?;
                value = reader.double()?;
            }
            2 => {
                expect(wire, WireType::Varint)?;
                timestamp_ms = reader.varint()? as i64;
            }
            _ => reader.skip(number, wire)?,
        }
    }
    Ok(Sample { value, timestamp_ms: Some(timestamp_ms) })
}
