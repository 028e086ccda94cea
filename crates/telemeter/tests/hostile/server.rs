//! Runs the real server as a child process, where possible in a control group with a memory limit.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::{
    call::{self, Endpoint, SERVER_NAME},
    cgroup::Cgroup,
    payload,
};

/// How long the server may take until it is ready.
const START: Duration = Duration::from_secs(30);

/// The settings of a scenario for its server.
#[derive(Clone, Copy, Default)]
pub(crate) struct ServerOptions {
    pub(crate) tls: bool,
    /// The soft and the hard limit of file descriptors.
    pub(crate) descriptors: Option<(u32, u32)>,
    /// Whether the log is written to a pipe that is never read.
    pub(crate) unread_log: bool,
}

/// The files and addresses that the server is started with.
pub(crate) struct ServerFiles<'a> {
    pub(crate) binary: &'a Path,
    pub(crate) folder: &'a Path,
    pub(crate) authority: SocketAddr,
    pub(crate) store: SocketAddr,
    pub(crate) limit_bytes: u64,
}

/// A running server; it is ended when this is dropped.
pub(crate) struct AttackedServer {
    child: Child,
    pub(crate) external: Endpoint,
    pub(crate) internal: Endpoint,
    /// The server's certificate, with TLS.
    pub(crate) certificate: Option<CertificateDer<'static>>,
    /// The whitelist file: one selector a line, read again at a reload.
    pub(crate) whitelist: PathBuf,
    cgroup: Result<Cgroup, String>,
    log: PathBuf,
    _unread: Option<ChildStderr>,
}

impl AttackedServer {
    pub(crate) async fn start(options: ServerOptions, around: &ServerFiles<'_>) -> Result<Self, String> {
        let whitelist = around.folder.join("whitelist");
        let log = around.folder.join("log");
        fs::write(&whitelist, "{__name__=\"up\"}\n").map_err(|error| error.to_string())?;
        let cgroup = Cgroup::new(around.limit_bytes).map_err(|error| error.to_string());
        let [external, internal] = [free_port(), free_port()];
        let mut flags = vec![
            format!("--listen={external}"),
            format!("--listen-internal={internal}"),
            format!("--authorize=http://{}/", around.authority),
            format!("--forward-url=http://{}/api/v1/write", around.store),
            format!("--whitelist-file={}", whitelist.display()),
            "--ratelimit=0s".to_owned(),
        ];
        if cgroup.is_err() {
            flags.push(format!("--memory-limit={}", budget_bytes(around.limit_bytes)));
        }
        let certificate = options.tls.then(|| make_certificate(around.folder)).transpose()?;
        if certificate.is_some() {
            flags.push(format!("--tls-crt={}", around.folder.join("tls.crt").display()));
            flags.push(format!("--tls-key={}", around.folder.join("tls.key").display()));
        }
        let mut script = String::new();
        if let Ok(cgroup) = &cgroup {
            script += &format!("echo $$ > '{}' && ", cgroup.members().display());
        }
        if let Some((soft, hard)) = options.descriptors {
            script += &format!("ulimit -Sn {soft} && ulimit -Hn {hard} && ");
        }
        script += "exec \"$@\"";
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg("sh").arg(around.binary).args(flags).stdin(Stdio::null());
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        let errors = if options.unread_log {
            Stdio::piped()
        } else {
            File::create(&log).map_err(|error| error.to_string())?.into()
        };
        let mut child = command.stdout(Stdio::null()).stderr(errors).spawn().map_err(|error| error.to_string())?;
        let unread = child.stderr.take();
        let tls = certificate.clone().map(|certificate| call::connector(certificate, "http/1.1"));
        let server = Self {
            child,
            external: Endpoint { address: external, tls },
            internal: Endpoint { address: internal, tls: None },
            certificate,
            whitelist,
            cgroup,
            log,
            _unread: unread,
        };
        server.ready().await?;
        let limit = server.metric("telemeter_memory_limit_bytes").await;
        let expected = budget_bytes(around.limit_bytes);
        if limit != Some(expected as f64) {
            return Err(format!("the server says a memory limit of {limit:?}, not {expected}"));
        }
        Ok(server)
    }

    async fn ready(&self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let answer = call::once(&self.internal, Ipv4Addr::LOCALHOST, payload::get("/healthz/ready")).await;
            match answer {
                Ok(answer) if answer.status == 200 => return Ok(()),
                _ if started.elapsed() > START => {
                    return Err(format!("not ready after {START:?}: {answer:?}\n{}", self.log_tail()));
                }
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Reads the server's own metrics: the sum over all lines that begin with `name`.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let answer = call::once(&self.internal, Ipv4Addr::LOCALHOST, payload::get("/metrics")).await.ok()?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let values = text.lines().filter(|line| line.starts_with(name));
        values.map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Returns why the server has ended; `None` while it runs.
    pub(crate) fn death(&mut self) -> Option<String> {
        let killed = self.cgroup.as_ref().map_or(0, Cgroup::killed);
        match self.child.try_wait() {
            Ok(None) if killed == 0 => None,
            Ok(None) => Some(format!("the kernel killed {killed} processes of the group")),
            Ok(Some(status)) => {
                Some(format!("it ended: {status}, {killed} killed for want of memory\n{}", self.log_tail()))
            }
            Err(error) => Some(error.to_string()),
        }
    }

    /// Returns the largest resident memory in bytes, and, with a control group, the largest memory use that the group
    /// counted.
    pub(crate) fn peak_bytes(&self) -> (u64, Option<u64>) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
        (kib * 1024, self.cgroup.as_ref().ok().map(Cgroup::peak_bytes))
    }

    /// Returns how the memory was limited.
    pub(crate) fn limited_by(&self) -> String {
        match &self.cgroup {
            Ok(cgroup) => cgroup.version().to_owned(),
            Err(reason) => format!("--memory-limit alone ({reason})"),
        }
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(2048)..]).into_owned()
    }
}

impl Drop for AttackedServer {
    fn drop(&mut self) {
        // Both calls fail only where the child has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the memory budget that the server derives from the limit of its control group.
pub(crate) fn budget_bytes(limit_bytes: u64) -> u64 {
    limit_bytes / 4 * 3
}

fn make_certificate(folder: &Path) -> Result<CertificateDer<'static>, String> {
    let made = rcgen::generate_simple_self_signed([SERVER_NAME.to_owned()]).map_err(|error| error.to_string())?;
    let write = |name: &str, text: String| fs::write(folder.join(name), text).map_err(|error| error.to_string());
    write("tls.crt", made.cert.pem())?;
    write("tls.key", made.signing_key.serialize_pem())?;
    Ok(made.cert.der().clone())
}

/// Returns a port of 127.0.0.1 on which no program listens, below the range for outgoing connections.
fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + u16::try_from(std::process::id() % 10_000).expect("below 10,000");
    for _ in 0..1_000 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, first + NEXT.fetch_add(1, Ordering::Relaxed)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port from {first} on");
}
