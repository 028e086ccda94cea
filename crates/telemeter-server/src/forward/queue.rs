//! Queues the requests that wait for the store, and takes them in an order that is fair to clusters, not to requests.
//!
//! Each cluster with a waiting request has a list of its own, and the clusters of one standing form a ring. In one
//! round of the ring each cluster may send about [`TURN_BYTES`]. A cluster may exceed this with its last request; the
//! excess is subtracted from its next rounds. So a cluster with thousands of requests delays the requests of another
//! cluster by at most one round. (This is deficit round robin, except that the deficit is allowed first and paid back
//! later.)
//!
//! Requests and lists are stored in two slabs, and the free entries of a slab are reused: a request needs no allocation
//! of its own, and each operation takes constant time, however many requests wait. Only [`ForwardQueue::take_expired`]
//! and [`ForwardQueue::take_all`] visit every cluster, and a change of a cluster's standing visits each of its
//! requests.
//!
//! Source: M. Shreedhar and G. Varghese, "Efficient fair queueing using deficit round robin", 1996.

use std::{collections::VecDeque, time::Instant};

use hashbrown::{HashTable, hash_table};

/// How many uncompressed bytes a cluster may send in one round; at least one request.
const TURN_BYTES: i64 = 64 << 10;
/// The index that means: no entry.
const NONE: u32 = u32::MAX;

/// What is known about a cluster's data at the store; it decides how its requests are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No failure is known: its requests are joined with those of other clusters.
    Good,
    /// It was in a batch that failed: its requests are joined with only a few others, until the cause of the failure is
    /// known.
    Suspect,
    /// The store refused its data, or failed on its data while it accepted that of other clusters: its requests are
    /// sent unbatched.
    Quarantined,
}

impl Standing {
    pub(super) const ALL: [Self; 3] = [Self::Good, Self::Suspect, Self::Quarantined];
}

/// One request that waits for the store.
#[derive(Debug)]
pub(super) struct WaitingRequest<T> {
    /// A keyed hash of the cluster ID.
    pub(super) cluster: u64,
    /// The memory that it needs while it waits, in bytes.
    pub(super) held_bytes: usize,
    /// Its size in bytes, decompressed.
    pub(super) plain_bytes: usize,
    pub(super) arrived: Instant,
    /// From this time on it is not sent any more.
    pub(super) expires: Instant,
    /// The message, and the channel for its outcome.
    pub(super) item: T,
}

/// The waiting requests of one cluster, as a linked list.
#[derive(Debug)]
struct Flow {
    cluster: u64,
    standing: Standing,
    head: u32,
    tail: u32,
    held_bytes: usize,
    /// How many bytes it may still send in this round; negative after it exceeded its share.
    credit: i64,
    /// The rings that refer to this flow, by standing. Its entry in the slab is freed once no ring does.
    in_ring: [bool; 3],
}

#[derive(Debug)]
struct QueueEntry<T> {
    request: Option<WaitingRequest<T>>,
    next: u32,
}

/// The queue: requests by cluster, clusters by standing.
#[derive(Debug)]
pub(super) struct ForwardQueue<T> {
    entries: Vec<QueueEntry<T>>,
    free_entries: Vec<u32>,
    flows: Vec<Flow>,
    free_flows: Vec<u32>,
    by_cluster: HashTable<u32>,
    rings: [VecDeque<u32>; 3],
    /// The number and the size of waiting requests, by standing.
    waiting: [QueueTotals; 3],
}

/// The number and the size of the waiting requests of all clusters of one standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueTotals {
    pub(super) requests: usize,
    pub(super) held_bytes: usize,
    pub(super) plain_bytes: usize,
}

impl<T> Default for ForwardQueue<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            free_entries: Vec::new(),
            flows: Vec::new(),
            free_flows: Vec::new(),
            by_cluster: HashTable::new(),
            rings: Default::default(),
            waiting: Default::default(),
        }
    }
}

impl<T> ForwardQueue<T> {
    /// The number and the size of the waiting requests of the clusters of this standing.
    pub(super) fn totals(&self, standing: Standing) -> QueueTotals {
        self.waiting[standing as usize]
    }

    /// The memory that the waiting requests of a cluster hold, in bytes; 0 where none waits. `cluster` is a hash of its ID.
    pub(super) fn held_bytes_of(&self, cluster: u64) -> usize {
        self.find(cluster).map_or(0, |flow| self.flows[flow as usize].held_bytes)
    }

