//! Tests that the programs accept every flag in the manifests of `docs/deploy`: each is in `--help`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

#[test]
fn the_flags_of_the_server_manifest_are_the_servers() {
    check("server.yaml", env!("CARGO_BIN_EXE_telemeter-server"));
}

#[test]
fn the_flags_of_the_client_manifest_are_the_clients() {
    check("client.yaml", env!("CARGO_BIN_EXE_telemeter-client"));
}

fn check(manifest: &str, program: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/deploy").join(manifest);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let used: BTreeSet<&str> = text.lines().filter_map(|line| flag(line.trim().strip_prefix("- ")?)).collect();
    assert!(used.len() > 5, "{manifest}: {used:?}");

    let help = Command::new(program).arg("--help").output().expect("a program of ours can be started");
    let help = String::from_utf8(help.stdout).expect("help is text");
    let known: BTreeSet<&str> = help.split_whitespace().filter_map(flag).collect();
    let unknown: Vec<_> = used.difference(&known).collect();
    assert!(unknown.is_empty(), "{manifest}: not in --help: {unknown:?}");
}

/// Returns `name` for `--name`, `--name=value` and `--name,`.
fn flag(word: &str) -> Option<&str> {
    let name = word.strip_prefix("--")?;
    let end = name.find(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.".contains(letter)));
    Some(&name[..end.unwrap_or(name.len())])
}
