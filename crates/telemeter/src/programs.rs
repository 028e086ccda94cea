//! Starts each program with its `Config`; a signal ends it.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use telemeter_benchmark::ReportOutput;
use telemeter_http::signals::Signals;

use crate::{
    authority, dry_run,
    failure::RunFailure,
    flags::{Config, Mode},
};

/// Runs the program that `config` is for until it ends, or only checks its files where `mode` is a dry run.
///
/// # Errors
/// Why it could not start, or what failed at the end.
pub async fn start(config: Config, mode: Mode) -> Result<ExitCode, RunFailure> {
    if mode == Mode::DryRun {
        return match config {
            Config::Server(config) => dry_run::server(&config).await,
            Config::Client(config) => dry_run::client(&config).await,
            Config::AuthorizationServer(config) => dry_run::authority(&config.tokens_file).await,
            Config::Benchmark(config) => dry_run::benchmark(&config).await,
            Config::Quickstart(config) => dry_run::quickstart(&config).await,
        };
    }
    match config {
        Config::Server(config) => telemeter_server::serve(*config).await?,
        Config::Client(config) => telemeter_client::run(*config).await?,
        Config::AuthorizationServer(config) => authority::serve(config, terminated()?).await?,
        Config::Benchmark(config) => {
            let mut stdout = io::stdout();
            let output = ReportOutput { writer: &mut stdout, terminal: io::stderr().is_terminal() };
            telemeter_benchmark::run(*config, output, terminated()?).await?;
        }
        Config::Quickstart(config) => crate::quickstart::run(*config).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// As [`start`], for the binary that is only the client.
///
/// # Errors
/// Why it could not start; a `Config` of another program.
pub async fn start_client(config: Config, mode: Mode) -> Result<ExitCode, RunFailure> {
    let Config::Client(config) = config else { return Err("this is the client alone".into()) };
    if mode == Mode::DryRun {
        return dry_run::client(&config).await;
    }
    telemeter_client::run(*config).await?;
    Ok(ExitCode::SUCCESS)
}

/// Completes at SIGTERM, SIGINT or SIGHUP.
fn terminated() -> io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::catch()?;
    Ok(async move { signals.any().await })
}
