//! A part of the registry behind one lock: records in blocks of fixed size, found by hash, and linked in the order of their
//! last request.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::{
    id::{ClusterKey, parse_uuid, write_uuid},
    record::{ClusterRecord, NO_SLOT, RecordedRefusals},
    symbols::SymbolId,
};

/// The number of records in a block. Blocks avoid that a growing vector has, and copies, up to twice as much memory as it
/// needs. 58 records of 140 bytes fill an allocation of 8 KiB; 64 would take 10 KiB.
const BLOCK: usize = 58;

/// Records with their fleet labels and refusals.
pub(crate) struct RegistryShard {
    hasher: DefaultHashBuilder,
    /// The slots of records, by the hash of their ID.
    index: HashTable<u32>,
    blocks: Vec<Box<[ClusterRecord]>>,
    /// The fleet labels, `label_count` for each record.
    labels: Vec<Box<[SymbolId]>>,
    label_count: usize,
    /// How many slots were ever used.
    used: u32,
    /// The slots below `used` that are free again.
    free: Vec<u32>,
    names: Slab<Box<str>>,
    refusals: Slab<RecordedRefusals>,
    newest: u32,
    oldest: u32,
}

/// Values by slot; the slot of a removed value is used again.
struct Slab<T> {
    values: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Stores a value and returns its slot.
    fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.values[slot as usize] = Some(value);
                slot
            }
            None => {
                self.values.push(Some(value));
                self.values.len() as u32 - 1
            }
        }
    }

    /// Removes the value in a slot, which may then be used again; does nothing where the slot has none.
    fn remove(&mut self, slot: u32) {
        if self.values.get_mut(slot as usize).and_then(Option::take).is_some() {
            self.free.push(slot);
        }
    }

    /// The value in a slot; `None` where the slot has none.
    fn get(&self, slot: u32) -> Option<&T> {
        self.values.get(slot as usize)?.as_ref()
    }
}

impl RegistryShard {
    pub(crate) fn new(hasher: DefaultHashBuilder, label_count: usize) -> Self {
        Self {
            hasher,
            index: HashTable::new(),
            blocks: Vec::new(),
            labels: Vec::new(),
            label_count,
            used: 0,
            free: Vec::new(),
            names: Slab::default(),
            refusals: Slab::default(),
            newest: NO_SLOT,
            oldest: NO_SLOT,
        }
    }

