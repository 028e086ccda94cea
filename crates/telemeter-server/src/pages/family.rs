//! `/families/{name}`: one metric, with the clusters that send it, its labels and the rules that let it in.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use http::StatusCode;

use super::{
    PageFrame, Pages, human,
    listing::{cluster_link, path_segment},
    page,
    series::federate_link,
};
use crate::fleet_view::{FleetView, metric::MetricDetails};

#[derive(Template)]
#[template(path = "family.html")]
struct FamilyPage {
    frame: PageFrame,
    name: String,
    has_store: bool,
    is_known: bool,
    is_sent: bool,
    clusters: String,
    share: String,
    series: String,
    labels_count: String,
    dropped: String,
    has_dropped: bool,
    has_whitelist: bool,
    rules: Vec<RuleLink>,
    without_rule: Option<String>,
    labels: Vec<LabelLine>,
    top: Vec<Top>,
    more_clusters: bool,
    federate: String,
    json: String,
}

struct RuleLink {
    text: String,
    series: String,
    has_series: bool,
}

struct LabelLine {
    name: String,
    values: String,
    series: String,
    examples: Vec<String>,
    has_more: bool,
}

struct Top {
    id: String,
    link: String,
    series: String,
}

/// Shows a metric; 404 where nothing is known of it, with the rules that its name does not rule out.
pub(super) async fn family(State(pages): State<Pages>, Path(name): Path<String>) -> Response {
    let family = pages.view.read(move |view| family_page(view, &name)).await;
    page(if family.is_known { StatusCode::OK } else { StatusCode::NOT_FOUND }, &family)
}

/// The page of one metric. A name that nobody sends has a page, too: it says which rules would allow it.
fn family_page(view: &FleetView, name: &str) -> FamilyPage {
    let details = view.metric_or_empty(name);
    let is_known = details.is_known();
    let MetricDetails { series, clusters, clusters_total, labels, top_clusters, rules, dropped_total, .. } = details;
    FamilyPage {
        frame: PageFrame::new("families", view),
        has_store: details.whole,
        is_known,
        is_sent: series > 0,
        clusters: human::count(clusters),
        share: human::percent(clusters as f64 / clusters_total.max(1) as f64),
        series: human::count(series),
        labels_count: human::count(labels.len()),
        dropped: human::count(dropped_total),
        has_dropped: dropped_total > 0,
        has_whitelist: details.has_whitelist,
        rules: (rules.into_iter())
            .map(|rule| RuleLink { text: rule.rule, has_series: rule.series > 0, series: human::count(rule.series) })
            .collect(),
        without_rule: (details.series_without_rule > 0).then(|| human::count(details.series_without_rule)),
        labels: (labels.into_iter())
            .map(|label| LabelLine {
                has_more: label.values > label.examples.len(),
                values: human::count(label.values),
                series: human::count(label.series),
                examples: label.examples,
                name: label.name,
            })
            .collect(),
        more_clusters: clusters > top_clusters.len(),
        top: (top_clusters.into_iter())
            .map(|top| Top { link: cluster_link(&top.id), series: human::count(top.series), id: top.id })
            .collect(),
        federate: federate_link("__name__", name),
        json: format!("/api/v1/metrics/{}", path_segment(name)),
        name: name.to_owned(),
    }
}
