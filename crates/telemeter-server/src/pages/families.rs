//! `/families`: which metrics the fleet sends.

use askama::Template;
use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use telemeter_fleet::recent_store::{FamilyOrder, Order};

use super::{
    Frame, Pages,
    cluster::federate_link,
    human,
    listing::{Column, Heading, Listing, Pager},
    page,
};

#[derive(Template)]
#[template(path = "families.html")]
struct Families {
    frame: Frame,
    clusters: String,
    is_empty: bool,
    listing: Listing,
    headings: [Heading; 3],
    rows: Vec<Row>,
    matched: usize,
    pager: Option<Pager>,
}

struct Row {
    name: String,
    clusters: String,
    share: usize,
    series: String,
    federate: String,
}

const COLUMNS: [Column; 3] = [
    Column { sort: "name", text: "Metric", hint: "The metric name: a family of series", first: Order::Ascending },
    Column { sort: "clusters", text: "Clusters", hint: "How many clusters send it", first: Order::Descending },
    Column {
        sort: "series",
        text: "Series",
        hint: "How many series of it all clusters send",
        first: Order::Descending,
    },
];

/// Shows the metric names of all clusters.
pub(super) async fn families(State(pages): State<Pages>, uri: Uri) -> Response {
    let listing = Listing::of("/families", uri.query());
    let by = match listing.sort.as_str() {
        "clusters" => FamilyOrder::Clusters,
        "series" => FamilyOrder::Series,
        _ => FamilyOrder::Name,
    };
    let view = pages
        .read(move |store, now_ms| {
            let totals = store.totals(now_ms);
            let search = listing.search.to_lowercase();
            let matches = |name: &str| search.is_empty() || name.to_lowercase().contains(&search);
            let found = store.families(matches, by, listing.order, listing.rows());
            let rows = found.rows.into_iter().map(|row| Row {
                clusters: human::count(row.clusters),
                share: (row.clusters * 100).checked_div(totals.clusters).unwrap_or(0).min(100),
                series: human::count(row.series),
                federate: federate_link("__name__", &row.name),
                name: row.name,
            });
            Families {
                frame: Frame::new("families"),
                clusters: human::count(totals.clusters),
                is_empty: totals.clusters == 0,
                headings: listing.columns(COLUMNS),
                rows: rows.collect(),
                matched: found.matched,
                pager: listing.pager(found.matched),
                listing,
            }
        })
        .await;
    page(StatusCode::OK, &view)
}
