//! `/api/v1/clusters`: the list, as JSON or CSV, streamed a few rows at a time.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http::{HeaderValue, Uri, header};
use telemeter_fleet::ClusterStatus;

use super::{NO_STORE, ProblemJson, query::QueryParameters};
use crate::fleet_view::{
    FleetView, ListPart,
    clusters::{ClusterQuery, ClusterRow, ClusterSort},
};

/// How many rows are written at a time; other requests run in between.
const ROWS: usize = 64;

const PARAMETERS: [&str; 8] = ["search", "status", "silent_for", "sort", "order", "limit", "offset", "format"];

/// Responds with the clusters that the query parameters select. They are found at once, and their rows are written
/// while the client reads: a cluster that is forgotten meanwhile is left out, though the total counts it. An unknown or
/// malformed parameter is a 400.
pub(super) async fn clusters(State(view): State<FleetView>, uri: Uri) -> Result<Response, ProblemJson> {
    let query = QueryParameters::of(&uri, &PARAMETERS)?;
    let asked = ClusterQuery {
        search: query.text("search").unwrap_or_default().to_owned(),
        status: query.name("status", ClusterStatus::from_name)?,
        silent_for: query.number("silent_for")?,
        sort: query.name("sort", ClusterSort::from_name)?.unwrap_or_default(),
        descending: query.is_descending()?,
    };
    let part = query.part()?;
    let format = query.name("format", ListFormat::from_name)?.unwrap_or(ListFormat::Json);
    let found = view.read(move |view| view.find_clusters(&asked, part)).await;
    let list = ListStream { rest: found.ids.into_iter(), view, format, is_first: true };
    let mut head = Some(list.head(found.total, part));
    let body = stream::unfold(Some(list), move |list| {
        let (list, head) = (list, head.take());
        async move {
            let mut list = list?;
            let mut out = head.unwrap_or_default();
            let ended = list.rows(&mut out);
            Some((Ok::<_, Infallible>(Bytes::from(out)), (!ended).then_some(list)))
        }
    });
    let content_type = HeaderValue::from_static(format.content_type());
    Ok(([(header::CONTENT_TYPE, content_type), NO_STORE], Body::from_stream(body)).into_response())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ListFormat {
    Json,
    Csv,
}

impl ListFormat {
    /// The format with this name; `None` for any other.
    fn from_name(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }
}

/// The rows that are left to be written.
struct ListStream {
    view: FleetView,
    rest: std::vec::IntoIter<Box<str>>,
    format: ListFormat,
    is_first: bool,
}

impl ListStream {
    fn label_names(&self) -> &[String] {
        &self.view.gateway().fleet.registry.config().labels
    }

    /// The text before the rows: for JSON the counts and the start of the list, for CSV the line with the column names.
    /// `whole` is false where clusters were evicted from the registry, so that the list may lack some.
    fn head(&self, total: usize, part: ListPart) -> Vec<u8> {
        let whole = self.view.gateway().fleet.registry.evicted() == 0;
        match self.format {
            ListFormat::Json => {
                format!(r#"{{"total":{total},"offset":{},"whole":{whole},"items":["#, part.offset).into_bytes()
            }
            ListFormat::Csv => {
                let mut cells: Vec<String> = COLUMNS.map(str::to_owned).into();
                cells.extend(self.label_names().iter().map(|name| format!("label_{name}")));
                let mut out = Vec::new();
                put_line(&mut out, cells.iter().map(String::as_str));
                out
            }
        }
    }

    /// Writes the next rows; returns whether they were the last ones.
    fn rows(&mut self, out: &mut Vec<u8>) -> bool {
        for id in self.rest.by_ref().take(ROWS) {
            // A cluster that was forgotten meanwhile is left out.
            let Some(row) = self.view.cluster_row(&id) else { continue };
            match self.format {
                ListFormat::Json => {
                    if !std::mem::take(&mut self.is_first) {
                        out.push(b',');
                    }
                    if let Err(error) = serde_json::to_writer(&mut *out, &row) {
                        tracing::error!(%error, "a row of the API cannot be written");
                    }
                }
                ListFormat::Csv => put_row(out, &row, &self.view.gateway().fleet.registry.config().labels),
            }
        }
        let ended = self.rest.as_slice().is_empty();
        if ended && self.format == ListFormat::Json {
            out.extend_from_slice(b"]}\n");
        }
        ended
    }
}

const COLUMNS: [&str; 18] = [
    "id",
    "status",
    "first_seen",
    "last_heard",
    "last_report",
    "last_upload",
    "last_receive",
    "uploads_total",
    "receives_total",
    "series",
    "filtered",
    "bytes",
    "interval_seconds",
    "drift_seconds",
    "client",
    "peer",
    "last_refusal",
    "refused_total",
];

/// Appends a row of the CSV: a cell for each column, and one for each configured label. An absent value is an empty
/// cell.
fn put_row(out: &mut Vec<u8>, row: &ClusterRow, label_names: &[String]) {
    let text = |value: Option<String>| value.unwrap_or_default();
    let last_refusal = row.last_refusal.as_ref().map(|last| format!("{} {} {}", last.at, last.route, last.reason));
    let cells: [String; COLUMNS.len()] = [
        row.id.clone(),
        row.status.to_owned(),
        row.first_seen.to_string(),
        row.last_heard.to_string(),
        text(row.last_report.map(|time| time.to_string())),
        text(row.last_upload.map(|time| time.to_string())),
        text(row.last_receive.map(|time| time.to_string())),
        row.uploads_total.to_string(),
        row.receives_total.to_string(),
        row.series.to_string(),
        row.filtered.to_string(),
        row.bytes.to_string(),
        text(row.interval_seconds.map(|seconds| seconds.to_string())),
        row.drift_seconds.to_string(),
        row.client.clone(),
        text(row.peer.map(|peer| peer.to_string())),
        text(last_refusal),
        row.refused_total.to_string(),
    ];
    let labels = label_names.iter().map(|name| row.labels.get(name).map_or("", String::as_str));
    put_line(out, cells.iter().map(String::as_str).chain(labels));
}

/// A line of CSV (RFC 4180). A text that a spreadsheet would take for a formula gets a `'` in front.
fn put_line<'a>(out: &mut Vec<u8>, cells: impl Iterator<Item = &'a str>) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let is_number = cell.parse::<f64>().is_ok();
        let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && !is_number;
        if !is_formula && !cell.contains([',', '"', '\n', '\r']) {
            out.extend_from_slice(cell.as_bytes());
            continue;
        }
        out.push(b'"');
        if is_formula {
            out.push(b'\'');
        }
        out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_a_line() {
        let mut out = Vec::new();
        put_line(&mut out, ["a", "", "b,c", "say \"hi\"", "two\nlines", "=1+1", "-1.5", "-x", "é"].into_iter());
        let line = String::from_utf8(out).expect("text");
        assert_eq!(line, "a,,\"b,c\",\"say \"\"hi\"\"\",\"two\nlines\",\"'=1+1\",-1.5,\"'-x\",é\r\n");
    }
}
