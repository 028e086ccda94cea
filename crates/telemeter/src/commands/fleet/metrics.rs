//! `telemeter fleet metrics`.

use super::{
    FleetApi,
    model::{MetricsJson, text},
};
use crate::{
    failure::RunFailure,
    output::{Column, OutputFormat, Printer, Table, TableCell, human},
};

/// Asks the server for its metrics and prints them, those with the most series first; with `search`, only those whose
/// name contains it. JSON is printed as the server sent it.
pub(super) async fn print(
    api: &FleetApi,
    search: Option<String>,
    format: OutputFormat,
    printer: &mut Printer,
) -> Result<(), RunFailure> {
    let mut query = vec![("sort", "series".to_owned()), ("order", "desc".to_owned())];
    query.extend(search.map(|search| ("search", search)));
    let json = api.list("metrics", &query).await?;
    let metrics: MetricsJson = api.read(json.clone())?;
    match format {
        OutputFormat::Json => printer.json(&json)?,
        OutputFormat::Csv => printer.print(format, &every_field(&metrics))?,
        OutputFormat::Table => print_for_people(&metrics, printer)?,
    }
    Ok(())
}

/// Prints the metrics as tables: those that pass, then those that the whitelist drops, then the rules that nothing
/// matched. Empty tables are left out; a sentence says why there are no metrics.
fn print_for_people(metrics: &MetricsJson, printer: &mut Printer) -> Result<(), RunFailure> {
    if metrics.items.is_empty() {
        printer.line(if metrics.whole {
            "No such metric passed lately."
        } else {
            "This server has no --recent-store: it only knows what the whitelist drops."
        })?;
    } else {
        let mut table = Table::new([
            Column::text("metric"),
            Column::number("series"),
            Column::number("clusters"),
            Column::text("let in by").optional(),
        ]);
        for metric in &metrics.items {
            let rule = text(metric.rule.as_deref());
            table.row([
                TableCell::text(&metric.name),
                TableCell::count(metric.series),
                TableCell::count(metric.clusters),
                rule,
            ]);
        }
        printer.print(OutputFormat::Table, &table)?;
        printer.line(&format!("{} metrics", human::count(metrics.total)))?;
    }
    if !metrics.dropped.is_empty() {
        printer.line("")?;
        let mut table = Table::new([Column::text("dropped by the whitelist"), Column::number("series")]);
        for dropped in &metrics.dropped {
            table.row([TableCell::text(&dropped.name), TableCell::count(dropped.series_total)]);
        }
        printer.print(OutputFormat::Table, &table)?;
    }
    if !metrics.unmatched_rules.is_empty() {
        printer.line("")?;
        let mut table = Table::new([Column::text("rules of the whitelist that nothing matched")]);
        for rule in &metrics.unmatched_rules {
            table.row([TableCell::text(rule)]);
        }
        printer.print(OutputFormat::Table, &table)?;
    }
    Ok(())
}

/// The table for a spreadsheet: the metrics that pass, then those that are dropped.
fn every_field(metrics: &MetricsJson) -> Table {
    let mut table = Table::new([
        Column::text("name"),
        Column::number("series"),
        Column::number("clusters"),
        Column::text("rule"),
        Column::number("dropped series total"),
    ]);
    for metric in &metrics.items {
        let rule = text(metric.rule.as_deref());
        table.row([
            TableCell::text(&metric.name),
            TableCell::count(metric.series),
            TableCell::count(metric.clusters),
            rule,
        ]);
    }
    for dropped in &metrics.dropped {
        let none = TableCell::none;
        table.row([TableCell::text(&dropped.name), none(), none(), none(), TableCell::count(dropped.series_total)]);
    }
    table
}
