//! Tests the store: an existing one, one that the quickstart starts, and one that does not start.

use super::*;

#[test]
fn a_store_that_does_not_take_it_is_named() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("--forward-url=http://user:hunter2@{gone}/write");
    let mut command = command(&[&url]);
    command.stderr(Stdio::piped());
    let mut quickstart = Quickstart::of(command);
    quickstart.line(&["  store ", &format!("http://{gone}/write"), "as well"]);
    quickstart.line(&["failed: ", &format!("does http://{gone}/write take remote write?")]);
    let mut log = quickstart.child.stderr.take().unwrap();
    let mut said = quickstart.end("TERM");
    log.read_to_string(&mut said).unwrap();
    assert!(!said.contains("hunter2"), "{said}");
}

/// A Prometheus on the `PATH` is optional: if it does not start, the quickstart continues without a store.
#[test]
fn a_prometheus_that_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("prometheus");
    fs::write(&program, "#!/bin/sh\necho 'unknown flag'\nexit 1\n").unwrap();
    shell(&format!("chmod +x {}", program.display()));
    let mut command = Command::new(cargo_bin("telemeter"));
    command.arg("quickstart").args(QUICK);
    command.env("PATH", format!("{}:/usr/bin:/bin", directory.path().display()));
    let mut quickstart = Quickstart::of(command);
    quickstart.line(&["prometheus is no store for this", "unknown flag"]);
    quickstart.line(&["  store ", "none"]);
    quickstart.line(&["stored "]);
    quickstart.end("TERM");

    for (program, reason) in
        [(program.as_path(), "it ended at once: unknown flag"), (Path::new("/nowhere/p"), "/nowhere/p: ")]
    {
        let output = self::command(&[&format!("--prometheus={}", program.display())]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("--prometheus: ") && said.contains(reason), "{said}");
    }
}

#[test]
fn a_prometheus_is_the_store() {
    if !installed("prometheus") {
        not_checked();
        return;
    }
    let program = PathBuf::from(shell("command -v prometheus").trim_end());
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let flag = format!("--data-dir={}", data.display());
    let path = format!("--prometheus={}", program.display());
    let query = |quickstart: &mut Quickstart| {
        until("the series are in the store", || {
            let answer = quickstart.paste(&["curl ", "/api/v1/query", "count by (job)"]);
            let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["status"], "success", "{answer}");
            (answer["data"]["result"].as_array().unwrap().len() == 2).then_some(())
        });
    };

    let mut quickstart = Quickstart::start(&[&flag, &path]);
    quickstart.line(&["stored "]);
    query(&mut quickstart);
    quickstart.line(&["  store ", &program.display().to_string(), "prometheus.log"]);
    quickstart.line(&["  data ", "key, token, ID, salt and the store's metrics"]);
    let data = data.display().to_string();
    assert!(process_with(&data).is_some());
    // For a second quickstart port 9090 is in use, and its store is killed while it runs.
    let mut second = Quickstart::start(&[&path]);
    second.line(&["localhost:9090 is taken"]);
    second.line(&["stored "]);
    query(&mut second);
    let log = second.line(&["  store ", "log: "]);
    let home = Path::new(log.rsplit(' ').next().unwrap()).parent().unwrap().display().to_string();
    let pid = process_with(&home).unwrap();
    shell(&format!("kill -KILL {pid}"));
    second.line(&["the store has ended by itself"]);
    second.end("TERM");

    quickstart.end("TERM");
    assert_eq!(process_with(&data), None, "its prometheus is gone with it");

    // A quickstart with `--prometheus` that cannot start it exits with an error, and leaves no Prometheus running.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    let output = command(&[&flag, &path, &listen]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(process_with(&data), None, "nor is one left behind by a start that failed");
}
