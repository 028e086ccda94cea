//! `telemeter fleet silent` and `telemeter fleet show`.

use std::{collections::BTreeSet, time::Duration};

use super::{
    FleetApi,
    model::{ClusterJson, ListJson, Moment, OneCluster, text, time, tone},
    summary::{incomplete_note, now},
    whole_seconds,
};
use crate::{
    failure::RunFailure,
    output::{Column, OutputFormat, Printer, Table, TableCell, Tone, human},
};

/// Prints the clusters that are silent, for at least `silent_for` where it is given; in a table, a sentence says that
/// there are none, or that the list is not complete. Returns whether there are any.
pub(super) async fn print_silent(
    api: &FleetApi,
    silent_for: Option<Duration>,
    format: OutputFormat,
    printer: &mut Printer,
) -> Result<bool, RunFailure> {
    let now = now(api).await?;
    let mut query = vec![("status", "silent".to_owned())];
    query.extend(silent_for.map(|length| ("silent_for", whole_seconds(length).to_string())));
    let json = api.list("clusters", &query).await?;
    let list: ListJson<ClusterJson> = api.read(json.clone())?;
    match format {
        OutputFormat::Json => printer.json(&json)?,
        OutputFormat::Csv => printer.print(format, &every_field(&list.items, now))?,
        OutputFormat::Table if list.items.is_empty() => {
            let length = silent_for.map(|length| format!(" for {}", human::duration(length.as_secs())));
            printer.line(&format!("No cluster is silent{}.", length.unwrap_or_default()))?;
        }
        OutputFormat::Table => {
            printer.print(format, &table(&list.items, now))?;
            if !list.whole {
                printer.line(&incomplete_note())?;
            }
        }
    }
    Ok(!list.items.is_empty())
}

/// The table of clusters for people, with the columns that help to find out why one is silent.
pub(super) fn table(items: &[ClusterJson], now: Moment) -> Table {
    let labels = label_names(items);
    let mut columns = vec![Column::text("cluster"), Column::time("last report"), Column::time("last refusal")];
    columns.extend(labels.iter().map(|name| Column::text(name.clone()).optional()));
    columns.extend([
        Column::number("every").optional(),
        Column::text("client").optional(),
        Column::text("peer").optional(),
    ]);
    let mut table = Table::new(columns);
    for cluster in items {
        let refusal = cluster
            .last_refusal
            .as_ref()
            .map(|refusal| TableCell::text(format!("{}, {}", refusal.reason, human::age(refusal.at.0, now.0))));
        let mut row = vec![
            TableCell::text(&cluster.id),
            time(cluster.last_report, now).tone(tone(&cluster.status)),
            refusal.unwrap_or_else(TableCell::none),
        ];
        row.extend(labels.iter().map(|name| text(cluster.labels.get(name).map(String::as_str))));
        row.extend([
            cluster.interval_seconds.map_or_else(TableCell::none, TableCell::seconds),
            text(cluster.client.as_deref()),
            text(cluster.peer.as_deref()),
        ]);
        table.row(row);
    }
    table
}

/// The table of clusters for a spreadsheet, with every field.
fn every_field(items: &[ClusterJson], now: Moment) -> Table {
    let labels = label_names(items);
    let mut columns = vec![
        Column::text("id"),
        Column::text("status"),
        Column::time("first seen"),
        Column::time("last report"),
        Column::number("series"),
        Column::number("filtered"),
        Column::number("bytes"),
        Column::number("interval seconds"),
        Column::number("drift seconds"),
        Column::text("client"),
        Column::text("peer"),
        Column::text("last refusal"),
        Column::time("last refusal at"),
    ];
    columns.extend(labels.iter().map(|name| Column::text(name.clone())));
    let mut table = Table::new(columns);
    for cluster in items {
        let seconds = |seconds: Option<f64>| seconds.map_or_else(TableCell::none, TableCell::seconds);
        let refusal = cluster.last_refusal.as_ref();
        let mut row = vec![
            TableCell::text(&cluster.id),
            TableCell::text(&cluster.status),
            cluster.first_seen.value(now),
            time(cluster.last_report, now),
            TableCell::count(cluster.series),
            TableCell::count(cluster.filtered),
            TableCell::bytes(cluster.bytes),
            seconds(cluster.interval_seconds),
            seconds(cluster.drift_seconds),
            text(cluster.client.as_deref()),
            text(cluster.peer.as_deref()),
            text(refusal.map(|refusal| refusal.reason.as_str())),
            time(refusal.map(|refusal| refusal.at), now),
        ];
        row.extend(labels.iter().map(|name| text(cluster.labels.get(name).map(String::as_str))));
        table.row(row);
    }
    table
}

