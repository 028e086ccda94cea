//! Each program, started with its Config and ended by a signal.

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

use telemeter_auth::tollbooth::mock;
use telemeter_benchmark::Output;
use telemeter_http::{file, listen};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    flags::{Config, authority::AuthorityConfig},
    run::Failure,
};

/// Runs the program that a Config is for, to its end.
///
/// # Errors
/// Why it could not start, or what failed at the end.
pub async fn start(config: Config) -> Result<ExitCode, Failure> {
    match config {
        Config::Server(config) => telemeter_server::serve(*config).await?,
        Config::Client(config) => telemeter_client::run(*config).await?,
        Config::AuthorizationServer(config) => authority(config).await?,
        Config::Benchmark(config) => {
            let mut stdout = io::stdout();
            let output = Output { writer: &mut stdout, terminal: io::stderr().is_terminal() };
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
pub async fn start_client(config: Config) -> Result<ExitCode, Failure> {
    let Config::Client(config) = config else { return Err("this is the client alone".into()) };
    telemeter_client::run(*config).await?;
    Ok(ExitCode::SUCCESS)
}

async fn authority(config: AuthorityConfig) -> Result<(), Failure> {
    let json = file::read(&config.tokens_file, file::LARGE)?;
    let tokens = mock::tokens(&json).map_err(|error| format!("{}: {error}", config.tokens_file.display()))?;
    let listener = listen::bind(&config.listen).await?;
    tracing::info!(listen = %listener.local_addr()?, tokens = tokens.len(), "the authority answers");
    listen::serve(listener, mock::router(tokens), listen::Limits::default(), stopped()?).await;
    Ok(())
}

/// Ends with SIGTERM or SIGINT.
fn stopped() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
