//! Requests that take much of the workspaces' share: in turns, so that small ones always find room.
//!
//! Large ones hold half of the share together at most; one that is larger than that counts as half and works alone. Of
//! one cluster one works or waits for room at a time, so that its many do not stand before another's one.

use std::{collections::hash_map::RandomState, hash::BuildHasher as _, time::Duration};

use telemeter_http::budget::{MemoryBudget, MemoryShare};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// A request that takes more than this part of the share is large.
const LARGE_PART: usize = 8;
/// Large ones have this part of the share together.
const TOGETHER_PART: usize = 2;
/// The room of large ones is counted in units of so many bytes.
const UNIT_BYTES: usize = 64 << 10;
/// How long one waits for its turn.
const WAIT: Duration = Duration::from_secs(3);
/// Clusters are told apart by a keyed hash; so many queues there are.
const QUEUES: usize = 64;

/// Whose turn it is.
pub(super) struct LargeRequests {
    /// A request that takes more is large.
    pub(super) above_bytes: usize,
    /// What large ones hold together at most.
    pub(super) together_bytes: usize,
    keys: RandomState,
    queues: [Semaphore; QUEUES],
    room: Semaphore,
}

/// The right of one large request to work, until it is dropped.
pub(super) type LargePermit<'a> = (SemaphorePermit<'a>, SemaphorePermit<'a>);

impl LargeRequests {
    /// For the share of workspaces.
    pub(super) fn of(budget: &MemoryBudget) -> Self {
        let capacity_bytes = budget.capacity_bytes(MemoryShare::Workspaces);
        let together_bytes = capacity_bytes / TOGETHER_PART;
        Self {
            above_bytes: capacity_bytes / LARGE_PART,
            together_bytes,
            keys: RandomState::new(),
            queues: std::array::from_fn(|_| Semaphore::new(1)),
            room: Semaphore::new(units(together_bytes) as usize),
        }
    }

    /// Waits until a request of `cluster` that takes `bytes` may work; `None` where that took too long.
    pub(super) async fn turn(&self, cluster: &str, bytes: usize) -> Option<LargePermit<'_>> {
        let queue = &self.queues[self.keys.hash_one(cluster) as usize % QUEUES];
        let waiting = async {
            let first = queue.acquire().await.ok()?;
            let room = self.room.acquire_many(units(bytes.min(self.together_bytes))).await.ok()?;
            Some((first, room))
        };
        timeout(WAIT, waiting).await.ok().flatten()
    }
}

#[cfg(test)]
impl LargeRequests {
    /// How many that take so much work at once; `None` for small ones.
    pub(super) fn at_once(&self, bytes: usize) -> Option<usize> {
        let units = units(bytes.min(self.together_bytes)) as usize;
        (bytes > self.above_bytes).then(|| self.room.available_permits() / units)
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX >> 3).max(1)
}
