//! `/clusters/{id}`: what one cluster sends.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use http::{StatusCode, Uri};
use telemeter_fleet::recent_store::{ClusterDetail, SeriesRow, is_reporting};
use telemeter_rules::Selector;
use telemeter_wire::{Label, MetricType, series::value_of};

use super::{
    Frame, Pages, human,
    listing::{Listing, Pager, path_segment},
    message, page, sparkline,
};

#[derive(Template)]
#[template(path = "cluster.html")]
struct ClusterPage {
    frame: Frame,
    id: String,
    federate: Option<String>,
    is_reporting: bool,
    ago: String,
    utc: String,
    datetime: String,
    series: String,
    families: String,
    per_minute: String,
    samples: String,
    bytes: String,
    histograms: usize,
    window: String,
    chart: String,
    listing: Listing,
    wrong: Option<String>,
    groups: Vec<Group>,
    matched: usize,
    pager: Option<Pager>,
}

/// The series of one metric name.
struct Group {
    name: String,
    kind: &'static str,
    rows: Vec<Row>,
}

struct Row {
    labels: Vec<(String, String)>,
    is_current: bool,
    is_ended: bool,
    value: String,
    short: String,
    ago: String,
    utc: String,
    datetime: String,
    chart: String,
}

impl Row {
    fn new(row: SeriesRow, id: &str, since_ms: i64, now_ms: i64) -> Self {
        let newest = row.points.last().copied().expect("a series that is held has a sample");
        Self {
            // The label that names the cluster is the same all over the page.
            labels: row.labels.into_iter().filter(|(_, value)| value != id).collect(),
            is_current: is_reporting(newest.ms, now_ms),
            is_ended: newest.is_stale(),
            value: human::go(newest.value),
            short: human::short(newest.value),
            ago: human::ago(newest.ms, now_ms),
            utc: human::utc(newest.ms),
            datetime: human::rfc3339(newest.ms),
            chart: sparkline::of_points(&row.points, since_ms, now_ms),
        }
    }
}

/// What a search of series means: a selector where it has braces, else a part of the metric name.
enum Search {
    Name(String),
    Selector(Selector),
}

impl Search {
    fn of(text: &str) -> Result<Self, String> {
        if text.contains('{') {
            return Selector::parse(text).map(Self::Selector).map_err(|error| error.to_string());
        }
        Ok(Self::Name(text.to_lowercase()))
    }

    fn matches(&self, labels: &[Label<'_>]) -> bool {
        match self {
            Self::Name(part) => value_of(labels, "__name__").unwrap_or("").to_lowercase().contains(part),
            Self::Selector(selector) => selector.matches(labels),
        }
    }
}

/// Shows a cluster; 404 where none of that ID is held, 400 where the search is no selector.
pub(super) async fn cluster(State(pages): State<Pages>, Path(id): Path<String>, uri: Uri) -> Response {
    let listing = Listing::of(&format!("/clusters/{}", path_segment(&id)), uri.query());
    let (search, wrong) = match Search::of(&listing.search) {
        Ok(search) => (search, None),
        Err(wrong) => (Search::Name(String::new()), Some(wrong)),
    };
    let status = if wrong.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let view = pages
        .read(move |store, now_ms| {
            let detail = store.cluster(&id, now_ms, |labels| search.matches(labels), listing.rows())?;
            let window_ms = i64::try_from(store.config().window.as_millis()).unwrap_or(i64::MAX);
            Some(view(id, detail, listing, wrong, now_ms, window_ms))
        })
        .await;
    match view {
        Some(view) => page(status, &view),
        None => message(
            StatusCode::NOT_FOUND,
            "No such cluster here",
            "Nothing of a cluster with this ID is held. It may have been silent for longer than the window, or be \
             reporting to another replica of the server.",
        ),
    }
}

fn view(
    id: String,
    detail: ClusterDetail,
    listing: Listing,
    wrong: Option<String>,
    now_ms: i64,
    window_ms: i64,
) -> ClusterPage {
    let ClusterDetail { cluster, families, histograms, bytes, found } = detail;
    let since_ms = cluster.since_ms.max(now_ms.saturating_sub(window_ms));
    let is_partition = |(name, value): &&(String, String)| (*value == id).then(|| name.clone());
    let partition = found.rows.iter().find_map(|row| row.labels.iter().find_map(|label| is_partition(&label)));
    let mut groups = Vec::<Group>::new();
    for mut row in found.rows {
        let name = std::mem::take(&mut row.name);
        let kind = kind(row.kind);
        let row = Row::new(row, &id, since_ms, now_ms);
        match groups.last_mut() {
            Some(group) if group.name == name => group.rows.push(row),
            _ => groups.push(Group { name, kind, rows: vec![row] }),
        }
    }
    ClusterPage {
        frame: Frame::new("clusters"),
        federate: partition.map(|name| federate_link(&name, &id)),
        is_reporting: is_reporting(cluster.seen_ms, now_ms),
        ago: human::ago(cluster.seen_ms, now_ms),
        utc: human::utc(cluster.seen_ms),
        datetime: human::rfc3339(cluster.seen_ms),
        series: human::count(cluster.series),
        families: human::count(families),
        per_minute: human::rate(cluster.per_minute),
        samples: human::count(cluster.samples),
        bytes: human::bytes(bytes),
        histograms,
        window: human::duration(window_ms / 1000),
        chart: sparkline::of_rates(&cluster.activity),
        pager: if wrong.is_some() { None } else { listing.pager(found.matched) },
        wrong,
        groups,
        matched: found.matched,
        listing,
        id,
    }
}

/// The address that a Prometheus finds the series at whose label `name` is `value`.
pub(super) fn federate_link(name: &str, value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("match[]", &format!("{{{name}=\"{value}\"}}"));
    format!("/federate?{}", query.finish())
}

/// What a type is called; nothing for what nobody said.
const fn kind(kind: MetricType) -> &'static str {
    match kind {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Summary => "summary",
        MetricType::Untyped => "",
        MetricType::Histogram => "histogram",
        MetricType::GaugeHistogram => "gauge histogram",
    }
}
