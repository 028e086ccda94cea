//! Writes names for a store that knows only the old alphabet: letters, digits, `_` and, in metric names, `:`.
//!
//! Two names may become one (`http.status` and `http_status`, with `underscores`). Series that would so become one are refused:
//! merged, each would be wrong.

use std::{
    cell::RefCell,
    hash::{BuildHasher as _, Hasher as _},
};

use hashbrown::{DefaultHashBuilder, HashTable};
use telemeter_wire::{
    Arena, Label, SeriesMut,
    exposition::{Escaping, NameKind, is_known_name},
};

use crate::{
    canonical::is_name,
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// How much of a series is shown in an error, in characters.
const SHOWN_CHARS: usize = 128;

/// Escapes metric names and label names. For the series of one request; each canonical, and left canonical. The labels of
/// exemplars stay as they are.
pub struct EscapeNames {
    escaping: Option<Escaping>,
    seen: RefCell<Seen>,
}

/// The series of the request that went through.
#[derive(Default)]
struct Seen {
    /// With a seed for each request: nobody can learn one over time.
    hasher: DefaultHashBuilder,
    series: HashTable<SeenSeries>,
    /// What those that were changed are called in an error, one behind the other.
    shown: String,
}

struct SeenSeries {
    /// Of its labels as they are sent.
    hash: u64,
    /// Of its labels as they came.
    original: u64,
    /// Where in `shown` it stands; `None` for one that was not changed.
    shown: Option<(usize, usize)>,
}

impl EscapeNames {
    /// Without an escaping, all names stay as they are.
    #[must_use]
    pub fn new(escaping: Option<Escaping>) -> Self {
        Self { escaping: escaping.filter(|escaping| *escaping != Escaping::AllowUtf8), seen: RefCell::default() }
    }

    /// Whether it has nothing to do.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.escaping.is_none()
    }
}

impl Transform for EscapeNames {
    fn apply<'a>(
        &'a self,
        series: &mut SeriesMut<'_, 'a>,
        arena: &'a Arena,
        _: &mut StepCounts,
    ) -> Result<Verdict, Refusal> {
        let Some(escaping) = self.escaping else { return Ok(Verdict::Keep) };
        let seen = &mut *self.seen.borrow_mut();
        if series.labels().iter().all(is_known) {
            let hash = seen.hash(series.labels());
            seen.take(hash, hash, series.labels(), None)?;
            return Ok(Verdict::Keep);
        }
        let originals = &*arena.text().alloc_slice_copy(series.labels());
        let labels = series.labels_mut();
        for label in labels.iter_mut() {
            *label = escape(*label, escaping, arena);
        }
        labels.sort_unstable_by(|one, other| one.name.cmp(other.name));
        if let Some(pair) = labels.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(labels_become_one(originals, pair[0].name, escaping));
        }
        let (hash, original) = (seen.hash(labels), seen.hash(originals));
        seen.take(hash, original, series.labels(), Some(originals))?;
        Ok(Verdict::Keep)
    }
}

impl Seen {
    fn hash(&self, labels: &[Label<'_>]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for label in labels {
            for text in [label.name, label.value] {
                hasher.write(text.as_bytes());
                // No text has this byte.
                hasher.write_u8(0xff);
            }
        }
        hasher.finish()
    }

    /// Takes note of a series with these labels; `originals` are those that it came with, where they are others.
    fn take(
        &mut self,
        hash: u64,
        original: u64,
        labels: &[Label<'_>],
        originals: Option<&[Label<'_>]>,
    ) -> Result<(), Refusal> {
        let Self { series, shown, .. } = self;
        if let Some(other) = series.find(hash, |other| other.hash == hash) {
            if other.original == original {
                return Ok(());
            }
            // One that was not changed has the labels of this one.
            let other =
                other.shown.and_then(|(from, to)| shown.get(from..to)).map_or_else(|| show(labels), str::to_owned);
            return Err(Refusal::SeriesBecomeOne { one: other, other: show(originals.unwrap_or(labels)) });
        }
        let shown = originals.map(|originals| {
            let from = shown.len();
            shown.push_str(&show(originals));
            (from, shown.len())
        });
        series.insert_unique(hash, SeenSeries { hash, original, shown }, |other| other.hash);
        Ok(())
    }
}

fn is_known(label: &Label<'_>) -> bool {
    if is_name(label) {
        return is_known_name(label.value, NameKind::Metric);
    }
    is_known_name(label.name, NameKind::Label)
}

fn escape<'a>(label: Label<'a>, escaping: Escaping, arena: &'a Arena) -> Label<'a> {
    if is_known(&label) {
        return label;
    }
    if is_name(&label) {
        return Label { value: arena.text().alloc_str(&escaping.escape(label.value, NameKind::Metric)), ..label };
    }
    Label { name: arena.text().alloc_str(&escaping.escape(label.name, NameKind::Label)), ..label }
}

#[cold]
fn labels_become_one(originals: &[Label<'_>], name: &str, escaping: Escaping) -> Refusal {
    let becomes = |label: &&Label<'_>| {
        !is_name(label) && (label.name == name || escaping.escape(label.name, NameKind::Label) == name)
    };
    let mut both = originals.iter().filter(becomes).map(|label| cut(label.name));
    let mut next = || both.next().unwrap_or_else(|| cut(name));
    Refusal::LabelsBecomeOne { one: next(), other: next() }
}

/// A series without its values: `http.status{code,pod}`.
fn show(labels: &[Label<'_>]) -> String {
    let name = labels.iter().find(|label| is_name(label)).map_or("", |label| label.value);
    let names: Vec<&str> = labels.iter().filter(|label| !is_name(label)).map(|label| label.name).collect();
    cut(&format!("{name}{{{}}}", names.join(",")))
}

fn cut(text: &str) -> String {
    text.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests;
