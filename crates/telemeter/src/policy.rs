//! `telemeter policy`: lists of selectors, the client's and the server's, checked, explained, compared and exported.
//!
//! What is said is made in `telemeter-policy`; here it is asked for and printed.

mod changes;
mod check;
mod diff;
mod explain;
mod export;
mod input;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use telemeter_policy::{Remark, RuleFile, Severity};

use crate::{
    commands::RunOnce,
    output::{Printer, Tone, human},
    run::RunFailure,
};

/// Lists of selectors: what is wrong with them, what becomes of a series, how the two ends differ.
#[derive(Parser, Debug)]
#[command(name = "policy", version)]
pub(crate) struct PolicyCommand {
    #[command(subcommand)]
    action: PolicyAction,
}

#[derive(Subcommand, Debug)]
enum PolicyAction {
    /// What is wrong or odd in lists of selectors. Ends with 1 where one cannot be read.
    Check(check::CheckFlags),
    /// What becomes of each series on standard input, by which rule, and why the others are dropped.
    Explain(explain::ExplainFlags),
    /// What a client lets out and a server does not take, by the series on standard input or else by rules alone.
    Diff(diff::DiffFlags),
    /// A list as the configuration of a Prometheus that remote-writes by itself.
    Export(export::ExportFlags),
    /// What a reviewer wants to know of metrics that are to be sent: labels, values, what may tell too much.
    Report(report::ReportFlags),
}

impl RunOnce for PolicyCommand {
    async fn run(self, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
        match self.action {
            PolicyAction::Check(flags) => check::run(&flags, printer),
            PolicyAction::Explain(flags) => explain::run(flags, printer),
            PolicyAction::Diff(flags) => diff::run(flags, printer),
            PolicyAction::Export(flags) => export::run(flags, printer),
            PolicyAction::Report(flags) => report::run(flags, printer).await,
        }
    }
}

/// How many characters of a line are shown on each side of the place that is meant.
const SHOWN: usize = 70;

/// One remark: `FILE:LINE:COLUMN: error: ...`, the line, and a caret under the place.
fn print_remark(printer: &mut Printer, file: &RuleFile, remark: &Remark) -> Result<(), RunFailure> {
    let (word, tone) = match remark.severity {
        Severity::Error => ("error", Tone::Bad),
        Severity::Warning => ("warning", Tone::Warning),
        Severity::Note => ("note", Tone::Plain),
    };
    let word = printer.toned(tone, word);
    let at = format!("{}:{}", file.at(remark.position), remark.position.column);
    printer.line(&format!("{}: {word}: {}", human::safe(&at), human::safe(&remark.problem)))?;
    let (line, caret) = marked(file.line(remark.position.line), remark.position.column);
    printer.line(&format!("    {line}"))?;
    printer.line(&format!("    {caret}"))?;
    Ok(())
}

/// A line without what is far from the column, counted from 1, and a line with a caret under it.
fn marked(line: &str, column: usize) -> (String, String) {
    // One character stays one: the caret has to stand under it.
    let plain =
        |char: char| if human::safe(char.encode_utf8(&mut [0; 4])).len() == char.len_utf8() { char } else { ' ' };
    let chars: Vec<char> = line.trim_end().chars().map(plain).collect();
    let indent = chars.iter().position(|char| !char.is_whitespace()).unwrap_or(0);
    let at = (column - 1).min(chars.len()).max(indent);
    let start = if at - indent > SHOWN { at - SHOWN } else { indent };
    let end = chars.len().min(at + SHOWN);
    let (left, right) = (if start > indent { "..." } else { "" }, if end < chars.len() { "..." } else { "" });
    let shown: String = chars[start..end].iter().collect();
    (format!("{left}{shown}{right}"), format!("{}^", " ".repeat(left.len() + at - start)))
}

/// `1 rule`, `2 rules`.
fn counted(number: usize, one: &str) -> String {
    // One series, two series.
    let plural = if number == 1 || one == "series" { "" } else { "s" };
    format!("{} {one}{plural}", human::count(number as u64))
}

/// Rules that can be read; else what cannot is printed, and there are none.
fn readable(file: RuleFile, printer: &mut Printer) -> Result<Option<RuleFile>, RunFailure> {
    if file.faults.is_empty() {
        return Ok(Some(file));
    }
    for fault in &file.faults {
        let remark =
            Remark { severity: Severity::Error, file: 0, position: fault.position, problem: fault.problem.clone() };
        print_remark(printer, &file, &remark)?;
    }
    Ok(None)
}