    /// The number of clusters.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// The slot of the cluster with this ID.
    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        let uuid = parse_uuid(id);
        let has_id = |slot: &u32| match (self.record(*slot).id, uuid) {
            (ClusterKey::Uuid(known), Some(uuid)) => known == uuid,
            (ClusterKey::Name(name), None) => self.names.get(name).is_some_and(|name| **name == *id),
            _ => false,
        };
        self.index.find(self.hasher.hash_one(id), has_id).copied()
    }

    /// The slot of the cluster with this ID, which becomes the newest; an unknown cluster gets a new record.
    pub(crate) fn find_or_insert(&mut self, id: &str, now_s: u32) -> u32 {
        if let Some(slot) = self.find(id) {
            if self.newest != slot {
                self.unlink(slot);
                self.link_newest(slot);
            }
            return slot;
        }
        let key = match parse_uuid(id) {
            Some(uuid) => ClusterKey::Uuid(uuid),
            None => ClusterKey::Name(self.names.insert(id.into())),
        };
        let slot = self.allocate_slot(ClusterRecord::new(key, now_s));
        let hash = self.hasher.hash_one(id);
        let Self { index, blocks, names, hasher, .. } = self;
        index.insert_unique(hash, slot, |slot| {
            hash_of(hasher, &blocks[*slot as usize / BLOCK][*slot as usize % BLOCK], names)
        });
        self.link_newest(slot);
        slot
    }

    /// Stores a record in a free slot, with no fleet label set, and returns the slot; memory for a whole block of
    /// records is allocated where no slot is free. The record is not linked and not in the index yet.
    fn allocate_slot(&mut self, record: ClusterRecord) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = self.used;
            self.used += 1;
            slot
        });
        if slot as usize / BLOCK == self.blocks.len() {
            self.blocks.push(vec![record; BLOCK].into_boxed_slice());
            self.labels.push(vec![0; BLOCK * self.label_count].into_boxed_slice());
        }
        *self.record_mut(slot) = record;
        self.labels_mut(slot).fill(0);
        slot
    }

    /// The record in `slot`, which has to be in use.
    pub(crate) fn record(&self, slot: u32) -> &ClusterRecord {
        &self.blocks[slot as usize / BLOCK][slot as usize % BLOCK]
    }

    /// The record in `slot`, which has to be in use, to be changed.
    pub(crate) fn record_mut(&mut self, slot: u32) -> &mut ClusterRecord {
        &mut self.blocks[slot as usize / BLOCK][slot as usize % BLOCK]
    }

    /// The values of the fleet labels of the record in a slot, in the order of the configuration; 0 means none.
    pub(crate) fn labels(&self, slot: u32) -> &[SymbolId] {
        let first = slot as usize % BLOCK * self.label_count;
        &self.labels[slot as usize / BLOCK][first..first + self.label_count]
    }

    /// The values of the fleet labels of the record in a slot, to be changed.
    pub(crate) fn labels_mut(&mut self, slot: u32) -> &mut [SymbolId] {
        let first = slot as usize % BLOCK * self.label_count;
        &mut self.labels[slot as usize / BLOCK][first..first + self.label_count]
    }

    /// The refusals of a record; `None` where it was never refused.
    pub(crate) fn refusals(&self, record: &ClusterRecord) -> Option<&RecordedRefusals> {
        self.refusals.get(record.refusals)
    }

    /// The refusals of a record, which are added where there were none.
    pub(crate) fn refusals_mut(&mut self, slot: u32) -> &mut RecordedRefusals {
        let mut at = self.record(slot).refusals;
        if at == NO_SLOT {
            at = self.refusals.insert(RecordedRefusals::default());
            self.record_mut(slot).refusals = at;
        }
        self.refusals.values[at as usize].get_or_insert_default()
    }

    /// Writes the ID of a record into `out`, which is cleared first.
    pub(crate) fn write_id(&self, record: &ClusterRecord, out: &mut String) {
        out.clear();
        match record.id {
            ClusterKey::Uuid(uuid) => {
                let _ = write_uuid(&uuid, out);
            }
            ClusterKey::Name(name) => out.push_str(self.names.get(name).map_or("", |name| name)),
        }
    }

    /// The time of the oldest last request of all records, in seconds since 1970; `None` for an empty shard.
    pub(crate) fn oldest_heard(&self) -> Option<u32> {
        (self.oldest != NO_SLOT).then(|| self.record(self.oldest).last_heard)
    }

    /// Removes the record whose last request is longest ago.
    pub(crate) fn remove_oldest(&mut self) {
        if self.oldest != NO_SLOT {
            self.remove(self.oldest);
        }
    }

    /// Removes the record in a slot that is in use, with its name and its refusals; the slot may then be used again.
    fn remove(&mut self, slot: u32) {
        let record = *self.record(slot);
        let hash = hash_of(&self.hasher, &record, &self.names);
        if let Ok(entry) = self.index.find_entry(hash, |found| *found == slot) {
            entry.remove();
        }
        self.unlink(slot);
        if let ClusterKey::Name(name) = record.id {
            self.names.remove(name);
        }
        self.refusals.remove(record.refusals);
        self.free.push(slot);
    }

    /// The slots of all records, those first whose last request is longest ago.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors((self.oldest != NO_SLOT).then_some(self.oldest), |slot| {
            let newer = self.record(*slot).newer;
            (newer != NO_SLOT).then_some(newer)
        })
    }

    /// Links the records in the order of their last requests.
    pub(crate) fn sort(&mut self) {
        let mut slots: Vec<u32> = self.oldest_first().collect();
        slots.sort_by_key(|slot| self.record(*slot).last_heard);
        (self.newest, self.oldest) = (NO_SLOT, NO_SLOT);
        for slot in slots {
            self.link_newest(slot);
        }
    }

    /// Puts a record, which is in no list, at the newest end of the list that is sorted by last use.
    fn link_newest(&mut self, slot: u32) {
        let before = std::mem::replace(&mut self.newest, slot);
        let record = self.record_mut(slot);
        (record.newer, record.older) = (NO_SLOT, before);
        match before {
            NO_SLOT => self.oldest = slot,
            before => self.record_mut(before).newer = slot,
        }
    }

    /// Takes a record out of the list that is sorted by last use. The record itself still has its old links.
    fn unlink(&mut self, slot: u32) {
        let ClusterRecord { newer, older, .. } = *self.record(slot);
        match newer {
            NO_SLOT => self.newest = older,
            newer => self.record_mut(newer).older = older,
        }
        match older {
            NO_SLOT => self.oldest = newer,
            older => self.record_mut(older).newer = newer,
        }
    }
}

