//! `/clusters/{id}`: one cluster, with its state, its last requests, its limits, its alerts and its series.

use std::fmt::Write;

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use http::{StatusCode, Uri};
use telemeter_fleet::Reason;

use super::{
    PageFrame, Pages,
    clusters::{StatusWord, capitalized},
    human::{self, ShownTime},
    listing::{Listing, cluster_link, refused_link},
    page,
    refused::{PageText, split_code},
    series::{Search, SeriesSection, section},
};
use crate::{
    fleet_view::{
        FleetView, ListPart,
        cluster::{ClusterDetails, ExchangeRow, FiringAlert, UNKNOWN},
        refusals::{RefusalQuery, RefusalRow},
    },
    refusals::explain,
};

#[derive(Template)]
#[template(path = "cluster.html")]
struct ClusterPage {
    frame: PageFrame,
    listing: Listing,
    id: String,
    status: StatusWord,
    /// The state as a sentence: the status, and the rest of the sentence.
    verdict: String,
    state: Vec<PageText>,
    labels: Vec<(String, String)>,
    client: String,
    peer: String,
    first_seen: ShownTime,
    last_report: Option<ShownTime>,
    interval: String,
    series: String,
    filtered: String,
    has_filtered: bool,
    bytes: String,
    drift: String,
    reports: String,
    limits: Vec<LimitRow>,
    alerts: Option<Vec<AlertRow>>,
    has_store: bool,
    refusals: Vec<RefusalLine>,
    refused_link: String,
    exchanges: Vec<ExchangeMark>,
    timeline: String,
    timeline_span: String,
    section: Option<SeriesSection>,
}

/// A limit, and how much of it the cluster uses.
struct LimitRow {
    id: &'static str,
    name: &'static str,
    /// How much the cluster uses now.
    now: String,
    limit: String,
    /// The same as a share of the limit, from 0 to 100.
    percent: Option<u8>,
}

/// Alerts of one name and severity.
struct AlertRow {
    name: String,
    severity: String,
    count: Option<String>,
    since: ShownTime,
    state: &'static str,
}

struct RefusalLine {
    route: &'static str,
    reason: &'static str,
    meaning: &'static str,
    count: String,
    link: String,
}

struct ExchangeMark {
    at: ShownTime,
    route: &'static str,
    outcome: &'static str,
    is_accepted: bool,
    link: String,
    meaning: &'static str,
}

#[derive(Template)]
#[template(path = "unknown_cluster.html")]
struct UnknownCluster {
    frame: PageFrame,
    id: String,
    meaning: &'static str,
    claims: Vec<Claim>,
    search: String,
}

/// A refusal of a caller that claimed to be the cluster.
struct Claim {
    peer: String,
    route: &'static str,
    reason: &'static str,
    meaning: &'static str,
    status: u16,
    count: String,
    last: ShownTime,
    link: String,
}

/// Shows a cluster; 404 where it is not known, 400 where the search is no selector.
pub(super) async fn cluster(State(pages): State<Pages>, Path(id): Path<String>, uri: Uri) -> Response {
    let listing = Listing::of(&cluster_link(&id), uri.query(), &[]);
    let (search, wrong) = match Search::of(&listing.search) {
        Ok(search) => (search, None),
        Err(wrong) => (Search::Name(String::new()), Some(wrong)),
    };
    let status = if wrong.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let read = move |view: &FleetView| {
        let Some(details) = view.cluster(&id) else { return page(StatusCode::NOT_FOUND, &unknown_cluster(view, id)) };
        let store = view.gateway().recent_store.as_deref();
        let section = store.and_then(|store| section(store, &id, &search, wrong, &listing, view.now_ms()));
        page(status, &cluster_page(view, details, listing, section))
    };
    pages.view.read(read).await
}

/// The page for an ID that the registry does not know: why that may be, and the refusals of callers that claimed it.
fn unknown_cluster(view: &FleetView, id: String) -> UnknownCluster {
    let query = RefusalQuery { cluster: Some(id.clone()), ..RefusalQuery::default() };
    let claims = view.refusals(&query, ListPart { offset: 0, limit: 20 });
    UnknownCluster {
        frame: PageFrame::new("clusters", view),
        meaning: UNKNOWN,
        claims: claims.items.into_iter().map(|row| Claim::new(row, &id, view.now_ms())).collect(),
        search: format!("/clusters?{}", Listing { search: id.clone(), ..Listing::default() }.query(&[])),
        id,
    }
}

