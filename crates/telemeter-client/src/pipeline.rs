//! Turns a scrape into an upload: applies the rules to each series, and encodes and compresses the series that are
//! left.

use std::{cmp::Reverse, sync::Arc};

use bytes::Bytes;
use telemeter_rules::{StepCounts, canonical::Canonical};
use telemeter_wire::{
    Arena, DecodeLimits, Error, NativeHistograms, Series, SeriesSet,
    exposition::{self, Escaping, ExpositionFormat, TextFamilies},
    remote_write, snappy,
};

mod left_out;
mod reader_names;
mod rules;
mod watch;
mod write_requests;

use self::{reader_names::ReaderNames, write_requests::WriteRequests};
pub(crate) use self::{
    rules::{ClientRules, CycleRules},
    watch::SeriesWatch,
};

pub use left_out::LeftOut;

/// How many series are encoded at once, so that the buffer for their encoded form stays small for a scrape of any size.
const SLICE: usize = 2000;
/// Buffers larger than this, in bytes, are not kept for the next cycle.
const KEPT_BYTES: usize = 1024 * 1024;
/// The limits of a scrape: its size is capped before it is decoded, and the rules remove overlong labels and drop
/// series with an overlong name.
const LIMITS: DecodeLimits = DecodeLimits {
    series: usize::MAX,
    labels: usize::MAX,
    text_bytes: 64 << 20,
    symbols: usize::MAX,
    labels_per_series: usize::MAX,
    label_name_bytes: usize::MAX,
    label_value_bytes: usize::MAX,
};

/// The encoding of an upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PackedForm {
    /// For `/upload`: framed snappy over delimited families. The body is a sequence of slices; each is a stream of its
    /// own.
    #[default]
    Families,
    /// For remote write: a sequence of requests, each a snappy block of a `WriteRequest`.
    WriteRequests,
}

/// An upload, ready to be sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packed {
    /// Series scraped.
    pub(crate) scraped: usize,
    /// Series in the upload.
    pub(crate) kept: usize,
    /// Series that are not in the upload, by reason.
    pub(crate) left_out: LeftOut,
    /// Size of the scrape in bytes, decompressed.
    pub(crate) scraped_bytes: usize,
    /// The time of the newest sample, in Unix milliseconds; `None` where no sample has one.
    pub(crate) newest_ms: Option<i64>,
    /// The encoded series: slices one after the other, in the encoding `form`.
    pub(crate) body: Bytes,
    form: PackedForm,
    slices: Vec<UploadPart>,
}

#[derive(Clone, Copy, Debug)]
struct UploadPart {
    /// Its end in the body, as a byte offset.
    end: usize,
    /// Its size in bytes, decompressed.
    plain_bytes: usize,
}

impl Packed {
    /// Returns the series in the text format, slice by slice, with names outside the first alphabet as `escaping` writes them.
    pub(crate) fn text(&self, escaping: Escaping) -> impl Iterator<Item = Result<Vec<u8>, Error>> + use<> {
        let (body, slices, form) = (self.body.clone(), self.slices.clone(), self.form);
        let (mut start, mut plain, mut families) = (0, Vec::new(), TextFamilies::default());
        let names = ReaderNames::of(self, escaping).map(Arc::new);
        let end = names.clone();
        let texts = slices.into_iter().map(move |slice| {
            let mut text = Vec::new();
            slice.decode(form, &body[start..slice.end], &mut plain, |set| {
                if let Some(names) = &names {
                    names.put_into(set);
                }
                exposition::text::encode_part(set, &mut families, &mut text);
            })?;
            start = slice.end;
            Ok(text)
        });
        texts.chain(std::iter::once_with(move || Ok(end.map_or_else(Vec::new, |names| names.note()))))
    }

    /// Calls `see` for each series, slice by slice.
    pub(crate) fn for_each(&self, mut see: impl FnMut(&Series<'_, '_>)) -> Result<(), Error> {
        let (mut start, mut plain) = (0, Vec::new());
        for slice in &self.slices {
            let body = &self.body[start..slice.end];
            slice.decode(self.form, body, &mut plain, |set| set.iter().for_each(|series| see(&series)))?;
            start = slice.end;
        }
        Ok(())
    }
}

impl Packed {
    /// Returns the slices one by one: for remote write each is a request.
    pub(crate) fn requests(&self) -> impl Iterator<Item = Bytes> {
        let mut start = 0;
        self.slices.iter().map(move |slice| self.body.slice(std::mem::replace(&mut start, slice.end)..slice.end))
    }
}

impl UploadPart {
    /// Decodes the slice and calls `see` with its series; `plain` is a buffer for the decompressed bytes.
    fn decode(
        &self,
        form: PackedForm,
        body: &[u8],
        plain: &mut Vec<u8>,
        see: impl for<'a> FnOnce(&mut SeriesSet<'a>),
    ) -> Result<(), Error> {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        match form {
            PackedForm::Families => {
                snappy::decode_framed(body, self.plain_bytes, plain)?;
                exposition::decode(ExpositionFormat::Delimited, plain, &LIMITS, &mut set)?;
            }
            PackedForm::WriteRequests => {
                snappy::decode_block(body, self.plain_bytes, plain)?;
                remote_write::decode(plain, &LIMITS, &mut set)?;
            }
        }
        see(&mut set);
        Ok(())
    }
}

/// Encodes uploads, with buffers that are kept from cycle to cycle.
#[derive(Default)]
pub(crate) struct Packer {
    arena: Arena,
    slices: Arena,
    order: Vec<SeriesPosition>,
    families: TextFamilies,
    encoded: Vec<u8>,
    snappy: snappy::Encoder,
    form: PackedForm,
}

