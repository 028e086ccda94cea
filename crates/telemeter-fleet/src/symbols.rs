//! Interned texts that many clusters share: user agents and the values of fleet labels.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

/// The number of a text; 0 is the number of the empty text.
pub(crate) type SymbolId = u32;

/// Longer texts are truncated to so many bytes.
pub(crate) const MAX_BYTES: usize = 128;
/// The most texts. A table that is full can be relieved by removing the texts that no cluster refers to.
pub(crate) const MAX_SYMBOLS: usize = 65_536;
/// The text that replaces others when the table is full.
pub(crate) const OVERFLOW: &str = "(too many different values)";

/// A table of texts and their numbers.
#[derive(Default)]
pub(crate) struct TextTable(RwLock<SymbolEntries>);

#[derive(Default)]
struct SymbolEntries {
    numbers: HashMap<Arc<str>, SymbolId>,
    /// The texts by their number less one; `None` where a text was removed.
    texts: Vec<Option<Arc<str>>>,
    free: Vec<SymbolId>,
}

/// The first [`MAX_BYTES`] of a text, truncated between two characters.
pub(crate) fn truncate(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_BYTES)]
}

impl TextTable {
    /// Whether `symbol` is the number of `text`, truncated.
    pub(crate) fn is_text_of(&self, symbol: SymbolId, text: &str) -> bool {
        let text = truncate(text);
        if symbol == 0 {
            return text.is_empty();
        }
        self.0.read().text(symbol) == Some(text)
    }

    /// The symbol of `text`, truncated, which is added where it is new; 0 for the empty text.
    ///
    /// # Errors
    /// [`TableFull`] where `text` is new and the table is full.
    pub(crate) fn intern(&self, text: &str) -> Result<SymbolId, TableFull> {
        let text = truncate(text);
        if text.is_empty() {
            return Ok(0);
        }
        if let Some(symbol) = self.0.read().numbers.get(text) {
            return Ok(*symbol);
        }
        self.0.write().insert(text)
    }

    /// The text of a symbol; empty for 0.
    pub(crate) fn text(&self, symbol: SymbolId) -> Arc<str> {
        let table = self.0.read();
        let index = (symbol as usize).checked_sub(1);
        index.and_then(|index| table.texts.get(index)?.clone()).unwrap_or_default()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.read().numbers.len()
    }

    /// Removes the texts for whose symbol `is_used` returns `false`.
    pub(crate) fn retain(&self, is_used: impl Fn(SymbolId) -> bool) {
        let table = &mut *self.0.write();
        for (index, text) in table.texts.iter_mut().enumerate() {
            let symbol = index as SymbolId + 1;
            if let Some(unused) = text.take_if(|text| !is_used(symbol) && &**text != OVERFLOW) {
                table.numbers.remove(&unused);
                table.free.push(symbol);
            }
        }
    }
}

/// The table has [`MAX_SYMBOLS`] other texts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

impl SymbolEntries {
    fn text(&self, symbol: SymbolId) -> Option<&str> {
        self.texts.get((symbol as usize).checked_sub(1)?)?.as_deref()
    }

    fn insert(&mut self, text: &str) -> Result<SymbolId, TableFull> {
        if let Some(symbol) = self.numbers.get(text) {
            return Ok(*symbol);
        }
        // One text more than the bound is allowed: the one that replaces others.
        if self.numbers.len() >= MAX_SYMBOLS && text != OVERFLOW {
            return Err(TableFull);
        }
        let text: Arc<str> = text.into();
        let symbol = match self.free.pop() {
            Some(symbol) => {
                self.texts[symbol as usize - 1] = Some(text.clone());
                symbol
            }
            None => {
                self.texts.push(Some(text.clone()));
                self.texts.len() as SymbolId
            }
        };
        self.numbers.insert(text, symbol);
        Ok(symbol)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_text_has_one_symbol() {
        let symbols = TextTable::default();
        let one = symbols.intern("one").unwrap();
        assert_eq!(symbols.intern("one"), Ok(one));
        assert_ne!(symbols.intern("two"), Ok(one));
        assert_eq!((&*symbols.text(one), &*symbols.text(0), symbols.intern("")), ("one", "", Ok(0)));
        assert!(
            symbols.is_text_of(one, "one")
                && !symbols.is_text_of(one, "two")
                && symbols.is_text_of(0, "")
                && !symbols.is_text_of(0, "one")
        );
        let long = format!("{}ä", "x".repeat(MAX_BYTES - 1));
        let symbol = symbols.intern(&long).unwrap();
        assert_eq!(symbols.text(symbol).len(), MAX_BYTES - 1, "truncated between two characters");
        assert!(symbols.is_text_of(symbol, &long));
    }

    #[test]
    fn unused_texts_make_room_for_new_ones() {
        let symbols = TextTable::default();
        for number in 0..MAX_SYMBOLS {
            symbols.intern(&number.to_string()).unwrap();
        }
        assert_eq!(symbols.intern("one more"), Err(TableFull));
        let overflow = symbols.intern(OVERFLOW).unwrap();
        symbols.retain(|symbol| symbol <= 10);
        assert_eq!(symbols.len(), 11);
        assert_eq!(&*symbols.text(overflow), OVERFLOW);
        assert_eq!(&*symbols.text(10), "9");
        let one = symbols.intern("one more").unwrap();
        assert_eq!(&*symbols.text(one), "one more");
    }
}
