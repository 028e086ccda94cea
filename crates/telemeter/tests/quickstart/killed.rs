//! Tests what happens to the Prometheus and the data when the quickstart, its guard process, or both are killed.

use super::*;

/// The flags of a quickstart with a Prometheus and a data directory of its own.
struct PrometheusDir {
    flags: [String; 2],
    /// The data directory as it is in the command line of the Prometheus.
    argument: String,
    _directory: tempfile::TempDir,
}

impl PrometheusDir {
    /// Returns `None` where no Prometheus is installed.
    fn new() -> Option<Self> {
        if !installed("prometheus") {
            not_checked();
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data").display().to_string();
        let program = shell("command -v prometheus");
        let flags = [format!("--data-dir={data}"), format!("--prometheus={}", program.trim_end())];
        Some(Self { flags, argument: format!("--storage.tsdb.path={data}/prometheus"), _directory: directory })
    }

    fn start(&self) -> Quickstart {
        Quickstart::start(&self.flags.each_ref().map(String::as_str))
    }

    /// Returns every process with the data directory in its command line.
    fn processes(&self) -> Vec<u32> {
        let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let holds = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&self.argument)
        };
        pids.filter(holds).collect()
    }

    fn the_prometheus(&self) -> u32 {
        let processes = self.processes();
        let [pid] = processes[..] else { panic!("not one prometheus: {processes:?}") };
        pid
    }

    fn is_left_alone(&self) {
        until("its prometheus is gone", || self.processes().is_empty().then_some(()));
    }
}

/// Returns the parent of a process.
fn parent(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

fn kill(signal: &str, pid: u32) {
    shell(&format!("kill -{signal} {pid}"));
}

#[test]
fn a_quickstart_that_is_killed_takes_its_prometheus_along() {
    let Some(data) = PrometheusDir::new() else { return };
    let mut first = data.start();
    first.line(&["stored "]);
    let cluster = first.cluster();
    let old = data.the_prometheus();
    kill("KILL", first.child.id());
    // The second start follows at once: it waits for the end of the old Prometheus.
    let mut second = data.start();
    second.line(&["stored "]);
    assert_eq!(second.cluster(), cluster);
    assert_ne!(data.the_prometheus(), old);
    second.paste(&["curl ", "/api/v1/query"]);
    kill("KILL", second.child.id());
    data.is_left_alone();
    assert!(!first.child.wait().unwrap().success());
}

#[test]
fn a_guard_that_is_killed_is_the_end_of_the_prometheus_alone() {
    let Some(data) = PrometheusDir::new() else { return };
    let mut quickstart = data.start();
    quickstart.line(&["stored "]);
    let guard = parent(data.the_prometheus());
    assert_eq!(parent(guard), quickstart.child.id());
    kill("KILL", guard);
    quickstart.line(&["the store has ended by itself"]);
    data.is_left_alone();
    quickstart.end("TERM");
}

#[test]
fn a_prometheus_that_was_left_is_named_and_not_started_twice() {
    let Some(data) = PrometheusDir::new() else { return };
    let mut quickstart = data.start();
    quickstart.line(&["stored "]);
    let prometheus = data.the_prometheus();
    kill("STOP", quickstart.child.id());
    kill("KILL", parent(prometheus));
    kill("KILL", quickstart.child.id());
    quickstart.child.wait().unwrap();
    let refused = || {
        let output = command(&data.flags.each_ref().map(String::as_str)).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("end it with `kill {prometheus}`, and start again")), "{said}");
        assert_eq!(data.the_prometheus(), prometheus);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(refused(), "waiting for the prometheus of an earlier run to end\n");
    // This is a data directory from a version without lock files.
    fs::remove_file(Path::new(&data.flags[0]["--data-dir=".len()..]).join("prometheus.lock")).unwrap();
    refused();
    kill("TERM", prometheus);
    data.is_left_alone();
    let mut next = data.start();
    next.line(&["stored "]);
    data.the_prometheus();
    next.end("TERM");
    assert!(data.processes().is_empty());
}

/// Ctrl-C signals all processes of a terminal: the store must still run until the last series are stored.
#[test]
fn a_ctrl_c_is_not_for_the_prometheus() {
    use std::os::unix::process::CommandExt as _;

    let Some(data) = PrometheusDir::new() else { return };
    let mut command = command(&data.flags.each_ref().map(String::as_str));
    command.process_group(0);
    let mut quickstart = Quickstart::of(command);
    quickstart.line(&["stored "]);
    let group = format!("INT -{} #", quickstart.child.id());
    let said = quickstart.end(&group);
    assert!(said.ends_with("ending") && !said.contains("ended by itself"), "{said}");
    assert!(data.processes().is_empty());
}

#[test]
fn a_data_dir_is_for_one_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let flag = format!("--data-dir={}", directory.path().display());
    let mut quickstart = Quickstart::start(&[&flag]);
    quickstart.cluster();
    let output = command(&[&flag]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let expected = format!("another quickstart with the process ID {} uses it", quickstart.child.id());
    assert!(said.contains("--data-dir ") && said.contains(&expected), "{said}");
    kill("KILL", quickstart.child.id());
    quickstart.child.wait().unwrap();
    let mut next = Quickstart::start(&[&flag]);
    next.line(&["stored "]);
    next.end("TERM");
}
