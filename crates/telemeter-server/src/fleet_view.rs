//! Reads what is known of the fleet, for pages and the API: owned copies, made on threads that answer no requests.

pub mod cluster;
pub mod clusters;
pub mod history;
pub mod metric;
pub mod metrics;
pub mod refusals;
mod rule_hits;
pub mod summary;

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};
use telemeter_http::{date, tls::ListenerTls};
use tokio::sync::OwnedSemaphorePermit;

use crate::{gateway::Gateway, read_queue::ReadQueue};

/// So many readers walk over the fleet at a time; the others wait for a permit.
const READERS: usize = 2;

/// Reads what is known of the fleet. Cheap to clone.
#[derive(Clone)]
pub struct FleetView(Arc<Inner>);

struct Inner {
    gateway: Gateway,
    about: ReplicaInfo,
    queue: ReadQueue,
}

/// This replica: its name, version and revision, when it started, its certificates.
#[derive(Clone, Debug)]
pub struct ReplicaInfo {
    /// The program's version.
    pub version: &'static str,
    /// The revision of its source.
    pub revision: &'static str,
    /// When it started, in milliseconds since 1970.
    pub started_ms: i64,
    /// The name of this replica.
    pub replica: String,
    /// The certificates of the listeners `external` and `internal`, where they have one.
    pub certificates: Vec<(&'static str, ListenerTls)>,
}

/// A time that is written as RFC 3339 in UTC, to the second. In milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&date::rfc3339(self.0))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Part of a longer list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed<T> {
    /// How many there are in all.
    pub total: usize,
    /// How many come before `items`.
    pub offset: usize,
    /// Whether the whole fleet was searched; false where clusters were forgotten because there were too many.
    pub whole: bool,
    /// The next ones, up to a limit.
    pub items: Vec<T>,
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPart {
    /// How many come before it.
    pub offset: usize,
    /// How many it has at most; `usize::MAX`: all.
    pub limit: usize,
}

impl ListPart {
    /// Leaves this part of `all`.
    fn keep<T>(self, all: &mut Vec<T>) {
        all.drain(..self.offset.min(all.len()));
        all.truncate(self.limit);
    }

    /// Leaves this part of `all` as it would be sorted; sorts no more than that needs.
    fn sort<T>(self, all: &mut Vec<T>, mut compare: impl FnMut(&T, &T) -> std::cmp::Ordering) {
        let end = self.offset.saturating_add(self.limit);
        if end < all.len() {
            all.select_nth_unstable_by(end, &mut compare);
            all.truncate(end);
        }
        all.sort_unstable_by(compare);
        self.keep(all);
    }
}

impl FleetView {
    /// Reads what this gateway knows.
    #[must_use]
    pub fn new(gateway: Gateway, about: ReplicaInfo) -> Self {
        Self(Arc::new(Inner { gateway, about, queue: ReadQueue::new(READERS) }))
    }

    /// Which program and which replica this is.
    #[must_use]
    pub fn replica_info(&self) -> &ReplicaInfo {
        &self.0.about
    }

    /// The gateway that it reads.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.0.gateway
    }

    /// The time, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.0.gateway.clock.now_ms()
    }

    /// Runs `read` on a thread that may block; two run at a time. `read` gets the permit: the next one waits until it is dropped.
    pub async fn read_with_permit<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Self, OwnedSemaphorePermit) -> T + Send + 'static,
    ) -> T {
        let view = self.clone();
        self.0.queue.read_with_permit(move |permit| read(&view, permit)).await
    }

    /// The same, with a permit that ends when `read` does.
    pub async fn read<T: Send + 'static>(&self, read: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let view = self.clone();
        self.0.queue.read(move || read(&view)).await
    }

    fn is_whole(&self) -> bool {
        self.0.gateway.fleet.registry.evicted() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_list_is_that_of_the_sorted_list() {
        let all: Vec<u32> = (0..1000).map(|number| number * 7919 % 1000).collect();
        let mut sorted = all.clone();
        sorted.sort_unstable();
        for (offset, limit) in [(0, 10), (990, 100), (5, 0), (2000, 10), (0, usize::MAX), (10, usize::MAX), (0, 1000)] {
            let mut part = all.clone();
            ListPart { offset, limit }.sort(&mut part, Ord::cmp);
            let expected: Vec<u32> = sorted.iter().copied().skip(offset).take(limit).collect();
            assert_eq!(part, expected, "{offset} {limit}");
        }
    }
}
