//! The connections of a listener: what each holds, since when it keeps us waiting, and which is closed when there is no
//! more room.
//!
//! No connection has a timer of its own. Each writes down, in a few atomics, when it last did something; one task looks
//! through all of them a few times a second and closes those that are past a deadline. Its clock, which it moves on at
//! each look, is all that the others read.
//!
//! Where a count or a share of the [`MemoryBudget`] is used up, the connections of the client that holds most are closed,
//! those first that have done nothing for longest; so that a client that holds little is always let in. What a trusted proxy
//! brings counts for the clients that it names.

mod evict;
mod forwarded;
mod open;
mod record;
mod reporter;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::evict::{RoomFor, WantedRoom};
use self::open::OpenConnections;
pub(super) use self::record::Ending;
use self::record::{ConnectionRecord, DeadlinesMs};
pub(super) use self::reporter::{AnswerInProgress, BodyWait, FIRST_BUFFER_BYTES, Reporter};
use super::metrics::{CloseReason, ConnectionMetrics};
use super::{ClientNetwork, ListenLimits};
use crate::budget::{MemoryBudget, MemoryShare};

/// What a connection holds at least: its task (3 KiB), its place in the tables (0.5 KiB), and its buffers as they are at
/// first. With HTTP/1 that is one of 8 KiB to read in, and the head of an answer. With HTTP/2 it is one of 8 KiB to read
/// in, one of 4 KiB to decompress headers in, and what our own headers are compressed by: at most 4,096 bytes, 128 entries
/// of 100 bytes each. Its buffer to write in has 16 KiB, which TLS fills at once: they count there. Measured, after one
/// request and idle: 14 KiB, with TLS 22 KiB, with HTTP/2 28 KiB.
///
/// What grows beyond is counted when it does: a large buffer to read in, a long header, answers that wait to be written,
/// what is remembered of a peer's headers, the windows of HTTP/2, requests. What is bounded and small is not: an answer to
/// one ping and one of settings at a time, 20 streams that were reset before they were looked at, and 64 resets for what
/// was wrong with a stream, of 200 bytes each.
const CONNECTION_BYTES: usize = 20 << 10;
/// The TLS state of a connection: 8 KiB, and 16 KiB to write in.
const TLS_BYTES: usize = 24 << 10;
/// This part of all connections, or of a share, is made free at once: looking for whom to close takes its time.
const EVICTED_PART: usize = 32;
/// Between two looks for deadlines that have passed.
const MAX_PERIOD: Duration = Duration::from_millis(250);

/// All connections of one listener.
pub(super) struct ConnectionTable {
    budget: MemoryBudget,
    metrics: ConnectionMetrics,
    limits: DeadlinesMs,
    connections: usize,
    per_client: usize,
    began: Instant,
    /// Milliseconds since then, plus one: 0 stands for never.
    now_ms: AtomicU64,
    open: Mutex<OpenConnections>,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) client: ClientNetwork,
    /// A trusted proxy's: it brings the requests of many, so that no limit for one client is its.
    pub(super) proxy: bool,
}

