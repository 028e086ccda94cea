//! The reports of a connection's stream and requests to the table: bytes received and sent, requests that begin and
//! end, and the memory that they hold.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::forwarded::Forwarded;
use super::record::{ConnectionRecord, HeldBytes};
use super::{ClientNetwork, ConnectionTable};
use crate::budget::MemoryShare;

/// The most that HTTP/1 reads at once, and the most that it keeps of responses before it writes.
pub(in crate::listen) const MAX_READ_BYTES: usize = 64 << 10;
/// The first size of each connection's read buffer.
pub(in crate::listen) const FIRST_BUFFER_BYTES: usize = 8 << 10;
/// The bytes of a request's headers that fit into the first read buffer.
const FIRST_HEADER_BYTES: u64 = FIRST_BUFFER_BYTES as u64;
/// The size that the read buffer may grow to: it doubles where a read of the largest size does not fit.
pub(super) const LARGE_BUFFER_BYTES: usize = 2 * MAX_READ_BYTES;
/// The divisor for large buffers, which only make reads faster: connections get them while at most half of the share is
/// used.
const LARGE_BUFFER_PART: usize = 2;
/// The additional read buffer for headers that are longer than the first buffer.
pub(super) const LONG_HEADER_BYTES: usize = 24 << 10;
/// The memory that an HTTP/2 connection with open requests may hold: its window, and frames.
const WINDOW_BYTES: usize = 128 << 10;
/// The bytes that wait to be written while a peer does not read: HTTP/1 reads no other request while it has more than
/// this, and HTTP/2 holds much less.
pub(super) const UNWRITTEN_BYTES: usize = MAX_READ_BYTES;
/// The memory of a request without its headers: its task and its response.
pub(super) const REQUEST_BYTES: usize = 6 << 10;

/// The handle with which the parts of a connection report to the table. Cheap to clone.
#[derive(Clone)]
pub(in crate::listen) struct Reporter {
    pub(super) table: Arc<ConnectionTable>,
    pub(super) record: Arc<ConnectionRecord>,
}

impl Reporter {
    /// Records received bytes as the last activity and, in HTTP/1 while no request is processed, as bytes of a header;
    /// a header that is longer than the first buffer is charged. Returns false where there is no memory for it.
    pub(in crate::listen) fn read(&self, bytes: usize) -> bool {
        let (record, now_ms) = (&self.record, self.table.now_ms());
        record.last_ms.store(now_ms, Ordering::Relaxed);
        if record.http2.load(Ordering::Relaxed) || record.working.load(Ordering::Relaxed) > 0 {
            return true;
        }
        if record.header_ms.load(Ordering::Relaxed) == 0 {
            record.header_ms.store(now_ms, Ordering::Relaxed);
        }
        let before = record.header_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + bytes as u64 <= FIRST_HEADER_BYTES {
            return true;
        }
        let charge =
            |held: &mut HeldBytes| held.long_header || held.add_connection(&self.table.budget, LONG_HEADER_BYTES);
        let fits = self.charged(None, MemoryShare::Connections, LONG_HEADER_BYTES, charge);
        self.record.held.lock().long_header |= fits;
        fits
    }

    /// Whether the connection may read more at once than fits into the first buffer. Where it may not, it reads in
    /// smaller pieces.
    pub(in crate::listen) fn may_read_much(&self) -> bool {
        let (mut held, budget) = (self.record.held.lock(), &self.table.budget);
        if held.large_buffer_bytes > 0 || self.record.http2.load(Ordering::Relaxed) {
            return true;
        }
        let part = budget.capacity_bytes(MemoryShare::Connections) / LARGE_BUFFER_PART;
        let has_room = budget.used_bytes(MemoryShare::Connections).saturating_add(LARGE_BUFFER_BYTES) <= part;
        let fits = has_room && held.add_connection(budget, LARGE_BUFFER_BYTES);
        if fits {
            held.large_buffer_bytes = LARGE_BUFFER_BYTES;
        }
        fits
    }

    /// Releases the bytes of the buffers, where the connection is idle; returns whether it is. The connection then has to
    /// free its buffers.
    pub(in crate::listen) fn release_buffers(&self) -> bool {
        self.record.release_buffers(&self.table.budget)
    }

    /// Reserves the bytes of the buffers again. Returns false where there is no memory for them.
    pub(in crate::listen) fn reserve_buffers(&self) -> bool {
        let bytes = self.record.buffer_bytes;
        let charge = |held: &mut HeldBytes| held.add_connection(&self.table.budget, bytes);
        let fits = self.charged(None, MemoryShare::Connections, bytes, charge);
        if fits {
            self.record.has_buffers();
        }
        fits
    }

