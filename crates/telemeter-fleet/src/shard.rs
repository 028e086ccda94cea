//! A part of the registry behind one lock: records in fixed blocks, found by hash, in the order in which they were heard.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::{
    id::{ClusterKey, parse_uuid, write_uuid},
    record::{ClusterRecord, NOWHERE, RecordedRefusals},
    symbols::SymbolId,
};

/// Records are allocated in blocks: a growing vector would hold, and copy, up to twice as much. So many of 140 bytes fill the
/// 8 KiB that an allocator gives for them; 64 took 10 KiB.
const BLOCK: usize = 58;

/// A number of records, and what belongs to them.
pub(crate) struct RegistryShard {
    hasher: DefaultHashBuilder,
    /// Places of records by the hash of their ID.
    index: HashTable<u32>,
    blocks: Vec<Box<[ClusterRecord]>>,
    /// Fleet labels, `label_count` to a record.
    labels: Vec<Box<[SymbolId]>>,
    label_count: usize,
    /// How many places were ever used, and those that are free again.
    used: u32,
    free: Vec<u32>,
    names: Slab<Box<str>>,
    refusals: Slab<RecordedRefusals>,
    newest: u32,
    oldest: u32,
}

/// Values by number; a number that was taken out is given again.
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
    fn insert(&mut self, value: T) -> u32 {
        match self.free.pop() {
            Some(place) => {
                self.values[place as usize] = Some(value);
                place
            }
            None => {
                self.values.push(Some(value));
                self.values.len() as u32 - 1
            }
        }
    }

    fn remove(&mut self, place: u32) {
        if self.values.get_mut(place as usize).and_then(Option::take).is_some() {
            self.free.push(place);
        }
    }

    fn get(&self, place: u32) -> Option<&T> {
        self.values.get(place as usize)?.as_ref()
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
            newest: NOWHERE,
            oldest: NOWHERE,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        let uuid = parse_uuid(id);
        let is_it = |place: &u32| match (self.record(*place).id, uuid) {
            (ClusterKey::Uuid(known), Some(uuid)) => known == uuid,
            (ClusterKey::Name(name), None) => self.names.get(name).is_some_and(|name| **name == *id),
            _ => false,
        };
        self.index.find(self.hasher.hash_one(id), is_it).copied()
    }

    /// The place of `id`, as the newest; a new record where it was not known.
    pub(crate) fn touch(&mut self, id: &str, now_s: u32) -> u32 {
        if let Some(place) = self.find(id) {
            if self.newest != place {
                self.unlink(place);
                self.link_newest(place);
            }
            return place;
        }
        let kept = match parse_uuid(id) {
            Some(uuid) => ClusterKey::Uuid(uuid),
            None => ClusterKey::Name(self.names.insert(id.into())),
        };
        let place = self.allocate(ClusterRecord::new(kept, now_s));
        let hash = self.hasher.hash_one(id);
        let Self { index, blocks, names, hasher, .. } = self;
        index.insert_unique(hash, place, |place| {
            hash_of(hasher, &blocks[*place as usize / BLOCK][*place as usize % BLOCK], names)
        });
        self.link_newest(place);
        place
    }

    fn allocate(&mut self, record: ClusterRecord) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            let place = self.used;
            self.used += 1;
            place
        });
        if place as usize / BLOCK == self.blocks.len() {
            self.blocks.push(vec![record; BLOCK].into_boxed_slice());
            self.labels.push(vec![0; BLOCK * self.label_count].into_boxed_slice());
        }
        *self.record_mut(place) = record;
        self.labels_mut(place).fill(0);
        place
    }

    pub(crate) fn record(&self, place: u32) -> &ClusterRecord {
        &self.blocks[place as usize / BLOCK][place as usize % BLOCK]
    }

    pub(crate) fn record_mut(&mut self, place: u32) -> &mut ClusterRecord {
        &mut self.blocks[place as usize / BLOCK][place as usize % BLOCK]
    }

    pub(crate) fn labels(&self, place: u32) -> &[SymbolId] {
        let first = place as usize % BLOCK * self.label_count;
        &self.labels[place as usize / BLOCK][first..first + self.label_count]
    }

    pub(crate) fn labels_mut(&mut self, place: u32) -> &mut [SymbolId] {
        let first = place as usize % BLOCK * self.label_count;
        &mut self.labels[place as usize / BLOCK][first..first + self.label_count]
    }

    /// The refusals of a record, where it has any.
    pub(crate) fn refusals(&self, record: &ClusterRecord) -> Option<&RecordedRefusals> {
        self.refusals.get(record.refusals)
    }

    /// The refusals of a record, made where there were none.
    pub(crate) fn refusals_mut(&mut self, place: u32) -> &mut RecordedRefusals {
        let mut at = self.record(place).refusals;
        if at == NOWHERE {
            at = self.refusals.insert(RecordedRefusals::default());
            self.record_mut(place).refusals = at;
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

    /// When the record that was heard longest ago was heard; `None` where there is none.
    pub(crate) fn oldest_heard(&self) -> Option<u32> {
        (self.oldest != NOWHERE).then(|| self.record(self.oldest).last_heard)
    }

    /// Forgets the record that was heard longest ago.
    pub(crate) fn remove_oldest(&mut self) {
        if self.oldest != NOWHERE {
            self.remove(self.oldest);
        }
    }

    fn remove(&mut self, place: u32) {
        let record = *self.record(place);
        let hash = hash_of(&self.hasher, &record, &self.names);
        if let Ok(entry) = self.index.find_entry(hash, |found| *found == place) {
            entry.remove();
        }
        self.unlink(place);
        if let ClusterKey::Name(name) = record.id {
            self.names.remove(name);
        }
        self.refusals.remove(record.refusals);
        self.free.push(place);
    }

    /// The places of all records, from the one heard longest ago to the newest.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors((self.oldest != NOWHERE).then_some(self.oldest), |place| {
            let newer = self.record(*place).newer;
            (newer != NOWHERE).then_some(newer)
        })
    }

    /// Puts the records in the order in which they were heard.
    pub(crate) fn sort(&mut self) {
        let mut places: Vec<u32> = self.oldest_first().collect();
        places.sort_by_key(|place| self.record(*place).last_heard);
        (self.newest, self.oldest) = (NOWHERE, NOWHERE);
        for place in places {
            self.link_newest(place);
        }
    }

    fn link_newest(&mut self, place: u32) {
        let before = std::mem::replace(&mut self.newest, place);
        let record = self.record_mut(place);
        (record.newer, record.older) = (NOWHERE, before);
        match before {
            NOWHERE => self.oldest = place,
            before => self.record_mut(before).newer = place,
        }
    }

    fn unlink(&mut self, place: u32) {
        let ClusterRecord { newer, older, .. } = *self.record(place);
        match newer {
            NOWHERE => self.newest = older,
            newer => self.record_mut(newer).older = older,
        }
        match older {
            NOWHERE => self.oldest = newer,
            older => self.record_mut(older).newer = newer,
        }
    }
}

