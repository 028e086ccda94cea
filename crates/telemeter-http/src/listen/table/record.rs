//! The record of one connection: its times, its counts, the memory that it holds, and the check whether it is past a
//! deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::metrics::CloseReason;
use super::ClientNetwork;
use super::forwarded::Forwarded;
use crate::budget::{MemoryBudget, MemoryShare};

/// The least speed, in bytes per second, at which a peer counts as reading: a slower peer counts as one that does not
/// read.
const MIN_WRITE_RATE: u64 = 512;

/// The time after which an idle connection is asked to release its buffers: so long that a connection whose requests follow
/// each other closely keeps them.
pub(super) const IDLE_BUFFERS_MS: u64 = 1000;

/// The deadlines of a connection, in milliseconds.
pub(super) struct DeadlinesMs {
    pub(super) handshake: u64,
    pub(super) header: u64,
    pub(super) idle: u64,
    pub(super) write: u64,
}

/// The way in which a connection is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::listen) enum Ending {
    /// The connection goes on.
    No,
    /// The connection ends after its open requests.
    Graceful,
    /// The connection is closed at once.
    Now,
}

/// What the table asks of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::listen) enum Instruction {
    End(Ending),
    /// To release the buffers that it holds while it is idle.
    ReleaseBuffers,
}

/// Whether an idle connection holds buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BufferState {
    Held,
    AskedFor,
    Released,
}

/// The state of one connection, in atomics, so that its tasks and the task that checks deadlines share it.
pub(super) struct ConnectionRecord {
    pub(super) id: u64,
    /// Whether the connection speaks HTTP/2.
    pub(super) http2: AtomicBool,
    pub(super) opened_ms: u64,
    /// Whether the handshake is done and HTTP can start.
    pub(super) established: AtomicBool,
    /// Whether the handshake was not done in time.
    pub(super) late: AtomicBool,
    /// The time when bytes were last received or sent.
    pub(super) last_ms: AtomicU64,
    /// The time when a request last began or ended; 0 before the first request.
    pub(super) request_ms: AtomicU64,
    /// The time when the first byte of incomplete headers was received; 0 where there are none.
    pub(super) header_ms: AtomicU64,
    pub(super) header_bytes: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    /// Since when the peer has not accepted bytes that wait to be written; off where no bytes wait.
    pub(super) blocked: Stall,
    /// The same for responses on HTTP/2 whose window is closed.
    pub(super) unread: Stall,
    /// The number of requests that a handler processes.
    pub(super) working: AtomicU32,
    /// The number of those requests whose handler waits for more of the body.
    pub(super) waiting: AtomicU32,
    /// The number of requests whose body was not read to its end. Those that are given up stay in this count.
    pub(super) unread_bodies: AtomicU32,
    /// The number of responses that the connection has not taken in full.
    pub(super) answers: AtomicU32,
    /// The part of the first bytes of [`HeldBytes`] that the connection releases while it is idle.
    pub(super) buffer_bytes: usize,
    /// The [`BufferState`], as a number.
    buffers: AtomicU8,
    pub(super) held: Mutex<HeldBytes>,
    /// The [`Ending`] that was asked for, as a number.
    pub(super) ending: AtomicU8,
    /// The time when the connection was first asked to end; 0 where it was not.
    pub(super) ending_ms: AtomicU64,
    pub(super) end: Notify,
}

/// A period in which a peer is slow to read: its start, and the number of bytes that had been written by then.
#[derive(Default)]
pub(super) struct Stall {
    since_ms: AtomicU64,
    written_bytes: AtomicU64,
}

impl Stall {
    pub(super) fn begin(&self, now_ms: u64, written_bytes: u64) {
        self.written_bytes.store(written_bytes, Ordering::Relaxed);
        self.since_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.since_ms.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        self.since_ms.load(Ordering::Relaxed) != 0
    }

    /// Whether the period has lasted for `limit_ms` with less than [`MIN_WRITE_RATE`] read. Where the peer has read
    /// more, a new period begins.
    pub(super) fn is_over(&self, now_ms: u64, limit_ms: u64, written_bytes: u64) -> bool {
        let since = self.since_ms.load(Ordering::Relaxed);
        let took = now_ms.saturating_sub(since);
        if since == 0 || took <= limit_ms {
            return false;
        }
        let written = written_bytes.saturating_sub(self.written_bytes.load(Ordering::Relaxed));
        if written.saturating_mul(1000) < took.saturating_mul(MIN_WRITE_RATE) {
            return true;
        }
        self.begin(now_ms, written_bytes);
        false
    }
}

