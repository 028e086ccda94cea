//! The names of the series in `/federate` of the client, as the reader asks for them.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use telemeter_wire::{
    Label, Series, SeriesSet,
    exposition::{EscapedNames, Escaping, NameKind, is_known_name},
    series::NAME_LABEL,
};

use super::Packed;

/// The names of all series of an upload, of which some have to be escaped for a reader.
pub(super) struct ReaderNames {
    escaping: Escaping,
    metrics: EscapedNames,
    labels: EscapedNames,
    /// The number of series that were left out, because no escaping distinguishes their names from others.
    left_out: AtomicUsize,
}

impl ReaderNames {
    /// The names of an upload for a reader that asks for this escaping; `None` where no name has to be escaped.
    pub(super) fn of(packed: &Packed, escaping: Escaping) -> Option<Self> {
        if escaping == Escaping::AllowUtf8 {
            return None;
        }
        let is_plain = |label: &Label<'_>| match label.name {
            NAME_LABEL => is_known_name(label.value, NameKind::Metric),
            name => is_known_name(name, NameKind::Label),
        };
        // An upload that cannot be decoded is reported when it is written.
        let visit = |see: &mut dyn FnMut(&Series<'_, '_>)| drop(packed.for_each(see));
        let mut is_all_plain = true;
        visit(&mut |series| is_all_plain &= series.labels.iter().all(is_plain));
        if is_all_plain {
            return None;
        }
        let (mut metrics, mut labels) = (BTreeSet::new(), BTreeSet::new());
        visit(&mut |series| {
            for label in series.labels {
                add_name(label.name, &mut labels);
            }
            add_name(series.name(), &mut metrics);
        });
        Some(Self {
            escaping,
            metrics: EscapedNames::new(escaping, NameKind::Metric, &metrics),
            labels: EscapedNames::new(escaping, NameKind::Label, &labels),
            left_out: AtomicUsize::new(0),
        })
    }

    /// Escapes the names of all series, and removes those that have no name of their own.
    pub(super) fn put_into<'a>(&self, set: &mut SeriesSet<'a>) {
        let arena = set.arena();
        let written = |names: &EscapedNames, name: &'a str| -> Option<&'a str> {
            let written = names.written(name)?;
            Some(if written == name { name } else { arena.text().alloc_str(written) })
        };
        set.retain_mut(|series| {
            for label in series.labels_mut() {
                let (value, name) = match label.name {
                    NAME_LABEL => (written(&self.metrics, label.value), Some(label.name)),
                    name => (Some(label.value), written(&self.labels, name)),
                };
                let (Some(name), Some(value)) = (name, value) else {
                    self.left_out.fetch_add(1, Ordering::Relaxed);
                    return false;
                };
                *label = Label::new(name, value);
            }
            true
        });
    }

    /// A comment that says how many series were left out; empty where none was.
    pub(super) fn note(&self) -> Vec<u8> {
        let (left_out, escaping) = (self.left_out.load(Ordering::Relaxed), self.escaping.as_str());
        match left_out {
            0 => Vec::new(),
            _ => format!(
                "# {left_out} series are left out: under escaping={escaping}, their names are those of others\n"
            )
            .into_bytes(),
        }
    }
}

/// Adds the name to the set; copies it only where the set does not have it yet.
fn add_name(name: &str, names: &mut BTreeSet<String>) {
    if !names.contains(name) {
        names.insert(name.to_owned());
    }
}
