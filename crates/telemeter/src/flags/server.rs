//! The flags of `telemeter-server`.

mod config;

use std::{ffi::OsString, time::Duration};

use clap::Parser;
use telemeter_auth::Secret;

use super::{
    duration,
    escaping::ForwardEscaping,
    shared::{AccessFlags, LogFlags, ModeFlags, TracingFlags},
    size, value,
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

    /// How long clusters that the authority once approved may report while it is unavailable. 0s: not at all.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration::parse)]
    authorize_stale: Duration,

    /// Let every cluster report under any ID, without an authority. For demos only.
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

    /// How long memcached keeps an approval of the authority, in seconds; at most 30 days.
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
    forward_protocol: ForwardProtocolFlag,

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

/// [`telemeter_server::config::ReceiveIdentity`], as a flag names it.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum IdentityFlag {
    Strict,
    Presence,
}

/// [`telemeter_server::config::ForwardProtocol`], as a flag names it.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum ForwardProtocolFlag {
    Auto,
    #[value(name = "1.0")]
    V1,
    #[value(name = "2.0")]
    V2,
}

/// The one field of a composite token that is no secret.
const CLUSTER_ID: &str = "cluster_id";

impl ServerFlags {
    /// Warnings for the log, about flags without the effect that they seem to have.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(key) = self.tenant_key.as_deref().filter(|key| !key.is_empty() && *key != CLUSTER_ID) {
            let why = if key == "authorization_token" { "is a secret" } else { "is no field of the token" };
            warnings.push(format!("--tenant-key shows nothing: {key:?} {why}; only {CLUSTER_ID} can be logged"));
        }
        warnings.extend(value::padding_warning("--client-secret", &self.client_secret));
        warnings
    }
}
