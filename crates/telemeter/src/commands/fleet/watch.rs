//! `telemeter fleet watch`: redrawn on a terminal, a line for each change elsewhere, until Ctrl-C.

use std::{collections::BTreeMap, time::Duration};

use telemeter_http::date;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    ApiError, FleetApi, clusters,
    model::{ClusterJson, ListJson, Moment, RefusalJson, SummaryJson, text, tone},
    refused, summary,
};
use crate::{
    failure::RunFailure,
    output::{Column, OutputFormat, Printer, Table, TableCell, human},
};

/// How far back refusals are shown.
const REFUSALS_WITHIN: Duration = Duration::from_secs(15 * 60);
/// How many rows of each list are drawn.
const MAX_ROWS: usize = 15;
/// The shortest interval.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// The state of the fleet at one moment.
struct WatchSample {
    summary: SummaryJson,
    silent: Vec<ClusterJson>,
    refused: Vec<ClusterJson>,
    refusals: Vec<RefusalJson>,
}

/// Watches the fleet until SIGINT or SIGTERM, which end it without an error. `interval` is raised to [`MIN_INTERVAL`].
pub(super) async fn run(
    api: &FleetApi,
    interval: Duration,
    format: OutputFormat,
    printer: &mut Printer,
) -> Result<(), RunFailure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        ended = print_repeatedly(api, interval.max(MIN_INTERVAL), format, printer) => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

/// Asks the server every `interval`, and prints the answer, without end. With the table format on a terminal, the
/// screen is redrawn; else only what changed is printed.
///
/// # Errors
/// The first request fails, or the output does. Where a later request fails, this is printed and the loop goes on.
async fn print_repeatedly(
    api: &FleetApi,
    interval: Duration,
    format: OutputFormat,
    printer: &mut Printer,
) -> Result<(), RunFailure> {
    let redraws = printer.is_terminal() && format == OutputFormat::Table;
    // A server that does not answer at the start is probably a wrong --server. One that goes away later may come back.
    let mut sample = Ok(take_sample(api).await?);
    let mut changes = ReportedClusters::default();
    loop {
        match &sample {
            Ok(sample) if redraws => draw_screen(api, sample, printer)?,
            Ok(sample) => changes.print_changes(sample, format, printer)?,
            Err(error) if redraws => {
                printer.clear()?;
                printer.line(&human::safe(&ApiError::to_string(error)))?;
            }
            Err(error) => changes.print_failure(error, format, printer)?,
        }
        tokio::time::sleep(interval).await;
        sample = take_sample(api).await;
    }
}

/// Asks the server for the summary, the silent and the refused clusters, and the refusals of the last
/// [`REFUSALS_WITHIN`], with one request for each.
async fn take_sample(api: &FleetApi) -> Result<WatchSample, ApiError> {
    let (_, summary) = api.summary().await?;
    let list = async |status: &str| -> Result<Vec<ClusterJson>, ApiError> {
        let list = api.list("clusters", &[("status", status.to_owned())]).await?;
        Ok(api.read::<ListJson<ClusterJson>>(list)?.items)
    };
    let (silent, refused) = (list("silent").await?, list("refused").await?);
    let refusals = api.list("refusals", &[("since", REFUSALS_WITHIN.as_secs().to_string())]).await?;
    let refusals = api.read::<ListJson<RefusalJson>>(refusals)?.items;
    Ok(WatchSample { summary, silent, refused, refusals })
}

/// Clears the screen, then prints the head of the summary, the silent clusters and the recent refusals, at most
/// [`MAX_ROWS`] of each.
fn draw_screen(api: &FleetApi, sample: &WatchSample, printer: &mut Printer) -> Result<(), RunFailure> {
    let now = sample.summary.now;
    printer.clear()?;
    summary::print_head(api, &sample.summary, printer)?;
    for (title, table, all) in [
        ("Silent", clusters::table(first(&sample.silent), now), sample.silent.len()),
        ("Refused in the last 15 minutes", refused::table(first(&sample.refusals), now), sample.refusals.len()),
    ] {
        if all == 0 {
            printer.line(&format!("\n{title}: none"))?;
            continue;
        }
        printer.line(&format!("\n{title}"))?;
        printer.print(OutputFormat::Table, &table)?;
        if all > MAX_ROWS {
            printer.line(&format!("and {} more", human::count((all - MAX_ROWS) as u64)))?;
        }
    }
    Ok(())
}

