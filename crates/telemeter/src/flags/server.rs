//! The flags of `telemeter-server`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Parser;
use telemeter_auth::Secret;
use telemeter_http::listen::{Cidr, TrustedProxies};
use telemeter_http::metrics::DroppedLogLines;
use telemeter_http::tls::CertificateFiles;
use telemeter_server::config::{
    AuthoritySettings, AuthorizationMode, CaFiles, CallerLimits, Config, FleetLabel, FleetSettings, ForwardProtocol,
    ForwardSettings, InternalAccess, MAX_FLEET_LABELS, MemcachedSettings, Oidc, ReceiveIdentity, RecentStoreSettings,
    RuleSettings,
};

use super::{
    duration,
    escaping::ForwardEscaping,
    list::{self, Separation},
    shared::{AccessFlags, LogFlags, ModeFlags, TracingFlags},
    size,
    value::{self, FlagError},
};

/// Take in the metrics of a fleet of clusters, find out who sends them, and forward what may pass to a store.
#[derive(Parser, Debug)]
#[command(name = "telemeter-server", version)]
pub struct ServerFlags {
    /// Where clusters are served.
    #[arg(long, value_name = "HOST:PORT", default_value = "0.0.0.0:9003")]
    listen: String,

    /// Where health, metrics, profiles and the recent store are served. Not for the outside.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9004")]
    listen_internal: String,

    /// PEM file with the private key of the external listener. Repeated: one for each --tls-crt, in the same order.
    #[arg(long, value_name = "FILE")]
    tls_key: Vec<OsString>,

    /// PEM file with the certificate chain of the external listener. Repeated, such as ECDSA beside RSA: a client is shown one that it can check, of several the one that costs least. Without: plain HTTP.
    #[arg(long, value_name = "FILE")]
    tls_crt: Vec<OsString>,

    /// PEM file with the private key of the internal listener. Repeated: one for each --internal-tls-crt, in the same order.
    #[arg(long, value_name = "FILE")]
    internal_tls_key: Vec<OsString>,

    /// PEM file with the certificate chain of the internal listener. Repeated: as --tls-crt. Without: plain HTTP.
    #[arg(long, value_name = "FILE")]
    internal_tls_crt: Vec<OsString>,

    /// A label that every series gets before it is forwarded, over its own. Comma-separated or repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,

    /// The label that carries a cluster's ID.
    #[arg(long, value_name = "NAME", default_value = "_id")]
    partition_label: String,

    /// File with an EC or RSA private key, PEM or DER. Repeated: the first signs tokens, all verify them. Without: a P-256 key is made at start, which other replicas do not know.
    #[arg(long, value_name = "FILE")]
    shared_key: Vec<OsString>,

    /// How long a token of /authorize is good, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = clap::value_parser!(u32).range(1..))]
    token_expire_seconds: u32,

    /// Where the authority is asked whether a cluster may report.
    #[arg(long, value_name = "URL")]
    authorize: Option<String>,

    /// PEM file with authorities that --authorize is checked against, beside the system's.
    #[arg(long, value_name = "FILE", requires = "authorize")]
    authorize_ca_file: Option<OsString>,

    /// How long clusters that the authority once let in go on while it is out. 0s: not at all.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    authorize_stale: Duration,

