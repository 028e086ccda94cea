//! Texts that many clusters share, each kept once: user agents and the values of fleet labels.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

/// The number of a text. 0 stands for none.
pub(crate) type SymbolId = u32;

/// Longer texts are cut to so many bytes.
pub(crate) const MAX_BYTES: usize = 128;
/// How many texts there may be. One cluster refers to a few, so that those nobody refers to any more can be taken out.
pub(crate) const MAX_SYMBOLS: usize = 65_536;
/// What stands for a text that found no room.
pub(crate) const OVERFLOW: &str = "(too many different values)";

#[derive(Default)]
pub(crate) struct TextTable(RwLock<SymbolEntries>);

#[derive(Default)]
struct SymbolEntries {
    numbers: HashMap<Arc<str>, SymbolId>,
    /// The text of a symbol less one; `None` where it was taken out.
    texts: Vec<Option<Arc<str>>>,
    free: Vec<SymbolId>,
}

/// Cuts a text to [`MAX_BYTES`], between two characters.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_BYTES)]
}

impl TextTable {
    /// Whether `symbol` stands for `text`, cut.
    pub(crate) fn is(&self, symbol: SymbolId, text: &str) -> bool {
        let text = cut(text);
        if symbol == 0 {
            return text.is_empty();
        }
        self.0.read().text(symbol) == Some(text)
    }

    /// The symbol of `text`, cut; 0 where it is empty. `Err` where the table is full of other texts.
    pub(crate) fn intern(&self, text: &str) -> Result<SymbolId, TableFull> {
        let text = cut(text);
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
        let place = (symbol as usize).checked_sub(1);
        place.and_then(|place| table.texts.get(place)?.clone()).unwrap_or_default()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.read().numbers.len()
    }

    /// Takes out the texts that `is_used` does not know.
    pub(crate) fn retain(&self, is_used: impl Fn(SymbolId) -> bool) {
        let table = &mut *self.0.write();
        for (place, text) in table.texts.iter_mut().enumerate() {
            let symbol = place as SymbolId + 1;
            if let Some(unused) = text.take_if(|text| !is_used(symbol) && &**text != OVERFLOW) {
                table.numbers.remove(&unused);
                table.free.push(symbol);
            }
        }
    }
}

/// The table holds as many other texts as it may.
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
        // One more than the cap is for the word that stands for all that found no room.
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
        assert!(symbols.is(one, "one") && !symbols.is(one, "two") && symbols.is(0, "") && !symbols.is(0, "one"));
        let long = format!("{}ä", "x".repeat(MAX_BYTES - 1));
        let symbol = symbols.intern(&long).unwrap();
        assert_eq!(symbols.text(symbol).len(), MAX_BYTES - 1, "cut between two characters");
        assert!(symbols.is(symbol, &long));
    }

    #[test]
    fn what_nobody_uses_makes_room() {
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
