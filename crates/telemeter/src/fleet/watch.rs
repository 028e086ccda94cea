//! `telemeter fleet watch`: redrawn on a terminal, a line for each change elsewhere, until Ctrl-C.

use std::{collections::BTreeMap, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    ApiError, FleetApi, clusters,
    model::{ClusterJson, ListJson, Moment, RefusalJson, SummaryJson, text, tone},
    refused, summary,
};
use crate::{
    output::{Column, OutputFormat, Printer, Table, TableCell, human},
    run::RunFailure,
};

/// Refusals within so long are drawn.
const LATELY: Duration = Duration::from_secs(15 * 60);
/// So many rows of each list are drawn.
const ROWS: usize = 15;
/// A server is asked at most so often.
const SHORTEST: Duration = Duration::from_millis(100);

/// What one look saw.
struct WatchSample {
    summary: SummaryJson,
    silent: Vec<ClusterJson>,
    refused: Vec<ClusterJson>,
    refusals: Vec<RefusalJson>,
}

pub(super) async fn run(
    api: &FleetApi,
    interval: Duration,
    format: OutputFormat,
    printer: &mut Printer,
) -> Result<(), RunFailure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        ended = repeat(api, interval.max(SHORTEST), format, printer) => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

async fn repeat(
    api: &FleetApi,
    interval: Duration,
    format: OutputFormat,
    printer: &mut Printer,
) -> Result<(), RunFailure> {
    let redraws = printer.is_terminal() && format == OutputFormat::Table;
    // A server that was never there is a mistake of whoever typed it; one that goes away comes back.
    let mut seen = Ok(look(api).await?);
    let mut changes = SeenClusters::default();
    loop {
        match &seen {
            Ok(look) if redraws => draw(api, look, printer)?,
            Ok(look) => changes.print(look, format, printer)?,
            Err(error) if redraws => {
                printer.clear()?;
                printer.line(&human::safe(&ApiError::to_string(error)))?;
            }
            Err(error) => changes.fails(error, format, printer)?,
        }
        tokio::time::sleep(interval).await;
        seen = look(api).await;
    }
}

async fn look(api: &FleetApi) -> Result<WatchSample, ApiError> {
    let (_, summary) = api.summary().await?;
    let list = async |status: &str| -> Result<Vec<ClusterJson>, ApiError> {
        let list = api.list("clusters", &[("status", status.to_owned())]).await?;
        Ok(api.read::<ListJson<ClusterJson>>(list)?.items)
    };
    let (silent, refused) = (list("silent").await?, list("refused").await?);
    let refusals = api.list("refusals", &[("since", LATELY.as_secs().to_string())]).await?;
    let refusals = api.read::<ListJson<RefusalJson>>(refusals)?.items;
    Ok(WatchSample { summary, silent, refused, refusals })
}

fn draw(api: &FleetApi, look: &WatchSample, printer: &mut Printer) -> Result<(), RunFailure> {
    let now = look.summary.now;
    printer.clear()?;
    summary::head(api, &look.summary, printer)?;
    for (title, table, all) in [
        ("Silent", clusters::table(first(&look.silent), now), look.silent.len()),
        ("Refused in the last 15 minutes", refused::table(first(&look.refusals), now), look.refusals.len()),
    ] {
        if all == 0 {
            printer.line(&format!("\n{title}: none"))?;
            continue;
        }
        printer.line(&format!("\n{title}"))?;
        printer.print(OutputFormat::Table, &table)?;
        if all > ROWS {
            printer.line(&format!("and {} more", human::count((all - ROWS) as u64)))?;
        }
    }
    Ok(())
}

fn first<T>(items: &[T]) -> &[T] {
    &items[..items.len().min(ROWS)]
}

/// What was said of each cluster, to say only what is new.
#[derive(Default)]
struct SeenClusters {
    /// Clusters that are silent or refused, each with which of the two.
    known: BTreeMap<String, &'static str>,
    /// Whether anything was written.
    started: bool,
    /// Whether the last look failed.
    failing: bool,
}

impl SeenClusters {
    fn print(&mut self, look: &WatchSample, format: OutputFormat, printer: &mut Printer) -> Result<(), RunFailure> {
        let now = look.summary.now;
        self.failing = false;
        let (mut seen, mut changes) = (BTreeMap::new(), Vec::new());
        for (status, items) in [("silent", &look.silent), ("refused", &look.refused)] {
            for cluster in items {
                seen.insert(cluster.id.clone(), status);
                if self.known.get(&cluster.id) != Some(&status) {
                    changes.push((cluster.id.clone(), status, why(cluster, status, now)));
                }
            }
        }
        let over = self.known.keys().filter(|id| !seen.contains_key(*id));
        changes.extend(over.map(|id| (id.clone(), "reporting", None)));
        self.known = seen;
        for (id, status, why) in changes {
            self.line(&id, status, why.as_deref(), now, format, printer)?;
        }
        Ok(())
    }

    /// Says once that the server no longer answers. Scripts read changes alone.
    fn fails(&mut self, error: &ApiError, format: OutputFormat, printer: &mut Printer) -> Result<(), RunFailure> {
        if !std::mem::replace(&mut self.failing, true) && format == OutputFormat::Table {
            printer.line(&human::safe(&error.to_string()))?;
        }
        Ok(())
    }

    fn line(
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
            printer.line(&format!("{} {} {status}{why}", human::rfc3339(now.0), human::safe(id)))?;
            return Ok(());
        }
        let columns = [Column::time("at"), Column::text("cluster"), Column::text("status"), Column::text("why")];
        let mut table = Table::new(columns);
        table.row([now.value(now), TableCell::text(id), TableCell::text(status), text(why)]);
        printer.append(format, &table, !std::mem::replace(&mut self.started, true))?;
        Ok(())
    }
}

fn why(cluster: &ClusterJson, status: &str, now: Moment) -> Option<String> {
    if status == "silent" {
        return Some(match cluster.last_report {
            Some(at) => format!("last report {}", human::age(at.0, now.0)),
            None => "it never reported".to_owned(),
        });
    }
    let refusal = cluster.last_refusal.as_ref();
    refusal.map(|refusal| format!("{} on {} ({}): {}", refusal.reason, refusal.route, refusal.status, refusal.text))
}