    /// Let every cluster report as whoever it says, without an authority. For demos only.
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true",
          value_parser = value::boolean, action = clap::ArgAction::Set, hide_possible_values = true, value_name = "BOOL")]
    insecure_allow_any_cluster: bool,

    /// How the identity label of /metrics/v1/receive is held against the token: `strict`, it must be the token's cluster; `presence`, it must be there, for delegates that send for others.
    #[arg(long, value_enum, value_name = "RULE", default_value = "strict")]
    receive_identity: IdentityFlag,

    /// Where some series of a remote write are refused, store the others. The answer is 400 all the same, and names the first three refused. Without: one bad series refuses the request.
    #[arg(long)]
    partial_writes: bool,

    /// The OpenID issuer that gives us the token for calls to the authority and the store. Goes with --client-id and --client-secret.
    #[arg(long, value_name = "URL")]
    oidc_issuer: Option<String>,

    /// Our name at the OpenID issuer.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,

    /// Our password at the OpenID issuer.
    #[arg(long, value_name = "SECRET", value_parser = value::secret)]
    client_secret: Option<Secret>,

    /// The audience that some OpenID issuers want to be told.
    #[arg(long, value_name = "AUDIENCE")]
    oidc_audience: Option<String>,

    /// PEM file with authorities that --oidc-issuer is checked against, beside the system's.
    #[arg(long, value_name = "FILE", requires = "oidc_issuer")]
    oidc_ca_file: Option<OsString>,

    /// The field of the token of /metrics/v1/receive that debug log lines show as `tenant`. Only `cluster_id` can be shown; any other name is warned about and shows nothing.
    #[arg(long, value_name = "FIELD")]
    tenant_key: Option<String>,

    /// Sent to the store as THANOS-TENANT. Empty: no such header.
    #[arg(long, value_name = "TENANT", default_value = "FB870BF3-9F3A-44FF-9BF7-D7A047A52F43")]
    tenant_id: String,

    /// A memcached that replicas share what the authority said through. Comma-separated or repeated.
    #[arg(long, value_name = "HOST:PORT")]
    memcached: Vec<String>,

    /// How long memcached keeps a yes of the authority, in seconds; at most 30 days.
    #[arg(long, value_name = "SECONDS", default_value = "86400", value_parser = clap::value_parser!(u32).range(1..=2_592_000))]
    memcached_expire: u32,

    /// How often memcached names are looked up again, in seconds. 0: only at start.
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    memcached_interval: u32,

    /// The shortest time between two uploads of one cluster. 0s: no limit.
    #[arg(long, value_name = "DURATION", default_value = "4m30s", value_parser = duration::parse)]
    ratelimit: Duration,

    /// The store: where metrics are forwarded to, as Prometheus remote write.
    #[arg(long, value_name = "URL")]
    forward_url: Option<String>,

    /// The remote write that the store is sent. `auto`: 2.0, and 1.0 for an hour where the store shows that it does not take 2.0.
    #[arg(long, value_enum, value_name = "VERSION", default_value = "1.0", requires = "forward_url")]
    forward_protocol: Version,

    /// Send the store the metadata of remote write (type, help and unit), too. Without: it is left out.
    #[arg(long, requires = "forward_url")]
    forward_metadata: bool,

    /// PEM file with authorities that --forward-url is checked against, beside the system's.
    #[arg(long, value_name = "FILE", requires = "forward_url")]
    forward_ca_file: Option<OsString>,

    /// How names outside the old alphabet (letters, digits, _, and : in metric names) are written for a store that knows no other. Two series that would become one are refused.
    #[arg(long, value_name = "SCHEME", default_value = "none", value_enum)]
    forward_escaping: ForwardEscaping,

    /// Keep what was forwarded for this long in memory and show it on the internal listener. May stand in for --forward-url in a demo. Without, or 0s: keep nothing.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    recent_store: Option<Duration>,

    /// Cap on the memory of the recent store, in bytes.
    #[arg(long, value_name = "BYTES", default_value = "268435456", requires = "recent_store",
          value_parser = clap::value_parser!(u64).range(1..))]
    recent_store_max_bytes: u64,

    /// Keep the value of a label of passing series with each cluster, like version=cluster_version{type="current"}/version. Repeated, at most 8.
    #[arg(long, value_name = "NAME=SELECTOR/LABEL")]
    fleet_label: Vec<String>,

    /// How many clusters are kept in memory, about 160 bytes each. Past that, the one heard from least recently is forgotten.
    #[arg(long, value_name = "CLUSTERS", default_value = "1000000", value_parser = clap::value_parser!(u32).range(1..))]
    fleet_max_clusters: u32,

    /// File that keeps what is known of each cluster over a restart; written once a minute and at the end. Without: a restart forgets.
    #[arg(long, value_name = "FILE")]
    fleet_file: Option<OsString>,

    /// For how long a cluster that is not heard from stays listed.
    #[arg(long, value_name = "DURATION", default_value = "720h", value_parser = duration::parse)]
    fleet_forget_after: Duration,

    /// How often what is known of each cluster is sent to the store, as series named telemeter_cluster_*. 0s: not at all.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration::parse)]
    fleet_metrics: Duration,

    /// The name of this replica in those series and in the API. Without: the name of the host.
    #[arg(long, value_name = "NAME")]
    replica: Option<String>,

    /// How many lines a second are logged about refused requests, for each reason; then one line says how many more there were. 0: all.
    #[arg(long, value_name = "LINES", default_value = "20")]
    log_refusals_per_second: u32,

    /// A label that every uploaded series must have; clients are told to set it. Comma-separated or repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    required_label: Vec<String>,

    /// A selector like {__name__="up"}; series that match none are dropped. Repeated. Without any: everything passes.
    #[arg(long, value_name = "SELECTOR")]
    whitelist: Vec<String>,

    /// File with more selectors, one a line.
    #[arg(long, value_name = "FILE")]
    whitelist_file: Option<OsString>,

    /// The name of a label that is taken off every series. Repeated, once per name.
    #[arg(long, value_name = "NAME")]
    elide_label: Vec<String>,

    /// Cap on the body of an upload, in decompressed bytes; at least 1.
    #[arg(long, value_name = "BYTES", default_value = "512000", value_parser = clap::value_parser!(u64).range(1..))]
    limit_bytes: u64,

    /// Cap on the body of a remote-write request, in compressed bytes; 16 times that when decompressed. At least 1.
    #[arg(long, value_name = "BYTES", default_value = "1048576", value_parser = clap::value_parser!(u64).range(1..))]
    limit_receive_bytes: u64,

    /// The memory that the process is meant to stay under: bytes, or with KiB, MiB or GiB. Where callers make it hold too much, some get 503. Without: 75 % of the cgroup's limit, else 1GiB.
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    memory_limit: Option<usize>,

    /// How many requests of one cluster are worked on at once; more get 503. At least 1.
    #[arg(long, value_name = "COUNT", default_value = "128", value_parser = clap::value_parser!(u32).range(1..))]
    limit_concurrent_per_cluster: u32,

    /// How many connections one client address (of IPv6: one /64) may have; for one more, its quietest is closed. 0: half of all that there may be. Trusted proxies have no such limit.
    #[arg(long, value_name = "COUNT", default_value = "0")]
    limit_connections_per_peer: u32,

    /// Networks of load balancers that are believed about whose a connection or a request is, by the PROXY protocol or X-Forwarded-For. Only such as say it themselves: one that passes bytes on unchanged lets a client say what it likes. Comma-separated or repeated.
    #[arg(long, value_name = "CIDR")]
    trusted_proxies: Vec<String>,

    /// The least that a body has to arrive at after 5 s, in bytes a second; the whole has 30 s. 0: nothing.
    #[arg(long, value_name = "BYTES", default_value = "512")]
    min_body_rate: u64,

    #[command(flatten)]
    access: AccessFlags,

    #[command(flatten)]
    pub(crate) mode: ModeFlags,

    #[command(flatten)]
    pub(crate) log: LogFlags,

    #[command(flatten)]
    pub(crate) tracing: TracingFlags,
}

