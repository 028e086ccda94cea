//! Refusals of callers whose credentials were not accepted. The cluster ID that such a caller claims may belong to another
//! cluster, so these refusals are kept apart from the clusters' records.

use std::net::IpAddr;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::{
    outcome::{Reason, ReportRoute},
    record::{address, address_bytes, milliseconds, seconds},
    request::RefusedRequest,
    symbols::truncate,
};

/// The most entries in the table.
const MAX: usize = 4096;

/// A bounded table of refusals by claimed ID, address, route and reason; the oldest entries are removed when it is full.
#[derive(Default)]
pub struct ClaimedRefusals(Mutex<HashMap<ClaimedKey, ClaimedEntry>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ClaimedKey {
    cluster: Box<str>,
    peer: [u8; 16],
    route: ReportRoute,
    reason: Reason,
}

#[derive(Clone, Copy, Debug)]
struct ClaimedEntry {
    status: u16,
    count: u64,
    first_s: u32,
    last_s: u32,
}

/// Refusals on one route for one reason, from one address, under one claimed ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedRefusal {
    /// The claimed ID, truncated to 128 bytes; empty where the caller gave none.
    pub cluster: String,
    /// The address of the caller.
    pub peer: Option<IpAddr>,
    /// The route of the requests.
    pub route: ReportRoute,
    /// The reason of the refusals.
    pub reason: Reason,
    /// The status of the last refusal.
    pub status: u16,
    /// The number of refusals.
    pub count: u64,
    /// The time of the first refusal, in milliseconds since 1970, exact to a second.
    pub first_ms: i64,
    /// The time of the last refusal, in milliseconds since 1970, exact to a second.
    pub last_ms: i64,
}

impl ClaimedRefusals {
    /// Counts one refusal: in the entry with the same claimed ID, address, route and reason, or in a new one. Where the
    /// table is full, its oldest sixteenth is removed first.
    pub(crate) fn add(&self, refused: &RefusedRequest<'_>) {
        let RefusedRequest { cluster, route, reason, status, now_ms, peer, .. } = *refused;
        let now_s = seconds(now_ms);
        let key = ClaimedKey { cluster: truncate(cluster).into(), peer: address_bytes(peer), route, reason };
        let mut entries = self.0.lock();
        if let Some(entry) = entries.get_mut(&key) {
            entry.count += 1;
            (entry.last_s, entry.status) = (now_s, status);
            return;
        }
        if entries.len() >= MAX {
            // The oldest sixteenth is removed at once: to find the oldest entry each time would cost too much in a flood.
            let mut times: Vec<u32> = entries.values().map(|entry| entry.last_s).collect();
            let (_, limit, _) = times.select_nth_unstable(MAX / 16);
            let limit = *limit;
            // All that are older than the limit, and as many of its own second as complete the sixteenth.
            let mut of_limit = MAX / 16 - times.iter().filter(|last_s| **last_s < limit).count();
            entries.retain(|_, entry| {
                let is_removed = entry.last_s < limit || entry.last_s == limit && of_limit > 0;
                of_limit -= usize::from(is_removed && entry.last_s == limit);
                !is_removed
            });
        }
        entries.insert(key, ClaimedEntry { status, count: 1, first_s: now_s, last_s: now_s });
    }

    /// All entries, the one with the latest refusal first.
    #[must_use]
    pub fn list(&self) -> Vec<ClaimedRefusal> {
        let mut list: Vec<_> = self
            .0
            .lock()
            .iter()
            .map(|(key, entry)| ClaimedRefusal {
                cluster: key.cluster.to_string(),
                peer: address(key.peer),
                route: key.route,
                reason: key.reason,
                status: entry.status,
                count: entry.count,
                first_ms: milliseconds(entry.first_s).unwrap_or_default(),
                last_ms: milliseconds(entry.last_s).unwrap_or_default(),
            })
            .collect();
        list.sort_by(|a, b| (b.last_ms, &a.cluster, a.peer).cmp(&(a.last_ms, &b.cluster, b.peer)));
        list
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn refusals_of_one_kind_are_counted_together_and_the_table_is_bounded() {
        let claimed = ClaimedRefusals::default();
        let add = |cluster: &str, route, reason, now_ms| {
            let peer = "192.0.2.1".parse().unwrap();
            claimed.add(&RefusedRequest { cluster, route, reason, status: 401, now_ms, peer, user_agent: "" });
        };
        for number in 0..3 {
            add("a", ReportRoute::Authorize, Reason::AuthorityRefused, 1_000_000 + number * 1000);
        }
        add("a", ReportRoute::Receive, Reason::AuthorityRefused, 999_000);
        let list = claimed.list();
        assert_eq!(list.len(), 2);
        assert_eq!((list[0].count, list[0].status), (3, 401));
        assert_eq!((list[0].first_ms, list[0].last_ms), (1_000_000, 1_002_000));
        for number in 0..10_000 {
            add(&format!("flood {number}"), ReportRoute::Upload, Reason::Token, 2_000_000 + number);
        }
        assert!(claimed.list().len() <= MAX);
        assert!(claimed.list().iter().any(|one| one.cluster == "flood 9999"));
        assert!(claimed.list().iter().all(|one| one.cluster != "a"), "the oldest was removed");
    }

    #[test]
    fn the_oldest_are_removed_first_also_where_most_are_of_one_second() {
        let claimed = ClaimedRefusals::default();
        let add = |cluster: &str, now_ms| {
            let (route, reason, peer) = (ReportRoute::Upload, Reason::Token, "192.0.2.1".parse().unwrap());
            claimed.add(&RefusedRequest { cluster, route, reason, status: 401, now_ms, peer, user_agent: "" });
        };
        (0..10).for_each(|number| add(&format!("old {number}"), 1_000_000 + number * 1000));
        (10..MAX).for_each(|number| add(&format!("flood {number}"), 2_000_000));
        add("last", 2_000_000);
        let list = claimed.list();
        assert_eq!(list.len(), MAX - MAX / 16 + 1);
        assert!(list.iter().all(|one| !one.cluster.starts_with("old")) && list.iter().any(|one| one.cluster == "last"));
    }
}