    /// Adds a request after the other requests of its cluster. The cluster, with all its waiting requests, has this
    /// standing from now on.
    pub(super) fn push(&mut self, request: WaitingRequest<T>, standing: Standing) {
        let (flow, entry) = self.insert(request, standing);
        let (flow, place) = (&mut self.flows[flow as usize], entry);
        match flow.tail {
            NONE => flow.head = place,
            tail => self.entries[tail as usize].next = place,
        }
        flow.tail = place;
    }

    /// Adds a request that was tried before ahead of the other requests of its cluster.
    pub(super) fn push_front(&mut self, request: WaitingRequest<T>, standing: Standing) {
        let (flow, place) = self.insert(request, standing);
        let flow = &mut self.flows[flow as usize];
        self.entries[place as usize].next = flow.head;
        flow.head = place;
        if flow.tail == NONE {
            flow.tail = place;
        }
    }

    /// Changes the standing of a cluster and of its waiting requests.
    pub(super) fn set_standing(&mut self, cluster: u64, standing: Standing) {
        if let Some(flow) = self.find(cluster) {
            self.move_flow(flow, standing);
        }
    }

    /// Takes the next batch of the clusters of this standing: the requests that their rounds allow, or one request of
    /// each cluster where `is_one_each`. The batch has at most `max_bytes` uncompressed, unless a single request is
    /// larger, and at most as many requests as the smallest `limit` of a cluster in it. Requests that have expired go
    /// to `expired`.
    pub(super) fn take(
        &mut self,
        standing: Standing,
        max_bytes: usize,
        is_one_each: bool,
        mut limit: impl FnMut(u64) -> usize,
        now: Instant,
        expired: &mut Vec<WaitingRequest<T>>,
    ) -> Vec<WaitingRequest<T>> {
        let ring = standing as usize;
        let (mut batch, mut bytes, mut max_requests) = (Vec::new(), 0, usize::MAX);
        while let Some(&index) = self.rings[ring].front() {
            let flow = &mut self.flows[index as usize];
            if flow.standing != standing || flow.head == NONE {
                self.leave_ring(index, ring);
                continue;
            }
            if flow.credit <= 0 {
                flow.credit += TURN_BYTES;
                self.rings[ring].rotate_left(1);
                continue;
            }
            let Some(next) = &self.entries[flow.head as usize].request else { unreachable!("a listed entry is taken") };
            if next.expires <= now {
                expired.push(self.pop(index));
                continue;
            }
            max_requests = max_requests.min(limit(next.cluster).max(1));
            let is_over = bytes + next.plain_bytes > max_bytes || batch.len() >= max_requests;
            if !batch.is_empty() && is_over {
                break;
            }
            let next = self.pop(index);
            bytes += next.plain_bytes;
            self.flows[index as usize].credit -= i64::try_from(next.plain_bytes.max(1)).unwrap_or(i64::MAX);
            batch.push(next);
            if is_one_each {
                self.rings[ring].rotate_left(1);
            }
            if batch.len() >= max_requests {
                break;
            }
        }
        batch
    }

    /// Takes all requests that have expired by `now`.
    pub(super) fn take_expired(&mut self, now: Instant, expired: &mut Vec<WaitingRequest<T>>) {
        self.take_if(|request| request.expires <= now, expired);
    }

    /// Takes all requests of the clusters of this standing.
    pub(super) fn take_all(&mut self, standing: Standing, taken: &mut Vec<WaitingRequest<T>>) {
        for index in 0..self.flows.len() {
            while self.flows[index].standing == standing && self.flows[index].head != NONE {
                taken.push(self.pop(slab_index(index)));
            }
        }
    }

    /// Removes the waiting requests for which `is_taken` is true, from all flows, and appends them to `taken`.
    fn take_if(&mut self, mut is_taken: impl FnMut(&WaitingRequest<T>) -> bool, taken: &mut Vec<WaitingRequest<T>>) {
        for index in 0..self.flows.len() {
            let (mut before, mut at) = (NONE, self.flows[index].head);
            while at != NONE {
                let next = self.entries[at as usize].next;
                if self.entries[at as usize].request.as_ref().is_some_and(&mut is_taken) {
                    taken.push(self.unlink(slab_index(index), before, at));
                } else {
                    before = at;
                }
                at = next;
            }
        }
    }

    fn find(&self, cluster: u64) -> Option<u32> {
        self.by_cluster.find(cluster, |flow| self.flows[*flow as usize].cluster == cluster).copied()
    }

