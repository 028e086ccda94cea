//! `/` for a browser: the fleet at a glance, and its clusters.

use askama::Template;
use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use telemeter_fleet::recent_store::{ClusterOrder, ClusterRow, Order, Totals, is_reporting};

use super::{
    Frame, Pages, human,
    listing::{Column, Heading, Listing, Pager, path_segment},
    page, sparkline,
};

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: Frame,
    fleet: Fleet,
    listing: Listing,
    headings: [Heading; 4],
    rows: Vec<Row>,
    matched: usize,
    pager: Option<Pager>,
}

/// [`Totals`], as they are read.
struct Fleet {
    clusters: String,
    is_empty: bool,
    reporting: String,
    silent: usize,
    series: String,
    samples: String,
    bytes: String,
    max_bytes: String,
    percent: usize,
    share: String,
    window: String,
    evictions: u64,
}

impl Fleet {
    fn new(totals: &Totals) -> Self {
        let percent = totals.bytes.saturating_mul(100).checked_div(totals.max_bytes).unwrap_or(100).min(100);
        let seconds = i64::try_from(totals.window.as_secs()).unwrap_or(i64::MAX);
        Self {
            clusters: human::count(totals.clusters),
            is_empty: totals.clusters == 0,
            reporting: human::count(totals.reporting),
            silent: totals.clusters - totals.reporting,
            series: human::count(totals.series),
            samples: human::count(totals.samples),
            bytes: human::bytes(totals.bytes),
            max_bytes: human::bytes(totals.max_bytes),
            percent,
            share: if percent == 0 && totals.bytes > 0 { "under 1".to_owned() } else { percent.to_string() },
            window: human::duration(seconds),
            evictions: totals.evictions,
        }
    }
}

struct Row {
    id: String,
    link: String,
    is_reporting: bool,
    ago: String,
    utc: String,
    datetime: String,
    series: String,
    per_minute: String,
    chart: String,
}

impl Row {
    fn new(row: &ClusterRow, now_ms: i64) -> Self {
        Self {
            id: row.id.to_string(),
            link: format!("/clusters/{}", path_segment(&row.id)),
            is_reporting: is_reporting(row.seen_ms, now_ms),
            ago: human::ago(row.seen_ms, now_ms),
            utc: human::utc(row.seen_ms),
            datetime: human::rfc3339(row.seen_ms),
            series: human::count(row.series),
            per_minute: human::rate(row.per_minute),
            chart: sparkline::of_rates(&row.activity),
        }
    }
}

const COLUMNS: [Column; 4] = [
    Column { sort: "id", text: "Cluster", hint: "The ID that the cluster reports under", first: Order::Ascending },
    Column { sort: "seen", text: "Last seen", hint: "When its last push was forwarded", first: Order::Descending },
    Column {
        sort: "series",
        text: "Series",
        hint: "One metric name with one set of labels is one series",
        first: Order::Descending,
    },
    Column {
        sort: "rate",
        text: "Samples/min",
        hint: "Values a minute, on average over the window",
        first: Order::Descending,
    },
];

/// `GET /` for a browser: see [`wants_html`](super::wants_html).
pub async fn overview(State(pages): State<Pages>, uri: Uri) -> Response {
    let listing = Listing::of("/", uri.query());
    let by = match listing.sort.as_str() {
        "seen" => ClusterOrder::Seen,
        "series" => ClusterOrder::Series,
        "rate" => ClusterOrder::Rate,
        _ => ClusterOrder::Id,
    };
    let view = pages
        .read(move |store, now_ms| {
            let totals = store.totals(now_ms);
            let search = listing.search.to_lowercase();
            let matches = |id: &str| search.is_empty() || id.to_lowercase().contains(&search);
            let found = store.clusters(now_ms, matches, by, listing.order, listing.rows());
            Overview {
                frame: Frame::new("clusters"),
                fleet: Fleet::new(&totals),
                headings: listing.columns(COLUMNS),
                rows: found.rows.iter().map(|row| Row::new(row, now_ms)).collect(),
                matched: found.matched,
                pager: listing.pager(found.matched),
                listing,
            }
        })
        .await;
    page(StatusCode::OK, &view)
}
