//! The list of clusters: searched, filtered, sorted, and one part of it at a time.

use std::{cmp::Ordering, collections::BTreeMap, net::IpAddr, sync::Arc};

use serde::Serialize;
use telemeter_fleet::{ClusterRef, ClusterStatus};

use super::{FleetView, ListPart, Listed, Time, summary::ClusterCounts};
use crate::refusals;

/// What a list is searched and sorted by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterQuery {
    /// Part of the ID, or the beginning of any fleet label; empty: all. Case does not matter.
    pub search: String,
    /// Only clusters of this status.
    pub status: Option<ClusterStatus>,
    /// Only silent clusters that have not reported for so many seconds.
    pub silent_for: Option<u64>,
    /// What they are sorted by.
    pub sort: ClusterSort,
    /// Whether the order is reversed.
    pub descending: bool,
}

/// What clusters are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClusterSort {
    /// Silent clusters first, then refused ones; of the same status the one that reported last comes first.
    #[default]
    Attention,
    /// The ID.
    Id,
    /// The last accepted report.
    LastReport,
    /// Series of the last report.
    Series,
    /// Series of the last report that the whitelist dropped.
    Filtered,
    /// The drift of its clock, either way.
    Drift,
    /// How often it was refused.
    Refused,
    /// The first fleet label, by the numbers in it.
    Version,
}

impl ClusterSort {
    /// Finds one by its name in the API.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id,
            "last_report" => Self::LastReport,
            "series" => Self::Series,
            "filtered" => Self::Filtered,
            "drift" => Self::Drift,
            "refused" => Self::Refused,
            "version" => Self::Version,
            _ => return None,
        })
    }
}

/// A cluster of the list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterRow {
    /// Its ID.
    pub id: String,
    /// `silent`, `refused`, `new` or `reporting`.
    pub status: &'static str,
    /// When its first request with accepted credentials came.
    pub first_seen: Time,
    /// When its last request came, accepted or not.
    pub last_heard: Time,
    /// When its last accepted report came.
    pub last_report: Option<Time>,
    /// When its last accepted upload came.
    pub last_upload: Option<Time>,
    /// When its last accepted remote write came.
    pub last_receive: Option<Time>,
    /// How many uploads were accepted.
    pub uploads_total: u32,
    /// How many remote writes were accepted.
    pub receives_total: u32,
    /// Series of its last report that passed.
    pub series: u32,
    /// Series of its last report that the whitelist dropped.
    pub filtered: u32,
    /// Bytes of its last report, as its cap counts them: of an upload decompressed, of a remote write compressed.
    pub bytes: u32,
    /// The usual time from one report to the next.
    pub interval_seconds: Option<f64>,
    /// How far its clock is ahead of ours.
    pub drift_seconds: f64,
    /// Its `User-Agent`.
    pub client: String,
    /// The address that its last request came from.
    pub peer: Option<IpAddr>,
    /// The values of its fleet labels, by name.
    pub labels: BTreeMap<String, String>,
    /// Its last refusal.
    pub last_refusal: Option<LastRefusalRow>,
    /// How often it was refused.
    pub refused_total: u64,
    /// How often, by route and reason; the last one first.
    pub refusals: Vec<RefusalCountRow>,
}

/// The last refusal of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastRefusalRow {
    /// When it happened.
    pub at: Time,
    /// The route, by its name.
    pub route: &'static str,
    /// The status of the response.
    pub status: u16,
    /// The reason, by its name.
    pub reason: &'static str,
    /// The reason, as a sentence.
    pub text: String,
}

/// How often a cluster was refused for one reason on one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusalCountRow {
    /// The route, by its name.
    pub route: &'static str,
    /// The reason, by its name.
    pub reason: &'static str,
    /// How often.
    pub count: u32,
}

/// A part of a list of clusters, by their IDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundClusters {
    /// How many clusters the query finds in all.
    pub total: usize,
    /// How many clusters of each status the search finds, without the filter by status.
    pub counts: ClusterCounts,
    /// The IDs of this part, in order.
    pub ids: Vec<Box<str>>,
}

