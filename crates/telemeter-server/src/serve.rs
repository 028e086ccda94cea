//! Starts the server, re-reads its files, and ends it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use telemeter_auth::{
    jwt::{Keys, REMEMBERED_BY_DEFAULT, Verifier},
    memcached::{CacheMetrics, Memcached},
    oidc::{OidcConfig, TokenSource},
    tollbooth::{SharedCache, Tollbooth, TollboothConfig},
};
use telemeter_http::{
    budget::{self, MemoryBudget, Share},
    client::{Outbound, OutboundConfig, OutboundMetrics, OutboundRenewal, Proxy},
    clock::Clock,
    descriptors,
    instrument::HttpMetrics,
    internal::{Access, Health, Internal},
    listen::{self, ConnectionMetrics, Listener},
    metrics::{Exposition, register_build_info},
    tls::{Renewal, Tls},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use crate::{
    api,
    concurrency::Concurrency,
    config::{self, Config, Door, InternalAccess},
    fleet::{Fleet, TICK, file::FleetFile, series::send_fleet},
    fleet_view::{About, FleetView},
    forward::{BatchConfig, DEADLINE, Forward},
    gateway::{FORWARD_FACTOR, Gateway, Shared, Workspaces},
    metrics::{ListenerLabel, Metrics},
    pages::{self, Pages},
    ratelimit::RateLimit,
    recent_store::{RecentStore, RecentStoreConfig},
    routes,
    rules::Rules,
};

/// How often what has ended is swept out: rate-limit slots, samples of the recent store.
const SWEEP: Duration = Duration::from_secs(60);
/// How long new requests are answered that we are on our way out, before connections are closed.
const GRACE: Duration = Duration::from_millis(500);
/// Connections of callers at once, where there are as many file descriptors.
const EXTERNAL_CONNECTIONS: usize = 20_000;
/// Connections to the internal listener at once.
const INTERNAL_CONNECTIONS: usize = 64;
/// About what the program takes where nobody calls.
const PROGRAM_BYTES: usize = 24 << 20;
/// How often the readiness of dependencies is looked at.
const WATCH: Duration = Duration::from_millis(500);
/// How often the registry is written to its file.
const SAVE: Duration = Duration::from_secs(60);
/// How often clusters that were not heard from for long are forgotten.
const FORGET: Duration = Duration::from_secs(60 * 60);
/// How often certificates that do not last are warned of.
const WARN: Duration = Duration::from_secs(24 * 60 * 60);

/// All programs have one.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl From<String> for StartError {
    fn from(reason: String) -> Self {
        Self(reason)
    }
}

/// Runs the server until SIGTERM or SIGINT, and drains it. SIGHUP re-reads its files.
///
/// # Errors
/// Why it does not start.
pub async fn serve(config: Config) -> Result<(), StartError> {
    let on = |kind| signal(kind).map_err(|error| StartError(format!("cannot listen for signals: {error}")));
    let (mut terminate, mut interrupt, mut hangup) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
    let server = Server::start(config, Clock::system()).await?;
    tell(&server.files.config, &server.files.gateway);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match server.reload().await {
                Ok(()) => tracing::info!("reloaded"),
                Err(error) => tracing::error!(error, "not reloaded: the old configuration stays"),
            },
        }
    }
    tracing::info!("draining");
    server.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// A running server.
pub struct Server {
    external: SocketAddr,
    internal: SocketAddr,
    health: Health,
    files: Arc<Files>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    fleet_file: Option<Arc<FleetFile>>,
}

