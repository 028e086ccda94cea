//! `telemeter policy report`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::json;
use telemeter_client::config::Credential;
use telemeter_http::{
    client::{Outbound, OutboundConfig, OutboundRequest, excerpt},
    file,
};
use telemeter_policy::{MetricReport, report};

use super::{
    counted,
    input::{self, METRICS_BYTES},
};
use crate::{
    failure::RunFailure,
    flags::{client::federate, source::SourceFlags, value},
    output::{Column, OutputFlags, OutputFormat, Printer, Table, TableCell, Tone, human},
};

#[derive(Args, Debug)]
pub(super) struct ReportFlags {
    /// The metrics, as text or delimited protobuf. Without it and without --from: standard input.
    #[arg(value_name = "FILE", conflicts_with = "from")]
    file: Option<PathBuf>,

    /// A Prometheus to ask for the metrics. Without a path: its /federate.
    #[arg(long, value_name = "URL")]
    from: Option<String>,

    #[command(flatten)]
    source: SourceFlags,

    /// A selector of series to ask --from for. Repeated, once per selector; at least one.
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,

    /// The cluster's ID, which a metric may tell.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    id: String,

    /// End with 1 where there is something to ask the author of a metric.
    #[arg(long)]
    fail: bool,

    #[command(flatten)]
    output: OutputFlags,
}

/// Prints each metric with its labels and the questions for its author. The metrics come from the Prometheus of
/// `--from`, or else from the file or standard input. The exit code is 1 where there is a question and `--fail` is
/// given.
pub(super) async fn run(flags: ReportFlags, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
    let (id, fail, format) = (flags.id.clone(), flags.fail, flags.output.format);
    let body = match value::unless_empty(flags.from.clone()) {
        Some(from) => scrape(&from, flags).await?,
        None => input::needed_metrics(flags.file.as_deref())?,
    };
    let metrics = report(&body, &id)?;
    match format {
        OutputFormat::Table => {
            for metric in &metrics {
                print_metric(printer, metric)?;
            }
            let series: usize = metrics.iter().map(|metric| metric.series).sum();
            let remarks: usize = metrics.iter().map(|metric| metric.remarks.len()).sum();
            printer.line(&format!(
                "{}, {}, {} for the authors",
                counted(metrics.len(), "metric"),
                counted(series, "series"),
                counted(remarks, "question")
            ))?;
        }
        OutputFormat::Json => printer.json(&metrics.iter().map(as_json).collect::<Vec<_>>())?,
        OutputFormat::Csv => printer.print(format, &flat(&metrics))?,
    }
    let asks = metrics.iter().any(|metric| !metric.remarks.is_empty());
    Ok(if fail && asks { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Scrapes the series that the selectors select, with the token of `--from-token` or of its file, and returns the body.
/// No selector, and an answer that is not a success, are errors.
async fn scrape(from: &str, flags: ReportFlags) -> Result<Vec<u8>, RunFailure> {
    if flags.matches.is_empty() {
        return Err("--from needs to know what to ask for: give --match SELECTOR".into());
    }
    let mut url = federate(value::http_url("--from", from)?);
    url.query_pairs_mut().extend_pairs(flags.matches.iter().map(|selector| ("match[]", selector)));
    let (ca_file, token) = flags.source.config()?;
    let config = OutboundConfig { ca_file, ..OutboundConfig::new("policy") };
    let mut request = OutboundRequest::get(url.clone());
    let token = match token {
        None => None,
        Some(Credential::Value(token)) => Some(token.expose().to_owned()),
        Some(Credential::File(path)) => Some(file::read_text(&path, file::SMALL)?.trim().to_owned()),
    };
    if let Some(token) = &token {
        request = request.with_bearer(token)?;
    }
    let answer = Outbound::new(config, None)?.send(request, METRICS_BYTES).await?;
    if !answer.status.is_success() {
        let secrets: Vec<&str> = token.as_deref().into_iter().collect();
        let excerpt = excerpt(&answer.headers, &answer.body, &secrets);
        let host = url.host_str().unwrap_or_default();
        return Err(format!("{host} answered {}: {excerpt}", answer.status_words()).into());
    }
    Ok(answer.body.to_vec())
}

/// Prints one metric: its type and number of series, a table of its labels where there are any, its questions, and a
/// blank line.
fn print_metric(printer: &mut Printer, metric: &MetricReport) -> Result<(), RunFailure> {
    let name = printer.toned(Tone::Heading, &human::safe(&metric.name));
    printer.line(&format!("{name}: {}, {}", metric.kind, counted(metric.series, "series")))?;
    let mut table = Table::new([
        Column::text("  label"),
        Column::number("values"),
        Column::text("examples").wrapping(),
        Column::text("sensitive"),
    ]);
    for label in &metric.labels {
        let more = if label.values > label.examples.len() { ", ..." } else { "" };
        let sensitive = label.sensitive.as_ref();
        table.row([
            TableCell::text(format!("  {}", label.name)),
            TableCell::count(label.values as u64),
            TableCell::text(format!("{}{more}", label.examples.join(", "))),
            sensitive.map_or_else(|| TableCell::text(""), |why| TableCell::text(why).tone(Tone::Warning)),
        ]);
    }
    if !table.is_empty() {
        printer.print(OutputFormat::Table, &table)?;
    }
    for remark in &metric.remarks {
        let mark = printer.toned(Tone::Warning, "?");
        printer.line(&format!("  {mark} {}", human::safe(&remark.text)))?;
    }
    printer.line("")?;
    Ok(())
}

/// One metric of the report as JSON, with its labels and questions.
fn as_json(metric: &MetricReport) -> serde_json::Value {
    let labels = metric.labels.iter().map(|label| {
        json!({
            "name": label.name, "values": label.values, "examples": label.examples, "sensitive": label.sensitive,
        })
    });
    let remarks = metric.remarks.iter().map(|remark| json!({ "kind": remark.kind, "text": remark.text }));
    json!({
        "name": metric.name, "type": metric.kind, "series": metric.series,
        "labels": labels.collect::<Vec<_>>(), "remarks": remarks.collect::<Vec<_>>(),
    })
}

/// A row for each label, and one for a metric without labels.
fn flat(metrics: &[MetricReport]) -> Table {
    let mut table = Table::new([
        Column::text("metric"),
        Column::text("type"),
        Column::number("series"),
        Column::text("label"),
        Column::number("values"),
        Column::text("examples"),
        Column::text("sensitive"),
        Column::text("remarks"),
    ]);
    for metric in metrics {
        let remarks: Vec<&str> = metric.remarks.iter().map(|remark| remark.text.as_str()).collect();
        let own =
            || [TableCell::text(&metric.name), TableCell::text(metric.kind), TableCell::count(metric.series as u64)];
        let remarks = || TableCell::text(remarks.join("; "));
        if metric.labels.is_empty() {
            let none = [TableCell::none(), TableCell::none(), TableCell::none(), TableCell::none()];
            table.row(own().into_iter().chain(none).chain([remarks()]));
        }
        for label in &metric.labels {
            let sensitive = label.sensitive.clone().map_or_else(TableCell::none, TableCell::text);
            let of_label = [
                TableCell::text(&label.name),
                TableCell::count(label.values as u64),
                TableCell::text(label.examples.join(", ")),
                sensitive,
            ];
            table.row(own().into_iter().chain(of_label).chain([remarks()]));
        }
    }
    table
}
