//! `/families`: which metrics the fleet sends, which rules let nothing in, and what the whitelist drops.

use askama::Template;
use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};

use super::{
    PageFrame, Pages, human,
    listing::{Heading, Listing, Pager, SortColumn, family_link},
    overview::{DroppedBar, dropped_bars},
    page,
};
use crate::fleet_view::{
    FleetView,
    metrics::{MetricList, MetricQuery, MetricSort},
};

/// How many dropped names are shown without a search.
const DROPPED: usize = 20;

#[derive(Template)]
#[template(path = "families.html")]
struct FamiliesPage {
    frame: PageFrame,
    listing: Listing,
    has_store: bool,
    clusters: String,
    headings: [Heading; 3],
    rows: Vec<FamilyPageRow>,
    matched: String,
    /// Shown in place of the rule where there is none.
    without_rule: &'static str,
    rules: String,
    has_whitelist: bool,
    unmatched: Vec<String>,
    unmatched_count: String,
    dropped: Vec<DroppedBar>,
    json: String,
    pager: Option<Pager>,
}

struct FamilyPageRow {
    name: String,
    link: String,
    clusters: String,
    percent: u8,
    share: String,
    series: String,
    rule: Option<String>,
}

/// The columns of the table, each with the direction that it sorts in at the first click.
fn columns() -> [SortColumn; 3] {
    let column = SortColumn::new;
    [
        column("name", "Metric", "The metric name: a family of series", false, false),
        column("clusters", "Clusters", "How many clusters send it", true, true),
        column("series", "Series", "How many series of it all clusters send", true, true),
    ]
}

/// Shows the metric names of all clusters.
pub(super) async fn families(State(pages): State<Pages>, uri: Uri) -> Response {
    let listing = Listing::of("/families", uri.query(), &[]);
    page(StatusCode::OK, &pages.view.read(move |view| families_page(view, listing)).await)
}

/// The page with the metrics that the listing selects, the rules without series, and at most [`DROPPED`] names that the
/// whitelist drops. An unknown order sorts by name.
fn families_page(view: &FleetView, listing: Listing) -> FamiliesPage {
    let sort = match listing.sort.as_str() {
        "clusters" => MetricSort::Clusters,
        "series" => MetricSort::Series,
        _ => MetricSort::Name,
    };
    let query = MetricQuery { search: listing.search.clone(), sort, descending: listing.is_descending };
    let metrics = view.metrics(&query, listing.part());
    let MetricList { total, whole, clusters, items, mut dropped, rules, unmatched_rules, .. } = metrics;
    dropped.truncate(DROPPED);
    let rows = items.into_iter().map(|row| {
        let share = row.clusters as f64 / clusters.max(1) as f64;
        FamilyPageRow {
            link: family_link(&row.name),
            clusters: human::count(row.clusters),
            percent: (share * 100.0).clamp(0.0, 100.0) as u8,
            share: human::percent(share),
            series: human::count(row.series),
            rule: row.rule,
            name: row.name,
        }
    });
    let api = if listing.search.is_empty() {
        "/api/v1/metrics?limit=0".to_owned()
    } else {
        format!(
            "/api/v1/metrics?{}",
            Listing { search: listing.search.clone(), ..Listing::default() }.query(&[("limit", "0")])
        )
    };
    FamiliesPage {
        frame: PageFrame::new("families", view),
        has_store: whole,
        clusters: human::count(clusters),
        headings: listing.columns(columns(), "name"),
        rows: rows.collect(),
        matched: human::count(total),
        without_rule: if rules == 0 { "no whitelist" } else { "no rule any more" },
        rules: human::count(rules),
        has_whitelist: rules > 0,
        unmatched_count: human::count(unmatched_rules.len()),
        unmatched: unmatched_rules,
        dropped: dropped_bars(dropped.iter().map(|one| (one.name.as_str(), one.series_total))),
        json: api,
        pager: listing.pager(total),
        listing,
    }
}