/// The first [`MAX_ROWS`] items, or all where there are fewer.
fn first<T>(items: &[T]) -> &[T] {
    &items[..items.len().min(MAX_ROWS)]
}

/// The clusters that were silent or refused in the last sample, to print only what changed.
#[derive(Default)]
struct ReportedClusters {
    /// Each such cluster, with `silent` or `refused`.
    known: BTreeMap<String, &'static str>,
    /// Whether anything has been printed.
    started: bool,
    /// Whether the last sample failed.
    failing: bool,
}

impl ReportedClusters {
    /// Prints a line for each cluster that became silent or refused since the last sample, or that reports again; then
    /// remembers this sample for the next call.
    fn print_changes(
        &mut self,
        sample: &WatchSample,
        format: OutputFormat,
        printer: &mut Printer,
    ) -> Result<(), RunFailure> {
        let now = sample.summary.now;
        self.failing = false;
        let (mut current, mut changes) = (BTreeMap::new(), Vec::new());
        for (status, items) in [("silent", &sample.silent), ("refused", &sample.refused)] {
            for cluster in items {
                current.insert(cluster.id.clone(), status);
                if self.known.get(&cluster.id) != Some(&status) {
                    changes.push((cluster.id.clone(), status, status_reason(cluster, status, now)));
                }
            }
        }
        let over = self.known.keys().filter(|id| !current.contains_key(*id));
        changes.extend(over.map(|id| (id.clone(), "reporting", None)));
        self.known = current;
        for (id, status, why) in changes {
            self.print_change(&id, status, why.as_deref(), now, format, printer)?;
        }
        Ok(())
    }

    /// Prints once that the server no longer answers; not for scripts, which read only changes.
    fn print_failure(
        &mut self,
        error: &ApiError,
        format: OutputFormat,
        printer: &mut Printer,
    ) -> Result<(), RunFailure> {
        if !std::mem::replace(&mut self.failing, true) && format == OutputFormat::Table {
            printer.line(&human::safe(&error.to_string()))?;
        }
        Ok(())
    }

    /// Prints one change of a cluster: a line of text, or a row of CSV or JSON. The header of CSV comes only before the
    /// first row.
    fn print_change(
        &mut self,
        id: &str,
        status: &str,
        why: Option<&str>,
        now: Moment,
        format: OutputFormat,
        printer: &mut Printer,
    ) -> Result<(), RunFailure> {
        if format == OutputFormat::Table {
            let why = why.map(|why| format!(": {}", human::safe(why))).unwrap_or_default();
            let status = printer.toned(tone(status), status);
            printer.line(&format!("{} {} {status}{why}", date::rfc3339(now.0), human::safe(id)))?;
            return Ok(());
        }
        let columns = [Column::time("at"), Column::text("cluster"), Column::text("status"), Column::text("why")];
        let mut table = Table::new(columns);
        table.row([now.value(now), TableCell::text(id), TableCell::text(status), text(why)]);
        printer.append(format, &table, !std::mem::replace(&mut self.started, true))?;
        Ok(())
    }
}

/// Why a cluster has this status: for `silent`, when it last reported; else its last refusal. `None` where no refusal
/// is known.
fn status_reason(cluster: &ClusterJson, status: &str, now: Moment) -> Option<String> {
    if status == "silent" {
        return Some(match cluster.last_report {
            Some(at) => format!("last report {}", human::age(at.0, now.0)),
            None => "it never reported".to_owned(),
        });
    }
    let refusal = cluster.last_refusal.as_ref();
    refusal.map(|refusal| format!("{} on {} ({}): {}", refusal.reason, refusal.route, refusal.status, refusal.text))
}
