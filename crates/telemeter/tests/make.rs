//! Tests the summary of `make test` and the list of `make help`.
#![allow(clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Runs `scripts/test` for two targets, with a program in place of `make` that runs one script for each.
fn test(first: &str, second: &str) -> (i32, String) {
    let directory = tempfile::tempdir().unwrap();
    let make = directory.path().join("make");
    let script =
        format!("#!/bin/sh\nfor target; do :; done\ncase $target in first) {first} ;; second) {second} ;; esac\n");
    fs::write(&make, script).unwrap();
    fs::set_permissions(&make, fs::Permissions::from_mode(0o755)).unwrap();
    let run = Command::new(root().join("scripts/test")).args(["first", "second"]).env("MAKE", &make).output().unwrap();
    let said = String::from_utf8(run.stdout).unwrap();
    (run.status.code().unwrap(), said.split_once("\nsummary of ").unwrap().1.to_owned())
}

#[test]
fn one_summary_of_all_parts() {
    let results = "echo 'test result: ok. 7 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s'";
    let (code, summary) = test(
        &format!("{results}; echo 'test b ... ignored, run by c'; echo 'advisories: no network; NOT CHECKED' >&2"),
        results,
    );
    let lines: Vec<_> = summary.lines().skip(1).collect();
    assert!(lines[0].starts_with("  first ") && lines[0].contains(" ok "), "{summary}");
    let rest = ["ignored:", "  test b ... ignored, run by c", "not checked:", "  advisories: no network; NOT CHECKED"];
    assert_eq!(lines[2..6], rest, "{summary}");
    assert_eq!((code, lines[6]), (0, "ok: 14 tests passed, 0 failed, 2 ignored"), "{summary}");
}

#[test]
fn what_fails_keeps_nothing_from_running_and_fails_the_whole() {
    let failed =
        "echo 'test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s'";
    let (code, summary) =
        test(&format!("echo 'test a::b ... FAILED'; {failed}; exit 101"), "echo 'error: this is no Rust'; exit 2");
    assert_eq!(code, 1, "{summary}");
    assert!(summary.contains("failed:\n  error: this is no Rust\n  test a::b ... FAILED\n"), "{summary}");
    assert_eq!(summary.matches(" FAILED ").count(), 2, "{summary}");
    assert!(summary.ends_with("FAILED: 3 tests passed, 1 failed, 0 ignored\n"), "{summary}");
    let (code, _) = test("exit 1", "true");
    assert_eq!(code, 1, "a target that fails without a word");
}

#[test]
fn help_lists_what_the_guide_speaks_of() {
    let run = Command::new("make").arg("help").current_dir(root()).env_remove("MAKEFLAGS").output().unwrap();
    let help = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{help}");
    let guide = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let targets: Vec<_> = guide.lines().filter_map(|line| line.strip_prefix("| `make ")?.split('`').next()).collect();
    assert!(targets.len() > 7, "{targets:?}");
    for target in targets.into_iter().chain(["help", "test", "deb", "bench"]) {
        let listed = help.lines().find(|line| line.split_whitespace().next() == Some(target));
        let listed = listed.unwrap_or_else(|| panic!("make help does not list {target}:\n{help}"));
        assert!(listed.split_whitespace().count() > 3, "{listed}");
    }
}