/// The hash of a record's ID, the same as that of the ID as text.
fn hash_of(hasher: &DefaultHashBuilder, record: &ClusterRecord, names: &Slab<Box<str>>) -> u64 {
    match record.id {
        ClusterKey::Uuid(uuid) => {
            let mut text = UuidText { bytes: [0; 36], len: 0 };
            let _ = write_uuid(&uuid, &mut text);
            hasher.hash_one(std::str::from_utf8(&text.bytes).unwrap_or_default())
        }
        ClusterKey::Name(name) => hasher.hash_one(names.get(name).map_or("", |name| name)),
    }
}

/// A buffer for a UUID as text, without an allocation.
struct UuidText {
    bytes: [u8; 36],
    len: usize,
}

impl std::fmt::Write for UuidText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let target = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(std::fmt::Error)?;
        target.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ids(shard: &RegistryShard) -> Vec<String> {
        let mut id = String::new();
        let ids = shard.oldest_first().map(|slot| {
            shard.write_id(shard.record(slot), &mut id);
            id.clone()
        });
        ids.collect()
    }

    #[test]
    fn the_oldest_is_removed_first() {
        let mut shard = RegistryShard::new(DefaultHashBuilder::default(), 2);
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        for id in ["a", uuid, "b", "a"] {
            let slot = shard.find_or_insert(id, 1);
            shard.labels_mut(slot)[1] = 7;
        }
        assert_eq!(ids(&shard), [uuid, "b", "a"]);
        shard.remove_oldest();
        assert_eq!((ids(&shard), shard.find(uuid), shard.len()), (vec!["b".to_owned(), "a".to_owned()], None, 2));
        let slot = shard.find_or_insert("c", 2);
        assert_eq!((slot, shard.labels(slot)), (1, &[0, 0][..]), "the slot is used again, and empty");
        shard.find_or_insert("b", 2);
        assert_eq!(ids(&shard), ["a", "c", "b"]);
    }

    #[test]
    fn many_are_found_again() {
        let mut shard = RegistryShard::new(DefaultHashBuilder::default(), 0);
        let id = |number: u32| match number % 2 {
            0 => format!("{number:08x}-0000-4000-8000-000000000000"),
            _ => format!("cluster-{number}"),
        };
        for number in 0..5000 {
            shard.find_or_insert(&id(number), number);
        }
        for number in 0..5000 {
            let slot = shard.find(&id(number)).unwrap();
            assert_eq!(shard.record(slot).first_seen, number);
        }
        for _ in 0..4000 {
            shard.remove_oldest();
        }
        assert_eq!((shard.len(), shard.oldest_heard()), (1000, Some(4000)));
        assert!(shard.find(&id(3999)).is_none() && shard.find(&id(4000)).is_some());
        assert_eq!(shard.free.len(), 4000);
    }
}