/// What is read from files, and read again at a reload.
struct Files {
    /// One reload at a time.
    turn: Mutex<()>,
    access: Access,
    config: Config,
    gateway: Gateway,
    /// By the name of its listener.
    tls: Vec<(&'static str, Tls)>,
    outbounds: Vec<Outbound>,
}

impl Server {
    /// Binds both listeners and serves.
    ///
    /// # Errors
    /// Why it does not start.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, StartError> {
        let mut registry = Registry::default();
        let health = Health::new();
        let http = HttpMetrics::register(&mut registry);
        config.dropped_log_lines.register(&mut registry);
        register_build_info(&mut registry, VERSION, config.revision);
        let budget = memory_budget(&config, &mut registry);
        let connection_metrics = ConnectionMetrics::register(&mut registry);
        let (gateway, outbounds) = gateway(&config, &clock, &mut registry, &budget)?;
        let (external, external_tls) = bind(&config.listen, config.tls.as_ref()).await?;
        let (internal, internal_tls) = bind(&config.listen_internal, config.internal_tls.as_ref()).await?;
        let tls: Vec<_> = external_tls
            .map(|tls| ("external", tls))
            .into_iter()
            .chain(internal_tls.map(|tls| ("internal", tls)))
            .collect();
        show_expiry(&gateway, &tls);
        let fleet_file = match config.fleet.file.clone() {
            Some(path) => Some(Arc::new(open_fleet_file(path, gateway.clone()).await?)),
            None => None,
        };
        let local = |listener: &Listener| listener.local_addr().map_err(|error| StartError(error.to_string()));
        let (external_address, internal_address) = (local(&external)?, local(&internal)?);

        let InternalAccess { allowed_hosts, token_file } = &config.internal_access;
        let access = Access::new(&internal, allowed_hosts, token_file.clone())?;
        let descriptors = descriptors::raise_limit();
        let limits = listen::Limits {
            connections: EXTERNAL_CONNECTIONS.min(descriptors::for_connections(descriptors)),
            connections_per_peer: config.limits.connections_per_peer,
            trusted_proxies: config.limits.trusted_proxies.clone(),
            budget,
            metrics: connection_metrics,
            ..listen::Limits::default()
        };
        // What it needs is kept from the external one: descriptors by their cap, memory since no budget is shared.
        let internal_limits = listen::Limits { connections: INTERNAL_CONNECTIONS, ..listen::Limits::default() };

        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(sweep(gateway.clone(), stopped.clone()));
        tasks.spawn(tick(gateway.clone(), stopped.clone()));
        tasks.spawn(keep_fleet(gateway.clone(), fleet_file.clone(), tls.clone(), stopped.clone()));
        if let (Some(every), Some(forward)) = (config.fleet.metrics, gateway.forward.clone()) {
            let replica = config.fleet.replica.clone();
            tasks.spawn(send_fleet(gateway.clone(), forward, replica, every, stopped.clone()));
        }
        if let Some(token) = &gateway.token {
            tasks.spawn(watch_provider(gateway.clone(), token.clone(), health.clone(), stopped.clone()));
        }
        let about = About {
            version: VERSION,
            revision: config.revision,
            started_ms: clock.now_ms(),
            replica: config.fleet.replica.clone(),
            certificates: tls.clone(),
        };
        let fleet = api::router(FleetView::new(gateway.clone(), about));
        let (turn, access_of_files) = (Mutex::default(), access.clone());
        let files = Arc::new(Files { turn, access: access_of_files, config, gateway: gateway.clone(), tls, outbounds });
        let reload = files.clone();
        let internals =
            Internal::new(&health, Exposition::new(registry)).heap_profile().access(access).reload(move || {
                let files = reload.clone();
                async move { files.reload_apart().await }
            });
        let internals = api::PATHS.into_iter().fold(internals, Internal::list).with(fleet);
        let internals = match &gateway.recent_store {
            Some(store) => pages::attach(internals, Pages::new(store.clone(), clock)),
            None => internals.router(),
        };
        let stop_of = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        let router = routes::external(gateway, &health, &http);
        tasks.spawn(listen::serve(external, router, limits, stop_of(stopped.clone())));
        let apart = listen::serve_apart(internal, internals, internal_limits, stop_of(stopped));
        tasks.spawn(apart.map_err(|error| StartError(format!("the internal listener cannot be served: {error}")))?);
        health.condition("serving").ready();
        tracing::info!(external = %external_address, internal = %internal_address, "serving");
        Ok(Self { external: external_address, internal: internal_address, health, files, stop, tasks, fleet_file })
    }

