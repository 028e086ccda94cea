//! `/clusters`: the list of all clusters, searched, filtered, sorted.

use askama::Template;
use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use telemeter_fleet::ClusterStatus;

use super::{
    PageFrame, Pages,
    human::{self, ShownTime},
    listing::{Choice, Heading, Listing, Pager, SortColumn, cluster_link, refused_link},
    page,
};
use crate::fleet_view::{
    FleetView,
    clusters::{ClusterQuery, ClusterRow, ClusterSort},
    summary::ClusterCounts,
};

#[derive(Template)]
#[template(path = "clusters.html")]
struct Clusters {
    frame: PageFrame,
    listing: Listing,
    hint: String,
    choices: Vec<Choice>,
    headings: Vec<Heading>,
    /// Whether there are no fleet labels, so that the last column cannot be sorted by.
    has_no_labels: bool,
    /// The heading of the last column.
    first_label: String,
    rows: Vec<ClusterPageRow>,
    matched: String,
    is_unknown_fleet: bool,
    evicted: Option<String>,
    csv: String,
    json: String,
    pager: Option<Pager>,
}

struct ClusterPageRow {
    id: String,
    link: String,
    status: StatusWord,
    last_report: Option<ShownTime>,
    refusal: Option<ClusterRefusal>,
    series: String,
    filtered: String,
    has_filtered: bool,
    drift: String,
    is_adrift: bool,
    version: String,
    labels: Vec<String>,
}

struct ClusterRefusal {
    at: ShownTime,
    reason: &'static str,
    text: String,
    link: String,
}

/// A status as a page shows it: a word and a colour.
#[derive(Clone, Copy)]
pub(super) struct StatusWord {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    /// `good`, `new`, `bad` or `warn`.
    pub(super) state: &'static str,
}

impl StatusWord {
    /// The word and the colour of the status with this name; those of `Reporting` for an unknown name.
    pub(super) fn of(name: &str) -> Self {
        let status = ClusterStatus::from_name(name).unwrap_or(ClusterStatus::Reporting);
        let (text, state) = match status {
            ClusterStatus::Silent => ("Silent", "bad"),
            ClusterStatus::Refused => ("Refused", "warn"),
            ClusterStatus::New => ("New", "new"),
            ClusterStatus::Reporting => ("Reporting", "good"),
        };
        Self { name: status.name(), text, state }
    }
}

/// A clock that is off by more than this is marked.
const ADRIFT_SECONDS: f64 = 300.0;

impl ClusterPageRow {
    fn new(row: ClusterRow, label_names: &[String], now_ms: i64) -> Self {
        let labels = label_names.iter().filter_map(|name| row.labels.get(name).cloned());
        let refusal = row.last_refusal.map(|last| ClusterRefusal {
            at: ShownTime::new(last.at.0, now_ms),
            link: refused_link(&[("cluster", &row.id)]),
            reason: last.reason,
            text: last.text,
        });
        let mut labels: Vec<String> = labels.collect();
        let version = match label_names.first() {
            None => row.client,
            Some(first) if row.labels.contains_key(first) => labels.remove(0),
            Some(_) => String::new(),
        };
        Self {
            link: cluster_link(&row.id),
            status: StatusWord::of(row.status),
            last_report: row.last_report.map(|at| ShownTime::new(at.0, now_ms)),
            refusal,
            series: human::count(row.series),
            filtered: human::count(row.filtered),
            has_filtered: row.filtered > 0,
            drift: if row.last_report.is_some() { human::drift(row.drift_seconds) } else { String::new() },
            is_adrift: row.drift_seconds.abs() > ADRIFT_SECONDS,
            version,
            labels,
            id: row.id,
        }
    }
}

