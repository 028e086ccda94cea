//! Text that many labels share: held once, named by a number, gone with its last user.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// A text in a [`Symbols`].
pub(super) type Symbol = u32;

struct Slot {
    text: Box<str>,
    users: u32,
}

/// The texts of one shard.
#[derive(Default)]
pub(super) struct Symbols {
    hasher: DefaultHashBuilder,
    table: HashTable<Symbol>,
    slots: Vec<Slot>,
    free: Vec<Symbol>,
    text_bytes: usize,
}

impl Symbols {
    /// The number of `text`, which gets one user more.
    pub(super) fn intern(&mut self, text: &str) -> Symbol {
        let Self { hasher, table, slots, free, text_bytes } = self;
        let hash = hasher.hash_one(text);
        if let Some(symbol) = table.find(hash, |symbol| *slots[*symbol as usize].text == *text) {
            slots[*symbol as usize].users += 1;
            return *symbol;
        }
        *text_bytes += text.len();
        let slot = Slot { text: text.into(), users: 1 };
        let symbol = match free.pop() {
            Some(symbol) => {
                slots[symbol as usize] = slot;
                symbol
            }
            None => {
                slots.push(slot);
                Symbol::try_from(slots.len() - 1).expect("the byte bound of the store is below four billion texts")
            }
        };
        table.insert_unique(hash, symbol, |symbol| hasher.hash_one(&*slots[*symbol as usize].text));
        symbol
    }

    /// The text of a number that [`intern`](Self::intern) gave.
    pub(super) fn text(&self, symbol: Symbol) -> &str {
        &self.slots[symbol as usize].text
    }

    /// Takes one user off; a text without one is forgotten.
    pub(super) fn release(&mut self, symbol: Symbol) {
        let slot = &mut self.slots[symbol as usize];
        slot.users -= 1;
        if slot.users > 0 {
            return;
        }
        let hash = self.hasher.hash_one(&*slot.text);
        if let Ok(entry) = self.table.find_entry(hash, |held| *held == symbol) {
            entry.remove();
        }
        self.text_bytes -= slot.text.len();
        slot.text = Box::default();
        self.free.push(symbol);
    }

    /// Bytes held on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.table.allocation_size()
            + self.slots.capacity() * size_of::<Slot>()
            + self.free.capacity() * size_of::<Symbol>()
            + self.text_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_is_held_once_and_goes_with_its_last_user() {
        let mut symbols = Symbols::default();
        let (up, job) = (symbols.intern("up"), symbols.intern("job"));
        assert_eq!(symbols.intern("up"), up);
        assert_eq!((symbols.text(up), symbols.text(job), symbols.text_bytes), ("up", "job", 5));
        symbols.release(up);
        assert_eq!(symbols.text_bytes, 5);
        symbols.release(up);
        assert_eq!(symbols.text_bytes, 3);
        let again = symbols.intern("other");
        assert_eq!((again, symbols.text(again)), (up, "other"));
    }
}
