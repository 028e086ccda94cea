//! `telemeter fleet`: shows which clusters are silent, and which are refused and why, from the JSON API of a server's
//! internal listener (docs/api.md).

mod api;
mod clusters;
mod metrics;
mod model;
mod refused;
mod summary;
mod watch;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

pub use self::api::ApiError;
use self::api::FleetApi;
use super::RunOnce;
use crate::{
    failure::RunFailure,
    flags::{duration, value},
    output::{OutputFlags, Printer},
};

/// Ask a server about its fleet: which clusters are silent, which are refused, and why.
#[derive(Parser, Debug)]
#[command(name = "fleet", version, subcommand_required = true, arg_required_else_help = true)]
pub struct FleetFlags {
    /// The internal listener of the server.
    #[arg(long, value_name = "URL", default_value = "http://localhost:9004", global = true)]
    server: String,

    /// File with the bearer token of a server that has --internal-token-file.
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,

    /// PEM file with authorities that --server is checked against, beside the system's.
    #[arg(long, value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,

    #[command(flatten)]
    output: OutputFlags,

    #[command(subcommand)]
    question: FleetCommand,
}

#[derive(Subcommand, Debug)]
enum FleetCommand {
    /// How many clusters are how well, what is refused, and the state of what the server depends on.
    Summary,
    /// The clusters that have fallen silent, and since when.
    Silent {
        /// Only those that have not reported for so long.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
        silent_for: Option<Duration>,
        /// Exit with 1 where there is one.
        #[arg(long)]
        fail: bool,
    },
    /// The clusters whose requests were refused, why, and what to do.
    Refused {
        /// Only for this reason, as in the list of docs/operations.md.
        #[arg(long, value_name = "REASON")]
        reason: Option<String>,
        /// Only those that were refused within so long.
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        since: Option<Duration>,
        /// Exit with 1 where there is one.
        #[arg(long)]
        fail: bool,
    },
    /// All that is known of one cluster.
    Show {
        /// The cluster's ID.
        id: String,
    },
    /// The metrics that the fleet sends, and those that the whitelist drops.
    Metrics {
        /// Only those whose name has this part.
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// Silent and refused clusters, drawn again and again; a line for each change where standard output is no terminal. Ends at Ctrl-C.
    Watch {
        /// The time between two looks.
        #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration::parse)]
        interval: Duration,
    },
}

impl RunOnce for FleetFlags {
    async fn run(self, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
        let server = if self.server.contains("://") { self.server } else { format!("http://{}", self.server) };
        let server = value::http_url("--server", &server)?;
        let api = FleetApi::new(server, self.token_file, self.ca_file)?;
        let format = self.output.format;
        let found = match self.question {
            FleetCommand::Summary => summary::print(&api, format, printer).await.map(|()| false),
            FleetCommand::Silent { silent_for, fail } => {
                clusters::print_silent(&api, silent_for, format, printer).await.map(|found| found && fail)
            }
            FleetCommand::Refused { reason, since, fail } => {
                let query = refused::RefusedQuery { reason, since };
                refused::print(&api, &query, format, printer).await.map(|found| found && fail)
            }
            FleetCommand::Show { id } => clusters::print_one(&api, &id, format, printer).await.map(|()| false),
            FleetCommand::Metrics { search } => metrics::print(&api, search, format, printer).await.map(|()| false),
            FleetCommand::Watch { interval } => watch::run(&api, interval, format, printer).await.map(|()| false),
        }?;
        Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// A duration in whole seconds, rounded up, as the API wants it.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
