//! Encodes requests of 2.0 from series of any origin, and from other requests that are joined.
//!
//! The points of a series have the form of 1.0, except that samples and histograms may have a start timestamp (see
//! [`Keep`](super::Keep)). Samples and histograms have the same bytes in both versions; labels and exemplars become references.

mod exemplars;
mod references;

use std::ops::Range;

use self::{exemplars::Orphans, references::UNKNOWN};
use super::{Contents, symbols::SymbolTable};
use crate::{
    protobuf::{FieldReader, WireType, key, put_bytes, put_varint, varint_len},
    remote_write::{SeriesWriter, plain_sample, put_sample},
    series::{Encoded, FamilyMetadata, MetricType, Points, SeriesSet},
};

/// The keys of a series in a request, and of the fields of a series.
pub(super) const SERIES: u8 = key(5, WireType::Bytes);
pub(super) const LABELS: u8 = key(1, WireType::Bytes);
pub(super) const SAMPLE: u8 = key(2, WireType::Bytes);
pub(super) const HISTOGRAM: u8 = key(3, WireType::Bytes);
pub(super) const EXEMPLAR: u8 = key(4, WireType::Bytes);
pub(super) const METADATA: u8 = key(5, WireType::Bytes);
const KIND: u8 = key(1, WireType::Varint);
const HELP: u8 = key(3, WireType::Varint);
const UNIT: u8 = key(4, WireType::Varint);

/// A request that is being encoded. One value serves many requests: its buffers are used again.
#[derive(Debug, Default)]
pub struct RequestBuilder {
    pub(super) symbols: SymbolTable,
    /// The series, encoded as fields.
    pub(super) series: Vec<u8>,
    pub(super) len: usize,
    pub(super) contents: Contents,
    pub(super) exemplars_left_out: u64,
    /// The references of the series that was encoded last.
    references: Vec<u32>,
    /// The encoded references of the series that is being encoded; and its other fields, where these are encoded again.
    pub(super) packed: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) field: Vec<u8>,
    pub(super) packed_exemplar: Vec<u8>,
    /// The metadata of the series that is being encoded, as a field; mostly empty.
    pub(super) metadata: Vec<u8>,
    /// The references in this request of the symbols of the request or set that is being added.
    pub(super) map: Vec<u32>,
}

impl RequestBuilder {
    /// Removes all series and symbols.
    pub fn clear(&mut self) {
        self.symbols.clear();
        self.series.clear();
        self.references.clear();
        self.len = 0;
        self.contents = Contents::default();
        self.exemplars_left_out = 0;
    }

    /// The number of series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no series.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The content of the series.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The number of exemplars that could not be encoded: those without a timestamp, and those of series that have neither
    /// samples nor histograms in the same request.
    #[must_use]
    pub fn exemplars_left_out(&self) -> u64 {
        self.exemplars_left_out
    }

    /// The length of the request, in bytes.
    #[must_use]
    pub fn message_len(&self) -> usize {
        self.symbols.fields().len() + self.series.len()
    }

    /// Appends the request to `out`: symbols, then series.
    pub fn put_message(&self, out: &mut Vec<u8>) {
        out.reserve(self.message_len());
        out.extend_from_slice(self.symbols.fields());
        out.extend_from_slice(&self.series);
    }

    /// Adds all series of `set`. 2.0 has no series without samples and histograms: the exemplars of such a series are moved to
    /// another series with the same labels.
    pub fn add(&mut self, set: &SeriesSet<'_>) {
        let mut orphans = Orphans::of(set);
        self.exemplars_left_out += orphans.left_out();
        let mut writer = self.writer(set);
        for (index, series) in set.iter().enumerate() {
            writer.put_with(index, series.points, &mut orphans);
        }
    }

    /// A writer that adds series of `set`, one by one.
    pub fn writer<'w, 'a>(&'w mut self, set: &'w SeriesSet<'a>) -> RequestWriter<'w, 'a> {
        // Another set has other symbols, and other texts may have had the same addresses.
        self.symbols.forget_addresses();
        self.map.clear();
        self.map.resize(set.symbols().len(), UNKNOWN);
        RequestWriter { set, request: self, previous: None }
    }