/// The position of a series in the upload: families in the order of the scrape, and series of a family by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SeriesPosition {
    family: u32,
    timestamp_ms: i64,
    index: u32,
}

/// An upload that is being filled.
pub(crate) struct Packing<'p> {
    packer: &'p mut Packer,
    rules: &'p ClientRules,
    cycle: CycleRules<'p>,
    native: NativeHistograms,
    watch: Option<&'p dyn SeriesWatch>,
    report: StepCounts,
    packed: Packed,
    body: Vec<u8>,
    requests: WriteRequests,
}

impl Packer {
    /// Encodes uploads in this form.
    pub(crate) fn new(form: PackedForm) -> Self {
        Self { form, ..Self::default() }
    }

    /// Begins an upload at `now_ms`. Each of its series gets the labels `required_labels`, which the server requires. `native`
    /// says how native histograms are converted.
    pub(crate) fn begin<'p>(
        &'p mut self,
        rules: &'p ClientRules,
        required_labels: &[(String, String)],
        native: NativeHistograms,
        now_ms: i64,
        watch: Option<&'p dyn SeriesWatch>,
    ) -> Packing<'p> {
        let cycle = CycleRules::new(rules, now_ms, required_labels, watch);
        if self.families.held_bytes() > KEPT_BYTES {
            self.families = TextFamilies::default()
        } else {
            self.families.clear()
        }
        let form = self.form;
        let (report, packed, body) = (StepCounts::default(), Packed { form, ..Packed::default() }, Vec::new());
        let requests = WriteRequests::default();
        Packing { packer: self, rules, cycle, native, watch, report, packed, body, requests }
    }
}

impl Packing<'_> {
    /// Adds to the count of bytes of the scrape that have arrived.
    pub(crate) fn count_bytes(&mut self, bytes: usize) {
        self.packed.scraped_bytes += bytes;
    }

    /// Decodes a piece of the scrape, applies the rules, and adds the series that are left.
    pub(crate) fn add(&mut self, format: ExpositionFormat, piece: &[u8]) -> Result<(), Error> {
        let Packer { arena, slices, order, families, encoded, snappy, form } = &mut *self.packer;
        for arena in [&mut *arena, &mut *slices] {
            if arena.held_bytes() > KEPT_BYTES { *arena = Arena::new() } else { arena.reset() }
        }
        let (arena, slices, canonical) = (&*arena, &*slices, Canonical::new());
        let mut set = SeriesSet::new_in(arena);
        exposition::decode_part(format, piece, &LIMITS, &mut set, families, self.native)?;
        self.packed.scraped += set.len();
        self.cycle.begin_piece(&set);
        self.packed.newest_ms = self.packed.newest_ms.max(put_in_order(&set, order));
        if *form == PackedForm::WriteRequests {
            // Newest first: of duplicates, the first one is kept.
            order.sort_unstable_by_key(|at| (at.family, Reverse((at.timestamp_ms, at.index))));
        }
        // A slice ends where a family ends, except for a family that is larger than a slice. The rules are applied to
        // slices, not to the whole set: to add a label to all series of the set would need as much memory again.
        for places in order.chunk_by(|a, b| a.family / SLICE as u32 == b.family / SLICE as u32) {
            for places in places.chunks(SLICE) {
                let mut slice = SeriesSet::new_in(slices);
                for place in places {
                    let series = set.at(place.index as usize);
                    slice.push(series.labels, series.kind, series.points);
                }
                self.rules.apply(&self.cycle, &mut slice, &mut self.report);
                if *form == PackedForm::WriteRequests {
                    self.requests.add(&canonical, &mut slice, &mut self.report);
                    self.packed.kept += slice.len();
                    if self.requests.is_full() {
                        self.packed.slices.extend(self.requests.put(snappy, &mut self.body));
                    }
                    continue;
                }
                self.packed.kept += slice.len();
                encoded.clear();
                exposition::delimited::encode(&slice, encoded);
                if !encoded.is_empty() {
                    snappy.framed(encoded, &mut self.body);
                    self.packed.slices.push(UploadPart { end: self.body.len(), plain_bytes: encoded.len() });
                }
            }
        }
        encoded.shrink_to(KEPT_BYTES);
        order.shrink_to(KEPT_BYTES / size_of::<SeriesPosition>());
        Ok(())
    }

    /// Finishes the upload and returns it.
    pub(crate) fn end(mut self) -> Packed {
        self.packed.slices.extend(self.requests.put(&mut self.packer.snappy, &mut self.body));
        if let Some(watch) = self.watch {
            watch.ended(&self.report);
        }
        let mut body = self.body;
        body.shrink_to_fit();
        Packed { body: body.into(), left_out: LeftOut::from_counts(&self.report), ..self.packed }
    }
}

/// Fills `order`: families in the order of the scrape, and the series of a family by time. Returns the time of the
/// newest sample.
fn put_in_order(set: &SeriesSet<'_>, order: &mut Vec<SeriesPosition>) -> Option<i64> {
    order.clear();
    // A family is identified by the index of its first series.
    let mut family = (0, "");
    let mut newest_ms = None;
    for (index, series) in (0_u32..).zip(set.iter()) {
        let name = series.name();
        if name != family.1 || index == 0 {
            family = (index, name);
        }
        let timestamp_ms = series.points.newest_ms();
        newest_ms = newest_ms.max(timestamp_ms);
        order.push(SeriesPosition { family: family.0, timestamp_ms: timestamp_ms.unwrap_or(0), index });
    }
    order.sort_unstable();
    newest_ms
}
