//! Starts our own programs as an operator does: the authority, the servers, the client.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{RunningProgram, free_port, local, until};
use crate::promql::http;
use crate::stores::{AUDIENCE, CLIENT_SECRET, StoreProxy, ready, start};

/// The token that the authority knows.
pub(crate) const TOKEN: &str = "an-authorization-token";
/// The tenant that the servers write for.
pub(crate) const TENANT: &str = "a-tenant-of-the-test";
/// The cluster of the client, and the cluster with a Prometheus that sends remote write itself.
pub(crate) const SCRAPED: &str = "00000000-0000-4000-8000-00000000000a";
pub(crate) const WRITING: &str = "00000000-0000-4000-8000-00000000000b";

/// The settings that all servers of a fleet share.
pub(crate) struct GatewayFleet {
    folder: PathBuf,
    shared_key: PathBuf,
    authority: String,
    issuer: String,
    memcached: u16,
}

impl GatewayFleet {
    /// Makes the shared key and starts the authority.
    pub(crate) async fn start(folder: &Path, store_proxy: &StoreProxy, memcached: u16) -> (Self, RunningProgram) {
        let shared_key = folder.join("shared-key.pem");
        let mut openssl = Command::new("openssl");
        openssl.args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]).arg(&shared_key);
        assert!(openssl.status().expect("openssl is installed").success(), "openssl makes a key");
        let tokens = folder.join("tokens.json");
        std::fs::write(&tokens, format!(r#"[{{"token":"{TOKEN}"}}]"#)).expect("the test's folder can be written");
        let address = local(free_port());
        let program = OsStr::new(env!("CARGO_BIN_EXE_authorization-server"));
        let arguments = vec![address.to_string(), tokens.display().to_string()];
        let process = start(folder, "authorization-server", program, arguments);
        until("the authority", Duration::from_secs(10), || async {
            tokio::net::TcpStream::connect(address).await.map_err(|error| error.to_string())
        })
        .await;
        let authority = format!("http://{address}/");
        let (folder, issuer) = (folder.to_owned(), store_proxy.issuer.clone());
        (Self { folder, shared_key, authority, issuer, memcached }, process)
    }

    /// Starts a server that forwards to `forward_url`, and waits until it is ready.
    pub(crate) async fn server(
        &self,
        name: &'static str,
        client_id: &'static str,
        ports: Ports,
        forward_url: &str,
    ) -> GatewayServer {
        let server = GatewayServer { name, client_id, ports, forward_url: forward_url.to_owned(), process: None };
        server.started(self).await
    }

    /// The URL of the authority.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    fn server_arguments(&self, client_id: &str, ports: Ports, forward_url: &str) -> Vec<String> {
        let flags = [
            ("listen", local(ports.external).to_string()),
            ("listen-internal", local(ports.internal).to_string()),
            ("shared-key", self.shared_key.display().to_string()),
            ("authorize", self.authority.clone()),
            ("memcached", local(self.memcached).to_string()),
            ("ratelimit", "0s".to_owned()),
            ("forward-url", forward_url.to_owned()),
            ("oidc-issuer", self.issuer.clone()),
            ("client-id", client_id.to_owned()),
            ("client-secret", CLIENT_SECRET.to_owned()),
            ("oidc-audience", AUDIENCE.to_owned()),
            ("tenant-id", TENANT.to_owned()),
            ("label", "received_by=gateway".to_owned()),
            ("elide-label", "prometheus_replica".to_owned()),
            ("whitelist", r#"{__name__="up"}"#.to_owned()),
            ("whitelist", r#"{__name__="alerts",alertstate="firing"}"#.to_owned()),
            ("whitelist", r#"{__name__=~"ledger_.+"}"#.to_owned()),
        ];
        flags.into_iter().map(|(flag, value)| format!("--{flag}={value}")).collect()
    }
}

/// The ports of a server, which stay the same after a restart.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) external: u16,
    pub(crate) internal: u16,
}

impl Ports {
    pub(crate) fn free() -> Self {
        Self { external: free_port(), internal: free_port() }
    }
}

/// A server, which can be restarted on the same ports.
pub(crate) struct GatewayServer {
    name: &'static str,
    client_id: &'static str,
    pub(crate) ports: Ports,
    forward_url: String,
    process: Option<RunningProgram>,
}

impl GatewayServer {
    async fn started(mut self, fleet: &GatewayFleet) -> Self {
        let program = OsStr::new(env!("CARGO_BIN_EXE_telemeter-server"));
        let arguments = fleet.server_arguments(self.client_id, self.ports, &self.forward_url);
        self.process = Some(start(&fleet.folder, self.name, program, arguments));
        ready(self.name, &format!("http://{}/healthz/ready", local(self.ports.internal))).await;
        self
    }

    /// Ends the server with SIGTERM, and starts it again on the same ports after `down`.
    pub(crate) async fn restart(mut self, fleet: &GatewayFleet, down: Duration) -> Self {
        self.terminate().await;
        tokio::time::sleep(down).await;
        self.started(fleet).await
    }

    /// Sends SIGTERM, and checks that the server answers all open requests and exits with 0.
    pub(crate) async fn terminate(&mut self) {
        let process = self.process.take().expect("it was started");
        let (status, _) = process.terminate().await;
        assert_eq!(status.code(), Some(0), "{} after SIGTERM", self.name);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", local(self.ports.external))
    }

    pub(crate) fn assert_running(&mut self) {
        self.process.as_mut().expect("it was started").assert_running();
    }

    /// Reads the server's own metrics: the sum over the lines of `metric` that contain `with`.
    pub(crate) async fn metric(&self, metric: &str, with: &str) -> f64 {
        let url = format!("http://{}/metrics", local(self.ports.internal));
        let answer = http().get(url).send().await.expect("the internal listener answers");
        let metrics = answer.text().await.expect("metrics are text");
        let lines = metrics.lines().filter(|line| line.starts_with(metric) && line.contains(with));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

/// Starts the client: it scrapes `from` and uploads to `to` every two seconds.
pub(crate) fn client(folder: &Path, port: u16, from: &str, to: &str) -> RunningProgram {
    let flags = [
        ("listen", local(port).to_string()),
        ("from", from.to_owned()),
        ("to", to.to_owned()),
        ("to-token", TOKEN.to_owned()),
        ("id", SCRAPED.to_owned()),
        ("interval", "2s".to_owned()),
        ("match", r#"{__name__="up"}"#.to_owned()),
        ("match", r#"{__name__="ALERTS"}"#.to_owned()),
        ("match", r#"{__name__="prometheus_build_info"}"#.to_owned()),
        ("label", "origin=integration".to_owned()),
        ("anonymize-labels", "instance".to_owned()),
        ("anonymize-salt", "a-salt".to_owned()),
    ];
    let arguments = flags.into_iter().map(|(flag, value)| format!("--{flag}={value}")).collect();
    start(folder, "telemeter-client", OsStr::new(env!("CARGO_BIN_EXE_telemeter-client")), arguments)
}
