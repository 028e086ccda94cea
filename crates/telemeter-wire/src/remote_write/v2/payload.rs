//! Converts the samples, histograms and exemplars of a 2.0 series to fields of 1.0.

use super::series::Decoder;
use crate::{
    error::Error,
    labels::put_label,
    protobuf::{FieldReader, WireType, key, put_varint},
    remote_write::time_order,
    series::SeriesSet,
};

/// The keys of the fields of `TimeSeries` and `Exemplar` in 1.0.
const SAMPLE: u8 = key(2, WireType::Bytes);
const EXEMPLAR: u8 = key(3, WireType::Bytes);
const HISTOGRAM: u8 = key(4, WireType::Bytes);
const EXEMPLAR_VALUE: u8 = key(2, WireType::Fixed64);
const EXEMPLAR_TIMESTAMP: u8 = key(3, WireType::Varint);
/// The numbers of the start timestamps in samples and histograms of 2.0. All fields with lower numbers also exist in 1.0.
const SAMPLE_START: u32 = 3;
const HISTOGRAM_START: u32 = 17;

impl<'a> Decoder<'_, 'a> {
    /// Encodes the samples, exemplars and histograms of a checked series as 1.0, in the order of 1.0. `created_ms` is the start
    /// timestamp of the whole series; `is_sorted` is whether samples and histograms are in the order of their times: otherwise they
    /// are sorted.
    pub(super) fn payload_of_1_0(
        &mut self,
        message: &'a [u8],
        created_ms: i64,
        is_sorted: bool,
        set: &SeriesSet<'a>,
    ) -> Result<&'a [u8], Error> {
        let (mut out, mut field) = (std::mem::take(&mut self.anew), std::mem::take(&mut self.field));
        out.clear();
        for (number, key) in [(2, SAMPLE), (4, EXEMPLAR), (3, HISTOGRAM)] {
            let mut reader = FieldReader::new(message);
            while let Some((found, wire)) = reader.field()? {
                if found != number {
                    reader.skip(found, wire)?;
                    continue;
                }
                let message = reader.bytes()?;
                field.clear();
                match number {
                    2 => self.put_point(message, SAMPLE_START, created_ms, &mut field)?,
                    3 => self.put_point(message, HISTOGRAM_START, created_ms, &mut field)?,
                    _ => self.put_exemplar(message, &mut field)?,
                }
                out.push(key);
                put_varint(&mut out, field.len() as u64);
                out.extend_from_slice(&field);
            }
        }
        if !is_sorted {
            out = time_order::sorted(&out);
        }
        let payload = set.arena().text().alloc_slice_copy(&out);
        (self.anew, self.field) = (out, field);
        Ok(payload)
    }

    /// Appends the kept fields of a sample or histogram, whose start timestamp is field `start`. If start timestamps are kept
    /// and it has none, it gets that of the series.
    fn put_point(&self, message: &[u8], start: u32, created_ms: i64, out: &mut Vec<u8>) -> Result<(), Error> {
        if !self.keep.start_timestamps {
            return put_known(message, out, |number| number < start);
        }
        let (mut reader, mut has_start) = (FieldReader::new(message), false);
        while let Some((number, wire)) = reader.field()? {
            match number == start {
                true => has_start = reader.varint()? != 0,
                false => reader.skip(number, wire)?,
            }
        }
        if has_start || created_ms == 0 {
            return put_known(message, out, |number| number <= start);
        }
        put_known(message, out, |number| number < start)?;
        put_varint(out, u64::from(start << 3 | WireType::Varint as u32));
        put_varint(out, created_ms as u64);
        Ok(())
    }

    fn put_exemplar(&self, message: &'a [u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let (mut value, mut timestamp_ms, mut name) = (0.0_f64, 0, None);
        let mut reader = FieldReader::new(message);
        while let Some((number, wire)) = reader.field()? {
            match number {
                1 => self.pairs(&mut reader, wire, &mut name, |label| {
                    put_label(out, label);
                    Ok(())
                })?,
                2 => value = reader.double()?,
                3 => timestamp_ms = reader.varint()?,
                _ => reader.skip(number, wire)?,
            }
        }
        if value.to_bits() != 0 {
            out.push(EXEMPLAR_VALUE);
            out.extend_from_slice(&value.to_le_bytes());
        }
        if timestamp_ms != 0 {
            out.push(EXEMPLAR_TIMESTAMP);
            put_varint(out, timestamp_ms);
        }
        Ok(())
    }
}

/// Appends the fields of a message for whose number `known` returns `true`, as they came.
pub(super) fn put_known(message: &[u8], out: &mut Vec<u8>, known: impl Fn(u32) -> bool) -> Result<(), Error> {
    let mut reader = FieldReader::new(message);
    loop {
        let from = message.len() - reader.remaining();
        let Some((number, wire)) = reader.field()? else { return Ok(()) };
        reader.skip(number, wire)?;
        if known(number) {
            out.extend_from_slice(&message[from..message.len() - reader.remaining()]);
        }
    }
}
