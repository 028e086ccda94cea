//! The order of the samples, and of the histograms, of one series: both versions require that a sender sends them in the order
//! of their times.
//!
//! Source: remote write 1.0, "Ordering"; 2.0, "Samples and Histogram Samples".

use crate::protobuf::{FieldReader, WireType};

/// Compares each time with the one before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeOrder {
    last_ms: i64,
    is_sorted: bool,
}

impl Default for TimeOrder {
    fn default() -> Self {
        Self { last_ms: i64::MIN, is_sorted: true }
    }
}

impl TimeOrder {
    /// Adds the time of the next sample.
    #[inline]
    pub(super) fn add(&mut self, time_ms: i64) {
        self.is_sorted &= self.last_ms <= time_ms;
        self.last_ms = time_ms;
    }

    /// Whether no time was before the previous one.
    #[inline]
    pub(super) fn is_sorted(self) -> bool {
        self.is_sorted
    }
}

/// The fields of a checked series of 1.0 other than labels and unknown ones: samples by time, then exemplars as they came, then
/// histograms by time. Of equal times, the order stays.
#[cold]
pub(super) fn sorted(series: &[u8]) -> Vec<u8> {
    let mut fields: Vec<(u32, i64, &[u8])> = Vec::new();
    let mut reader = FieldReader::new(series);
    loop {
        let from = series.len() - reader.remaining();
        // The series was checked when it was decoded, so there is no error.
        let Ok(Some((number, wire))) = reader.field() else { break };
        let before = reader.remaining();
        if reader.skip(number, wire).is_err() {
            break;
        }
        let message = FieldReader::new(&series[series.len() - before..]).bytes().unwrap_or_default();
        let time_ms = match number {
            2 => integer(message, 2),
            3 => 0,
            4 => integer(message, 15),
            _ => continue,
        };
        fields.push((number, time_ms, &series[from..series.len() - reader.remaining()]));
    }
    fields.sort_by_key(|&(number, time_ms, _)| (number, time_ms));
    fields.into_iter().flat_map(|(.., field)| field).copied().collect()
}

/// The varint in the field of this number in a checked message; 0 where there is none.
pub(super) fn integer(message: &[u8], number: u32) -> i64 {
    let (mut reader, mut value) = (FieldReader::new(message), 0);
    while let Ok(Some((found, wire))) = reader.field() {
        match wire {
            WireType::Varint if found == number => value = reader.varint().unwrap_or_default() as i64,
            wire if reader.skip(found, wire).is_err() => break,
            _ => {}
        }
    }
    value
}