/// The ID of a cluster, and what it is sorted by.
struct SortKey {
    id: Box<str>,
    number: (u8, i64),
    text: Option<Arc<str>>,
}

impl FleetView {
    /// Finds the IDs of a part of the list, in its order, and how many there are in all. The counts by status are those
    /// of all clusters that the search finds, whatever the other filters are.
    #[must_use]
    pub fn find_clusters(&self, query: &ClusterQuery, part: ListPart) -> FoundClusters {
        let (fleet, now_ms) = (&self.gateway().fleet, self.now_ms());
        let search = query.search.trim().to_lowercase();
        let label_count = fleet.registry.config().labels.len();
        let mut found = Vec::new();
        let mut counts = ClusterCounts { evicted: fleet.registry.evicted(), ..ClusterCounts::default() };
        fleet.registry.for_each(|cluster| {
            if !search.is_empty() && !is_found(&cluster, &search, label_count) {
                return;
            }
            let status = cluster.status(&fleet.thresholds, now_ms);
            counts.add(status);
            let since_ms = cluster.last_report_ms().unwrap_or_else(|| cluster.first_seen_ms());
            let silent_s = now_ms.saturating_sub(since_ms) / 1000;
            let matches = query.status.is_none_or(|asked| asked == status)
                && query.silent_for.is_none_or(|seconds| {
                    status == ClusterStatus::Silent && u64::try_from(silent_s).unwrap_or(0) >= seconds
                });
            if matches {
                let (number, text) = sort_key(&cluster, query.sort, status);
                found.push(SortKey { id: cluster.id().into(), number, text });
            }
        });
        let total = found.len();
        part.sort(&mut found, |a, b| {
            let by_key = a.number.cmp(&b.number).then_with(|| match (&a.text, &b.text) {
                (Some(a), Some(b)) => compare_natural(a, b),
                _ => Ordering::Equal,
            });
            let by_key = by_key.then_with(|| a.id.cmp(&b.id));
            if query.descending { by_key.reverse() } else { by_key }
        });
        FoundClusters { total, counts, ids: found.into_iter().map(|found| found.id).collect() }
    }

    /// Reads a part of the list.
    #[must_use]
    pub fn clusters(&self, query: &ClusterQuery, part: ListPart) -> Listed<ClusterRow> {
        let found = self.find_clusters(query, part);
        // A cluster that is forgotten meanwhile is left out.
        let items = found.ids.iter().filter_map(|id| self.cluster_row(id)).collect();
        Listed { total: found.total, offset: part.offset, whole: self.is_whole(), items }
    }

    /// One cluster, as the list shows it; `None` where it is not known.
    #[must_use]
    pub fn cluster_row(&self, id: &str) -> Option<ClusterRow> {
        let (fleet, now_ms) = (&self.gateway().fleet, self.now_ms());
        fleet.registry.get(id, |cluster| {
            let view = cluster.to_view();
            let names = fleet.registry.config().labels.iter();
            let labels = names.zip(&view.labels).filter(|(_, value)| !value.is_empty());
            ClusterRow {
                status: cluster.status(&fleet.thresholds, now_ms).name(),
                first_seen: Time(view.first_seen_ms),
                last_heard: Time(view.last_heard_ms),
                last_report: cluster.last_report_ms().map(Time),
                last_upload: view.last_upload_ms.map(Time),
                last_receive: view.last_receive_ms.map(Time),
                uploads_total: view.uploads,
                receives_total: view.receives,
                series: view.series,
                filtered: view.filtered,
                bytes: view.bytes,
                interval_seconds: view.interval.map(|interval| interval.as_secs_f64()),
                drift_seconds: f64::from(view.drift_ms) / 1000.0,
                client: view.user_agent.to_string(),
                peer: view.peer,
                labels: labels.map(|(name, value)| (name.clone(), value.to_string())).collect(),
                last_refusal: view.last_refusal.map(|last| LastRefusalRow {
                    at: Time(last.at_ms),
                    route: last.route.name(),
                    status: last.status,
                    reason: last.reason.name(),
                    text: refusals::describe(last.reason, last.status),
                }),
                refused_total: cluster.refused(),
                refusals: (view.refusals.iter())
                    .map(|one| RefusalCountRow { route: one.route.name(), reason: one.reason.name(), count: one.count })
                    .collect(),
                id: view.id,
            }
        })
    }
}

