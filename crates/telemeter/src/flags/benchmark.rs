//! The flags of `telemeter-benchmark`.

use std::{ffi::OsString, time::Duration};

use clap::Parser;
use telemeter_auth::Secret;
use telemeter_benchmark::{
    Config,
    config::{SimulatedFleet, Tokens},
};
use telemeter_client::config::{Credential, DEFAULT_INTERVAL, TargetSettings};

use super::{
    duration,
    shared::{LogFlags, ModeFlags},
    target::{self, ServerTokenFlags, ServerUrlFlags, Urls},
    value::{self, FlagError},
};

/// Play many clusters at once against a telemeter server, and say how it did.
#[derive(Parser, Debug)]
#[command(name = "telemeter-benchmark", version)]
pub struct BenchmarkFlags {
    #[command(flatten)]
    server: ServerUrlFlags,

    /// PEM file with authorities that the server is checked against, beside the system's.
    #[arg(long, value_name = "FILE")]
    to_ca_file: Option<OsString>,

    #[command(flatten)]
    token: ServerTokenFlags,

    /// File with the metrics to push, in the text format.
    #[arg(long, value_name = "FILE")]
    metrics_file: Option<OsString>,

    /// The time between two uploads of one worker; workers start spread over it. 0s: the default.
    #[arg(long, value_name = "DURATION", default_value = "4m30s", value_parser = duration::parse)]
    interval: Duration,

    /// Where health and metrics are served. Empty: nowhere.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:8080")]
    listen: String,

    /// How many clusters are played at once.
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    workers: u32,

    /// Send one upload per worker, then end; fail if one failed.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = value::boolean, action = clap::ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    once: bool,

    /// Simulate a fleet of so many clusters in place of workers: each uploads once an --interval, by a schedule that a
    /// slow server does not slow down. Goes with --shared-key or --authorize-all.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=MOST_CLUSTERS),
          conflicts_with_all = ["workers", "once"])]
    clusters: Option<u64>,

    /// How long a simulated fleet uploads. Shorter than --interval: not every cluster's turn comes, and the table says how many took part.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse, requires = "clusters")]
    duration: Duration,

    /// Sign a simulated fleet's tokens with this private key, which the server has as its --shared-key too.
    #[arg(long, value_name = "FILE", requires = "clusters", conflicts_with = "authorize_all")]
    shared_key: Option<OsString>,

    /// Exchange the token for every cluster of a simulated fleet, as clients do, before its first upload.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = value::boolean, action = clap::ArgAction::Set, hide_possible_values = true,
          value_name = "BOOL", requires = "clusters")]
    authorize_all: bool,

    /// Speak TLS with the server, as where its URLs begin with https.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = value::boolean, action = clap::ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    tls: bool,

    /// Make a new connection for each upload of a simulated fleet.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = value::boolean, action = clap::ArgAction::Set, hide_possible_values = true,
          value_name = "BOOL", requires = "clusters")]
    reconnect: bool,

    /// Resume the TLS session of the last connection with each new one. Goes with --reconnect.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = value::boolean, action = clap::ArgAction::Set, hide_possible_values = true,
          value_name = "BOOL", requires = "clusters")]
    resume: bool,

    /// Over how many connections at once a simulated fleet uploads.
    #[arg(long, value_name = "COUNT", default_value = "256", requires = "clusters",
          value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// File for a plot of a simulated fleet's throughput, latency, and the server's CPU and memory over time.
    #[arg(long, value_name = "FILE", requires = "clusters")]
    report_svg: Option<OsString>,

    /// File for the same figures as JSON.
    #[arg(long, value_name = "FILE", requires = "clusters")]
    report_json: Option<OsString>,

    /// The server's process on this machine: its CPU and memory are read from /proc.
    #[arg(long, value_name = "PID", requires = "clusters")]
    server_pid: Option<u32>,

    #[command(flatten)]
    pub(crate) mode: ModeFlags,

    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// More would not fit into memory once clusters come again.
const MOST_CLUSTERS: u64 = 1_000_000_000;

impl BenchmarkFlags {
    /// Warnings for the log, about flags without the effect that they seem to have.
    pub fn warnings(&self) -> Vec<String> {
        let has_both = target::has_both(&self.token.to_token, &self.token.to_token_file);
        has_both.then(|| "--to-token-file is not read: --to-token goes before it".to_owned()).into_iter().collect()
    }

    /// The configuration that the flags mean.
    ///
    /// # Errors
    /// A flag that another one requires is missing, or a value is invalid.
    pub fn config(self) -> Result<Config, FlagError> {
        let metrics_file = value::path(self.metrics_file)
            .ok_or(FlagError::Missing("nothing to push: give --metrics-file FILE, in the text format"))?;
        let Urls { mut authorize, mut upload } = self.server.urls()?;
        if self.tls {
            for url in [&mut authorize, &mut upload] {
                url.set_scheme("https").map_err(|()| FlagError::value("--tls", "does not go with these URLs"))?;
            }
        }
        if self.resume && !self.reconnect {
            return Err(FlagError::Together(
                "--resume goes with --reconnect: a connection that is kept has one session",
            ));
        }
        let shared_key = value::path(self.shared_key);
        let token = match &shared_key {
            Some(_) => Credential::Value(Secret::from("")),
            None => self.token.credential()?,
        };
        let tokens = match (shared_key, self.authorize_all) {
            (Some(_), true) => return Err(FlagError::Together("--shared-key and --authorize-all exclude each other")),
            (Some(file), false) => Some(Tokens::Minted(file)),
            (None, true) => Some(Tokens::Exchanged),
            (None, false) => None,
        };
        let fleet = self.clusters.map(|clusters| {
            if self.duration.is_zero() {
                return Err(FlagError::value("--duration", "must be longer than 0s"));
            }
            Ok(SimulatedFleet {
                clusters,
                duration: self.duration,
                tokens: tokens.ok_or(FlagError::Missing(
                    "no tokens for the fleet: give --shared-key FILE to sign them, or --authorize-all to ask for each",
                ))?,
                connections: usize::from(self.connections),
                reconnects: self.reconnect,
                resumes: self.resume,
                report_svg: value::path(self.report_svg),
                report_json: value::path(self.report_json),
                server_pid: self.server_pid,
            })
        });
        Ok(Config {
            listen: value::unless_empty(Some(self.listen)).map(|text| value::address("--listen", &text)).transpose()?,
            to: TargetSettings { authorize, upload, receive: None, ca_file: value::path(self.to_ca_file), token },
            metrics_file,
            interval: if self.interval.is_zero() { DEFAULT_INTERVAL } else { self.interval },
            workers: self.workers as usize,
            once: self.once,
            fleet: fleet.transpose()?,
        })
    }
}
