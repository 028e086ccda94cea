//! `--dry-run`: reads and checks all flags and files of a program, prints one line, and ends.

use std::{io::Write as _, path::Path, process::ExitCode, time::Duration};

use telemeter_client::config::Credential;
use telemeter_http::check::{self, CheckStep, CheckSteps, StepOutcome};

use crate::failure::RunFailure;

/// Checks the files of the client.
///
/// # Errors
/// The first file that cannot be used.
pub(crate) async fn client(config: &telemeter_client::Config) -> Result<ExitCode, RunFailure> {
    let options = telemeter_client::check::CheckOptions { send: false, offline: true, timeout: Duration::from_secs(1) };
    run_checks("telemeter-client", async |steps| telemeter_client::check::check(config, options, steps).await).await
}

/// Checks the files of the server.
///
/// # Errors
/// As [`client`].
pub(crate) async fn server(config: &telemeter_server::Config) -> Result<ExitCode, RunFailure> {
    run_checks("telemeter-server", async |steps| telemeter_server::check::check(config, true, steps).await).await
}

/// Checks the tokens of the authority.
///
/// # Errors
/// As [`client`].
pub(crate) async fn authority(tokens_file: &Path) -> Result<ExitCode, RunFailure> {
    crate::authority::tokens(tokens_file)?;
    print_result("authorization-server", 0)
}

/// Checks the files of the benchmark.
///
/// # Errors
/// As [`client`].
pub(crate) async fn benchmark(config: &telemeter_benchmark::Config) -> Result<ExitCode, RunFailure> {
    run_checks("telemeter-benchmark", async |steps| {
        steps.add(check::file("--metrics-file", &config.metrics_file, true));
        if let Some(path) = &config.to.ca_file {
            steps.add(check::file("--to-ca-file", path, true));
        }
        if let Credential::File(path) = &config.to.token {
            steps.add(check::file("--to-token-file", path, false));
        }
        if let Some(telemeter_benchmark::config::Tokens::Minted(path)) =
            config.fleet.as_ref().map(|fleet| &fleet.tokens)
        {
            steps.add(check::file("--shared-key", path, false));
        }
    })
    .await
}

/// Checks the files of the quickstart.
///
/// # Errors
/// As [`client`].
pub(crate) async fn quickstart(config: &crate::flags::quickstart::QuickstartConfig) -> Result<ExitCode, RunFailure> {
    run_checks("telemeter quickstart", async |steps| {
        if let Some(path) = &config.match_file {
            steps.add(check::file("--match-file", path, true));
        }
        let Some(from) = &config.from else { return };
        if let Some(path) = &from.ca_file {
            steps.add(check::file("--from-ca-file", path, true));
        }
        if let Some(Credential::File(path)) = &from.token {
            steps.add(check::file("--from-token-file", path, false));
        }
    })
    .await
}

/// Runs all steps, then prints that all is valid, with the number of warnings. The error is the first step that failed;
/// nothing is printed then.
async fn run_checks(program: &str, run: impl AsyncFnOnce(&mut CheckSteps<'_>)) -> Result<ExitCode, RunFailure> {
    let mut steps = CheckSteps::new(|_| ());
    run(&mut steps).await;
    let steps = steps.into_all();
    if let Some(CheckStep { tried, found, .. }) = steps.iter().find(|step| step.outcome == StepOutcome::Failed) {
        return Err(format!("{tried}: {found}").into());
    }
    print_result(program, steps.iter().filter(|step| step.outcome == StepOutcome::Warned).count())
}

/// Prints to standard output that flags and files are valid, and how many steps gave a warning. The exit code is 0,
/// with warnings too.
fn print_result(program: &str, warnings: usize) -> Result<ExitCode, RunFailure> {
    let with = match warnings {
        0 => String::new(),
        1 => "; 1 of them with a warning, see the command check".to_owned(),
        more => format!("; {more} of them with a warning, see the command check"),
    };
    writeln!(std::io::stdout(), "{program}: flags and files are good{with}")?;
    Ok(ExitCode::SUCCESS)
}