/// The names of all fleet labels that at least one of the clusters has, sorted.
fn label_names(items: &[ClusterJson]) -> BTreeSet<String> {
    items.iter().flat_map(|cluster| cluster.labels.keys().cloned()).collect()
}

/// Asks the server for one cluster and prints it with everything that is known of it. JSON is printed as the server
/// sent it.
pub(super) async fn print_one(
    api: &FleetApi,
    id: &str,
    format: OutputFormat,
    printer: &mut Printer,
) -> Result<(), RunFailure> {
    let now = now(api).await?;
    let json = api.get(&["clusters", id], &[]).await?;
    let one: OneCluster = api.read(json.clone())?;
    match format {
        OutputFormat::Json => printer.json(&json)?,
        OutputFormat::Csv => printer.print(format, &every_field(&[one.cluster], now))?,
        OutputFormat::Table => print_for_people(&one, now, printer)?,
    }
    Ok(())
}

/// Prints one cluster as text: its status and facts, then tables of its refusals, firing alerts and recent requests,
/// each only where there are any.
fn print_for_people(one: &OneCluster, now: Moment, printer: &mut Printer) -> Result<(), RunFailure> {
    let cluster = &one.cluster;
    let status = printer.toned(tone(&cluster.status), &human::safe(&cluster.status));
    printer.line(&format!("{}: {status}", human::safe(&cluster.id)))?;
    printer.line("")?;
    printer.print(OutputFormat::Table, &facts(one, now))?;
    if !cluster.refusals.is_empty() {
        printer.line("")?;
        let mut table = Table::new([Column::text("refused for"), Column::text("route"), Column::number("times")]);
        for refusal in &cluster.refusals {
            table.row([
                TableCell::text(&refusal.reason),
                TableCell::text(&refusal.route),
                TableCell::count(refusal.count),
            ]);
        }
        printer.print(OutputFormat::Table, &table)?;
    }
    if let Some(alerts) = one.alerts.as_ref().filter(|alerts| !alerts.is_empty()) {
        printer.line("")?;
        let mut table = Table::new([Column::text("alert"), Column::text("severity"), Column::time("firing")]);
        for alert in alerts {
            let severity = text(alert.severity.as_deref()).tone(Tone::Warning);
            table.row([TableCell::text(&alert.name), severity, time(alert.since, now)]);
        }
        printer.print(OutputFormat::Table, &table)?;
    }
    if !one.exchanges.is_empty() {
        printer.line("")?;
        let mut table = Table::new([Column::time("exchange"), Column::text("route"), Column::text("outcome")]);
        for exchange in &one.exchanges {
            let tone = if exchange.outcome == "accepted" { Tone::Good } else { Tone::Warning };
            let outcome = TableCell::text(&exchange.outcome).tone(tone);
            table.row([exchange.at.value(now), TableCell::text(&exchange.route), outcome]);
        }
        printer.print(OutputFormat::Table, &table)?;
    }
    Ok(())
}

/// The facts about a cluster, one a row.
fn facts(one: &OneCluster, now: Moment) -> Table {
    let cluster = &one.cluster;
    let mut table = Table::new([Column::text("known"), Column::text("value").wrapping()]);
    let mut fact = |name: &str, value: TableCell| table.row([TableCell::text(name), value]);
    fact("state", TableCell::text(&one.state));
    for (name, value) in &cluster.labels {
        fact(name, TableCell::text(value));
    }
    fact("first seen", cluster.first_seen.value(now));
    fact("last report", time(cluster.last_report, now));
    fact("reports every", cluster.interval_seconds.map_or_else(TableCell::none, TableCell::seconds));
    let (series, dropped) = (human::count(cluster.series), human::count(cluster.filtered));
    fact("series", TableCell::text(format!("{series}, and {dropped} dropped by the whitelist")));
    let size = format!("{} of at most {}", human::bytes(cluster.bytes), human::bytes(one.limits.limit_bytes));
    fact("size", TableCell::text(size));
    fact("clock drift", cluster.drift_seconds.map_or_else(TableCell::none, TableCell::seconds));
    fact("client", text(cluster.client.as_deref()));
    fact("peer", text(cluster.peer.as_deref()));
    if let Some(at) = one.limits.next_upload_at {
        fact("next upload", at.value(now));
    }
    if let Some(refusal) = &cluster.last_refusal {
        let age = human::age(refusal.at.0, now.0);
        let words = format!("{age}: {} on {} ({}): {}", refusal.reason, refusal.route, refusal.status, refusal.text);
        fact("last refusal", TableCell::text(words));
    }
    table
}