/// See [`ForwardProtocol`].
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Version {
    Auto,
    #[value(name = "1.0")]
    V1,
    #[value(name = "2.0")]
    V2,
}

impl From<Version> for ForwardProtocol {
    fn from(version: Version) -> Self {
        match version {
            Version::Auto => Self::Auto,
            Version::V1 => Self::V1,
            Version::V2 => Self::V2,
        }
    }
}

/// See [`ReceiveIdentity`].
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum IdentityFlag {
    Strict,
    Presence,
}

impl ServerFlags {
    /// What the log should say about flags that do less than they promise.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(key) = self.tenant_key.as_deref().filter(|key| !key.is_empty() && *key != CLUSTER_ID) {
            let why = if key == "authorization_token" { "is a secret" } else { "is no field of the token" };
            warnings.push(format!("--tenant-key shows nothing: {key:?} {why}; only {CLUSTER_ID} can be logged"));
        }
        warnings.extend(value::padded("--client-secret", &self.client_secret));
        warnings
    }

    /// What was meant.
    ///
    /// # Errors
    /// Flags that miss each other, contradict each other, or hold what cannot be.
    pub fn config(self) -> Result<Config, FlagError> {
        let partition_label = list::label_name("--partition-label", self.partition_label)?;
        if partition_label == "__name__" {
            return Err(FlagError::value("--partition-label", "cannot be __name__: it says what a series is"));
        }
        let reserved = ["__name__", partition_label.as_str()];
        let elide_labels = list::label_names("--elide-label", Separation::Repeated, &self.elide_label)?;
        if let Some(name) = elide_labels.iter().find(|name| reserved.contains(&name.as_str())) {
            return Err(FlagError::value(
                "--elide-label",
                format_args!("cannot be {name}: it says who or what a series is"),
            ));
        }
        let rules = RuleSettings {
            labels: list::label_pairs("--label", &self.label, &reserved)?,
            required_labels: list::label_pairs("--required-label", &self.required_label, &reserved)?,
            whitelist: list::selectors(&self.whitelist),
            whitelist_file: value::path(self.whitelist_file),
            elide_labels,
            escaping: self.forward_escaping.scheme(),
        };
        let authorization =
            authorization_mode(value::given(self.authorize), self.authorize_stale, self.insecure_allow_any_cluster)?;
        let forward = value::given(self.forward_url).map(|text| value::http_url("--forward-url", &text)).transpose()?;
        let max_bytes = bytes(self.recent_store_max_bytes);
        let recent_store =
            self.recent_store.filter(|keep| !keep.is_zero()).map(|keep| RecentStoreSettings { keep, max_bytes });
        if forward.is_none() && recent_store.is_none() {
            return Err(FlagError::Missing(
                "no place to put metrics: give --forward-url (the store), or --recent-store 2h to keep them in memory for a demo",
            ));
        }
        let tenant = tenant(self.tenant_id)?;
        let metrics = Some(self.fleet_metrics).filter(|every| !every.is_zero());
        if metrics.is_some() && forward.is_none() {
            return Err(FlagError::Together("--fleet-metrics goes with --forward-url: it sends series to the store"));
        }
        if metrics.is_some_and(|every| every < Duration::from_secs(1)) {
            return Err(FlagError::value("--fleet-metrics", "is at least 1s, or 0s"));
        }
        let fleet = FleetSettings {
            labels: fleet_labels(&self.fleet_label, &partition_label)?,
            max_clusters: usize::try_from(self.fleet_max_clusters).unwrap_or(usize::MAX),
            forget_after: self.fleet_forget_after,
            file: value::path(self.fleet_file),
            metrics,
            replica: value::given(self.replica).unwrap_or_else(|| FleetSettings::default().replica),
        };
        Ok(Config {
            listen: value::address("--listen", &self.listen)?,
            listen_internal: value::address("--listen-internal", &self.listen_internal)?,
            tls: certificates(
                self.tls_crt,
                self.tls_key,
                "--tls-key and --tls-crt go together, one of each for the other",
            )?,
            internal_tls: certificates(
                self.internal_tls_crt,
                self.internal_tls_key,
                "--internal-tls-key and --internal-tls-crt go together, one of each for the other",
            )?,
            shared_keys: self.shared_key.into_iter().filter(|key| !key.is_empty()).map(PathBuf::from).collect(),
            token_expire: Duration::from_secs(self.token_expire_seconds.into()),
            authorization,
            receive_identity: match self.receive_identity {
                IdentityFlag::Strict => ReceiveIdentity::Strict,
                IdentityFlag::Presence => ReceiveIdentity::Presence,
            },
            partial_writes: self.partial_writes,
            log_tenant: self.tenant_key.as_deref() == Some(CLUSTER_ID),
            oidc: oidc(self.oidc_issuer, self.client_id, self.client_secret, self.oidc_audience)?,
            memcached: memcached(&self.memcached, self.memcached_expire, self.memcached_interval)?,
            ratelimit: Some(self.ratelimit).filter(|every| !every.is_zero()),
            forward: forward.map(|url| ForwardSettings {
                url,
                tenant,
                protocol: self.forward_protocol.into(),
                metadata: self.forward_metadata,
            }),
            ca_files: CaFiles {
                authorize: value::path(self.authorize_ca_file),
                forward: value::path(self.forward_ca_file),
                oidc: value::path(self.oidc_ca_file),
            },
            recent_store,
            fleet,
            log_refusals_per_second: self.log_refusals_per_second,
            rules,
            limit_bytes: bytes(self.limit_bytes),
            limit_receive_bytes: bytes(self.limit_receive_bytes),
            dropped_log_lines: DroppedLogLines::default(),
            limits: CallerLimits {
                memory_bytes: self.memory_limit,
                concurrent_per_cluster: self.limit_concurrent_per_cluster as usize,
                connections_per_peer: self.limit_connections_per_peer as usize,
                trusted_proxies: trusted_proxies(&self.trusted_proxies)?,
                min_body_rate: self.min_body_rate,
            },
            internal_access: InternalAccess {
                allowed_hosts: self.access.allowed_hosts()?,
                token_file: self.access.token_file(),
            },
            revision: "unknown",
            verbose: self.log.verbose,
            partition_label,
        })
    }
}

