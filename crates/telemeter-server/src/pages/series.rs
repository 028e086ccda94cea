//! The series of one cluster in the recent store: a section of the cluster's page.

use telemeter_fleet::recent_store::{RecentStore, SeriesRow, is_reporting};
use telemeter_rules::Selector;
use telemeter_wire::{Label, MetricType, series::value_of};

use super::{
    human::{self, ShownTime},
    listing::{Listing, Pager, family_link},
    sparkline,
};

/// The section of the page.
pub(super) struct SeriesSection {
    pub(super) series: String,
    pub(super) families: String,
    pub(super) per_minute: String,
    /// The time that the rate was measured over.
    pub(super) seen: String,
    pub(super) samples: String,
    pub(super) bytes: String,
    /// How many series were native histograms, which the recent store does not keep.
    pub(super) histograms: Option<String>,
    pub(super) window: String,
    pub(super) chart: String,
    pub(super) federate: Option<String>,
    pub(super) groups: Vec<SeriesGroup>,
    pub(super) matched: String,
    pub(super) pager: Option<Pager>,
    /// What is wrong with the search.
    pub(super) wrong: Option<String>,
}

/// The series of one metric name.
pub(super) struct SeriesGroup {
    pub(super) name: String,
    pub(super) link: String,
    pub(super) kind: &'static str,
    pub(super) rows: Vec<SeriesPageRow>,
}

/// A series.
pub(super) struct SeriesPageRow {
    pub(super) labels: Vec<(String, String)>,
    pub(super) is_current: bool,
    pub(super) is_ended: bool,
    /// Its name and labels, as it was sent.
    pub(super) exact: String,
    pub(super) value: String,
    pub(super) at: ShownTime,
    pub(super) chart: String,
}

impl SeriesPageRow {
    fn new(row: SeriesRow, id: &str, since_ms: i64, now_ms: i64) -> Option<Self> {
        let newest = row.points.last().copied()?;
        Some(Self {
            // The partition label is the same in every row.
            labels: row.labels.into_iter().filter(|(_, value)| value != id).collect(),
            is_current: is_reporting(newest.ms, now_ms),
            is_ended: newest.is_stale(),
            exact: human::go(newest.value),
            value: human::short(newest.value),
            at: ShownTime::new(newest.ms, now_ms),
            chart: sparkline::of_points(&row.points, since_ms, now_ms),
        })
    }
}

/// A search for series: a selector where it has braces, else part of the metric name.
pub(super) enum Search {
    Name(String),
    Selector(Selector),
}

impl Search {
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(text: &str) -> Result<Self, String> {
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

/// Reads the series of a cluster; `None` where the store has none.
pub(super) fn section(
    store: &RecentStore,
    id: &str,
    search: &Search,
    wrong: Option<String>,
    listing: &Listing,
    now_ms: i64,
) -> Option<SeriesSection> {
    let part = listing.part();
    let rows = part.offset..part.offset.saturating_add(part.limit);
    let detail = store.cluster(id, now_ms, |labels| search.matches(labels), rows)?;
    let window_ms = i64::try_from(store.config().window.as_millis()).unwrap_or(i64::MAX);
    let (cluster, found) = (detail.cluster, detail.found);
    let since_ms = cluster.since_ms.max(now_ms.saturating_sub(window_ms));
    let is_partition = |(name, value): &&(String, String)| (*value == id).then(|| name.clone());
    let partition = found.rows.iter().find_map(|row| row.labels.iter().find_map(|label| is_partition(&label)));
    let mut groups = Vec::<SeriesGroup>::new();
    for mut row in found.rows {
        let name = std::mem::take(&mut row.name);
        let kind = kind(row.kind);
        let Some(row) = SeriesPageRow::new(row, id, since_ms, now_ms) else { continue };
        match groups.last_mut() {
            Some(group) if group.name == name => group.rows.push(row),
            _ => groups.push(SeriesGroup { link: family_link(&name), name, kind, rows: vec![row] }),
        }
    }
    Some(SeriesSection {
        series: human::count(cluster.series),
        families: human::count(detail.families),
        per_minute: human::rate(cluster.per_minute),
        seen: human::duration((now_ms.saturating_sub(since_ms) / 1000).max(60)),
        samples: human::count(cluster.samples),
        bytes: human::bytes(detail.bytes),
        histograms: (detail.histograms > 0).then(|| human::count(detail.histograms)),
        window: human::duration(window_ms / 1000),
        chart: sparkline::of_rates(&cluster.activity),
        federate: partition.map(|name| federate_link(&name, id)),
        groups,
        matched: human::count(found.matched),
        pager: if wrong.is_some() { None } else { listing.pager(found.matched) },
        wrong,
    })
}

/// The link to `/federate` for the series whose label `name` has this value.
pub(super) fn federate_link(name: &str, value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("match[]", &format!("{{{name}=\"{value}\"}}"));
    format!("/federate?{}", query.finish())
}

/// The name of a type; empty where the type is not known.
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
