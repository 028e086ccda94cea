//! Each program, started with its Config and ended by a signal.

use std::{
    io::{self, IsTerminal as _},
    path::Path,
    process::ExitCode,
};

use telemeter_auth::{Secret, authority::mock};
use telemeter_benchmark::ReportOutput;
use telemeter_http::{file, listen, signals::Signals};

use crate::{
    dry_run::{self, Mode},
    flags::{Config, authority::AuthorizationServerConfig},
    run::RunFailure,
};

/// Runs the program that a Config is for, to its end.
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
        Config::AuthorizationServer(config) => authority(config).await?,
        Config::Benchmark(config) => {
            let mut stdout = io::stdout();
            let output = ReportOutput { writer: &mut stdout, terminal: io::stderr().is_terminal() };
            telemeter_benchmark::run(*config, output, stopped()?).await?;
        }
        Config::Quickstart(config) => crate::quickstart::run(*config).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// As [`start`], for a binary that holds the client alone.
///
/// # Errors
/// Why it could not start; another program's Config.
pub async fn start_client(config: Config, mode: Mode) -> Result<ExitCode, RunFailure> {
    let Config::Client(config) = config else { return Err("this is the client alone".into()) };
    if mode == Mode::DryRun {
        return dry_run::client(&config).await;
    }
    telemeter_client::run(*config).await?;
    Ok(ExitCode::SUCCESS)
}

async fn authority(config: AuthorizationServerConfig) -> Result<(), RunFailure> {
    let tokens = authority_tokens(&config.tokens_file)?;
    let listener = listen::bind(&config.listen).await?;
    tracing::info!(listen = %listener.local_addr()?, tokens = tokens.len(), "the authority answers");
    listen::serve(listener, mock::router(tokens), listen::ListenLimits::default(), stopped()?).await;
    Ok(())
}

/// The tokens that the authority lets in.
pub(crate) fn authority_tokens(path: &Path) -> Result<Vec<Secret>, RunFailure> {
    let json = file::read(path, file::LARGE)?;
    Ok(mock::tokens(&json).map_err(|error| format!("{}: {error}", path.display()))?)
}

/// Ends with SIGTERM, SIGINT or SIGHUP.
fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut signals = Signals::catch()?;
    Ok(async move { signals.any().await })
}