impl ConnectionTable {
    pub(super) fn new(limits: &ListenLimits) -> Arc<Self> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1);
        let connections = limits.connections.max(1);
        let per_client = match limits.connections_per_peer {
            0 => connections.div_ceil(2),
            given => given.min(connections),
        };
        Arc::new(Self {
            budget: limits.budget.clone(),
            metrics: limits.metrics.clone(),
            limits: DeadlinesMs {
                handshake: ms(limits.handshake_timeout),
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
    pub(super) fn admit(self: &Arc<Self>, owner: Owner, tls: bool) -> Option<AdmittedConnection> {
        let admitted = self.try_admit(owner, tls);
        if admitted.is_none() {
            self.metrics.closed(CloseReason::Refused);
        }
        admitted
    }

    fn try_admit(self: &Arc<Self>, owner: Owner, tls: bool) -> Option<AdmittedConnection> {
        let bytes = CONNECTION_BYTES + if tls { TLS_BYTES } else { 0 };
        let mut open = self.open.lock();
        self.make_room_of(&mut open, owner);
        if open.len() >= self.connections {
            let wanted = WantedRoom::Connections(self.connections.div_ceil(EVICTED_PART));
            self.evict(&mut open, owner.into(), 1, wanted);
        }
        if open.len() >= self.connections {
            return None;
        }
        if !self.budget.acquire(MemoryShare::Connections, bytes) {
            self.evict(&mut open, owner.into(), bytes, self.wanted(MemoryShare::Connections, bytes));
            if !self.budget.acquire(MemoryShare::Connections, bytes) {
                return None;
            }
        }
        let id = open.next_id();
        let record = Arc::new(ConnectionRecord::new(id, self.now_ms(), bytes));
        open.insert(owner, record.clone());
        Some(AdmittedConnection { table: self.clone(), record })
    }

    /// A client that has all connections it may have loses a quiet one.
    fn make_room_of(&self, open: &mut OpenConnections, owner: Owner) {
        if owner.proxy || open.count(owner.client) < self.per_client {
            return;
        }
        if let Some(id) = open.quiet_one_of(owner.client) {
            open.close(id, &self.budget);
            self.metrics.closed(CloseReason::Room);
        }
    }

    /// So much of a share, and a little more: looking for whom to close takes its time.
    fn wanted(&self, share: MemoryShare, bytes: usize) -> WantedRoom {
        let bytes = bytes.max(self.budget.capacity_bytes(share) / EVICTED_PART);
        if share == MemoryShare::Requests {
            WantedRoom::RequestBytes(bytes)
        } else {
            WantedRoom::ConnectionBytes(bytes)
        }
    }

    /// Makes room in a share for one of the connections, or for a request on it of a client that its proxy names.
    fn make_room(&self, record: &ConnectionRecord, forwarded: Option<ClientNetwork>, share: MemoryShare, bytes: usize) {
        let mut open = self.open.lock();
        let Some(owner) = open.owner(record.id) else { return };
        let asker = forwarded.map_or_else(|| owner.into(), RoomFor::Client);
        self.evict(&mut open, asker, bytes, self.wanted(share, bytes));
    }

    /// Makes room for a connection, where there are no file descriptors.
    pub(super) fn shed(&self) {
        let mut open = self.open.lock();
        let count = open.len().div_ceil(EVICTED_PART);
        // Nobody is known yet for whom room is made.
        let nobody = RoomFor::Client(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
        self.evict(&mut open, nobody, 1, WantedRoom::Connections(count));
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// How often deadlines have to be looked at.
    pub(super) fn period(&self) -> Duration {
        let DeadlinesMs { handshake, header, idle, write } = self.limits;
        let shortest = handshake.min(header).min(idle).min(write);
        Duration::from_millis((shortest / 8).max(5)).min(MAX_PERIOD)
    }

    /// Moves the clock on, and closes each connection that is past a deadline.
    pub(super) fn sweep(&self) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.now_ms.store(now_ms, Ordering::Relaxed);
        let open = self.open.lock();
        for (_, record) in open.all() {
            if record.is_late(now_ms, &self.limits) {
                record.late.store(true, Ordering::Relaxed);
                record.ask_to_end(Ending::Now);
                continue;
            }
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

/// A connection that was let in. Its drop takes it off the table.
pub(super) struct AdmittedConnection {
    table: Arc<ConnectionTable>,
    record: Arc<ConnectionRecord>,
}

impl Drop for AdmittedConnection {
    fn drop(&mut self) {
        self.table.open.lock().remove(self.record.id);
        self.record.held.lock().give_back(&self.table.budget);
    }
}

impl AdmittedConnection {
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

    /// HTTP can be spoken on it: from now on the deadlines of requests count.
    pub(super) fn established(&self) {
        self.record.established.store(true, Ordering::Relaxed);
    }

    /// Whether it is to end since that was not so in time.
    pub(super) fn is_late(&self) -> bool {
        self.record.late.load(Ordering::Relaxed)
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
