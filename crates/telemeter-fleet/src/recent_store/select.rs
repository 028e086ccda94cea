//! Selection for `/federate`: the newest sample of each matching series, as text, in pieces.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use telemeter_wire::{
    Label, MetricType, Sample,
    exposition::{EscapedNames, Escaping, NameKind, is_known_name, text},
};

use super::{LOOKBACK, RecentStore, cluster::StoredSeries, samples::StoredPoint};

/// The largest piece, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// The size of a batch of families that are written together, in bytes. A larger family is emitted while it is written.
const BATCH_BYTES: usize = 4 << 20;

impl RecentStore {
    /// Writes the newest sample of each series for whose labels `matches` returns `true`, in the text format, sorted by
    /// metric name, and calls `emit` with pieces of at most 64 KiB. A series is left out if its newest sample is older than
    /// [`LOOKBACK`] or is a stale marker. EscapedNames are escaped by `escaping` such that different names stay different; a series
    /// for which that is impossible is left out, and a comment at the end has the number of these.
    ///
    /// No lock is held during `emit`; a `Break` from it ends the selection. About 4 MiB are in memory at a time, whatever
    /// the size of the result.
    pub fn select(
        &self,
        now_ms: i64,
        escaping: Escaping,
        matches: impl Fn(&[Label<'_>]) -> bool,
        mut emit: impl FnMut(Vec<u8>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let oldest_ms = now_ms.saturating_sub(i64::try_from(LOOKBACK.as_millis()).unwrap_or(i64::MAX));
        let is_current = |series: &StoredSeries| {
            let newest = series.samples.newest();
            newest.ms >= oldest_ms && !newest.is_stale()
        };
        let (families, labels) = self.families_of(escaping, &is_current, &matches);
        let mut left_out = 0;
        for batch in batches(&families) {
            let (texts, has_type) = (vec![Vec::new(); batch.len()], vec![false; batch.len()]);
            let mut writer = FamilyWriter { families: batch, labels: &labels, texts, has_type, left_out: 0 };
            let is_single = batch.len() == 1;
            self.walk(
                &mut writer,
                |writer, cluster| {
                    let (symbols, mut labels) = (&cluster.symbols, Vec::new());
                    for series in cluster.series.iter().filter(|series| is_current(series)) {
                        let Some(at) = writer.position(series.name(symbols)) else { continue };
                        labels.clear();
                        labels.extend(series.labels(symbols));
                        if matches(&labels) {
                            writer.write_sample(at, &mut labels, series.samples.newest());
                        }
                    }
                },
                |writer| match &mut writer.texts[..] {
                    [text] if is_single && text.len() >= PIECE_BYTES => emit_pieces(&std::mem::take(text), &mut emit),
                    _ => ControlFlow::Continue(()),
                },
            )?;
            left_out += writer.left_out;
            emit_pieces(&writer.texts.concat(), &mut emit)?;
        }
        if left_out > 0 {
            let escaping = escaping.as_str();
            let note = format!(
                "# {left_out} series are left out: under escaping={escaping}, their names are those of others\n"
            );
            emit_pieces(note.as_bytes(), &mut emit)?;
        }
        ControlFlow::Continue(())
    }

    /// The families of all matching series, sorted by name, and the escaped names of their labels.
    fn families_of(
        &self,
        escaping: Escaping,
        is_current: &impl Fn(&StoredSeries) -> bool,
        matches: &impl Fn(&[Label<'_>]) -> bool,
    ) -> (Vec<SelectedFamily>, EscapedNames) {
        let mut families = BTreeMap::<String, usize>::new();
        let mut has_utf8_names = false;
        self.each_match(is_current, matches, |labels, name| {
            let bytes = labels.iter().map(|label| label.name.len() + label.value.len() + 4).sum::<usize>() + 40;
            has_utf8_names |= !labels.iter().all(|label| is_known_name(label.name, NameKind::Label));
            match families.get_mut(name) {
                Some(sum) => *sum += bytes,
                None => drop(families.insert(name.to_owned(), bytes)),
            }
        });
        // Mostly no label name needs escaping: then the second walk is not necessary.
        let mut labels = BTreeSet::new();
        if has_utf8_names && escaping != Escaping::AllowUtf8 {
            self.each_match(is_current, matches, |series, _| {
                for label in series {
                    if !labels.contains(label.name) {
                        labels.insert(label.name.to_owned());
                    }
                }
            });
        }
        let names = EscapedNames::new(escaping, NameKind::Metric, &families.keys().cloned().collect());
        let family = |(name, bytes): (String, usize)| {
            let written = names.written(&name).map(str::to_owned);
            SelectedFamily { name, written, bytes }
        };
        (families.into_iter().map(family).collect(), EscapedNames::new(escaping, NameKind::Label, &labels))
    }

    /// Calls `visit` with the labels and the metric name of each matching series.
    fn each_match(
        &self,
        is_current: &impl Fn(&StoredSeries) -> bool,
        matches: &impl Fn(&[Label<'_>]) -> bool,
        mut visit: impl FnMut(&[Label<'_>], &str),
    ) {
        let _ = self.walk(
            &mut (),
            |(), cluster| {
                let (symbols, mut labels) = (&cluster.symbols, Vec::new());
                for series in cluster.series.iter().filter(|series| is_current(series)) {
                    labels.clear();
                    labels.extend(series.labels(symbols));
                    if matches(&labels) {
                        visit(&labels, series.name(symbols));
                    }
                }
            },
            |()| ControlFlow::Continue(()),
        );
    }
}

/// All series of one metric name.
struct SelectedFamily {
    name: String,
    /// The escaped name; `None` where no escaping distinguishes it from another name.
    written: Option<String>,
    /// The approximate size of its lines, in bytes.
    bytes: usize,
}

/// Divides families into batches of neighbours, each of at most [`BATCH_BYTES`] or of a single family.
fn batches(families: &[SelectedFamily]) -> impl Iterator<Item = &[SelectedFamily]> {
    let mut rest = families;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fit = rest.iter().take_while(|family| {
            sum += family.bytes;
            sum <= BATCH_BYTES
        });
        let (batch, after) = rest.split_at(fit.count().max(1).min(rest.len()));
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Writes the samples of a batch of families in the text format.
struct FamilyWriter<'f> {
    families: &'f [SelectedFamily],
    /// The escaped label names.
    labels: &'f EscapedNames,
    /// The text of each family.
    texts: Vec<Vec<u8>>,
    /// Whether the `# TYPE` line of each family was written.
    has_type: Vec<bool>,
    /// The number of series that were left out because of their names.
    left_out: usize,
}

impl<'f> FamilyWriter<'f> {
    /// The index of the family with this name in the batch.
    fn position(&self, name: &str) -> Option<usize> {
        self.families.binary_search_by(|family| (*family.name).cmp(name)).ok()
    }

    /// Writes a sample with escaped names, and escapes `labels` in place; leaves out a series whose names have none.
    fn write_sample<'l>(&mut self, at: usize, labels: &mut [Label<'l>], point: StoredPoint)
    where
        'f: 'l,
    {
        let (family, names): (_, &'f EscapedNames) = (&self.families[at], self.labels);
        for label in &mut *labels {
            let Some(name) = names.written(label.name) else {
                self.left_out += 1;
                return;
            };
            label.name = name;
        }
        let Some(name) = &family.written else {
            self.left_out += 1;
            return;
        };
        let out = &mut self.texts[at];
        if !std::mem::replace(&mut self.has_type[at], true) {
            text::put_type(name, MetricType::Untyped, out);
        }
        text::put_sample(name, labels, Sample { value: point.value, timestamp_ms: Some(point.ms) }, out);
    }
}

/// Calls `emit` with `text` in pieces of at most `PIECE_BYTES`, until `emit` breaks.
fn emit_pieces(text: &[u8], emit: &mut impl FnMut(Vec<u8>) -> ControlFlow<()>) -> ControlFlow<()> {
    text.chunks(PIECE_BYTES).try_for_each(|piece| emit(piece.to_vec()))
}
