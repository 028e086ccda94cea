//! Tests that docs/troubleshooting.md shows the real output of `client check` and `server check`, against real faults.
//!
//! A block of the page that begins with ```` ```console FAULT ```` is the golden output of that fault: `UPDATE=1`
//! rewrites it. Ports, times, paths and request IDs are replaced by typical ones.
#![allow(clippy::unwrap_used)]

mod faults;

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Output},
};

use faults::{FaultStage, SetupFault};
use regex::Regex;
use telemeter_test_support::golden;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/troubleshooting.md");

/// Runs the real program without the proxies and root certificates of this machine.
fn run(stage: &FaultStage, fault: &SetupFault) -> Output {
    Command::new(env!("CARGO_BIN_EXE_telemeter"))
        .args(fault.program)
        .args(&fault.arguments)
        .env_clear()
        .env("SSL_CERT_FILE", stage.path("no-roots.pem"))
        .env("SSL_CERT_DIR", stage.path("no-directory"))
        .envs(fault.variables.iter().cloned())
        .output()
        .unwrap()
}

/// Replaces values that differ in each run by typical ones.
fn usual(stage: &FaultStage, text: &str) -> String {
    let mut text = text.replace(&stage.folder(), "/etc/telemeter");
    for (port, usual) in stage.ports() {
        text = text.replace(&format!(":{port}"), &format!(":{usual}"));
    }
    for (pattern, with) in [
        (r", [0-9.]+(µs|ms|s): ", ": "),
        (r", and it is \w{3}, [^.]*? GMT", ", and it is Thu, 26 Nov 2026 10:00:00 GMT"),
        (r"was valid until \w{3}, [^.]*? GMT", "was valid until Tue, 24 Nov 2026 10:00:00 GMT"),
        (r"is valid from \w{3}, [^.]*? GMT", "is valid from Sat, 28 Nov 2026 10:00:00 GMT"),
        (r"the newest \S+ old", "the newest 15s old"),
        (r"it expired \d+ days ago", "it expired 2 days ago"),
        (r"\d+ days left", "90 days left"),
        (r"in \d+ bytes", "in 210 bytes"),
        (r"\d+ bytes in 11 lines", "590 bytes in 11 lines"),
        (r"\(\d+ % of --limit-bytes\)", "(1 % of --limit-bytes)"),
        (r"\(request [^)]+\)", "(request 5d41402abc4b)"),
        (r" is (59m59s|59m5\ds|1h) (ahead|behind)", " is 1h $2"),
        (r"connecting to (\[::1\]|127\.0\.0\.1):9003 and 1 more", "connecting to 127.0.0.1:9003"),
        (r"::1, 127\.0\.0\.1|127\.0\.0\.1, ::1|localhost: ::1$", "127.0.0.1"),
        // This is the message on a machine without a name server.
        (r"no connection within 5 s: still looking up telemeter\.invalid", "there is no such name"),
        ("the name server did not answer, or failed", "there is no such name"),
    ] {
        text = Regex::new(pattern).unwrap().replace_all(&text, with).into_owned();
    }
    text
}

/// Returns the command and its output, without the steps that say `ok` where a step failed.
fn shown(stage: &FaultStage, fault: &SetupFault, output: &Output) -> String {
    let variables: String = fault.variables.iter().map(|(name, value)| format!("{name}={value} ")).collect();
    let command = format!("$ {variables}telemeter {} {}\n", fault.program.join(" "), fault.arguments.join(" "));
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = said.lines().filter(|line| fault.exit_code == 0 && !fault.is_warning || !line.starts_with("ok "));
    usual(stage, &(command + &lines.map(|line| format!("{line}\n")).collect::<String>()))
}

/// Checks the page's table of exit codes.
#[test]
fn the_exit_codes_are_documented() {
    use telemeter_client::check as client;
    use telemeter_server::check as server;
    let page = fs::read_to_string(PAGE).unwrap();
    use telemeter_http::check::CheckStage;
    let common = [
        CheckStage::FLAGS,
        CheckStage::FILES,
        CheckStage::LOOKUP,
        CheckStage::PROXY,
        CheckStage::CONNECT,
        CheckStage::TLS,
        CheckStage::CLOCK,
    ];
    let own = [client::SCRAPE, client::AUTHORIZE, client::UPLOAD];
    let servers = [
        server::KEYS,
        server::CERTIFICATE,
        server::WHITELIST,
        server::OIDC,
        server::AUTHORITY,
        server::MEMCACHED,
        server::STORE,
    ];
    let all: Vec<_> = common.into_iter().chain(own).chain(servers).collect();
    for stage in &all {
        let row = format!("| {} | `{}` |", stage.exit_code, stage.name);
        assert!(page.contains(&row), "{row} is not on the page");
    }
    let codes: std::collections::BTreeSet<_> = all.iter().map(|stage| stage.exit_code).collect();
    assert_eq!(codes.len(), all.len());
}

