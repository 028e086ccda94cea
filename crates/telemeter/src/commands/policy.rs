//! `telemeter policy`: checks, explains, compares and exports the client's and the server's lists of selectors.
//!
//! `telemeter-policy` computes the results; the modules here parse the flags and print.

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

use super::RunOnce;
use crate::{
    failure::RunFailure,
    output::{Printer, Tone, human},
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

/// How many characters of a line are shown on each side of the caret.
const SHOWN: usize = 70;

/// Prints a remark: `FILE:LINE:COLUMN: error: ...`, the line, and a line with a caret under the column.
fn print_remark(printer: &mut Printer, file: &RuleFile, remark: &Remark) -> Result<(), RunFailure> {
    let (word, tone) = match remark.severity {
        Severity::Error => ("error", Tone::Bad),
        Severity::Warning => ("warning", Tone::Warning),
        Severity::Note => ("note", Tone::Plain),
    };
    let word = printer.toned(tone, word);
    let at = format!("{}:{}", file.at(remark.position), remark.position.column);
    printer.line(&format!("{}: {word}: {}", human::safe(&at), human::safe(&remark.problem)))?;
    let (line, caret) = with_caret(file.line(remark.position.line), remark.position.column);
    printer.line(&format!("    {line}"))?;
    printer.line(&format!("    {caret}"))?;
    Ok(())
}

/// The part of a line around `column`, counted from 1, and a line with a caret under that column.
fn with_caret(line: &str, column: usize) -> (String, String) {
    // Each character stays one character, so that the caret is below the right one.
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
    // The plural of "series" is "series".
    let plural = if number == 1 || one == "series" { "" } else { "s" };
    format!("{} {one}{plural}", human::count(number as u64))
}

/// The rules, where all of them can be parsed; else the errors are printed and `None` is returned.
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
