//! The clusters behind one lock, sorted by the order in which they are evicted.

use std::{cmp::Reverse, collections::BTreeSet, hash::BuildHasher as _};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{AppendCounts, cluster::StoredCluster, staged::Staged};

/// The rank of a cluster in the order of eviction. The greatest is evicted first: of the clusters that are about as large
/// as the largest, the one whose last write is longest ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The number of binary digits of its size in bytes, so that clusters of about the same size compare equal.
    digits: u8,
    written: Reverse<u64>,
    slot: u32,
}

impl Rank {
    /// The rank of the cluster in this slot, at its present size and time of writing.
    fn of(cluster: &StoredCluster, slot: u32) -> Self {
        let digits = (usize::BITS - cluster.bytes().leading_zeros()) as u8;
        Self { digits, written: Reverse(cluster.written), slot }
    }
}

/// Clusters in slots, with an index by ID and their order of eviction.
#[derive(Default)]
pub(super) struct StoreShard {
    hasher: DefaultHashBuilder,
    slots: Vec<Option<Box<StoredCluster>>>,
    free: Vec<u32>,
    table: HashTable<u32>,
    order: BTreeSet<Rank>,
    clusters_bytes: usize,
}

/// A staged push, to be appended to its cluster.
pub(super) struct Push<'p> {
    pub(super) cluster: &'p str,
    pub(super) staged: &'p Staged,
    /// The hasher of labels.
    pub(super) hasher: &'p DefaultHashBuilder,
    /// The number of appends to the store before this one.
    pub(super) stamp: u64,
    pub(super) now_ms: i64,
    pub(super) window_ms: i64,
}

impl StoreShard {
    /// Adds the samples of a push to its cluster, which is created where it is new, and returns how many were added.
    /// The cluster becomes the last of its size to be evicted.
    pub(super) fn append(&mut self, push: &Push<'_>) -> AppendCounts {
        let slot = self.slot_of(push);
        self.change(slot, |cluster| {
            let counts = cluster.append(push.staged, push.now_ms.saturating_sub(push.window_ms), push.hasher);
            cluster.written = push.stamp;
            cluster.seen_ms = cluster.seen_ms.max(push.now_ms);
            cluster.activity.add(push.now_ms, counts.samples);
            counts
        })
    }

    /// The slot of the push's cluster, which is added where it is new.
    fn slot_of(&mut self, push: &Push<'_>) -> u32 {
        if let Some(at) = self.find(push.cluster) {
            return at;
        }
        let cluster = Box::new(StoredCluster::new(push.cluster, push.stamp, push.window_ms, push.now_ms));
        self.clusters_bytes += cluster.bytes();
        let at = match self.free.pop() {
            Some(at) => at,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).expect("the byte bound of the store is below four billion clusters")
            }
        };
        self.order.insert(Rank::of(&cluster, at));
        self.slots[at as usize] = Some(cluster);
        let Self { hasher, slots, table, .. } = self;
        table.insert_unique(hasher.hash_one(push.cluster), at, |at| {
            hasher.hash_one(slots[*at as usize].as_ref().map_or("", |cluster| &cluster.id))
        });
        at
    }

    /// Changes a cluster, and updates the sum of bytes and its rank.
    fn change<T>(&mut self, slot: u32, change: impl FnOnce(&mut StoredCluster) -> T) -> T {
        let cluster = self.slots[slot as usize].as_mut().expect("a slot in the table is taken");
        let (bytes, rank) = (cluster.bytes(), Rank::of(cluster, slot));
        let result = change(cluster);
        // A difference below zero wraps, and the sum wraps back.
        self.clusters_bytes = self.clusters_bytes.wrapping_add(cluster.bytes()).wrapping_sub(bytes);
        let new_rank = Rank::of(cluster, slot);
        if new_rank != rank {
            self.order.remove(&rank);
            self.order.insert(new_rank);
        }
        result
    }

    /// The slot of the cluster with this ID; `None` for an unknown one.
    fn find(&self, id: &str) -> Option<u32> {
        let has_id = |at: &u32| self.slots[*at as usize].as_ref().is_some_and(|cluster| *cluster.id == *id);
        self.table.find(self.hasher.hash_one(id), has_id).copied()
    }

    /// The cluster with this ID; `None` for an unknown one.
    pub(super) fn cluster(&self, id: &str) -> Option<&StoredCluster> {
        self.slots[self.find(id)? as usize].as_deref()
    }

    /// All clusters from a slot on; a cluster stays in its slot until it is removed.
    pub(super) fn clusters_from(&self, slot: usize) -> impl Iterator<Item = (usize, &StoredCluster)> {
        let slots = self.slots.iter().enumerate().skip(slot);
        slots.filter_map(|(at, cluster)| cluster.as_deref().map(|cluster| (at, cluster)))
    }

    /// The number of clusters.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The priority for eviction of the cluster that is evicted first, comparable among shards; 0 for an empty shard.
    pub(super) fn eviction_priority(&self) -> u64 {
        const WRITTEN_BITS: u32 = 56;
        let of =
            |rank: &Rank| (u64::from(rank.digits) << WRITTEN_BITS) | (u64::MAX >> 8).saturating_sub(rank.written.0);
        self.order.last().map_or(0, of)
    }

    /// Removes old samples of the cluster that is evicted first, or the whole cluster where that frees too little.
    pub(super) fn evict(&mut self, hasher: &DefaultHashBuilder) {
        let Some(&Rank { slot, .. }) = self.order.last() else { return };
        if !self.change(slot, |cluster| cluster.shrink(hasher)) {
            self.remove_cluster(slot);
        }
    }

    /// Removes the samples before `cutoff_ms`, series without samples, and clusters without series that have not written
    /// since then.
    pub(super) fn sweep(&mut self, cutoff_ms: i64, hasher: &DefaultHashBuilder) {
        for at in 0..self.slots.len() {
            if self.slots[at].is_none() {
                continue;
            }
            let is_empty = self.change(at as u32, |cluster| {
                cluster.trim(cutoff_ms, hasher);
                cluster.series.is_empty() && cluster.seen_ms < cutoff_ms
            });
            if is_empty {
                self.remove_cluster(at as u32);
            }
            if self.slots.is_empty() {
                return;
            }
        }
    }

    /// Removes the cluster in a slot with its samples; does nothing where the slot is free. After the last cluster, the
    /// memory of the tables is freed too.
    fn remove_cluster(&mut self, at: u32) {
        let Some(cluster) = self.slots[at as usize].take() else { return };
        let hash = self.hasher.hash_one(&*cluster.id);
        if let Ok(entry) = self.table.find_entry(hash, |slot| *slot == at) {
            entry.remove();
        }
        self.order.remove(&Rank::of(&cluster, at));
        self.free.push(at);
        self.clusters_bytes -= cluster.bytes();
        if self.table.is_empty() {
            // Frees the memory of the tables, too.
            *self = Self::default();
        }
    }

    /// The size on the heap, in bytes.
    pub(super) fn heap_bytes(&self) -> usize {
        self.clusters_bytes
            + self.slots.capacity() * size_of::<Option<Box<StoredCluster>>>()
            + self.free.capacity() * size_of::<u32>()
            + self.table.allocation_size()
            // On average, the nodes of a B-tree are two thirds full.
            + self.order.len() * size_of::<Rank>() * 3 / 2
    }
}
