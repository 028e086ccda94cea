//! The table of a listener's connections: the memory that each holds, the deadline that each has to meet, and which
//! connection is closed when a cap or a memory share is used up.
//!
//! No connection has a timer. Each stores, in a few atomics, the time when it last did something; one task checks all
//! connections a few times a second and closes those that are past a deadline. That task also sets the table's clock at
//! each check, and all other code reads this clock only.
//!
//! Where a cap or a share of the [`MemoryBudget`] is used up, connections of the client that holds most are closed,
//! first those that were idle for longest, so that a client that holds little is always accepted. Connections and
//! requests from a trusted proxy count for the clients that the proxy names.

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

use self::evict::{EvictionBeneficiary, EvictionGoal};
use self::open::OpenConnections;
use self::record::{ConnectionRecord, DeadlinesMs};
pub(super) use self::record::{Ending, Instruction};
pub(super) use self::reporter::{AnswerInProgress, BodyWait, FIRST_BUFFER_BYTES, MAX_READ_BYTES, Reporter};
use super::metrics::{CloseReason, ConnectionMetrics};
use super::{ClientNetwork, ListenLimits};
use crate::budget::{MemoryBudget, MemoryShare};

/// The least memory that a connection holds: its task (3 KiB), its entries in the tables (0.5 KiB), and its buffers at
/// their first size. With HTTP/1 these are a read buffer of 8 KiB and the headers of a response. With HTTP/2 they are a
/// read buffer of 8 KiB, a buffer of 4 KiB for decompressed headers, and the table that our own headers are compressed
/// with: at most 4,096 bytes in 128 entries of 100 bytes each. The HTTP/2 write buffer has 16 KiB, which TLS fills at
/// once: those bytes count in [`TLS_BYTES`]. Measured after one request, while idle: 14 KiB, with TLS 22 KiB, with
/// HTTP/2 28 KiB.
///
/// Memory above that is counted when it is allocated: a large read buffer, long headers, responses that wait to be
/// written, the header table of HTTP/2, the windows of HTTP/2, and requests. Memory that is bounded and small is not
/// counted: one response to a ping and one to settings at a time, 20 streams that were reset before they were
/// processed, and 64 resets for stream errors, of 200 bytes each.
const CONNECTION_BYTES: usize = 20 << 10;
/// The TLS state of a connection: 8 KiB, and a write buffer of 16 KiB.
const TLS_BYTES: usize = 24 << 10;
/// The memory that remains of [`CONNECTION_BYTES`] while a connection of HTTP/1 is idle and has released its buffers: its
/// task and its entries in the tables.
const IDLE_BYTES: usize = 3 << 10;
/// The memory that remains of [`TLS_BYTES`] then: the TLS state with its read buffer of 4 KiB. 20,000 of these connections
/// fit into 200 MiB.
const IDLE_TLS_BYTES: usize = 7 << 10;
/// The divisor for the least amount of an eviction: it frees at least 1/32 of all connections, or of the bytes of a
/// share, since the search for connections to close takes time.
const EVICTED_PART: usize = 32;
/// The longest time between two checks of the deadlines.
const MAX_PERIOD: Duration = Duration::from_millis(250);

/// The memory that a connection counts as, in bytes: while it has requests, or while it is idle and has released its
/// buffers. What grows with a request is counted in addition.
pub const fn connection_bytes(tls: bool, is_idle: bool) -> usize {
    match (tls, is_idle) {
        (false, false) => CONNECTION_BYTES,
        (true, false) => CONNECTION_BYTES + TLS_BYTES,
        (false, true) => IDLE_BYTES,
        (true, true) => IDLE_BYTES + IDLE_TLS_BYTES,
    }
}

/// All connections of one listener.
pub(super) struct ConnectionTable {
    budget: MemoryBudget,
    metrics: ConnectionMetrics,
    limits: DeadlinesMs,
    connections: usize,
    per_client: usize,
    began: Instant,
    /// Milliseconds since `began`, plus one: 0 means never.
    now_ms: AtomicU64,
    open: Mutex<OpenConnections>,
}