    pub(in crate::listen) fn wrote(&self, bytes: usize) {
        self.record.last_ms.store(self.table.now_ms(), Ordering::Relaxed);
        // Only one task writes this counter, so that no update is lost between the load and the store.
        self.record.written_bytes.store(self.record.written() + bytes as u64, Ordering::Relaxed);
    }

    /// Reserves `bytes` for the header table of HTTP/2. Returns false where there is no memory for them.
    pub(in crate::listen) fn remembers(&self, bytes: usize) -> bool {
        let budget = &self.table.budget;
        let charge =
            |held: &mut HeldBytes| held.set_connection_part(budget, |held| &mut held.header_table_bytes, bytes);
        self.charged(None, MemoryShare::Connections, bytes, charge)
    }

    /// Records that the peer does not accept bytes that wait to be written. Returns false where there is no memory to
    /// keep them.
    pub(in crate::listen) fn blocked(&self) -> bool {
        if self.record.blocked.is_on() {
            return true;
        }
        self.record.blocked.begin(self.table.now_ms(), self.record.written());
        self.keeps_unwritten(UNWRITTEN_BYTES)
    }

    /// Records that all bytes were written.
    pub(in crate::listen) fn flushed(&self) {
        if self.record.blocked.is_on() {
            self.record.blocked.end();
            self.keeps_unwritten(0);
        }
    }

    fn keeps_unwritten(&self, bytes: usize) -> bool {
        let budget = &self.table.budget;
        let charge = |held: &mut HeldBytes| held.set_connection_part(budget, |held| &mut held.unwritten_bytes, bytes);
        self.charged(None, MemoryShare::Connections, bytes, charge)
    }

    /// Begins a request whose headers hold `header_bytes`; `forwarded` is the client that a trusted proxy names, where
    /// the request came over one. `None` where there is no memory for it.
    pub(in crate::listen) fn begin(
        &self,
        header_bytes: usize,
        forwarded: Option<ClientNetwork>,
    ) -> Option<HandlerWork> {
        let bytes = header_bytes + REQUEST_BYTES;
        let (record, budget) = (&self.record, &self.table.budget);
        let request = forwarded.map(|client| Arc::new(Forwarded::new(client, bytes, self.table.now_ms())));
        let http2 = record.http2.load(Ordering::Relaxed);
        let charge = |held: &mut HeldBytes| {
            if held.long_header {
                // The additional buffer is freed together with the headers that were in it.
                held.long_header = false;
                held.connection_bytes -= LONG_HEADER_BYTES;
                budget.release(MemoryShare::Connections, LONG_HEADER_BYTES);
            }
            if http2 && held.requests == 0 && !held.add_connection(budget, WINDOW_BYTES) {
                return false;
            }
            let fits = !held.gone && budget.acquire(MemoryShare::Requests, bytes);
            if fits {
                held.request_bytes += bytes;
                held.requests += 1;
                held.forwarded.extend(request.clone());
            } else if http2 && held.requests == 0 && !held.gone {
                held.connection_bytes -= WINDOW_BYTES;
                budget.release(MemoryShare::Connections, WINDOW_BYTES);
            }
            fits
        };
        record.header_ms.store(0, Ordering::Relaxed);
        record.header_bytes.store(0, Ordering::Relaxed);
        record.request_ms.store(self.table.now_ms(), Ordering::Relaxed);
        if !self.charged(forwarded, MemoryShare::Requests, bytes, charge) {
            return None;
        }
        record.working.fetch_add(1, Ordering::Relaxed);
        Some(HandlerWork(Some(RequestCharge { reporter: self.clone(), bytes, http2, forwarded: request })))
    }

    /// Records that a handler has finished a request.
    fn worked(&self) {
        self.record.working.fetch_sub(1, Ordering::Relaxed);
        self.record.request_ms.store(self.table.now_ms(), Ordering::Relaxed);
    }

    /// Reserves memory with `charge`; where it does not fit, others are evicted and `charge` is called again. Returns
    /// false where it still does not fit, or the connection is being closed.
    fn charged(
        &self,
        forwarded: Option<ClientNetwork>,
        share: MemoryShare,
        bytes: usize,
        charge: impl Fn(&mut HeldBytes) -> bool,
    ) -> bool {
        if charge(&mut self.record.held.lock()) {
            return true;
        }
        if self.record.held.lock().gone {
            return false;
        }
        self.table.evict_for_share(&self.record, forwarded, share, bytes);
        if charge(&mut self.record.held.lock()) {
            return true;
        }
        if share == MemoryShare::Requests {
            // The part that did not fit may have been the window of an HTTP/2 connection.
            self.table.evict_for_share(&self.record, forwarded, MemoryShare::Connections, WINDOW_BYTES);
        }
        charge(&mut self.record.held.lock())
    }
}

