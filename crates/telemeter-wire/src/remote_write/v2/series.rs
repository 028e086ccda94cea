//! The decoder of one `TimeSeries` of remote write 2.0.

use super::{Contents, Keep};
use crate::{
    error::{DecodeLimits, Error, ReferenceError},
    protobuf::{FieldReader, WireType, expect},
    remote_write::{plain_sample, time_order::TimeOrder},
    schema,
    series::{Encoded, FamilyMetadata, Label, MetricType, Points, SentLabels, SeriesSet, family_of},
};

/// The state while the series of one request are decoded.
pub(super) struct Decoder<'s, 'a> {
    symbols: &'s [&'a str],
    /// Whether the set has these symbols, so that references to them can be kept.
    keeps_references: bool,
    /// Whether no symbol is longer than a label's name or value may be.
    are_short: bool,
    pub(super) keep: Keep,
    limits: &'s DecodeLimits,
    /// The index of the series that is being decoded.
    pub index: usize,
    /// The content of the series that were decoded.
    pub contents: Contents,
    /// The references and the family of the metadata that was kept last, and its number in the set.
    kept_metadata: Option<([u32; 3], &'a str, u32)>,
    /// Buffers for a series that is encoded again, and for one field of it.
    pub(super) anew: Vec<u8>,
    pub(super) field: Vec<u8>,
}

/// The content of one series.
#[derive(Clone, Copy, Default)]
struct SeriesContents {
    samples: u32,
    histograms: u32,
    exemplars: u32,
    newest_ms: Option<i64>,
    sample_order: TimeOrder,
    histogram_order: TimeOrder,
    /// The start timestamp of the whole series; 0 means none.
    created_ms: i64,
    /// The references of its metadata to a help and a unit, and its type.
    metadata: Option<[u32; 3]>,
    /// Whether its fields other than labels are one run of samples, in the encoding of 1.0.
    plain: bool,
}

impl SeriesContents {
    #[inline]
    fn add_sample(&mut self, timestamp_ms: i64) {
        self.samples += 1;
        self.sample_order.add(timestamp_ms);
        self.newest_ms = self.newest_ms.max(Some(timestamp_ms));
    }
}

