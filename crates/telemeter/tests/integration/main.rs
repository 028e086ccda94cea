//! Tests the whole path with real programs. A Prometheus is scraped by our client, and also sends remote write itself,
//! through two servers behind a load balancer and a proxy that requires OIDC, into Prometheus and VictoriaMetrics; the
//! result is queried with PromQL. Other parts test the image with the deployment of the cluster-monitoring-operator,
//! each query of the dashboards, and the pages in a browser.
//!
//! `make test-integration` runs it; it needs what `scripts/install-tools` installs. All programs listen on 127.0.0.1
//! only.

#![allow(clippy::disallowed_methods, reason = "what the programs under test answer is read whole")]

mod browser;
mod dashboards;
mod gateway;
mod image;
mod ledger;
mod process;
mod promql;
mod proxy;
mod relabel;
mod remote_write;
mod stores;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use gateway::{GatewayFleet, GatewayServer, Ports, SCRAPED, TENANT, TOKEN, WRITING};
use ledger::{Entrance, Ledger, composite_token, now_ms};
use process::{RunningProgram, free_port, local, until};
use promql::QueryResult;
use proxy::RunningProxy;
use stores::{CLIENT_ID, POST_CLIENT_ID, RunningMemcached, RunningStore, StoreProxy};

/// How long an expected event may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The cluster of the [`ledger`].
const LEDGER: &str = "00000000-0000-4000-8000-00000000000c";
/// The cluster of the same sender at the server in front of VictoriaMetrics.
const SECOND_LEDGER: &str = "00000000-0000-4000-8000-00000000000d";

/// The value of `instance` at the source, and its hash after the client, from this command:
/// `printf %s a-saltsource.example:9090 | openssl dgst -sha256 -binary | head -c 9 | base64 | tr +/ -_`
const INSTANCE: &str = "source.example:9090";
const ANONYMIZED_INSTANCE: &str = "R74cylpXmhET";

/// All programs of the scenario; they end when it is dropped.
struct ScenarioPrograms {
    client: RunningProgram,
    source: RunningStore,
    proxy: RunningProxy,
    first: GatewayServer,
    second: GatewayServer,
    third: GatewayServer,
    authority: RunningProgram,
    memcached: Option<RunningMemcached>,
    store_proxy: StoreProxy,
    prometheus: RunningStore,
    victoria: RunningStore,
    fleet: GatewayFleet,
    // This field is last, so that the folder is removed after the programs that write to it have ended.
    _folder: tempfile::TempDir,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_of_a_real_prometheus_arrive_in_real_stores() {
    let mut stage = ScenarioPrograms::set_up().await;
    let ledger = Ledger::start(&stage.proxy.url(), LEDGER, TOKEN);
    let second_ledger = Ledger::start(&stage.third.url(), SECOND_LEDGER, TOKEN);

    what_the_client_uploads_arrives(&stage).await;
    what_prometheus_writes_arrives(&stage).await;
    the_other_store_has_it_too(&stage).await;
    ledger.goes_on("at first", 5).await;
    second_ledger.goes_on("at first", 5).await;
    the_store_proxy_got_the_tenant_and_a_cached_token(&stage).await;
    credentials_went_where_the_provider_takes_them(&stage).await;
    the_replicas_share_memcached(&stage).await;

    the_client_comes_back_after_an_outage_of_the_store(&stage).await;
    ledger.goes_on("after the outage", 5).await;

    let memcached = stage.memcached.take().expect("it runs");
    memcached.process.terminate().await;
    ledger.goes_on("without memcached", 5).await;
    let served = stage.proxy.served();
    stage = stage.restart_the_first_replica().await;
    ledger.goes_on("after the restart", 10).await;
    let served_since: Vec<usize> = stage.proxy.served().iter().zip(served).map(|(now, then)| now - then).collect();
    assert!(served_since.iter().all(|served| *served > 0), "a replica was left out: {served_since:?}");

    stage.assert_all_running();
    nothing_acknowledged_is_missing(&stage, ledger, second_ledger).await;
    nothing_that_prometheus_wrote_is_missing(&stage).await;
    stage.everybody_leaves_when_asked().await;
}

/// Tests the other programs without ours: a failure here is not the gateway's fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stores_and_their_proxy_work_by_themselves() {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let prometheus = stores::prometheus_store(folder.path()).await;
    let victoria = stores::victoria_metrics(folder.path()).await;
    let store_proxy =
        StoreProxy::start(folder.path(), &[("prometheus", &prometheus.api), ("victoria", &victoria.api)]).await;
    let (http, token) = (promql::http(), store_proxy.token().await);
    let labels = [("__name__", "by_hand"), ("_id", LEDGER), ("long", &"x".repeat(200))];
    let time = now_ms();
    for (name, store) in [("prometheus", &prometheus.api), ("victoria", &victoria.api)] {
        let request = || remote_write::request(&http, &store_proxy.write_url(name), &labels, 42.0, time);
        let without = request().send().await.expect("the proxy answers").status();
        assert_eq!(without, 401, "{name}");
        let with = request().bearer_auth(&token).send().await.expect("the proxy answers").status();
        assert!(with.is_success(), "{name}: {with}");
        until(name, PATIENCE, || async { store.some("by_hand").await }).await;
        assert_eq!(store.values("by_hand").await, Ok(BTreeSet::from([42])), "{name}");
        assert_eq!(store.times("by_hand").await, Ok(BTreeSet::from([time])), "{name}");
    }
    let seen = store_proxy.seen().await;
    assert_eq!((&seen["accepted"], &seen["turned_away"]), (&2.into(), &2.into()), "{seen}");
}

