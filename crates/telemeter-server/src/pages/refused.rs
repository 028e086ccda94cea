//! `/refused`: which callers are refused, for which reason, since when, and what to do about it.

use askama::Template;
use axum::{extract::State, response::Response};
use http::{StatusCode, Uri};
use telemeter_fleet::{Reason, ReportRoute};

use super::{
    PageFrame, Pages,
    human::{self, ShownTime},
    listing::{Choice, Listing, Pager, cluster_link},
    page,
};
use crate::fleet_view::{
    FleetView,
    refusals::{ReasonRow, RefusalQuery, RefusalRow},
};

#[derive(Template)]
#[template(path = "refused.html")]
struct RefusedPage {
    frame: PageFrame,
    listing: Listing,
    reason: &'static str,
    cluster: String,
    reasons: Vec<ReasonCard>,
    times: Vec<Choice>,
    routes: Vec<Choice>,
    rows: Vec<RefusedPageRow>,
    matched: String,
    json: String,
    pager: Option<Pager>,
}

/// A reason, and what to do about it.
struct ReasonCard {
    name: &'static str,
    statuses: &'static str,
    count: String,
    callers: String,
    last: ShownTime,
    meaning: Vec<PageText>,
    action: Vec<PageText>,
    link: String,
    is_chosen: bool,
}

struct RefusedPageRow {
    cluster: Option<(String, String)>,
    claimed: Option<String>,
    claimed_link: Option<String>,
    is_verified: bool,
    peer: String,
    route: &'static str,
    reason: &'static str,
    reason_link: String,
    status: u16,
    count: String,
    first: ShownTime,
    last: ShownTime,
}

/// Part of a text of `refusals.rs`, in which code is between backticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PageText {
    pub(super) text: String,
    pub(super) is_code: bool,
}

/// Splits a text at its backticks into plain text and code.
pub(super) fn split_code(text: &str) -> Vec<PageText> {
    let parts = text.split('`').enumerate().map(|(at, text)| PageText { text: text.to_owned(), is_code: at % 2 == 1 });
    parts.filter(|part| !part.text.is_empty()).collect()
}

const TIMES: [(&str, &str); 4] = [("3600", "Last hour"), ("86400", "Last day"), ("604800", "Last week"), ("", "All")];

/// Shows a part of the refusals.
pub(super) async fn refused(State(pages): State<Pages>, uri: Uri) -> Response {
    let listing = Listing::of("/refused", uri.query(), &["reason", "route", "since", "cluster"]);
    page(StatusCode::OK, &pages.view.read(move |view| refused_page(view, listing)).await)
}

/// The page with the refusals that the listing selects. A filter with a value that does not exist is ignored, and left
/// out of the links.
fn refused_page(view: &FleetView, listing: Listing) -> RefusedPage {
    let now_ms = view.now_ms();
    let reason = Reason::from_name(listing.filter("reason"));
    let route = ReportRoute::from_name(listing.filter("route"));
    let since = listing.filter("since").parse().ok();
    // A filter whose value is not valid is ignored, and left out of links.
    let listing = if reason.is_none() { listing.without("reason") } else { listing };
    let listing = if route.is_none() { listing.without("route") } else { listing };
    let listing = if since.is_none() { listing.without("since") } else { listing };
    let listing = Listing { sort: String::new(), is_descending: false, ..listing };
    let cluster = listing.filter("cluster").to_owned();
    let query = RefusalQuery {
        reason,
        route,
        since,
        cluster: Some(cluster.clone()).filter(|cluster| !cluster.is_empty()),
        search: listing.search.clone(),
    };
    let refusals = view.refusals(&query, listing.part());
    let choice = |name: &'static str, value: &'static str, text: &str| Choice {
        text: text.to_owned(),
        count: String::new(),
        link: listing.link_with(name, value),
        is_chosen: listing.filter(name) == value,
        name: value,
    };
    let api = listing.query(&[("limit", "0")]);
    RefusedPage {
        frame: PageFrame::new("refused", view),
        reason: reason.map_or("", Reason::name),
        cluster,
        reasons: refusals.reasons.iter().map(|one| card(one, &listing, now_ms)).collect(),
        times: TIMES.map(|(value, text)| choice("since", value, text)).into(),
        routes: std::iter::once(choice("route", "", "All routes"))
            .chain(ReportRoute::ALL.map(|route| choice("route", route.name(), route.name())))
            .collect(),
        rows: refusals.items.into_iter().map(|row| RefusedPageRow::new(row, &listing, now_ms)).collect(),
        matched: human::count(refusals.total),
        json: format!("/api/v1/refusals?{api}"),
        pager: listing.pager(refusals.total),
        listing,
    }
}

/// A reason as its card. Its link selects the reason, or, where it is selected, shows all again.
fn card(reason: &ReasonRow, listing: &Listing, now_ms: i64) -> ReasonCard {
    let is_chosen = listing.filter("reason") == reason.reason;
    let plural = |count: usize, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{} {many}", human::count(count))),
    };
    let clusters = plural(reason.clusters, "cluster", "clusters");
    let unverified = plural(reason.unverified, "unverified caller", "unverified callers");
    ReasonCard {
        name: reason.reason,
        statuses: reason.statuses,
        count: human::count(reason.count),
        callers: [clusters, unverified].into_iter().flatten().collect::<Vec<_>>().join(", "),
        last: ShownTime::new(reason.last.0, now_ms),
        meaning: split_code(reason.meaning),
        action: split_code(reason.action),
        link: listing.link_with("reason", if is_chosen { "" } else { reason.reason }),
        is_chosen,
    }
}

impl RefusedPageRow {
    fn new(row: RefusalRow, listing: &Listing, now_ms: i64) -> Self {
        Self {
            cluster: row.cluster.map(|id| (cluster_link(&id), id)),
            claimed_link: row.claimed_cluster.as_deref().map(|id| listing.link_with("cluster", id)),
            claimed: row.claimed_cluster,
            is_verified: row.verified,
            peer: row.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            route: row.route,
            reason: row.reason,
            reason_link: listing.link_with("reason", row.reason),
            status: row.status,
            count: human::count(row.count),
            first: ShownTime::new(row.first.0, now_ms),
            last: ShownTime::new(row.last.0, now_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_between_backticks() {
        let text = |text: &str, is_code| PageText { text: text.to_owned(), is_code };
        assert_eq!(split_code("set `--a` to 1"), [text("set ", false), text("--a", true), text(" to 1", false)]);
        assert_eq!(split_code("`--b`"), [text("--b", true)]);
        for reason in Reason::ALL {
            let explanation = crate::refusals::explain(reason);
            for text in [explanation.meaning, explanation.action] {
                assert!(text.matches('`').count().is_multiple_of(2), "{text}");
            }
        }
    }
}
