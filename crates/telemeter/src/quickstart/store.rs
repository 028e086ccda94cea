//! Starts and stops a prometheus as the store of the quickstart.

use std::{
    env,
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    net::Ipv4Addr,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use telemeter_http::client::{Outbound, OutboundConfig, OutboundRequest};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep},
};
use url::{Host, Url};

use super::{
    guard::{self, ChildGuard},
    lock, print,
};
use crate::failure::RunFailure;

/// The port of the prometheus, unless it is taken.
pub(super) const PORT: u16 = 9090;
/// How long the prometheus may take to become ready; it may have to replay its write-ahead log.
const START: Duration = Duration::from_secs(30);
/// How long the prometheus of an earlier, killed run may take to end.
const LEFTOVER_END: Duration = Duration::from_secs(10);
/// The flag that names the directory of its data.
const DATA_FLAG: &str = "--storage.tsdb.path=";

/// A prometheus that was started here and is ready for remote write.
pub(super) struct Prometheus {
    /// The URL of its web page.
    pub(super) url: Url,
    /// The program.
    pub(super) program: PathBuf,
    /// The file of its log.
    pub(super) log: PathBuf,
    guard: ChildGuard,
}

/// Waits until the prometheus of an earlier run below `directory` has ended: two of them would damage the data.
///
/// # Errors
/// It does not end; the text says what to do.
pub(super) async fn wait_for_leftover(directory: &Path) -> Result<(), RunFailure> {
    let data = directory.join("prometheus");
    let mut held = guard::wait_until_free(&lock_file(directory), Duration::from_secs(1)).await;
    if held.is_some() {
        print("waiting for the prometheus of an earlier run to end\n");
        held = guard::wait_until_free(&lock_file(directory), LEFTOVER_END).await;
    }
    // An older version of this program started it without a lock.
    let Some(pid) = held.or_else(|| lock::process_with(DATA_FLAG, &data).map(Some)) else { return Ok(()) };
    let (pid, kill) = match pid {
        Some(pid) => (format!(" with the process ID {pid}"), format!("`kill {pid}`")),
        None => (String::new(), "its process ID".to_owned()),
    };
    let data = data.display();
    Err(format!(
        "a prometheus{pid}, left by an earlier run, still has {data} open: end it with {kill}, and start again"
    )
    .into())
}

/// The file that a running prometheus with this directory has locked.
fn lock_file(directory: &Path) -> PathBuf {
    directory.join("prometheus.lock")
}

impl Prometheus {
    /// Starts `program` with its files below `directory`, and waits until it is ready. `avoid` is a port not to take.
    pub(super) async fn start(program: &Path, directory: &Path, avoid: Option<u16>) -> Result<Self, RunFailure> {
        // Another program may bind the port first: then a free one is tried.
        let first = Self::start_on(port(avoid.into_iter().collect()).await?, program, directory).await;
        match first {
            Err(NotReady::Ended(_)) => Ok(Self::start_on(port(vec![PORT]).await?, program, directory).await?),
            other => Ok(other?),
        }
    }

    /// Starts a prometheus on this port, and waits until it is ready. One that does not become ready is stopped.
    async fn start_on(port: u16, program: &Path, directory: &Path) -> Result<Self, NotReady> {
        let log = directory.join("prometheus.log");
        let guard = start_guarded(program, directory, &log, port).await;
        let guard = guard.map_err(|error| NotReady::Other(format!("{}: {error}", program.display())))?;
        let url = Url::parse(&format!("http://localhost:{port}/")).expect("a port makes a URL");
        let mut prometheus = Self { url, program: program.to_owned(), log, guard };
        match prometheus.wait_until_ready().await {
            Ok(()) => Ok(prometheus),
            Err(reason) => {
                prometheus.stop().await;
                Err(reason)
            }
        }
    }

