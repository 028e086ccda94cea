//! What was typed, for each program; `config(self)` of each is the one door to what is meant.

mod argv;
pub mod authority;
pub mod benchmark;
pub mod client;
pub mod duration;
mod escaping;
pub(crate) mod list;
pub mod quickstart;
pub mod server;
pub mod shared;
pub(crate) mod size;
pub mod table;
pub(crate) mod target;
pub(crate) mod value;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use telemeter_http::metrics::DroppedLogLines;

pub use self::value::FlagError;
use self::{
    authority::{AuthorizationServerConfig, AuthorizationServerFlags},
    benchmark::BenchmarkFlags,
    client::ClientFlags,
    quickstart::{QuickstartConfig, QuickstartFlags},
    server::ServerFlags,
    shared::LogFlags,
};
use crate::{dry_run::Mode, traces};

/// The programs, each a subcommand of `telemeter` and, but for the quickstart, a binary of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `telemeter server`, `telemeter-server`.
    Server,
    /// `telemeter client`, `telemeter-client`.
    Client,
    /// `telemeter authorization-server`, `authorization-server`.
    AuthorizationServer,
    /// `telemeter benchmark`, `telemeter-benchmark`.
    Benchmark,
    /// `telemeter quickstart`.
    Quickstart,
}

impl Program {
    /// All of them, in the order in which they are told about.
    pub const ALL: [Self; 5] =
        [Self::Server, Self::Client, Self::AuthorizationServer, Self::Benchmark, Self::Quickstart];

    /// The program that `telemeter` plays when it is started under another name, as through the links of the image:
    /// `None` under its own name and under any other that no program has.
    ///
    /// `argv0` is the first element of argv, a path or a name.
    pub fn called_as(argv0: &OsStr) -> Option<Self> {
        match Path::new(argv0).file_name()?.to_str()? {
            "telemeter-server" => Some(Self::Server),
            "telemeter-client" => Some(Self::Client),
            "authorization-server" => Some(Self::AuthorizationServer),
            "telemeter-benchmark" => Some(Self::Benchmark),
            _ => None,
        }
    }

    /// Its flags, for parsing and for printing; named as its own binary.
    pub fn command(self) -> Command {
        loosen(match self {
            Self::Server => ServerFlags::command(),
            Self::Client => ClientFlags::command(),
            Self::AuthorizationServer => AuthorizationServerFlags::command(),
            Self::Benchmark => BenchmarkFlags::command(),
            Self::Quickstart => QuickstartFlags::command(),
        })
    }

    /// Its name as a subcommand of `telemeter`.
    pub fn subcommand(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::AuthorizationServer => "authorization-server",
            Self::Benchmark => "benchmark",
            Self::Quickstart => "quickstart",
        }
    }
}

/// What was typed.
#[derive(Subcommand, Debug)]
pub enum ProgramFlags {
    /// The server: takes in a fleet's metrics and forwards them to a store.
    Server(Box<ServerFlags>),
    /// The client: scrapes a Prometheus and pushes to the server.
    Client(Box<ClientFlags>),
    /// Plays the authority for tests and demos.
    AuthorizationServer(Box<AuthorizationServerFlags>),
    /// Plays many clusters at once against a server.
    Benchmark(Box<BenchmarkFlags>),
    /// Authority, server and client in one process, to see metrics flow at once.
    Quickstart(Box<QuickstartFlags>),
}

impl ProgramFlags {
    /// Reads argv, whose first element is the binary's name: of one program, or of `telemeter` where there is none. The
    /// subcommands that run once are read by [`crate::commands::CommandLine::parse`].
    ///
    /// # Errors
    /// Flags that clap refuses; and `--help` and `--version`, whose text the error holds.
    pub fn parse(program: Option<Program>, argv: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::from_matches(program, &matches(program.map_or_else(telemeter, Program::command), argv)?)
    }

    /// The flags of one program, or of the one whose subcommand of `telemeter` was typed.
    pub(crate) fn from_matches(program: Option<Program>, matches: &ArgMatches) -> Result<Self, clap::Error> {
        let Some(program) = program else { return Ok(Telemeter::from_arg_matches(matches)?.flags) };
        Ok(match program {
            Program::Server => Self::Server(Box::new(ServerFlags::from_arg_matches(matches)?)),
            Program::Client => Self::Client(Box::new(ClientFlags::from_arg_matches(matches)?)),
            Program::AuthorizationServer => {
                Self::AuthorizationServer(Box::new(AuthorizationServerFlags::from_arg_matches(matches)?))
            }
            Program::Benchmark => Self::Benchmark(Box::new(BenchmarkFlags::from_arg_matches(matches)?)),
            Program::Quickstart => Self::Quickstart(Box::new(QuickstartFlags::from_arg_matches(matches)?)),
        })
    }

