//! The room that one request leaves behind for the next.

use std::cell::RefCell;

use bumpalo::Bump;

use super::{Label, metadata::MetadataEntry, set::SeriesEntry};
use crate::exposition::text::TextFamilies;

/// What one request leaves behind for the next: room for text and for the vectors of a [`SeriesSet`](super::SeriesSet).
#[derive(Default)]
pub struct Arena {
    text: Bump,
    pub(super) spare: RefCell<SpareVectors>,
    symbols: RefCell<Vec<&'static str>>,
    families: RefCell<TextFamilies>,
}

#[derive(Default)]
pub(super) struct SpareVectors {
    pub(super) labels: Vec<Label<'static>>,
    pub(super) series: Vec<SeriesEntry<'static>>,
    pub(super) metadata: Vec<MetadataEntry<'static>>,
}

impl Arena {
    /// An empty arena.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for text and bytes that live as long as the request.
    #[must_use]
    pub fn text(&self) -> &Bump {
        &self.text
    }

    /// Forgets all text; the room stays, in one piece. To be called between requests.
    pub fn reset(&mut self) {
        self.text.reset();
    }

    /// The room for the metric families of a text, with what the last text left in it; to be brought back.
    pub(crate) fn take_families(&self) -> TextFamilies {
        std::mem::take(&mut *self.families.borrow_mut())
    }

    pub(crate) fn keep_families(&self, families: TextFamilies) {
        *self.families.borrow_mut() = families;
    }

    /// An empty table for the symbols of a remote write 2.0 request; to be brought back.
    pub(crate) fn take_symbols<'a>(&self) -> Vec<&'a str> {
        recycle(std::mem::take(&mut *self.symbols.borrow_mut()))
    }

    pub(crate) fn keep_symbols(&self, symbols: Vec<&str>) {
        *self.symbols.borrow_mut() = recycle(symbols);
    }

    /// Bytes that this arena holds on to, used or not.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let spare = self.spare.borrow();
        self.text.allocated_bytes()
            + self.families.borrow().held_bytes()
            + self.symbols.borrow().capacity() * size_of::<&str>()
            + spare.labels.capacity() * size_of::<Label<'_>>()
            + spare.series.capacity() * size_of::<SeriesEntry<'_>>()
            + spare.metadata.capacity() * size_of::<MetadataEntry<'_>>()
    }
}

/// Empties a vector and gives its room to elements of another lifetime, without `unsafe`: an in-place `collect`.
pub(super) fn recycle<T, U>(mut vec: Vec<T>) -> Vec<U> {
    vec.clear();
    vec.into_iter().map(|_| unreachable!("the vector is empty")).collect()
}
