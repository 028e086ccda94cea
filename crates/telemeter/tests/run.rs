//! Tests the way from the arguments to the exit code. This binary tests itself: when it is called with [`CHILD`], it
//! runs a program that only returns the requested result; otherwise it calls itself, and checks the output.
#![allow(clippy::unwrap_used)]

use std::{
    env,
    process::{Command, ExitCode, Output},
};

use telemeter::{Config, Mode, Program};

const CHILD: &str = "--as-child";
const SERVER: [&str; 2] = ["--authorize=http://127.0.0.1:1/", "--forward-url=http://127.0.0.1:1/"];

fn main() -> ExitCode {
    let mut argv = env::args_os();
    if argv.by_ref().nth(1).is_some_and(|argument| argument == CHILD) {
        let argv = std::iter::once("telemeter-server".into()).chain(argv);
        return telemeter::run(Some(Program::Server), telemeter::commands::none, argv, child);
    }
    refusals();
    failures();
    an_ending_of_its_own();
    lines_before_the_start();
    ExitCode::SUCCESS
}

/// A fake server; its partition label says how it ends.
async fn child(config: Config, _: Mode) -> Result<ExitCode, telemeter::RunFailure> {
    let Config::Server(config) = config else { return Err("not the server".into()) };
    match config.partition_label.as_str() {
        "fails" => Err("the port is taken".into()),
        "panics" => {
            tokio::spawn(async { panic!("two\nlines") }).await.unwrap_err();
            Ok(ExitCode::from(8))
        }
        _ => Ok(ExitCode::from(7)),
    }
}

fn call(arguments: &[&str]) -> Output {
    Command::new(env::current_exe().unwrap()).arg(CHILD).args(arguments).output().unwrap()
}

fn check(arguments: &[&str], code: i32) -> String {
    let output = call(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

/// Checks the messages of clap, which are printed unchanged.
fn refusals() {
    assert!(check(&["--lisen=:1"], 2).contains("'--listen'"));
    assert!(check(&["--ratelimit=10"], 2).contains("4m30s"));
    let output = call(&["--help"]);
    assert!(output.status.success() && output.stdout.starts_with(b"Take in") && output.stderr.is_empty());
}

/// Checks that a failure prints one line, for every reason.
fn failures() {
    for (arguments, hint) in [
        (&["--forward-url=http://h/"][..], "--insecure-allow-any-cluster"),
        (&["--authorize=http://h/"], "--recent-store"),
        (&[SERVER[0], SERVER[1], "--client-secret", "hunter2"], "--oidc-issuer"),
        (&[SERVER[0], SERVER[1], "--partition-label=fails"], "the port is taken"),
        (&[SERVER[0], SERVER[1], "--internal.tracing.endpoint=ftp://h"], "--internal.tracing.endpoint"),
    ] {
        let said = check(arguments, 1);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("ts=") && said.contains(" level=error ") && said.contains(hint), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let said = check(&["--log-format=json"], 1);
    let line: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((line["level"].as_str(), line["msg"].as_str()), (Some("error"), Some("cannot go on")));
    assert!(line["error"].as_str().unwrap().contains("--authorize"), "{said}");
}

fn an_ending_of_its_own() {
    assert_eq!(check(&SERVER, 7), "");
    let said = check(&[SERVER[0], SERVER[1], "--partition-label=panics"], 8);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(" level=error ") && said.contains(r#"msg="panic: two\nlines""#), "{said}");
}

fn lines_before_the_start() {
    let said = check(&[SERVER[0], SERVER[1], "--tenant-key=x"], 7);
    assert!(said.contains(" level=warn ") && said.contains("--tenant-key"), "{said}");
    assert_eq!(check(&[SERVER[0], SERVER[1], "--tenant-key=x", "--log-level=error"], 7), "");
}
