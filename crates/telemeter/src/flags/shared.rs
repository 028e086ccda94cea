//! The flags that every program has: its log, its traces.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use clap::Args;

use super::{
    list,
    value::{self, FlagError},
};
use crate::{
    logs::{self, Level, LogFormat},
    traces,
};

/// The flags of the log.
#[derive(Args, Debug)]
pub struct LogFlags {
    /// The least urgent lines that are logged.
    #[arg(long, value_enum, default_value = "info", ignore_case = true, value_name = "LEVEL")]
    pub log_level: Level,

    /// How a log line is written. Without: text on a terminal, else logfmt.
    #[arg(long, value_enum, ignore_case = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,

    /// Dump the round trips to other programs, without secrets. `--verbose=false` turns it off.
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_value = "false",
          default_missing_value = "true", value_parser = value::boolean, action = clap::ArgAction::Set,
          hide_possible_values = true, value_name = "BOOL")]
    pub verbose: bool,
}

impl LogFlags {
    /// The configuration for [`logs::init`].
    pub fn config(&self) -> logs::Config {
        let usual = || if io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Logfmt };
        logs::Config { level: self.log_level, format: self.log_format.unwrap_or_else(usual), verbose: self.verbose }
    }
}

/// The flag `--dry-run`.
#[derive(Args, Clone, Copy, Debug)]
pub struct ModeFlags {
    /// Read and check all flags and files, say so in one line, and end: with 0 where they are good, else with 1.
    #[arg(long)]
    pub dry_run: bool,
}

/// Which requests the internal listener answers.
#[derive(Args, Debug)]
pub struct AccessFlags {
    /// A host name or address that the listener for health, metrics and profiles answers to, beside loopback's names; another Host gets 421. Without: where it listens on loopback alone, to loopback's names; else to every name. Comma-separated or repeated.
    #[arg(long, value_name = "HOST")]
    internal_allowed_hosts: Vec<String>,

    /// File with a bearer token that every route of that listener wants but health. Read again at a reload.
    #[arg(long, value_name = "FILE")]
    internal_token_file: Option<OsString>,
}

impl AccessFlags {
    /// The host names of `--internal-allowed-hosts`, without ports.
    ///
    /// # Errors
    /// An element is no host name and no address.
    pub fn allowed_hosts(&self) -> Result<Vec<String>, FlagError> {
        let host = |text: &str| match url::Host::parse(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(_) => Err("which is no host: a name or an address, [in brackets] of IPv6".to_owned()),
        };
        list::parse_with_check("--internal-allowed-hosts", &self.internal_allowed_hosts, host)
    }

    /// The file of `--internal-token-file`.
    pub fn token_file(&self) -> Option<PathBuf> {
        value::path(self.internal_token_file.clone())
    }
}

/// The flags of traces.
#[derive(Args, Debug)]
pub struct TracingFlags {
    /// The name that our spans carry. By default the program's.
    #[arg(long = "internal.tracing.service-name", value_name = "NAME")]
    pub service_name: Option<String>,

    /// Where spans are sent, as OTLP over HTTP; `/v1/traces` is added where there is no path. Without: nowhere.
    #[arg(long = "internal.tracing.endpoint", value_name = "URL")]
    pub endpoint: Option<String>,

    /// The share of traces that are sent, 0 to 1; a caller's own decision goes before.
    #[arg(long = "internal.tracing.sampling-fraction", value_name = "FRACTION", default_value = "0.1")]
    pub sampling_fraction: f64,

    /// What the endpoint is: `agent` may be HOST:PORT, `collector` is a URL. Both are spoken to in OTLP over HTTP.
    #[arg(long = "internal.tracing.endpoint-type", value_enum, value_name = "TYPE", default_value = "agent")]
    pub endpoint_type: EndpointType,
}

/// The kind of the endpoint, of which only the form of the address follows. Jaeger's own protocols are not supported.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointType {
    /// An agent, given as host and port or as a URL.
    Agent,
    /// A collector, given as a URL.
    Collector,
}

impl TracingFlags {
    /// The configuration for [`traces::build`]; `program` is the service name where none was given.
    ///
    /// # Errors
    /// An endpoint that is no URL, a fraction outside of 0 to 1.
    pub fn config(&self, program: &str) -> Result<traces::Config, FlagError> {
        const ENDPOINT: &str = "--internal.tracing.endpoint";
        if !(0.0..=1.0).contains(&self.sampling_fraction) {
            return Err(FlagError::value("--internal.tracing.sampling-fraction", "must lie between 0 and 1"));
        }
        let endpoint = value::unless_empty(self.endpoint.clone()).map(|text| match self.endpoint_type {
            EndpointType::Agent if !text.contains("://") => {
                value::address(ENDPOINT, &text)?;
                value::http_url(ENDPOINT, &format!("http://{text}"))
            }
            _ => value::http_url(ENDPOINT, &text),
        });
        let endpoint = endpoint.transpose()?.map(|mut url| {
            if url.path() == "/" {
                url.set_path("/v1/traces");
            }
            url
        });
        Ok(traces::Config {
            service_name: value::unless_empty(self.service_name.clone()).unwrap_or_else(|| program.to_owned()),
            endpoint,
            sampling_fraction: self.sampling_fraction,
        })
    }
}
