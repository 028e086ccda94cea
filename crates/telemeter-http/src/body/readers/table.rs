//! The table of bodies that wait for bytes: it counts the memory that each client holds, and evicts bodies where the
//! share is used up.

use std::collections::HashMap;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::BodyClient;
use crate::budget::{MemoryBudget, MemoryShare};

/// A body that is read for longer than this, and slower than [`SLOW_BYTES_PER_SECOND`], may be aborted for others.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(1);
const SLOW_BYTES_PER_SECOND: usize = 64 << 10;
/// Where no body is slow, a body may be aborted if its client holds this many times as much as the other client would
/// hold.
const LARGER_FACTOR: usize = 4;
/// The time after an eviction without a result before the next one is tried, unless that one is for a client that holds
/// less.
const RETRY_EVICTION_AFTER: Duration = Duration::from_millis(100);

/// The bodies that wait for bytes, and the bytes that their clients hold. A body that arrived at once is never in the
/// table.
#[derive(Default)]
pub(super) struct WaitingBodies {
    pub(super) next_id: u64,
    pub(super) reads: HashMap<u64, BodyRead>,
    /// The time when no body could be evicted, and the bytes that the asking client would have held.
    pub(super) futile: Option<(Instant, usize)>,
    pub(super) clients: HashMap<BodyClient, usize>,
}

pub(super) struct BodyRead {
    pub(super) client: BodyClient,
    /// The time when bytes last arrived.
    pub(super) arrived: Instant,
    pub(super) arrived_bytes: usize,
    /// The time from which its speed is measured, and the bytes that had arrived by then: bytes that arrived fast at
    /// first say nothing about the speed since then.
    pub(super) measured_since: Instant,
    pub(super) measured_bytes: usize,
    pub(super) held_bytes: usize,
    /// Whether the body was evicted, so that its reservation was released for others.
    pub(super) evicted: bool,
    pub(super) waker: Waker,
}

impl WaitingBodies {
    pub(super) fn is_evicted(&self, id: Option<u64>) -> bool {
        id.and_then(|id| self.reads.get(&id)).is_some_and(|read| read.evicted)
    }

    pub(super) fn add_bytes(&mut self, id: Option<u64>, more: usize, arrived_bytes: usize) {
        let Some(read) = id.and_then(|id| self.reads.get_mut(&id)) else { return };
        read.held_bytes += more;
        read.record_arrival(arrived_bytes);
        *self.clients.entry(read.client).or_default() += more;
    }

    /// Subtracts bytes from those that the client holds, and forgets a client that holds none. The memory budget does
    /// not change.
    pub(super) fn release_bytes(&mut self, client: BodyClient, bytes: usize) {
        if let Some(of_client) = self.clients.get_mut(&client) {
            *of_client -= bytes;
            if *of_client == 0 {
                self.clients.remove(&client);
            }
        }
    }

    /// Aborts bodies until `bytes` are released for a body of `client`, which would then hold `wanted_bytes`; the pair
    /// with `client` says whether that body is slow. Slow bodies are aborted first; among these, those of the client
    /// that holds most; among these, the slowest.
    ///
    /// A slow body is not aborted for another slow one, unless its client holds more. A body that is not slow is
    /// aborted only where its client holds four times as much: otherwise many bodies that all started a moment ago
    /// could use up the share.
    pub(super) fn evict(
        &mut self,
        budget: &MemoryBudget,
        (client, client_is_slow): (BodyClient, bool),
        wanted_bytes: usize,
        bytes: usize,
    ) {
        if self.futile.is_some_and(|(at, least)| wanted_bytes >= least && at.elapsed() < RETRY_EVICTION_AFTER) {
            return;
        }
        let of = |client: &BodyClient| self.clients.get(client).copied().unwrap_or_default();
        let least = if client_is_slow { of(&client) } else { 0 };
        let candidates = self.reads.iter().filter_map(|(id, read)| {
            let (held, is_slow) = (of(&read.client), read.is_slow());
            let makes_room =
                if is_slow { held > least } else { held / LARGER_FACTOR >= wanted_bytes && read.client != client };
            let rank = (!is_slow, std::cmp::Reverse(held.max(1).ilog2()), read.speed(), *id);
            (read.held_bytes > 0 && makes_room).then_some(rank)
        });
        let mut found: Vec<_> = candidates.collect();
        found.sort_unstable();
        self.futile = found.is_empty().then(|| (Instant::now(), wanted_bytes));
        let mut freed = 0;
        for (_, _, _, id) in found {
            if freed >= bytes {
                break;
            }
            let Some(read) = self.reads.get_mut(&id) else { continue };
            let held = std::mem::take(&mut read.held_bytes);
            read.evicted = true;
            read.waker.wake_by_ref();
            budget.release(MemoryShare::Bodies, held);
            freed += held;
            let client = read.client;
            self.release_bytes(client, held);
        }
    }
}

impl BodyRead {
    /// Updates the number of bytes that have arrived in all, and the time of the last of them. Where the speed was
    /// measured for a while, its measurement begins anew, so that it does not count the time before. Does nothing where
    /// no bytes are new.
    fn record_arrival(&mut self, arrived_bytes: usize) {
        if arrived_bytes == self.arrived_bytes {
            return;
        }
        let now = Instant::now();
        if now.duration_since(self.measured_since) >= SLOW_AFTER {
            (self.measured_since, self.measured_bytes) = (now, self.arrived_bytes);
        }
        (self.arrived, self.arrived_bytes) = (now, arrived_bytes);
    }

    /// Its speed in bytes per second.
    fn speed(&self) -> u128 {
        let bytes = self.arrived_bytes.saturating_sub(self.measured_bytes);
        bytes as u128 * 1000 / self.measured_since.elapsed().as_millis().max(1)
    }

    /// Whether it arrives so slowly that it may be aborted for others. A body that started a moment ago is not slow. A
    /// body is slow where no byte arrived for a second, however fast it started.
    pub(super) fn is_slow(&self) -> bool {
        let is_measured = self.measured_since.elapsed() >= SLOW_AFTER;
        self.arrived.elapsed() >= SLOW_AFTER || (is_measured && self.speed() < SLOW_BYTES_PER_SECOND as u128)
    }
}