    /// Where clusters send to.
    #[must_use]
    pub const fn external(&self) -> SocketAddr {
        self.external
    }

    /// Where health, metrics and the pages are.
    #[must_use]
    pub const fn internal(&self) -> SocketAddr {
        self.internal
    }

    /// Reads keys, certificates, trusted roots and rules again.
    ///
    /// # Errors
    /// What is wrong; nothing has changed then.
    pub async fn reload(&self) -> Result<(), String> {
        self.files.clone().reload_apart().await
    }

    /// Not ready any more; finishes what is in flight, and ends.
    pub async fn stop(mut self) {
        self.health.drain();
        self.files.gateway.draining.store(true, Ordering::Relaxed);
        // Those who send on a connection that stands are told so, until it is closed.
        tokio::time::sleep(GRACE).await;
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
        let gateway = self.files.gateway.clone();
        // What was in flight has ended by now.
        let save = move || {
            gateway.fleet.say_what_was_left_out(i64::MAX);
            if let Some(file) = &self.fleet_file {
                file.save(&gateway.fleet.registry);
            }
        };
        let _ = tokio::task::spawn_blocking(save).await;
    }
}

impl Files {
    /// Reloads on a thread that serves nobody: files may be slow to read, and rules to compile.
    async fn reload_apart(self: Arc<Self>) -> Result<(), String> {
        tokio::task::spawn_blocking(move || self.reload())
            .await
            .unwrap_or_else(|_| Err("the reload broke off; see the log".to_owned()))
    }

    /// All or nothing: what can be wrong is read before anything is swapped.
    fn reload(&self) -> Result<(), String> {
        let _turn = self.turn.lock();
        let rules = Rules::load(&self.config)?;
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
        // A key that was generated stays: there is no file to read.
        if let Some(keys) = keys {
            if let Some(tollbooth) = &self.gateway.tollbooth {
                tollbooth.rekey(&keys);
            }
            self.gateway.verifier.replace(Arc::new(keys));
        }
        Ok(())
    }
}

/// The keys from files; `None` where one is to be generated.
fn keys(config: &Config) -> Result<Option<Keys>, String> {
    if config.shared_keys.is_empty() {
        return Ok(None);
    }
    Keys::load(&config.shared_keys).map(Some).map_err(|error| format!("--shared-key: {error}"))
}

/// Makes what calls others, and keeps it: its roots are read again at a reload.
struct Outbounds<'a> {
    config: &'a Config,
    metrics: OutboundMetrics,
    made: Vec<Outbound>,
}

impl Outbounds<'_> {
    /// For calls to the URL of `flag`.
    fn add(&mut self, name: &'static str, timeout: Duration, flag: &str, scheme: &str) -> Result<Outbound, String> {
        let verbose = self.config.verbose;
        let settings = OutboundConfig { timeout, proxy: Proxy::FromEnvironment, verbose, ..OutboundConfig::new(name) };
        let outbound = Outbound::new(settings, Some(self.metrics.clone())).map_err(|error| error.to_string())?;
        outbound.warn_without_roots(flag, scheme);
        self.made.push(outbound.clone());
        Ok(outbound)
    }
}

