//! Serves the pages and the JSON API with a made-up fleet of 50 clusters, to look at them:
//! `cargo run -p telemeter-server --example pages_demo [ADDRESS] [--empty] [--no-recent-store] [--clusters=N]`.
//!
//! The address is `localhost:9004` unless it is given. Three clusters have fallen silent, some are refused for different
//! reasons, two are new; those that report go on doing so while it runs. `--empty` leaves the fleet out;
//! `--clusters=100000` puts so many more into the registry, to measure the pages with them.

mod cluster;
mod story;

use std::{env, error::Error, net::IpAddr, time::Duration};

use prometheus_client::registry::Registry;
use telemeter_auth::{
    authority::{QuestionOrigin, mock},
    composite_token,
};
use telemeter_http::{
    clock::Clock,
    internal::{Health, InternalRouter},
    listen,
    metrics::Exposition,
    tls::ListenerTls,
};
use telemeter_server::{
    Config,
    config::{
        AuthoritySettings, AuthorizationMode, FleetLabel, ForwardSettings, MemcachedSettings, RecentStoreSettings,
    },
    fleet_view::{FleetView, ReplicaInfo},
    gateway::Gateway,
    gateway_without_listener, pages,
};

use crate::{
    cluster::DemoCluster,
    story::{CLUSTERS, DemoEvent},
};

const WHITELIST: [&str; 17] = [
    r#"{__name__=~"cluster:.+:sum"}"#,
    r#"{__name__="cluster:telemetry_selected_series:count"}"#,
    "cluster_version",
    "cluster_version_available_updates",
    "cluster_infrastructure_provider",
    "cluster_installer",
    "cluster_operator_up",
    r#"cluster_operator_conditions{condition=~"Available|Degraded"}"#,
    r#"alerts{alertstate="firing"}"#,
    r#"{__name__=~"count:up[01]"}"#,
    "code:apiserver_request_total:rate:sum",
    "instance:etcd_object_counts:sum",
    r#"up{job="kubelet"}"#,
    "up",
    "process_cpu_seconds_total",
    r#"ceph_health_status{severity="critical"}"#,
    "openshift:build_by_strategy:sum",
];

/// Base64 of `{"authorization_token":"demo","cluster_id":"demo"}`.
const COMPOSITE_TOKEN: &str = "eyJhdXRob3JpemF0aW9uX3Rva2VuIjoiZGVtbyIsImNsdXN0ZXJfaWQiOiJkZW1vIn0=";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let address = arguments.iter().find(|argument| !argument.starts_with("--"));
    let address = address.map_or("localhost:9004", String::as_str);
    let clock = Clock::system();
    let (gateway, tls) = made_up(&clock, !has("--no-recent-store")).await?;
    let now_ms = clock.now_ms();
    if !has("--empty") {
        let clusters: Vec<DemoCluster> = (0..CLUSTERS).map(DemoCluster::new).collect();
        let events = story::events(now_ms);
        let (past, future) = events.split_at(events.partition_point(|event| event.ms <= now_ms));
        for event in past {
            gateway.fleet.tick(event.ms);
            story::tell(&gateway, &clusters, event);
        }
        let more = arguments.iter().find_map(|argument| argument.strip_prefix("--clusters="));
        story::crowd(&gateway, more.map_or(Ok(0), str::parse)?, now_ms);
        ask_authority(&gateway).await?;
        tokio::spawn(go_on(gateway.clone(), clusters, future.to_vec()));
    }
    let about = ReplicaInfo {
        version: env!("CARGO_PKG_VERSION"),
        revision: "3f9c2e1",
        started_ms: now_ms - 9 * 3_600_000,
        replica: "telemeter-server-0".to_owned(),
        certificates: vec![("external", tls)],
    };
    let internal = InternalRouter::new(&Health::default(), Exposition::new(Registry::default()));
    let router = pages::attach(internal, FleetView::new(gateway, about));
    let listener = listen::bind(address).await?;
    listen::serve(listener, router, listen::ListenLimits::default(), std::future::pending()).await;
    Ok(())
}

/// A gateway with many dependencies: a store that is not called here, an authority, and a memcached that does not answer.
async fn made_up(clock: &Clock, has_recent_store: bool) -> Result<(Gateway, ListenerTls), Box<dyn Error>> {
    let authority = listen::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", authority.local_addr()?).parse()?;
    let tokens = mock::tokens(br#"[{"token":"demo"}]"#)?;
    tokio::spawn(listen::serve(
        authority,
        mock::router(tokens),
        listen::ListenLimits::default(),
        std::future::pending(),
    ));
    let mut config =
        Config::new(AuthorizationMode::Authority(AuthoritySettings { url, stale: Duration::from_secs(3600) }));
    config.forward = Some(ForwardSettings::new("http://127.0.0.1:9/api/v1/receive".parse()?));
    config.memcached = Some(MemcachedSettings {
        servers: vec!["127.0.0.1:9".to_owned()],
        expire: Duration::from_secs(86_400),
        interval: None,
    });
    config.recent_store =
        has_recent_store.then(|| RecentStoreSettings { keep: Duration::from_secs(7200), max_bytes: 256 << 20 });
    config.rules.whitelist = WHITELIST.map(str::to_owned).into();
    let labels =
        [r#"version=cluster_version{type="current"}/version"#, "provider=cluster_infrastructure_provider/type"];
    config.fleet.labels = labels.into_iter().map(FleetLabel::parse).collect::<Result<_, _>>()?;
    let gateway = gateway_without_listener(&config, clock)?;

    let folder = tempfile::tempdir()?;
    let mut params = rcgen::CertificateParams::new(vec!["telemeter.example.com".to_owned()])?;
    let in_days = |days: i64| std::time::Duration::from_secs(days.unsigned_abs() * 86_400 + 7200);
    let now = std::time::Duration::from_millis(clock.now_ms().unsigned_abs());
    params.not_after = (std::time::UNIX_EPOCH + now + in_days(5)).into();
    let key = rcgen::KeyPair::generate()?;
    let (cert_file, key_file) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&cert_file, params.self_signed(&key)?.pem())?;
    std::fs::write(&key_file, key.serialize_pem())?;
    Ok((gateway, ListenerTls::load(cert_file, key_file)?))
}

/// Asks the authority once, and with it memcached.
async fn ask_authority(gateway: &Gateway) -> Result<(), telemeter_auth::Error> {
    if let Some(authority) = &gateway.authority {
        let asker = QuestionOrigin { peer: IpAddr::from([127, 0, 0, 1]) };
        let token = composite_token::decode(COMPOSITE_TOKEN)?;
        authority.receive(asker, &token).await?;
    }
    Ok(())
}

/// Goes on with the story while the example runs.
async fn go_on(gateway: Gateway, clusters: Vec<DemoCluster>, events: Vec<DemoEvent>) {
    let mut events = events.into_iter().peekable();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now_ms = gateway.clock.now_ms();
        gateway.fleet.tick(now_ms);
        while let Some(event) = events.next_if(|event| event.ms <= now_ms) {
            story::tell(&gateway, &clusters, &event);
        }
    }
}
