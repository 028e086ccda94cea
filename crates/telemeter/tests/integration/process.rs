//! Real programs as children of the test: a log file each, free ports, and none left behind.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// A running program. Dropping it ends it by its pid; when a test fails, the end of its log is shown.
pub(crate) struct RunningProgram {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What to start: a program with its arguments and its own environment.
pub(crate) struct ProgramStart<'a> {
    pub(crate) name: &'a str,
    pub(crate) program: &'a OsStr,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(&'static str, String)>,
}

impl RunningProgram {
    /// Starts a program whose output goes to `NAME.log` below `folder`. No proxy of this machine stands in its way.
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

    /// Its process ID.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end with SIGTERM and says how it ended, and after how long.
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

    /// Fails with the end of its log where it has ended by itself.
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
        // Both fail only for a child that has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("---- the end of {}:\n{}", self.log.display(), self.log_tail());
        }
    }
}

/// A port of 127.0.0.1 that nobody listens on, below the range that outgoing connections take theirs from.
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

/// 127.0.0.1 with a port.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Tries until `attempt` succeeds; after `patience` the test fails with the last reason.
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
