//! `/` for a browser: clusters by status, rates, refusals, and the services that this replica depends on.

use askama::Template;
use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{
    PageFrame, Pages,
    chart::{self, Chart},
    human::{self, ShownTime},
    listing::{family_link, refused_link},
    page,
};
use crate::{
    fleet_view::{
        FleetView,
        summary::{ClusterCounts, Dependency, FleetSummary, RecentStoreSummary},
    },
    refusals,
};

/// How many reasons and how many dropped names are shown.
const ROWS: usize = 10;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview {
    frame: PageFrame,
    revision: &'static str,
    uptime: String,
    started: ShownTime,
    is_empty: bool,
    evicted: Option<String>,
    numbers: Vec<LinkedNumber>,
    dependencies: Vec<DependencyCard>,
    requests: Chart,
    samples: Chart,
    routes: Vec<RouteRow>,
    refusals: Vec<RefusalBar>,
    more_refusals: bool,
    dropped: Vec<DroppedBar>,
    recent_store: Option<RecentStoreLine>,
}

/// A number that is a link.
struct LinkedNumber {
    /// For tests and scripts: the element's ID.
    id: &'static str,
    text: &'static str,
    count: String,
    note: &'static str,
    link: &'static str,
    /// `bad` or `warn` where the operator has to act, else empty.
    state: &'static str,
}

struct DependencyCard {
    id: String,
    name: String,
    /// `good`, `bad`, `warn` or `unknown`.
    state: &'static str,
    text: String,
    since: Option<ShownTime>,
    /// When the certificate expires.
    expires: Option<String>,
    latency: Option<String>,
    error: Option<String>,
    /// When the last error was, where the service answers again.
    error_ago: Option<String>,
}

struct RouteRow {
    name: &'static str,
    path: &'static str,
    accepted: String,
    refused: String,
    has_refused: bool,
    samples: String,
    accepted_total: String,
    refused_total: String,
    link: String,
}

struct RefusalBar {
    reason: &'static str,
    route: &'static str,
    meaning: &'static str,
    count: String,
    /// The length of the bar: its share of the most frequent one, from 0 to 100.
    width: u64,
    link: String,
}

/// A name that the whitelist drops.
pub(super) struct DroppedBar {
    pub(super) name: String,
    pub(super) count: String,
    pub(super) width: u64,
    pub(super) link: String,
}

struct RecentStoreLine {
    clusters: String,
    series: String,
    samples: String,
    bytes: String,
    max_bytes: String,
    percent: usize,
    share: String,
    window: String,
    evictions: Option<String>,
}

/// `GET /` for a browser.
pub(super) async fn overview(State(pages): State<Pages>) -> Response {
    let page_of = |view: &FleetView| {
        let (summary, now_ms) = (view.summary(), view.now_ms());
        let history = view.last_hour();
        overview_page(
            PageFrame::new("overview", view),
            &summary,
            chart::requests(&history, now_ms),
            chart::samples(&history, now_ms),
        )
    };
    page(StatusCode::OK, &pages.view.read(page_of).await)
}

/// The page of a summary, with at most [`ROWS`] refusals and dropped names.
fn overview_page(frame: PageFrame, summary: &FleetSummary, requests: Chart, samples: Chart) -> Overview {
    let (now_ms, started_ms) = (summary.now.0, summary.started_at.0);
    let most = summary.refusals.first().map_or(0, |one| one.count);
    let refusals = summary.refusals.iter().take(ROWS).map(|one| RefusalBar {
        reason: one.reason,
        route: one.route,
        meaning: telemeter_fleet::Reason::from_name(one.reason).map_or("", |reason| refusals::explain(reason).meaning),
        count: human::count(one.count),
        width: width(one.count, most),
        link: refused_link(&[("reason", one.reason), ("route", one.route)]),
    });
    Overview {
        frame,
        revision: summary.revision,
        uptime: human::duration(now_ms.saturating_sub(started_ms).max(0) / 1000),
        started: ShownTime::new(started_ms, now_ms),
        is_empty: summary.clusters.total == 0 && summary.refusals.is_empty(),
        evicted: (summary.clusters.evicted > 0).then(|| human::count(summary.clusters.evicted)),
        numbers: numbers(&summary.clusters).into(),
        dependencies: summary.dependencies.iter().map(|one| card(one, now_ms)).collect(),
        requests,
        samples,
        routes: routes(summary),
        refusals: refusals.collect(),
        more_refusals: summary.refusals.len() > ROWS,
        dropped: dropped_bars(
            summary.filtered_metrics.iter().take(ROWS).map(|one| (one.name.as_str(), one.series_total)),
        ),
        recent_store: summary.recent_store.as_ref().map(recent_store_line),
    }
}

/// The length of a bar as a share of the longest one, from 0 to 100, rounded up so that a small one is visible.
fn width(count: u64, most: u64) -> u64 {
    (u128::from(count) * 100).div_ceil(u128::from(most.max(1))).min(100) as u64
}