    /// Waits until the prometheus answers that it is ready, at most [`START`]. The error says whether it has ended,
    /// with the last line of its log.
    async fn wait_until_ready(&mut self) -> Result<(), NotReady> {
        let setup = |error: telemeter_http::client::OutboundError| NotReady::Other(error.to_string());
        let settings = OutboundConfig { timeout: Duration::from_secs(2), ..OutboundConfig::new("prometheus") };
        let outbound = Outbound::new(settings, None).map_err(setup)?;
        let url = self.url.join("-/ready").expect("a path that is valid");
        let started = Instant::now();
        while started.elapsed() < START {
            if self.has_ended() {
                return Err(NotReady::Ended(last_line(&self.log)));
            }
            if outbound
                .send(OutboundRequest::get(url.clone()), 64 * 1024)
                .await
                .is_ok_and(|answer| answer.status == 200)
            {
                // Another prometheus may have answered, one that has the port already.
                sleep(Duration::from_millis(50)).await;
                return if self.has_ended() { Err(NotReady::Ended(last_line(&self.log))) } else { Ok(()) };
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err(NotReady::Other(format!("not ready within {} s: {}", START.as_secs(), last_line(&self.log))))
    }

    /// The URL of its remote-write receiver.
    pub(super) fn write_url(&self) -> Url {
        self.url.join("api/v1/write").expect("a path that is valid")
    }

    /// Whether it has ended by itself.
    pub(super) fn has_ended(&mut self) -> bool {
        self.guard.has_ended()
    }

    /// Completes when it has ended by itself.
    pub(super) async fn gone(&mut self) {
        self.guard.gone().await;
    }

    /// Stops it, and waits until it has ended.
    pub(super) async fn stop(self) {
        self.guard.stop().await;
    }
}

/// Why a prometheus did not become ready.
#[derive(Debug, thiserror::Error)]
enum NotReady {
    #[error("it ended at once: {0}")]
    Ended(String),
    #[error("{0}")]
    Other(String),
}

/// Writes a configuration without scraping into `directory`, and starts the prometheus under a guard. It accepts remote
/// write on `localhost:port` and keeps its data in `directory`; its output replaces the file `log`.
async fn start_guarded(program: &Path, directory: &Path, log: &Path, port: u16) -> io::Result<ChildGuard> {
    let config = directory.join("prometheus.yml");
    fs::write(&config, "# Nothing is scraped: the server writes here.\nglobal: {}\n")?;
    let output = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(log)?;
    let joined = |flag: &str, path: &Path| {
        let mut argument = OsString::from(flag);
        argument.push(path);
        argument
    };
    let command = [
        program.into(),
        joined("--config.file=", &config),
        joined(DATA_FLAG, &directory.join("prometheus")),
        "--web.enable-remote-write-receiver".into(),
        format!("--web.listen-address=localhost:{port}").into(),
    ];
    ChildGuard::start(&lock_file(directory), &command, output).await
}

/// Port 9090, or a free port where that is taken or in `avoid`.
async fn port(avoid: Vec<u16>) -> io::Result<u16> {
    if !avoid.contains(&PORT) && telemeter_http::listen::bind(&format!("localhost:{PORT}")).await.is_ok() {
        return Ok(PORT);
    }
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?.port())
}

/// The port of a URL on this machine, `None` for another host. A store on that port would be scraped by the client that
/// fills it.
pub(super) fn own_port(url: &Url) -> Option<u16> {
    let own = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
    };
    url.port_or_known_default().filter(|_| own)
}

/// The first `prometheus` on the PATH.
pub(super) fn on_path() -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(&env::var_os("PATH")?).map(|directory| directory.join("prometheus")).find(executable)
}

/// The last line of a log, shortened.
fn last_line(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("its log says nothing");
    line.chars().filter(|c| !c.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_is_scraped_is_not_the_store() {
        assert_ne!(port(vec![PORT]).await.unwrap(), PORT);
        let check = |url, expected| assert_eq!(own_port(&Url::parse(url).unwrap()), expected, "{url}");
        check("http://localhost:9090/federate", Some(9090));
        check("http://127.0.0.1/federate", Some(80));
        check("https://[::1]/federate", Some(443));
        check("http://prometheus.example:9090/federate", None);
    }
}
