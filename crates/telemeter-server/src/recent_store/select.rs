//! `/federate`: the newest sample of each series that was asked for, as text, in pieces.

use std::{borrow::Cow, collections::BTreeMap, ops::ControlFlow};

use telemeter_wire::{Label, MetricType, Sample, exposition::text};

use super::{LOOKBACK, RecentStore, cluster::Series, samples::Point, symbols::Symbols};

/// A piece that is handed out has about so many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// Families are written so many bytes at a time; larger ones are handed out while they are written.
const BATCH_BYTES: usize = 4 << 20;

impl RecentStore {
    /// Writes the newest sample of each series that `matches` answers `true` for, as text exposition sorted by metric
    /// name, and hands it to `emit` in pieces of about 64 KiB. A series whose newest sample is older than [`LOOKBACK`],
    /// or marks its end, is left out. What is not legal in a name is written as an underscore.
    ///
    /// No lock is held while `emit` runs; `Break` ends it. About 4 MiB are in memory at a time, however much matches.
    pub fn select(
        &self,
        now_ms: i64,
        matches: impl Fn(&[Label<'_>]) -> bool,
        mut emit: impl FnMut(Vec<u8>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let oldest_ms = now_ms.saturating_sub(i64::try_from(LOOKBACK.as_millis()).unwrap_or(i64::MAX));
        let is_current = |series: &Series| {
            let newest = series.samples.newest();
            newest.ms >= oldest_ms && !newest.is_stale()
        };
        let families = self.families_of(&is_current, &matches);
        for batch in batches(&families) {
            let mut written =
                Written { families: batch, texts: vec![Vec::new(); batch.len()], begun: vec![false; batch.len()] };
            let alone = batch.len() == 1;
            self.walk(
                &mut written,
                |written, symbols, cluster| {
                    let mut labels = Vec::new();
                    for series in cluster.series.iter().filter(|series| is_current(series)) {
                        let Some(at) = written.position(series.name(symbols)) else { continue };
                        labels.clear();
                        labels.extend(series.labels(symbols));
                        if matches(&labels) {
                            written.line(at, &labels, series.samples.newest());
                        }
                    }
                },
                |written| match &mut written.texts[..] {
                    [text] if alone && text.len() >= PIECE_BYTES => hand_out(&std::mem::take(text), &mut emit),
                    _ => ControlFlow::Continue(()),
                },
            )?;
            hand_out(&written.texts.concat(), &mut emit)?;
        }
        ControlFlow::Continue(())
    }

    /// The names to be written, sorted, each with about how many bytes its lines take.
    fn families_of(
        &self,
        is_current: &impl Fn(&Series) -> bool,
        matches: &impl Fn(&[Label<'_>]) -> bool,
    ) -> Vec<(String, usize)> {
        let mut families = BTreeMap::<String, usize>::new();
        let _ = self.walk(
            &mut families,
            |families, symbols: &Symbols, cluster| {
                let mut labels = Vec::new();
                for series in cluster.series.iter().filter(|series| is_current(series)) {
                    labels.clear();
                    labels.extend(series.labels(symbols));
                    if !matches(&labels) {
                        continue;
                    }
                    let bytes = labels.iter().map(|label| label.name.len() + label.value.len() + 4).sum::<usize>() + 40;
                    let name = legal(series.name(symbols), true);
                    match families.get_mut(&*name) {
                        Some(sum) => *sum += bytes,
                        None => drop(families.insert(name.into_owned(), bytes)),
                    }
                }
            },
            |_| ControlFlow::Continue(()),
        );
        families.into_iter().collect()
    }
}

/// Neighbours that are written in one go.
fn batches(families: &[(String, usize)]) -> impl Iterator<Item = &[(String, usize)]> {
    let mut rest = families;
    std::iter::from_fn(move || {
        let mut sum = 0;
        let fit = rest.iter().take_while(|(_, bytes)| {
            sum += bytes;
            sum <= BATCH_BYTES
        });
        let (batch, after) = rest.split_at(fit.count().max(1).min(rest.len()));
        rest = after;
        (!batch.is_empty()).then_some(batch)
    })
}

struct Written<'f> {
    families: &'f [(String, usize)],
    texts: Vec<Vec<u8>>,
    begun: Vec<bool>,
}

impl Written<'_> {
    fn position(&self, name: &str) -> Option<usize> {
        let name = legal(name, true);
        self.families.binary_search_by(|(family, _)| (**family).cmp(&*name)).ok()
    }

    fn line(&mut self, at: usize, labels: &[Label<'_>], point: Point) {
        let (out, name) = (&mut self.texts[at], &self.families[at].0);
        if !std::mem::replace(&mut self.begun[at], true) {
            text::put_type(name, MetricType::Untyped, out);
        }
        let sample = Sample { value: point.value, timestamp_ms: Some(point.ms) };
        if labels.iter().all(|label| matches!(legal(label.name, false), Cow::Borrowed(_))) {
            return text::put_sample(name, labels, sample, out);
        }
        let names: Vec<_> = labels.iter().map(|label| legal(label.name, false)).collect();
        let labels: Vec<_> = names.iter().zip(labels).map(|(name, label)| Label::new(name, label.value)).collect();
        text::put_sample(name, &labels, sample, out);
    }
}

/// Hands `text` out in pieces.
fn hand_out(text: &[u8], emit: &mut impl FnMut(Vec<u8>) -> ControlFlow<()>) -> ControlFlow<()> {
    text.chunks(PIECE_BYTES).try_for_each(|piece| emit(piece.to_vec()))
}

/// A name with what the text format does not know replaced by underscores.
fn legal(name: &str, colons: bool) -> Cow<'_, str> {
    let is_legal = |at: usize, c: char| {
        c.is_ascii_alphabetic() || c == '_' || (c == ':' && colons) || (at > 0 && c.is_ascii_digit())
    };
    if name.chars().enumerate().all(|(at, c)| is_legal(at, c)) && !name.is_empty() {
        return Cow::Borrowed(name);
    }
    let text: String = name.chars().enumerate().map(|(at, c)| if is_legal(at, c) { c } else { '_' }).collect();
    Cow::Owned(if text.is_empty() { "_".to_owned() } else { text })
}
