//! Tests `telemeter quickstart` as a user runs it: the real binary, its output, and the commands in its output.
#![allow(clippy::unwrap_used)]

mod killed;
mod source;
mod store;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use assert_cmd::cargo::cargo_bin;

/// The flags for free ports and a cycle every second.
const QUICK: [&str; 5] = [
    "--listen=localhost:0",
    "--listen-internal=localhost:0",
    "--listen-client=localhost:0",
    "--listen-authority=localhost:0",
    "--interval=1s",
];
const PATIENCE: Duration = Duration::from_secs(60);

/// A running quickstart; it is ended when this is dropped.
struct Quickstart {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// The lines that it has printed so far.
    said: Vec<String>,
    started: Instant,
}

impl Quickstart {
    fn start(arguments: &[&str]) -> Self {
        Self::of(command(arguments))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, said: Vec::new(), started: Instant::now() }
    }

    /// Returns the first line that contains all of `parts`; waits until it is printed.
    fn line(&mut self, parts: &[&str]) -> String {
        let holds = |line: &str| parts.iter().all(|part| line.contains(part));
        if let Some(line) = self.said.iter().find(|line| holds(line)) {
            return line.clone();
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no line with {parts:?} in:\n{}", self.said.join("\n")));
            self.said.push(line.clone());
            if holds(&line) {
                return line;
            }
        }
    }

    /// Returns the address on the line of `part`, without the slash at its end.
    fn address(&mut self, part: &str) -> String {
        let line = self.line(&[&format!("  {part} "), "http://"]);
        line.split_whitespace().nth(1).unwrap().trim_end_matches('/').to_owned()
    }

    /// Returns the cluster ID, from the first line.
    fn cluster(&mut self) -> String {
        let line = self.line(&["as cluster "]);
        line.rsplit(' ').next().unwrap().trim_end_matches('.').to_owned()
    }

    /// Runs a printed command as a user who pastes it, and returns its output.
    fn paste(&mut self, parts: &[&str]) -> String {
        let command = self.line(parts);
        assert!(command.trim_start().starts_with("curl "), "{command}");
        shell(&command)
    }

    /// Sends a signal, and checks that the quickstart ends soon and without an error.
    fn end(mut self, signal: &str) -> String {
        let asked = Instant::now();
        shell(&format!("kill -{signal} {}", self.child.id()));
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{status}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
        self.said.extend(self.lines.iter());
        self.said.join("\n")
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        // Both calls fail only where the quickstart has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the command of a quickstart; it has no store unless `arguments` name one.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin("telemeter"));
    command.arg("quickstart").args(QUICK).args(arguments);
    if !arguments.iter().any(|argument| argument.starts_with("--prometheus") || argument.starts_with("--forward-url")) {
        command.arg("--prometheus=");
    }
    command
}

fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn get(url: &str) -> String {
    shell(&format!("curl -fsS -H 'Accept: text/html' '{url}'"))
}

/// Repeats `attempt` until it returns a value.
fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn everything_it_prints_works() {
    let mut quickstart = Quickstart::start(&[]);
    let cluster = quickstart.cluster();
    let first = quickstart.line(&["scraped ", "series, kept ", "stored "]);
    let took = quickstart.started.elapsed();
    assert!(took < Duration::from_secs(20), "the first cycle comes at once, not after {took:?}: {first}");
    assert!(!first.contains("kept 0"), "{first}");

    let pages = quickstart.address("pages");
    assert!(get(&pages).contains("/clusters"), "the overview leads to the list");
    assert!(get(&format!("{pages}/clusters")).contains(&cluster), "the list names the cluster");
    let page = get(&format!("{pages}/clusters/{cluster}"));
    assert!(page.contains("process_resident_memory_bytes"), "{page}");

    let up = quickstart.paste(&["curl ", "/federate?match[]=up"]);
    for job in ["telemeter-client", "telemeter-server"] {
        let found = up
            .lines()
            .any(|line| line.starts_with("up{") && line.contains(&format!("job=\"{job}\"")) && line.contains(&cluster));
        assert!(found, "{up}");
    }
    // The second cycle contains the counts of the first.
    until("the counts of an upload", || {
        let sent = quickstart.paste(&["curl ", "/federate", "-sS http://"]);
        let counted = |line: &str| line.starts_with("http_requests_total{") && line.contains("handler=\"upload\"");
        sent.lines().any(|line| counted(line) && !line.contains("} 0 ")).then_some(())
    });
    let granted: serde_json::Value = serde_json::from_str(&quickstart.paste(&["curl ", "/authorize?id="])).unwrap();
    assert_eq!(granted["labels"]["_id"], cluster.as_str(), "{granted}");
    assert!(granted["token"].as_str().unwrap().split('.').count() == 3, "{granted}");
    assert!(shell(&format!("curl -fsS '{}/healthz'", quickstart.address("server"))).contains("ok"));
    // At this time the profile may still have no samples: only its format is checked.
    let heap = shell(&format!("curl -fsS {pages}/debug/pprof/heap | gunzip | strings"));
    assert!(heap.contains("inuse_space"), "a profile in pprof's format: {heap}");
    quickstart.line(&["  store ", "none", "--forward-url"]);
    quickstart.line(&["  data ", "--data-dir", "key, token, ID and salt"]);
    quickstart.line(&["The first report comes within a few seconds, then one every 1s:"]);

    let said = quickstart.end("INT");
    assert!(said.ends_with("ending"), "{said}");
}

