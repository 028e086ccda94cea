//! Interned texts of the labels of one cluster. Clusters share no texts, so that the size of a cluster is exact, and its
//! memory is freed with it.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The number of a text in a [`ClusterTexts`].
pub(super) type TextId = u32;

/// The texts of one cluster.
#[derive(Default)]
pub(super) struct ClusterTexts {
    /// All texts, one after the other.
    text: String,
    /// The end of each text.
    ends: Vec<u32>,
    table: HashTable<TextId>,
}

impl ClusterTexts {
    /// The number of `text`, which is added where it is new; `None` where all texts together would exceed 4 GiB.
    pub(super) fn intern(&mut self, text: &str, hasher: &DefaultHashBuilder) -> Option<TextId> {
        let hash = hasher.hash_one(text);
        if let Some(symbol) = self.table.find(hash, |symbol| self.text(*symbol) == text) {
            return Some(*symbol);
        }
        let end = u32::try_from(self.text.len() + text.len()).ok()?;
        let symbol = TextId::try_from(self.ends.len()).ok()?;
        if self.text.capacity() - self.text.len() < text.len() {
            self.text.reserve_exact((self.text.len() / 4).max(text.len()).max(64));
        }
        if self.ends.len() == self.ends.capacity() {
            self.ends.reserve_exact((self.ends.len() / 4).max(16));
        }
        self.text.push_str(text);
        self.ends.push(end);
        let Self { text, ends, table } = self;
        table.insert_unique(hash, symbol, |symbol| hasher.hash_one(text_of(text, ends, *symbol)));
        Some(symbol)
    }

    /// The text with a number that [`intern`](Self::intern) returned.
    pub(super) fn text(&self, symbol: TextId) -> &str {
        text_of(&self.text, &self.ends, symbol)
    }

    /// The number of texts.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The size on the heap, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<u32>() + self.table.allocation_size()
    }
}

/// The text with this number: all texts are joined in `text`, and `ends` has the end of each.
fn text_of<'t>(text: &'t str, ends: &[u32], symbol: TextId) -> &'t str {
    let at = symbol as usize;
    let start = at.checked_sub(1).map_or(0, |before| ends[before]);
    &text[start as usize..ends[at] as usize]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_text_is_stored_once() {
        let (mut symbols, hasher) = (ClusterTexts::default(), DefaultHashBuilder::default());
        let texts = ["up", "", "job", "ü"];
        let numbers = texts.map(|text| symbols.intern(text, &hasher).unwrap());
        for _again in 0..2 {
            assert_eq!(texts.map(|text| symbols.intern(text, &hasher).unwrap()), numbers);
            assert_eq!(numbers.map(|number| symbols.text(number)), texts);
        }
        assert_eq!((symbols.len(), &*symbols.text), (4, "upjobü"));
    }
}
