//! `telemeter client check` and `telemeter server check`: find out why a program does not work. They print a line for each
//! step; the exit code names the first stage that failed.

use std::{io, process::ExitCode, time::Duration};

use clap::Parser;
use telemeter_client::check::CheckOptions;
use telemeter_http::{
    check::{self, CheckStage, CheckStep, CheckSteps, StepOutcome},
    duration::HumanDuration,
};

use super::RunOnce;
use crate::{
    failure::RunFailure,
    flags::{FlagError, client::ClientFlags, duration, server::ServerFlags},
    output::{Column, OutputFlags, OutputFormat, Printer, Table, TableCell, Tone, human},
};

/// Find out why a push fails: try each step from the files to the upload, and say how it went. Takes the flags of the
/// client. The exit code says which stage failed first; see docs/troubleshooting.md.
#[derive(Parser, Debug)]
#[command(name = "check")]
pub(super) struct ClientCheck {
    /// Upload for real. Without: the server is asked whether it would take an upload, and nothing is stored.
    #[arg(long)]
    send: bool,

    /// How long a connection or an answer may take; at least 1s.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration::parse)]
    timeout: Duration,

    #[command(flatten)]
    output: OutputFlags,

    #[command(flatten)]
    client: ClientFlags,
}

/// Find out whether a server would work: try each step from the files to the store, and say how it went. Takes the flags of
/// the server. The exit code says which stage failed first; see docs/troubleshooting.md.
#[derive(Parser, Debug)]
#[command(name = "check")]
pub(super) struct ServerCheck {
    #[command(flatten)]
    output: OutputFlags,

    #[command(flatten)]
    server: ServerFlags,
}

impl RunOnce for ClientCheck {
    async fn run(self, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
        let (warnings, options) = (self.client.warnings(), options(self.send, self.client.mode.dry_run, self.timeout));
        let config = self.client.config();
        report(printer, self.output.format, async |steps| {
            if let Some(config) = flags(config, warnings, steps) {
                telemeter_client::check::check(&config, options, steps).await;
            }
        })
        .await
    }
}

impl RunOnce for ServerCheck {
    async fn run(self, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
        let (warnings, offline) = (self.server.warnings(), self.server.mode.dry_run);
        let config = self.server.config();
        report(printer, self.output.format, async |steps| {
            if let Some(config) = flags(config, warnings, steps) {
                telemeter_server::check::check(&config, offline, steps).await;
            }
        })
        .await
    }
}

/// The options of a check; a timeout below one second counts as one second.
fn options(send: bool, offline: bool, timeout: Duration) -> CheckOptions {
    CheckOptions { send, offline, timeout: timeout.max(Duration::from_secs(1)) }
}

/// Adds the step of the flags, and one for each warning. Returns the configuration where the flags are valid.
fn flags<C>(config: Result<C, FlagError>, warnings: Vec<String>, steps: &mut CheckSteps<'_>) -> Option<C> {
    for warning in warnings {
        steps.add(CheckStep::warned(CheckStage::FLAGS, "the flags", warning));
    }
    match config {
        Ok(config) => {
            steps.add(CheckStep::passed(CheckStage::FLAGS, "the flags", "understood"));
            Some(config)
        }
        Err(error) => {
            steps.add(
                CheckStep::failed(CheckStage::FLAGS, "the flags", error.to_string())
                    .advise("see --help, or docs/flags.md"),
            );
            None
        }
    }
}