/// The hash of a record's ID, as that of its text.
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

/// Room for the text of a UUID, without an allocation.
struct UuidText {
    bytes: [u8; 36],
    len: usize,
}

impl std::fmt::Write for UuidText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
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
        let ids = shard.oldest_first().map(|place| {
            shard.write_id(shard.record(place), &mut id);
            id.clone()
        });
        ids.collect()
    }

    #[test]
    fn heard_last_goes_last() {
        let mut shard = RegistryShard::new(DefaultHashBuilder::default(), 2);
        let uuid = "01234567-89ab-cdef-0123-456789abcdef";
        for id in ["a", uuid, "b", "a"] {
            let place = shard.touch(id, 1);
            shard.labels_mut(place)[1] = 7;
        }
        assert_eq!(ids(&shard), [uuid, "b", "a"]);
        shard.remove_oldest();
        assert_eq!((ids(&shard), shard.find(uuid), shard.len()), (vec!["b".to_owned(), "a".to_owned()], None, 2));
        let place = shard.touch("c", 2);
        assert_eq!((place, shard.labels(place)), (1, &[0, 0][..]), "the place is used again, and empty");
        shard.touch("b", 2);
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
            shard.touch(&id(number), number);
        }
        for number in 0..5000 {
            let place = shard.find(&id(number)).unwrap();
            assert_eq!(shard.record(place).first_seen, number);
        }
        for _ in 0..4000 {
            shard.remove_oldest();
        }
        assert_eq!((shard.len(), shard.oldest_heard()), (1000, Some(4000)));
        assert!(shard.find(&id(3999)).is_none() && shard.find(&id(4000)).is_some());
        assert_eq!(shard.free.len(), 4000);
    }
}
