//! What is known of the fleet outlives a server that is killed.
#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use telemeter_fleet::{Accepted, Registry, RegistryConfig, Report, Route, snapshot};
use telemeter_http::{
    client::{Outbound, OutboundConfig, Request},
    clock::Clock,
};

struct Server {
    child: Child,
    external: String,
    internal: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(file: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telemeter-server"));
        command.args(["--listen=127.0.0.1:0", "--listen-internal=127.0.0.1:0", "--insecure-allow-any-cluster"]);
        command.args(["--recent-store=5m", "--fleet-file"]).arg(file);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("msg=serving")).expect("it serves");
        let field = |name: &str| {
            let value = line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
        };
        let (external, internal) = (field("external"), field("internal"));
        // Whoever reads no more would stop the log.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, external, internal }
    }
}

async fn get(outbound: &Outbound, server: &Server, path: &str) -> serde_json::Value {
    let url = format!("http://{}/api/v1/{path}", server.internal).parse().unwrap();
    let answer = outbound.send(Request::get(url), 1 << 20).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
    serde_json::from_slice(&answer.body).unwrap()
}

/// The silent clusters, each with the time of its last report.
async fn silent(outbound: &Outbound, server: &Server) -> Vec<(String, String)> {
    let list = get(outbound, server, "clusters?status=silent&sort=id").await;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let items = list["items"].as_array().unwrap_or_else(|| panic!("{list}"));
    items.iter().map(|item| (text(&item["id"]), text(&item["last_report"]))).collect()
}

async fn report(outbound: &Outbound, server: &Server, cluster: &str) {
    let token = serde_json::json!({"authorization_token": "secret", "cluster_id": cluster}).to_string();
    let request = Request::post(format!("http://{}/metrics/v1/receive", server.external).parse().unwrap());
    // No series, as a snappy block.
    let request = request.with_bearer(&BASE64_STANDARD.encode(token)).unwrap().with_body(vec![0]);
    assert_eq!(outbound.send(request, 1 << 20).await.unwrap().status, 200);
}

/// A fleet of which these clusters reported so many minutes ago.
fn write_fleet(file: &Path, clusters: &[(&str, i64)]) {
    let registry = Registry::new(RegistryConfig::default());
    for (cluster, minutes) in clusters {
        registry.accept(&Accepted {
            cluster,
            route: Route::Receive,
            now_ms: Clock::system().now_ms() - minutes * 60_000,
            peer: "192.0.2.1".parse().unwrap(),
            user_agent: "test",
            report: Some(Report { series: 1, filtered: 0, bytes: 1, drift_ms: None, labels: &[] }),
        });
    }
    let mut out = File::create(file).unwrap();
    snapshot::write(&registry, &mut out).unwrap();
    out.flush().unwrap();
}

#[tokio::test]
async fn the_silent_list_outlives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet");
    write_fleet(&file, &[("silent-1", 60), ("silent-2", 600), ("back", 120), ("regular", 1)]);
    let outbound = Outbound::new(OutboundConfig::new("test"), None).unwrap();

    let mut server = Server::start(&file);
    let before: Vec<_> = silent(&outbound, &server).await;
    let ids: Vec<_> = before.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["back", "silent-1", "silent-2"]);
    report(&outbound, &server, "back").await;
    report(&outbound, &server, "new").await;
    let before = silent(&outbound, &server).await;
    assert_eq!(before.len(), 2, "{before:?}");

    // It is written once a minute.
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    let deadline = Instant::now() + Duration::from_secs(150);
    while std::fs::metadata(&file).unwrap().modified().unwrap() == written {
        assert!(Instant::now() < deadline, "the file is not written");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    server.child.kill().unwrap();
    server.child.wait().unwrap();

    let again = Server::start(&file);
    assert_eq!(silent(&outbound, &again).await, before);
    for cluster in ["back", "new"] {
        get(&outbound, &again, &format!("clusters/{cluster}")).await;
    }
}