impl Claim {
    fn new(row: RefusalRow, id: &str, now_ms: i64) -> Self {
        Self {
            peer: row.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            route: row.route,
            reason: row.reason,
            meaning: row.meaning,
            status: row.status,
            count: human::count(row.count),
            last: ShownTime::new(row.last.0, now_ms),
            link: refused_link(&[("cluster", id), ("reason", row.reason)]),
        }
    }
}

/// The page of a cluster; `section` is its series, where they were asked for.
fn cluster_page(
    view: &FleetView,
    details: ClusterDetails,
    listing: Listing,
    section: Option<SeriesSection>,
) -> ClusterPage {
    let now_ms = view.now_ms();
    let limits = limits(&details, now_ms);
    let (verdict, said) = details.state.split_at(details.state.find([':', ',']).unwrap_or(details.state.len()));
    let ClusterDetails { row, exchanges, alerts, .. } = &details;
    let mut labels: Vec<(String, String)> = Vec::new();
    for name in &view.gateway().fleet.registry.config().labels {
        labels.extend(row.labels.get(name).map(|value| (name.clone(), value.clone())));
    }
    let lines = row.refusals.iter().map(|one| RefusalLine {
        route: one.route,
        reason: one.reason,
        meaning: meaning(one.reason),
        count: human::count(one.count),
        link: refused_link(&[("cluster", &row.id), ("reason", one.reason)]),
    });
    ClusterPage {
        frame: PageFrame::new("clusters", view),
        listing,
        status: StatusWord::of(row.status),
        verdict: capitalized(verdict),
        state: split_code(said),
        labels,
        client: row.client.clone(),
        peer: row.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        first_seen: ShownTime::new(row.first_seen.0, now_ms),
        last_report: row.last_report.map(|at| ShownTime::new(at.0, now_ms)),
        interval: row.interval_seconds.map(|seconds| human::duration_exact(seconds as i64)).unwrap_or_default(),
        series: human::count(row.series),
        filtered: human::count(row.filtered),
        has_filtered: row.filtered > 0,
        bytes: human::bytes(row.bytes as usize),
        drift: human::drift(row.drift_seconds),
        reports: human::count(u64::from(row.uploads_total) + u64::from(row.receives_total)),
        limits,
        alerts: alerts.as_ref().map(|alerts| group_alerts(alerts.clone(), now_ms)),
        has_store: view.gateway().recent_store.is_some(),
        refusals: lines.collect(),
        refused_link: refused_link(&[("cluster", &row.id)]),
        timeline: timeline(exchanges, now_ms),
        timeline_span: exchanges.last().map(|first| human::ago(first.at.0, now_ms)).unwrap_or_default(),
        exchanges: exchanges.iter().map(|one| exchange_mark(one, &row.id, now_ms)).collect(),
        section,
        id: row.id.clone(),
    }
}

fn meaning(reason: &str) -> &'static str {
    Reason::from_name(reason).map_or("", |reason| explain(reason).meaning)
}

/// A request of the cluster as a mark of the timeline; a refused one links to the refusals for its reason.
fn exchange_mark(one: &ExchangeRow, id: &str, now_ms: i64) -> ExchangeMark {
    let is_accepted = one.outcome == "accepted";
    ExchangeMark {
        at: ShownTime::new(one.at.0, now_ms),
        route: one.route,
        outcome: one.outcome,
        is_accepted,
        link: if is_accepted { String::new() } else { refused_link(&[("cluster", id), ("reason", one.outcome)]) },
        meaning: meaning(one.outcome),
    }
}

