//! The flags of each program, parsed by clap; the method `config` of each makes the program's `Config` from them.

mod argv;
pub mod authority;
pub mod benchmark;
pub mod client;
pub mod duration;
mod escaping;
pub(crate) mod list;
pub mod quickstart;
pub(crate) mod relabel;
pub mod server;
pub mod shared;
pub(crate) mod size;
pub(crate) mod source;
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
use crate::traces;

/// The programs. Each is a subcommand of `telemeter`, and each but the quickstart is a binary of its own.
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
    /// All programs, in the order of the help and of docs/flags.md.
    pub const ALL: [Self; 5] =
        [Self::Server, Self::Client, Self::AuthorizationServer, Self::Benchmark, Self::Quickstart];

    /// The program whose name `telemeter` was started by, for example through a link of the image; `None` for its own name
    /// and for other names.
    ///
    /// `argv0` is the first element of argv, a path or a name.
    ///
    /// ```
    /// use telemeter::Program;
    ///
    /// assert_eq!(Program::called_as("/usr/bin/telemeter-server".as_ref()), Some(Program::Server));
    /// assert_eq!(Program::called_as("telemeter".as_ref()), None);
    /// ```
    pub fn called_as(argv0: &OsStr) -> Option<Self> {
        match Path::new(argv0).file_name()?.to_str()? {
            "telemeter-server" => Some(Self::Server),
            "telemeter-client" => Some(Self::Client),
            "authorization-server" => Some(Self::AuthorizationServer),
            "telemeter-benchmark" => Some(Self::Benchmark),
            _ => None,
        }
    }

    /// Its clap command, with the name of its own binary: for parsing and for the help.
    pub fn command(self) -> Command {
        parse_as_go(match self {
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

/// Whether a program runs, or only checks its flags and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It runs.
    Run,
    /// `--dry-run`: it checks, and ends.
    DryRun,
}

/// The parsed flags of a program.
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
    /// Parses argv, whose first element is the name of the binary. `program` is the program of the binary; `None` for
    /// `telemeter`, which has all of them as subcommands. The subcommands that run once are parsed by [`crate::commands::CommandLine::parse`].
    ///
    /// # Errors
    /// Flags that clap refuses; also `--help` and `--version`, with the text to print.
    pub fn parse(program: Option<Program>, argv: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::from_matches(program, &matches(program.map_or_else(telemeter, Program::command), argv)?)
    }

    /// The flags of `program`, or where that is `None` of the program whose subcommand was given.
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

    /// Whether the program runs, or only checks its flags and files.
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

    /// Warnings for the log, about flags without the effect that they seem to have.
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

/// The configuration of one of the programs.
#[derive(Clone, Debug)]
pub enum Config {
    /// Made by [`ServerFlags::config`].
    Server(Box<telemeter_server::Config>),
    /// Made by [`ClientFlags::config`].
    Client(Box<telemeter_client::Config>),
    /// Made by [`AuthorizationServerFlags::config`].
    AuthorizationServer(AuthorizationServerConfig),
    /// Made by [`BenchmarkFlags::config`].
    Benchmark(Box<telemeter_benchmark::Config>),
    /// Made by [`QuickstartFlags::config`].
    Quickstart(Box<QuickstartConfig>),
}

impl Config {
    /// Sets the revision of the source that the program's metrics show.
    pub fn set_revision(&mut self, revision: &'static str) {
        match self {
            Self::Server(config) => config.revision = revision,
            Self::Client(config) => config.revision = revision,
            Self::Quickstart(_) | Self::AuthorizationServer(_) | Self::Benchmark(_) => {}
        }
    }

    /// Sets the counter of dropped log lines that the program's metrics show.
    pub fn count_dropped_log_lines(&mut self, dropped: DroppedLogLines) {
        match self {
            Self::Server(config) => config.dropped_log_lines = dropped,
            Self::Client(config) => config.dropped_log_lines = dropped,
            Self::Quickstart(_) | Self::AuthorizationServer(_) | Self::Benchmark(_) => {}
        }
    }
}

impl ProgramFlags {
    /// The configuration of the program, and of its traces; `None` for programs without flags for traces.
    ///
    /// # Errors
    /// Those of the program's `config`.
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
    parse_as_go(Telemeter::command())
}

/// Metrics of a fleet of clusters, from each cluster's Prometheus to the vendor's store.
#[derive(Parser)]
#[command(name = "telemeter", version)]
struct Telemeter {
    #[command(subcommand)]
    flags: ProgramFlags,
}

/// Parses argv by `command`.
pub(crate) fn matches(command: Command, argv: impl IntoIterator<Item = OsString>) -> Result<ArgMatches, clap::Error> {
    let argv = argv::trimmed(&command, argv);
    command.try_get_matches_from(argv)
}

/// Makes a command parse as the Go programs do: the last of a repeated flag counts, and a value may start with a dash.
pub(crate) fn parse_as_go(command: Command) -> Command {
    let value = |arg: &Arg| arg.get_action().takes_values() && !arg.is_positional() && !arg.is_require_equals_set();
    command
        .args_override_self(true)
        .mut_args(|arg| if value(&arg) { arg.allow_hyphen_values(true) } else { arg })
        .mut_subcommands(parse_as_go)
}

#[cfg(test)]
mod tests;
