//! `telemeter man`: the manual pages, made from the flags.

use std::{fs, io, path::PathBuf, process::ExitCode};

use clap::{Command, Parser};

use super::RunOnce;
use crate::{failure::RunFailure, output::Printer};

/// Programs that have a name of their own beside the one of their subcommand; their page refers to the subcommand's.
const ALIASES: [(&str, &str); 1] = [("authorization-server", "telemeter-authorization-server")];

/// Write the manual pages, made from the flags.
#[derive(Parser, Debug)]
#[command(name = "man")]
pub(super) struct Man {
    /// Directory to write a page for each command into; made if it is not there. Without: the page of telemeter itself, on standard output.
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl RunOnce for Man {
    async fn run(self, printer: &mut Printer) -> Result<ExitCode, RunFailure> {
        let pages = pages()?;
        let Some(directory) = self.directory else {
            let (_, page) = pages.first().ok_or("there is no page")?;
            printer.line(page.trim_end())?;
            return Ok(ExitCode::SUCCESS);
        };
        let named = |error: io::Error| format!("{}: {error}", directory.display());
        fs::create_dir_all(&directory).map_err(named)?;
        for (name, page) in pages {
            fs::write(directory.join(name), page).map_err(named)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Every page with the name of its file, the one of `telemeter` first.
fn pages() -> io::Result<Vec<(String, String)>> {
    let mut command = super::command(None, super::all).disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add(&mut pages, &command)?;
    for (alias, page) in ALIASES {
        pages.push((format!("{alias}.1"), format!(".so man1/{page}.1\n")));
    }
    Ok(pages)
}

/// The page of a command, and those of its subcommands.
fn add(pages: &mut Vec<(String, String)>, command: &Command) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let source = format!("telemeter {}", env!("CARGO_PKG_VERSION"));
    let page = clap_mangen::Man::new(command.clone()).source(source);
    let mut text = Vec::new();
    page.render(&mut text)?;
    pages.push((format!("{name}.1"), String::from_utf8_lossy(&text).into_owned()));
    command.get_subcommands().filter(|inner| !inner.is_hide_set()).try_for_each(|inner| add(pages, inner))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;
    use crate::flags::Program;

    #[test]
    fn each_command_has_a_page_with_each_of_its_flags() {
        let pages: BTreeMap<_, _> = pages().unwrap().into_iter().collect();
        let check = |name: &str, command: &Command| {
            let page = pages.get(&format!("{name}.1")).unwrap_or_else(|| panic!("no page {name}.1"));
            assert!(page.contains(".TH ") && page.contains(&format!("\n{} \\- ", name.replace('-', "\\-"))), "{page}");
            for flag in command.get_arguments().filter(|flag| !flag.is_hide_set()).filter_map(clap::Arg::get_long) {
                assert!(
                    page.contains(&format!("\\-\\-{}", flag.replace('-', "\\-"))),
                    "{name} says nothing of --{flag}"
                );
            }
        };
        check("telemeter", &crate::flags::telemeter());
        for program in Program::ALL {
            check(&format!("telemeter-{}", program.subcommand()), &program.command());
            for entry in super::super::all(Some(program)) {
                let command = entry.command();
                check(&format!("telemeter-{}-{}", program.subcommand(), command.get_name()), &command);
            }
        }
        for entry in super::super::all(None) {
            check(&format!("telemeter-{}", entry.command().get_name()), &entry.command());
        }
        for (alias, page) in ALIASES {
            assert_eq!(pages[&format!("{alias}.1")], format!(".so man1/{page}.1\n"));
            assert!(pages.contains_key(&format!("{page}.1")), "{page}");
        }
        assert!(!pages.keys().any(|name| name.contains("help")), "{:?}", pages.keys());
    }

    #[tokio::test]
    async fn a_directory_is_filled_and_without_one_the_first_page_is_printed() {
        let around = tempfile::tempdir().unwrap();
        let directory = around.path().join("share/man1");
        let (mut printer, written) = Printer::to_memory(None, false);
        Man { directory: Some(directory.clone()) }.run(&mut printer).await.unwrap();
        assert_eq!(written.text(), "");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), pages().unwrap().len());
        Man { directory: None }.run(&mut printer).await.unwrap();
        assert_eq!(written.text(), fs::read_to_string(directory.join("telemeter.1")).unwrap());

        let file = directory.join("telemeter.1");
        let error = Man { directory: Some(file.clone()) }.run(&mut printer).await.unwrap_err().to_string();
        assert!(error.starts_with(&file.display().to_string()), "{error}");
    }
}
