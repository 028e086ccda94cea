//! The page `/` of the client's listener: how the last cycles ended, what to do, and which metrics are uploaded.
//!
//! It is made from the last upload as it was packed, slice by slice, when a browser requests it.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    Router,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header};
use telemeter_http::{
    client::bare_url,
    duration::HumanDuration,
    internal::{InternalRouter, paths_json},
    page,
};
use telemeter_rules::transforms::anonymize::Anonymize;

use crate::{
    config::Config,
    explain,
    pipeline::Packed,
    preview::{Warning, label_warnings, series_warning},
    status::StatusSnapshot,
    summary::{MetricSummary, SummarySettings, UploadSummary},
    worker::WorkerContext,
};

#[cfg(test)]
mod tests;

const STYLE: &str = include_str!("../templates/style.css");
/// Cap on the distinct values of a label that are counted.
const MAX_VALUES: usize = 100;
/// Cap on the metrics that are shown.
const MAX_METRICS: usize = 500;
/// How many names of metrics a warning shows.
const NAMES: usize = 4;

/// Answers browsers at `/` with the page, and machines with the list of paths as before.
pub(crate) fn attach(internal: InternalRouter, config: Arc<Config>, context: WorkerContext) -> InternalRouter {
    let json = paths_json(&internal.paths());
    let root = get(move |headers: HeaderMap| {
        let (json, config, context) = (json.clone(), config.clone(), context.clone());
        async move {
            if !page::wants_html(&headers) {
                return ([(header::CONTENT_TYPE, "application/json"), (header::VARY, "accept")], json).into_response();
            }
            // On a thread of its own: the runtime's only thread goes on with the cycle.
            let response = tokio::task::spawn_blocking(move || render(&config, &context)).await;
            response.unwrap_or_else(|_panic| StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
    });
    internal.root(root).with(Router::new().route("/assets/{name}", page::style_route(STYLE)))
}

fn render(config: &Config, context: &WorkerContext) -> Response {
    let (status, last, now_ms) = (context.status.snapshot(), context.last.load_full(), context.clock.now_ms());
    match Page::new(config, &status, last.as_deref(), now_ms).render() {
        Ok(text) => (page::HEADERS, text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the page did not render");
            (StatusCode::INTERNAL_SERVER_ERROR, "the page did not render\n").into_response()
        }
    }
}

#[derive(Template)]
#[template(path = "client.html")]
struct Page {
    style: String,
    /// `good`, `bad` or `idle`.
    tone: &'static str,
    headline: &'static str,
    id: String,
    source: String,
    target: String,
    tiles: [Tile; 4],
    /// The last failure: when, its text, and whether no cycle has succeeded since.
    failure: Option<(String, String, bool)>,
    no_upload_reason: Option<String>,
    /// A sentence about series of the last scrape that were not uploaded.
    left_out: Option<String>,
    warnings: Vec<PageWarning>,
    metrics: Vec<MetricPageRow>,
    more: usize,
    all: usize,
}

/// A figure in large letters, with a name and a note.
struct Tile {
    name: &'static str,
    value: String,
    note: String,
}

/// A warning, with its metrics as one text.
struct PageWarning {
    message: String,
    advice: String,
    metrics: String,
}

/// A row of the table of metrics.
struct MetricPageRow {
    name: String,
    series: usize,
    bytes: usize,
    labels: Vec<PageLabel>,
}

/// A label of a metric; `values` is the number of its distinct values.
struct PageLabel {
    name: String,
    values: String,
    is_anonymized: bool,
    is_sensitive: bool,
}

impl Page {
    fn new(config: &Config, status: &StatusSnapshot, last: Option<&Packed>, now_ms: i64) -> Self {
        let hashed = config.anonymize.as_ref().map(|anonymize| anonymize.labels.clone()).unwrap_or_default();
        // No salt is needed: the packed values are hashed already.
        let anonymize = Anonymize::new(hashed, b"");
        let server_labels = ["_id".to_owned()];
        let settings = SummarySettings {
            anonymize: &anonymize,
            cluster_id: &config.id,
            server_labels: &server_labels,
            max_values: MAX_VALUES,
        };
        let mut summary = UploadSummary::new(settings);
        if let Some(error) = last.and_then(|packed| packed.for_each(|series| summary.add(series)).err()) {
            tracing::error!(%error, "the last upload cannot be read");
        }
        let all = summary.metrics.len();
        let warnings = label_warnings(&summary, &[]).into_iter().chain(series_warning(&summary));
        let (tone, headline) = match status {
            StatusSnapshot { failures_in_a_row: 1.., .. } => ("bad", "Reports do not get through"),
            StatusSnapshot { no_upload_reason: Some(_), .. } => ("bad", "There is nothing to report"),
            StatusSnapshot { upload: Some(_), .. } => ("good", "Reports get through"),
            _ => ("idle", "Nothing was reported yet"),
        };
        let failure = status
            .failure
            .as_ref()
            .map(|failed| (ago(failed.at_ms, now_ms), failed.text.clone(), status.failures_in_a_row > 0));
        let left_out = status.scrape.as_ref().filter(|scrape| scrape.left_out.total() > 0);
        let unrequested = status.scrape.as_ref().and_then(|scrape| explain::unrequested_warning(&scrape.left_out));
        let left_out = left_out.map(|scrape| {
            format!(
                "Of the last scrape, {} series did not leave: {}.",
                scrape.left_out.total(),
                explain::left_out_counts(&scrape.left_out)
            )
        });
        Self {
            style: page::style_name(STYLE),
            tone,
            headline,
            id: config.id.clone(),
            source: bare_url(&config.from.url),
            target: bare_url(config.to.destination()),
            tiles: tiles(config, status, now_ms),
            failure,
            no_upload_reason: status.no_upload_reason.clone(),
            left_out: left_out.or(unrequested),
            warnings: warnings.map(PageWarning::of).collect(),
            metrics: summary
                .metrics
                .iter()
                .take(MAX_METRICS)
                .map(|(name, metric)| MetricPageRow::of(name, metric))
                .collect(),
            more: all.saturating_sub(MAX_METRICS),
            all,
        }
    }
}

fn tiles(config: &Config, status: &StatusSnapshot, now_ms: i64) -> [Tile; 4] {
    let never = || "never".to_owned();
    let scrape = status.scrape.as_ref();
    let percent = |bytes: usize| bytes.saturating_mul(100) / config.limit_bytes.max(1);
    let upload = status.upload.as_ref();
    let next = status.next_ms.map(|at_ms| match at_ms.saturating_sub(now_ms) {
        ..=0 => "now".to_owned(),
        wait => format!("in {}", HumanDuration(millis(wait))),
    });
    [
        Tile {
            name: "Last scrape",
            value: scrape.map_or_else(never, |scrape| ago(scrape.at_ms, now_ms)),
            note: scrape.map_or_else(String::new, |scrape| {
                let (series, bytes) = (scrape.series, scrape.bytes);
                format!("{series} series, {}, {} % of --limit-bytes", size(bytes), percent(bytes))
            }),
        },
        Tile {
            name: "Last upload",
            value: upload.map_or_else(never, |upload| ago(upload.at_ms, now_ms)),
            note: upload.map_or_else(String::new, |upload| {
                format!("{} series, {}, in {}", upload.series, size(upload.bytes), HumanDuration(upload.took))
            }),
        },
        Tile {
            name: "Next try",
            value: next.unwrap_or_else(never),
            note: format!("every {}, a minute after a failure", HumanDuration(config.interval)),
        },
        Tile { name: "Failures in a row", value: status.failures_in_a_row.to_string(), note: String::new() },
    ]
}

impl PageWarning {
    fn of(warning: Warning) -> Self {
        let more = warning.metrics.len().saturating_sub(NAMES);
        let mut metrics = warning.metrics.iter().take(NAMES).cloned().collect::<Vec<_>>().join(", ");
        if more > 0 {
            metrics.push_str(&format!(" and {more} more"));
        }
        Self { message: warning.message, advice: warning.advice.unwrap_or_default(), metrics }
    }
}

impl MetricPageRow {
    fn of(name: &str, metric: &MetricSummary) -> Self {
        let mut labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| {
                let over = if label.values() >= MAX_VALUES { "+" } else { "" };
                PageLabel {
                    name: label.name.to_string(),
                    values: format!("{}{over}", label.values()),
                    is_anonymized: label.is_anonymized,
                    is_sensitive: label.finding.is_some(),
                }
            })
            .collect();
        labels.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Self { name: name.to_owned(), series: metric.series, bytes: metric.bytes, labels }
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

fn ago(at_ms: i64, now_ms: i64) -> String {
    match now_ms.saturating_sub(at_ms) {
        ..1000 => "just now".to_owned(),
        age => format!("{} ago", HumanDuration(Duration::from_secs(millis(age).as_secs()))),
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