impl ScenarioPrograms {
    async fn set_up() -> Self {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        let path = folder.path();
        let (prometheus, victoria, memcached) =
            tokio::join!(stores::prometheus_store(path), stores::victoria_metrics(path), RunningMemcached::start(path));
        let store_proxy =
            StoreProxy::start(path, &[("prometheus", &prometheus.api), ("victoria", &victoria.api)]).await;
        let (fleet, authority) = GatewayFleet::start(path, &store_proxy, memcached.port).await;
        let first = fleet.server("first", CLIENT_ID, Ports::free(), &store_proxy.write_url("prometheus")).await;
        let second = fleet.server("second", CLIENT_ID, Ports::free(), &store_proxy.write_url("prometheus")).await;
        let third = fleet.server("third", POST_CLIENT_ID, Ports::free(), &store_proxy.write_url("victoria")).await;
        let proxy = RunningProxy::start(vec![local(first.ports.external), local(second.ports.external)]).await;
        let client_port = free_port();
        let internal = [local(first.ports.internal), local(second.ports.internal), local(client_port)];
        let source = source(path, &proxy.url(), &third.url(), &internal.map(|address| address.to_string())).await;
        let alert = || async { source.api.some(r#"ALERTS{alertstate="firing"}"#).await };
        until("an alert that fires at the source", PATIENCE, alert).await;
        let client = gateway::client(path, client_port, source.api.url(), &proxy.url());
        let memcached = Some(memcached);
        let _folder = folder;
        Self {
            client,
            source,
            proxy,
            first,
            second,
            third,
            authority,
            memcached,
            store_proxy,
            prometheus,
            victoria,
            fleet,
            _folder,
        }
    }

    async fn restart_the_first_replica(mut self) -> Self {
        self.first = self.first.restart(&self.fleet, Duration::from_secs(1)).await;
        self
    }

    fn assert_all_running(&mut self) {
        for process in [&mut self.client, &mut self.authority, &mut self.store_proxy.process] {
            process.assert_running();
        }
        for running in [&mut self.source, &mut self.prometheus, &mut self.victoria] {
            running.process.assert_running();
        }
        for server in [&mut self.first, &mut self.second, &mut self.third] {
            server.assert_running();
        }
    }

    async fn everybody_leaves_when_asked(mut self) {
        let (status, after) = self.client.terminate().await;
        assert_eq!(status.code(), Some(0), "the client after SIGTERM");
        assert!(after < Duration::from_secs(1), "the client took {after:?} to end");
        for server in [&mut self.first, &mut self.second, &mut self.third] {
            server.terminate().await;
        }
    }
}

/// The Prometheus of a cluster: it scrapes itself and our programs, has one firing alert, and sends remote write to
/// both gateways.
async fn source(folder: &Path, gateway: &str, other_gateway: &str, internal: &[String]) -> RunningStore {
    let port = free_port();
    let rules = "groups:\n- name: source\n  rules:\n  - alert: AlwaysFiring\n    expr: vector(1)\n    labels: {severity: critical}\n";
    std::fs::write(folder.join("source-rules.yml"), rules).expect("the test's folder can be written");
    let credentials = composite_token(WRITING, TOKEN);
    let write = |gateway: &str| {
        format!(
            r#"
- url: {gateway}/metrics/v1/receive
  authorization: {{credentials: {credentials}}}
  write_relabel_configs:
  - {{source_labels: [__name__], regex: up|prometheus_build_info, action: keep}}
  - {{target_label: _id, replacement: {WRITING}}}
  queue_config: {{max_shards: 2, batch_send_deadline: 500ms, max_backoff: 1s}}
  metadata_config: {{send_interval: 5s}}"#
        )
    };
    let config = format!(
        r#"
global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{prometheus_replica: r0}}}}
rule_files: [source-rules.yml]
scrape_configs:
- job_name: self
  static_configs: [{{targets: ["{}"], labels: {{instance: "{INSTANCE}"}}}}]
- job_name: gateway
  static_configs: [{{targets: {internal:?}}}]
remote_write:{}{}
"#,
        local(port),
        write(gateway),
        write(other_gateway),
    );
    stores::prometheus(folder, "source", port, &config, &[]).await
}

