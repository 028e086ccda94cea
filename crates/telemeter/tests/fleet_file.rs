//! Tests that the server keeps its list of clusters when it is killed.
#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use telemeter_fleet::{
    AcceptedRequest, Reason, RefusedRequest, Registry, RegistryConfig, ReportRoute, ReportSummary, snapshot,
};
use telemeter_http::{
    client::{Outbound, OutboundConfig, OutboundRequest},
    clock::Clock,
};

struct KilledServer {
    child: Child,
    external: String,
    internal: String,
}

impl Drop for KilledServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl KilledServer {
    fn start(file: &Path) -> Self {
        Self::of(command(file))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = log.find(|line| line.contains("msg=serving")).expect("it serves");
        let field = |name: &str| {
            let value = line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_else(|| panic!("no {name} in {line}")).to_owned()
        };
        let (external, internal) = (field("external"), field("internal"));
        // If nothing read the log, the server could not write to it any more.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, external, internal }
    }
}

fn command(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_telemeter-server"));
    command.args(["--listen=127.0.0.1:0", "--listen-internal=127.0.0.1:0", "--insecure-allow-any-cluster"]);
    command.args(["--recent-store=5m", "--fleet-file"]).arg(file).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

async fn get(outbound: &Outbound, server: &KilledServer, path: &str) -> serde_json::Value {
    let url = format!("http://{}/api/v1/{path}", server.internal).parse().unwrap();
    let answer = outbound.send(OutboundRequest::get(url), 1 << 20).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
    serde_json::from_slice(&answer.body).unwrap()
}

/// Returns the silent clusters, each with the time of its last report.
async fn silent(outbound: &Outbound, server: &KilledServer) -> Vec<(String, String)> {
    let list = get(outbound, server, "clusters?status=silent&sort=id").await;
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let items = list["items"].as_array().unwrap_or_else(|| panic!("{list}"));
    items.iter().map(|item| (text(&item["id"]), text(&item["last_report"]))).collect()
}

async fn report(outbound: &Outbound, server: &KilledServer, cluster: &str) {
    let token = serde_json::json!({"authorization_token": "secret", "cluster_id": cluster}).to_string();
    let request = OutboundRequest::post(format!("http://{}/metrics/v1/receive", server.external).parse().unwrap());
    // The body is an empty request as a snappy block.
    let request = request.with_bearer(&BASE64_STANDARD.encode(token)).unwrap().with_body(vec![0]);
    assert_eq!(outbound.send(request, 1 << 20).await.unwrap().status, 200);
}

/// Writes a fleet file with these clusters, each with the minutes since its last report.
fn write_fleet(file: &Path, clusters: &[(&str, i64)]) {
    let registry = Registry::new(RegistryConfig::default());
    for (cluster, minutes) in clusters {
        registry.accept(&AcceptedRequest {
            cluster,
            route: ReportRoute::Receive,
            now_ms: Clock::system().now_ms() - minutes * 60_000,
            peer: "192.0.2.1".parse().unwrap(),
            user_agent: "test",
            report: Some(ReportSummary { series: 1, filtered: 0, bytes: 1, drift_ms: None, labels: &[] }),
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

    let mut server = KilledServer::start(&file);
    let before: Vec<_> = silent(&outbound, &server).await;
    let ids: Vec<_> = before.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["back", "silent-1", "silent-2"]);
    report(&outbound, &server, "back").await;
    report(&outbound, &server, "new").await;
    let before = silent(&outbound, &server).await;
    assert_eq!(before.len(), 2, "{before:?}");

    // The server writes the file once a minute.
    let written = std::fs::metadata(&file).unwrap().modified().unwrap();
    let deadline = Instant::now() + Duration::from_secs(150);
    while std::fs::metadata(&file).unwrap().modified().unwrap() == written {
        assert!(Instant::now() < deadline, "the file is not written");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Reports after that are lost if the server is killed before it writes the file again.
    report(&outbound, &server, "silent-2").await;
    report(&outbound, &server, "newer").await;
    let still: Vec<_> = silent(&outbound, &server).await;
    assert_eq!(still, before[..1]);
    server.child.kill().unwrap();
    server.child.wait().unwrap();

    let again = KilledServer::start(&file);
    assert_eq!(silent(&outbound, &again).await, before, "as it was when it was written");
    for cluster in ["back", "new", "regular"] {
        let told = get(&outbound, &again, &format!("clusters/{cluster}")).await;
        assert_ne!(told["status"], "silent", "{told}");
    }
    let all = get(&outbound, &again, "clusters").await;
    assert_eq!(all["total"], 5, "nobody else: {all}");
    // A cluster that reports is no longer silent.
    report(&outbound, &again, "silent-1").await;
    report(&outbound, &again, "silent-2").await;
    assert_eq!(silent(&outbound, &again).await, []);
}

/// Run it with `cargo test -p telemeter --test fleet_file -- --ignored --nocapture`: the memory is the same in any
/// build.
#[tokio::test]
#[ignore = "a measurement of minutes"]
async fn a_million_clusters_take_200_mib() {
    const CLUSTERS: usize = 1_000_000;
    const LABELS: [&str; 2] = ["version", "provider"];
    let folder = tempfile::tempdir().unwrap();
    let [none, all] = ["none", "all"].map(|name| folder.path().join(name));
    let registry =
        Registry::new(RegistryConfig { labels: LABELS.map(str::to_owned).into(), ..RegistryConfig::default() });
    let now_ms = Clock::system().now_ms();
    for number in 0..CLUSTERS {
        let version = format!("4.{}.{}", number % 7 + 12, number % 40);
        let labels = [Some(version.as_str()), Some(["AWS", "GCP", "Azure"][number % 3])];
        let cluster = format!("{:08x}-0000-4000-8000-{number:012x}", number.wrapping_mul(7919));
        let peer = std::net::Ipv4Addr::from_bits(number as u32).into();
        let (route, user_agent) = (ReportRoute::Upload, "telemeter-client/1.0.0");
        let report =
            Some(ReportSummary { series: 225, filtered: 7, bytes: 10_344, drift_ms: Some(-900), labels: &labels });
        registry.accept(&AcceptedRequest { cluster: &cluster, route, now_ms, peer, user_agent, report });
        if number % 100 == 0 {
            let (reason, status) = (Reason::Identity, 400);
            registry.refuse(&RefusedRequest { cluster: &cluster, route, reason, status, now_ms, peer, user_agent });
        }
    }
    snapshot::write(&registry, &mut File::create(&all).unwrap()).unwrap();
    drop(registry);
    let outbound = Outbound::new(OutboundConfig::new("test"), None).unwrap();
    let mut resident = Vec::new();
    for (file, expected) in [(&none, 0), (&all, CLUSTERS)] {
        let mut command = command(file);
        command.args(["--fleet-label=version=cluster_version/version", "--fleet-label=provider=infrastructure/type"]);
        let server = KilledServer::of(command);
        assert_eq!(get(&outbound, &server, "clusters?limit=1").await["total"], expected);
        let kib = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim().to_owned();
            line.trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        // The memory for reading the file is released within seconds, and a server also writes its file in this time.
        let mut least = u64::MAX;
        for _second in 0..70 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            least = least.min(kib());
        }
        resident.push((least, kib()));
    }
    let [(_, none), (least, all)] = resident[..] else { panic!("{resident:?}") };
    let mib = |kib: u64| kib as f64 / 1024.0;
    println!(
        "{CLUSTERS} clusters: {:.1} MiB resident, {:.1} MiB with none; {:.1} MiB more, {:.1} at the least",
        mib(all),
        mib(none),
        mib(all) - mib(none),
        mib(least) - mib(none)
    );
    assert!(mib(all) - mib(none) <= 200.0);
}

/// However often the server is killed, and at whatever moment, it reads what it had written before.
#[tokio::test]
async fn a_server_that_is_killed_again_and_again_forgets_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fleet");
    let ids: Vec<String> = (0..20_000).map(|number| format!("c-{number}")).collect();
    let clusters: Vec<(&str, i64)> = ids.iter().map(|id| (id.as_str(), 60)).collect();
    write_fleet(&file, &clusters);
    let outbound = Outbound::new(OutboundConfig::new("test"), None).unwrap();
    // The server writes the file as soon as it starts: it is killed a little later each time, so that it is also killed
    // while it writes.
    for milliseconds in [0, 1, 2, 4, 8, 16, 32, 64] {
        let mut child = command(&file).stderr(Stdio::null()).spawn().unwrap();
        let written = || std::fs::metadata(&file).unwrap().modified().unwrap();
        let (new, before) = (folder.path().join("fleet.new"), written());
        let deadline = Instant::now() + Duration::from_secs(60);
        while !new.exists() && written() == before {
            assert!(child.try_wait().unwrap().is_none() && Instant::now() < deadline, "it runs, and writes the file");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let again = KilledServer::start(&file);
    let list = get(&outbound, &again, "clusters?status=silent&limit=1").await;
    assert_eq!(list["total"], 20_000, "{list}");
    assert!(!folder.path().join("fleet.broken").exists());
}
