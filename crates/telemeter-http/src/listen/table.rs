//! The connections of a listener: what each holds, since when it keeps us waiting, and which is closed when there is no
//! more room.
//!
//! No connection has a timer of its own. Each writes down, in a few atomics, when it last did something; one task looks
//! through all of them a few times a second and closes those that are past a deadline. Its clock, which it moves on at
//! each look, is all that the others read.
//!
//! Where a count or a share of the [`MemoryBudget`] is used up, the connections of the client that holds most are closed,
//! those first that have done nothing for longest; so that whoever holds little is always let in.

mod record;
mod reporter;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub(super) use self::record::Ending;
use self::record::{Record, Times};
pub(super) use self::reporter::{Answering, FIRST_BUFFER_BYTES, Reporter};
use super::metrics::{ConnectionMetrics, Reason};
use super::{ClientNetwork, Limits};
use crate::budget::{MemoryBudget, Share};

/// What a connection holds at least: its task, its buffers as they are at first, its place in the tables.
const CONNECTION_BYTES: usize = 20 << 10;
/// The TLS state of a connection.
const TLS_BYTES: usize = 24 << 10;
/// This part of all connections, or of a share, is made free at once: looking for whom to close takes its time.
const EVICTED_PART: usize = 32;
/// Between two looks for deadlines that have passed.
const MAX_PERIOD: Duration = Duration::from_millis(250);

/// All connections of one listener.
pub(super) struct Table {
    budget: MemoryBudget,
    metrics: ConnectionMetrics,
    limits: Times,
    connections: usize,
    per_client: usize,
    began: Instant,
    /// Milliseconds since then, plus one: 0 stands for never.
    now_ms: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next_id: u64,
    connections: HashMap<u64, (Owner, Arc<Record>)>,
    /// How many each client has.
    clients: HashMap<ClientNetwork, usize>,
    /// By what is wanted: when nobody was found to close, and how many connections the client had for whom room was
    /// looked for. Until the clock goes on it is not looked for again for one that has as many.
    futile: [Option<(u64, usize)>; 3],
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) client: ClientNetwork,
    /// A trusted proxy's: it brings the requests of many, so that no limit for one client is its.
    pub(super) proxy: bool,
}

