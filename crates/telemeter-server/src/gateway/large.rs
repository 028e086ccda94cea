//! Permits for requests that take much of the workspaces' share, so that there is always memory for small ones.
//!
//! Large requests together hold half of the share at most; a request that is larger than that counts as half and runs alone.
//! Of one cluster, one runs or waits for memory at a time, so that its many requests do not delay another cluster's one.

use std::{collections::hash_map::RandomState, hash::BuildHasher as _, time::Duration};

use telemeter_http::budget::{MemoryBudget, MemoryShare};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// A request that takes more than this part of the share is large.
const LARGE_PART: usize = 8;
/// Large requests have this part of the share together.
const TOGETHER_PART: usize = 2;
/// The memory of large requests is counted in units of so many bytes.
const UNIT_BYTES: usize = 64 << 10;
/// How long a request waits for its permit.
const WAIT: Duration = Duration::from_secs(3);
/// Clusters are spread over so many queues by a keyed hash.
const QUEUES: usize = 64;

/// The permits of large requests.
pub(super) struct LargeRequests {
    /// A request that takes more is large, in bytes.
    pub(super) above_bytes: usize,
    /// What large requests hold together at most, in bytes.
    pub(super) together_bytes: usize,
    keys: RandomState,
    queues: [Semaphore; QUEUES],
    memory: Semaphore,
}

/// The right of one large request to run, until it is dropped.
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
            memory: Semaphore::new(units(together_bytes) as usize),
        }
    }

    /// Waits until a request of `cluster` that takes `bytes` may run; `None` where that took too long.
    pub(super) async fn acquire(&self, cluster: &str, bytes: usize) -> Option<LargePermit<'_>> {
        let queue = &self.queues[self.keys.hash_one(cluster) as usize % QUEUES];
        let waiting = async {
            let first = queue.acquire().await.ok()?;
            let memory = self.memory.acquire_many(units(bytes.min(self.together_bytes))).await.ok()?;
            Some((first, memory))
        };
        timeout(WAIT, waiting).await.ok().flatten()
    }
}

#[cfg(test)]
impl LargeRequests {
    /// How many requests that take so many bytes run at once; `None` for small ones.
    pub(super) fn at_once(&self, bytes: usize) -> Option<usize> {
        let units = units(bytes.min(self.together_bytes)) as usize;
        (bytes > self.above_bytes).then(|| self.memory.available_permits() / units)
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX >> 3).max(1)
}