/// The client that a connection counts for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) client: ClientNetwork,
    /// Whether the peer is a trusted proxy. It carries the requests of many clients, so the caps for one client do not
    /// apply to it.
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

    /// Accepts a connection, and evicts others where a cap or the share is used up. `None` where no other connection
    /// may be evicted for it.
    pub(super) fn admit(self: &Arc<Self>, owner: Owner, tls: bool) -> Option<AdmittedConnection> {
        let admitted = self.try_admit(owner, tls);
        if admitted.is_none() {
            self.metrics.closed(CloseReason::Refused);
        }
        admitted
    }

    /// Reserves memory for a connection and adds it. Where the cap or the share is used up, connections of other
    /// clients are evicted first; `None` where that does not free enough.
    fn try_admit(self: &Arc<Self>, owner: Owner, tls: bool) -> Option<AdmittedConnection> {
        let bytes = connection_bytes(tls, false);
        let mut open = self.open.lock();
        self.evict_of_owner(&mut open, owner);
        if open.len() >= self.connections {
            let wanted = EvictionGoal::Connections(self.connections.div_ceil(EVICTED_PART));
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
        let record = Arc::new(ConnectionRecord::new(id, self.now_ms(), bytes, connection_bytes(tls, true)));
        open.insert(owner, record.clone());
        Some(AdmittedConnection { table: self.clone(), record })
    }

    /// Closes a quiet connection of a client that has as many connections as its cap allows.
    fn evict_of_owner(&self, open: &mut OpenConnections, owner: Owner) {
        if owner.proxy || open.count(owner.client) < self.per_client {
            return;
        }
        if let Some(id) = open.longest_idle_of(owner.client) {
            open.close(id, &self.budget);
            self.metrics.closed(CloseReason::Evicted);
        }
    }

    /// The amount to evict for `bytes` of a share, which is a little more than `bytes`: the search for connections to
    /// close takes time.
    fn wanted(&self, share: MemoryShare, bytes: usize) -> EvictionGoal {
        let bytes = bytes.max(self.budget.capacity_bytes(share) / EVICTED_PART);
        if share == MemoryShare::Requests {
            EvictionGoal::RequestBytes(bytes)
        } else {
            EvictionGoal::ConnectionBytes(bytes)
        }
    }

    /// Evicts others from a share for one of the connections, or for a request on it whose client is named by a trusted
    /// proxy.
    fn evict_for_share(
        &self,
        record: &ConnectionRecord,
        forwarded: Option<ClientNetwork>,
        share: MemoryShare,
        bytes: usize,
    ) {
        let mut open = self.open.lock();
        let Some(owner) = open.owner(record.id) else { return };
        let asker = forwarded.map_or_else(|| owner.into(), EvictionBeneficiary::Client);
        self.evict(&mut open, asker, bytes, self.wanted(share, bytes));
    }

    /// Evicts connections where the process has no file descriptor left for the next one.
    pub(super) fn free_descriptors(&self) {
        let mut open = self.open.lock();
        let count = open.len().div_ceil(EVICTED_PART);
        // The client of the next connection is not known before it is accepted: an unspecified address is used instead.
        let nobody = EvictionBeneficiary::Client(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into());
        self.evict(&mut open, nobody, 1, EvictionGoal::Connections(count));
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// The time between two checks of the deadlines.
    pub(super) fn period(&self) -> Duration {
        let DeadlinesMs { handshake, header, idle, write } = self.limits;
        let shortest = handshake.min(header).min(idle).min(write);
        Duration::from_millis((shortest / 8).max(5)).min(MAX_PERIOD)
    }

    /// Sets the clock to the current time, asks each connection that is past a deadline to end, and each that is idle to
    /// release its buffers. An ended one is logged and counted once, by its reason.
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
            let Some((ending, reason)) = record.overdue(now_ms, &self.limits) else {
                record.ask_for_buffers(now_ms);
                continue;
            };
            let is_first = record.ending.load(Ordering::Relaxed) == Ending::No as u8;
            if record.ask_to_end(ending) && is_first {
                tracing::debug!(%reason, "closing a connection");
                self.metrics.closed(reason);
                record.ending_ms.store(now_ms, Ordering::Relaxed);
            }
        }
    }
}

/// A connection that was accepted into the table. Its drop removes it from the table.
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

    /// Counts the connection for another client, which its proxy names.
    pub(super) fn belongs_to(&self, owner: Owner) {
        let mut open = self.table.open.lock();
        if let Some(record) = open.remove(self.record.id) {
            self.table.evict_of_owner(&mut open, owner);
            open.insert(owner, record);
        }
    }

    /// Records that the handshake is done and HTTP can start: from now on the deadlines of requests apply.
    pub(super) fn established(&self) {
        self.record.established.store(true, Ordering::Relaxed);
    }

    /// Whether the connection is to be closed because its handshake was not done in time.
    pub(super) fn is_late(&self) -> bool {
        self.record.late.load(Ordering::Relaxed)
    }

    pub(super) fn speaks_http2(&self) {
        self.record.http2.store(true, Ordering::Relaxed);
    }

    /// Resolves with the next instruction: to end in a faster way than `seen`, or to release the buffers.
    pub(super) async fn instruction(&self, seen: Ending) -> Instruction {
        loop {
            let asked = self.record.ending.load(Ordering::Relaxed);
            if asked > seen as u8 {
                let is_now = asked == Ending::Now as u8;
                return Instruction::End(if is_now { Ending::Now } else { Ending::Graceful });
            }
            if self.record.take_buffer_request() {
                return Instruction::ReleaseBuffers;
            }
            self.record.end.notified().await;
        }
    }

    /// Resolves when the connection is asked to end in a faster way than `seen`.
    pub(super) async fn ending(&self, seen: Ending) -> Ending {
        loop {
            if let Instruction::End(ending) = self.instruction(seen).await {
                return ending;
            }
        }
    }
}

#[cfg(test)]
mod tests;