/// The budget of all that callers can make us hold, told at start.
fn memory_budget(config: &Config, registry: &mut Registry) -> MemoryBudget {
    let (bytes, source) = match config.limits.memory_bytes {
        Some(bytes) => (bytes, budget::Source::Flag),
        None => budget::default_limit(),
    };
    let budget = MemoryBudget::new(bytes);
    budget.register(registry);
    let shares: usize = Share::ALL.iter().map(|share| budget.capacity_bytes(*share)).sum();
    tracing::info!(bytes, %source, callers = shares, "memory limit");
    let recent_store = config.recent_store.as_ref().map_or(0, |store| store.max_bytes);
    let wanted = shares.saturating_add(recent_store).saturating_add(PROGRAM_BYTES);
    if wanted > bytes {
        tracing::warn!(
            bytes,
            callers = shares,
            recent_store,
            "the memory limit is less than what callers, the recent store and the program itself may take together"
        );
    }
    budget
}

fn gateway(
    config: &Config,
    clock: &Clock,
    registry: &mut Registry,
    budget: &MemoryBudget,
) -> Result<(Gateway, Vec<Outbound>), String> {
    let metrics = Metrics::register(registry);
    let mut outbounds = Outbounds { config, metrics: OutboundMetrics::register(registry), made: Vec::new() };
    let cache_metrics = CacheMetrics::register(registry);
    let rules = Rules::load(config)?;
    let keys = match keys(config)? {
        Some(keys) => keys,
        None => Keys::generate().map_err(|error| error.to_string())?,
    };
    let token = config.oidc.as_ref().map(|oidc| token_source(oidc, clock, &mut outbounds)).transpose()?;
    let tollbooth = match &config.door {
        Door::AnyCluster => None,
        Door::Authority(authority) => {
            let shared = config.memcached.as_ref().map(|memcached| {
                let client = Memcached::new(&memcached.servers, memcached.interval.unwrap_or(Duration::MAX));
                SharedCache::new(client, &keys, memcached.expire, cache_metrics)
            });
            let settings = TollboothConfig { stale: authority.stale, ..TollboothConfig::new(authority.url.clone()) };
            let outbound = outbounds.add("authorize", settings.deadline, "--authorize", authority.url.scheme())?;
            Some(Tollbooth::new(settings, outbound, clock.clone(), shared, token.clone()))
        }
    };
    let forward = config.forward.as_ref().map(|forward| {
        let room_bytes = budget.capacity_bytes(Share::Forward) / FORWARD_FACTOR;
        let batches = BatchConfig { room_bytes, ..BatchConfig::default() };
        let outbound = outbounds.add("forward", DEADLINE, "--forward-url", forward.url.scheme())?;
        Forward::new(forward.url.clone(), forward.tenant.as_deref(), outbound, token.clone(), batches)
    });
    let recent_store = config.recent_store.as_ref().map(|store| {
        let settings = RecentStoreConfig { window: store.keep, max_bytes: store.max_bytes };
        Arc::new(RecentStore::new(settings))
    });
    let gateway = Gateway::new(Shared {
        clock: clock.clone(),
        metrics,
        verifier: Verifier::new(Arc::new(keys), REMEMBERED_BY_DEFAULT),
        tollbooth,
        ratelimit: config.ratelimit.map(|period| Arc::new(RateLimit::new(period))),
        rules: ArcSwap::from_pointee(rules),
        forward: forward.transpose()?,
        token,
        recent_store,
        partition_label: config.partition_label.clone(),
        required_labels: config.rules.required_labels.clone(),
        token_expire: config.token_expire,
        limit_bytes: config.limit_bytes,
        limit_receive_bytes: config.limit_receive_bytes,
        draining: AtomicBool::new(false),
        log_tenant: config.log_tenant,
        fleet: Fleet::new(&config.fleet, config.log_refusals_per_second),
        workspaces: Workspaces::new(budget.clone()),
        concurrency: Concurrency::new(config.limits.concurrent_per_cluster),
        min_body_rate: config.limits.min_body_rate,
    });
    Ok((gateway, outbounds.made))
}