/// The one field of a composite token that is no secret.
const CLUSTER_ID: &str = "cluster_id";

/// Each of another name, and of none that stands on our series already.
fn fleet_labels(texts: &[String], partition_label: &str) -> Result<Vec<FleetLabel>, FlagError> {
    let flag = "--fleet-label";
    let mut labels: Vec<FleetLabel> = Vec::new();
    for text in texts.iter().filter(|text| !text.trim().is_empty()) {
        let label = FleetLabel::parse(text)
            .map_err(|problem| FlagError::value(flag, format_args!("has {}, which {problem}", value::shown(text))))?;
        let name = label.name();
        if name == partition_label || ["client_version", "reason", "replica", "route"].contains(&name) {
            return Err(FlagError::value(
                flag,
                format_args!("cannot be named {name}: our series have a label of this name"),
            ));
        }
        if labels.iter().any(|other| other.name() == name) {
            return Err(FlagError::value(flag, format_args!("names {name} twice")));
        }
        labels.push(label);
    }
    if labels.len() > MAX_FLEET_LABELS {
        return Err(FlagError::value(
            flag,
            format_args!("is given {} times: at most {MAX_FLEET_LABELS}", labels.len()),
        ));
    }
    Ok(labels)
}

fn authorization_mode(authorize: Option<String>, stale: Duration, any: bool) -> Result<AuthorizationMode, FlagError> {
    match (authorize, any) {
        (Some(text), false) => {
            Ok(AuthorizationMode::Authority(AuthoritySettings { url: value::http_url("--authorize", &text)?, stale }))
        }
        (None, true) => Ok(AuthorizationMode::AnyCluster),
        (Some(_), true) => Err(FlagError::Together("--authorize and --insecure-allow-any-cluster exclude each other")),
        (None, false) => Err(FlagError::Missing(
            "nobody to ask who may report: give --authorize URL, or for a demo --insecure-allow-any-cluster",
        )),
    }
}

