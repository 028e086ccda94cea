//! The configuration of the server: plain, checked data, without argv.

use std::{fmt, path::PathBuf, time::Duration};

use url::Url;

use telemeter_auth::Secret;
use telemeter_http::listen::TrustedProxies;
use telemeter_http::metrics::DroppedLogLines;
use telemeter_http::{client::bare_url, tls::CertificateFiles};
use telemeter_wire::exposition::Escaping;

pub use crate::fleet::labels::FleetLabel;
pub use telemeter_fleet::MAX_LABELS as MAX_FLEET_LABELS;

/// Everything that `telemeter-server` can be configured with. Built from the flags, or in a test from [`Config::new`].
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` of the external listener.
    pub listen: String,
    /// `host:port` of the internal listener: health, metrics, profiles, the recent store.
    pub listen_internal: String,
    /// Certificates and keys of the external listener; without, it speaks plain HTTP. Read again at a reload.
    pub tls: Vec<CertificateFiles>,
    /// Certificates and keys of the internal listener; without, it speaks plain HTTP. Read again at a reload.
    pub internal_tls: Vec<CertificateFiles>,
    /// The label that carries the cluster's ID.
    pub partition_label: String,
    /// Private key files (PEM or DER). The first signs, all verify. Empty: a P-256 key is made at start.
    pub shared_keys: Vec<PathBuf>,
    /// How long a token of ours is good.
    pub token_expire: Duration,
    /// What decides which cluster a token may report for.
    pub authorization: AuthorizationMode,
    /// How the identity label of a receive request is checked against its token.
    pub receive_identity: ReceiveIdentity,
    /// Whether the valid series of a remote write are stored where others are refused; the answer is 400 all the same.
    pub partial_writes: bool,
    /// Whether the debug lines of a receive request carry `tenant=` with the cluster's ID.
    pub log_tenant: bool,
    /// Where the token for outbound calls comes from; without, calls carry none.
    pub oidc: Option<Oidc>,
    /// The shared cache of the authority's approvals; without, each replica caches its own.
    pub memcached: Option<MemcachedSettings>,
    /// The shortest time between two uploads of one cluster; `None`: no limit.
    pub ratelimit: Option<Duration>,
    /// The store. `None` only where [`Config::recent_store`] stands in for it.
    pub forward: Option<ForwardSettings>,
    /// Certificate authorities that outbound calls trust besides the system's.
    pub ca_files: CaFiles,
    /// What was forwarded lately, kept in memory and shown on the internal listener.
    pub recent_store: Option<RecentStoreSettings>,
    /// What is known of each cluster, and where it is kept and sent.
    pub fleet: FleetSettings,
    /// How many lines a second about refused requests are logged for each reason; 0: all.
    pub log_refusals_per_second: u32,
    /// What may pass and how it is changed.
    pub rules: RuleSettings,
    /// Cap on the body of an upload, in decompressed bytes; exactly this many are accepted.
    pub limit_bytes: usize,
    /// Cap on the body of a receive request, in compressed bytes; decompressed it may be 16 times that.
    pub limit_receive_bytes: usize,
    /// Counts the lines of the log that were dropped; shown in the metrics.
    pub dropped_log_lines: DroppedLogLines,
    /// What callers may make us hold, and how fast they have to be.
    pub limits: CallerLimits,
    /// Which requests the internal listener answers.
    pub internal_access: InternalAccess,
    /// The revision of the source that this program was built from.
    pub revision: &'static str,
    /// Dump round trips to the authority, the provider and the store, without secrets.
    pub verbose: bool,
}

impl Config {
    /// The defaults, with the given authorization: no TLS, no store, no rules, a rate limit of 4m30s.
    ///
    /// ```
    /// use telemeter_server::{Config, config::AuthorizationMode};
    ///
    /// let config = Config::new(AuthorizationMode::AnyCluster);
    /// assert_eq!(config.partition_label, "_id");
    /// assert_eq!(config.limit_bytes, 512_000);
    /// assert!(config.forward.is_none() && config.rules.whitelist.is_empty());
    /// ```
    pub fn new(authorization: AuthorizationMode) -> Self {
        Self {
            listen: "0.0.0.0:9003".to_owned(),
            listen_internal: "localhost:9004".to_owned(),
            tls: Vec::new(),
            internal_tls: Vec::new(),
            partition_label: "_id".to_owned(),
            shared_keys: Vec::new(),
            token_expire: Duration::from_secs(86_400),
            authorization,
            receive_identity: ReceiveIdentity::Strict,
            partial_writes: false,
            log_tenant: false,
            oidc: None,
            memcached: None,
            ratelimit: Some(Duration::from_secs(270)),
            forward: None,
            ca_files: CaFiles::default(),
            recent_store: None,
            fleet: FleetSettings::default(),
            log_refusals_per_second: 20,
            rules: RuleSettings::default(),
            limit_bytes: 512_000,
            limit_receive_bytes: 1 << 20,
            dropped_log_lines: DroppedLogLines::default(),
            limits: CallerLimits::default(),
            internal_access: InternalAccess::default(),
            revision: "unknown",
            verbose: false,
        }
    }
}

