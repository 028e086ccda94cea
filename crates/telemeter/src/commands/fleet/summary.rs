//! `telemeter fleet summary`.

use super::{
    ApiError, FleetApi,
    model::{SummaryJson, text, time, tone},
};
use crate::{
    failure::RunFailure,
    output::{Column, OutputFormat, Printer, Table, TableCell, Tone, human},
};

/// Asks the server for its summary and prints it. JSON is printed as the server sent it.
pub(super) async fn print(api: &FleetApi, format: OutputFormat, printer: &mut Printer) -> Result<(), RunFailure> {
    let (json, summary) = api.summary().await?;
    match format {
        OutputFormat::Json => printer.json(&json)?,
        OutputFormat::Csv => printer.print(format, &figures(&summary))?,
        OutputFormat::Table => print_for_people(api, &summary, printer)?,
    }
    Ok(())
}

/// Prints the summary as text: head, refusals by reason, routes, dependencies; then a hint at the command that lists
/// the silent or refused clusters, where there are any.
fn print_for_people(api: &FleetApi, summary: &SummaryJson, printer: &mut Printer) -> Result<(), RunFailure> {
    print_head(api, summary, printer)?;
    printer.line("")?;
    if !summary.refusals.is_empty() {
        let mut table = Table::new([Column::text("refused for"), Column::text("route"), Column::number("times")]);
        for refusal in &summary.refusals {
            table.row([
                TableCell::text(&refusal.reason),
                TableCell::text(&refusal.route),
                TableCell::count(refusal.count),
            ]);
        }
        printer.print(OutputFormat::Table, &table)?;
        printer.line("")?;
    }
    printer.print(OutputFormat::Table, &routes_table(summary))?;
    printer.line("")?;
    printer.print(OutputFormat::Table, &dependencies_table(summary))?;
    let hints = [("silent", summary.clusters.silent), ("refused", summary.clusters.refused)];
    let hints: Vec<_> = hints.iter().filter(|(_, count)| *count > 0).collect();
    if !hints.is_empty() {
        printer.line("")?;
    }
    for (word, count) in hints {
        printer.line(&format!("{} {word}: telemeter fleet {word}", clusters(*count)))?;
    }
    Ok(())
}

/// Prints which server this is, and how many clusters there are by status.
pub(super) fn print_head(api: &FleetApi, summary: &SummaryJson, printer: &mut Printer) -> Result<(), RunFailure> {
    let revision = if summary.revision == "unknown" { String::new() } else { format!(" ({})", summary.revision) };
    let server = format!(
        "telemeter-server {}{revision}, replica {}, at {}, started {}",
        summary.version,
        summary.replica,
        api.name(),
        human::age(summary.started_at.0, summary.now.0)
    );
    printer.line(&human::safe(&server))?;
    let counts = [
        ("silent", summary.clusters.silent),
        ("refused", summary.clusters.refused),
        ("new", summary.clusters.new),
        ("reporting", summary.clusters.reporting),
    ];
    let counts = counts.map(|(status, count)| {
        let tone = if count == 0 { Tone::Plain } else { tone(status) };
        printer.toned(tone, &format!("{} {status}", human::count(count)))
    });
    printer.line(&format!("{}: {}", clusters(summary.clusters.total), counts.join(", ")))?;
    if summary.clusters.evicted > 0 {
        printer.line(&incomplete_note())?;
    }
    Ok(())
}

/// The note below a list that does not have all clusters.
pub(super) fn incomplete_note() -> String {
    "The server forgot clusters because there were more than --fleet-max-clusters: this is not all of the fleet."
        .to_owned()
}

/// `1 cluster`, `5 clusters`.
pub(super) fn clusters(count: u64) -> String {
    format!("{} cluster{}", human::count(count), if count == 1 { "" } else { "s" })
}

/// A row for each route: how many requests were accepted and refused, in total and per second. A rate of refusals above
/// zero is printed in the colour of warnings.
fn routes_table(summary: &SummaryJson) -> Table {
    let mut table = Table::new([
        Column::text("route"),
        Column::number("accepted"),
        Column::number("refused"),
        Column::number("accepted/s"),
        Column::number("refused/s"),
    ]);
    for (route, rates) in &summary.requests {
        let refused = TableCell::number(rates.refused_per_second);
        table.row([
            TableCell::text(route),
            TableCell::count(rates.accepted_total),
            TableCell::count(rates.refused_total),
            TableCell::number(rates.accepted_per_second),
            if rates.refused_per_second > 0.0 { refused.tone(Tone::Warning) } else { refused },
        ]);
    }
    table
}

/// A row for each service that the server depends on: its state, since when, the latency in seconds and the last error.
/// An unknown latency or error is empty.
fn dependencies_table(summary: &SummaryJson) -> Table {
    let mut table = Table::new([
        Column::text("depends on"),
        Column::text("state"),
        Column::time("since"),
        Column::number("latency").optional(),
        Column::text("last error").wrapping(),
    ]);
    for dependency in &summary.dependencies {
        let tone = match dependency.state.as_str() {
            "ok" => Tone::Good,
            "failing" => Tone::Bad,
            "warning" => Tone::Warning,
            _ => Tone::Plain,
        };
        table.row([
            TableCell::text(&dependency.name),
            TableCell::text(&dependency.state).tone(tone),
            time(dependency.since, summary.now),
            dependency.latency_seconds.map_or_else(TableCell::none, TableCell::seconds),
            text(dependency.last_error.as_deref()),
        ]);
    }
    table
}

/// The table for a spreadsheet: a name and a number in each row.
fn figures(summary: &SummaryJson) -> Table {
    let mut table = Table::new([Column::text("name"), Column::number("value")]);
    let mut add = |name: String, value: TableCell| table.row([TableCell::text(name), value]);
    let counts = &summary.clusters;
    for (name, count) in [
        ("total", counts.total),
        ("silent", counts.silent),
        ("refused", counts.refused),
        ("new", counts.new),
        ("reporting", counts.reporting),
        ("evicted", counts.evicted),
    ] {
        add(format!("clusters_{name}"), TableCell::count(count));
    }
    add("samples_per_second".to_owned(), TableCell::number(summary.samples_per_second));
    for (route, rates) in &summary.requests {
        add(format!("{route}_accepted_total"), TableCell::count(rates.accepted_total));
        add(format!("{route}_refused_total"), TableCell::count(rates.refused_total));
    }
    for refusal in &summary.refusals {
        add(format!("refused_{}_{}", refusal.route, refusal.reason), TableCell::count(refusal.count));
    }
    table
}

/// The time at the server, from which ages are counted.
pub(super) async fn now(api: &FleetApi) -> Result<super::model::Moment, ApiError> {
    Ok(api.summary().await?.1.now)
}