impl Table {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1);
        let connections = limits.connections.max(1);
        let per_client = match limits.connections_per_peer {
            0 => connections.div_ceil(2),
            given => given.min(connections),
        };
        Arc::new(Self {
            budget: limits.budget.clone(),
            metrics: limits.metrics.clone(),
            limits: Times {
                header: ms(limits.header_timeout),
                idle: ms(limits.idle_timeout),
                write: ms(limits.write_timeout),
            },
            connections,
            per_client,
            began: Instant::now(),
            now_ms: AtomicU64::new(1),
            open: Mutex::default(),
        })
    }

    /// Lets a connection in, closing others where there is no room. `None` where all others have a better right to theirs.
    pub(super) fn admit(self: &Arc<Self>, owner: Owner, tls: bool) -> Option<Admitted> {
        let admitted = self.try_admit(owner, tls);
        if admitted.is_none() {
            self.metrics.closed(Reason::Refused);
        }
        admitted
    }

    fn try_admit(self: &Arc<Self>, owner: Owner, tls: bool) -> Option<Admitted> {
        let bytes = CONNECTION_BYTES + if tls { TLS_BYTES } else { 0 };
        let mut open = self.open.lock();
        self.make_room_of(&mut open, owner);
        if open.connections.len() >= self.connections {
            self.evict(&mut open, owner.client, 1, Wanted::Connections(self.connections.div_ceil(EVICTED_PART)));
        }
        if open.connections.len() >= self.connections {
            return None;
        }
        if !self.budget.acquire(Share::Connections, bytes) {
            self.evict(&mut open, owner.client, bytes, self.wanted(Share::Connections, bytes));
            if !self.budget.acquire(Share::Connections, bytes) {
                return None;
            }
        }
        let id = open.next_id;
        open.next_id += 1;
        let record = Arc::new(Record::new(id, self.now_ms(), bytes));
        open.insert(owner, record.clone());
        Some(Admitted { table: self.clone(), record })
    }

    /// A client that has all connections it may have loses the one that has been quiet for longest.
    fn make_room_of(&self, open: &mut Open, owner: Owner) {
        let count = open.clients.get(&owner.client).copied().unwrap_or_default();
        if count < self.per_client || owner.proxy {
            return;
        }
        let own = open.connections.values().filter(|(other, _)| other.client == owner.client);
        let quietest = own.min_by_key(|(_, record)| (record.is_worked_for(), record.last_progress_ms(), record.id));
        if let Some(id) = quietest.map(|(_, record)| record.id) {
            open.close(id, &self.budget);
            self.metrics.closed(Reason::Room);
        }
    }

    /// Closes the connections with the least right to what they hold, until what is wanted is given back. Their tasks end
    /// a moment later; what they hold counts as given back at once.
    ///
    /// First those of the client that holds most (to the power of two: a little more is no reason), of these first the
    /// ones that no handler works for, and of these first the ones that have been quiet for longest. One that a handler
    /// works for is closed only where its client holds more than `client` would, for whom room is made and who `asked` for
    /// so much.
    fn evict(&self, open: &mut Open, client: ClientNetwork, asked: usize, wanted: Wanted) {
        let (now_ms, count) = (self.now_ms(), open.clients.get(&client).copied().unwrap_or_default());
        if open.futile[wanted.index()].is_some_and(|(at_ms, least)| at_ms == now_ms && count >= least) {
            return;
        }
        let mut by_client: HashMap<ClientNetwork, usize> = HashMap::new();
        let mut candidates = Vec::with_capacity(open.connections.len());
        for (owner, record) in open.connections.values() {
            let held = wanted.held(record);
            if held > 0 {
                *by_client.entry(owner.client).or_default() += held;
                candidates.push((owner.client, record.id, record.is_worked_for(), record.last_progress_ms(), held));
            }
        }
        let held = |client: &ClientNetwork| by_client.get(client).copied().unwrap_or_default();
        let rank = |client: &ClientNetwork| held(client).max(1).ilog2();
        let own = (held(&client) + asked).max(1).ilog2();
        candidates.retain(|(other, _, worked_for, ..)| !worked_for || rank(other) > own);
        // Of those that were quiet for as long, to the clock, older ones first.
        candidates.sort_by_cached_key(|(client, id, worked_for, last_ms, _)| {
            (std::cmp::Reverse(rank(client)), *worked_for, *last_ms, *id)
        });
        let (mut freed, mut closed) = (0, 0);
        for (_, id, _, _, held) in candidates {
            if freed >= wanted.amount() {
                break;
            }
            open.close(id, &self.budget);
            self.metrics.closed(Reason::Room);
            freed += held;
            closed += 1;
        }
        open.futile[wanted.index()] = (closed == 0).then_some((now_ms, count));
        tracing::debug!(connections = closed, ?wanted, "closed to make room for others");
    }

    /// So much of a share, and a little more: looking for whom to close takes its time.
    fn wanted(&self, share: Share, bytes: usize) -> Wanted {
        let bytes = bytes.max(self.budget.capacity_bytes(share) / EVICTED_PART);
        if share == Share::Requests { Wanted::RequestBytes(bytes) } else { Wanted::ConnectionBytes(bytes) }
    }

    /// Makes room in a share for one of the connections.
    fn make_room(&self, record: &Record, share: Share, bytes: usize) {
        let mut open = self.open.lock();
        if let Some(client) = open.connections.get(&record.id).map(|(owner, _)| owner.client) {
            self.evict(&mut open, client, bytes, self.wanted(share, bytes));
        }
    }

    /// Makes room for a connection, where there are no file descriptors.
    pub(super) fn shed(&self) {
        let mut open = self.open.lock();
        let count = open.connections.len().div_ceil(EVICTED_PART);
        // Nobody is known yet for whom room is made.
        self.evict(&mut open, ClientNetwork::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), 1, Wanted::Connections(count));
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// How often deadlines have to be looked at.
    pub(super) fn period(&self) -> Duration {
        let shortest = self.limits.header.min(self.limits.idle).min(self.limits.write);
        Duration::from_millis((shortest / 8).max(5)).min(MAX_PERIOD)
    }

    /// Moves the clock on, and closes whoever is past a deadline.
    pub(super) fn sweep(&self) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.now_ms.store(now_ms, Ordering::Relaxed);
        let open = self.open.lock();
        for (_, record) in open.connections.values() {
            let Some((ending, reason)) = record.overdue(now_ms, &self.limits) else { continue };
            let is_first = record.ending.load(Ordering::Relaxed) == Ending::No as u8;
            if record.ask_to_end(ending) && is_first {
                tracing::debug!(%reason, "closing a connection");
                self.metrics.closed(reason);
                record.ending_ms.store(now_ms, Ordering::Relaxed);
            }
        }
    }
}

