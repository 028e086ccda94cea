//! From the server's flags to its `Config`: URLs parsed, pairs split, flags that need or exclude each other checked.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use telemeter_auth::Secret;
use telemeter_http::{
    listen::{Cidr, TrustedProxies},
    metrics::DroppedLogLines,
    tls::CertificateFiles,
};
use telemeter_server::config::{
    AuthoritySettings, AuthorizationMode, CaFiles, CallerLimits, Config, FleetLabel, FleetSettings, ForwardProtocol,
    ForwardSettings, InternalAccess, MAX_FLEET_LABELS, MemcachedSettings, Oidc, ReceiveIdentity, RecentStoreSettings,
    RuleSettings,
};

use super::{CLUSTER_ID, ForwardProtocolFlag, IdentityFlag, ServerFlags};
use crate::flags::{
    list::{self, Separation},
    value::{self, FlagError},
};

impl ServerFlags {
    /// The configuration of the server.
    ///
    /// # Errors
    /// A flag that another one requires is missing, two flags contradict each other, or a value is invalid.
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
        let authorization = authorization_mode(
            value::unless_empty(self.authorize),
            self.authorize_stale,
            self.insecure_allow_any_cluster,
        )?;
        let forward =
            value::unless_empty(self.forward_url).map(|text| value::http_url("--forward-url", &text)).transpose()?;
        let max_bytes = bytes(self.recent_store_max_bytes);
        let recent_store =
            self.recent_store.filter(|keep| !keep.is_zero()).map(|keep| RecentStoreSettings { keep, max_bytes });
        if forward.is_none() && recent_store.is_none() {
            return Err(FlagError::Missing(
                "no place to put metrics: give --forward-url (the store), or --recent-store 2h to keep them in memory for a demo",
            ));
        }
        let tenant = tenant_id(self.tenant_id)?;
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
            replica: value::unless_empty(self.replica).unwrap_or_else(|| FleetSettings::default().replica),
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
            oidc: oidc_config(self.oidc_issuer, self.client_id, self.client_secret, self.oidc_audience)?,
            memcached: memcached_settings(&self.memcached, self.memcached_expire, self.memcached_interval)?,
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

impl From<ForwardProtocolFlag> for ForwardProtocol {
    fn from(flag: ForwardProtocolFlag) -> Self {
        match flag {
            ForwardProtocolFlag::Auto => Self::Auto,
            ForwardProtocolFlag::V1 => Self::V1,
            ForwardProtocolFlag::V2 => Self::V2,
        }
    }
}

/// The labels of --fleet-label: at most [`MAX_FLEET_LABELS`], of distinct names, none of which our own series have.
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

/// How tokens are authorized: by the authority at the URL `authorize`, or, with `any`, by nobody. Exactly one of them
/// has to be given. `stale` is how long an approval is used after it has expired while the authority is unavailable.
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

/// The settings of OpenID Connect; `None` where none of the flags has a value. An empty value counts as none.
///
/// # Errors
/// Issuer, ID and secret are not all given, an audience is given without them, or the issuer is not an `http` or
/// `https` URL without a user and a password.
fn oidc_config(
    issuer: Option<String>,
    id: Option<String>,
    secret: Option<Secret>,
    audience: Option<String>,
) -> Result<Option<Oidc>, FlagError> {
    let secret = secret.filter(|secret| !secret.expose().is_empty());
    match (value::unless_empty(issuer), value::unless_empty(id), secret, value::unless_empty(audience)) {
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

/// The settings of memcached; `None` where there are no servers. `expire` and `interval` are in seconds; an interval of
/// 0 means that names are not looked up again.
fn memcached_settings(servers: &[String], expire: u32, interval: u32) -> Result<Option<MemcachedSettings>, FlagError> {
    let servers = list::servers("--memcached", servers)?;
    Ok((!servers.is_empty()).then(|| MemcachedSettings {
        servers,
        expire: Duration::from_secs(expire.into()),
        interval: Some(Duration::from_secs(interval.into())).filter(|every| !every.is_zero()),
    }))
}

/// Parses the networks of `--trusted-proxies`, each an address or a CIDR; the error names the flag and the problem.
fn trusted_proxies(networks: &[String]) -> Result<TrustedProxies, FlagError> {
    let network = |text: &str| text.parse::<Cidr>().map_err(|problem| format!("which {problem}"));
    Ok(list::parse_with_check("--trusted-proxies", networks, network)?.into())
}

/// The tenant; `None` where the text is empty. A character that no header can hold is an error.
fn tenant_id(text: String) -> Result<Option<String>, FlagError> {
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(FlagError::value("--tenant-id", "cannot stand in a header: printable ASCII only"));
    }
    Ok(value::unless_empty(Some(text)))
}

/// Pairs the first certificate with the first key, and so on. Empty values are left out.
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

/// A number of bytes as `usize`; more than the machine can address become the largest.
fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
