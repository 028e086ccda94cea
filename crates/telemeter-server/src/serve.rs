//! Starts the server, reloads its files, and stops it.

mod background;
pub(crate) mod build;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use telemeter_auth::jwt::Keys;
use telemeter_http::{
    budget::MemoryBudget,
    client::{Outbound, OutboundRenewal},
    clock::Clock,
    descriptors,
    instrument::HttpMetrics,
    internal::{Access, Health, InternalRouter},
    listen::{self, ConnectionMetrics, Listener},
    metrics::{Exposition, register_build_info},
    service_manager::{self, ServiceProgress},
    signals::Signals,
    tls::{CertificateFiles, ListenerTls, Renewal},
};
use tokio::{sync::watch, task::JoinSet};

use self::{
    background::{maintain_fleet, sweep, tick, watch_provider},
    build::{gateway, keys, memory_budget},
};
use crate::{
    config::{Config, InternalAccess},
    fleet::{file::FleetFile, series::send_fleet},
    fleet_view::{FleetView, ReplicaInfo},
    gateway::Gateway,
    metrics::ListenerLabel,
    pages, routes,
    rules::ServerRules,
};

/// How long new requests are still answered with 503 at shutdown, before connections are closed.
const GRACE: Duration = Duration::from_millis(500);
/// The most connections of callers at once; fewer where there are fewer file descriptors.
pub(crate) const EXTERNAL_CONNECTIONS: usize = 20_000;
/// The most connections to the internal listener at once.
const INTERNAL_CONNECTIONS: usize = 64;

/// The version, which all programs of the workspace share.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServerStartError(String);