/// Whether a search finds a cluster. `search` is in lower case.
fn is_found(cluster: &ClusterRef<'_>, search: &str, label_count: usize) -> bool {
    contains(cluster.id(), search) || (0..label_count).any(|at| begins(&cluster.label(at), search))
}

fn contains(text: &str, search: &str) -> bool {
    if text.is_ascii() && search.is_ascii() {
        return text.as_bytes().windows(search.len()).any(|part| part.eq_ignore_ascii_case(search.as_bytes()));
    }
    text.to_lowercase().contains(search)
}

fn begins(text: &str, search: &str) -> bool {
    text.get(..search.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(search))
        || !text.is_ascii() && text.to_lowercase().starts_with(search)
}

/// What a cluster is sorted by: numbers, and a text that [`compare_natural`] compares.
fn sort_key(cluster: &ClusterRef<'_>, sort: ClusterSort, status: ClusterStatus) -> ((u8, i64), Option<Arc<str>>) {
    let last_ms = cluster.last_report_ms().unwrap_or(0);
    let number = match sort {
        ClusterSort::Attention => {
            let rank = match status {
                ClusterStatus::Silent => 0,
                ClusterStatus::Refused => 1,
                ClusterStatus::New | ClusterStatus::Reporting => 2,
            };
            return ((rank, -last_ms), None);
        }
        ClusterSort::Id => 0,
        ClusterSort::LastReport => last_ms,
        ClusterSort::Series => cluster.series().0.into(),
        ClusterSort::Filtered => cluster.series().1.into(),
        ClusterSort::Drift => i64::from(cluster.drift_ms()).abs(),
        ClusterSort::Refused => i64::try_from(cluster.refused()).unwrap_or(i64::MAX),
        ClusterSort::Version => return ((0, 0), Some(cluster.label(0))),
    };
    ((0, number), None)
}

/// Compares texts so that `4.9` comes before `4.10`.
fn compare_natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let number = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits_a, digits_b) = (number(a), number(b));
        if digits_a > 0 && digits_b > 0 {
            let (number_a, number_b) = (a[..digits_a].trim_start_matches('0'), b[..digits_b].trim_start_matches('0'));
            let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[digits_a..], &b[digits_b..]);
            continue;
        }
        let (mut chars_a, mut chars_b) = (a.chars(), b.chars());
        match (chars_a.next(), chars_b.next()) {
            (None, None) => return Ordering::Equal,
            (one, other) if one == other => (a, b) = (chars_a.as_str(), chars_b.as_str()),
            (one, other) => return one.cmp(&other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let mut versions = ["4.10.1", "4.9", "", "4.9.12", "4.9.2", "4.9.2-rc.1", "5", "4.09.3", "abc"];
        versions.sort_by(|a, b| compare_natural(a, b));
        assert_eq!(versions, ["", "4.9", "4.9.2", "4.9.2-rc.1", "4.09.3", "4.9.12", "4.10.1", "5", "abc"]);
    }

    #[test]
    fn a_search_finds_part_of_the_id_and_the_beginning_of_a_label() {
        assert!(contains("aBcd", "bc") && !contains("abcd", "bd") && contains("Ärger", "är") && contains("a", "a"));
        assert!(begins("AWS", "aws") && begins("4.16.9", "4.16") && !begins("4.16.9", "16") && begins("Ära", "är"));
    }
}