/// The bytes that a connection has reserved in the memory budget.
#[derive(Default)]
pub(super) struct HeldBytes {
    pub(super) connection_bytes: usize,
    pub(super) request_bytes: usize,
    /// The number of requests with a reservation, from their headers to the end of their responses.
    pub(super) requests: usize,
    /// Those of the requests whose client is named by a trusted proxy.
    pub(super) forwarded: Vec<Arc<Forwarded>>,
    /// The part of `connection_bytes` that counts the header table of HTTP/2.
    pub(super) header_table_bytes: usize,
    /// The part of `connection_bytes` that counts responses which wait to be written.
    pub(super) unwritten_bytes: usize,
    pub(super) long_header: bool,
    /// The part of `connection_bytes` that counts a large read buffer, which HTTP/1 keeps once it has grown.
    pub(super) large_buffer_bytes: usize,
    /// Whether the connection is being closed, and all its bytes were released.
    pub(super) gone: bool,
}

impl ConnectionRecord {
    /// The record of a new connection, which holds `bytes`, and `idle_bytes` of them while it is idle.
    pub(super) fn new(id: u64, now_ms: u64, bytes: usize, idle_bytes: usize) -> Self {
        Self {
            id,
            http2: AtomicBool::new(false),
            opened_ms: now_ms,
            established: AtomicBool::new(false),
            late: AtomicBool::new(false),
            last_ms: AtomicU64::new(now_ms),
            request_ms: AtomicU64::new(0),
            header_ms: AtomicU64::new(0),
            header_bytes: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            blocked: Stall::default(),
            unread: Stall::default(),
            working: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
            unread_bodies: AtomicU32::new(0),
            answers: AtomicU32::new(0),
            buffer_bytes: bytes - idle_bytes,
            buffers: AtomicU8::new(BufferState::Held as u8),
            held: Mutex::new(HeldBytes { connection_bytes: bytes, ..HeldBytes::default() }),
            ending: AtomicU8::new(Ending::No as u8),
            ending_ms: AtomicU64::new(0),
            end: Notify::new(),
        }
    }

