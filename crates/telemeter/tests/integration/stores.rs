//! Starts the programs that the gateway needs: the source, the stores, the proxy in front of them with its OIDC
//! provider, and memcached.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{ProgramStart, RunningProgram, free_port, local, until};
use crate::promql::{QueriedStore, http};

/// How long a program may take until its first answer.
const START: Duration = Duration::from_secs(30);

/// The name of the OIDC client; below, its secret, which must be percent-encoded, and the audience of its tokens.
pub(crate) const CLIENT_ID: &str = "telemeter";
/// The name of an OIDC client that may send its secret only in the body.
pub(crate) const POST_CLIENT_ID: &str = "telemeter-post";
pub(crate) const CLIENT_SECRET: &str = "a secret: 100%+";
pub(crate) const AUDIENCE: &str = "urn:example:store";

/// A running program with a query API.
pub(crate) struct RunningStore {
    pub(crate) process: RunningProgram,
    pub(crate) api: QueriedStore,
}

/// Starts a Prometheus with this configuration and waits until it is ready.
pub(crate) async fn prometheus(folder: &Path, name: &str, port: u16, config: &str, arguments: &[&str]) -> RunningStore {
    let file = folder.join(format!("{name}.yml"));
    std::fs::write(&file, config).expect("the test's folder can be written");
    let mut all = vec![
        format!("--config.file={}", file.display()),
        format!("--storage.tsdb.path={}", folder.join(name).display()),
        format!("--web.listen-address={}", local(port)),
        "--log.level=warn".to_owned(),
    ];
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let process = start(folder, name, OsStr::new("prometheus"), all);
    let url = format!("http://{}", local(port));
    ready(name, &format!("{url}/-/ready")).await;
    RunningStore { process, api: QueriedStore::new(url) }
}

/// A Prometheus that accepts remote write.
pub(crate) async fn prometheus_store(folder: &Path) -> RunningStore {
    let config = "storage:\n  tsdb:\n    out_of_order_time_window: 10m\n";
    prometheus(folder, "prometheus-store", free_port(), config, &["--web.enable-remote-write-receiver"]).await
}

/// A VictoriaMetrics that also returns the newest samples.
pub(crate) async fn victoria_metrics(folder: &Path) -> RunningStore {
    let port = free_port();
    let arguments = vec![
        format!("-storageDataPath={}", folder.join("victoria-metrics").display()),
        format!("-httpListenAddr={}", local(port)),
        "-search.latencyOffset=0s".to_owned(),
        "-memory.allowedBytes=128MB".to_owned(),
    ];
    let process = start(folder, "victoria-metrics", OsStr::new("victoria-metrics"), arguments);
    let url = format!("http://{}", local(port));
    ready("victoria-metrics", &format!("{url}/health")).await;
    RunningStore { process, api: QueriedStore::new(url) }
}

/// The proxy in front of the stores, which accepts tokens of its OIDC provider.
pub(crate) struct StoreProxy {
    pub(crate) process: RunningProgram,
    pub(crate) issuer: String,
    url: String,
    http: Client,
}

impl StoreProxy {
    /// Starts `tests/oidc-provider` in front of the stores.
    pub(crate) async fn start(folder: &Path, stores: &[(&str, &QueriedStore)]) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oidc-provider");
        assert!(
            here.join("node_modules").exists(),
            "run scripts/install-tools: it runs `npm ci` in {}",
            here.display()
        );
        let (provider, store_proxy) = (free_port(), free_port());
        let server: PathBuf = here.join("server.mjs");
        let mut arguments = vec![server.display().to_string(), provider.to_string(), store_proxy.to_string()];
        arguments.extend(stores.iter().map(|(name, store)| format!("{name}={}", store.url())));
        let environment = vec![
            ("STORE_PROXY_CLIENT_ID", CLIENT_ID.to_owned()),
            ("STORE_PROXY_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
            ("STORE_PROXY_AUDIENCE", AUDIENCE.to_owned()),
            ("STORE_PROXY_TOKEN_SECONDS", "15".to_owned()),
        ];
        let start = ProgramStart { name: "store-proxy", program: OsStr::new("node"), arguments, environment };
        let process = RunningProgram::start(folder, start);
        let (issuer, url) = (format!("http://{}", local(provider)), format!("http://{}", local(store_proxy)));
        ready("the provider", &format!("{issuer}/.well-known/openid-configuration")).await;
        ready("the proxy", &format!("{url}/seen")).await;
        Self { process, issuer, url, http: http() }
    }

    /// Returns the remote-write URL of the store with this name.
    pub(crate) fn write_url(&self, store: &str) -> String {
        format!("{}/{store}/api/v1/write", self.url)
    }

    /// Returns the requests that the proxy has received.
    pub(crate) async fn seen(&self) -> Value {
        let answer = self.http.get(format!("{}/seen", self.url)).send().await.expect("the proxy answers");
        answer.json().await.expect("the proxy counts in JSON")
    }

    /// Makes the proxy answer 503 for this many seconds from now.
    pub(crate) async fn outage(&self, seconds: u32) {
        let answer = self.http.post(format!("{}/outage?seconds={seconds}", self.url)).send().await;
        assert!(answer.expect("the proxy answers").status().is_success());
    }

    /// Requests a token as the gateway does.
    pub(crate) async fn token(&self) -> String {
        let form = [("grant_type", "client_credentials"), ("audience", AUDIENCE)];
        let request = self.http.post(format!("{}/token", self.issuer)).form(&form);
        // Basic credentials are form-encoded before they are joined: RFC 6749, section 2.3.1.
        let answer = request.basic_auth(CLIENT_ID, Some("a+secret%3A+100%25%2B")).send().await.expect("it answers");
        let answer: Value = answer.json().await.expect("the provider answers in JSON");
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }
}

/// A memcached, and the port that it listens on.
pub(crate) struct RunningMemcached {
    pub(crate) process: RunningProgram,
    pub(crate) port: u16,
}

impl RunningMemcached {
    pub(crate) async fn start(folder: &Path) -> Self {
        let port = free_port();
        // `-u` is used only when root starts memcached; then it is required, with another user.
        let arguments = format!("-l 127.0.0.1 -p {port} -U 0 -m 16 -u nobody");
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        let process = start(folder, "memcached", OsStr::new("memcached"), arguments);
        let memcached = Self { process, port };
        until("memcached", START, || async { memcached.stat("pid").await.map_err(|error| error.to_string()) }).await;
        memcached
    }

    /// Reads one number of its `stats`.
    pub(crate) async fn stat(&self, name: &str) -> std::io::Result<u64> {
        let mut connection = TcpStream::connect(local(self.port)).await?;
        connection.write_all(b"stats\r\nquit\r\n").await?;
        let mut stats = String::new();
        connection.read_to_string(&mut stats).await?;
        let found = stats.lines().find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name)?.trim().parse().ok());
        found.ok_or_else(|| std::io::Error::other(format!("no number {name} in {stats:?}")))
    }
}

/// Starts a program without additional environment variables.
pub(crate) fn start(folder: &Path, name: &str, program: &OsStr, arguments: Vec<String>) -> RunningProgram {
    RunningProgram::start(folder, ProgramStart { name, program, arguments, environment: Vec::new() })
}

/// Waits until `url` answers 200.
pub(crate) async fn ready(what: &str, url: &str) {
    let http = http();
    until(what, START, || async {
        let answer = http.get(url).send().await.map_err(|error| error.to_string())?;
        if answer.status() == 200 { Ok(()) } else { Err(format!("{url}: {}", answer.status())) }
    })
    .await;
}
