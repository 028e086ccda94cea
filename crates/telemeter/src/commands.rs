//! The subcommands that run once, print and exit, such as `telemeter fleet` and `telemeter client preview`.
//!
//! Each is a struct of flags that implements [`RunOnce`], in a module of its own, and an entry of `TELEMETER`, `CLIENT` or
//! `SERVER`. Its help, its part of docs/flags.md and its golden help text are made from the struct. It prints with the
//! [`Printer`] that it gets, and runs on a runtime of one thread. It logs only where [`RunOnce::log`] returns a config.
//!
//! The exit code (`check` has its own, by stage): 0 for success; 1 for a result that a script wants to detect (`--fail`, a check that found
//! something); 2 for a failure, with one line on stderr, as for unknown flags.
//!
//! A binary passes the commands that it has, [`all`] or those of its program ([`of_client`], [`of_server`], [`none`]), so
//! that the linker leaves the code of the others out.

mod check;
mod client_preview;
mod completions;
pub mod fleet;
mod man;
mod policy;

use std::{ffi::OsString, pin::Pin, process::ExitCode};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::{
    failure::RunFailure,
    flags::{self, Program, ProgramFlags},
    logs,
    output::Printer,
};

/// Commands of `telemeter` itself.
const TELEMETER: &[CommandEntry] = &[
    CommandEntry::of::<fleet::FleetFlags>(),
    CommandEntry::of::<completions::Completions>(),
    CommandEntry::of::<man::Man>(),
    CommandEntry::of::<policy::PolicyCommand>(),
];

/// Commands of the client: `telemeter client NAME` and `telemeter-client NAME`.
const CLIENT: &[CommandEntry] =
    &[CommandEntry::of::<client_preview::ClientPreview>(), CommandEntry::of::<check::ClientCheck>()];

/// Commands of the server: `telemeter server NAME` and `telemeter-server NAME`.
const SERVER: &[CommandEntry] = &[CommandEntry::of::<check::ServerCheck>()];

/// The commands of `telemeter` (`None`) or of a program.
pub fn all(of: Option<Program>) -> &'static [CommandEntry] {
    match of {
        None => TELEMETER,
        Some(Program::Client) => CLIENT,
        Some(Program::Server) => SERVER,
        Some(_) => &[],
    }
}

/// The commands of the client, for the binary that is only the client.
pub fn of_client(of: Option<Program>) -> &'static [CommandEntry] {
    if of == Some(Program::Client) { CLIENT } else { &[] }
}

/// The commands of the server, for the binary that is only the server.
pub fn of_server(of: Option<Program>) -> &'static [CommandEntry] {
    if of == Some(Program::Server) { SERVER } else { &[] }
}

/// No command, for a binary whose program has none.
pub fn none(_: Option<Program>) -> &'static [CommandEntry] {
    &[]
}

/// Which commands a binary has: [`all`], [`of_client`], [`of_server`] or [`none`].
pub type Commands = fn(Option<Program>) -> &'static [CommandEntry];

/// A subcommand that runs once. The struct holds its flags (`#[derive(clap::Parser)]`, `#[command(name = "…")]`).
pub trait RunOnce: CommandFactory + FromArgMatches + 'static {
    /// Runs the command and returns its exit code.
    ///
    /// # Errors
    /// The text says what the user can do; it is printed on stderr with its causes.
    fn run(self, printer: &mut Printer) -> impl Future<Output = Result<ExitCode, RunFailure>>;

    /// How the command logs to stderr; `None`: it logs nothing.
    fn log(&self) -> Option<logs::Config> {
        None
    }
}

/// A command of the tables above: how its flags are declared, and how they are read.
#[derive(Clone, Copy)]
pub struct CommandEntry {
    command: fn() -> Command,
    read: fn(&ArgMatches) -> Result<ReadyCommand, clap::Error>,
}

impl CommandEntry {
    /// The entry of the command `C`.
    pub const fn of<C: RunOnce>() -> Self {
        Self { command: C::command, read: |matches| Ok(ReadyCommand(Box::new(C::from_arg_matches(matches)?))) }
    }

    /// Its clap command, for parsing and for the help.
    pub fn command(&self) -> Command {
        (self.command)()
    }
}

/// A command whose flags have been parsed.
pub struct ReadyCommand(Box<dyn AnyCommand>);

impl ReadyCommand {
    /// As [`RunOnce::log`].
    pub fn log(&self) -> Option<logs::Config> {
        self.0.log()
    }

    /// As [`RunOnce::run`].
    ///
    /// # Errors
    /// Those of the command.
    pub async fn run(self, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
        self.0.run(printer).await
    }
}

/// [`RunOnce`] as an object: any command behind one type.
trait AnyCommand {
    fn log(&self) -> Option<logs::Config>;
    fn run<'p>(self: Box<Self>, printer: &'p mut Printer) -> RunningCommand<'p>;
}

type RunningCommand<'p> = Pin<Box<dyn Future<Output = Result<ExitCode, RunFailure>> + 'p>>;

impl<C: RunOnce> AnyCommand for C {
    fn log(&self) -> Option<logs::Config> {
        RunOnce::log(self)
    }

    fn run<'p>(self: Box<Self>, printer: &'p mut Printer) -> RunningCommand<'p> {
        Box::pin(RunOnce::run(*self, printer))
    }
}

/// What argv names: a program or a command, with its flags.
pub enum CommandLine {
    /// A program, which runs until a signal ends it.
    Program(ProgramFlags),
    /// A command, which runs once.
    Command(ReadyCommand),
}

impl CommandLine {
    /// Parses argv, whose first element is the name of the binary. `program` is the program of the binary; `None` for
    /// `telemeter`, which has all of them as subcommands.
    ///
    /// # Errors
    /// Flags that clap refuses; also `--help` and `--version`, with the text to print.
    pub fn parse(
        program: Option<Program>,
        commands: Commands,
        argv: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let matches = flags::matches(command(program, commands), argv)?;
        if let Some((name, inner)) = matches.subcommand() {
            if let Some(command) = find(commands(program), name) {
                return Ok(Self::Command((command.read)(inner)?));
            }
            let program = Program::ALL.into_iter().find(|program| program.subcommand() == name);
            if let (Some(program), Some((name, matches))) = (program, inner.subcommand())
                && let Some(command) = find(commands(Some(program)), name)
            {
                return Ok(Self::Command((command.read)(matches)?));
            }
        }
        Ok(Self::Program(ProgramFlags::from_matches(program, &matches)?))
    }
}

/// The command with this name; `None` where there is none.
fn find(entries: &'static [CommandEntry], name: &str) -> Option<&'static CommandEntry> {
    entries.iter().find(|entry| entry.command().get_name() == name)
}

/// The clap command of a program, or of `telemeter`, with the run-once commands as subcommands.
pub fn command(program: Option<Program>, commands: Commands) -> Command {
    let with = |command: Command, entries: &[CommandEntry]| {
        if entries.is_empty() {
            return command;
        }
        let command = command.args_conflicts_with_subcommands(true).subcommand_negates_reqs(true);
        command.subcommands(entries.iter().map(CommandEntry::command))
    };
    let command = match program {
        Some(program) => with(program.command(), commands(Some(program))),
        None => Program::ALL.into_iter().fold(with(flags::telemeter(), commands(None)), |command, program| {
            command.mut_subcommand(program.subcommand(), |inner| with(inner, commands(Some(program))))
        }),
    };
    flags::parse_as_go(command)
}

#[cfg(test)]
mod tests;
