//! `telemeter completions`: what a shell needs to complete commands and flags.

use std::process::ExitCode;

use clap::{Command, Parser, ValueEnum};
use clap_complete::Shell;

use super::RunOnce;
use crate::{failure::RunFailure, flags::Program, output::Printer};

/// Print a shell's completions of the commands and flags.
#[derive(Parser, Debug)]
#[command(name = "completions")]
pub(super) struct Completions {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,

    /// The program whose flags are completed.
    #[arg(value_name = "PROGRAM", default_value = "telemeter")]
    program: ProgramName,
}

/// The names that a program of ours is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProgramName {
    Telemeter,
    TelemeterServer,
    TelemeterClient,
    TelemeterBenchmark,
    AuthorizationServer,
}

impl ProgramName {
    /// The definition of this program's command line, from which the completion script is generated. Only `telemeter`
    /// and `telemeter-client` have subcommands.
    fn command(self) -> Command {
        super::command(
            match self {
                Self::Telemeter => None,
                Self::TelemeterServer => Some(Program::Server),
                Self::TelemeterClient => Some(Program::Client),
                Self::TelemeterBenchmark => Some(Program::Benchmark),
                Self::AuthorizationServer => Some(Program::AuthorizationServer),
            },
            match self {
                Self::Telemeter => super::all,
                Self::TelemeterClient => super::of_client,
                Self::TelemeterServer | Self::TelemeterBenchmark | Self::AuthorizationServer => super::none,
            },
        )
    }
}

impl RunOnce for Completions {
    async fn run(self, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
        printer.line(script(self.shell, self.program).trim_end())?;
        Ok(ExitCode::SUCCESS)
    }
}

/// The completion script of a program for a shell.
fn script(shell: Shell, program: ProgramName) -> String {
    let mut command = program.command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command as Process;

    use super::*;

    #[test]
    fn each_program_s_flags_are_completed() {
        for program in ProgramName::value_variants() {
            let name = program.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(program.command().get_name(), name);
            let script = script(Shell::Bash, *program);
            assert!(script.contains(&format!("-o default {name}\n")), "{script}");
            let command = program.command();
            let flags = command.get_arguments().filter(|flag| !flag.is_hide_set()).filter_map(clap::Arg::get_long);
            for flag in flags {
                assert!(script.contains(&format!("--{flag}")), "{name} --{flag}");
            }
        }
        assert!(script(Shell::Zsh, ProgramName::Telemeter).contains("quickstart"));
        assert!(script(Shell::Fish, ProgramName::Telemeter).contains("anonymize-labels"));
    }

    /// As bash calls it when somebody presses the tabulator key.
    #[test]
    fn bash_completes_a_flag() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("telemeter");
        std::fs::write(&file, script(Shell::Bash, ProgramName::Telemeter)).unwrap();
        let press = "set -eu; . \"$1\"; COMP_WORDS=(telemeter client --anonymize-l); COMP_CWORD=2; \
                     _telemeter telemeter --anonymize-l client; printf '%s\\n' \"${COMPREPLY[@]}\"";
        let run = Process::new("bash").args(["-c", press, "bash"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert_eq!(said, "--anonymize-labels\n", "{}", String::from_utf8_lossy(&run.stderr));
    }
}