fn token_source(oidc: &config::Oidc, clock: &Clock, outbounds: &mut Outbounds<'_>) -> Result<TokenSource, String> {
    let settings = OidcConfig {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        client_secret: oidc.client_secret.clone(),
        audience: oidc.audience.clone(),
    };
    let scheme = oidc.issuer.split_once(':').map_or("", |(scheme, _)| scheme);
    // As in Go: the name, and the deadline of each of its calls.
    let outbound = outbounds.add("oauth", Duration::from_secs(20), "--oidc-issuer", scheme)?;
    Ok(TokenSource::new(settings, outbound, clock.clone()))
}

async fn bind(address: &str, tls: Option<&config::Tls>) -> Result<(Listener, Option<Tls>), StartError> {
    let listener = listen::bind(address).await.map_err(|error| StartError(error.to_string()))?;
    let Some(tls) = tls else { return Ok((listener, None)) };
    let tls = Tls::load(&tls.cert_file, &tls.key_file).map_err(|error| StartError(error.to_string()))?;
    Ok((listener.with_tls(tls.clone()), Some(tls)))
}

/// Says at start what an operator should know of this configuration.
fn tell(config: &Config, gateway: &Gateway) {
    if gateway.tollbooth.is_none() {
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

async fn sweep(gateway: Gateway, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        let now_ms = gateway.clock.now_ms();
        if let Some(limit) = &gateway.ratelimit {
            limit.sweep(now_ms);
        }
        if let Some(store) = &gateway.recent_store {
            store.sweep(now_ms);
        }
    }
}

/// What is to be done every second.
async fn tick(gateway: Gateway, mut stopped: watch::Receiver<bool>) {
    loop {
        gateway.fleet.tick(gateway.clock.now_ms());
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Writes the registry to its file, forgets who was not heard from for long, and warns of certificates that do not last.
async fn keep_fleet(
    gateway: Gateway,
    file: Option<Arc<FleetFile>>,
    tls: Vec<(&'static str, Tls)>,
    mut stopped: watch::Receiver<bool>,
) {
    let every = |period| tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    let (mut save, mut forget, mut warn) = (every(SAVE), every(FORGET), every(WARN));
    loop {
        tokio::select! {
            () = async { let _ = stopped.wait_for(|stop| *stop).await; } => return,
            _ = save.tick() => {
                if let Some(file) = file.clone() {
                    let gateway = gateway.clone();
                    let _ = tokio::task::spawn_blocking(move || file.save(&gateway.fleet.registry)).await;
                }
            }
            _ = forget.tick() => gateway.fleet.registry.forget(gateway.clock.now_ms()),
            _ = warn.tick() => tls.iter().for_each(|(_, tls)| tls.warn_of_validity(gateway.clock.now_ms())),
        }
    }
}

async fn open_fleet_file(path: PathBuf, gateway: Gateway) -> Result<FleetFile, StartError> {
    let opened = tokio::task::spawn_blocking(move || FleetFile::open(path, &gateway.fleet.registry)).await;
    opened.unwrap_or_else(|_| Err("--fleet-file: reading it broke off; see the log".to_owned())).map_err(StartError)
}

/// Shows when the certificates of the listeners expire.
fn show_expiry(gateway: &Gateway, tls: &[(&'static str, Tls)]) {
    for (listener, tls) in tls {
        if let Some(expires_ms) = tls.expires_ms() {
            gateway.metrics.certificate_expiry.get_or_create(&ListenerLabel { listener }).set(expires_ms / 1000);
        }
    }
}

/// Ready only while there is a token for the store.
async fn watch_provider(gateway: Gateway, token: TokenSource, health: Health, mut stopped: watch::Receiver<bool>) {
    let condition = health.condition("oidc");
    let record = &gateway.fleet.dependencies.oidc;
    loop {
        match token.status() {
            Ok(()) => {
                condition.ready();
                record.available(None, gateway.clock.now_ms());
            }
            Err(reason) => {
                record.unavailable(&reason, gateway.clock.now_ms());
                condition.not_ready(reason);
            }
        }
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(WATCH) => {}
        }
    }
}
