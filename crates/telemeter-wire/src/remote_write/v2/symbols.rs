//! The table of symbols of a request that is being encoded: it has each text once, however often it is referenced.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};

use crate::protobuf::{WireType, key, put_bytes};

/// An entry of the table, as a field of the request.
const SYMBOL: u8 = key(4, WireType::Bytes);
/// The number of entries in the cache of recently referenced texts, which are found by their address.
const RECENT: usize = 1024;

/// The symbols of one request, of which the first is the empty one. One value serves many requests: its buffers are used again.
#[derive(Debug, Default)]
pub(super) struct SymbolTable {
    /// The symbols, encoded as fields.
    fields: Vec<u8>,
    known: HashTable<Symbol>,
    /// Has a new seed for each request, so that a sender cannot learn it over time.
    hasher: DefaultHashBuilder,
    len: u32,
    recent: Vec<Recent>,
    /// The number of the addresses' generation: those of earlier ones are no longer valid.
    generation: u32,
}

/// The position of a symbol in the fields. 32 bits are enough: requests are capped far below 4 GiB.
#[derive(Debug)]
struct Symbol {
    hash: u64,
    start: u32,
    bytes: u32,
    reference: u32,
}

/// A recently referenced text. Labels that were decoded from a 2.0 request share their texts, so that most texts occur again at
/// the same address, and are found without a hash.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    address: usize,
    bytes: usize,
    reference: u32,
    generation: u32,
}

impl SymbolTable {
    /// Removes all symbols but the empty one, which is the first.
    pub(super) fn clear(&mut self) {
        self.fields.clear();
        put_bytes(&mut self.fields, SYMBOL, &[]);
        self.known.clear();
        self.hasher = DefaultHashBuilder::default();
        self.len = 1;
        self.forget_addresses();
    }

    /// Clears the cache of addresses, because other texts may have the same addresses from now on.
    pub(super) fn forget_addresses(&mut self) {
        match self.generation.checked_add(1) {
            Some(next) => self.generation = next,
            None => (self.generation, self.recent) = (1, Vec::new()),
        }
        self.recent.resize(RECENT, Recent::default());
    }

    /// The symbols as fields of the request.
    pub(super) fn fields(&self) -> &[u8] {
        &self.fields
    }

    /// The reference to a text, which is added where it is new. The text must neither move nor change until
    /// [`forget_addresses`](Self::forget_addresses).
    #[inline]
    pub(super) fn reference(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let (address, bytes) = (text.as_ptr().addr(), text.len());
        let place = (address ^ address >> 10) % RECENT;
        match self.recent.get(place) {
            Some(recent)
                if recent.address == address && recent.bytes == bytes && recent.generation == self.generation =>
            {
                recent.reference
            }
            _ => {
                let reference = self.find_or_add(text);
                if let Some(recent) = self.recent.get_mut(place) {
                    *recent = Recent { address, bytes, reference, generation: self.generation };
                }
                reference
            }
        }
    }

    /// As [`reference`](Self::reference), of a text that may be anywhere.
    pub(super) fn find_or_add(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let Self { fields, known, hasher, len, .. } = self;
        let hash = hasher.hash_one(text);
        let is_same = |symbol: &Symbol| {
            let start = symbol.start as usize;
            symbol.hash == hash && fields.get(start..start + symbol.bytes as usize) == Some(text.as_bytes())
        };
        match known.entry(hash, is_same, |symbol| symbol.hash) {
            Entry::Occupied(entry) => entry.get().reference,
            Entry::Vacant(entry) => {
                put_bytes(fields, SYMBOL, text.as_bytes());
                let start = (fields.len() - text.len()) as u32;
                let reference = *len;
                entry.insert(Symbol { hash, start, bytes: text.len() as u32, reference });
                *len += 1;
                reference
            }
        }
    }

    /// Bytes of room held.
    pub(super) fn held_bytes(&self) -> usize {
        self.fields.capacity() + self.known.allocation_size() + self.recent.capacity() * size_of::<Recent>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_reference_wherever_it_stands() {
        let mut table = SymbolTable::default();
        for _ in 0..2 {
            table.clear();
            let (one, other) = ("job".to_owned(), "job".to_owned());
            assert_eq!(table.reference(""), 0);
            assert_eq!(table.reference(&one), 1);
            assert_eq!(table.reference(&one), 1, "at the same address");
            assert_eq!(table.reference(&other), 1, "at another address");
            assert_eq!(table.reference(&one[..2]), 2, "a part of it is another text");
            assert_eq!(table.find_or_add("job"), 1);
            assert_eq!(table.find_or_add("pod"), 3);
            assert_eq!(table.len, 4);
            assert_eq!(table.fields(), b"\x22\x00\x22\x03job\x22\x02jo\x22\x03pod");
        }
    }

    #[test]
    fn many_texts_are_told_apart() {
        let mut table = SymbolTable::default();
        table.clear();
        let texts: Vec<String> = (0..5000).map(|number| format!("text {number}")).collect();
        for _ in 0..2 {
            for (at, text) in texts.iter().enumerate() {
                assert_eq!(table.reference(text) as usize, at + 1);
            }
        }
        assert_eq!(table.len, 5001);
        assert!(table.held_bytes() > table.fields().len());
    }
}
