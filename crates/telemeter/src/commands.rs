//! The subcommands that run once, print and exit: `telemeter fleet`, `telemeter client preview` and their like.
//!
//! Each is a struct of flags that implements [`RunOnce`], in a module of its own, and one line of `TELEMETER` or
//! `CLIENT`; its help, its part of docs/flags.md and its golden help follow from that. It prints by the [`Printer`]
//! that it is given and is run on a runtime of one thread. It logs only where [`RunOnce::log`] says so.
//!
//! The exit code (`check` has its own, by stage): 0 for done; 1 for an answer that a script asked to hear of (`--fail`, a check that found something);
//! 2 where it could not be done, with one line on stderr, as for flags that are not known.
//!
//! A binary names the commands that it holds: those of [`all`] or, for the client alone, of [`of_client`], so that
//! nothing of the other programs is in it.

mod check;
mod client_preview;
mod completions;
mod man;

use std::{ffi::OsString, pin::Pin, process::ExitCode};

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::{
    flags::{self, Program, ProgramFlags},
    fleet, logs,
    output::Printer,
    policy::PolicyCommand,
    run::RunFailure,
};

/// Commands of `telemeter` itself.
const TELEMETER: &[CommandEntry] = &[
    CommandEntry::of::<fleet::FleetFlags>(),
    CommandEntry::of::<completions::Completions>(),
    CommandEntry::of::<man::Man>(),
    CommandEntry::of::<PolicyCommand>(),
];

/// Commands of the client: `telemeter client NAME` and `telemeter-client NAME`.
const CLIENT: &[CommandEntry] =
    &[CommandEntry::of::<client_preview::ClientPreview>(), CommandEntry::of::<check::ClientCheck>()];

/// Commands of the server: `telemeter server NAME` and `telemeter-server NAME`.
const SERVER: &[CommandEntry] = &[CommandEntry::of::<check::ServerCheck>()];

/// Every command of `telemeter` (`None`) or of a program.
pub fn all(of: Option<Program>) -> &'static [CommandEntry] {
    match of {
        None => TELEMETER,
        Some(Program::Client) => CLIENT,
        Some(Program::Server) => SERVER,
        Some(_) => &[],
    }
}

/// The commands of the client, for the binary that holds it alone.
pub fn of_client(of: Option<Program>) -> &'static [CommandEntry] {
    if of == Some(Program::Client) { CLIENT } else { &[] }
}

/// The commands of the server, for the binary that holds it alone.
pub fn of_server(of: Option<Program>) -> &'static [CommandEntry] {
    if of == Some(Program::Server) { SERVER } else { &[] }
}

/// No command, for a binary that is one program.
pub fn none(_: Option<Program>) -> &'static [CommandEntry] {
    &[]
}

/// Which commands a binary has: [`all`], [`of_client`], [`of_server`] or [`none`].
pub type Commands = fn(Option<Program>) -> &'static [CommandEntry];

/// A subcommand that runs once. The struct holds its flags (`#[derive(clap::Parser)]`, `#[command(name = "…")]`).
pub trait RunOnce: CommandFactory + FromArgMatches + 'static {
    /// Does it, and says how it went.
    ///
    /// # Errors
    /// Why it could not be done, in words for the one who typed it: printed on stderr with its causes.
    fn run(self, printer: &mut Printer) -> impl Future<Output = Result<ExitCode, RunFailure>>;

    /// What is logged to stderr meanwhile; `None`: nothing.
    fn log(&self) -> Option<logs::Config> {
        None
    }
}

/// A line of the tables above.
#[derive(Clone, Copy)]
pub struct CommandEntry {
    command: fn() -> Command,
    read: fn(&ArgMatches) -> Result<ReadyCommand, clap::Error>,
}

impl CommandEntry {
    /// The entry of a command.
    pub const fn of<C: RunOnce>() -> Self {
        Self { command: C::command, read: |matches| Ok(ReadyCommand(Box::new(C::from_arg_matches(matches)?))) }
    }

    /// Its flags, for parsing and for printing.
    pub fn command(&self) -> Command {
        (self.command)()
    }
}

/// A command whose flags were read.
pub struct ReadyCommand(Box<dyn Erased>);

impl ReadyCommand {
    /// See [`RunOnce::log`].
    pub fn log(&self) -> Option<logs::Config> {
        self.0.log()
    }

    /// See [`RunOnce::run`].
    ///
    /// # Errors
    /// As there.
    pub async fn run(self, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
        self.0.run(printer).await
    }
}

/// [`RunOnce`] without its type.
trait Erased {
    fn log(&self) -> Option<logs::Config>;
    fn run<'p>(self: Box<Self>, printer: &'p mut Printer) -> RunningCommand<'p>;
}

type RunningCommand<'p> = Pin<Box<dyn Future<Output = Result<ExitCode, RunFailure>> + 'p>>;

impl<C: RunOnce> Erased for C {
    fn log(&self) -> Option<logs::Config> {
        RunOnce::log(self)
    }

    fn run<'p>(self: Box<Self>, printer: &'p mut Printer) -> RunningCommand<'p> {
        Box::pin(RunOnce::run(*self, printer))
    }
}

/// What argv asks for.
pub enum CommandLine {
    /// A program, which runs until it is ended.
    Program(ProgramFlags),
    /// A command, which runs once.
    Command(ReadyCommand),
}

impl CommandLine {
    /// Reads argv, whose first element is the binary's name: of one program, or of `telemeter` where there is none.
    ///
    /// # Errors
    /// Flags that clap refuses; and `--help` and `--version`, whose text the error holds.
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

fn find(entries: &'static [CommandEntry], name: &str) -> Option<&'static CommandEntry> {
    entries.iter().find(|entry| entry.command().get_name() == name)
}

/// `telemeter` or one program, with the commands below it.
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
    flags::loosen(command)
}

#[cfg(test)]
mod tests;