/// Runs a program; returns its exit code, its standard output and its standard error.
fn called(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_telemeter")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_dry_run_says_in_one_line_whether_flags_and_files_are_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (token, empty) = (file("token", "a-token\n"), file("empty", "\n"));
    let (rules, broken) = (file("rules", "up\n"), file("broken", "up\n{job=up}\n"));
    let (tokens, metrics) = (file("tokens", r#"[{"token":"a"}]"#), file("metrics", "up 1\n"));
    let client = ["client", "--from=http://p.invalid", "--to=http://s.invalid", "--id=i", "--dry-run"];
    let server = ["server", "--authorize=http://a.invalid", "--forward-url=http://s.invalid", "--dry-run"];
    let benchmark = ["benchmark", "--to=http://s.invalid", "--to-token=t", "--dry-run"];
    let with =
        |base: &[&str], more: String| base.iter().map(|word| (*word).to_owned()).chain([more]).collect::<Vec<_>>();
    let flag = |name: &str, path: &str| format!("--{name}={path}");
    for (arguments, problem) in [
        (with(&client, flag("to-token-file", &token)), None),
        (with(&client, flag("to-token-file", &empty)), Some("--to-token-file")),
        (with(&server, flag("whitelist-file", &rules)), None),
        (with(&server, flag("whitelist-file", &broken)), Some("line 2")),
        (with(&benchmark, flag("metrics-file", &metrics)), None),
        (with(&benchmark, flag("metrics-file", "/nowhere")), Some("/nowhere cannot be read")),
        (with(&["authorization-server", "--dry-run", "localhost:1"], tokens), None),
        (with(&["authorization-server", "--dry-run", "localhost:1"], empty.clone()), Some("empty")),
        (with(&["quickstart", "--dry-run", "--from=http://p"], flag("from-token-file", &token)), None),
        (with(&["quickstart", "--dry-run", "--from=http://p"], flag("from-token-file", "/nowhere")), Some("/nowhere")),
    ] {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let (code, out, err) = called(&arguments);
        match problem {
            None => assert!(
                code == Some(0) && out.lines().count() == 1 && out.contains("are good"),
                "{arguments:?}: {out}{err}"
            ),
            Some(problem) => {
                assert!(code == Some(1) && out.is_empty() && err.contains(problem), "{arguments:?}: {out}{err}");
            }
        }
    }
    // The output is a list of steps, one a line.
    let arguments = ["client", "check", "--from=http://p.invalid", "--to=http://s.invalid", "--id=i", "--dry-run"];
    let (code, out, _) = called(&[&arguments[..], &[&flag("to-token-file", &token)]].concat());
    assert!(code == Some(0) && out.lines().count() == 3 && out.ends_with("All steps work.\n"), "{out}");
}

#[test]
fn the_log_of_a_start_is_of_plain_sentences_for_people() {
    let (code, _, err) = called(&["client", "--from=http://p", "--to=http://s", "--to-token=t", "--log-format=text"]);
    assert_eq!(code, Some(1));
    let (time, sentence) = err.split_once(' ').unwrap();
    assert_eq!((time.len(), err.lines().count()), (8, 1), "{err}");
    assert_eq!(sentence, "error: cannot go on: no cluster to report for: give --id ID\n");
    // Standard error is not a terminal here.
    let (_, _, err) = called(&["client", "--from=http://p", "--to=http://s", "--to-token=t"]);
    assert!(err.starts_with("ts=") && err.contains("level=error"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_is_printed() {
    let stage = FaultStage::set().await;
    let mut printed = BTreeMap::new();
    for fault in stage.faults() {
        let (output, fault) = tokio::task::block_in_place(|| (run(&stage, &fault), fault));
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(fault.exit_code), "{}: {said}", fault.name);
        assert!(!said.contains("a-secret"), "{}: {said}", fault.name);
        printed.insert(fault.name, shown(&stage, &fault, &output));
    }
    let faults = printed.keys().filter(|name| !name.starts_with("good")).count();
    assert!(faults >= 15, "{faults}");

    let page = fs::read_to_string(PAGE).unwrap();
    let (mut rest, mut written, mut seen) = (page.as_str(), String::new(), Vec::new());
    while let Some(at) = rest.find("```console ") {
        let (before, block) = rest.split_at(at);
        let (head, body) = block.split_once('\n').unwrap();
        let name = head.trim_start_matches("```console ").trim();
        let (_, after) = body.split_once("```").unwrap();
        let text = printed.get(name).unwrap_or_else(|| panic!("the page shows a fault that is none: {name}"));
        written.push_str(&format!("{before}{head}\n{text}```"));
        seen.push(name.to_owned());
        rest = after;
    }
    written.push_str(rest);
    let missing: Vec<_> = printed.keys().filter(|name| !seen.contains(&(**name).to_owned())).collect();
    assert!(missing.is_empty(), "the page does not show {missing:?}");
    golden::check(PAGE, &written);
}
