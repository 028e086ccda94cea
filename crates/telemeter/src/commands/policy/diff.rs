//! `telemeter policy diff`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use telemeter_policy::{ClientChanges, RuleDifference, RuleFile, ServerCoverage, UnusedSeries, by_rules, by_series};

use super::{changes::ChangeFlags, counted, explain::rule_text, input, readable};
use crate::{
    failure::RunFailure,
    output::{Column, OutputFlags, OutputFormat, Printer, Table, TableCell, Tone, human},
};

#[derive(Args, Debug)]
pub(super) struct DiffFlags {
    /// The client's rules: selectors, one a line; --match flags; YAML with `matches:`. -: standard input.
    #[arg(value_name = "CLIENT")]
    client: PathBuf,

    /// The server's rules: selectors, one a line; --whitelist flags; YAML. -: standard input.
    #[arg(value_name = "SERVER")]
    server: PathBuf,

    /// The metrics, as text or delimited protobuf. Without it: standard input, where something is piped in.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,

    /// End with 1 where the server certainly does not take something that the client lets out.
    #[arg(long)]
    fail: bool,

    #[command(flatten)]
    changes: ChangeFlags,

    #[command(flatten)]
    output: OutputFlags,
}

/// Prints what the client sends and the server drops. Compares by given metrics, or by the rules alone where there are
/// none. The exit code is 1 where a file has an invalid rule, or where something is dropped and `--fail` is given.
///
/// # Errors
/// A file cannot be read, a flag is invalid, or standard input is given more than once.
pub(super) fn run(flags: DiffFlags, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
    let paths = [flags.client.as_path(), flags.server.as_path()];
    let rules_on_stdin = paths.iter().any(|path| input::is_stdin(path));
    if flags.metrics.is_some() {
        input::one_stdin(&paths, flags.metrics.as_deref())?;
    } else if paths.iter().all(|path| input::is_stdin(path)) {
        return Err("- (standard input) is given more than once".into());
    }
    let changes = flags.changes.changes()?;
    let (client, server) = (input::rules(&flags.client)?, input::rules(&flags.server)?);
    let (Some(client), Some(server)) = (readable(client, printer)?, readable(server, printer)?) else {
        return Ok(ExitCode::FAILURE);
    };
    let body = if flags.metrics.is_none() && rules_on_stdin { None } else { input::metrics(flags.metrics.as_deref())? };
    let format = flags.output.format;
    let lost = match body {
        Some(body) => series(&client, &server, &body, &changes, format, printer)?,
        None => rules(&client, &server, &changes, format, printer)?,
    };
    Ok(if flags.fail && lost { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Compares by the given series and prints. Returns whether the server drops one that the client sends.
fn series(
    client: &RuleFile,
    server: &RuleFile,
    body: &[u8],
    changes: &ClientChanges,
    format: OutputFormat,
    printer: &mut Printer,
) -> Result<bool, RunFailure> {
    let found = by_series(client, server, body, changes)?;
    if format != OutputFormat::Table {
        printer.print(format, &unused_table(client, server, &found.unused))?;
        return Ok(!found.unused.is_empty());
    }
    for lost in &found.unused {
        let word = printer.toned(Tone::Bad, "not taken");
        let of = if lost.series > 1 { format!(", one of {}", counted(lost.series, "series")) } else { String::new() };
        printer.line(&format!("{word}  {}{of}", human::safe(&lost.example)))?;
        if let Some(rule) = lost.sent_by {
            print_detail(printer, &format!("let out by {}", rule_text(client, rule)))?;
        }
        if let Some(rule) = lost.nearest {
            print_detail(printer, &format!("nearest {}", rule_text(server, rule)))?;
        }
        print_detail(printer, &lost.reason)?;
    }
    let number = |number: usize| human::count(number as u64);
    printer.line(&format!(
        "{}: the client lets out {}, the server takes {} of these",
        counted(found.series, "series"),
        number(found.sent),
        number(found.accepted)
    ))?;
    Ok(!found.unused.is_empty())
}

/// The series that the server drops as a table for JSON and CSV, a row for each metric, with the rule of the client
/// that sends it and the server's nearest rule. A rule that is not known is empty.
fn unused_table(client: &RuleFile, server: &RuleFile, lost: &[UnusedSeries]) -> Table {
    let mut table = Table::new([
        Column::text("metric"),
        Column::number("series"),
        Column::text("example"),
        Column::text("reason"),
        Column::text("let out by"),
        Column::text("nearest rule of the server"),
    ]);
    let named = |rules: &RuleFile, rule: Option<usize>| {
        rule.map_or_else(TableCell::none, |rule| TableCell::text(rule_text(rules, rule)))
    };
    for lost in lost {
        table.row([
            TableCell::text(&lost.metric),
            TableCell::count(lost.series as u64),
            TableCell::text(&lost.example),
            TableCell::text(&lost.reason),
            named(client, lost.sent_by),
            named(server, lost.nearest),
        ]);
    }
    table
}

/// Compares by rules only and prints. Returns whether the server certainly drops something that the client sends.
fn rules(
    client: &RuleFile,
    server: &RuleFile,
    changes: &ClientChanges,
    format: OutputFormat,
    printer: &mut Printer,
) -> Result<bool, RunFailure> {
    let found = by_rules(client, server, changes);
    let lines = by_rule(client, server, &found);
    let nothing = lines.iter().any(|line| line.word == NOTHING);
    if format != OutputFormat::Table {
        let mut table = Table::new(["taken", "rule", "reason", "nearest rules"].map(Column::text));
        for line in &lines {
            let rules = if line.rules.is_empty() { TableCell::none() } else { TableCell::text(line.rules.join(", ")) };
            table.row([
                TableCell::text(line.word),
                TableCell::text(&line.rule),
                TableCell::text(line.reason.as_str()),
                rules,
            ]);
        }
        printer.print(format, &table)?;
        return Ok(nothing);
    }
    for line in &lines {
        let word = printer.toned(line.tone, &format!("{:<9}", line.word));
        printer.line(&format!("{word}  {}", human::safe(&line.rule)))?;
        for rule in &line.rules {
            print_detail(printer, &format!("nearest {rule}"))?;
        }
        print_detail(printer, &line.reason)?;
    }
    let count = |word: &str| lines.iter().filter(|line| line.word == word).count();
    let all = found.rules.len() - count(SOME) - count(NOTHING);
    printer.line(&format!(
        "{} of the client: the server takes all of {all}, some of {}, nothing of {}",
        counted(found.rules.len(), "rule"),
        count(SOME),
        count(NOTHING)
    ))?;
    Ok(nothing)
}

const SOME: &str = "some";
const NOTHING: &str = "nothing";
/// How many rules of the server are named where several may accept something.
const MAX_NAMED: usize = 3;

/// The result for one rule, of the client or of the server.
struct RuleLine {
    word: &'static str,
    tone: Tone,
    rule: String,
    rules: Vec<String>,
    reason: String,
}

/// The client's rules of which the server does not accept everything, and the server's rules that nothing matches.
fn by_rule(client: &RuleFile, server: &RuleFile, found: &RuleDifference) -> Vec<RuleLine> {
    let taken = found.rules.iter().enumerate().filter_map(|(index, taken)| {
        let rule = rule_text(client, index);
        Some(match taken {
            ServerCoverage::All => return None,
            ServerCoverage::Some { by } => {
                let mut reason = "a part of it, or all: rules alone do not tell; give metrics to see".to_owned();
                if by.len() > MAX_NAMED {
                    reason = format!("and {} more rules may take {reason}", by.len() - MAX_NAMED);
                }
                let rules = by.iter().take(MAX_NAMED).map(|rule| rule_text(server, *rule)).collect();
                RuleLine { word: SOME, tone: Tone::Warning, rule, rules, reason }
            }
            ServerCoverage::Nothing { nearest, reason } => {
                let rules = nearest.iter().map(|rule| rule_text(server, *rule)).collect();
                RuleLine { word: NOTHING, tone: Tone::Bad, rule, rules, reason: reason.clone() }
            }
        })
    });
    let unreached = found.unreached.iter().map(|rule| RuleLine {
        word: "not sent",
        tone: Tone::Plain,
        rule: rule_text(server, *rule),
        rules: Vec::new(),
        reason: "a rule of the server, and the client lets out nothing that it selects".to_owned(),
    });
    taken.chain(unreached).collect()
}

/// Prints a line below a rule or a series, indented.
fn print_detail(printer: &mut Printer, text: &str) -> Result<(), RunFailure> {
    Ok(printer.line(&format!("           {}", human::safe(text)))?)
}