/// The rows of the limits: the size of the last request, where one was accepted; the rate of uploads, where they are
/// limited; and the requests at once.
fn limits(details: &ClusterDetails, now_ms: i64) -> Vec<LimitRow> {
    let (row, limits) = (&details.row, &details.limits);
    let is_upload = row.last_upload >= row.last_receive;
    let mut rows = Vec::new();
    if let Some(share) = limits.last_report_share {
        let (name, cap_bytes) = if is_upload {
            ("Upload, decompressed", limits.limit_bytes)
        } else {
            ("Remote write, compressed", limits.limit_receive_bytes)
        };
        rows.push(LimitRow {
            id: "limit-bytes",
            name,
            now: human::bytes(row.bytes as usize),
            limit: format!("{} of {}", human::percent(share), human::bytes(cap_bytes)),
            percent: Some((share * 100.0).clamp(0.0, 100.0) as u8),
        });
    }
    if let Some(period) = limits.rate_limit_seconds {
        let now = match limits.next_upload_at {
            Some(at) => format!("the next {}", human::ago(at.0, now_ms)).replace("just now", "at once"),
            None => "the next at once".to_owned(),
        };
        let period = i64::try_from(period).unwrap_or(i64::MAX);
        rows.push(LimitRow {
            id: "limit-rate",
            name: "Uploads",
            now,
            limit: format!("one every {}", human::duration_exact(period)),
            percent: None,
        });
    }
    let share = limits.requests_under_way as f64 / limits.limit_concurrent.max(1) as f64;
    rows.push(LimitRow {
        id: "limit-concurrent",
        name: "Requests at once",
        now: human::count(limits.requests_under_way),
        limit: format!("{} of {}", human::percent(share), human::count(limits.limit_concurrent)),
        percent: Some((share * 100.0).clamp(0.0, 100.0) as u8),
    });
    rows
}

/// Groups alerts by name and severity, the most severe first.
fn group_alerts(mut alerts: Vec<FiringAlert>, now_ms: i64) -> Vec<AlertRow> {
    let rank = |severity: &str| match severity {
        "critical" => 0,
        "warning" => 1,
        "info" => 3,
        "none" => 4,
        _ => 2,
    };
    alerts.sort_by(|a, b| {
        let key =
            |alert: &FiringAlert| (rank(&alert.severity), alert.severity.clone(), alert.name.clone(), alert.since);
        key(a).cmp(&key(b))
    });
    let groups = alerts.chunk_by(|a, b| (&a.name, &a.severity) == (&b.name, &b.severity));
    let rows = groups.filter_map(|group| {
        let first = group.first()?;
        Some(AlertRow {
            name: first.name.clone(),
            severity: first.severity.clone(),
            count: (group.len() > 1).then(|| human::count(group.len())),
            since: ShownTime::new(first.since.0, now_ms),
            state: match rank(&first.severity) {
                0 => "bad",
                1 => "warn",
                _ => "unknown",
            },
        })
    });
    rows.collect()
}

/// Draws the last requests on a line of time, as SVG. It holds numbers and words of ours only, and needs no escaping.
fn timeline(exchanges: &[ExchangeRow], now_ms: i64) -> String {
    const WIDTH: f64 = 600.0;
    const HEIGHT: f64 = 28.0;
    const MARGIN: f64 = 4.0;
    let Some(first) = exchanges.last() else { return String::new() };
    let span = (now_ms.saturating_sub(first.at.0)).max(1) as f64;
    let mut svg = format!(
        r#"<svg class="timeline" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img"><title>The last {} exchanges</title><line class="grid" x1="0" y1="14" x2="{WIDTH}" y2="14"/>"#,
        exchanges.len()
    );
    for one in exchanges.iter().rev() {
        let at = (one.at.0.saturating_sub(first.at.0)) as f64 / span;
        let x = MARGIN + at.clamp(0.0, 1.0) * (WIDTH - 2.0 * MARGIN);
        let (class, top, bottom) = if one.outcome == "accepted" { ("good", 7, 21) } else { ("bad", 2, 26) };
        // Writing to a `String` does not fail.
        let _ = write!(
            svg,
            r#"<line class="{class}" x1="{x:.1}" y1="{top}" x2="{x:.1}" y2="{bottom}"><title>{}: {} {}</title></line>"#,
            human::utc(one.at.0),
            one.route,
            one.outcome
        );
    }
    svg.push_str("</svg>");
    svg
}
