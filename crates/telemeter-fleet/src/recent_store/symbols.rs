//! Text that many labels of a cluster share: held once, named by a number. None of it is shared with another cluster, so that
//! what a cluster holds is its own, to the byte, and goes with it.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

/// A text in a [`ClusterTexts`].
pub(super) type TextId = u32;

/// The texts of one cluster, one behind the other.
#[derive(Default)]
pub(super) struct ClusterTexts {
    text: String,
    /// Where each of them ends.
    ends: Vec<u32>,
    table: HashTable<TextId>,
}

impl ClusterTexts {
    /// The number of `text`; `None` where there are 4 GiB of others.
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

    /// The text of a number that [`intern`](Self::intern) gave.
    pub(super) fn text(&self, symbol: TextId) -> &str {
        text_of(&self.text, &self.ends, symbol)
    }

    /// How many texts.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes held on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<u32>() + self.table.allocation_size()
    }
}

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
    fn one_text_is_held_once() {
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
