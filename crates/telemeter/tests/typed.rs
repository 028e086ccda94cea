//! Tests that a flag with an invalid value ends the start of the real programs with exit code 1 and one line; a
//! selector that only Prometheus may be able to parse is a warning.
#![allow(clippy::unwrap_used)]

use std::process::Command;

const SERVER: &[&str] = &["--insecure-allow-any-cluster", "--recent-store=1m", "--listen=:0", "--listen-internal=:0"];
/// Without the file the client does not start in any case, so that no test has to end it.
const CLIENT: &[&str] =
    &["--from=http://127.0.0.1:1", "--to=http://127.0.0.1:1", "--to-token=t", "--id=i", "--match-file=/nowhere"];

/// Returns the lines that a program prints when it does not start.
fn ends(program: &str, base: &[&str], typed: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(base).args(typed).output().unwrap();
    let lines = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{typed:?}: {lines}");
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn what_cannot_be_meant_ends_the_start() {
    let (server, client) = (env!("CARGO_BIN_EXE_telemeter-server"), env!("CARGO_BIN_EXE_telemeter-client"));
    let salt = "--anonymize-salt=s";
    for (program, base, typed, hint) in [
        (server, SERVER, &["--elide-label=a,b"][..], "--elide-label has"),
        (server, SERVER, &["--label=a"], "--label has"),
        (server, SERVER, &["--required-label=a b=1"], "--required-label has"),
        (server, SERVER, &["--memcached=cache"], "--memcached has"),
        (server, SERVER, &["--partition-label=a b"], "--partition-label cannot be"),
        (server, SERVER, &["--whitelist=a,b"], "--whitelist: rule"),
        (client, CLIENT, &["--anonymize-labels=instance;pod", salt], "--anonymize-labels has"),
        (client, CLIENT, &["--label=a-b=1"], "--label has"),
        (client, CLIENT, &["--rename=a"], "--rename has"),
    ] {
        let lines = ends(program, base, typed);
        let last = lines.last().unwrap();
        assert!(last.contains(" level=error ") && last.contains(hint), "{typed:?}: {lines:?}");
        assert_eq!(lines.iter().filter(|line| line.contains(" level=error ")).count(), 1, "{typed:?}: {lines:?}");
    }
}

#[test]
fn a_selector_that_only_prometheus_may_know_is_a_warning() {
    let client = env!("CARGO_BIN_EXE_telemeter-client");
    let lines = ends(client, CLIENT, &["--match= up ", "--match={job=up}", "--match= "]);
    let warnings: Vec<_> = lines.iter().filter(|line| line.contains(" level=warn ")).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("--match {job=^up} cannot be read at column 6"), "{lines:?}");
    assert!(lines.last().unwrap().contains("--match-file: /nowhere cannot be read"), "{lines:?}");
}