/// What callers may make us hold, and how fast they have to be.
#[derive(Clone, Debug)]
pub struct CallerLimits {
    /// Memory that the process is meant to stay under, in bytes; `None`: 75 % of what its cgroup allows, else 1 GiB.
    pub memory_bytes: Option<usize>,
    /// Requests of one cluster at once, over all its connections.
    pub concurrent_per_cluster: usize,
    /// Connections of one client at once; 0: half of what there may be.
    pub connections_per_peer: usize,
    /// Proxies that may name the client of a connection or of a request.
    pub trusted_proxies: TrustedProxies,
    /// The slowest that a body may arrive after its first 5 s, in bytes a second; 0: no limit.
    pub min_body_rate: u64,
}

impl Default for CallerLimits {
    fn default() -> Self {
        Self {
            memory_bytes: None,
            concurrent_per_cluster: 128,
            connections_per_peer: 0,
            trusted_proxies: TrustedProxies::default(),
            min_body_rate: 512,
        }
    }
}

/// Which requests the internal listener answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InternalAccess {
    /// Host names that it answers to besides those of loopback. Empty: every name, where it listens wider than on loopback.
    pub allowed_hosts: Vec<String>,
    /// The file of the bearer token that every path but health requires; read again at a reload.
    pub token_file: Option<PathBuf>,
}

/// What decides which cluster a token may report for.
#[derive(Clone, Debug)]
pub enum AuthorizationMode {
    /// The authority decides.
    Authority(AuthoritySettings),
    /// Every token may report for every cluster. For a demo; logged as a warning.
    AnyCluster,
}

/// The authority, and how long cached approvals count while it is unavailable.
#[derive(Clone)]
pub struct AuthoritySettings {
    /// Where to `POST` the question. May hold user and password.
    pub url: Url,
    /// How long an approval still counts after its end while the authority is unavailable; zero: not at all.
    pub stale: Duration,
}

impl fmt::Debug for AuthoritySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("url", &bare_url(&self.url)).field("stale", &self.stale).finish()
    }
}

/// How the identity label of a receive request is checked against its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveIdentity {
    /// It must hold the token's cluster.
    Strict,
    /// It must be there, with any value: for delegates that send for other clusters.
    Presence,
}

/// Client credentials at an OpenID provider.
#[derive(Clone, Debug)]
pub struct Oidc {
    /// The issuer, as it names itself: a URL, compared to the letter. Its discovery document says where tokens are made.
    pub issuer: String,
    /// Our name at the provider.
    pub client_id: String,
    /// Our password at the provider.
    pub client_secret: Secret,
    /// The `audience` parameter that some providers want.
    pub audience: Option<String>,
}

/// The shared cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemcachedSettings {
    /// `host:port` each, at least one.
    pub servers: Vec<String>,
    /// How long an approval is kept: 1 s to 30 days, whole seconds.
    pub expire: Duration,
    /// How often the names are looked up again; `None`: only at start.
    pub interval: Option<Duration>,
}

