//! Who is refused, and why: verified clusters, and callers who only claimed to be one.

use std::net::IpAddr;

use serde::Serialize;
use telemeter_fleet::{Reason, Route};

use super::{FleetView, Listed, Part, Time};
use crate::refusals::explain;

/// What is asked of the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalQuery {
    /// Only for this reason.
    pub reason: Option<Reason>,
    /// Only on this route.
    pub route: Option<Route>,
    /// Only those whose last is at most so many seconds ago.
    pub since: Option<u64>,
    /// Only those of this cluster, verified or claimed.
    pub cluster: Option<String>,
}

/// Refusals of one cluster, verified or claimed, for one reason on one route; of claimed ones from one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalRow {
    /// The cluster, where its credentials were accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The cluster that was claimed, where they were not; neither where none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_cluster: Option<String>,
    /// Whether the credentials were accepted.
    pub verified: bool,
    /// Where the last request came from.
    pub peer: Option<IpAddr>,
    /// What was asked for.
    pub route: &'static str,
    /// Why it was refused.
    pub reason: &'static str,
    /// The status that the last one was answered with.
    pub status: u16,
    /// How many there were.
    pub count: u64,
    /// The first.
    pub first: Time,
    /// The last.
    pub last: Time,
    /// What the reason means.
    pub meaning: &'static str,
    /// What to do about it.
    pub action: &'static str,
}

impl FleetView {
    /// A part of the refusals, newest first.
    #[must_use]
    pub fn refusals(&self, query: &RefusalQuery, part: Part) -> Listed<RefusalRow> {
        let registry = &self.gateway().fleet.registry;
        let since_ms = query.since.map_or(i64::MIN, |since| {
            self.now_ms().saturating_sub(i64::try_from(since).unwrap_or(i64::MAX).saturating_mul(1000))
        });
        let wanted = |cluster: &str, route: Route, reason: Reason, last_ms: i64| {
            query.reason.is_none_or(|wanted| wanted == reason)
                && query.route.is_none_or(|wanted| wanted == route)
                && query.cluster.as_deref().is_none_or(|wanted| wanted == cluster)
                && last_ms >= since_ms
        };
        let mut rows = Vec::new();
        registry.for_each(|cluster| {
            for one in cluster.refusals().filter(|one| wanted(cluster.id(), one.route, one.reason, one.last_ms)) {
                let explanation = explain(one.reason);
                rows.push(RefusalRow {
                    cluster: Some(cluster.id().to_owned()),
                    claimed_cluster: None,
                    verified: true,
                    peer: cluster.peer(),
                    route: one.route.name(),
                    reason: one.reason.name(),
                    status: one.status,
                    count: one.count.into(),
                    first: Time(one.first_ms),
                    last: Time(one.last_ms),
                    meaning: explanation.meaning,
                    action: explanation.action,
                });
            }
        });
        for one in registry.claimed().list() {
            if !wanted(&one.cluster, one.route, one.reason, one.last_ms) {
                continue;
            }
            let explanation = explain(one.reason);
            rows.push(RefusalRow {
                cluster: None,
                claimed_cluster: Some(one.cluster).filter(|cluster| !cluster.is_empty()),
                verified: false,
                peer: one.peer,
                route: one.route.name(),
                reason: one.reason.name(),
                status: one.status,
                count: one.count,
                first: Time(one.first_ms),
                last: Time(one.last_ms),
                meaning: explanation.meaning,
                action: explanation.action,
            });
        }
        let total = rows.len();
        part.sorted(&mut rows, |a, b| {
            let key = |row: &RefusalRow| (row.last, row.count);
            let names =
                |row: &RefusalRow| (row.cluster.clone(), row.claimed_cluster.clone(), row.route, row.reason, row.peer);
            key(b).cmp(&key(a)).then_with(|| names(a).cmp(&names(b)))
        });
        Listed { total, offset: part.offset, whole: self.is_whole(), items: rows }
    }
}
