//! The help texts and docs/flags.md, held against files; `UPDATE=1` writes them again.

mod flags_page;

use telemeter_test_support::golden;

use super::*;

/// Compares a text with the file at `path`, relative to this crate.
fn golden(path: &str, text: &str) {
    golden::check(Path::new(env!("CARGO_MANIFEST_DIR")).join(path), text);
}

/// The help of a command and of its subcommands.
fn help(command: clap::Command) -> String {
    let mut command = parse_as_go(command).term_width(100);
    let own = command.render_help().to_string();
    let is_program = |name: &str| Program::ALL.iter().any(|program| program.subcommand() == name);
    let inner = command.get_subcommands().filter(|inner| inner.get_name() != "help" && !is_program(inner.get_name()));
    inner.cloned().fold(own, |text, inner| format!("{text}\n--- {}\n{}", inner.get_name().to_owned(), help(inner)))
}

#[test]
fn help_is_as_it_was() {
    for program in Program::ALL {
        let mut command = commands::command(Some(program), commands::all).term_width(100);
        golden(&format!("tests/golden/{}.help", command.get_name().to_owned()), &command.render_help().to_string());
    }
    golden(
        "tests/golden/telemeter.help",
        &commands::command(None, commands::all).term_width(100).render_help().to_string(),
    );
    for of in [None].into_iter().chain(Program::ALL.map(Some)) {
        for command in commands::all(of).iter().map(commands::CommandEntry::command) {
            let parent = of.map_or_else(String::new, |program| format!("{}-", program.subcommand()));
            golden(&format!("tests/golden/command-{parent}{}.help", command.get_name()), &help(command));
        }
    }
}

#[test]
fn the_page_of_flags_is_as_the_flags() {
    golden("../../docs/flags.md", &flags_page::markdown());
}
