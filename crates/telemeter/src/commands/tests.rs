#![allow(clippy::unwrap_used)]
use super::*;

/// Prints its word; logs nothing.
#[derive(clap::Parser, Debug)]
#[command(name = "echo")]
struct Echo {
    /// The word.
    #[arg(long, required = true)]
    word: String,
}

impl RunOnce for Echo {
    async fn run(self, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
        printer.line(&self.word)?;
        if self.word == "none" { Err("there is no such word".into()) } else { Ok(ExitCode::from(1)) }
    }
}

fn commands(of: Option<Program>) -> &'static [CommandEntry] {
    const ECHO: &[CommandEntry] = &[CommandEntry::of::<Echo>()];
    if matches!(of, None | Some(Program::Client)) { ECHO } else { &[] }
}

fn parse(program: Option<Program>, argv: &[&str]) -> Result<CommandLine, clap::Error> {
    CommandLine::parse(program, commands, std::iter::once(&"program").chain(argv).map(OsString::from))
}

fn run(program: Option<Program>, argv: &[&str]) -> (Result<ExitCode, String>, String) {
    let CommandLine::Command(command) = parse(program, argv).unwrap() else { panic!("{argv:?} is a program") };
    assert_eq!(command.log(), None);
    let (mut printer, written) = Printer::to_memory(None, false);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = runtime.block_on(command.run(&mut printer)).map_err(|failure| failure.to_string());
    (ended, written.text())
}

#[test]
fn a_command_is_found_below_telemeter_below_a_program_and_below_the_program_s_own_binary() {
    let found = [
        run(None, &["echo", "--word=a"]),
        run(None, &["client", "echo", "--word", "a"]),
        run(Some(Program::Client), &["echo", "--word= a\n"]),
    ];
    assert_eq!(found, [(); 3].map(|()| (Ok(ExitCode::from(1)), "a\n".to_owned())));
    assert_eq!(run(None, &["echo", "--word=none"]), (Err("there is no such word".to_owned()), "none\n".to_owned()));
}

#[test]
fn a_program_with_commands_is_still_a_program() {
    let client = ["--from=http://p", "--to=http://s", "--id=i", "--match=echo"];
    assert!(matches!(parse(Some(Program::Client), &client), Ok(CommandLine::Program(ProgramFlags::Client(_)))));
    let below = ["client"].iter().chain(&client).copied().collect::<Vec<_>>();
    assert!(matches!(parse(None, &below), Ok(CommandLine::Program(ProgramFlags::Client(_)))));
}

#[test]
fn what_is_no_command_is_refused() {
    for (program, argv) in [
        (None, &["server", "echo", "--word=a"][..]),
        (Some(Program::Server), &["echo", "--word=a"]),
        (Some(Program::Client), &["--from=http://p", "echo", "--word=a"]),
        (None, &["echo"]),
        (None, &["ecko", "--word=a"]),
    ] {
        let refused = parse(program, argv).err().unwrap_or_else(|| panic!("{argv:?} is taken"));
        assert_eq!(refused.exit_code(), 2, "{argv:?}");
    }
}

#[test]
fn the_client_alone_has_the_client_s_commands() {
    assert_eq!(of_client(None).len() + none(None).len() + none(Some(Program::Client)).len(), 0);
    assert_eq!(of_client(Some(Program::Client)).len(), all(Some(Program::Client)).len());
    assert_eq!(of_server(Some(Program::Server)).len(), all(Some(Program::Server)).len());
    assert_eq!(of_server(None).len() + of_server(Some(Program::Client)).len(), 0);
}

#[test]
fn names_are_not_taken_twice() {
    for of in [None].into_iter().chain(Program::ALL.map(Some)) {
        let mut names: Vec<_> = all(of).iter().map(|entry| entry.command().get_name().to_owned()).collect();
        if of.is_none() {
            names.extend(Program::ALL.map(|program| program.subcommand().to_owned()));
        }
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
        // What clap itself would stumble over at run time.
        command(of, all).debug_assert();
    }
}
