//! The metric families of a text, with their types.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::series::MetricType;

/// The metric families that a text has named so far, each with its type, and how many lines were read.
///
/// A type applies to all samples of a name, anywhere in the text, and a second `TYPE` line is an error: so each name is
/// remembered until the end of the text. It is looked up for each run of samples with one name. A name takes its own bytes
/// and about 50 more.
#[derive(Default)]
pub struct TextFamilies {
    /// All names, one after the other.
    names: String,
    families: Vec<TextFamily>,
    /// The families by the hash of their names.
    index: HashTable<usize>,
    /// Has a new seed for each text, so that a sender cannot learn it over time.
    hasher: DefaultHashBuilder,
    pub(super) lines: usize,
}

pub(super) struct TextFamily {
    hash: u64,
    /// The range of its name.
    name: (usize, usize),
    /// The type of its `TYPE` line; untyped if a sample came first.
    pub(super) kind: Option<MetricType>,
    /// Whether there was a `HELP` line.
    pub(super) has_help: bool,
}

impl TextFamilies {
    /// Removes all families, for another text, and keeps the buffers.
    pub fn clear(&mut self) {
        self.names.clear();
        self.families.clear();
        self.index.clear();
        self.hasher = DefaultHashBuilder::default();
        self.lines = 0;
    }

    /// The size of the buffers, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.names.capacity() + self.families.capacity() * size_of::<TextFamily>() + self.index.allocation_size()
    }

    /// The type of the family that a sample of this name belongs to. Without a `TYPE` line, it is untyped from now on.
    pub(super) fn sample(&mut self, name: &str) -> MetricType {
        *self.find_or_add(name).kind.get_or_insert(MetricType::Untyped)
    }

    /// The family that a line with this name belongs to: the family with this name; else the summary (`_sum`, `_count`) or
    /// histogram (also `_bucket`) with this name without its suffix; else a new one.
    pub(super) fn find_or_add(&mut self, name: &str) -> &mut TextFamily {
        let at = self.find(name).or_else(|| self.find_whole(name)).unwrap_or_else(|| self.add(name));
        &mut self.families[at]
    }

    /// The index of the family with exactly this name.
    fn find(&self, name: &str) -> Option<usize> {
        // Mostly it is the family of the previous line.
        let last = self.families.len().checked_sub(1)?;
        if self.name(last) == name {
            return Some(last);
        }
        let hash = self.hasher.hash_one(name);
        self.index.find(hash, |at| self.families[*at].hash == hash && self.name(*at) == name).copied()
    }

    /// The summary or histogram of which a series of this name is a part; `None` where there is no such family.
    fn find_whole(&self, name: &str) -> Option<usize> {
        let (whole, is_bucket) = match name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count")) {
            Some(whole) => (whole, false),
            None => (name.strip_suffix("_bucket")?, true),
        };
        // As in Go: a suffix alone is a name.
        let at = if whole.is_empty() { None } else { self.find(whole) }?;
        let has_it = match self.families[at].kind {
            Some(MetricType::Summary) => !is_bucket,
            Some(MetricType::Histogram | MetricType::GaugeHistogram) => true,
            _ => false,
        };
        has_it.then_some(at)
    }

    /// Adds a family without type and help, and returns its index. The name must not have a family yet.
    fn add(&mut self, name: &str) -> usize {
        let (at, start) = (self.families.len(), self.names.len());
        self.names.push_str(name);
        let hash = self.hasher.hash_one(name);
        self.families.push(TextFamily { hash, name: (start, self.names.len()), kind: None, has_help: false });
        let families = &self.families;
        self.index.insert_unique(hash, at, |at| families[*at].hash);
        at
    }

    fn name(&self, at: usize) -> &str {
        let (start, end) = self.families[at].name;
        &self.names[start..end]
    }
}
