//! Makes the parts of a server from its configuration: memory budget, outbound calls, gateway.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use telemeter_auth::{
    authority::{Authority, AuthorityConfig, SharedCache},
    jwt::{DEFAULT_CACHED_TOKENS, Keys, TokenVerifier},
    memcached::{CacheMetrics, Memcached},
    oidc::{OidcConfig, TokenSource},
};
use telemeter_fleet::recent_store::{RecentStore, RecentStoreConfig};
use telemeter_http::{
    budget::{self, MemoryBudget, MemoryShare},
    client::{Outbound, OutboundConfig, OutboundMetrics, ProxyUse},
    clock::Clock,
};

use crate::{
    concurrency::Concurrency,
    config::{self, AuthorizationMode, Config},
    fleet::Fleet,
    forward::{BatchConfig, DEADLINE, Forward, Negotiation},
    gateway::{FORWARD_FACTOR, Gateway, GatewayParts, Workspaces},
    metrics::Metrics,
    ratelimit::RateLimit,
    rules::ServerRules,
};

/// About how many bytes the program takes without requests.
const PROGRAM_BYTES: usize = 24 << 20;

/// The budget of all memory that callers can make us hold; logs it, and warns where the limit is less than the program
/// may need. Without `--memory-limit`, the limit is 75 % of that of the cgroup, or 1 GiB.
pub(super) fn memory_budget(config: &Config, registry: &mut Registry) -> MemoryBudget {
    let (bytes, source) = match config.limits.memory_bytes {
        Some(bytes) => (bytes, budget::LimitSource::Flag),
        None => budget::default_limit(),
    };
    let budget = MemoryBudget::new(bytes);
    budget.register(registry);
    let shares: usize = MemoryShare::ALL.iter().map(|share| budget.capacity_bytes(*share)).sum();
    tracing::info!(bytes, %source, callers = shares, "memory limit");
    let recent_store = config.recent_store.as_ref().map_or(0, |store| store.max_bytes);
    let needed_bytes = shares.saturating_add(recent_store).saturating_add(PROGRAM_BYTES);
    if needed_bytes > bytes {
        tracing::warn!(
            bytes,
            callers = shares,
            recent_store,
            "the memory limit is less than what callers, the recent store and the program itself may take together"
        );
    }
    budget
}

/// Makes the gateway and its outbound clients, whose trusted roots are read again at a reload. Without `--shared-key`
/// it generates a key. Returns an error where a file is unreadable or wrong.
pub(crate) fn gateway(
    config: &Config,
    clock: &Clock,
    registry: &mut Registry,
    budget: &MemoryBudget,
) -> Result<(Gateway, Vec<Outbound>), String> {
    let metrics = Metrics::register(registry);
    let mut outbounds = Outbounds { config, metrics: OutboundMetrics::register(registry), made: Vec::new() };
    let cache_metrics = CacheMetrics::register(registry);
    let rules = ServerRules::load(config)?;
    let keys = match keys(config)? {
        Some(keys) => keys,
        None => Keys::generate().map_err(|error| error.to_string())?,
    };
    let token = config.oidc.as_ref().map(|oidc| token_source(oidc, clock, &mut outbounds)).transpose()?;
    let authority = match &config.authorization {
        AuthorizationMode::AnyCluster => None,
        AuthorizationMode::Authority(authority) => {
            let shared = config.memcached.as_ref().map(|memcached| {
                let client = Memcached::new(&memcached.servers, memcached.interval.unwrap_or(Duration::MAX));
                SharedCache::new(client, &keys, memcached.expire, cache_metrics)
            });
            let settings =
                AuthorityConfig { stale_for: authority.stale, ..AuthorityConfig::new(authority.url.clone()) };
            let outbound = outbounds.add("authorize", settings.deadline, authority.url.scheme())?;
            Some(Authority::new(settings, outbound, clock.clone(), shared, token.clone()))
        }
    };
    let forward = config.forward.as_ref().map(|forward| {
        let room_bytes = budget.capacity_bytes(MemoryShare::Forward) / FORWARD_FACTOR;
        let batches = BatchConfig { max_waiting_bytes: room_bytes, ..BatchConfig::default() };
        let outbound = outbounds.add("forward", DEADLINE, forward.url.scheme())?;
        let negotiation = Negotiation::new(forward.protocol, clock.clone(), metrics.clone());
        Forward::new(forward.url.clone(), forward.tenant.as_deref(), outbound, token.clone(), batches, negotiation)
    });
    let recent_store = config.recent_store.as_ref().map(|store| {
        let settings = RecentStoreConfig { window: store.keep, max_bytes: store.max_bytes };
        Arc::new(RecentStore::new(settings))
    });
    let gateway = Gateway::new(GatewayParts {
        clock: clock.clone(),
        metrics,
        verifier: TokenVerifier::new(Arc::new(keys), DEFAULT_CACHED_TOKENS),
        authority,
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
        partial_writes: config.partial_writes,
        forward_metadata: config.forward.as_ref().is_some_and(|forward| forward.metadata),
    });
    Ok((gateway, outbounds.made))
}