    /// The flags of the log, which every program has.
    pub fn log(&self) -> &LogFlags {
        match self {
            Self::Server(flags) => &flags.log,
            Self::Client(flags) => &flags.log,
            Self::AuthorizationServer(flags) => &flags.log,
            Self::Benchmark(flags) => &flags.log,
            Self::Quickstart(flags) => &flags.log,
        }
    }

    /// Whether the program is to run.
    pub fn mode(&self) -> Mode {
        let flags = match self {
            Self::Server(flags) => flags.mode,
            Self::Client(flags) => flags.mode,
            Self::AuthorizationServer(flags) => flags.mode,
            Self::Benchmark(flags) => flags.mode,
            Self::Quickstart(flags) => flags.mode,
        };
        if flags.dry_run { Mode::DryRun } else { Mode::Run }
    }

    /// What the log should say about flags that do less than they promise.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Server(flags) => flags.warnings(),
            Self::Client(flags) => flags.warnings(),
            Self::Benchmark(flags) => flags.warnings(),
            Self::Quickstart(flags) => flags.warnings(),
            Self::AuthorizationServer(_) => Vec::new(),
        }
    }
}

/// What was meant, by whichever program.
#[derive(Clone, Debug)]
pub enum Config {
    /// See [`ServerFlags::config`].
    Server(Box<telemeter_server::Config>),
    /// See [`ClientFlags::config`].
    Client(Box<telemeter_client::Config>),
    /// See [`AuthorizationServerFlags::config`].
    AuthorizationServer(AuthorizationServerConfig),
    /// See [`BenchmarkFlags::config`].
    Benchmark(Box<telemeter_benchmark::Config>),
    /// See [`QuickstartFlags::config`].
    Quickstart(Box<QuickstartConfig>),
}

impl Config {
    /// Shows in the program's metrics which revision of the source it was built from.
    pub fn set_revision(&mut self, revision: &'static str) {
        match self {
            Self::Server(config) => config.revision = revision,
            Self::Client(config) => config.revision = revision,
            Self::Quickstart(_) | Self::AuthorizationServer(_) | Self::Benchmark(_) => {}
        }
    }

    /// Shows in the program's metrics how many lines of its log were dropped.
    pub fn count_dropped_log_lines(&mut self, dropped: DroppedLogLines) {
        match self {
            Self::Server(config) => config.dropped_log_lines = dropped,
            Self::Client(config) => config.dropped_log_lines = dropped,
            Self::Quickstart(_) | Self::AuthorizationServer(_) | Self::Benchmark(_) => {}
        }
    }
}

impl ProgramFlags {
    /// What was meant, and where its traces go; `None` for programs that have no such flags.
    ///
    /// # Errors
    /// See each program's `config`.
    pub fn config(self) -> Result<(Config, Option<traces::Config>), FlagError> {
        Ok(match self {
            Self::Server(flags) => {
                let tracing = flags.tracing.config("telemeter-server")?;
                (Config::Server(Box::new(flags.config()?)), Some(tracing))
            }
            Self::Client(flags) => {
                let tracing = flags.tracing.config("telemeter-client")?;
                (Config::Client(Box::new(flags.config()?)), Some(tracing))
            }
            Self::AuthorizationServer(flags) => (Config::AuthorizationServer(flags.config()?), None),
            Self::Benchmark(flags) => (Config::Benchmark(Box::new(flags.config()?)), None),
            Self::Quickstart(flags) => (Config::Quickstart(Box::new(flags.config()?)), None),
        })
    }
}

/// `telemeter` itself, with a subcommand for each program.
pub fn telemeter() -> Command {
    loosen(Telemeter::command())
}

/// Metrics of a fleet of clusters, from each cluster's Prometheus to the vendor's store.
#[derive(Parser)]
#[command(name = "telemeter", version)]
struct Telemeter {
    #[command(subcommand)]
    flags: ProgramFlags,
}

/// What was typed, by what `command` knows.
pub(crate) fn matches(command: Command, argv: impl IntoIterator<Item = OsString>) -> Result<ArgMatches, clap::Error> {
    let argv = argv::trimmed(&command, argv);
    command.try_get_matches_from(argv)
}

/// Reads flags as the Go programs do: the last of a repeated flag counts, and a value may begin with a dash.
pub(crate) fn loosen(command: Command) -> Command {
    let value = |arg: &Arg| arg.get_action().takes_values() && !arg.is_positional() && !arg.is_require_equals_set();
    command
        .args_override_self(true)
        .mut_args(|arg| if value(&arg) { arg.allow_hyphen_values(true) } else { arg })
        .mut_subcommands(loosen)
}

#[cfg(test)]
mod tests;
