//! The clusters behind one lock, in the order they last wrote.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use telemeter_wire::SeriesSet;

use super::{Kept, cluster::Cluster, symbols::Symbols};

const NONE: u32 = u32::MAX;

struct Slot {
    cluster: Option<Box<Cluster>>,
    /// The neighbours in the order of writing.
    older: u32,
    newer: u32,
}

/// Clusters, and the texts of their labels.
pub(super) struct Shard {
    pub(super) symbols: Symbols,
    hasher: DefaultHashBuilder,
    slots: Vec<Slot>,
    free: Vec<u32>,
    table: HashTable<u32>,
    oldest: u32,
    newest: u32,
    clusters_bytes: usize,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            symbols: Symbols::default(),
            hasher: DefaultHashBuilder::default(),
            slots: Vec::new(),
            free: Vec::new(),
            table: HashTable::new(),
            oldest: NONE,
            newest: NONE,
            clusters_bytes: 0,
        }
    }
}

/// One push.
pub(super) struct Push<'p, 'a> {
    pub(super) cluster: &'p str,
    pub(super) set: &'p SeriesSet<'a>,
    /// How many appends there were before.
    pub(super) stamp: u64,
    pub(super) now_ms: i64,
    pub(super) window_ms: i64,
}

impl Shard {
    pub(super) fn append(&mut self, push: &Push<'_, '_>) -> Kept {
        let at = self.slot_of(push);
        let Self { symbols, hasher, slots, clusters_bytes, .. } = self;
        let cluster = slots[at as usize].cluster.as_mut().expect("a slot in the table is taken");
        *clusters_bytes -= cluster.bytes();
        let kept = cluster.append(push.set, push.now_ms.saturating_sub(push.window_ms), hasher, symbols);
        cluster.written = push.stamp;
        cluster.seen_ms = cluster.seen_ms.max(push.now_ms);
        cluster.activity.add(push.now_ms, kept.samples);
        *clusters_bytes += cluster.bytes();
        self.unlink(at);
        self.link_newest(at);
        kept
    }

    fn slot_of(&mut self, push: &Push<'_, '_>) -> u32 {
        if let Some(at) = self.find(push.cluster) {
            return at;
        }
        let cluster = Cluster::new(push.cluster, push.stamp, push.window_ms, push.now_ms);
        self.clusters_bytes += cluster.bytes();
        let slot = Slot { cluster: Some(Box::new(cluster)), older: NONE, newer: NONE };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).expect("the byte bound of the store is below four billion clusters")
            }
        };
        let Self { hasher, slots, table, .. } = self;
        table.insert_unique(hasher.hash_one(push.cluster), at, |at| {
            hasher.hash_one(slots[*at as usize].cluster.as_ref().map_or("", |cluster| &cluster.id))
        });
        self.link_newest(at);
        at
    }

    fn find(&self, id: &str) -> Option<u32> {
        let is = |at: &u32| self.slots[*at as usize].cluster.as_ref().is_some_and(|cluster| *cluster.id == *id);
        self.table.find(self.hasher.hash_one(id), is).copied()
    }

    pub(super) fn cluster(&self, id: &str) -> Option<&Cluster> {
        self.slots[self.find(id)? as usize].cluster.as_deref()
    }

    /// All clusters, from a slot on; a cluster stays in its slot for as long as it is held.
    pub(super) fn clusters_from(&self, slot: usize) -> impl Iterator<Item = (usize, &Cluster)> {
        let slots = self.slots.iter().enumerate().skip(slot);
        slots.filter_map(|(at, slot)| slot.cluster.as_deref().map(|cluster| (at, cluster)))
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// When (in appends) the one that wrote longest ago wrote.
    pub(super) fn oldest(&self) -> Option<u64> {
        Some(self.slots.get(self.oldest as usize)?.cluster.as_ref()?.written)
    }

    /// Makes room: drops the one that wrote longest ago; or only its older samples, where it is alone or fills half of
    /// `max_bytes`.
    pub(super) fn relieve(&mut self, alone: bool, max_bytes: usize) {
        let at = self.oldest;
        let Self { symbols, slots, clusters_bytes, .. } = self;
        let Some(cluster) = slots.get_mut(at as usize).and_then(|slot| slot.cluster.as_mut()) else { return };
        let before = cluster.bytes();
        let trimmed = (alone || before > max_bytes / 2) && cluster.trim_half(symbols) && !cluster.series.is_empty();
        *clusters_bytes = *clusters_bytes + cluster.bytes() - before;
        if !trimmed {
            self.remove(at);
        }
    }

    /// Drops the samples before `cutoff_ms`, then the series without one, then the clusters without one that have not
    /// written since.
    pub(super) fn sweep(&mut self, cutoff_ms: i64) {
        for at in 0..self.slots.len() {
            let Self { symbols, slots, clusters_bytes, .. } = &mut *self;
            let Some(cluster) = slots[at].cluster.as_mut() else { continue };
            let before = cluster.bytes();
            cluster.trim(cutoff_ms, symbols);
            *clusters_bytes = *clusters_bytes + cluster.bytes() - before;
            if cluster.series.is_empty() && cluster.seen_ms < cutoff_ms {
                self.remove(at as u32);
            }
            if self.slots.is_empty() {
                return;
            }
        }
    }

    fn remove(&mut self, at: u32) {
        let Some(cluster) = self.slots[at as usize].cluster.take() else { return };
        let hash = self.hasher.hash_one(&*cluster.id);
        if let Ok(entry) = self.table.find_entry(hash, |held| *held == at) {
            entry.remove();
        }
        self.unlink(at);
        self.free.push(at);
        self.clusters_bytes -= cluster.bytes();
        cluster.release(&mut self.symbols);
        if self.table.is_empty() {
            // Gives back the room of the tables, too.
            *self = Self::default();
        }
    }

    fn unlink(&mut self, at: u32) {
        let (older, newer) = (self.slots[at as usize].older, self.slots[at as usize].newer);
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
    }

    fn link_newest(&mut self, at: u32) {
        let older = std::mem::replace(&mut self.newest, at);
        self.slots[at as usize].older = older;
        self.slots[at as usize].newer = NONE;
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
    }

    /// Bytes held on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.symbols.heap_bytes()
            + self.clusters_bytes
            + self.slots.capacity() * size_of::<Slot>()
            + self.free.capacity() * size_of::<u32>()
            + self.table.allocation_size()
    }
}