/// The reservation of a request in the budget, until its response is read.
struct RequestCharge {
    reporter: Reporter,
    bytes: usize,
    http2: bool,
    forwarded: Option<Arc<Forwarded>>,
}

impl Drop for RequestCharge {
    fn drop(&mut self) {
        let Reporter { table, record } = &self.reporter;
        let mut held = record.held.lock();
        if held.gone {
            return;
        }
        // A request that was evicted has released its bytes already.
        if self.forwarded.as_ref().is_none_or(|request| held.forget(request)) {
            held.request_bytes -= self.bytes;
            table.budget.release(MemoryShare::Requests, self.bytes);
        }
        held.requests -= 1;
        if self.http2 && held.requests == 0 {
            held.connection_bytes -= WINDOW_BYTES;
            table.budget.release(MemoryShare::Connections, WINDOW_BYTES);
        }
    }
}

/// A request that a handler is processing.
pub(in crate::listen) struct HandlerWork(Option<RequestCharge>);

impl HandlerWork {
    /// The handle with which the request's body reports that its handler waits for it, and that it was read to its end.
    pub(in crate::listen) fn waiting(&self) -> Option<BodyWait> {
        let charge = self.0.as_ref()?;
        charge.reporter.record.unread_bodies.fetch_add(1, Ordering::Relaxed);
        let (reporter, forwarded) = (charge.reporter.clone(), charge.forwarded.clone());
        Some(BodyWait { reporter, forwarded, waits: false, is_read: false })
    }

    /// Resolves when the request is evicted, which happens only to requests on a connection of a trusted proxy.
    pub(in crate::listen) async fn ended(&self) {
        match self.0.as_ref().and_then(|charge| charge.forwarded.as_ref()) {
            Some(request) => request.ended().await,
            None => std::future::pending().await,
        }
    }

    #[cfg(test)]
    pub(super) fn is_ended(&self) -> bool {
        let request = self.0.as_ref().and_then(|charge| charge.forwarded.as_ref());
        request.is_some_and(|request| request.is_ended.load(Ordering::Relaxed))
    }

    /// Records that the handler has returned a response, which is now sent.
    pub(in crate::listen) fn answered(mut self) -> Option<AnswerInProgress> {
        let charge = self.0.take()?;
        charge.reporter.worked();
        let Reporter { table, record } = &charge.reporter;
        if record.answers.fetch_add(1, Ordering::Relaxed) == 0 {
            record.unread.begin(table.now_ms(), record.written());
        }
        Some(AnswerInProgress(charge))
    }
}

impl Drop for HandlerWork {
    fn drop(&mut self) {
        if let Some(charge) = &self.0 {
            charge.reporter.worked();
        }
    }
}

/// The record of whether the handler of a request waits for more of its body.
pub(in crate::listen) struct BodyWait {
    reporter: Reporter,
    forwarded: Option<Arc<Forwarded>>,
    waits: bool,
    is_read: bool,
}

impl BodyWait {
    /// Records that the handler asked for more of the body: `waits` is true where no more had arrived.
    pub(in crate::listen) fn set(&mut self, waits: bool) {
        if let Some(request) = &self.forwarded {
            request.waits.store(waits, Ordering::Relaxed);
            if !waits {
                request.last_ms.store(self.reporter.table.now_ms(), Ordering::Relaxed);
            }
        }
        if self.waits == waits {
            return;
        }
        self.waits = waits;
        let waiting = &self.reporter.record.waiting;
        match waits {
            true => waiting.fetch_add(1, Ordering::Relaxed),
            false => waiting.fetch_sub(1, Ordering::Relaxed),
        };
    }
}

impl BodyWait {
    /// Records that the body was read to its end.
    pub(in crate::listen) fn ended(&mut self) {
        if !std::mem::replace(&mut self.is_read, true) {
            self.reporter.record.unread_bodies.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for BodyWait {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// A response that is being sent.
pub(in crate::listen) struct AnswerInProgress(RequestCharge);

impl AnswerInProgress {
    /// Records that the connection asks for the next piece of the response, since the one before it was sent.
    pub(in crate::listen) fn goes_on(&self) {
        let Reporter { table, record } = &self.0.reporter;
        record.unread.begin(table.now_ms(), record.written());
    }
}

impl Drop for AnswerInProgress {
    fn drop(&mut self) {
        let Reporter { table, record } = &self.0.reporter;
        if record.answers.fetch_sub(1, Ordering::Relaxed) == 1 {
            record.unread.end();
        }
        record.request_ms.store(table.now_ms(), Ordering::Relaxed);
    }
}