    /// Stores a request that is in no list yet, counts it, and lets its flow join a ring. Returns the index of its flow
    /// and the index of its entry; the caller links the entry.
    fn insert(&mut self, request: WaitingRequest<T>, standing: Standing) -> (u32, u32) {
        let cluster = request.cluster;
        let flow = match self.find(cluster) {
            Some(flow) => {
                self.move_flow(flow, standing);
                flow
            }
            None => self.new_flow(cluster, standing),
        };
        let totals = &mut self.waiting[standing as usize];
        totals.requests += 1;
        totals.held_bytes += request.held_bytes;
        totals.plain_bytes += request.plain_bytes;
        self.flows[flow as usize].held_bytes += request.held_bytes;
        let entry = QueueEntry { request: Some(request), next: NONE };
        let at = match self.free_entries.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                slab_index(self.entries.len() - 1)
            }
        };
        self.join_ring(flow);
        (flow, at)
    }

    /// Adds an empty flow for a cluster that has none, in a free slot where there is one, and returns its index. It
    /// joins a ring with its first request.
    fn new_flow(&mut self, cluster: u64, standing: Standing) -> u32 {
        let flow =
            Flow { cluster, standing, head: NONE, tail: NONE, held_bytes: 0, credit: TURN_BYTES, in_ring: [false; 3] };
        let at = match self.free_flows.pop() {
            Some(at) => {
                self.flows[at as usize] = flow;
                at
            }
            None => {
                self.flows.push(flow);
                slab_index(self.flows.len() - 1)
            }
        };
        let flows = &self.flows;
        self.by_cluster.insert_unique(cluster, at, |flow| flows[*flow as usize].cluster);
        at
    }

    /// Gives a flow another standing: its waiting requests are counted under that and, where it has any, it joins the
    /// ring of that standing. It also stays in the ring of the old one until its turn there.
    fn move_flow(&mut self, index: u32, standing: Standing) {
        let flow = &mut self.flows[index as usize];
        let before = std::mem::replace(&mut flow.standing, standing);
        if before == standing {
            return;
        }
        let mut at = flow.head;
        while at != NONE {
            let entry = &self.entries[at as usize];
            if let Some(request) = &entry.request {
                for (standing, sign) in [(before, false), (standing, true)] {
                    self.waiting[standing as usize].change(request, sign);
                }
            }
            at = entry.next;
        }
        if self.flows[index as usize].head != NONE {
            self.join_ring(index);
        }
    }

    /// Adds the flow to the end of the ring of its standing, with new credit, unless it is in that ring already.
    fn join_ring(&mut self, index: u32) {
        let flow = &mut self.flows[index as usize];
        let ring = flow.standing as usize;
        if !std::mem::replace(&mut flow.in_ring[ring], true) {
            flow.credit = TURN_BYTES;
            self.rings[ring].push_back(index);
        }
    }

    /// Removes the flow at the front of a ring from this ring. A flow without requests, and in no other ring, is freed.
    fn leave_ring(&mut self, index: u32, ring: usize) {
        self.rings[ring].pop_front();
        let flow = &mut self.flows[index as usize];
        flow.in_ring[ring] = false;
        if flow.head == NONE && flow.in_ring == [false; 3] {
            let cluster = flow.cluster;
            let flows = &self.flows;
            let found = self.by_cluster.find_entry(cluster, |flow| flows[*flow as usize].cluster == cluster);
            found.map(hash_table::OccupiedEntry::remove).ok();
            self.free_flows.push(index);
        }
    }

    fn pop(&mut self, flow: u32) -> WaitingRequest<T> {
        self.unlink(flow, NONE, self.flows[flow as usize].head)
    }

    /// Removes the entry `at`, which follows `before` ([`NONE`] for the first), from the list of its flow, and frees
    /// it.
    fn unlink(&mut self, flow: u32, before: u32, at: u32) -> WaitingRequest<T> {
        let entry = &mut self.entries[at as usize];
        let next = std::mem::replace(&mut entry.next, NONE);
        let request = entry.request.take().expect("what stands in a list was not taken");
        self.free_entries.push(at);
        let flow = &mut self.flows[flow as usize];
        match before {
            NONE => flow.head = next,
            before => self.entries[before as usize].next = next,
        }
        if flow.tail == at {
            flow.tail = before;
        }
        flow.held_bytes -= request.held_bytes;
        self.waiting[flow.standing as usize].change(&request, false);
        request
    }
}

impl QueueTotals {
    fn change<T>(&mut self, request: &WaitingRequest<T>, comes: bool) {
        let change = |total: &mut usize, by: usize| *total = if comes { *total + by } else { *total - by };
        change(&mut self.requests, 1);
        change(&mut self.held_bytes, request.held_bytes);
        change(&mut self.plain_bytes, request.plain_bytes);
    }
}

/// Converts an index of a slab to `u32`. Each entry holds a request of at least one byte, so memory is exhausted long
/// before 2^32 entries.
fn slab_index(index: usize) -> u32 {
    u32::try_from(index).expect("memory ends long before")
}

#[cfg(test)]
mod tests;