    /// Removes series that were added: `ranges`, in ascending order, each of whole series in [`SeriesWriter::written`].
    pub fn take_out(&mut self, ranges: &[Range<usize>]) {
        for range in ranges {
            self.contents = self.contents.without(&Contents::of_request(&self.series[range.clone()]));
        }
        self.len -= ranges.len();
        crate::remote_write::take_out(&mut self.series, ranges);
    }

    /// The size of its buffers, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.symbols.held_bytes()
            + self.series.capacity()
            + self.references.capacity() * size_of::<u32>()
            + self.packed.capacity()
            + self.body.capacity()
            + self.field.capacity()
            + self.packed_exemplar.capacity()
            + self.metadata.capacity()
            + self.map.capacity() * size_of::<u32>()
    }

    /// Appends a series of the references in `packed`, of the fields in `body`, and of its metadata. Returns the range of its
    /// references.
    #[inline]
    pub(super) fn put_series(&mut self, body: &[u8]) -> Range<usize> {
        let Self { series: out, packed, metadata, .. } = self;
        let len = 1 + varint_len(packed.len() as u64) + packed.len() + body.len() + metadata.len();
        out.push(SERIES);
        put_varint(out, len as u64);
        put_bytes(out, LABELS, packed);
        let end = out.len();
        out.extend_from_slice(body);
        out.extend_from_slice(metadata);
        self.len += 1;
        end - self.packed.len()..end
    }

    /// Encodes the metadata of the series that is being encoded.
    #[inline]
    fn set_metadata(&mut self, metadata: Option<&FamilyMetadata<'_>>) {
        self.metadata.clear();
        let Some(FamilyMetadata { kind, help, unit, .. }) = metadata else { return };
        let Self { symbols, field, metadata: out, .. } = self;
        field.clear();
        for (key, value) in [(KIND, *kind), (HELP, symbols.reference(help)), (UNIT, symbols.reference(unit))] {
            if value != 0 {
                field.push(key);
                put_varint(field, u64::from(value));
            }
        }
        // Symbols that are empty say nothing: decoded again, such metadata would be none.
        if !field.is_empty() {
            put_bytes(out, METADATA, field);
        }
    }

    /// As [`put_series`](Self::put_series), with the fields in `self.body`.
    pub(super) fn put_series_of_body(&mut self) -> Range<usize> {
        let body = std::mem::take(&mut self.body);
        let labels = self.put_series(&body);
        self.body = body;
        labels
    }
}

/// Adds series of one set to a request, one by one.
pub struct RequestWriter<'w, 'a> {
    set: &'w SeriesSet<'a>,
    request: &'w mut RequestBuilder,
    /// The index of the series that was added last.
    previous: Option<usize>,
}

impl SeriesWriter for RequestWriter<'_, '_> {
    #[inline]
    fn written(&self) -> &[u8] {
        &self.request.series
    }

    fn put(&mut self, index: usize, points: Points<'_>) -> Option<Range<usize>> {
        self.put_with(index, points, &mut Orphans::default())
    }
}

impl RequestWriter<'_, '_> {
    /// Appends the series at `index` with these points, and with the exemplars of another series with the same labels.
    fn put_with(&mut self, index: usize, points: Points<'_>, orphans: &mut Orphans<'_>) -> Option<Range<usize>> {
        let exemplars = orphans.take(index);
        match points {
            Points::Sample(sample) => {
                self.put_label_references(index);
                self.request.contents.samples += 1;
                self.request.body.clear();
                put_sample(sample, &mut self.request.body);
                Some(self.request.put_series_of_body())
            }
            Points::Histogram(histogram) => {
                self.put_label_references(index);
                self.request.contents.histograms += 1;
                self.request.body.clear();
                let is_gauge = self.set.at(index).kind == MetricType::GaugeHistogram;
                histogram.put_remote(HISTOGRAM, is_gauge, &mut self.request.body);
                Some(self.request.put_series_of_body())
            }
            Points::Encoded(Encoded { payload, .. })
                if exemplars.is_empty() && matches!(plain_sample(payload), Some((_, []))) =>
            {
                self.put_label_references(index);
                self.request.contents.samples += 1;
                Some(self.request.put_series(payload))
            }
            Points::Encoded(Encoded { samples: 0, .. }) | Points::Absent => None,
            Points::Encoded(Encoded { payload, .. }) => {
                self.put_label_references(index);
                Some(self.put_points(payload, exemplars))
            }
        }
    }

