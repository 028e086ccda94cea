//! The buffers that requests work in, used again by the next request, within the memory budget.

use parking_lot::Mutex;
use telemeter_http::{
    body::{BufferPool, Readers},
    budget::{MemoryBudget, MemoryShare, Reservation},
};
use telemeter_rules::deduplicate::Deduplicator;
use telemeter_wire::{
    Arena,
    remote_write::{Layout, v2::RequestBuilder},
    snappy,
};

use super::large::LargeRequests;
use crate::{error::Error, forward::WriteMessage};

/// A buffer that grew beyond this is not kept, nor one beyond this part of the bodies' share.
const MAX_KEPT_BYTES: usize = 4 << 20;
const KEPT_BUFFER_PART: usize = 64;
/// A request takes so many times its decompressed bytes while it is worked on: those themselves, what was decoded, what
/// is encoded, and that compressed.
const WORK_FACTOR: usize = 3;
/// A request takes at least so many bytes.
const MIN_WORK_BYTES: usize = 256 << 10;
/// How many idle workspaces are kept.
const KEPT_WORKSPACES: usize = 16;
/// What idle workspaces may hold together: a sender's largest batch leaves a workspace of 20 to 40 MiB.
const KEPT_WORKSPACE_BYTES: usize = 64 << 20;

/// All workspaces, and the memory budget that they share with bodies and with what waits for the store.
pub struct Workspaces {
    pub(super) budget: MemoryBudget,
    pub(super) buffers: BufferPool,
    pub(super) readers: Readers,
    pub(super) large: LargeRequests,
    idle: Mutex<IdleWorkspaces>,
}

/// Workspaces that no request uses, each with what it holds.
#[derive(Default)]
struct IdleWorkspaces {
    workspaces: Vec<(Workspace, Reservation)>,
    bytes: usize,
}

impl IdleWorkspaces {
    fn take(&mut self) -> Option<(Workspace, Reservation)> {
        let (workspace, held) = self.workspaces.pop()?;
        self.bytes -= held.bytes();
        Some((workspace, held))
    }

    /// Keeps an idle workspace with its reservation, unless too many, or too many bytes, are kept already; then both
    /// are dropped.
    fn put(&mut self, workspace: Workspace, held: Reservation) {
        let bytes = self.bytes + held.bytes();
        if self.workspaces.len() < KEPT_WORKSPACES && bytes <= KEPT_WORKSPACE_BYTES {
            self.workspaces.push((workspace, held));
            self.bytes = bytes;
        }
    }

    fn clear(&mut self) {
        self.workspaces.clear();
        self.bytes = 0;
    }
}

/// The buffers that one request works in.
#[derive(Default)]
pub struct Workspace {
    /// Text and labels of the decoded series.
    pub arena: Arena,
    /// The body, decompressed. It is overwritten, not cleared: clearing costs as much as filling.
    pub plain: Vec<u8>,
    /// Finds duplicate series.
    pub deduplicator: Deduplicator,
    /// The encoded message, until it is compressed.
    pub encoded: Vec<u8>,
    /// Where each series is in `encoded`, for the recent store.
    pub layout: Layout,
    /// Compresses `encoded`.
    pub encoder: snappy::Encoder,
    /// The message, where it is of remote write 2.0.
    pub request: RequestBuilder,
}

impl Workspace {
    /// The capacity of all its buffers, in bytes.
    fn held_bytes(&self) -> usize {
        self.arena.held_bytes()
            + self.plain.capacity()
            + self.deduplicator.held_bytes()
            + self.encoded.capacity()
            + self.layout.held_bytes()
            + self.encoder.held_bytes()
            + self.request.held_bytes()
    }
}

impl Default for Workspaces {
    fn default() -> Self {
        Self::new(MemoryBudget::unlimited())
    }
}

impl Workspaces {
    /// Workspaces within the share of a memory budget.
    #[must_use]
    pub fn new(budget: MemoryBudget) -> Self {
        let max_kept_bytes = MAX_KEPT_BYTES.min(budget.capacity_bytes(MemoryShare::Bodies) / KEPT_BUFFER_PART);
        let buffers = BufferPool::new(2 * KEPT_WORKSPACES, max_kept_bytes);
        let readers = Readers::new(budget.clone(), buffers.clone());
        let large = LargeRequests::of(&budget);
        Self { budget, idle: Mutex::default(), buffers, readers, large }
    }

    /// Runs `work` in an idle workspace, or in a new one, on a body of `cluster` that has `plain_bytes` when decompressed. A
    /// large request waits for a permit.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where there is no memory for it, or it waited too long; else what `work` fails with.
    pub async fn with<T>(
        &self,
        cluster: &str,
        plain_bytes: usize,
        work: impl FnOnce(&mut Workspace) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let bytes = work_bytes(plain_bytes);
        if bytes <= self.large.above_bytes {
            return self.run_reserved(bytes, work);
        }
        let _permit = self.large.acquire(cluster, bytes).await.ok_or(Error::Overloaded)?;
        self.run_reserved(bytes.min(self.large.together_bytes), work)
    }

    /// Runs `work` in a workspace with `bytes` reserved. Where these do not fit, the idle workspaces are freed first.
    /// Afterwards the workspace becomes idle, unless it has grown beyond what large requests may hold together, or the
    /// budget has no memory for it. Returns [`Error::Overloaded`] where `bytes` do not fit.
    fn run_reserved<T>(&self, bytes: usize, work: impl FnOnce(&mut Workspace) -> Result<T, Error>) -> Result<T, Error> {
        let idle = self.idle.lock().take();
        let (mut workspace, mut held) = match idle {
            Some((workspace, held)) => (workspace, Some(held)),
            None => (Workspace::default(), None),
        };
        let more = bytes.saturating_sub(held.as_ref().map_or(0, Reservation::bytes));
        let mut working = self.budget.try_reserve(MemoryShare::Workspaces, more);
        if working.is_none() {
            // Idle workspaces give their memory to this one.
            self.idle.lock().clear();
            (workspace, held) = (Workspace::default(), None);
            working = self.budget.try_reserve(MemoryShare::Workspaces, bytes);
        }
        let working = working.ok_or(Error::Overloaded)?;
        let result = work(&mut workspace);
        workspace.arena.reset();
        drop((working, held));
        let bytes = workspace.held_bytes();
        if bytes <= self.large.together_bytes
            && let Some(held) = self.budget.try_reserve(MemoryShare::Workspaces, bytes)
        {
            self.idle.lock().put(workspace, held);
        }
        result
    }

    /// Compresses an encoded `WriteRequest`.
    #[must_use]
    pub fn compress(&self, encoder: &mut snappy::Encoder, encoded: &[u8]) -> WriteMessage {
        let mut block = self.buffers.take();
        encoder.block(encoded, &mut block);
        WriteMessage::V1 { block: block.freeze(), plain_bytes: encoded.len() }
    }
}

/// How many bytes a request holds while it is worked on, for a body of so many decompressed bytes.
pub(super) fn work_bytes(plain_bytes: usize) -> usize {
    plain_bytes.saturating_mul(WORK_FACTOR).max(MIN_WORK_BYTES)
}

#[cfg(test)]
mod tests;
