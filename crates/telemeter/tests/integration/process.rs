//! Runs real programs as child processes of the test: each has a log file, they use free ports, and all end with the
//! test.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// A running program. It is ended by its process ID when this is dropped; when a test fails, the end of its log is
/// shown.
pub(crate) struct RunningProgram {
    name: String,
    child: Child,
    log: PathBuf,
}

/// A program to start, with its arguments and its environment.
pub(crate) struct ProgramStart<'a> {
    pub(crate) name: &'a str,
    pub(crate) program: &'a OsStr,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl RunningProgram {
    /// Starts a program with its output in `NAME.log` in `folder`, and without the proxy settings of this machine.
    pub(crate) fn start(folder: &Path, start: ProgramStart<'_>) -> Self {
        let log = folder.join(format!("{}.log", start.name));
        let output = File::options().create(true).append(true).open(&log).expect("the test's folder can be written");
        let mut command = Command::new(start.program);
        command.args(&start.arguments).envs(start.environment).current_dir(folder).stdin(Stdio::null());
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        command.stdout(output.try_clone().expect("a file handle can be duplicated")).stderr(output);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{:?}: {error}; scripts/install-tools installs what is missing", start.program)
        });
        Self { name: start.name.to_owned(), child, log }
    }

    /// The process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM; returns the exit status, and the time until the exit.
    pub(crate) async fn terminate(mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        self.signal("TERM");
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child can be waited for") {
                return (status, asked.elapsed());
            }
            assert!(asked.elapsed() < Duration::from_secs(20), "{} still runs 20 s after SIGTERM", self.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Fails with the end of the log where the program has ended by itself.
    pub(crate) fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("our own child can be waited for") {
            panic!("{} ended by itself: {status}", self.name);
        }
    }

    fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
        assert!(status.success(), "{}: {kill}: {status}", self.name);
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(4096)..];
        String::from_utf8_lossy(tail).into_owned()
    }
}

impl Drop for RunningProgram {
    #[expect(clippy::print_stderr, reason = "the end of a log explains a failed test better than the failed assertion")]
    fn drop(&mut self) {
        // Both calls fail only where the child has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the end of {}:\n{}", self.log.display(), self.log_tail());
        }
    }
}

/// Returns a port of 127.0.0.1 on which no program listens, below the range for outgoing connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).expect("below 10,000");
    for _ in 0..1_000 {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {first} on");
}

/// Returns the address of a port of 127.0.0.1.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Repeats `attempt` until it succeeds; after `patience` the test fails with the last reason.
pub(crate) async fn until<T, F>(what: &str, patience: Duration, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let started = Instant::now();
    loop {
        match attempt().await {
            Ok(value) => return value,
            Err(reason) => assert!(started.elapsed() < patience, "{what}: not within {patience:?}: {reason}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