/// Loads the keys from their files; `None` where one is to be generated.
pub(crate) fn keys(config: &Config) -> Result<Option<Keys>, String> {
    if config.shared_keys.is_empty() {
        return Ok(None);
    }
    Keys::load(&config.shared_keys).map(Some).map_err(|error| format!("--shared-key: {error}"))
}

/// Makes the outbound clients, and keeps them for the reload of their trusted roots.
struct Outbounds<'a> {
    config: &'a Config,
    metrics: OutboundMetrics,
    made: Vec<Outbound>,
}

impl Outbounds<'_> {
    /// Makes a client for calls that are counted under this name, and keeps it for reloads. Warns where calls to
    /// `scheme` need trusted roots and there are none.
    fn add(&mut self, name: &'static str, timeout: Duration, scheme: &str) -> Result<Outbound, String> {
        let settings = outbound_settings(self.config, name, timeout);
        let settings = OutboundConfig { handshakes: self.metrics.handshakes(), ..settings };
        let flag = match name {
            "authorize" => "--authorize",
            "forward" => "--forward-url",
            _ => "--oidc-issuer",
        };
        let with = settings.ca_file.is_some().then(|| settings.ca_flag.map(|flag| format!(", with {flag}"))).flatten();
        let outbound = Outbound::new(settings, Some(self.metrics.clone()));
        let outbound =
            outbound.map_err(|error| format!("calls for {flag}{}: {error}", with.as_deref().unwrap_or_default()))?;
        outbound.warn_without_roots(flag, scheme);
        self.made.push(outbound.clone());
        Ok(outbound)
    }
}

/// The settings of calls that are counted under this name: `authorize`, `forward`, `oauth`.
pub(crate) fn outbound_settings(config: &Config, name: &'static str, timeout: Duration) -> OutboundConfig {
    let files = &config.ca_files;
    let (ca_flag, ca_file) = match name {
        "authorize" => ("--authorize-ca-file", &files.authorize),
        "forward" => ("--forward-ca-file", &files.forward),
        _ => ("--oidc-ca-file", &files.oidc),
    };
    OutboundConfig {
        ca_file: ca_file.clone(),
        ca_flag: Some(ca_flag),
        timeout,
        proxy: ProxyUse::FromEnvironment,
        verbose: config.verbose,
        ..OutboundConfig::new(name)
    }
}

/// The source of the access tokens for the store, from the OIDC provider. Adds the client `oauth` to the outbound
/// clients; fails where that cannot be set up.
fn token_source(oidc: &config::Oidc, clock: &Clock, outbounds: &mut Outbounds<'_>) -> Result<TokenSource, String> {
    let settings = OidcConfig {
        issuer: oidc.issuer.clone(),
        client_id: oidc.client_id.clone(),
        client_secret: oidc.client_secret.clone(),
        audience: oidc.audience.clone(),
    };
    let scheme = oidc.issuer.split_once(':').map_or("", |(scheme, _)| scheme);
    // As in Go: the name, and the deadline of each of its calls.
    let outbound = outbounds.add("oauth", Duration::from_secs(20), scheme)?;
    Ok(TokenSource::new(settings, outbound, clock.clone()))
}
