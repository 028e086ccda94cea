//! `client check`: finds why a client cannot upload, by real calls, step by step from the files to the upload.
//!
//! The steps use the client's own code: its outbound client, its readers of tokens and selectors, its scrape and rules. Only
//! the deadlines are shorter.

mod files;
mod source;
mod target;

use std::time::Duration;

use telemeter_http::{
    check::{self, CheckStage, CheckStep, CheckSteps},
    client::{Outbound, OutboundConfig, bare_url},
};

use crate::{
    config::Config,
    worker::{server_settings, source_settings},
};

/// The scrape of Prometheus.
pub const SCRAPE: CheckStage = CheckStage { name: "scrape", exit_code: 20 };
/// The exchange of the token.
pub const AUTHORIZE: CheckStage = CheckStage { name: "authorize", exit_code: 21 };
/// The upload.
pub const UPLOAD: CheckStage = CheckStage { name: "upload", exit_code: 22 };

/// Cap on the time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How far a check goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckOptions {
    /// Upload for real; else an empty upload shows whether the server would accept one.
    pub send: bool,
    /// Check flags and files only.
    pub offline: bool,
    /// How long a connection (10 s at most) or an answer may take.
    pub timeout: Duration,
}

/// Runs the steps in order. A step that fails for Prometheus does not end those for the server, and the other way round.
pub async fn check(config: &Config, options: CheckOptions, steps: &mut CheckSteps<'_>) {
    let are_files_good = files::check(config, steps);
    if options.offline {
        return;
    }
    if !are_files_good {
        steps.add(CheckStep::skipped(SCRAPE, "--from and --to", "a file cannot be used"));
        return;
    }
    let from = outbound(steps, "--from", source_settings(config), options.timeout);
    let to = outbound(steps, "--to", server_settings(config), options.timeout);
    let (Some(from), Some(to)) = (from, to) else { return };
    let source_ahead = source::check(config, &from, steps).await;
    let target_ahead = target::connect(config, &to, steps).await;
    let is_reached = target_ahead.is_some();
    let target_ahead = target_ahead.unwrap_or_else(|| Err("not reached".to_owned()));
    let others = [("--from", source_ahead), ("--to", target_ahead)];
    if others.iter().any(|(_, ahead)| ahead.is_ok()) {
        steps.add(check::clock(&others));
    }
    if is_reached {
        target::exchange(config, &to, options, steps).await;
    } else {
        for (stage, tried) in [(AUTHORIZE, "--to: the exchange of the token"), (UPLOAD, "--to: the upload")] {
            steps.add(CheckStep::skipped(stage, tried, "the server was not reached"));
        }
    }
}

/// The outbound client of `--from` or `--to`, with the deadlines of a check.
fn outbound(steps: &mut CheckSteps<'_>, flag: &str, settings: OutboundConfig, timeout: Duration) -> Option<Outbound> {
    let settings = OutboundConfig {
        connect_timeout: timeout.min(CONNECT_TIMEOUT),
        connection_wait: timeout.min(CONNECT_TIMEOUT),
        timeout,
        ..settings
    };
    match Outbound::new(settings, None) {
        Ok(outbound) => Some(outbound),
        Err(error) => {
            let step = CheckStep::failed(
                CheckStage::PROXY,
                format!("{flag}: certificates and proxy variables"),
                error.to_string(),
            );
            steps.add(step.advise("mend the file or the variable that it names"));
            None
        }
    }
}