/// The bars for metrics that were dropped; the longest is that of the highest number.
pub(super) fn dropped_bars<'d>(names: impl Iterator<Item = (&'d str, u64)> + Clone) -> Vec<DroppedBar> {
    let most = names.clone().map(|(_, count)| count).max().unwrap_or(0);
    let bars = names.map(|(name, count)| DroppedBar {
        link: family_link(name),
        name: name.to_owned(),
        count: human::count(count),
        width: width(count, most),
    });
    bars.collect()
}

/// The numbers of clusters by status, each with a link to the list of them. A number of 0 has no colour.
fn numbers(counts: &ClusterCounts) -> [LinkedNumber; 5] {
    let number = |id, text, count: usize, note, link, state| LinkedNumber {
        id,
        text,
        count: human::count(count),
        note,
        link,
        state: if count > 0 { state } else { "" },
    };
    [
        number(
            "clusters-silent",
            "Silent",
            counts.silent,
            "no request for three of their intervals",
            "/clusters?status=silent",
            "bad",
        ),
        number(
            "clusters-refused",
            "Refused",
            counts.refused,
            "the last request did not succeed",
            "/clusters?status=refused",
            "warn",
        ),
        number("clusters-new", "New", counts.new, "first seen within a day", "/clusters?status=new", ""),
        number("clusters-reporting", "Reporting", counts.reporting, "as they should", "/clusters?status=reporting", ""),
        number("clusters-total", "All clusters", counts.total, "known to this replica", "/clusters", ""),
    ]
}

/// A dependency as its card: the state as a colour and a text. The time of the last error is shown only where the
/// service answers now.
fn card(dependency: &Dependency, now_ms: i64) -> DependencyCard {
    let expires_in = dependency.expires_at.map(|at| (at.0 - now_ms) / 1000);
    let (state, text) = match (dependency.state, expires_in) {
        ("failing", Some(seconds)) => ("bad", format!("Expired {}", human::ago(now_ms + seconds * 1000, now_ms))),
        ("warning", Some(seconds)) => ("warn", format!("Expires in {}", human::duration(seconds))),
        ("ok", Some(seconds)) => ("good", format!("Valid for {}", human::duration(seconds))),
        ("ok", None) => ("good", "Answers".to_owned()),
        ("failing" | "warning", _) => ("bad", "Fails".to_owned()),
        _ => ("unknown", "Not asked yet".to_owned()),
    };
    let is_well = state == "good";
    // A certificate has no error text: its state says what is wrong.
    let error = dependency.last_error.clone().filter(|_| expires_in.is_none());
    DependencyCard {
        id: dependency.name.replace(':', "-"),
        name: match dependency.name.as_str() {
            "store" => "Store".to_owned(),
            "authority" => "Authority".to_owned(),
            "memcached" => "Memcached".to_owned(),
            "oidc" => "OIDC provider".to_owned(),
            other => match other.strip_prefix("certificate:") {
                Some(listener) => format!("Certificate, {listener}"),
                None => other.to_owned(),
            },
        },
        state,
        text,
        since: dependency.since.map(|at| ShownTime::new(at.0, now_ms)),
        expires: dependency.expires_at.map(|at| human::utc(at.0)),
        latency: dependency.latency_seconds.map(human::latency),
        error_ago: dependency.last_error_at.filter(|_| is_well).map(|at| human::ago(at.0, now_ms)),
        error,
    }
}

/// A row for each route, with rates per second and totals. A route without numbers is left out; `/authorize` has no
/// samples.
fn routes(summary: &FleetSummary) -> Vec<RouteRow> {
    let paths = [("upload", "/upload"), ("receive", "/metrics/v1/receive"), ("authorize", "/authorize")];
    let rows = paths.into_iter().filter_map(|(name, path)| {
        let rates = summary.requests.get(name)?;
        Some(RouteRow {
            name,
            path,
            accepted: human::rate(rates.accepted_per_second),
            refused: human::rate(rates.refused_per_second),
            has_refused: rates.refused_per_second > 0.0,
            samples: if name == "authorize" { String::new() } else { human::rate(rates.samples_per_second) },
            accepted_total: human::count(rates.accepted_total),
            refused_total: human::count(rates.refused_total),
            link: refused_link(&[("route", name)]),
        })
    });
    rows.collect()
}

/// The size of the recent store, and the part of its memory that is used.
fn recent_store_line(store: &RecentStoreSummary) -> RecentStoreLine {
    let share = store.bytes as f64 / store.max_bytes.max(1) as f64;
    RecentStoreLine {
        clusters: human::count(store.clusters),
        series: human::count(store.series),
        samples: human::count(store.samples),
        bytes: human::bytes(store.bytes),
        max_bytes: human::bytes(store.max_bytes),
        percent: ((share * 100.0) as usize).min(100),
        share: human::percent(share),
        window: human::duration(i64::try_from(store.window_seconds).unwrap_or(i64::MAX)),
        evictions: (store.evictions > 0).then(|| human::count(store.evictions)),
    }
}
