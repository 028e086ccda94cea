//! `/federate`: the newest sample of each series that was asked for, as text, in pieces.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use telemeter_wire::{
    Label, MetricType, Sample,
    exposition::{Escaping, NameKind, is_known_name, text},
};

use super::{LOOKBACK, RecentStore, cluster::StoredSeries, names::Names, samples::StoredPoint};

/// A piece that is handed out has about so many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Families are written so many bytes at a time; larger ones are handed out while they are written.
const BATCH_BYTES: usize = 4 << 20;

impl RecentStore {
    /// Writes the newest sample of each series that `matches` answers `true` for, as text exposition sorted by metric
    /// name, and hands it to `emit` in pieces of about 64 KiB. A series whose newest sample is older than [`LOOKBACK`],
    /// or marks its end, is left out. Names are written under `escaping`; no two become one: see `names.rs`.
    /// How many series that leaves out, a comment at the end says.
    ///
    /// No lock is held while `emit` runs; `Break` ends it. About 4 MiB are in memory at a time, however much matches.
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
            let (texts, begun) = (vec![Vec::new(); batch.len()], vec![false; batch.len()]);
            let mut written = WrittenName { families: batch, labels: &labels, texts, begun, left_out: 0 };
            let alone = batch.len() == 1;
            self.walk(
                &mut written,
                |written, cluster| {
                    let (symbols, mut labels) = (&cluster.symbols, Vec::new());
                    for series in cluster.series.iter().filter(|series| is_current(series)) {
                        let Some(at) = written.position(series.name(symbols)) else { continue };
                        labels.clear();
                        labels.extend(series.labels(symbols));
                        if matches(&labels) {
                            written.line(at, &mut labels, series.samples.newest());
                        }
                    }
                },
                |written| match &mut written.texts[..] {
                    [text] if alone && text.len() >= PIECE_BYTES => hand_out(&std::mem::take(text), &mut emit),
                    _ => ControlFlow::Continue(()),
                },
            )?;
            left_out += written.left_out;
            hand_out(&written.texts.concat(), &mut emit)?;
        }
        if left_out > 0 {
            let escaping = escaping.as_str();
            let note = format!(
                "# {left_out} series are left out: under escaping={escaping}, their names are those of others\n"
            );
            hand_out(note.as_bytes(), &mut emit)?;
        }
        ControlFlow::Continue(())
    }

    /// The metric families to be written, sorted by name, and how labels are to be called in them.
    fn families_of(
        &self,
        escaping: Escaping,
        is_current: &impl Fn(&StoredSeries) -> bool,
        matches: &impl Fn(&[Label<'_>]) -> bool,
    ) -> (Vec<SelectedFamily>, Names) {
        let mut families = BTreeMap::<String, usize>::new();
        let mut has_others = false;
        self.each_match(is_current, matches, |labels, name| {
            let bytes = labels.iter().map(|label| label.name.len() + label.value.len() + 4).sum::<usize>() + 40;
            has_others |= !labels.iter().all(|label| is_known_name(label.name, NameKind::Label));
            match families.get_mut(name) {
                Some(sum) => *sum += bytes,
                None => drop(families.insert(name.to_owned(), bytes)),
            }
        });
        // Mostly all labels are of the old alphabet, and none of them has to be known beforehand.
        let mut labels = BTreeSet::new();
        if has_others && escaping != Escaping::AllowUtf8 {
            self.each_match(is_current, matches, |series, _| {
                for label in series {
                    if !labels.contains(label.name) {
                        labels.insert(label.name.to_owned());
                    }
                }
            });
        }
        let names = Names::new(escaping, NameKind::Metric, &families.keys().cloned().collect());
        let family = |(name, bytes): (String, usize)| {
            let written = names.written(&name).map(str::to_owned);
            SelectedFamily { name, written, bytes }
        };
        (families.into_iter().map(family).collect(), Names::new(escaping, NameKind::Label, &labels))
    }

    /// Shows the labels of each series that matches, and its metric name, to `visit`.
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

/// The series of one metric name.
struct SelectedFamily {
    name: String,
    /// Its name as it is written; `None` where it cannot be told apart from another's.
    written: Option<String>,
    /// About how many bytes its lines take.
    bytes: usize,
}

/// Neighbours that are written in one go.
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

struct WrittenName<'f> {
    families: &'f [SelectedFamily],
    labels: &'f Names,
    texts: Vec<Vec<u8>>,
    begun: Vec<bool>,
    left_out: usize,
}

impl<'f> WrittenName<'f> {
    fn position(&self, name: &str) -> Option<usize> {
        self.families.binary_search_by(|family| (*family.name).cmp(name)).ok()
    }

    /// Writes a series, whose labels are renamed, unless it cannot be told apart from another.
    fn line<'l>(&mut self, at: usize, labels: &mut [Label<'l>], point: StoredPoint)
    where
        'f: 'l,
    {
        let (family, names): (_, &'f Names) = (&self.families[at], self.labels);
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
        if !std::mem::replace(&mut self.begun[at], true) {
            text::put_type(name, MetricType::Untyped, out);
        }
        text::put_sample(name, labels, Sample { value: point.value, timestamp_ms: Some(point.ms) }, out);
    }
}

/// Hands `text` out in pieces.
fn hand_out(text: &[u8], emit: &mut impl FnMut(Vec<u8>) -> ControlFlow<()>) -> ControlFlow<()> {
    text.chunks(PIECE_BYTES).try_for_each(|piece| emit(piece.to_vec()))
}
