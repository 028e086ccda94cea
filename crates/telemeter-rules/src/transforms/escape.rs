//! The step that escapes UTF-8 names for a store that only accepts letters, digits, `_` and, in metric names, `:`.
//!
//! Escaping may make two names equal (`http.status` and `http_status`, with `underscores`). A request is refused if two of
//! its series would become the same one, because the merged series would be wrong.

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
    canonical::is_metric_name,
    refusal::Refusal,
    transform::{StepCounts, Transform, Verdict},
};

/// How much of a series an error message quotes, in characters.
const MAX_EXCERPT_CHARS: usize = 128;

/// Escapes metric names and label names of the series of one request. Canonical series stay canonical. The labels of
/// exemplars are not changed.
pub struct EscapeNames {
    escaping: Option<Escaping>,
    previous: RefCell<EscapedSeries>,
}

/// The series of the request that were escaped already.
#[derive(Default)]
struct EscapedSeries {
    /// Has a new seed for each request, so that a sender cannot learn it over time.
    hasher: DefaultHashBuilder,
    series: HashTable<SeriesHashes>,
    /// The descriptions of changed series for error messages, one after the other.
    descriptions: String,
}

struct SeriesHashes {
    /// The hash of the labels that are sent.
    hash: u64,
    /// The hash of the labels that came.
    original: u64,
    /// The range of its description; `None` for a series that was not changed.
    description: Option<(usize, usize)>,
}

impl EscapeNames {
    /// A step with this escaping; with `None`, it changes no names.
    #[must_use]
    pub fn new(escaping: Option<Escaping>) -> Self {
        Self { escaping: escaping.filter(|escaping| *escaping != Escaping::AllowUtf8), previous: RefCell::default() }
    }

    /// Whether it changes no names.
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
        let previous = &mut *self.previous.borrow_mut();
        if series.labels().iter().all(is_known) {
            let hash = previous.hash_labels(series.labels());
            previous.add(hash, hash, series.labels(), None)?;
            return Ok(Verdict::Keep);
        }
        let originals = &*arena.text().alloc_slice_copy(series.labels());
        let labels = series.labels_mut();
        for label in labels.iter_mut() {
            *label = escape_label(*label, escaping, arena);
        }
        labels.sort_unstable_by(|one, other| one.name.cmp(other.name));
        if let Some(pair) = labels.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(labels_become_one(originals, pair[0].name, escaping));
        }
        let (hash, original) = (previous.hash_labels(labels), previous.hash_labels(originals));
        previous.add(hash, original, series.labels(), Some(originals))?;
        Ok(Verdict::Keep)
    }
}

impl EscapedSeries {
    /// The hash of all names and values, in their order, with the seed of this request.
    fn hash_labels(&self, labels: &[Label<'_>]) -> u64 {
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

    /// Adds a series with these labels; `originals` are the labels that came, where they are different.
    ///
    /// # Errors
    /// [`Refusal::SeriesBecomeOne`] where a series with other original labels has the same labels now.
    fn add(
        &mut self,
        hash: u64,
        original: u64,
        labels: &[Label<'_>],
        originals: Option<&[Label<'_>]>,
    ) -> Result<(), Refusal> {
        let Self { series, descriptions, .. } = self;
        if let Some(other) = series.find(hash, |other| other.hash == hash) {
            if other.original == original {
                return Ok(());
            }
            // A series that was not changed has the same labels as this one.
            let description = other.description.and_then(|(from, to)| descriptions.get(from..to));
            let one = description.map_or_else(|| describe(labels), str::to_owned);
            return Err(Refusal::SeriesBecomeOne { one, other: describe(originals.unwrap_or(labels)) });
        }
        let description = originals.map(|originals| {
            let from = descriptions.len();
            descriptions.push_str(&describe(originals));
            (from, descriptions.len())
        });
        series.insert_unique(hash, SeriesHashes { hash, original, description }, |other| other.hash);
        Ok(())
    }
}

/// Whether the name needs no escaping: for `__name__` the metric name, for other labels the label name.
fn is_known(label: &Label<'_>) -> bool {
    if is_metric_name(label) {
        return is_known_name(label.value, NameKind::Metric);
    }
    is_known_name(label.name, NameKind::Label)
}

/// Escapes the value of `__name__`, or the name of any other label, into the arena. A name that needs no escaping is
/// returned as it is.
fn escape_label<'a>(label: Label<'a>, escaping: Escaping, arena: &'a Arena) -> Label<'a> {
    if is_known(&label) {
        return label;
    }
    if is_metric_name(&label) {
        return Label { value: arena.text().alloc_str(&escaping.escape(label.value, NameKind::Metric)), ..label };
    }
    Label { name: arena.text().alloc_str(&escaping.escape(label.name, NameKind::Label)), ..label }
}

/// The refusal of a series of which two labels get the same name `name`; it names both as they came.
#[cold]
fn labels_become_one(originals: &[Label<'_>], name: &str, escaping: Escaping) -> Refusal {
    let becomes = |label: &&Label<'_>| {
        !is_metric_name(label) && (label.name == name || escaping.escape(label.name, NameKind::Label) == name)
    };
    let mut both = originals.iter().filter(becomes).map(|label| truncate(label.name));
    let mut next = || both.next().unwrap_or_else(|| truncate(name));
    Refusal::LabelsBecomeOne { one: next(), other: next() }
}

/// A description of a series without label values: `http.status{code,pod}`.
fn describe(labels: &[Label<'_>]) -> String {
    let name = labels.iter().find(|label| is_metric_name(label)).map_or("", |label| label.value);
    let names: Vec<&str> = labels.iter().filter(|label| !is_metric_name(label)).map(|label| label.name).collect();
    truncate(&format!("{name}{{{}}}", names.join(",")))
}

fn truncate(text: &str) -> String {
    text.chars().take(MAX_EXCERPT_CHARS).collect()
}

#[cfg(test)]
mod tests;