impl<'s, 'a> Decoder<'s, 'a> {
    /// `longest` is the length of the longest symbol; with `keeps_references`, the set has these symbols.
    pub(super) fn new(
        symbols: &'s [&'a str],
        longest: usize,
        keeps_references: bool,
        keep: Keep,
        limits: &'s DecodeLimits,
    ) -> Self {
        Self {
            symbols,
            keeps_references,
            are_short: longest <= limits.label_name_bytes.min(limits.label_value_bytes),
            keep,
            limits,
            index: 0,
            contents: Contents::default(),
            kept_metadata: None,
            anew: Vec::new(),
            field: Vec::new(),
        }
    }

    /// Decodes one series, and appends it to `set`.
    pub(super) fn series(&mut self, message: &'a [u8], set: &mut SeriesSet<'a>) -> Result<(), Error> {
        self.limits.check_series(set.len())?;
        let mark = set.mark();
        let (mut found, mut run, mut pending) =
            (SeriesContents { plain: true, ..SeriesContents::default() }, 0..0, None);
        let mut sent = SentLabels::Changed;
        let mut reader = FieldReader::new(message);
        loop {
            let at = message.len() - reader.remaining();
            let Some((number, wire)) = reader.field()? else { break };
            match number {
                1 if wire == WireType::Bytes && set.mark() == mark && pending.is_none() => {
                    let packed = reader.bytes()?;
                    pending = self.packed_labels(packed, mark, set)?;
                    sent = if self.keeps_references { SentLabels::References(packed) } else { SentLabels::Changed };
                }
                1 => {
                    self.labels(&mut reader, wire, mark, &mut pending, set)?;
                    sent = SentLabels::Changed;
                }
                2 => {
                    expect(wire, WireType::Bytes)?;
                    let sample = reader.bytes()?;
                    let field = &message[at..message.len() - reader.remaining()];
                    found.plain &= self.sample(field, sample, &mut found)? && (run.is_empty() || run.end == at);
                    let start = if run.is_empty() { at } else { run.start };
                    run = start..message.len() - reader.remaining();
                }
                3 => {
                    expect(wire, WireType::Bytes)?;
                    self.histogram(reader.bytes()?, &mut found)?;
                }
                4 => {
                    expect(wire, WireType::Bytes)?;
                    self.exemplar(reader.bytes()?, &mut found, set)?;
                }
                5 => {
                    expect(wire, WireType::Bytes)?;
                    metadata(reader.bytes()?, found.metadata.get_or_insert_default())?;
                }
                6 => {
                    expect(wire, WireType::Varint)?;
                    found.created_ms = reader.varint()? as i64;
                    self.contents.start_timestamps += u64::from(found.created_ms != 0);
                }
                _ => reader.skip(number, wire)?,
            }
        }
        found.plain &= found.created_ms == 0 || !self.keep.start_timestamps;
        if pending.is_some() {
            let count = 2 * (set.mark() - mark) + 1;
            return Err(self.reference_error(|series| ReferenceError::Odd { series, count }));
        }
        if let Some([help, unit, _]) = found.metadata {
            self.symbol(help)?;
            self.symbol(unit)?;
        }
        self.contents.metadata += u64::from(found.metadata.is_some());
        self.contents.samples += u64::from(found.samples);
        self.contents.histograms += u64::from(found.histograms);
        self.contents.exemplars += u64::from(found.exemplars);
        if found.samples + found.histograms + found.exemplars == 0 {
            set.abandon(mark);
            return Ok(());
        }
        self.limits.check_all_labels(set.mark())?;
        let is_sorted = found.sample_order.is_sorted() && found.histogram_order.is_sorted();
        let payload = match found.plain && is_sorted {
            true => &message[run],
            false => self.payload_of_1_0(message, found.created_ms, is_sorted, set)?,
        };
        set.charge(payload.len(), self.limits)?;
        let samples = found.samples + found.histograms;
        let points = Points::Encoded(Encoded { payload, sent, samples, newest_ms: found.newest_ms });
        set.finish(mark, MetricType::Untyped, points);
        match found.metadata {
            Some(metadata) if self.keep.metadata && metadata != [0; 3] => self.keep_metadata(metadata, set),
            _ => Ok(()),
        }
    }

    /// Keeps the metadata of the series that was finished last. Mostly it is that of the one before it.
    fn keep_metadata(&mut self, metadata: [u32; 3], set: &mut SeriesSet<'a>) -> Result<(), Error> {
        let [help, unit, kind] = metadata;
        let name = set.len().checked_sub(1).map_or("", |last| set.at(last).name());
        let family = family_of(name, kind);
        let number = match self.kept_metadata {
            Some((kept, of, number)) if kept == metadata && of == family => number,
            _ => {
                let (help, unit) = (self.symbol(help)?, self.symbol(unit)?);
                set.add_metadata(FamilyMetadata { family, kind, help, unit }, self.limits)?
            }
        };
        self.kept_metadata = Some((metadata, family, number));
        set.set_last_metadata(number);
        Ok(())
    }

    /// Decodes the first field of labels, in which an encoder writes all of them. Returns a name without a value.
    #[inline]
    fn packed_labels(&self, packed: &[u8], mark: usize, set: &mut SeriesSet<'a>) -> Result<Option<&'a str>, Error> {
        let (mut packed, mut pending, mut bytes, mut count) = (FieldReader::new(packed), None, 0, 0);
        while packed.remaining() > 0 {
            let name = self.symbol(packed.varint()? as u32)?;
            if packed.remaining() == 0 {
                pending = Some(name);
                break;
            }
            let label = Label::new(name, self.symbol(packed.varint()? as u32)?);
            count += 1;
            self.limits.check_labels(count)?;
            bytes += label.name.len() + label.value.len();
            set.push_label(label);
        }
        if !self.are_short {
            let mut labels = set.pushed(mark).iter();
            labels.try_for_each(|label| self.limits.check_label(label.name.as_bytes(), label.value.as_bytes()))?;
        }
        set.charge(bytes, self.limits)?;
        Ok(pending)
    }

    /// Decodes the labels of the series, of which some were in another field.
    #[cold]
    fn labels(
        &self,
        reader: &mut FieldReader<'a>,
        wire: WireType,
        mark: usize,
        pending: &mut Option<&'a str>,
        set: &mut SeriesSet<'a>,
    ) -> Result<(), Error> {
        self.pairs(reader, wire, pending, |label| {
            self.check(label, set.mark() - mark + 1, set)?;
            set.push_label(label);
            Ok(())
        })
    }

    /// Decodes references to labels, packed, as encoders write them, or one by one, and calls `take` with each label. A name
    /// waits in `pending` for its value, which may be in another field.
    #[inline]
    pub(super) fn pairs(
        &self,
        reader: &mut FieldReader<'_>,
        wire: WireType,
        pending: &mut Option<&'a str>,
        mut take: impl FnMut(Label<'a>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        references(reader, wire, |reference| {
            let symbol = self.symbol(reference)?;
            match pending.take() {
                None => *pending = Some(symbol),
                Some(name) => take(Label::new(name, symbol))?,
            }
            Ok(())
        })
    }

    /// Checks the limits for a label, which is the `count`th of its series or exemplar, and counts its bytes.
    #[inline]
    fn check(&self, label: Label<'a>, count: usize, set: &mut SeriesSet<'a>) -> Result<(), Error> {
        self.limits.check_labels(count)?;
        self.limits.check_label(label.name.as_bytes(), label.value.as_bytes())?;
        set.charge(label.name.len() + label.value.len(), self.limits)
    }

    #[inline]
    fn symbol(&self, reference: u32) -> Result<&'a str, Error> {
        match self.symbols.get(reference as usize) {
            Some(symbol) => Ok(symbol),
            None => Err(self.reference_error(|series| ReferenceError::OutOfRange {
                series,
                reference,
                symbols: self.symbols.len(),
            })),
        }
    }

    #[cold]
    fn reference_error(&self, error: impl FnOnce(usize) -> ReferenceError) -> Error {
        Error::Reference(error(self.index))
    }

    /// Decodes a sample, which is `message` in its field; whether its bytes can be kept as they are.
    #[inline]
    fn sample(&mut self, field: &[u8], message: &[u8], found: &mut SeriesContents) -> Result<bool, Error> {
        if let Some((timestamp_ms, [])) = plain_sample(field) {
            found.add_sample(timestamp_ms);
            return Ok(true);
        }
        let (mut reader, mut timestamp_ms, mut same) = (FieldReader::new(message), 0, true);
        while let Some((number, wire)) = reader.field()? {
            match number {
                1 => {
                    expect(wire, WireType::Fixed64)?;
                    reader.double()?;
                }
                2 => {
                    expect(wire, WireType::Varint)?;
                    timestamp_ms = reader.varint()? as i64;
                }
                3 => {
                    expect(wire, WireType::Varint)?;
                    self.contents.start_timestamps += u64::from(reader.varint()? != 0);
                    same &= self.keep.start_timestamps;
                }
                _ => {
                    reader.skip(number, wire)?;
                    same = false;
                }
            }
        }
        found.add_sample(timestamp_ms);
        Ok(same)
    }

    fn histogram(&mut self, message: &[u8], found: &mut SeriesContents) -> Result<(), Error> {
        schema::check(message, schema::REMOTE_HISTOGRAM)?;
        let (mut reader, mut timestamp_ms) = (FieldReader::new(message), 0);
        while let Some((number, wire)) = reader.field()? {
            match number {
                15 => {
                    expect(wire, WireType::Varint)?;
                    timestamp_ms = reader.varint()? as i64;
                }
                17 => {
                    expect(wire, WireType::Varint)?;
                    self.contents.start_timestamps += u64::from(reader.varint()? != 0);
                }
                _ => reader.skip(number, wire)?,
            }
        }
        found.histograms += 1;
        found.histogram_order.add(timestamp_ms);
        found.newest_ms = found.newest_ms.max(Some(timestamp_ms));
        found.plain = false;
        Ok(())
    }

    /// Checks an exemplar; [`put_exemplar`](Self::put_exemplar) writes it.
    fn exemplar(&self, message: &'a [u8], found: &mut SeriesContents, set: &mut SeriesSet<'a>) -> Result<(), Error> {
        let (mut labels, mut name) = (0, None);
        let mut reader = FieldReader::new(message);
        while let Some((number, wire)) = reader.field()? {
            match number {
                1 => self.pairs(&mut reader, wire, &mut name, |label| {
                    labels += 1;
                    self.check(label, labels, set)
                })?,
                2 => {
                    expect(wire, WireType::Fixed64)?;
                    reader.double()?;
                }
                3 => {
                    expect(wire, WireType::Varint)?;
                    reader.varint()?;
                }
                _ => reader.skip(number, wire)?,
            }
        }
        if name.is_some() {
            return Err(self.reference_error(|series| ReferenceError::OddOfExemplar { series, count: 2 * labels + 1 }));
        }
        found.exemplars += 1;
        found.plain = false;
        Ok(())
    }
}

/// Decodes the references and the type of metadata. As in protobuf, of several equal fields the last counts, in this message or
/// in a later one.
fn metadata(message: &[u8], [help, unit, kind]: &mut [u32; 3]) -> Result<(), Error> {
    let mut reader = FieldReader::new(message);
    while let Some((number, wire)) = reader.field()? {
        let into = match number {
            1 => &mut *kind,
            3 => &mut *help,
            4 => &mut *unit,
            _ => {
                reader.skip(number, wire)?;
                continue;
            }
        };
        expect(wire, WireType::Varint)?;
        *into = reader.varint()? as u32;
    }
    Ok(())
}

/// Calls `take` with each reference of one field, packed or not. As in protobuf, only 32 bits of a varint count.
#[inline]
pub(super) fn references(
    reader: &mut FieldReader<'_>,
    wire: WireType,
    mut take: impl FnMut(u32) -> Result<(), Error>,
) -> Result<(), Error> {
    if wire != WireType::Bytes {
        expect(wire, WireType::Varint)?;
        return take(reader.varint()? as u32);
    }
    let mut packed = FieldReader::new(reader.bytes()?);
    while packed.remaining() > 0 {
        take(packed.varint()? as u32)?;
    }
    Ok(())
}
