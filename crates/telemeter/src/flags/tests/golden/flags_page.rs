//! The tables of `docs/flags.md`, from the flags themselves.

use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::commands::{self, CommandEntry};
use crate::flags::Program;

/// The whole page, in Markdown.
pub(super) fn markdown() -> String {
    let mut page = String::from(
        "# Flags\n\n\
         This page is made from the programs themselves (`UPDATE=1 cargo test -p telemeter` rewrites it).\n\
         Each program is a subcommand of `telemeter`, and all but the quickstart are binaries of their own.\n\n\
         - `--flag value` and `--flag=value` are the same. Of a flag that is given twice the last one counts, unless it is\n  \
           repeatable.\n\
         - *Comma-separated* values are read as a line of CSV: `\"a=1,2\",b=3` has two elements, and an empty value has none.\n  \
           Where only *Repeated* is said, commas are part of the value. Empty elements are passed over.\n\
         - White space around a value and around an element of a list is no part of it; what is in quotes, a secret and a salt\n  \
           are taken to the letter.\n\
         - A label name that is looked for (`--anonymize-labels`, `--elide-label`) needs quotes if it has other characters than\n  \
           letters, digits and `_`: `--elide-label='\"http.status\"'`.\n\
         - DURATION is written as in Go: `4m30s`, `1h30m`, `1.5h`, `500ms`, `0s`.\n\
         - BOOL stands for true when left out; otherwise `=true` or `=false` behind the flag.\n\
         - An empty value (`--flag=`) of a flag without a default is the same as no flag.\n\
         - A flag that is not known ends the program with 2; values that cannot be meant, with one line and 1.\n",
    );
    for program in Program::ALL {
        section(&mut page, &program.command(), program.command().get_name());
    }
    for of in [None].into_iter().chain(Program::ALL.map(Some)) {
        let parent = of.map_or("telemeter".to_owned(), |program| format!("telemeter {}", program.subcommand()));
        for command in commands::all(of).iter().map(CommandEntry::command) {
            section(&mut page, &command, &format!("{parent} {}", command.get_name()));
        }
    }
    page
}

/// A command and its subcommands, with `name` as it is typed.
fn section(page: &mut String, command: &Command, name: &str) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let _ = write!(page, "\n## {name}\n\n{about}.\n");
    table(page, command);
    for inner in command.get_subcommands() {
        section(page, inner, &format!("{name} {}", inner.get_name()));
    }
}

fn table(page: &mut String, command: &Command) {
    if command.get_arguments().next().is_none() {
        return;
    }
    page.push_str("\n| flag | default | meaning |\n|---|---|---|\n");
    for arg in command.get_arguments() {
        let _ = writeln!(page, "| {} | {} | {} |", name(arg), cell(&default(arg)), meaning(arg));
    }
}

fn name(arg: &Arg) -> String {
    let value = arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string).unwrap_or_default();
    let Some(long) = arg.get_long() else { return cell(&value) };
    let short = arg.get_short().map(|short| format!("`-{short}` ")).unwrap_or_default();
    let has_value = arg.get_action().takes_values() && value != "BOOL";
    let value = if value.is_empty() || !has_value { String::new() } else { format!(" {value}") };
    format!("{short}{}", cell(&format!("--{long}{value}")))
}

/// The help text, which clap takes the last full stop from, and the values where there are only some.
fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<_> = arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let is_fixed = !arg.get_action().takes_values() || arg.is_hide_possible_values_set();
    let of = if values.is_empty() || is_fixed { String::new() } else { values.join(", ") };
    let of = if of.is_empty() { of } else { format!(" One of {of}.") };
    format!("{}.{of}", escape(&help))
}

fn default(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return String::new();
    }
    arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>().join(",")
}

fn cell(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!("`{}`", escape(code)) }
}

fn escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