/// The columns that the list can be sorted by; without `sort` it is sorted by status.
fn columns(first_label: &str) -> [SortColumn; 8] {
    let column = SortColumn::new;
    [
        column("id", "Cluster", "The ID that it reports under", false, false),
        column("", "Status", "Silent first, then refused; each the one that reported last first", false, false),
        column("last_report", "Last report", "Its last accepted upload or remote write", false, true),
        column("refused", "Last refusal", "Sorted by how often it was refused", false, true),
        column("series", "Series", "Series of its last report that passed", true, true),
        column("filtered", "Dropped", "Series of its last report that no rule of the whitelist lets in", true, true),
        column("drift", "Drift", "How far its clock is ahead of ours (+) or behind (\u{2212})", true, true),
        column("version", first_label, "The first fleet label; 4.9 comes before 4.10", false, true),
    ]
}

/// Shows a part of the clusters.
pub(super) async fn clusters(State(pages): State<Pages>, uri: Uri) -> Response {
    let listing = Listing::of("/clusters", uri.query(), &["status"]);
    page(StatusCode::OK, &pages.view.read(move |view| clusters_page(view, listing)).await)
}

/// The page with the clusters that the listing selects. A status or an order that does not exist is ignored, and left
/// out of the links.
fn clusters_page(view: &FleetView, listing: Listing) -> Clusters {
    let now_ms = view.now_ms();
    let label_names = &view.gateway().fleet.registry.config().labels;
    let status = ClusterStatus::from_name(listing.filter("status"));
    let listing = if status.is_none() { listing.without("status") } else { listing };
    let query = ClusterQuery {
        search: listing.search.clone(),
        status,
        silent_for: None,
        sort: ClusterSort::from_name(&listing.sort).unwrap_or_default(),
        descending: listing.is_descending,
    };
    let found = view.find_clusters(&query, listing.part());
    // A cluster that is forgotten meanwhile is left out.
    let rows = found.ids.iter().filter_map(|id| view.cluster_row(id));
    let rows = rows.map(|row| ClusterPageRow::new(row, label_names, now_ms)).collect();
    let first_label = label_names.first().map_or_else(|| "Client".to_owned(), |name| capitalized(name));
    let mut headings: Vec<Heading> = listing.columns(columns(&first_label), "").into();
    if label_names.is_empty() {
        headings.pop();
    }
    // An order that the API does not know is left out of the links to it.
    let api = Listing { path: "/api/v1/clusters".to_owned(), ..listing.clone() };
    let api = if ClusterSort::from_name(&api.sort).is_some() { api } else { Listing { sort: String::new(), ..api } };
    let api_link = |more: &[(&str, &str)]| format!("{}?{}", api.path, api.query(more));
    Clusters {
        frame: PageFrame::new("clusters", view),
        hint: hint(label_names),
        choices: choices(&listing, &found.counts),
        has_no_labels: label_names.is_empty(),
        headings,
        first_label,
        rows,
        matched: human::count(found.total),
        is_unknown_fleet: view.gateway().fleet.registry.is_empty(),
        evicted: (found.counts.evicted > 0).then(|| human::count(found.counts.evicted)),
        csv: api_link(&[("limit", "0"), ("format", "csv")]),
        json: api_link(&[("limit", "0")]),
        pager: listing.pager(found.total),
        listing,
    }
}

pub(super) fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn hint(label_names: &[String]) -> String {
    match label_names {
        [] => "part of an ID".to_owned(),
        names => format!("part of an ID, or the beginning of a {}", names.join(" or ")),
    }
}

/// The links that filter the list by status, each with its number of clusters; the first one is for all.
fn choices(listing: &Listing, counts: &ClusterCounts) -> Vec<Choice> {
    let chosen = listing.filter("status");
    let all = Choice {
        text: "All".to_owned(),
        count: human::count(counts.total),
        link: listing.link_with("status", ""),
        is_chosen: chosen.is_empty(),
        name: "all",
    };
    let others = ClusterStatus::ALL.into_iter().map(|status| Choice {
        text: StatusWord::of(status.name()).text.to_owned(),
        count: human::count(counts.of(status)),
        link: listing.link_with("status", status.name()),
        is_chosen: chosen == status.name(),
        name: status.name(),
    });
    std::iter::once(all).chain(others).collect()
}