/// Runs the steps and prints them; in a table each is printed when it ends.
async fn report(
    printer: &mut Printer,
    format: OutputFormat,
    run: impl AsyncFnOnce(&mut CheckSteps<'_>),
) -> Result<ExitCode, RunFailure> {
    let mut printed = Ok(());
    let steps = {
        let (printer, printed) = (&mut *printer, &mut printed);
        let mut steps = CheckSteps::new(move |step| {
            if format == OutputFormat::Table && printed.is_ok() {
                let text = line(printer, step);
                *printed = printer.line(&text);
            }
        });
        run(&mut steps).await;
        steps.into_all()
    };
    let printed: io::Result<()> = printed;
    printed?;
    let code = check::exit_code(&steps);
    match format {
        OutputFormat::Table => printer.line(&last_line(&steps, code))?,
        OutputFormat::Json | OutputFormat::Csv => printer.print(format, &steps_table(&steps))?,
    }
    Ok(ExitCode::from(code))
}

/// The word that stands for an outcome, and the colour in which it is printed.
fn outcome_word(outcome: StepOutcome) -> (&'static str, Tone) {
    match outcome {
        StepOutcome::Passed => ("ok", Tone::Good),
        StepOutcome::Warned => ("warning", Tone::Warning),
        StepOutcome::Failed => ("FAILED", Tone::Bad),
        StepOutcome::Skipped => ("not tried", Tone::Plain),
    }
}

/// `FAILED     tls       --to: in the TLS handshake with store.example, 3ms: the certificate has expired. To do: …`
fn line(printer: &Printer, step: &CheckStep) -> String {
    let (word, tone) = outcome_word(step.outcome);
    let took = if step.took.as_millis() == 0 { String::new() } else { format!(", {}", HumanDuration(step.took)) };
    let stop = if step.found.ends_with(['?', '.']) { "" } else { "." };
    let advice =
        if step.advice.is_empty() { String::new() } else { format!("{stop} To do: {}", human::safe(&step.advice)) };
    let (word, stage) = (printer.toned(tone, &format!("{word:<9}")), step.stage.name);
    format!("{word} {stage:<11} {}{took}: {}{advice}", human::safe(&step.tried), human::safe(&step.found))
}

/// The line below the table: the first step that failed and the exit code, or that all steps work and how many of them
/// gave a warning. Skipped steps are not mentioned.
fn last_line(steps: &[CheckStep], code: u8) -> String {
    let of = |outcome| steps.iter().filter(|step| step.outcome == outcome).count();
    match steps.iter().find(|step| step.outcome == StepOutcome::Failed) {
        Some(step) => format!("The first step that failed is {}: exit code {code}.", step.stage.name),
        None if of(StepOutcome::Warned) > 0 => {
            format!("All steps work; {} of them with a warning.", of(StepOutcome::Warned))
        }
        None => "All steps work.".to_owned(),
    }
}

/// All steps as a table for JSON and CSV, one row for each, with its duration in seconds. A step without advice has an
/// empty value.
fn steps_table(steps: &[CheckStep]) -> Table {
    let mut table = Table::new([
        Column::text("outcome"),
        Column::text("stage"),
        Column::text("tried"),
        Column::number("seconds"),
        Column::text("found").wrapping(),
        Column::text("to do").wrapping(),
    ]);
    for step in steps {
        let (word, tone) = outcome_word(step.outcome);
        table.row([
            TableCell::text(word).tone(tone),
            TableCell::text(step.stage.name),
            TableCell::text(&step.tried),
            TableCell::number(step.took.as_secs_f64()),
            TableCell::text(&step.found),
            if step.advice.is_empty() { TableCell::none() } else { TableCell::text(&step.advice) },
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_line() {
        let (printer, _) = Printer::to_memory(None, false);
        let step =
            CheckStep::failed(CheckStage::TLS, "--to: in the TLS handshake with a.test", "it has\u{1b}[31m expired");
        let step = CheckStep { took: Duration::from_millis(3), ..step.advise("renew it") };
        assert_eq!(
            line(&printer, &step),
            "FAILED    tls         --to: in the TLS handshake with a.test, 3ms: it has\\u{1b}[31m expired. To do: renew it"
        );
        let step = CheckStep::passed(CheckStage::FLAGS, "the flags", "understood");
        assert_eq!(line(&printer, &step), "ok        flags       the flags: understood");
        assert_eq!(last_line(std::slice::from_ref(&step), 0), "All steps work.");
        let failed = CheckStep::failed(CheckStage::CLOCK, "", "");
        assert_eq!(last_line(&[step, failed], 16), "The first step that failed is clock: exit code 16.");
    }
}