/// The store that metrics are forwarded to.
#[derive(Clone)]
pub struct ForwardSettings {
    /// Takes remote write. May hold user and password.
    pub url: Url,
    /// Sent as `THANOS-TENANT`; `None`: no such header.
    pub tenant: Option<String>,
    /// Which remote write it is sent.
    pub protocol: ForwardProtocol,
    /// Whether it is sent metadata.
    pub metadata: bool,
}

impl ForwardSettings {
    /// This store, without a tenant, by remote write 1.0, without metadata.
    #[must_use]
    pub const fn new(url: Url) -> Self {
        Self { url, tenant: None, protocol: ForwardProtocol::V1, metadata: false }
    }
}

/// Which remote write the store is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardProtocol {
    /// 2.0, and 1.0 for an hour where the store shows that it does not take that.
    Auto,
    /// 1.0.
    V1,
    /// 2.0.
    V2,
}

impl fmt::Debug for ForwardSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("url", &bare_url(&self.url))
            .field("tenant", &self.tenant)
            .field("protocol", &self.protocol)
            .field("metadata", &self.metadata)
            .finish()
    }
}

/// PEM files of authorities that outbound calls trust beside the system's; read again at a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaFiles {
    /// For calls to the authority.
    pub authorize: Option<PathBuf>,
    /// For calls to the store.
    pub forward: Option<PathBuf>,
    /// For calls to the OpenID provider.
    pub oidc: Option<PathBuf>,
}

/// The bounds of the recent store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentStoreSettings {
    /// How long a sample is kept.
    pub keep: Duration,
    /// Cap on its memory, in bytes.
    pub max_bytes: usize,
}

/// What is known of each cluster, and where it is kept and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetSettings {
    /// Labels of passing series whose values are kept; at most [`telemeter_fleet::MAX_LABELS`], of distinct names.
    pub labels: Vec<FleetLabel>,
    /// How many clusters are kept.
    pub max_clusters: usize,
    /// After which time a cluster that is not heard from is forgotten.
    pub forget_after: Duration,
    /// The file that keeps it over a restart; `None`: it is not kept.
    pub file: Option<PathBuf>,
    /// How often it is sent to the store as series; `None`: not at all.
    pub metrics: Option<Duration>,
    /// The name of this replica, in these series.
    pub replica: String,
}

impl Default for FleetSettings {
    /// A million clusters, 30 days, no labels, no file, no series; the replica is named as its host.
    fn default() -> Self {
        let telemeter_fleet::RegistryConfig { max_clusters, forget_after, .. } =
            telemeter_fleet::RegistryConfig::default();
        let replica = host_name();
        Self { labels: Vec::new(), max_clusters, forget_after, file: None, metrics: None, replica }
    }
}

/// The name of this host; in a container, of the container.
fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok());
    let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    name.unwrap_or("telemeter-server").to_owned()
}

/// What may pass and how it is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSettings {
    /// Set on every series, in place of its own values: valid, distinct names, never `__name__` or the partition label.
    pub labels: Vec<(String, String)>,
    /// Required on every uploaded series; clients read them in the answer of `/authorize`. Names as in `labels`.
    pub required_labels: Vec<(String, String)>,
    /// Selectors of which one must match, trimmed and not empty.
    pub whitelist: Vec<String>,
    /// A file of more selectors, one a line; read again at a reload.
    pub whitelist_file: Option<PathBuf>,
    /// Names of labels that are dropped from every series.
    pub elide_labels: Vec<String>,
    /// How names outside the old alphabet are written for the store; `None`: as they are.
    pub escaping: Option<Escaping>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn debug_prints_no_secret() {
        let url = || Url::parse("https://hunter2:hunter2@store:1/write?key=hunter2").unwrap();
        let mut config =
            Config::new(AuthorizationMode::Authority(AuthoritySettings { url: url(), stale: Duration::ZERO }));
        config.forward = Some(ForwardSettings::new(url()));
        config.oidc = Some(Oidc {
            issuer: "https://issuer".to_owned(),
            client_id: "telemeter".to_owned(),
            client_secret: Secret::from("hunter2"),
            audience: None,
        });
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("https://store:1/write") && shown.contains("[redacted]"), "{shown}");
    }
}