fn oidc(
    issuer: Option<String>,
    id: Option<String>,
    secret: Option<Secret>,
    audience: Option<String>,
) -> Result<Option<Oidc>, FlagError> {
    let secret = secret.filter(|secret| !secret.expose().is_empty());
    match (value::given(issuer), value::given(id), secret, value::given(audience)) {
        (None, None, None, None) => Ok(None),
        (Some(issuer), Some(client_id), Some(client_secret), audience) => {
            let url = value::http_url("--oidc-issuer", &issuer)?;
            if !url.username().is_empty() || url.password().is_some() {
                return Err(FlagError::value("--oidc-issuer", "must hold no user and no password"));
            }
            Ok(Some(Oidc { issuer, client_id, client_secret, audience }))
        }
        _ => Err(FlagError::Together(
            "--oidc-issuer, --client-id and --client-secret go together, and --oidc-audience only goes with them",
        )),
    }
}

fn memcached(servers: &[String], expire: u32, interval: u32) -> Result<Option<MemcachedSettings>, FlagError> {
    let servers = list::servers("--memcached", servers)?;
    Ok((!servers.is_empty()).then(|| MemcachedSettings {
        servers,
        expire: Duration::from_secs(expire.into()),
        interval: Some(Duration::from_secs(interval.into())).filter(|every| !every.is_zero()),
    }))
}

fn trusted_proxies(networks: &[String]) -> Result<TrustedProxies, FlagError> {
    let network = |text: &str| text.parse::<Cidr>().map_err(|problem| format!("which {problem}"));
    Ok(list::checked("--trusted-proxies", networks, network)?.into())
}

fn tenant(text: String) -> Result<Option<String>, FlagError> {
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(FlagError::value("--tenant-id", "cannot stand in a header: printable ASCII only"));
    }
    Ok(value::given(Some(text)))
}

/// The first certificate with the first key, and so on. An empty value is none.
fn certificates(
    cert_files: Vec<OsString>,
    key_files: Vec<OsString>,
    rule: &'static str,
) -> Result<Vec<CertificateFiles>, FlagError> {
    let given = |files: Vec<OsString>| files.into_iter().filter_map(|file| value::path(Some(file))).collect::<Vec<_>>();
    let (cert_files, key_files) = (given(cert_files), given(key_files));
    if cert_files.len() != key_files.len() {
        return Err(FlagError::Together(rule));
    }
    let both = cert_files.into_iter().zip(key_files);
    Ok(both.map(|(cert_file, key_file)| CertificateFiles { cert_file, key_file }).collect())
}

/// A cap of more bytes than the machine can address is no cap.
fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
