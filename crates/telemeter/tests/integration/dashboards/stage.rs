//! Starts the programs for the queries: a Prometheus that scrapes two servers with some traffic, has the series of the
//! simulated fleet, and evaluates `rules/`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::fleet::{LastReports, an_hour};
use super::query::regex;
use super::root;
use crate::gateway::{GatewayFleet, GatewayServer, Ports, TOKEN};
use crate::ledger::{Ledger, composite_token, now_ms};
use crate::process::{RunningProgram, free_port, local};
use crate::promql::http;
use crate::remote_write;
use crate::stores::{self, CLIENT_ID, RunningMemcached, RunningStore, StoreProxy};
use crate::{LEDGER, SECOND_LEDGER};

/// The `job` label of the servers.
pub(crate) const JOB: &str = "telemeter-server";

/// A Prometheus that scrapes two servers, with the series of the simulated fleet and with the rules.
pub(crate) struct DashboardPrograms {
    pub(crate) prometheus: RunningStore,
    pub(crate) last_reports: LastReports,
    traffic: (Ledger, Ledger),
    trouble: Trouble,
    _servers: [GatewayServer; 2],
    _around: (RunningProgram, RunningMemcached, StoreProxy),
    // This field is last, so that the folder is removed after the programs that write to it have ended.
    _folder: tempfile::TempDir,
}

impl DashboardPrograms {
    pub(crate) async fn set_up() -> Self {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let path = folder.path();
        let ports = [Ports::free(), Ports::free()];
        let (prometheus, memcached) = tokio::join!(store(path, ports), RunningMemcached::start(path));
        let store_proxy = StoreProxy::start(path, &[("prometheus", &prometheus.api)]).await;
        let (fleet, authority) = GatewayFleet::start(path, &store_proxy, memcached.port).await;
        let write = format!("{}/api/v1/write", prometheus.api.url());
        let last_reports = an_hour(&write, fleet.authority()).await;
        let first = fleet.server("first", CLIENT_ID, ports[0], &store_proxy.write_url("prometheus")).await;
        let second = fleet.server("second", CLIENT_ID, ports[1], &store_proxy.write_url("prometheus")).await;
        let traffic = (Ledger::start(&first.url(), LEDGER, TOKEN), Ledger::start(&second.url(), SECOND_LEDGER, TOKEN));
        let trouble = Trouble::start(vec![first.url(), second.url()]);
        Self {
            prometheus,
            last_reports,
            traffic,
            trouble,
            _servers: [first, second],
            _around: (authority, memcached, store_proxy),
            _folder: folder,
        }
    }

    pub(crate) async fn end(self) {
        self.trouble.end().await;
        let (first, second) = self.traffic;
        let (first, second) = (first.close().await, second.close().await);
        assert!(first.refused().is_empty() && second.refused().is_empty(), "the traffic is sound");
    }
}

/// Starts Prometheus with `rules/`, evaluated every two seconds instead of every 30 or 60.
async fn store(folder: &Path, servers: [Ports; 2]) -> RunningStore {
    for file in ["fleet.yaml", "gateway.yaml"] {
        let rules = std::fs::read_to_string(root().join("rules").join(file)).expect("the rules are there");
        let quick = regex(r"(?m)^  interval: \w+$").replace_all(&rules, "  interval: 2s").into_owned();
        std::fs::write(folder.join(file), quick).expect("the test's folder can be written");
    }
    let targets = servers.map(|ports| local(ports.internal).to_string());
    let config = format!(
        r#"
global: {{scrape_interval: 2s, evaluation_interval: 2s}}
rule_files: [fleet.yaml, gateway.yaml]
scrape_configs:
- job_name: {JOB}
  static_configs: [{{targets: {targets:?}}}]
storage:
  tsdb: {{out_of_order_time_window: 2h}}
"#
    );
    stores::prometheus(folder, "prometheus", free_port(), &config, &["--web.enable-remote-write-receiver"]).await
}

/// Sends requests that are refused or filtered, so that the panels for them have values.
struct Trouble {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Trouble {
    fn start(servers: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(make_trouble(servers, Arc::clone(&stop)));
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("it does not panic");
    }
}

async fn make_trouble(servers: Vec<String>, stop: Arc<AtomicBool>) {
    let http = http();
    let token = composite_token(LEDGER, TOKEN);
    while !stop.load(Ordering::Relaxed) {
        for server in &servers {
            let receive = |labels: &[(&str, &str)]| {
                let url = format!("{server}/metrics/v1/receive");
                remote_write::request(&http, &url, labels, 1.0, now_ms()).bearer_auth(&token)
            };
            let requests = [
                (401, http.post(format!("{server}/upload"))),
                (400, receive(&[("__name__", "up")])),
                (400, receive(&[("__name__", "up"), ("_id", "another")])),
                (200, receive(&[("__name__", "not_allowed"), ("_id", LEDGER), ("prometheus_replica", "a")])),
            ];
            for (expected, request) in requests {
                let status = request.send().await.expect("the server answers").status();
                assert_eq!(status, expected);
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