    /// Appends series with these points: samples and histograms each in a series of their own, and exemplars with the first of
    /// both. Returns the range of the references of the first series.
    fn put_points(&mut self, payload: &[u8], exemplars: &[&[u8]]) -> Range<usize> {
        let keeps_start = self.set.has_start_timestamps();
        let held = Contents::of_payload(payload);
        let is_as_it_is = held.histograms + held.exemplars == 0 && exemplars.is_empty();
        if is_as_it_is && is_known(payload, 2, keeps_start) {
            self.request.contents.samples += held.samples;
            return self.request.put_series(payload);
        }
        let mut first = None;
        for (number, key, count) in [(2, SAMPLE, held.samples), (4, HISTOGRAM, held.histograms)] {
            if count == 0 {
                continue;
            }
            self.request.body.clear();
            self.put_points_of(payload, number, key, keeps_start);
            if first.is_none() {
                for payload in std::iter::once(payload).chain(exemplars.iter().copied()) {
                    self.request.put_exemplars(payload);
                }
            }
            let labels = self.request.put_series_of_body();
            first.get_or_insert(labels);
        }
        self.request.contents.samples += held.samples;
        self.request.contents.histograms += held.histograms;
        first.unwrap_or_default()
    }

    /// Appends the samples or histograms of a payload to `body`.
    fn put_points_of(&mut self, payload: &[u8], number: u32, key: u8, keeps_start: bool) {
        let RequestBuilder { body, field, .. } = &mut *self.request;
        for message in messages(payload, number) {
            field.clear();
            put_known(message, number, keeps_start, field);
            put_bytes(body, key, field);
        }
    }
}

/// The messages in the fields of this number, in a payload that was checked when it was decoded.
pub(super) fn messages(payload: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    crate::protobuf::fields(payload).filter(move |(found, _)| *found == number).map(|(_, message)| message)
}

/// The number of the last field of a sample or histogram that is kept. In 1.0, higher numbers may have any meaning.
fn last_known(number: u32, keeps_start: bool) -> u32 {
    match (number, keeps_start) {
        (2, false) => 2,
        (2, true) => 3,
        (_, false) => 16,
        (_, true) => 17,
    }
}

/// Whether all fields of all samples (2) or histograms (4) are kept.
fn is_known(payload: &[u8], number: u32, keeps_start: bool) -> bool {
    let last = last_known(number, keeps_start);
    messages(payload, number).all(|message| {
        let mut reader = FieldReader::new(message);
        while let Ok(Some((found, wire))) = reader.field() {
            if found > last || reader.skip(found, wire).is_err() {
                return false;
            }
        }
        true
    })
}

/// Appends the kept fields of a sample (2) or histogram (4).
fn put_known(message: &[u8], number: u32, keeps_start: bool, out: &mut Vec<u8>) {
    let last = last_known(number, keeps_start);
    // The message was checked when it was decoded, so there is no error.
    let _ = super::payload::put_known(message, out, |found| found <= last);
}

impl Contents {
    /// The content of series that are encoded as fields of a request.
    fn of_request(series: &[u8]) -> Self {
        let mut contents = Self::default();
        for (number, _) in messages(series, 5).flat_map(crate::protobuf::fields) {
            match number {
                2 => contents.samples += 1,
                3 => contents.histograms += 1,
                4 => contents.exemplars += 1,
                _ => {}
            }
        }
        contents
    }
}