impl From<String> for ServerStartError {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

/// Runs the server until SIGTERM or SIGINT, then drains it. SIGHUP reloads its files.
///
/// # Errors
/// Why it does not start.
pub async fn serve(config: Config) -> Result<(), ServerStartError> {
    let signals = Signals::catch().map_err(|error| ServerStartError(format!("cannot listen for signals: {error}")))?;
    let server = RunningServer::start(config, Clock::system()).await?;
    log_configuration(&server.files.config, &server.files.gateway);
    service_manager::notify(ServiceProgress::Ready);
    signals.until_stopped(async || server.reload().await).await;
    tracing::info!("draining");
    server.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// A gateway of this configuration without a listener, for tests and for the example that shows the pages with a made-up fleet.
///
/// # Errors
/// What of the configuration is wrong.
pub fn gateway_without_listener(config: &Config, clock: &Clock) -> Result<Gateway, ServerStartError> {
    let (gateway, _outbounds) = gateway(config, clock, &mut Registry::default(), &MemoryBudget::unlimited())?;
    Ok(gateway)
}

/// A running server.
pub struct RunningServer {
    external: SocketAddr,
    internal: SocketAddr,
    health: Health,
    files: Arc<ReloadableFiles>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    fleet_file: Option<Arc<FleetFile>>,
}

/// What is read from files, at the start and again at a reload.
struct ReloadableFiles {
    /// Held by a reload, so that one runs at a time.
    reloading: Mutex<()>,
    access: Access,
    config: Config,
    gateway: Gateway,
    /// The certificates of the listeners, by the listener's name.
    tls: Vec<(&'static str, ListenerTls)>,
    outbounds: Vec<Outbound>,
}

impl RunningServer {
    /// Binds both listeners and serves.
    ///
    /// # Errors
    /// Why it does not start.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, ServerStartError> {
        let mut registry = Registry::default();
        let health = Health::new();
        let http = HttpMetrics::register(&mut registry);
        config.dropped_log_lines.register(&mut registry);
        register_build_info(&mut registry, VERSION, config.revision);
        let budget = memory_budget(&config, &mut registry);
        let connection_metrics = ConnectionMetrics::register(&mut registry);
        let (gateway, outbounds) = gateway(&config, &clock, &mut registry, &budget)?;
        let (external, external_tls) = bind(&config.listen, &config.tls).await?;
        let (internal, internal_tls) = bind(&config.listen_internal, &config.internal_tls).await?;
        let tls: Vec<_> = external_tls
            .map(|tls| ("external", tls))
            .into_iter()
            .chain(internal_tls.map(|tls| ("internal", tls)))
            .collect();
        show_expiry(&gateway, &tls);
        if let Some(keys) = keys(&config)? {
            share_sessions(&keys, &tls);
        }
        let fleet_file = match config.fleet.file.clone() {
            Some(path) => Some(Arc::new(open_fleet_file(path, gateway.clone()).await?)),
            None => None,
        };
        let local = |listener: &Listener| listener.local_addr().map_err(|error| ServerStartError(error.to_string()));
        let (external_address, internal_address) = (local(&external)?, local(&internal)?);

        let InternalAccess { allowed_hosts, token_file } = &config.internal_access;
        let access = Access::new(&internal, allowed_hosts, token_file.clone())?;
        let descriptors = descriptors::raise_limit();
        let limits = listen::ListenLimits {
            connections: EXTERNAL_CONNECTIONS.min(descriptors::for_connections(descriptors)),
            connections_per_peer: config.limits.connections_per_peer,
            trusted_proxies: config.limits.trusted_proxies.clone(),
            budget,
            metrics: connection_metrics,
            ..listen::ListenLimits::default()
        };
        // The external listener cannot use up what the internal one needs: its connections are capped below the limit of file
        // descriptors, and the internal one shares no memory budget.
        let internal_limits =
            listen::ListenLimits { connections: INTERNAL_CONNECTIONS, ..listen::ListenLimits::default() };

        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(sweep(gateway.clone(), stopped.clone()));
        tasks.spawn(tick(gateway.clone(), stopped.clone()));
        tasks.spawn(maintain_fleet(gateway.clone(), fleet_file.clone(), tls.clone(), stopped.clone()));
        if let (Some(every), Some(forward)) = (config.fleet.metrics, gateway.forward.clone()) {
            let replica = config.fleet.replica.clone();
            tasks.spawn(send_fleet(gateway.clone(), forward, replica, every, stopped.clone()));
        }
        if let Some(token) = &gateway.token {
            tasks.spawn(watch_provider(gateway.clone(), token.clone(), health.clone(), stopped.clone()));
        }
        let about = ReplicaInfo {
            version: VERSION,
            revision: config.revision,
            started_ms: clock.now_ms(),
            replica: config.fleet.replica.clone(),
            certificates: tls.clone(),
        };
        let view = FleetView::new(gateway.clone(), about);
        let (reloading, access_of_files) = (Mutex::default(), access.clone());
        let files = Arc::new(ReloadableFiles {
            reloading,
            access: access_of_files,
            config,
            gateway: gateway.clone(),
            tls,
            outbounds,
        });
        let reload = files.clone();
        let internals =
            InternalRouter::new(&health, Exposition::new(registry)).heap_profile().access(access).reload(move || {
                let files = reload.clone();
                async move { files.reload_apart().await }
            });
        let internals = pages::attach(internals, view);
        let stop_of = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let router = routes::external(gateway, &health, &http);
        tasks.spawn(listen::serve(external, router, limits, stop_of(stopped.clone())));
        let apart = listen::serve_apart(internal, internals, internal_limits, stop_of(stopped));
        tasks.spawn(
            apart.map_err(|error| ServerStartError(format!("the internal listener cannot be served: {error}")))?,
        );
        health.condition("serving").ready();
        tracing::info!(external = %external_address, internal = %internal_address, "serving");
        Ok(Self { external: external_address, internal: internal_address, health, files, stop, tasks, fleet_file })
    }

    /// The address that clusters send to.
    #[must_use]
    pub const fn external(&self) -> SocketAddr {
        self.external
    }

    /// The address of health, metrics, the pages and the API.
    #[must_use]
    pub const fn internal(&self) -> SocketAddr {
        self.internal
    }

    /// Reads the rules, keys, certificates, token and trusted roots again. All or nothing: what can be wrong is read
    /// before anything is swapped.
    ///
    /// # Errors
    /// What is wrong; in that case nothing has changed.
    pub async fn reload(&self) -> Result<(), String> {
        self.files.clone().reload_apart().await
    }

    /// Drains the server: it is not ready any more, answers new requests with 503 for a moment, finishes the requests
    /// in flight, and saves the registry.
    pub async fn stop(mut self) {
        self.health.drain();
        self.files.gateway.draining.store(true, Ordering::Relaxed);
        // Requests on open connections are answered with 503 until the connections are closed.
        tokio::time::sleep(GRACE).await;
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
        let gateway = self.files.gateway.clone();
        // All requests have ended by now.
        let save = move || {
            gateway.fleet.log_left_out_counts(i64::MAX);
            if let Some(file) = &self.fleet_file {
                file.save(&gateway.fleet.registry);
            }
        };
        let _ = tokio::task::spawn_blocking(save).await;
    }
}

impl ReloadableFiles {
    /// Reloads on a thread that answers no requests: files may be slow to read, and rules to compile.
    async fn reload_apart(self: Arc<Self>) -> Result<(), String> {
        tokio::task::spawn_blocking(move || self.reload())
            .await
            .unwrap_or_else(|_| Err("the reload broke off; see the log".to_owned()))
    }

    /// All or nothing: what can be wrong is read before anything is swapped.
    fn reload(&self) -> Result<(), String> {
        let _reloading = self.reloading.lock();
        let rules = ServerRules::load(&self.config)?;
        let keys = keys(&self.config)?;
        let token = self.access.read()?;
        let tls = self
            .tls
            .iter()
            .map(|(_, tls)| tls.read())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        let outbounds = self.outbounds.iter().map(Outbound::read).collect::<Result<Vec<_>, _>>();
        let outbounds = outbounds.map_err(|error| error.to_string())?;
        tls.into_iter().for_each(Renewal::store);
        show_expiry(&self.gateway, &self.tls);
        outbounds.into_iter().for_each(OutboundRenewal::store);
        token.store();
        self.gateway.rules.store(Arc::new(rules));
        // A generated key stays: there is no file to read.
        if let Some(keys) = keys {
            share_sessions(&keys, &self.tls);
            if let Some(authority) = &self.gateway.authority {
                authority.replace_keys(&keys);
            }
            self.gateway.verifier.replace(Arc::new(keys));
        }
        Ok(())
    }
}

/// Binds an address, and loads its certificates. Without files, the listener speaks plain HTTP, and the second value is
/// `None`.
async fn bind(address: &str, files: &[CertificateFiles]) -> Result<(Listener, Option<ListenerTls>), ServerStartError> {
    let listener = listen::bind(address).await.map_err(|error| ServerStartError(error.to_string()))?;
    if files.is_empty() {
        return Ok((listener, None));
    }
    let tls = ListenerTls::load_all(files.to_vec()).map_err(|error| ServerStartError(error.to_string()))?;
    Ok((listener.with_tls(tls.clone()), Some(tls)))
}

/// Lets replicas with the same `--shared-key` resume each other's TLS sessions.
fn share_sessions(keys: &Keys, tls: &[(&'static str, ListenerTls)]) {
    for (listener, tls) in tls {
        tls.share_sessions(keys.derive(&format!("telemeter TLS session tickets: {listener}")));
    }
}

/// Logs at start what an operator should know of this configuration.
fn log_configuration(config: &Config, gateway: &Gateway) {
    if gateway.authority.is_none() {
        tracing::warn!("--insecure-allow-any-cluster: every token is good, for a demo only");
    }
    match gateway.rules.load().whitelist_len() {
        0 => tracing::warn!("no --whitelist and no --whitelist-file: every metric passes"),
        rules => tracing::info!(rules, "whitelist"),
    }
    if config.shared_keys.is_empty() {
        tracing::warn!("no --shared-key: a key was generated; tokens end with this process, and no replica knows them");
    }
    if gateway.forward.is_none() {
        tracing::warn!("no --forward-url: what is acknowledged is held in memory alone, by --recent-store");
    }
}

async fn open_fleet_file(path: PathBuf, gateway: Gateway) -> Result<FleetFile, ServerStartError> {
    let opened = tokio::task::spawn_blocking(move || FleetFile::open(path, &gateway.fleet.registry)).await;
    opened
        .unwrap_or_else(|_| Err("--fleet-file: reading it broke off; see the log".to_owned()))
        .map_err(ServerStartError)
}

/// Exports when the certificates of the listeners expire.
fn show_expiry(gateway: &Gateway, tls: &[(&'static str, ListenerTls)]) {
    for (listener, tls) in tls {
        if let Some(expires_ms) = tls.expires_ms() {
            gateway.metrics.certificate_expiry.get_or_create(&ListenerLabel { listener }).set(expires_ms / 1000);
        }
    }
}