#[test]
fn made_up_clusters_are_refused_each_in_its_way() {
    let mut quickstart = Quickstart::start(&["--clusters=50"]);
    quickstart.line(&["  clusters ", "50 more", "made-up"]);
    let pages = quickstart.address("pages");
    let api = |path: &str| -> serde_json::Value {
        serde_json::from_str(&shell(&format!("curl -fsS '{pages}/api/v1/{path}'"))).unwrap()
    };
    // All clusters have reported, and each that is to be refused is refused after some reports.
    let refused = until("four clusters that are refused", || {
        let refused = api("clusters?status=refused");
        let all = api("summary")["clusters"]["total"].as_u64() >= Some(50);
        (all && refused["total"] == 4).then_some(refused)
    });
    let mut reasons: Vec<_> = refused["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["last_refusal"]["reason"].as_str().unwrap())
        .collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["identity", "timestamps", "undecodable", "unsupported"], "{refused}");
    for item in refused["items"].as_array().unwrap() {
        assert!(item["labels"]["version"].is_string() && item["labels"]["provider"].is_string(), "{item}");
    }
    // A caller with an unknown token was never a cluster: it is in the list of refusals, with the ID that it claimed.
    let unknown = api("refusals?reason=authority_refused");
    assert_eq!(unknown["items"][0]["claimed_cluster"], "de300000-0000-4000-8000-000000000008", "{unknown}");
    let azure = api("clusters?search=azure&limit=1");
    assert!(azure["total"].as_u64() > Some(5), "{azure}");
    let command = quickstart.line(&["telemeter fleet refused --server "]);
    let said = shell(&command.replace("telemeter fleet", &format!("'{}' fleet", cargo_bin("telemeter").display())));
    assert!(said.contains("identity") && said.contains("authority_refused"), "{said}");
    quickstart.end("INT");
}

#[test]
fn what_it_prints_for_a_prometheus_is_a_configuration() {
    let mut quickstart = Quickstart::start(&[]);
    quickstart.line(&["Ctrl-C"]);
    let said = quickstart.said.clone();
    quickstart.end("TERM");
    let start = said.iter().position(|line| line == "  remote_write:").unwrap();
    let yaml: Vec<_> = said[start..].iter().take_while(|line| !line.is_empty()).map(|line| &line[2..]).collect();
    assert_eq!(yaml.len(), 7, "{yaml:?}");
    if !installed("promtool") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prometheus.yml");
    fs::write(&file, yaml.join("\n") + "\n").unwrap();
    shell(&format!("promtool check config {}", file.display()));
}

#[test]
fn a_data_dir_is_the_same_cluster_again() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let argument = format!("--data-dir={}", data.display());
    let run = || {
        let mut quickstart = Quickstart::start(&[&argument]);
        let cluster = quickstart.cluster();
        quickstart.line(&["stored "]);
        quickstart.line(&["  data ", &data.display().to_string()]);
        let composite = quickstart.line(&["credentials: "]);
        quickstart.end("HUP");
        (cluster, composite, fs::read(data.join("key.pem")).unwrap())
    };
    let first = run();
    assert_eq!(first, run());
    shell(&format!("test -z \"$(find {} -type f -perm /077)\"", data.display()));
    let mut other = Quickstart::start(&[]);
    assert_ne!(first.0, other.cluster());
    other.end("TERM");
}

#[test]
fn nothing_is_left_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = command(&[]);
    command.env("TMPDIR", temporary.path());
    let mut quickstart = Quickstart::of(command);
    quickstart.line(&["stored "]);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    quickstart.end("TERM");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn a_place_that_is_taken_is_an_error_that_says_what_to_pass() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = command(&[&format!("--listen-client={address}")]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("--listen-client: ") && said.contains(&address.to_string()), "{said}");
}

/// Prints for the summary of `make test`, bypassing the capture of test output, that no store of its own was tested.
fn not_checked() {
    let _ = writeln!(std::io::stderr(), "quickstart with a prometheus: NOT CHECKED: there is none on the PATH");
}

fn installed(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().status.success()
}

/// Returns the process with `part` in its command line.
fn process_with(part: &str) -> Option<u32> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains(part) && line.contains("--web.enable-remote-write-receiver")
    })
}