    pub(super) fn written(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Whether a handler is processing a request, rather than waiting for its peer to send more of the body.
    pub(super) fn has_running_handler(&self) -> bool {
        self.working.load(Ordering::Relaxed) > self.waiting.load(Ordering::Relaxed)
    }

    /// The time of the last progress: of a request that began or ended, or of the last byte. For HTTP/2 without open
    /// requests, bytes do not count.
    pub(super) fn last_progress_ms(&self) -> u64 {
        let request = self.request_ms.load(Ordering::Relaxed).max(self.opened_ms);
        // The responses to our pings arrive on every HTTP/2 connection, so the time of the last byte does not show
        // whether the connection is idle.
        if self.http2.load(Ordering::Relaxed) && self.working.load(Ordering::Relaxed) == 0 {
            return request;
        }
        request.max(self.last_ms.load(Ordering::Relaxed))
    }

    /// Asks the connection to end in this way; returns false where it was already asked to end in the same way or
    /// faster.
    pub(super) fn ask_to_end(&self, ending: Ending) -> bool {
        let is_new = self.ending.fetch_max(ending as u8, Ordering::Relaxed) < ending as u8;
        if is_new {
            self.end.notify_one();
        }
        is_new
    }

    /// Whether HTTP/1 waits for the next request: it has received nothing of it, and is done with all requests before it.
    fn is_idle(&self) -> bool {
        let none_of = |count: &AtomicU32| count.load(Ordering::Relaxed) == 0;
        self.established.load(Ordering::Relaxed)
            && !self.http2.load(Ordering::Relaxed)
            && self.header_ms.load(Ordering::Relaxed) == 0
            && [&self.working, &self.unread_bodies, &self.answers].into_iter().all(none_of)
            && !self.blocked.is_on()
    }

    /// Asks a connection that has been idle for a while to release its buffers.
    pub(super) fn ask_for_buffers(&self, now_ms: u64) {
        let is_long = || now_ms.saturating_sub(self.last_progress_ms()) > IDLE_BUFFERS_MS;
        if self.buffers.load(Ordering::Relaxed) == BufferState::Held as u8
            && is_long()
            && self.is_idle()
            && self.change_buffers(BufferState::Held, BufferState::AskedFor)
        {
            self.end.notify_one();
        }
    }

    /// Whether the connection was asked to release its buffers since the last call.
    pub(super) fn take_buffer_request(&self) -> bool {
        self.change_buffers(BufferState::AskedFor, BufferState::Held)
    }

    fn change_buffers(&self, from: BufferState, to: BufferState) -> bool {
        self.buffers.compare_exchange(from as u8, to as u8, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Releases the bytes of its buffers, where it is idle; returns whether it is.
    pub(super) fn release_buffers(&self, budget: &MemoryBudget) -> bool {
        let mut held = self.held.lock();
        if held.gone || !self.is_idle() || !self.change_buffers(BufferState::Held, BufferState::Released) {
            return false;
        }
        let bytes = self.buffer_bytes + std::mem::take(&mut held.large_buffer_bytes);
        held.connection_bytes -= bytes;
        budget.release(MemoryShare::Connections, bytes);
        true
    }

    /// Records that its buffers, whose bytes are reserved again, are held.
    pub(super) fn has_buffers(&self) {
        self.change_buffers(BufferState::Released, BufferState::Held);
    }

    /// Whether the handshake was not done in time.
    pub(super) fn is_late(&self, now_ms: u64, limits: &DeadlinesMs) -> bool {
        !self.established.load(Ordering::Relaxed) && now_ms.saturating_sub(self.opened_ms) > limits.handshake
    }

    /// Whether a deadline of the connection has passed: the way in which to end it, and the reason. `None` before the
    /// end of the handshake and, unless the peer does not read, while a request or a response is open. A connection
    /// that is idle after a request ends gracefully, any other one at once.
    pub(super) fn overdue(&self, now_ms: u64, limits: &DeadlinesMs) -> Option<(Ending, CloseReason)> {
        if !self.established.load(Ordering::Relaxed) {
            return None;
        }
        let passed = |since: u64, limit: u64| since != 0 && now_ms.saturating_sub(since) > limit;
        if self.blocked.is_over(now_ms, limits.write, self.written()) {
            return Some((Ending::Now, CloseReason::Unread));
        }
        if self.http2.load(Ordering::Relaxed) && self.unread.is_over(now_ms, limits.write, self.written()) {
            return Some((Ending::Now, CloseReason::Unread));
        }
        if self.working.load(Ordering::Relaxed) > 0 || self.answers.load(Ordering::Relaxed) > 0 {
            return None;
        }
        if passed(self.header_ms.load(Ordering::Relaxed), limits.header) {
            return Some((Ending::Now, CloseReason::Header));
        }
        if passed(self.ending_ms.load(Ordering::Relaxed), limits.write) {
            return Some((Ending::Now, CloseReason::Idle));
        }
        match self.request_ms.load(Ordering::Relaxed) {
            0 => passed(self.opened_ms, limits.header).then_some((Ending::Now, CloseReason::Header)),
            last => passed(last, limits.idle).then_some((Ending::Graceful, CloseReason::Idle)),
        }
    }
}

impl HeldBytes {
    pub(super) fn give_back(&mut self, budget: &MemoryBudget) {
        budget.release(MemoryShare::Connections, self.connection_bytes);
        budget.release(MemoryShare::Requests, self.request_bytes);
        *self = Self { gone: true, ..Self::default() };
    }

    /// Sets one part of the connection's bytes to a new size; returns false, without a change, where it does not fit.
    pub(super) fn set_connection_part(
        &mut self,
        budget: &MemoryBudget,
        part: impl Fn(&mut Self) -> &mut usize,
        bytes: usize,
    ) -> bool {
        let before = *part(self);
        match bytes.checked_sub(before) {
            Some(more) if !self.add_connection(budget, more) => return false,
            Some(_) => {}
            None => {
                self.connection_bytes -= before - bytes;
                budget.release(MemoryShare::Connections, before - bytes);
            }
        }
        *part(self) = bytes;
        true
    }

    /// Reserves more bytes for the connection itself. Returns false, without a change, where they do not fit or the
    /// connection is being closed.
    pub(super) fn add_connection(&mut self, budget: &MemoryBudget, bytes: usize) -> bool {
        let fits = !self.gone && budget.acquire(MemoryShare::Connections, bytes);
        if fits {
            self.connection_bytes += bytes;
        }
        fits
    }
}

impl HeldBytes {
    /// The client of all requests on the connection; `None` where there are no requests, or requests of several
    /// clients.
    pub(super) fn only_client(&self) -> Option<ClientNetwork> {
        let (first, others) = self.forwarded.split_first()?;
        others.iter().all(|other| other.client == first.client).then_some(first.client)
    }

    /// Removes a request from the list; returns whether the list had it.
    pub(super) fn forget(&mut self, request: &Arc<Forwarded>) -> bool {
        let found = self.forwarded.iter().position(|other| Arc::ptr_eq(other, request));
        found.map(|at| self.forwarded.swap_remove(at)).is_some()
    }

    /// Ends a request. Its bytes count as released at once.
    pub(super) fn end(&mut self, request: &Arc<Forwarded>, budget: &MemoryBudget) {
        if self.forget(request) {
            self.request_bytes -= request.bytes;
            budget.release(MemoryShare::Requests, request.bytes);
            request.is_ended.store(true, Ordering::Relaxed);
            request.end.notify_one();
        }
    }
}
