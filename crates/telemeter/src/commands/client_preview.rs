//! `telemeter client preview`: shows what the client would upload.

mod table;

#[cfg(test)]
mod tests;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Parser;
use telemeter_client::preview::{Diff, EarlierPreview, Preview, PreviewOptions};
use telemeter_http::{clock::Clock, file};

use super::RunOnce;
use crate::{
    failure::RunFailure,
    flags::client::ClientFlags,
    output::{Printer, human},
};

/// Show what the client would send: scrape once, apply everything, send nothing. Takes the client's flags.
#[derive(Parser, Debug)]
#[command(
    name = "preview",
    about = "Show what the client would send: scrape once, apply everything, send nothing. Takes the client's flags",
    long_about = None
)]
pub(super) struct ClientPreview {
    /// How it is shown: by metric, as the exact text exposition that would be sent, or as JSON.
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        default_value = "table",
        ignore_case = true,
        value_name = "FORMAT"
    )]
    format: PreviewFormat,

    /// File with an earlier preview in JSON: show what is new, gone and changed since.
    #[arg(long, value_name = "FILE")]
    diff: Option<PathBuf>,

    /// Ask the server for the labels that it wants, with --to, --id and the token. Else <set by the server> stands for them.
    #[arg(long)]
    with_authorize: bool,

    /// Exit with 1 where there is a warning.
    #[arg(long)]
    fail_on_warning: bool,

    /// A label that may leave in clear: no warning about it. Repeated.
    #[arg(long, value_name = "NAME")]
    allow_label: Vec<String>,

    #[command(flatten)]
    client: ClientFlags,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum PreviewFormat {
    /// For people, by metric.
    Table,
    /// The text exposition that would be sent.
    Text,
    /// For programs, and for --diff.
    Json,
}

impl RunOnce for ClientPreview {
    async fn run(self, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
        let Self { format, diff, with_authorize, fail_on_warning, allow_label, client } = self;
        if client.mode.dry_run {
            return Err("a preview sends nothing; --dry-run goes with the client itself, and with check".into());
        }
        if format == PreviewFormat::Text && diff.is_some() {
            return Err(
                "--diff shows what changed by metric: it goes with -o table or -o json, not with -o text".into()
            );
        }
        let earlier = diff.map(|path| {
            let json = file::read(&path, file::LARGE)?;
            let earlier =
                EarlierPreview::from_json(&json).map_err(|why| format!("--diff: {} {why}", path.display()))?;
            Ok::<_, RunFailure>((path, earlier))
        });
        let earlier = earlier.transpose()?;
        for warning in client.warnings() {
            // Nothing can be done about a closed stderr.
            let _ = writeln!(io::stderr(), "warning: {}", human::safe(&warning));
        }
        let config = if with_authorize { client.config()? } else { client.scrape_config()? };
        let options = PreviewOptions { with_authorize, allowed_labels: allow_label };
        let preview = Preview::take(&config, &options, Clock::system()).await?;
        let diff = earlier.as_ref().map(|(path, earlier)| (path, Diff::new(earlier, &preview)));
        match (format, &diff) {
            (PreviewFormat::Text, _) => text(&preview, printer)?,
            (PreviewFormat::Json, None) => printer.json(&preview)?,
            (PreviewFormat::Json, Some((_, diff))) => printer.json(diff)?,
            (PreviewFormat::Table, None) => table::preview(&preview, printer)?,
            (PreviewFormat::Table, Some((path, diff))) => table::diff(path, diff, &preview, printer)?,
        }
        let fails = fail_on_warning && !preview.warnings.is_empty();
        Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Prints the exposition, escaped for a terminal; the warnings go to stderr.
fn text(preview: &Preview, printer: &mut Printer) -> Result<(), RunFailure> {
    for part in preview.text() {
        let part = String::from_utf8(part?)?;
        let part = part.strip_suffix('\n').unwrap_or(&part);
        if printer.is_terminal() {
            part.lines().try_for_each(|line| printer.line(&human::safe(line)))?;
        } else if !part.is_empty() {
            printer.line(part)?;
        }
    }
    for warning in &preview.warnings {
        let _ = writeln!(io::stderr(), "warning: {}", human::safe(&warning.message));
    }
    Ok(())
}
