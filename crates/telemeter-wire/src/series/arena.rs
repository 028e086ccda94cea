//! The memory of a request that the next request uses again.

use std::cell::RefCell;

use bumpalo::Bump;

use super::{Label, entry::SeriesEntry, metadata::MetadataEntry};
use crate::exposition::text::families::TextFamilies;

/// Memory for the texts and vectors of one request after the other; a [`SeriesSet`](super::SeriesSet) takes its vectors from it.
#[derive(Default)]
pub struct Arena {
    text: Bump,
    pub(super) spare: RefCell<SpareVectors>,
    families: RefCell<TextFamilies>,
}

#[derive(Default)]
pub(super) struct SpareVectors {
    pub(super) labels: Vec<Label<'static>>,
    pub(super) series: Vec<SeriesEntry<'static>>,
    pub(super) metadata: Vec<MetadataEntry<'static>>,
    pub(super) symbols: Vec<&'static str>,
}

impl Arena {
    /// An empty arena.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The allocator for texts and bytes that live until [`reset`](Self::reset).
    #[must_use]
    pub fn text(&self) -> &Bump {
        &self.text
    }

    /// Frees all texts, and keeps the largest block of memory. To be called between requests.
    pub fn reset(&mut self) {
        self.text.reset();
    }

    /// The table of metric families, with its last content; to be returned by [`keep_families`](Self::keep_families).
    pub(crate) fn take_families(&self) -> TextFamilies {
        std::mem::take(&mut *self.families.borrow_mut())
    }

    pub(crate) fn keep_families(&self, families: TextFamilies) {
        *self.families.borrow_mut() = families;
    }

    /// The size of all its memory in bytes, used or not.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let spare = self.spare.borrow();
        self.text.allocated_bytes()
            + self.families.borrow().held_bytes()
            + spare.labels.capacity() * size_of::<Label<'_>>()
            + spare.series.capacity() * size_of::<SeriesEntry<'_>>()
            + spare.metadata.capacity() * size_of::<MetadataEntry<'_>>()
            + spare.symbols.capacity() * size_of::<&str>()
    }
}

/// Empties a vector, and uses its allocation for elements of another lifetime. No `unsafe` is needed, because `collect`
/// works in place.
pub(super) fn recycle<T, U>(mut vec: Vec<T>) -> Vec<U> {
    vec.clear();
    vec.into_iter().map(|_| unreachable!("the vector is empty")).collect()
}
