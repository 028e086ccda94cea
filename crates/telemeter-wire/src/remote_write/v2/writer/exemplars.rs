//! Encodes exemplars in a request of 2.0: their labels become references, and exemplars of a series without samples are moved to
//! a series that has samples.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{EXEMPLAR, LABELS, RequestBuilder, messages};
use crate::{
    protobuf::{FieldReader, WireType, fields, key, put_bytes, put_varint},
    remote_write::time_order::integer,
    series::{Encoded, Points, SeriesSet},
};

const VALUE: u8 = key(2, WireType::Fixed64);
const TIMESTAMP: u8 = key(3, WireType::Varint);

/// The exemplars of series without samples, as Prometheus sends them, and the series to which they are moved: in 2.0, each
/// series needs samples or histograms.
#[derive(Debug, Default)]
pub(super) struct Orphans<'a> {
    /// The payloads of such series with the index of the series to which they are moved, in descending order of the index.
    payloads: Vec<(usize, &'a [u8])>,
    /// The payloads that [`take`](Self::take) returned last.
    taken: Vec<&'a [u8]>,
    left_out: u64,
}

impl<'a> Orphans<'a> {
    /// Finds the exemplars of such series in a set.
    pub(super) fn of(set: &SeriesSet<'a>) -> Self {
        let alone = |points: &Points<'a>| match *points {
            Points::Encoded(Encoded { samples: 0, payload, .. }) => Some(payload),
            _ => None,
        };
        match set.iter().any(|series| alone(&series.points).is_some()) {
            true => Self::find(set, alone),
            false => Self::default(),
        }
    }

    #[cold]
    fn find(set: &SeriesSet<'a>, alone: impl Fn(&Points<'a>) -> Option<&'a [u8]>) -> Self {
        let hasher = DefaultHashBuilder::default();
        let mut by_labels = HashTable::with_capacity(set.len());
        for (index, series) in set.iter().enumerate() {
            if matches!(series.points, Points::Encoded(Encoded { samples: 1.., .. })) {
                let hash = hasher.hash_one(series.labels);
                let is_same = |other: &(u64, usize)| other.0 == hash && set.at(other.1).labels == series.labels;
                by_labels.entry(hash, is_same, |other| other.0).or_insert((hash, index));
            }
        }
        let mut orphans = Self::default();
        for series in set.iter() {
            let Some(payload) = alone(&series.points) else { continue };
            let hash = hasher.hash_one(series.labels);
            match by_labels.find(hash, |other| other.0 == hash && set.at(other.1).labels == series.labels) {
                Some((_, index)) => orphans.payloads.push((*index, payload)),
                None => orphans.left_out += messages(payload, 3).count() as u64,
            }
        }
        orphans.payloads.sort_by_key(|(index, _)| *index);
        orphans.payloads.reverse();
        orphans
    }

    /// The number of exemplars without a series to which they could be moved.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The payloads with exemplars that are moved to the series at `index`. The calls have to be in the order of the indices.
    #[inline]
    pub(super) fn take(&mut self, index: usize) -> &[&'a [u8]] {
        self.taken.clear();
        while let Some((_, payload)) = self.payloads.pop_if(|(taker, _)| *taker == index) {
            self.taken.push(payload);
        }
        &self.taken
    }
}

impl RequestBuilder {
    /// Appends the exemplars of a payload to `body`. Those without a timestamp are not allowed in 2.0, and are left out.
    pub(super) fn put_exemplars(&mut self, payload: &[u8]) {
        for message in messages(payload, 3) {
            if self.put_exemplar(message).is_none() {
                self.exemplars_left_out += 1;
            }
        }
    }

    /// Appends an exemplar of 1.0; `None` where it has no timestamp.
    fn put_exemplar(&mut self, message: &[u8]) -> Option<()> {
        let timestamp_ms = Some(integer(message, 3) as u64).filter(|time| *time != 0)?;
        let Self { symbols, body, field, packed_exemplar, contents, .. } = self;
        let mut value = 0.0_f64;
        packed_exemplar.clear();
        let mut reader = FieldReader::new(message);
        while let Some((number, wire)) = reader.field().ok()? {
            match (number, wire) {
                (1, WireType::Bytes) => {
                    let label = reader.bytes().ok()?;
                    for part in [1, 2] {
                        let text = fields(label).filter(|(number, _)| *number == part).last().map(|(_, text)| text);
                        // The text was checked when it was decoded.
                        let text = std::str::from_utf8(text.unwrap_or_default()).unwrap_or_default();
                        put_varint(packed_exemplar, u64::from(symbols.find_or_add(text)));
                    }
                }
                (2, WireType::Fixed64) => value = reader.double().ok()?,
                (number, wire) => reader.skip(number, wire).ok()?,
            }
        }
        field.clear();
        if !packed_exemplar.is_empty() {
            put_bytes(field, LABELS, packed_exemplar);
        }
        if value.to_bits() != 0 {
            field.push(VALUE);
            field.extend_from_slice(&value.to_le_bytes());
        }
        field.push(TIMESTAMP);
        put_varint(field, timestamp_ms);
        put_bytes(body, EXEMPLAR, field);
        contents.exemplars += 1;
        Some(())
    }
}
