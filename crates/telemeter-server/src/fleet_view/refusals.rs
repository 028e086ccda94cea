//! Which callers are refused, and why: verified clusters, and callers whose credentials were not accepted.

use std::{cmp::Reverse, net::IpAddr};

use serde::Serialize;
use telemeter_fleet::{Reason, ReportRoute};

use super::{FleetView, ListPart, Time};
use crate::refusals::explain;

/// What a list is searched and sorted by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalQuery {
    /// Only for this reason.
    pub reason: Option<Reason>,
    /// Only on this route.
    pub route: Option<ReportRoute>,
    /// Only refusals whose last one is at most so many seconds ago.
    pub since: Option<u64>,
    /// Only refusals of this cluster, verified or claimed.
    pub cluster: Option<String>,
    /// Part of the ID of the cluster, verified or claimed, or of the address; empty: all. Case does not matter.
    pub search: String,
}

/// A part of the refusals, newest first, and how many there are for each reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RefusalList {
    /// How many rows there are in all.
    pub total: usize,
    /// How many rows come before `items`.
    pub offset: usize,
    /// Whether the whole fleet was searched; false where clusters were forgotten because there were too many.
    pub whole: bool,
    /// The rows.
    pub items: Vec<RefusalRow>,
    /// Their counts by reason, without the filter by reason; most frequent first.
    pub reasons: Vec<ReasonRow>,
}

/// Refusals for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonRow {
    /// The reason, by its name.
    pub reason: &'static str,
    /// How many requests were refused.
    pub count: u64,
    /// How many verified clusters, by route.
    pub clusters: usize,
    /// How many callers without accepted credentials, by ID, address and route.
    pub unverified: usize,
    /// When the last one was.
    pub last: Time,
    /// The statuses of the responses.
    pub statuses: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub action: &'static str,
}

/// Refusals of one cluster, verified or claimed, for one reason on one route; of claimed ones from one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalRow {
    /// The cluster, where its credentials were accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The cluster that the request claimed, where its credentials were not accepted; missing where it named none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_cluster: Option<String>,
    /// Whether the credentials were accepted.
    pub verified: bool,
    /// The address that the last request came from.
    pub peer: Option<IpAddr>,
    /// The route, by its name.
    pub route: &'static str,
    /// The reason, by its name.
    pub reason: &'static str,
    /// The status of the last response.
    pub status: u16,
    /// How many requests were refused.
    pub count: u64,
    /// When the first one was.
    pub first: Time,
    /// When the last one was.
    pub last: Time,
    /// What the reason means.
    pub meaning: &'static str,
    /// What to do about it.
    pub action: &'static str,
}

/// Collects the rows that a query finds.
struct RefusalCollector<'q> {
    query: &'q RefusalQuery,
    search: String,
    since_ms: i64,
    rows: Vec<RefusalRow>,
    reasons: [Option<ReasonRow>; Reason::ALL.len()],
}

/// One entry of the registry.
struct RegistryRefusal<'e> {
    cluster: &'e str,
    is_verified: bool,
    peer: Option<IpAddr>,
    route: ReportRoute,
    reason: Reason,
    status: u16,
    count: u64,
    first_ms: i64,
    last_ms: i64,
}

impl RefusalCollector<'_> {
    /// Adds an entry, if the query finds it, to the totals of its reason and to the rows. The reason of the query only
    /// applies to the rows, so that the totals show every reason.
    fn add_entry(&mut self, entry: &RegistryRefusal<'_>) {
        let query = self.query;
        let is_found = |search: &str| {
            entry.cluster.to_lowercase().contains(search)
                || entry.peer.is_some_and(|peer| peer.to_string().contains(search))
        };
        if query.route.is_some_and(|route| route != entry.route)
            || query.cluster.as_deref().is_some_and(|cluster| cluster != entry.cluster)
            || entry.last_ms < self.since_ms
            || !self.search.is_empty() && !is_found(&self.search)
        {
            return;
        }
        let explanation = explain(entry.reason);
        let reason = self.reasons[entry.reason as usize].get_or_insert(ReasonRow {
            reason: entry.reason.name(),
            count: 0,
            clusters: 0,
            unverified: 0,
            last: Time(entry.last_ms),
            statuses: explanation.statuses,
            meaning: explanation.meaning,
            action: explanation.action,
        });
        reason.count += entry.count;
        reason.clusters += usize::from(entry.is_verified);
        reason.unverified += usize::from(!entry.is_verified);
        reason.last = reason.last.max(Time(entry.last_ms));
        if query.reason.is_some_and(|reason| reason != entry.reason) {
            return;
        }
        let cluster = Some(entry.cluster.to_owned()).filter(|cluster| !cluster.is_empty());
        let (cluster, claimed_cluster) = if entry.is_verified { (cluster, None) } else { (None, cluster) };
        self.rows.push(RefusalRow {
            cluster,
            claimed_cluster,
            verified: entry.is_verified,
            peer: entry.peer,
            route: entry.route.name(),
            reason: entry.reason.name(),
            status: entry.status,
            count: entry.count,
            first: Time(entry.first_ms),
            last: Time(entry.last_ms),
            meaning: explanation.meaning,
            action: explanation.action,
        });
    }
}

impl FleetView {
    /// A part of the refusals, newest first.
    #[must_use]
    pub fn refusals(&self, query: &RefusalQuery, part: ListPart) -> RefusalList {
        let registry = &self.gateway().fleet.registry;
        let since_ms = query.since.map_or(i64::MIN, |since| {
            self.now_ms().saturating_sub(i64::try_from(since).unwrap_or(i64::MAX).saturating_mul(1000))
        });
        let search = query.search.trim().to_lowercase();
        let mut found = RefusalCollector { query, search, since_ms, rows: Vec::new(), reasons: Default::default() };
        registry.for_each(|cluster| {
            for one in cluster.refusals() {
                found.add_entry(&RegistryRefusal {
                    cluster: cluster.id(),
                    is_verified: true,
                    peer: cluster.peer(),
                    route: one.route,
                    reason: one.reason,
                    status: one.status,
                    count: one.count.into(),
                    first_ms: one.first_ms,
                    last_ms: one.last_ms,
                });
            }
        });
        for one in registry.claimed_refusals().list() {
            found.add_entry(&RegistryRefusal {
                cluster: &one.cluster,
                is_verified: false,
                peer: one.peer,
                route: one.route,
                reason: one.reason,
                status: one.status,
                count: one.count,
                first_ms: one.first_ms,
                last_ms: one.last_ms,
            });
        }
        let RefusalCollector { mut rows, reasons, .. } = found;
        let total = rows.len();
        part.sort(&mut rows, |a, b| {
            let key = |row: &RefusalRow| (row.last, row.count);
            let names =
                |row: &RefusalRow| (row.cluster.clone(), row.claimed_cluster.clone(), row.route, row.reason, row.peer);
            key(b).cmp(&key(a)).then_with(|| names(a).cmp(&names(b)))
        });
        let mut reasons: Vec<_> = reasons.into_iter().flatten().collect();
        reasons.sort_by_key(|reason| (Reverse(reason.count), reason.reason));
        RefusalList { total, offset: part.offset, whole: self.is_whole(), items: rows, reasons }
    }
}