async fn what_the_client_uploads_arrives(stage: &ScenarioPrograms) {
    let store = &stage.prometheus.api;
    let up = format!(r#"up{{_id="{SCRAPED}",job="self"}}"#);
    let rows = until("the client's upload", PATIENCE, || async { store.some(&up).await }).await;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    check_labels(row, &[("instance", ANONYMIZED_INSTANCE), ("origin", "integration"), ("received_by", "gateway")]);
    assert!(!row.labels.contains_key("prometheus_replica"), "not elided: {row:?}");

    let alerts =
        format!(r#"alerts{{_id="{SCRAPED}",alertname="AlwaysFiring",alertstate="firing",severity="critical"}}"#);
    until("the renamed alert", PATIENCE, || async { store.some(&alerts).await }).await;
    let gateway = format!(r#"count(up{{_id="{SCRAPED}",job="gateway"}} == 1) == 3"#);
    until("Prometheus reads our own metrics", PATIENCE, || async { store.some(&gateway).await }).await;

    // The source has this series and the client requests it, but the server's whitelist drops it.
    assert!(!stage.source.api.query("prometheus_build_info").await.expect("the source answers").is_empty());
    for absent in ["prometheus_build_info", "ALERTS", r#"{prometheus_replica!=""}"#, r#"{_id="",__name__!=""}"#] {
        let rows = store.query(absent).await.expect("the store answers");
        assert!(rows.is_empty(), "{absent}: {rows:?}");
    }
}

async fn what_prometheus_writes_arrives(stage: &ScenarioPrograms) {
    written_series_arrives(&stage.prometheus).await;
}

async fn the_other_store_has_it_too(stage: &ScenarioPrograms) {
    written_series_arrives(&stage.victoria).await;
}

async fn written_series_arrives(store: &RunningStore) {
    let up = format!(r#"up{{_id="{WRITING}",job="self"}}"#);
    let rows = until("what the source writes", PATIENCE, || async { store.api.some(&up).await }).await;
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    check_labels(row, &[("instance", INSTANCE), ("received_by", "gateway")]);
    assert!(!row.labels.contains_key("prometheus_replica"), "not elided: {row:?}");
    let filtered = store.api.query(&format!(r#"prometheus_build_info{{_id="{WRITING}"}}"#)).await;
    assert!(filtered.expect("the store answers").is_empty(), "not filtered");
}

fn check_labels(row: &QueryResult, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(row.labels.get(*name).map(String::as_str), Some(*value), "{name} of {row:?}");
    }
}

async fn the_store_proxy_got_the_tenant_and_a_cached_token(stage: &ScenarioPrograms) {
    let seen = stage.store_proxy.seen().await;
    let tenants: Vec<&String> = seen["tenants"].as_object().expect("a table").keys().collect();
    assert_eq!(tenants, [TENANT], "{seen}");
    let headers: BTreeSet<&str> = seen["headers"].as_object().expect("a table").keys().map(String::as_str).collect();
    let expected = [
        "content-encoding: snappy",
        "content-type: application/x-protobuf",
        "x-prometheus-remote-write-version: 0.1.0",
    ];
    assert_eq!(headers, BTreeSet::from(expected), "{seen}");
    assert_eq!(seen["turned_away"], 0, "a token was missing or stale: {seen}");
    let (issued, accepted) = (seen["issued"].as_u64(), seen["accepted"].as_u64());
    assert!(issued >= Some(3) && issued < accepted.map(|accepted| accepted / 2), "the token is not kept: {seen}");
}

/// For two servers the provider accepts the secret of the OIDC client in the header, for the third one it does not.
async fn credentials_went_where_the_provider_takes_them(stage: &ScenarioPrograms) {
    let seen = stage.store_proxy.seen().await;
    for client in [CLIENT_ID, POST_CLIENT_ID] {
        assert!(seen["clients"][client].as_u64() >= Some(2), "no renewed token for {client}: {seen}");
    }
    for (server, expected) in [(&stage.first, 0.0), (&stage.second, 0.0), (&stage.third, 1.0)] {
        let refused = server.metric("client_api_requests_total{", r#"client="oauth",code="401""#).await;
        assert_eq!(refused, expected, "the header was tried once, and the body remembered: {}", server.url());
    }
}

async fn the_replicas_share_memcached(stage: &ScenarioPrograms) {
    let memcached = stage.memcached.as_ref().expect("it runs");
    for stat in ["cmd_set", "get_hits"] {
        let number = memcached.stat(stat).await.expect("memcached answers");
        assert!(number > 0, "memcached: {stat} is {number}");
    }
}

async fn the_client_comes_back_after_an_outage_of_the_store(stage: &ScenarioPrograms) {
    let counted = async |server: &GatewayServer| server.metric("http_requests_total", r#"code="503""#).await;
    let before = counted(&stage.first).await + counted(&stage.second).await;
    stage.store_proxy.outage(4).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let ended = now_ms();
    assert!(stage.store_proxy.seen().await["outage"].as_u64() > Some(0), "nobody met the outage");
    assert!(counted(&stage.first).await + counted(&stage.second).await > before, "the outage was not passed on as 503");
    // The client waits as long as `Retry-After` says; without this header it would wait for a minute.
    let times = format!(r#"up{{_id="{SCRAPED}",job="self"}}"#);
    until("the client after the outage", PATIENCE, || async {
        let newest = stage.prometheus.api.times(&times).await?.last().copied();
        if newest > Some(ended) { Ok(()) } else { Err(format!("newest sample {newest:?}, the outage ended {ended}")) }
    })
    .await;
}

async fn nothing_acknowledged_is_missing(stage: &ScenarioPrograms, ledger: Ledger, second_ledger: Ledger) {
    let stores = [(ledger, LEDGER, &stage.prometheus), (second_ledger, SECOND_LEDGER, &stage.victoria)];
    for (ledger, cluster, store) in stores {
        let book = ledger.close().await;
        let entrances = [(Entrance::Upload, "ledger_uploaded"), (Entrance::Receive, "ledger_received")];
        for (entrance, series) in entrances {
            let selector = format!(r#"{series}{{_id="{cluster}"}}"#);
            // A store may return an accepted sample only a moment later; a lost sample is never returned.
            until(series, Duration::from_secs(10), || async {
                let stored = store.api.values(&selector).await?;
                let lost: Vec<_> = book.acknowledged(entrance).difference(&stored).collect();
                if lost.is_empty() { Ok(()) } else { Err(format!("acknowledged but not in the store: {lost:?}")) }
            })
            .await;
        }
        // A 4xx makes a sender discard its data; these requests had valid data.
        let for_good = |status: &Option<u16>| status.is_some_and(|status| status != 503);
        let wrong: Vec<_> = book.refused().iter().filter(|(_, status, _)| for_good(status)).collect();
        assert!(wrong.is_empty(), "{cluster}: {wrong:?}");
    }
}

/// Checks sample by sample that both stores have everything that the source scraped since its first stored sample.
async fn nothing_that_prometheus_wrote_is_missing(stage: &ScenarioPrograms) {
    let until_now = now_ms();
    let at_source = r#"up{job="self"}"#;
    let in_store = format!(r#"up{{_id="{WRITING}",job="self"}}"#);
    for store in [&stage.prometheus.api, &stage.victoria.api] {
        until("everything that the source wrote", PATIENCE, || async {
            let stored = store.times(&in_store).await?;
            let first = stored.first().copied().ok_or("no sample")?;
            let scraped =
                stage.source.api.times(at_source).await?.range(first..until_now).copied().collect::<BTreeSet<_>>();
            let lost: Vec<_> = scraped.difference(&stored).collect();
            if lost.is_empty() { Ok(()) } else { Err(format!("{} of {} samples: {lost:?}", lost.len(), scraped.len())) }
        })
        .await;
    }
    // These samples were discarded by the source, after a 4xx of the gateway.
    let failed = stage.source.api.query("prometheus_remote_storage_samples_failed_total").await;
    for row in failed.expect("the source answers") {
        assert!(row.samples.iter().all(|(_, value)| *value == 0.0), "samples that the source gave up: {row:?}");
    }
}
