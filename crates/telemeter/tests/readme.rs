//! Runs the commands of the README like a reader who pastes them: each `sh` block, in order and in one directory, first
//! while the quickstart runs, later while the programs run that the page starts. Only the ports differ, so that they do
//! not collide with other programs on this machine. A comment `# prints TEXT` is the expected last output of a block.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
/// The deadline is long, because a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// `curl` as it is typed, except that a failure is shown.
const CURL: &str = "curl() { command curl --fail-with-body --silent --show-error \"$@\"; }\n";

fn readme() -> String {
    fs::read_to_string(README).expect("the README")
}

fn blocks(text: &str) -> Vec<&str> {
    text.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap_or(rest)).collect()
}

/// A running program; it ends at the end of the test, together with all processes that it started.
struct ReadmeProgram(Child);

impl ReadmeProgram {
    fn start(command: &mut Command) -> Self {
        Self(command.process_group(0).spawn().expect("a program"))
    }
}

impl Drop for ReadmeProgram {
    fn drop(&mut self) {
        // This fails only where all of these processes have ended.
        let _ = Command::new("kill").args(["-TERM", "--", &format!("-{}", self.0.id())]).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

/// The state of a reader's shell: a directory, and the ports that replace those of the page.
struct Shell {
    directory: tempfile::TempDir,
    path: String,
    ports: BTreeMap<u16, u16>,
    running: Vec<ReadmeProgram>,
}

impl Shell {
    fn new() -> Self {
        let programs = PathBuf::from(env!("CARGO_BIN_EXE_telemeter"));
        let path = format!("{}:{}", programs.parent().unwrap().display(), std::env::var("PATH").unwrap());
        Self { directory: tempfile::tempdir().unwrap(), path, ports: BTreeMap::new(), running: Vec::new() }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.directory).env("PATH", &self.path).env_remove("NOTIFY_SOCKET");
        command
    }

    /// Starts the quickstart on ports of its own, and waits until it has stored something.
    fn quickstart(&mut self) {
        let mut command = self.command("telemeter");
        command.args(["quickstart", "--prometheus=", "--interval=1s", "--listen=localhost:0"]);
        command.args([
            "--listen-internal=localhost:0",
            "--listen-client=localhost:0",
            "--listen-authority=localhost:0",
        ]);
        let mut quickstart = ReadmeProgram::start(command.stdout(Stdio::piped()));
        let mut lines = BufReader::new(quickstart.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        for line in lines.by_ref().take_while(|line| !line.contains(" stored ")) {
            for (part, port) in [("client", 9002), ("authority", 9001), ("server", 9003), ("pages", 9004)] {
                let address =
                    line.strip_prefix(&format!("  {part} ")).map(|rest| rest.split_whitespace().next().unwrap());
                if let Some(address) = address {
                    self.ports.insert(port, address.trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap());
                }
            }
        }
        assert_eq!(self.ports.len(), 4, "the quickstart says where it listens, and stores something");
        // The quickstart continues to write, so its output must be read.
        thread::spawn(move || lines.count());
        self.running.push(quickstart);
    }

    /// Runs a block and returns its output. The last command of the block may keep running in the background.
    fn run(&mut self, block: &str) -> String {
        let mut script = format!("set -eu\n{CURL}{block}\n");
        for (listen, flags) in [
            ("telemeter server --", "telemeter server --listen=localhost:9003 --listen-internal=localhost:9004 --"),
            ("telemeter client --id", "telemeter client --listen=localhost:9002 --id"),
        ] {
            script = script.replace(listen, flags);
        }
        for (from, to) in &self.ports {
            script = script.replace(&format!("localhost:{from}"), &format!("localhost:{to}"));
        }
        let output = self.directory.path().join("output");
        let (out, err) = (File::create(&output).unwrap(), File::options().append(true).open(&output).unwrap());
        let mut shell = ReadmeProgram::start(self.command("sh").args(["-c", &script]).stdout(out).stderr(err));
        let status = shell.0.wait().unwrap();
        self.running.push(shell);
        let said = fs::read_to_string(&output).unwrap();
        assert!(status.success(), "{block}\n{said}");
        said
    }

    /// Waits until a port of the page answers.
    fn wait_for(&mut self, url: &str) {
        let started = Instant::now();
        let mut url = url.to_owned();
        for (from, to) in &self.ports {
            url = url.replace(&format!("localhost:{from}"), &format!("localhost:{to}"));
        }
        let answers = || {
            let answer = Command::new("curl").args(["--fail", "--silent", &url]).output().unwrap();
            answer.status.success() && !answer.stdout.is_empty()
        };
        while !answers() {
            assert!(started.elapsed() < PATIENCE, "{url} does not answer");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Returns a port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a fake Prometheus that has one series.
fn prometheus() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _request = stream.read(&mut [0; 8192]);
            #[expect(clippy::disallowed_methods, reason = "a test has no clock of the house")]
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
            let body = format!("# TYPE up untyped\nup{{job=\"a\"}} 1 {now}\n");
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    port
}

#[test]
fn what_the_readme_shows_runs() {
    let readme = readme();
    let blocks = blocks(&readme);
    assert!(!readme.contains("```sh "), "a block that is no plain `sh` is not run");
    assert!(blocks.len() >= 10, "the README shows only {} blocks that run", blocks.len());

    // The first block has the command to start with, and the command that runs this test.
    let words = |line: &str| line.split('#').next().unwrap().trim().to_owned();
    assert_eq!(blocks[0].lines().map(words).collect::<Vec<_>>(), ["cargo run -- quickstart", "make test"]);
    let mut shell = Shell::new();
    shell.quickstart();

    for block in &blocks[1..] {
        if block.contains("authorization-server localhost:9001") {
            // From here on the page says "Once the quickstart has ended".
            shell.running.clear();
            shell.ports = [9001, 9002, 9003, 9004].map(|port| (port, free_port())).into();
            shell.ports.insert(9090, prometheus());
        }
        // The test uses a shorter duration than the page.
        let said = shell.run(&block.replace("--duration=30s", "--duration=3s"));
        if let Some((_, expected)) = block.rsplit_once(" # prints ") {
            assert_eq!(said.trim_end().lines().last().unwrap_or(""), expected.trim(), "{block}");
        } else if !block.trim_end().ends_with('&') && !block.contains("shared-key.pem") {
            assert!(!said.trim().is_empty(), "{block}");
        }
        if block.contains("telemeter server ") {
            shell.wait_for("http://localhost:9004/healthz/ready");
            // The client delays its first report; its health page shows that it has started.
            shell.wait_for("http://localhost:9002/healthz");
        }
    }
    for made in ["man1/telemeter-client.1", "telemeter.completions", "shared-key.pem", "tokens.json", "metrics.txt"] {
        assert!(fs::metadata(shell.directory.path().join(made)).unwrap().len() > 0, "{made}");
    }
}

#[test]
fn what_the_readme_links_to_is_there() {
    let readme = readme();
    let root = Path::new(README).parent().expect("a directory");
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let links: Vec<_> = links.filter(|link| !link.contains("://") && !link.starts_with('#')).collect();
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        let file = link.split('#').next().unwrap_or(link);
        assert!(root.join(file).exists(), "{link}");
    }
}