/// What room is wanted.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Connections(usize),
    ConnectionBytes(usize),
    RequestBytes(usize),
}

impl Wanted {
    const fn amount(self) -> usize {
        match self {
            Self::Connections(amount) | Self::ConnectionBytes(amount) | Self::RequestBytes(amount) => amount,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Connections(_) => 0,
            Self::ConnectionBytes(_) => 1,
            Self::RequestBytes(_) => 2,
        }
    }

    /// How much of it a connection holds.
    fn held(self, record: &Record) -> usize {
        match self {
            Self::Connections(_) => 1,
            Self::ConnectionBytes(_) => record.held.lock().connection_bytes,
            Self::RequestBytes(_) => record.held.lock().request_bytes,
        }
    }
}

impl Open {
    fn close(&mut self, id: u64, budget: &MemoryBudget) {
        if let Some(record) = self.remove(id) {
            record.held.lock().give_back(budget);
            record.ask_to_end(Ending::Now);
        }
    }

    fn insert(&mut self, owner: Owner, record: Arc<Record>) {
        *self.clients.entry(owner.client).or_default() += 1;
        self.connections.insert(record.id, (owner, record));
    }

    fn remove(&mut self, id: u64) -> Option<Arc<Record>> {
        let (owner, record) = self.connections.remove(&id)?;
        if let Some(count) = self.clients.get_mut(&owner.client) {
            *count -= 1;
            if *count == 0 {
                self.clients.remove(&owner.client);
            }
        }
        Some(record)
    }
}

/// A connection that was let in. Its drop takes it off the table.
pub(super) struct Admitted {
    table: Arc<Table>,
    record: Arc<Record>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.table.open.lock().remove(self.record.id);
        self.record.held.lock().give_back(&self.table.budget);
    }
}

impl Admitted {
    pub(super) fn reporter(&self) -> Reporter {
        Reporter { table: self.table.clone(), record: self.record.clone() }
    }

    /// It is another's, as its proxy says.
    pub(super) fn belongs_to(&self, owner: Owner) {
        let mut open = self.table.open.lock();
        if let Some(record) = open.remove(self.record.id) {
            self.table.make_room_of(&mut open, owner);
            open.insert(owner, record);
        }
    }

    pub(super) fn speaks_http2(&self) {
        self.record.http2.store(true, Ordering::Relaxed);
    }

    /// Resolves when it is to end faster than it was `seen` to.
    pub(super) async fn ending(&self, seen: Ending) -> Ending {
        loop {
            let asked = self.record.ending.load(Ordering::Relaxed);
            if asked > seen as u8 {
                return if asked == Ending::Now as u8 { Ending::Now } else { Ending::Graceful };
            }
            self.record.end.notified().await;
        }
    }
}

#[cfg(test)]
mod tests;
