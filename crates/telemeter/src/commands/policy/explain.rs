//! `telemeter policy explain`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use telemeter_policy::{RuleFile, SeriesExplanation, explain};

use super::{
    changes::{self, ChangeFlags},
    counted, input, readable,
};
use crate::{
    failure::RunFailure,
    output::{Column, OutputFlags, OutputFormat, Printer, Table, TableCell, Tone, human},
};

#[derive(Args, Debug)]
pub(super) struct ExplainFlags {
    /// The rules: selectors, one a line; --match and --whitelist flags; YAML with `matches:`. -: standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The metrics, as text or delimited protobuf. Without it: standard input.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,

    /// Show only what is dropped.
    #[arg(long)]
    dropped: bool,

    /// Show every series, also where many in a row are decided alike.
    #[arg(long)]
    all: bool,

    /// End with 1 where a series is dropped.
    #[arg(long)]
    fail: bool,

    #[command(flatten)]
    changes: ChangeFlags,

    #[command(flatten)]
    output: OutputFlags,
}

/// Prints for each series whether the rules keep it, and by which rule or why not. Of many series in a row with the
/// same explanation, only the first are printed, unless `--all` is given. The exit code is 1 where a rule is invalid,
/// or where a series is dropped and `--fail` is given.
///
/// # Errors
/// The rules or the metrics are not given or cannot be read, or a flag is invalid.
pub(super) fn run(flags: ExplainFlags, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
    input::one_stdin(&[&flags.file], flags.metrics.as_deref())?;
    let changes = flags.changes.changes()?;
    let Some(rules) = readable(input::rules(&flags.file)?, printer)? else { return Ok(ExitCode::FAILURE) };
    let body = input::needed_metrics(flags.metrics.as_deref())?;
    let explained = explain(&rules, &body, &changes)?;
    let dropped = explained.iter().filter(|series| series.becomes.is_none()).count();
    let shown = explained.iter().filter(|series| !flags.dropped || series.becomes.is_none());
    match flags.output.format {
        OutputFormat::Table => {
            let shown: Vec<&SeriesExplanation> = shown.collect();
            for alike in shown.chunk_by(|one, next| is_alike(one, next)) {
                // One more series takes as much space as the line that says so.
                let few = if flags.all || alike.len() <= SHOWN_ALIKE + 1 { alike.len() } else { SHOWN_ALIKE };
                for series in &alike[..few] {
                    print_series(printer, &rules, series)?;
                }
                if let Some(more) = alike.len().checked_sub(few).filter(|more| *more > 0) {
                    printer.line(&format!("         and {} more like it", human::count(more as u64)))?;
                }
            }
            let kept = human::count((explained.len() - dropped) as u64);
            let counts = format!(
                "{}: {kept} kept, {} dropped",
                counted(explained.len(), "series"),
                human::count(dropped as u64)
            );
            printer.line(&counts)?;
            if let Some(note) = changes::missing_salt_note(&changes) {
                printer.line(note)?;
            }
        }
        format => printer.print(format, &series_table(&rules, shown))?,
    }
    Ok(if flags.fail && dropped > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// How many of a row of series with the same explanation are shown.
const SHOWN_ALIKE: usize = 3;

/// Whether both have the same explanation: the same metric, decision, rule and reason.
fn is_alike(one: &SeriesExplanation, next: &SeriesExplanation) -> bool {
    let metric = |series: &SeriesExplanation| series.series.split('{').next().unwrap_or_default().to_owned();
    let explanation =
        |series: &SeriesExplanation| (series.becomes.is_some(), series.rule, series.reason.clone(), metric(series));
    explanation(one) == explanation(next)
}

/// Prints one series: whether it is kept or dropped, by which rule, and its new name and labels where the client's
/// flags change them. For a dropped one: the nearest rule, where there is one, and the reason.
fn print_series(printer: &mut Printer, rules: &RuleFile, series: &SeriesExplanation) -> Result<(), RunFailure> {
    let safe = human::safe;
    let rule = series.rule.map(|rule| rule_text(rules, rule));
    match &series.becomes {
        Some(becomes) => {
            let word = printer.toned(Tone::Good, "kept");
            printer.line(&format!("{word}     {}", safe(&series.series)))?;
            let by = rule.map_or_else(|| "without any rule everything passes".to_owned(), |rule| format!("by {rule}"));
            printer.line(&format!("         {}", safe(&by)))?;
            if *becomes != series.series {
                printer.line(&format!("         as {}", safe(becomes)))?;
            }
        }
        None => {
            let word = printer.toned(Tone::Bad, "dropped");
            printer.line(&format!("{word}  {}", safe(&series.series)))?;
            if let Some(rule) = rule {
                printer.line(&format!("         nearest {}", safe(&rule)))?;
            }
            printer.line(&format!("         {}", safe(&series.reason)))?;
        }
    }
    Ok(())
}

/// `FILE:LINE RULE`.
pub(super) fn rule_text(rules: &RuleFile, rule: usize) -> String {
    rules.rules.get(rule).map_or_else(String::new, |rule| format!("{} {}", rules.at(rule.position), rule.text))
}

/// The series as a table for JSON and CSV, a row for each. A missing rule, an empty reason, and the new labels of a
/// dropped series are empty.
fn series_table<'e>(rules: &RuleFile, explained: impl Iterator<Item = &'e SeriesExplanation>) -> Table {
    let columns = ["decision", "series", "becomes", "rule", "reason"].map(Column::text);
    let mut table = Table::new(columns);
    let given = |text: Option<String>| text.map_or_else(TableCell::none, TableCell::text);
    for series in explained {
        table.row([
            TableCell::text(if series.becomes.is_some() { "kept" } else { "dropped" }),
            TableCell::text(&series.series),
            given(series.becomes.clone()),
            given(series.rule.map(|rule| rule_text(rules, rule))),
            given(Some(series.reason.clone()).filter(|reason| !reason.is_empty())),
        ]);
    }
    table
}
