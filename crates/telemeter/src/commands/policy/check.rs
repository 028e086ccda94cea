//! `telemeter policy check`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use telemeter_policy::{Remark, RuleFile, Severity, check};

use super::{counted, input, print_remark};
use crate::{
    failure::RunFailure,
    output::{Column, OutputFlags, OutputFormat, Printer, Table, TableCell, Tone, human},
};

#[derive(Args, Debug)]
pub(super) struct CheckFlags {
    /// Selectors, one a line; --match and --whitelist flags; YAML with `matches:`. -: standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Check all files as one list, as of a client with --match and --match-file.
    #[arg(long)]
    together: bool,

    /// End with 1 for warnings too.
    #[arg(long)]
    fail_on_warning: bool,

    #[command(flatten)]
    output: OutputFlags,
}

/// Checks the files, and prints each problem and a summary of each file. The exit code is 1 where there is an error, or
/// where there is a warning and `--fail-on-warning` is given.
///
/// # Errors
/// A file cannot be read, or standard input is given more than once.
pub(super) fn run(flags: &CheckFlags, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
    if flags.files.iter().filter(|path| input::is_stdin(path)).count() > 1 {
        return Err("- (standard input) is given more than once".into());
    }
    let files = flags.files.iter().map(|path| input::rules(path)).collect::<Result<Vec<_>, _>>()?;
    let remarks = check(&files, flags.together);
    match flags.output.format {
        OutputFormat::Table => {
            for remark in &remarks {
                print_remark(printer, &files[remark.file], remark)?;
            }
            for (index, file) in files.iter().enumerate() {
                printer.line(&summary(file, remarks.iter().filter(|remark| remark.file == index)))?;
            }
        }
        format => printer.print(format, &remarks_table(&files, &remarks))?,
    }
    let least = if flags.fail_on_warning { Severity::Warning } else { Severity::Error };
    let fails = remarks.iter().any(|remark| remark.severity >= least);
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// `rules.txt: 211 rules, 1 error, 2 warnings, 3 notes`; what there is none of is not said.
fn summary<'a>(file: &RuleFile, remarks: impl Iterator<Item = &'a Remark>) -> String {
    let mut counts = [(Severity::Error, "error", 0), (Severity::Warning, "warning", 0), (Severity::Note, "note", 0)];
    for remark in remarks {
        counts.iter_mut().filter(|(severity, ..)| *severity == remark.severity).for_each(|(.., count)| *count += 1);
    }
    let mut parts = vec![counted(file.rules.len(), "rule")];
    parts.extend(counts.iter().filter(|(.., count)| *count > 0).map(|(_, word, count)| counted(*count, word)));
    if parts.len() == 1 {
        parts.push("nothing to say".to_owned());
    }
    format!("{}: {}", human::safe(&file.name), parts.join(", "))
}

/// The problems as a table for JSON and CSV, one row for each, with its position and the line of the file that it is
/// in.
fn remarks_table(files: &[RuleFile], remarks: &[Remark]) -> Table {
    let mut table = Table::new([
        Column::text("file"),
        Column::number("line"),
        Column::number("column"),
        Column::text("severity"),
        Column::text("problem").wrapping(),
        Column::text("text"),
    ]);
    for remark in remarks {
        let (severity, tone) = match remark.severity {
            Severity::Error => ("error", Tone::Bad),
            Severity::Warning => ("warning", Tone::Warning),
            Severity::Note => ("note", Tone::Plain),
        };
        let file = &files[remark.file];
        table.row([
            TableCell::text(&file.name),
            TableCell::count(remark.position.line as u64),
            TableCell::count(remark.position.column as u64),
            TableCell::text(severity).tone(tone),
            TableCell::text(&remark.problem),
            TableCell::text(file.line(remark.position.line).trim()),
        ]);
    }
    table
}
