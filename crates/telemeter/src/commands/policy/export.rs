//! `telemeter policy export`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use telemeter_policy::export;

use super::{changes::ChangeFlags, input, readable};
use crate::{
    failure::RunFailure,
    output::{Printer, human},
};

#[derive(Args, Debug)]
pub(super) struct ExportFlags {
    /// The rules: selectors, one a line; --match and --whitelist flags; YAML with `matches:`. -: standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// As write_relabel_configs of a remote_write, equal in effect.
    #[arg(long, required = true)]
    write_relabel: bool,

    #[command(flatten)]
    changes: ChangeFlags,
}

/// Prints the rules as YAML of `write_relabel_configs`. Where relabelling cannot have the same effect, prints only the
/// reasons, as comments, and the exit code is 1; the same where a rule is invalid.
pub(super) fn run(flags: ExportFlags, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
    let ExportFlags { file, write_relabel: _, changes } = flags;
    let changes = changes.changes()?;
    let Some(rules) = readable(input::rules(&file)?, printer)? else { return Ok(ExitCode::FAILURE) };
    let export = export(&rules, &changes);
    if export.inexpressible.is_empty() {
        for line in export.yaml.lines() {
            printer.line(line)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    // As comments of YAML: a file with them does not let out more than it should.
    printer.line("# Not exported: relabelling would not do the same.")?;
    for problem in &export.inexpressible {
        printer.line(&format!("# {}", human::safe(problem)))?;
    }
    Ok(ExitCode::FAILURE)
}
