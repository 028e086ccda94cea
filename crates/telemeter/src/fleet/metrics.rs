//! `telemeter fleet metrics`.

use super::{
    FleetApi,
    model::{Metrics, text},
};
use crate::{
    output::{Column, Format, Printer, Table, Value, human},
    run::Failure,
};

pub(super) async fn print(
    api: &FleetApi,
    search: Option<String>,
    format: Format,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut query = vec![("sort", "series".to_owned()), ("order", "desc".to_owned())];
    query.extend(search.map(|search| ("search", search)));
    let json = api.list("metrics", &query).await?;
    let metrics: Metrics = api.read(json.clone())?;
    match format {
        Format::Json => printer.json(&json)?,
        Format::Csv => printer.print(format, &every_field(&metrics))?,
        Format::Table => people(&metrics, printer)?,
    }
    Ok(())
}

fn people(metrics: &Metrics, printer: &mut Printer) -> Result<(), Failure> {
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
            table.row([Value::text(&metric.name), Value::count(metric.series), Value::count(metric.clusters), rule]);
        }
        printer.print(Format::Table, &table)?;
        printer.line(&format!("{} metrics", human::count(metrics.total)))?;
    }
    if !metrics.dropped.is_empty() {
        printer.line("")?;
        let mut table = Table::new([Column::text("dropped by the whitelist"), Column::number("series")]);
        for dropped in &metrics.dropped {
            table.row([Value::text(&dropped.name), Value::count(dropped.series_total)]);
        }
        printer.print(Format::Table, &table)?;
    }
    if !metrics.unmatched_rules.is_empty() {
        printer.line("")?;
        let mut table = Table::new([Column::text("rules of the whitelist that nothing matched")]);
        for rule in &metrics.unmatched_rules {
            table.row([Value::text(rule)]);
        }
        printer.print(Format::Table, &table)?;
    }
    Ok(())
}

/// For a spreadsheet: the metrics that pass, then those that are dropped.
fn every_field(metrics: &Metrics) -> Table {
    let mut table = Table::new([
        Column::text("name"),
        Column::number("series"),
        Column::number("clusters"),
        Column::text("rule"),
        Column::number("dropped series total"),
    ]);
    for metric in &metrics.items {
        let rule = text(metric.rule.as_deref());
        table.row([Value::text(&metric.name), Value::count(metric.series), Value::count(metric.clusters), rule]);
    }
    for dropped in &metrics.dropped {
        let none = Value::none;
        table.row([Value::text(&dropped.name), none(), none(), none(), Value::count(dropped.series_total)]);
    }
    table
}
