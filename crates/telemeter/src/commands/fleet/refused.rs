//! `telemeter fleet refused`.

use std::{collections::BTreeMap, time::Duration};

use super::{
    FleetApi,
    model::{ListJson, Moment, RefusalJson, text},
    summary::{incomplete_note, now},
    whole_seconds,
};
use crate::{
    failure::RunFailure,
    output::{Column, OutputFormat, Printer, Table, TableCell, Tone, human},
};

/// Which refusals to show.
pub(super) struct RefusedQuery {
    pub(super) reason: Option<String>,
    pub(super) since: Option<Duration>,
}

/// Prints the refusals. Returns whether there are any.
pub(super) async fn print(
    api: &FleetApi,
    query: &RefusedQuery,
    format: OutputFormat,
    printer: &mut Printer,
) -> Result<bool, RunFailure> {
    let now = now(api).await?;
    let mut parameters = Vec::new();
    parameters.extend(query.reason.clone().map(|reason| ("reason", reason)));
    parameters.extend(query.since.map(|since| ("since", whole_seconds(since).to_string())));
    let json = api.list("refusals", &parameters).await?;
    let list: ListJson<RefusalJson> = api.read(json.clone())?;
    match format {
        OutputFormat::Json => printer.json(&json)?,
        OutputFormat::Csv => printer.print(format, &every_field(&list.items, now))?,
        OutputFormat::Table if list.items.is_empty() => {
            let since = query.since.map(|since| format!(" within {}", human::duration(since.as_secs())));
            let reason = query.reason.as_ref().map(|reason| format!(" for {}", human::safe(reason)));
            let which = reason.unwrap_or_default() + &since.unwrap_or_default();
            printer.line(&format!("No request was refused{which}."))?;
        }
        OutputFormat::Table => {
            printer.print(format, &table(&list.items, now))?;
            explain(&list.items, printer)?;
            if !list.whole {
                printer.line(&incomplete_note())?;
            }
        }
    }
    Ok(!list.items.is_empty())
}

/// The table of refusals for people.
pub(super) fn table(items: &[RefusalJson], now: Moment) -> Table {
    let mut table = Table::new([
        Column::text("cluster"),
        Column::text("reason"),
        Column::number("times"),
        Column::time("last"),
        Column::text("route").optional(),
        Column::time("first").optional(),
        Column::text("peer").optional(),
    ]);
    for refusal in items {
        let claimed = refusal.claimed_cluster.as_ref().map(|id| format!("{id}?"));
        let cluster = refusal.cluster.clone().or(claimed);
        table.row([
            text(cluster.as_deref()),
            TableCell::text(&refusal.reason).tone(Tone::Warning),
            TableCell::count(refusal.count),
            refusal.last.value(now),
            TableCell::text(&refusal.route),
            refusal.first.value(now),
            text(refusal.peer.as_deref()),
        ]);
    }
    table
}

/// Prints what each reason means and what to do, once for each reason.
fn explain(items: &[RefusalJson], printer: &mut Printer) -> Result<(), RunFailure> {
    if items.iter().any(|refusal| !refusal.verified) {
        printer.line("\nID?: claimed with credentials that were not accepted; it may be anybody's.")?;
    }
    let reasons: BTreeMap<&str, &RefusalJson> =
        items.iter().map(|refusal| (refusal.reason.as_str(), refusal)).collect();
    printer.line("")?;
    let mut table = Table::new([Column::text("reason"), Column::text("what it means, and what to do").wrapping()]);
    for (reason, refusal) in reasons {
        let words = format!("{} ({}). {}.", sentence(&refusal.meaning), refusal.status, sentence(&refusal.action));
        // The text is written for a page, with code in backticks.
        table.row([TableCell::text(reason), TableCell::text(words.replace('`', ""))]);
    }
    printer.print(OutputFormat::Table, &table)?;
    Ok(())
}

/// The text with a capital first letter.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// The table of refusals for a spreadsheet, with every field.
fn every_field(items: &[RefusalJson], now: Moment) -> Table {
    let mut table = Table::new([
        Column::text("cluster"),
        Column::text("claimed cluster"),
        Column::text("route"),
        Column::text("reason"),
        Column::number("status"),
        Column::number("count"),
        Column::time("first"),
        Column::time("last"),
        Column::text("peer"),
        Column::text("meaning"),
        Column::text("action"),
    ]);
    for refusal in items {
        table.row([
            text(refusal.cluster.as_deref()),
            text(refusal.claimed_cluster.as_deref()),
            TableCell::text(&refusal.route),
            TableCell::text(&refusal.reason),
            TableCell::count(u64::from(refusal.status)),
            TableCell::count(refusal.count),
            refusal.first.value(now),
            refusal.last.value(now),
            text(refusal.peer.as_deref()),
            TableCell::text(&refusal.meaning),
            TableCell::text(&refusal.action),
        ]);
    }
    table
}
