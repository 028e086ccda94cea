#![allow(clippy::unwrap_used)]
use std::{collections::BTreeSet, path::Path, time::Duration};

use telemeter_benchmark::config::Tokens;
use telemeter_client::config::Credential;
use telemeter_http::tls::CertificateFiles;
use telemeter_server::config::{
    AuthorizationMode, FleetLabel, ForwardProtocol, MemcachedSettings, ReceiveIdentity, RecentStoreSettings,
};
use telemeter_wire::exposition::Escaping;

use super::*;
use crate::{
    commands,
    flags::{authority::AuthorizationServerConfig, quickstart::QuickstartStore},
    logs::{Level, LogFormat},
};

const SERVER: &[&str] = &["--authorize=http://authority/", "--forward-url=http://store/write"];
const CLIENT: &[&str] = &["--from=http://prometheus:9090", "--to=https://server/", "--to-token=t", "--id=i"];
const BENCHMARK: &[&str] = &["--to=https://server", "--to-token=t", "--metrics-file=m"];

fn argv<'a>(base: &'a [&'a str], more: &'a [&'a str]) -> impl Iterator<Item = OsString> + 'a {
    std::iter::once("program").chain(base.iter().copied()).chain(more.iter().copied()).map(OsString::from)
}

fn parsed<T>(program: Program, base: &[&str], more: &[&str], pick: fn(ProgramFlags) -> Option<T>) -> T {
    let flags =
        ProgramFlags::parse(Some(program), argv(base, more)).unwrap_or_else(|error| panic!("{more:?}: {error}"));
    pick(flags).unwrap()
}

fn server_flags(base: &[&str], more: &[&str]) -> ServerFlags {
    parsed(
        Program::Server,
        base,
        more,
        |flags| if let ProgramFlags::Server(flags) = flags { Some(*flags) } else { None },
    )
}

fn server(more: &[&str]) -> telemeter_server::Config {
    server_flags(SERVER, more).config().unwrap_or_else(|error| panic!("{more:?}: {error}"))
}

fn client_flags(base: &[&str], more: &[&str]) -> ClientFlags {
    parsed(
        Program::Client,
        base,
        more,
        |flags| if let ProgramFlags::Client(flags) = flags { Some(*flags) } else { None },
    )
}

fn client(more: &[&str]) -> telemeter_client::Config {
    client_flags(CLIENT, more).config().unwrap_or_else(|error| panic!("{more:?}: {error}"))
}

fn benchmark(base: &[&str], more: &[&str]) -> Result<telemeter_benchmark::Config, FlagError> {
    let pick = |flags| if let ProgramFlags::Benchmark(flags) = flags { Some(*flags) } else { None };
    parsed(Program::Benchmark, base, more, pick).config()
}

fn quickstart(more: &[&str]) -> Result<quickstart::QuickstartConfig, FlagError> {
    let pick = |flags| if let ProgramFlags::Quickstart(flags) = flags { Some(*flags) } else { None };
    parsed(Program::Quickstart, &[], more, pick).config()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn secret(credential: &Credential) -> &str {
    match credential {
        Credential::Value(secret) => secret.expose(),
        Credential::File(_) => panic!("a file, not a value"),
    }
}

fn file(credential: &Credential) -> &Path {
    match credential {
        Credential::File(path) => path,
        Credential::Value(_) => panic!("a value, not a file"),
    }
}

/// A flag, what is typed beside the least a program needs, and whether that landed where it belongs.
type Landing<C> = (&'static str, &'static [&'static str], fn(&C) -> bool);

/// An argument with white space around its value, but for a secret's.
fn padded(secrets: &BTreeSet<String>, argument: &str) -> String {
    match argument.strip_prefix("--").and_then(|flag| flag.split_once('=')) {
        Some((name, _)) if secrets.contains(name) => argument.to_owned(),
        Some((name, value)) => format!("--{name}= \n{value}\t\r\n"),
        None if argument.starts_with('-') => argument.to_owned(),
        None => format!("\n {argument} "),
    }
}

/// Runs a table, also with white space around the values, and holds it against the program: each flag of a program
/// stands in it.
fn land<C>(program: Program, table: &[Landing<C>], config: impl Fn(&[&str]) -> C) {
    let secrets = argv::secrets(&program.command());
    for (flag, typed, check) in table {
        assert!(check(&config(typed)), "--{flag}: {typed:?}");
        assert!(!check(&config(&[])), "--{flag}: the check passes without it");
        let padded: Vec<String> = typed.iter().map(|argument| padded(&secrets, argument)).collect();
        let padded: Vec<&str> = padded.iter().map(String::as_str).collect();
        assert!(check(&config(&padded)), "--{flag}: {padded:?}");
    }
    let shared = ["log-level", "log-format", "verbose", "dry-run", "help", "version"];
    let told = |name: &str| table.iter().any(|(flag, ..)| *flag == name);
    let command = program.command();
    let missing: BTreeSet<_> = command
        .get_arguments()
        .filter_map(|arg| arg.get_long())
        .filter(|&name| !told(name) && !shared.contains(&name) && !name.starts_with("internal.tracing."))
        .collect();
    assert!(missing.is_empty(), "flags without a test: {missing:?}");
}

fn certificate(cert_file: &str, key_file: &str) -> CertificateFiles {
    CertificateFiles { cert_file: cert_file.into(), key_file: key_file.into() }
}

#[test]
fn each_flag_of_the_server_lands() {
    let oidc = &["--oidc-issuer=https://i/", "--client-id=me", "--client-secret=-s", "--oidc-audience=a"];
    let table: &[Landing<telemeter_server::Config>] = &[
        ("listen", &["--listen", ":1"], |c| c.listen == ":1"),
        ("listen-internal", &["--listen-internal=[::1]:2"], |c| c.listen_internal == "[::1]:2"),
        ("tls-key", &["--tls-key=k", "--tls-crt=c", "--tls-crt=d", "--tls-key=l"], |c| {
            c.tls == [certificate("c", "k"), certificate("d", "l")]
        }),
        ("tls-crt", &["--tls-key=k", "--tls-crt=c", "--tls-crt=", "--tls-key="], |c| {
            c.tls == [certificate("c", "k")] && c.internal_tls.is_empty()
        }),
        ("internal-tls-key", &["--internal-tls-key=k", "--internal-tls-crt=c"], |c| {
            c.internal_tls == [certificate("c", "k")]
        }),
        ("internal-tls-crt", &["--internal-tls-key=k", "--internal-tls-crt=c"], |c| {
            c.internal_tls.len() == 1 && c.tls.is_empty()
        }),
        ("label", &["--label=a=1,b=x=y", "--label", "c="], |c| {
            c.rules.labels == pairs(&[("a", "1"), ("b", "x=y"), ("c", "")])
        }),
        ("partition-label", &["--partition-label=cluster"], |c| c.partition_label == "cluster"),
        ("shared-key", &["--shared-key=a,b", "--shared-key=c"], |c| {
            c.shared_keys == [Path::new("a,b"), Path::new("c")]
        }),
        ("token-expire-seconds", &["--token-expire-seconds=60"], |c| c.token_expire == Duration::from_secs(60)),
        (
            "authorize",
            &["--authorize=https://u:p@other/authority"],
            |c| matches!(&c.authorization, AuthorizationMode::Authority(a) if a.url.as_str() == "https://u:p@other/authority"),
        ),
        ("authorize-ca-file", &["--authorize-ca-file=a"], |c| c.ca_files.authorize.as_deref() == Some(Path::new("a"))),
        ("forward-ca-file", &["--forward-ca-file=f"], |c| c.ca_files.forward.as_deref() == Some(Path::new("f"))),
        ("oidc-ca-file", &["--oidc-ca-file=o", "--oidc-issuer=http://i/", "--client-id=i", "--client-secret=s"], |c| {
            c.ca_files.oidc.as_deref() == Some(Path::new("o"))
        }),
        (
            "authorize-stale",
            &["--authorize-stale=5m"],
            |c| matches!(&c.authorization, AuthorizationMode::Authority(a) if a.stale == Duration::from_secs(300)),
        ),
        ("insecure-allow-any-cluster", &["--authorize=", "--insecure-allow-any-cluster"], |c| {
            matches!(c.authorization, AuthorizationMode::AnyCluster)
        }),
        ("receive-identity", &["--receive-identity=presence"], |c| c.receive_identity == ReceiveIdentity::Presence),
        ("partial-writes", &["--partial-writes"], |c| c.partial_writes),
        ("oidc-issuer", oidc, |c| c.oidc.as_ref().is_some_and(|o| o.issuer == "https://i/")),
        ("client-id", oidc, |c| c.oidc.as_ref().is_some_and(|o| o.client_id == "me")),
        ("client-secret", oidc, |c| c.oidc.as_ref().is_some_and(|o| o.client_secret.expose() == "-s")),
        ("oidc-audience", oidc, |c| c.oidc.as_ref().is_some_and(|o| o.audience.as_deref() == Some("a"))),
        ("tenant-key", &["--tenant-key=cluster_id"], |c| c.log_tenant),
        ("tenant-id", &["--tenant-id=T 1"], |c| c.forward.as_ref().unwrap().tenant.as_deref() == Some("T 1")),
        ("tenant-id", &["--tenant-id="], |c| c.forward.as_ref().unwrap().tenant.is_none()),
        ("memcached", &["--memcached=a:1,b:2", "--memcached=c:3"], |c| {
            c.memcached.as_ref().is_some_and(|m| m.servers == ["a:1", "b:2", "c:3"])
        }),
        ("memcached-expire", &["--memcached=a:1", "--memcached-expire=5"], |c| {
            c.memcached.as_ref().is_some_and(|m| m.expire == Duration::from_secs(5))
        }),
        ("memcached-interval", &["--memcached=a:1", "--memcached-interval=0"], |c| {
            c.memcached.as_ref().is_some_and(|m| m.interval.is_none())
        }),
        ("ratelimit", &["--ratelimit=1h30m"], |c| c.ratelimit == Some(Duration::from_secs(5_400))),
        ("ratelimit", &["--ratelimit", "0s"], |c| c.ratelimit.is_none()),
        ("forward-url", &["--forward-url=http://u:p@other/api?x=y"], |c| {
            c.forward.as_ref().unwrap().url.as_str() == "http://u:p@other/api?x=y"
        }),
        ("forward-protocol", &["--forward-protocol=2.0"], |c| {
            c.forward.as_ref().unwrap().protocol == ForwardProtocol::V2
        }),
        ("forward-metadata", &["--forward-metadata"], |c| c.forward.as_ref().unwrap().metadata),
        ("forward-protocol", &["--forward-protocol=auto"], |c| {
            c.forward.as_ref().unwrap().protocol == ForwardProtocol::Auto
        }),
        ("recent-store", &["--recent-store=2h"], |c| {
            c.recent_store == Some(RecentStoreSettings { keep: Duration::from_secs(7_200), max_bytes: 256 << 20 })
        }),
        ("recent-store", &["--recent-store=2h", "--forward-url="], |c| c.forward.is_none()),
        ("recent-store-max-bytes", &["--recent-store=2h", "--recent-store-max-bytes=9"], |c| {
            c.recent_store.as_ref().is_some_and(|r| r.max_bytes == 9)
        }),
        (
            "fleet-label",
            &["--fleet-label=version=cluster_version{a=\"b,c/d\"}/version", "--fleet-label", "p=m/type"],
            |c| c.fleet.labels.iter().map(FleetLabel::name).eq(["version", "p"]),
        ),
        ("fleet-max-clusters", &["--fleet-max-clusters=7"], |c| c.fleet.max_clusters == 7),
        ("fleet-file", &["--fleet-file=f"], |c| c.fleet.file.as_deref() == Some(Path::new("f"))),
        ("fleet-forget-after", &["--fleet-forget-after=1h"], |c| c.fleet.forget_after == Duration::from_secs(3600)),
        ("fleet-metrics", &["--fleet-metrics=5m"], |c| c.fleet.metrics == Some(Duration::from_secs(300))),
        ("replica", &["--replica=r-1"], |c| c.fleet.replica == "r-1"),
        ("log-refusals-per-second", &["--log-refusals-per-second=0"], |c| c.log_refusals_per_second == 0),
        ("required-label", &["--required-label=a=1,b=2"], |c| {
            c.rules.required_labels == pairs(&[("a", "1"), ("b", "2")])
        }),
        ("whitelist", &[r#"--whitelist= {a="1",b="2"} "#, "--whitelist", " ", "--whitelist=up"], |c| {
            c.rules.whitelist == [r#"{a="1",b="2"}"#, "up"]
        }),
        ("whitelist-file", &["--whitelist-file=w"], |c| c.rules.whitelist_file.as_deref() == Some(Path::new("w"))),
        ("forward-escaping", &["--forward-escaping=dots"], |c| c.rules.escaping == Some(Escaping::Dots)),
        ("elide-label", &["--elide-label=a", r#"--elide-label="b,c""#], |c| c.rules.elide_labels == ["a", "b,c"]),
        ("limit-bytes", &["--limit-bytes=7"], |c| c.limit_bytes == 7),
        ("limit-receive-bytes", &["--limit-receive-bytes=8"], |c| c.limit_receive_bytes == 8),
        ("memory-limit", &["--memory-limit=512MiB"], |c| c.limits.memory_bytes == Some(512 << 20)),
        ("limit-concurrent-per-cluster", &["--limit-concurrent-per-cluster=9"], |c| {
            c.limits.concurrent_per_cluster == 9
        }),
        ("limit-connections-per-peer", &["--limit-connections-per-peer=10"], |c| c.limits.connections_per_peer == 10),
        ("trusted-proxies", &["--trusted-proxies=10.0.0.0/8,::1", "--trusted-proxies=1.2.3.4"], |c| {
            ["10.1.1.1", "::1", "1.2.3.4"].iter().all(|ip| c.limits.trusted_proxies.contains(ip.parse().unwrap()))
        }),
        ("min-body-rate", &["--min-body-rate=0"], |c| c.limits.min_body_rate == 0),
        ("internal-allowed-hosts", &["--internal-allowed-hosts=a.svc,[::1]", "--internal-allowed-hosts=b"], |c| {
            c.internal_access.allowed_hosts == ["a.svc", "[::1]", "b"]
        }),
        ("internal-token-file", &["--internal-token-file=t"], |c| {
            c.internal_access.token_file.as_deref() == Some(Path::new("t"))
        }),
        ("verbose", &["-v"], |c| c.verbose),
    ];
    land(Program::Server, table, server);
}

#[test]
fn each_flag_of_the_client_lands() {
    let table: &[Landing<telemeter_client::Config>] = &[
        ("listen", &["--listen=:1"], |c| c.listen.as_deref() == Some(":1")),
        ("listen", &["--listen="], |c| c.listen.is_none()),
        ("internal-allowed-hosts", &["--internal-allowed-hosts=a.svc"], |c| c.internal_allowed_hosts == ["a.svc"]),
        ("internal-token-file", &["--internal-token-file=t"], |c| {
            c.internal_token_file.as_deref() == Some(Path::new("t"))
        }),
        ("from", &["--from=https://p/x/federate/?a=b"], |c| c.from.url.as_str() == "https://p/x/federate?a=b"),
        ("from-ca-file", &["--from-ca-file=ca"], |c| c.from.ca_file.as_deref() == Some(Path::new("ca"))),
        ("to-ca-file", &["--to-ca-file=ca"], |c| c.to.ca_file.as_deref() == Some(Path::new("ca"))),
        ("from-token", &["--from-token", "-x"], |c| c.from.token.as_ref().map(secret) == Some("-x")),
        ("from-token-file", &["--from-token-file=f"], |c| c.from.token.as_ref().map(file) == Some(Path::new("f"))),
        ("tls-cert-file", &["--tls-cert-file=c", "--tls-private-key-file=k"], |c| {
            c.from.identity.as_ref().is_some_and(|i| i.cert_file == Path::new("c"))
        }),
        ("tls-private-key-file", &["--tls-cert-file=c", "--tls-private-key-file=k"], |c| {
            c.from.identity.as_ref().is_some_and(|i| i.key_file == Path::new("k"))
        }),
        ("id", &["--id=a b&c"], |c| c.id == "a b&c" && c.to.authorize.query() == Some("id=a+b%26c")),
        ("to", &["--to=http://h/base/?k=v"], |c| {
            c.to.authorize.as_str() == "http://h/base/authorize?k=v&id=i"
                && c.to.upload.as_str() == "http://h/base/upload?k=v"
        }),
        ("to-upload", &["--to-upload=http://u/x"], |c| c.to.upload.as_str() == "http://u/x"),
        ("to-auth", &["--to-auth=http://a/x?id=i"], |c| c.to.authorize.as_str() == "http://a/x?id=i"),
        ("to-token", &["--to-token=other"], |c| secret(&c.to.token) == "other"),
        (
            "to-token-file",
            &["--to-token=", "--to-token-file=f"],
            |c| matches!(&c.to.token, Credential::File(path) if path == Path::new("f")),
        ),
        ("interval", &["--interval=30s"], |c| c.interval == Duration::from_secs(30)),
        ("limit-bytes", &["--limit-bytes=5242880"], |c| c.limit_bytes == 5_242_880),
        ("match", &[r#"--match={a="1",b="2"}"#, "--match", "up"], |c| c.matches == [r#"{a="1",b="2"}"#, "up"]),
        ("match-file", &["--match-file=m"], |c| {
            c.matches == [r#"{__name__="up"}"#] && c.match_file.as_deref() == Some(Path::new("m"))
        }),
        ("match-file", &["--match-file=m", "--match=x"], |c| c.matches == ["x"] && c.match_file.is_some()),
        ("label", &["--label=a=1", r#"--label="b=2,3""#], |c| c.labels == pairs(&[("a", "1"), ("b", "2,3")])),
        ("rename", &["--rename=a=b,c=d"], |c| c.renames == pairs(&[("a", "b"), ("c", "d")])),
        ("rename", &["--rename=,"], |c| c.renames.is_empty()),
        ("anonymize-labels", &["--anonymize-labels=a,b", "--anonymize-salt=s"], |c| {
            c.anonymize.as_ref().is_some_and(|a| a.labels == ["a", "b"])
        }),
        ("anonymize-salt", &["--anonymize-labels=a", "--anonymize-salt=s"], |c| {
            c.anonymize.as_ref().is_some_and(|a| secret(&a.salt) == "s")
        }),
        ("anonymize-salt-file", &["--anonymize-labels=a", "--anonymize-salt-file=f"], |c| {
            c.anonymize.as_ref().is_some_and(|a| file(&a.salt) == Path::new("f"))
        }),
        ("verbose", &["--verbose"], |c| c.verbose),
    ];
    land(Program::Client, table, client);
}

fn fleet(config: &telemeter_benchmark::Config) -> Option<&telemeter_benchmark::config::SimulatedFleet> {
    config.fleet.as_ref()
}

#[test]
fn each_flag_of_the_benchmark_lands() {
    let table: &[Landing<telemeter_benchmark::Config>] = &[
        ("to", &["--to=http://h/base"], |c| {
            c.to.authorize.as_str() == "http://h/base/authorize" && c.to.upload.as_str() == "http://h/base/upload"
        }),
        ("to-upload", &["--to-upload=http://u/x"], |c| c.to.upload.as_str() == "http://u/x"),
        ("to-auth", &["--to-auth=http://a/x"], |c| c.to.authorize.as_str() == "http://a/x"),
        ("to-ca-file", &["--to-ca-file=ca"], |c| c.to.ca_file.as_deref() == Some(Path::new("ca"))),
        ("to-token", &["--to-token=other"], |c| secret(&c.to.token) == "other"),
        ("to-token-file", &["--to-token=", "--to-token-file=f"], |c| matches!(c.to.token, Credential::File(_))),
        ("metrics-file", &["--metrics-file=other"], |c| c.metrics_file == Path::new("other")),
        ("interval", &["--interval=1s"], |c| c.interval == Duration::from_secs(1)),
        ("listen", &["--listen="], |c| c.listen.is_none()),
        ("workers", &["--workers=3"], |c| c.workers == 3),
        ("once", &["--once"], |c| c.once),
        ("clusters", &["--clusters=7", "--authorize-all"], |c| fleet(c).is_some_and(|f| f.clusters == 7)),
        ("duration", &["--clusters=7", "--authorize-all", "--duration=7s"], |c| {
            fleet(c).is_some_and(|f| f.duration == Duration::from_secs(7))
        }),
        ("shared-key", &["--clusters=7", "--to-token=", "--shared-key=k"], |c| {
            fleet(c).is_some_and(|f| f.tokens == Tokens::Minted("k".into())) && secret(&c.to.token).is_empty()
        }),
        ("authorize-all", &["--clusters=7", "--authorize-all"], |c| {
            fleet(c).is_some_and(|f| f.tokens == Tokens::Exchanged) && secret(&c.to.token) == "t"
        }),
        ("connections", &["--clusters=7", "--authorize-all", "--connections=3"], |c| {
            fleet(c).is_some_and(|f| f.connections == 3)
        }),
        ("tls", &["--to=http://s:1", "--tls"], |c| {
            c.to.upload.as_str() == "https://s:1/upload" && c.to.authorize.as_str().starts_with("https://s:1/")
        }),
        ("reconnect", &["--clusters=7", "--authorize-all", "--reconnect"], |c| {
            fleet(c).is_some_and(|f| f.reconnects && !f.resumes)
        }),
        ("resume", &["--clusters=7", "--authorize-all", "--reconnect", "--resume"], |c| {
            fleet(c).is_some_and(|f| f.reconnects && f.resumes)
        }),
        ("report-svg", &["--clusters=7", "--authorize-all", "--report-svg=s"], |c| {
            fleet(c).is_some_and(|f| f.report_svg.as_deref() == Some(Path::new("s")))
        }),
        ("report-json", &["--clusters=7", "--authorize-all", "--report-json=j"], |c| {
            fleet(c).is_some_and(|f| f.report_json.as_deref() == Some(Path::new("j")))
        }),
        ("server-pid", &["--clusters=7", "--authorize-all", "--server-pid=3"], |c| {
            fleet(c).is_some_and(|f| f.server_pid == Some(3))
        }),
    ];
    land(Program::Benchmark, table, |more| benchmark(BENCHMARK, more).unwrap());
}

#[test]
fn each_flag_of_the_quickstart_lands() {
    let table: &[Landing<quickstart::QuickstartConfig>] = &[
        ("from", &["--from=http://p:9090"], |c| {
            c.from.as_ref().is_some_and(|f| f.url.as_str() == "http://p:9090/federate")
        }),
        ("from-ca-file", &["--from=http://p", "--from-ca-file=ca"], |c| {
            c.from.as_ref().is_some_and(|f| f.ca_file.as_deref() == Some(Path::new("ca")))
        }),
        ("from-token-file", &["--from=http://p", "--from-token-file=f"], |c| {
            c.from.as_ref().is_some_and(|f| f.token.as_ref().map(file) == Some(Path::new("f")))
        }),
        ("match", &["--match=up"], |c| c.matches == ["up"]),
        ("match-file", &["--match-file=f"], |c| {
            c.matches.is_empty() && c.match_file.as_deref() == Some(Path::new("f"))
        }),
        ("label", &["--label=a=b"], |c| c.labels == pairs(&[("a", "b")])),
        ("rename", &["--rename=x=y"], |c| c.renames == pairs(&[("x", "y")])),
        ("anonymize-labels", &["--anonymize-labels=instance,node"], |c| c.anonymize_labels == ["instance", "node"]),
        ("data-dir", &["--data-dir=d"], |c| c.data_dir.as_deref() == Some(Path::new("d"))),
        (
            "forward-url",
            &["--forward-url=http://s/w"],
            |c| matches!(&c.store, QuickstartStore::Url(u) if u.path() == "/w"),
        ),
        ("prometheus", &["--prometheus=p"], |c| c.store == QuickstartStore::Prometheus("p".into())),
        ("prometheus", &["--prometheus="], |c| c.store == QuickstartStore::None),
        ("clusters", &["--clusters=50"], |c| c.clusters == 50),
        ("interval", &["--interval=1s"], |c| c.interval == Duration::from_secs(1)),
        ("listen", &["--listen=:1"], |c| c.listen == ":1"),
        ("listen-internal", &["--listen-internal=:2"], |c| c.listen_internal == ":2"),
        ("listen-client", &["--listen-client=:3"], |c| c.listen_client == ":3"),
        ("listen-authority", &["--listen-authority=:4"], |c| c.listen_authority == ":4"),
        ("verbose", &["-v"], |c| c.verbose),
    ];
    land(Program::Quickstart, table, |more| quickstart(more).unwrap());
    assert!(quickstart(&["--interval=0s"]).is_err());
    assert!(quickstart(&["--anonymize-labels=__name__"]).is_err());
}

#[test]
fn the_authority_has_an_address_and_a_file() {
    let pick = |flags| if let ProgramFlags::AuthorizationServer(flags) = flags { Some(*flags) } else { None };
    let config = parsed(Program::AuthorizationServer, &["localhost:9001", "t.json"], &[], pick).config();
    let expected = Ok(AuthorizationServerConfig { listen: "localhost:9001".into(), tokens_file: "t.json".into() });
    assert_eq!(config, expected);
    assert_eq!(parsed(Program::AuthorizationServer, &[" localhost:9001\n", "t.json\n"], &[], pick).config(), expected);
    assert!(ProgramFlags::parse(Some(Program::AuthorizationServer), argv(&["localhost:9001"], &[])).is_err());
}

#[test]
fn a_dry_run_is_for_every_program() {
    let typed: [(Program, &[&str]); 5] = [
        (Program::Server, SERVER),
        (Program::Client, &["--from=http://p", "--to=http://s", "--id=i", "--to-token=t"]),
        (Program::AuthorizationServer, &["localhost:1", "t.json"]),
        (Program::Benchmark, &["--to=http://s", "--to-token=t", "--metrics-file=m"]),
        (Program::Quickstart, &[]),
    ];
    for (program, base) in typed {
        let mode = |more: &[&str]| ProgramFlags::parse(Some(program), argv(base, more)).expect("flags").mode();
        assert_eq!((mode(&[]), mode(&["--dry-run"])), (Mode::Run, Mode::DryRun), "{program:?}");
    }
}

#[test]
fn the_log_s_flags_land() {
    let log = |more: &[&str]| server_flags(SERVER, more).log.config();
    let usual = if std::io::IsTerminal::is_terminal(&std::io::stderr()) { LogFormat::Text } else { LogFormat::Logfmt };
    assert_eq!(log(&[]), logs_config(Level::Info, usual, false));
    assert_eq!(log(&["--log-format=Text"]).format, LogFormat::Text);
    assert_eq!(
        log(&["--log-level=DEBUG", "--log-format=json", "-v"]),
        logs_config(Level::Debug, LogFormat::Json, true)
    );
    for (typed, verbose) in
        [("-v", true), ("--verbose", true), ("--verbose=false", false), ("-v=f", false), ("--verbose=1", true)]
    {
        assert_eq!(log(&[typed]).verbose, verbose, "{typed}");
    }
    for (name, level) in
        [("error", Level::Error), ("warn", Level::Warn), ("info", Level::Info), ("debug", Level::Debug)]
    {
        assert_eq!(log(&["--log-level", name]).level, level);
    }
}

fn logs_config(level: Level, format: LogFormat, verbose: bool) -> crate::logs::Config {
    crate::logs::Config { level, format, verbose }
}

#[test]
fn the_tracing_flags_land() {
    let tracing = |more: &[&str]| client_flags(CLIENT, more).tracing.config("telemeter-client");
    let endpoint = |more: &[&str]| tracing(more).unwrap().endpoint.map(String::from);
    let default = tracing(&[]).unwrap();
    assert_eq!(
        (default.service_name.as_str(), default.endpoint, default.sampling_fraction),
        ("telemeter-client", None, 0.1)
    );
    assert_eq!(tracing(&["--internal.tracing.service-name=x"]).unwrap().service_name, "x");
    assert_eq!(tracing(&["--internal.tracing.sampling-fraction=1"]).unwrap().sampling_fraction, 1.0);
    let collector = "--internal.tracing.endpoint-type=collector";
    assert_eq!(endpoint(&["--internal.tracing.endpoint=jaeger:4318"]).unwrap(), "http://jaeger:4318/v1/traces");
    assert_eq!(endpoint(&["--internal.tracing.endpoint=https://c"]).unwrap(), "https://c/v1/traces");
    assert_eq!(endpoint(&["--internal.tracing.endpoint=http://c/otlp", collector]).unwrap(), "http://c/otlp");
    assert_eq!(endpoint(&["--internal.tracing.endpoint="]), None);
    for bad in [
        &["--internal.tracing.endpoint=jaeger:4318", collector][..],
        &["--internal.tracing.endpoint=jaeger"],
        &["--internal.tracing.sampling-fraction=1.1"],
        &["--internal.tracing.sampling-fraction=-1"],
        &["--internal.tracing.sampling-fraction=NaN"],
    ] {
        assert!(tracing(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn fleet_labels_that_cannot_be() {
    for (flags, expected) in [
        (&["--fleet-label=version"][..], "NAME=SELECTOR/LABEL"),
        (&["--fleet-label=version={a=\"b\"}/c"], "names no metric"),
        (&["--fleet-label=_id=m/l"], "cannot be named _id"),
        (&["--fleet-label=replica=m/l"], "cannot be named replica"),
        (&["--fleet-label=a=m/l", "--fleet-label=a=n/l"], "names a twice"),
        (&["--fleet-metrics=5m", "--forward-url=", "--recent-store=1h"], "--forward-url"),
        (&["--fleet-metrics=10ms"], "at least 1s"),
    ] {
        let error = server_flags(SERVER, flags).config().map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{flags:?}: {error}");
    }
    let nine: Vec<String> = (0..9).map(|at| format!("--fleet-label=l{at}=m/l")).collect();
    let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
    let error = server_flags(SERVER, &nine).config().map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("at most 8"), "{error}");
}

#[test]
fn defaults_are_the_contract_s() {
    let flags = server(&[]);
    let mut config = telemeter_server::Config::new(flags.authorization.clone());
    config.forward = flags.forward.clone();
    assert_eq!(flags.forward.as_ref().unwrap().tenant.as_deref(), Some("FB870BF3-9F3A-44FF-9BF7-D7A047A52F43"));
    assert!(matches!(&flags.authorization, AuthorizationMode::Authority(a) if a.stale == Duration::from_secs(3_600)));
    assert_eq!(format!("{flags:?}"), format!("{config:?}"));
    let memcached = MemcachedSettings {
        servers: vec!["m:1".into()],
        expire: Duration::from_secs(86_400),
        interval: Some(Duration::from_secs(10)),
    };
    assert_eq!(server(&["--memcached=m:1"]).memcached, Some(memcached));

    let flags = client(&[]);
    let config = telemeter_client::Config::new(flags.from.clone(), flags.to.clone(), "i");
    assert_eq!(format!("{flags:?}"), format!("{config:?}"));
    assert_eq!(flags.from.url.as_str(), "http://prometheus:9090/federate");
    assert_eq!(client(&["--rename="]).renames, config.renames, "as in Go");
    assert_eq!(client(&["--interval=0s"]).interval, config.interval, "as in Go");

    let flags = benchmark(BENCHMARK, &[]).unwrap();
    assert_eq!((flags.listen.as_deref(), flags.workers, flags.once), (Some("localhost:8080"), 1_000, false));
    assert_eq!(flags.interval, Duration::from_secs(270));
    let flags = benchmark(BENCHMARK, &["--clusters=1", "--authorize-all"]).unwrap().fleet.unwrap();
    assert_eq!((flags.duration, flags.connections), (Duration::from_secs(600), 256));

    let flags = quickstart(&[]).unwrap();
    assert_eq!((flags.from.is_none(), flags.store, flags.data_dir), (true, QuickstartStore::PrometheusOnPath, None));
    assert_eq!((flags.interval, flags.matches), (Duration::from_secs(10), vec![r#"{__name__!=""}"#.to_owned()]));
}

/// A list flag of a program: a value with white space in every place where it may be, the same without, and a value with
/// an element that cannot be meant, with that element. `None` where only the program's start can tell.
type ListFlagCase = (Program, &'static str, &'static str, &'static str, Option<(&'static str, &'static str)>);

/// What was meant, without the program's name; or why it could not be.
fn meant(program: Program, more: &[&str]) -> Result<String, String> {
    let base = match program {
        Program::Server => SERVER,
        Program::Client => &[CLIENT, &["--anonymize-salt=s"]].concat(),
        Program::AuthorizationServer => &["localhost:9001", "t.json"],
        Program::Benchmark => BENCHMARK,
        Program::Quickstart => &[],
    };
    let flags =
        ProgramFlags::parse(Some(program), argv(base, more)).unwrap_or_else(|error| panic!("{more:?}: {error}"));
    flags.config().map(|(config, _)| format!("{config:?}")).map_err(|error| error.to_string())
}

#[test]
fn every_list_flag_trims_and_refuses() {
    const SELECTOR: &str = r#"{a="1",b=" 2 "}"#;
    const PADDED_SELECTOR: &str = " {a=\"1\",b=\" 2 \"}\n";
    let table: &[ListFlagCase] = &[
        (Program::Server, "label", " a=1,\tb = 2 \n, ", "a=1,b=2", Some(("a=1,b c", "b c"))),
        (Program::Server, "required-label", " a=1,\tb = 2 \n, ", "a=1,b=2", Some(("a=1,b-c=1", "b-c=1"))),
        (Program::Server, "memcached", " a:1, b:2\n,", "a:1,b:2", Some(("a:1,b", "b"))),
        (
            Program::Server,
            "trusted-proxies",
            " ::1, 10.0.0.0/8\n,",
            "::1,10.0.0.0/8",
            Some(("::1,10.0.0.0/33", "10.0.0.0/33")),
        ),
        (Program::Server, "internal-allowed-hosts", " a, [::1]\n,", "a,[::1]", Some(("a,b c", "b c"))),
        (Program::Client, "internal-allowed-hosts", " a, [::1]\n,", "a,[::1]", Some(("a,b c", "b c"))),
        (Program::Server, "elide-label", " a\n", "a", Some(("a,b", "a,b"))),
        (Program::Server, "whitelist", PADDED_SELECTOR, SELECTOR, None),
        (Program::Server, "fleet-label", " v = m{a=\"b\"} /\tl\n", "v=m{a=\"b\"}/l", Some(("v=m", "v=m"))),
        (Program::Server, "shared-key", " a key\n", "a key", None),
        (Program::Server, "tls-crt", " a file\n", "a file", None),
        (Program::Server, "tls-key", " a file\n", "a file", None),
        (Program::Server, "internal-tls-crt", " a file\n", "a file", None),
        (Program::Server, "internal-tls-key", " a file\n", "a file", None),
        (Program::Client, "label", " a=1,\tb = 2 \n, ", "a=1,b=2", Some(("a=1,b c", "b c"))),
        (Program::Client, "rename", " a=b,\tc = d \n, ", "a=b,c=d", Some(("a=b,c d", "c d"))),
        (Program::Client, "anonymize-labels", " instance, pod\n,", "instance,pod", Some(("instance,po d", "po d"))),
        (Program::Client, "match", PADDED_SELECTOR, SELECTOR, None),
        (Program::Quickstart, "match", PADDED_SELECTOR, SELECTOR, None),
        (Program::Quickstart, "label", " a=1,\tb = 2 \n, ", "a=1,b=2", Some(("a=1,b c", "b c"))),
        (Program::Quickstart, "rename", " a=b,\tc = d \n, ", "a=b,c=d", Some(("a=b,c d", "c d"))),
        (Program::Quickstart, "anonymize-labels", " instance, pod\n,", "instance,pod", Some(("instance,po d", "po d"))),
    ];
    for &(program, flag, padded, plain, impossible) in table {
        // What does not go without another flag.
        let beside: &[&str] = match flag {
            "tls-crt" => &["--tls-key=k"],
            "tls-key" => &["--tls-crt=c"],
            "internal-tls-crt" => &["--internal-tls-key=k"],
            "internal-tls-key" => &["--internal-tls-crt=c"],
            _ => &[],
        };
        let meant = |program, more: &[&str]| meant(program, &[beside, more].concat());
        let typed = |value: &str| meant(program, &[&format!("--{flag}"), value]);
        assert_eq!(typed(padded), typed(plain), "{program:?} --{flag}");
        assert_ne!(typed(plain), meant(program, &[]), "{program:?} --{flag}");
        // Another occurrence, and one with nothing in it.
        let twice = meant(program, &[&format!("--{flag}={padded}"), &format!("--{flag}= ")]);
        assert_eq!(twice, typed(plain), "{program:?} --{flag}");
        let Some((value, element)) = impossible else { continue };
        let error = typed(value).unwrap_err();
        assert!(error.starts_with(&format!("--{flag} has {element:?}")), "{error}");
        assert!(
            ["digits and _", "=region=eu", "ALERTS=alerts", "cache:11211", "no host", "network", "NAME=SELECTOR/LABEL"]
                .iter()
                .any(|right| error.contains(right)),
            "{error}"
        );
    }
    for program in Program::ALL {
        let command = program.command();
        let lists = command.get_arguments().filter(|arg| matches!(arg.get_action(), clap::ArgAction::Append));
        for name in lists.filter_map(|arg| arg.get_long()) {
            assert!(table.iter().any(|(of, flag, ..)| (*of, *flag) == (program, name)), "{program:?} --{name}: no row");
        }
    }
}

/// What the monitoring operator of a cluster passes.
#[test]
fn the_operator_s_deployment() {
    let mut typed = vec![
        "--id=9e1c2f6a-7a3e-4a55-8c3b-3b1f0f9f6f11".to_owned(),
        "--from=https://prometheus-k8s.openshift-monitoring.svc:9091".to_owned(),
        "--tls-cert-file=/etc/tls/private/tls.crt".to_owned(),
        "--tls-private-key-file=/etc/tls/private/tls.key".to_owned(),
        "--from-ca-file=/etc/serving-certs-ca-bundle/service-ca.crt".to_owned(),
        "--from-token-file=/var/run/secrets/kubernetes.io/serviceaccount/token".to_owned(),
        "--to=https://infogw.api.openshift.com/".to_owned(),
        "--to-token-file=/etc/telemeter/token".to_owned(),
        "--listen=localhost:8080".to_owned(),
        "--anonymize-salt-file=/etc/telemeter/salt".to_owned(),
        "--anonymize-labels=".to_owned(),
        "--limit-bytes=5242880".to_owned(),
    ];
    let selectors: Vec<String> = (0..211).map(|i| format!(r#"{{__name__="metric_{i}",a=~"x,y|z"}}"#)).collect();
    typed.extend(selectors.iter().map(|selector| format!("--match={selector}")));
    let typed: Vec<&str> = typed.iter().map(String::as_str).collect();
    let flags = client_flags(&[], &typed);
    assert!(flags.warnings().is_empty());
    let config = flags.config().unwrap();
    assert_eq!(config.id, "9e1c2f6a-7a3e-4a55-8c3b-3b1f0f9f6f11");
    assert_eq!(config.from.url.as_str(), "https://prometheus-k8s.openshift-monitoring.svc:9091/federate");
    assert_eq!(config.from.identity.unwrap().cert_file, Path::new("/etc/tls/private/tls.crt"));
    assert_eq!(config.from.ca_file.unwrap(), Path::new("/etc/serving-certs-ca-bundle/service-ca.crt"));
    assert_eq!(
        file(config.from.token.as_ref().unwrap()),
        Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token")
    );
    assert_eq!(
        config.to.authorize.as_str(),
        "https://infogw.api.openshift.com/authorize?id=9e1c2f6a-7a3e-4a55-8c3b-3b1f0f9f6f11"
    );
    assert_eq!(config.to.upload.as_str(), "https://infogw.api.openshift.com/upload");
    assert_eq!(file(&config.to.token), Path::new("/etc/telemeter/token"));
    assert_eq!(config.listen.as_deref(), Some("localhost:8080"));
    assert!(config.anonymize.is_none());
    assert_eq!(config.limit_bytes, 5_242_880);
    assert_eq!(config.matches, selectors);
    assert_eq!(config.renames, pairs(&[("ALERTS", "alerts")]));
}

#[test]
fn what_the_server_refuses() {
    for (typed, hint) in [
        (&["--authorize="][..], "--insecure-allow-any-cluster"),
        (&["--insecure-allow-any-cluster"], "exclude each other"),
        (&["--authorize=authority:9001"], "http:// or https://"),
        (&["--forward-url="], "--recent-store"),
        (&["--forward-url=", "--recent-store=0s"], "--forward-url"),
        (&["--forward-url=ftp://x"], "--forward-url"),
        (&["--tls-key=k"], "--tls-crt"),
        (&["--tls-crt=c"], "--tls-key"),
        (&["--tls-crt=c", "--tls-crt=d", "--tls-key=k"], "one of each for the other"),
        (&["--internal-tls-crt=c", "--internal-tls-key=k", "--internal-tls-key=l"], "one of each for the other"),
        (&["--internal-tls-key=k"], "--internal-tls-crt"),
        (&["--oidc-issuer=https://i"], "--client-id"),
        (&["--oidc-issuer=https://i", "--client-id=x"], "--client-secret"),
        (&["--client-id=x"], "--oidc-issuer"),
        (&["--oidc-audience=x"], "--oidc-issuer"),
        (&["--oidc-issuer=https://u:p@i", "--client-id=x", "--client-secret=x"], "--oidc-issuer"),
        (&["--label=a"], "--label"),
        (&["--authorize=http://a\nb"], "line break"),
        (&["--partition-label=a,b"], r#"--partition-label cannot be "a,b""#),
        (&["--label=1a=b"], "no label name"),
        (&["--label=a=1,a=2"], "twice"),
        (&["--label=_id=x"], "must not set _id"),
        (&["--elide-label=a", "--elide-label=_id"], "--elide-label"),
        (&["--elide-label= _id"], "--elide-label cannot be _id"),
        (&["--elide-label=__name__"], "--elide-label"),
        (&["--elide-label=a,b"], "once per name (--elide-label=instance --elide-label=pod)"),
        (&["--label=__name__=x"], "must not set __name__"),
        (&["--required-label=a=1", "--required-label=a=2"], "twice"),
        (&["--required-label=_id=x"], "must not set _id"),
        (&["--partition-label="], "--partition-label"),
        (&["--partition-label=__name__"], "--partition-label"),
        (&["--memcached=a:1, cache"], r#"--memcached has "cache": the port is missing"#),
        (&["--listen=9003"], "--listen"),
        (&["--listen="], "--listen"),
        (&["--listen-internal="], "--listen-internal"),
        (&["--tenant-id=a\nb"], "--tenant-id"),
    ] {
        let error = server_flags(SERVER, typed).config().expect_err(hint).to_string();
        assert!(error.contains(hint), "{typed:?}: {error}");
        assert!(!error.contains('\n'), "one line: {error}");
    }
    let error = server_flags(&[], &["--authorize=http://a"]).config().unwrap_err().to_string();
    assert!(error.contains("--forward-url") && error.contains("--recent-store"), "{error}");
}

#[test]
fn what_the_client_refuses() {
    for (typed, hint) in [
        (&["--from="][..], "--from"),
        (&["--from=prometheus:9090"], "--from"),
        (&["--to="], "--to-auth and --to-upload"),
        (&["--to=", "--to-auth=http://a"], "--to-upload"),
        (&["--to-token="], "--to-token-file"),
        (&["--id="], "--id"),
        (&["--to-auth=http://a/?id=other"], "contradict"),
        (&["--tls-cert-file=c"], "--tls-private-key-file"),
        (&["--anonymize-labels=a"], "--anonymize-salt-file"),
        (&["--anonymize-labels=a", "--anonymize-salt="], "--anonymize-salt-file"),
        (&["--anonymize-labels=instance pod", "--anonymize-salt=s"], r#"--anonymize-labels has "instance pod", which"#),
        (&["--anonymize-labels=__name__", "--anonymize-salt=s"], "--anonymize-labels cannot be __name__"),
        (&["--to-token=a\nb"], "--to-token has a line break"),
        (&["--from-token=a\nb"], "--from-token has a line break"),
        (&["--rename=a"], "OLD=NEW"),
        (&["--rename=a="], "OLD=NEW"),
        (&["--rename=a=b,a=c"], "twice"),
        (&["--label=__name__=x"], "must not set __name__"),
        (&["--listen=9002"], "--listen"),
    ] {
        let error = client_flags(CLIENT, typed).config().expect_err(hint).to_string();
        assert!(error.contains(hint), "{typed:?}: {error}");
    }
    assert_eq!(client(&["--id=", "--to-auth=http://a/?id=told"]).id, "told");
    assert!(benchmark(&BENCHMARK[..2], &[]).unwrap_err().to_string().contains("--metrics-file"));
    assert!(benchmark(&BENCHMARK[1..], &[]).unwrap_err().to_string().contains("--to"));
    for (typed, hint) in [
        (&["--clusters=7"][..], "--shared-key FILE"),
        (&["--clusters=7", "--shared-key="], "--authorize-all"),
        (&["--clusters=7", "--authorize-all", "--duration=0s"], "--duration"),
        (&["--clusters=7", "--authorize-all", "--to-token="], "--to-token-file"),
    ] {
        let error = benchmark(BENCHMARK, typed).expect_err(hint).to_string();
        assert!(error.contains(hint), "{typed:?}: {error}");
    }
}

#[test]
fn what_clap_refuses() {
    for (program, base, typed) in [
        (Program::Server, SERVER, "--ratelimit=10"),
        (Program::Server, SERVER, "--ratelimit=-1s"),
        (Program::Server, SERVER, "--token-expire-seconds=0"),
        (Program::Server, SERVER, "--memcached-expire=0"),
        (Program::Server, SERVER, "--memcached-expire=2592001"),
        (Program::Server, SERVER, "--limit-bytes=0"),
        (Program::Server, SERVER, "--limit-receive-bytes=0"),
        (Program::Server, SERVER, "--recent-store-max-bytes=1"),
        (Program::Server, SERVER, "--receive-identity=none"),
        (Program::Server, SERVER, "--verbose=maybe"),
        (Program::Server, SERVER, "--lisen=:1"),
        (Program::Server, SERVER, "extra"),
        (Program::Client, CLIENT, "--limit-bytes=-1"),
        (Program::Client, CLIENT, "--interval=1d"),
        (Program::Client, CLIENT, "--log-level=loud"),
        (Program::Benchmark, BENCHMARK, "--workers=0"),
        (Program::Benchmark, BENCHMARK, "--clusters=0"),
        (Program::Benchmark, BENCHMARK, "--shared-key=k"),
        (Program::Benchmark, BENCHMARK, "--duration=1s"),
        (Program::Benchmark, BENCHMARK, "--connections=0"),
        (Program::Quickstart, &[], "--from-ca-file=x"),
    ] {
        let error = ProgramFlags::parse(Some(program), argv(base, &[typed])).expect_err(typed);
        assert_eq!(error.exit_code(), 2, "{typed}");
    }
    let error = ProgramFlags::parse(Some(Program::Server), argv(SERVER, &["--lisen=:1"])).unwrap_err().to_string();
    assert!(error.contains("'--listen'"), "a hint: {error}");
}

#[test]
fn flags_are_read_as_pflag_does() {
    assert_eq!(server(&["--listen=:1", "--listen=:2"]).listen, ":2", "the last one counts");
    assert_eq!(server(&["--tenant-id", "--x"]).forward.unwrap().tenant.as_deref(), Some("--x"), "a dash begins it");
    assert_eq!(server(&["--label", "a=-1", "--label=b=2"]).rules.labels.len(), 2);
}

#[test]
fn subcommands_are_the_programs() {
    let flags = ProgramFlags::parse(None, argv(&["client"], CLIENT)).unwrap();
    assert!(matches!(flags, ProgramFlags::Client(_)));
    let flags = ProgramFlags::parse(None, argv(&["server", "--tenant-id", "-x"], SERVER)).unwrap();
    assert!(matches!(flags, ProgramFlags::Server(_)));
    for name in ["authorization-server", "benchmark", "quickstart"] {
        assert!(telemeter().find_subcommand(name).is_some(), "{name}");
    }
    assert_eq!(ProgramFlags::parse(None, argv(&[], &[])).unwrap_err().exit_code(), 2);
}

#[test]
fn a_link_under_the_name_of_a_program_is_that_program() {
    let check = |argv0: &str, expected| assert_eq!(Program::called_as(OsStr::new(argv0)), expected, "{argv0}");
    for program in Program::ALL.into_iter().filter(|program| *program != Program::Quickstart) {
        let name = program.command().get_name().to_owned();
        check(&name, Some(program));
        check(&format!("/usr/bin/{name}"), Some(program));
        check(&format!("./{name}"), Some(program));
    }
    // `telemeter quickstart` has no name of its own; what is none of ours reads a subcommand, as `telemeter` does.
    for other in [
        "telemeter",
        "/usr/bin/telemeter",
        "quickstart",
        "server",
        "telemeter-server.old",
        "telemeter-server/..",
        "",
        "/",
    ] {
        check(other, None);
    }
}

#[test]
fn no_secret_is_shown() {
    let flags = server_flags(SERVER, &["--oidc-issuer=https://i", "--client-secret=hunter2"]);
    assert!(!format!("{flags:?}").contains("hunter2"));
    assert!(!flags.config().unwrap_err().to_string().contains("hunter2"));
    let flags = client_flags(CLIENT, &["--to-token=hunter2", "--from-token=hunter2", "--anonymize-salt=hunter2"]);
    assert!(!format!("{flags:?}").contains("hunter2"));
    let error = ProgramFlags::parse(Some(Program::Client), argv(CLIENT, &["--to-tokn=hunter2"])).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn warnings() {
    assert!(server_flags(SERVER, &["--tenant-key=cluster_id"]).warnings().is_empty());
    for (typed, hint) in [("--tenant-key=authorization_token", "is a secret"), ("--tenant-key=tenant", "no field")] {
        let flags = server_flags(SERVER, &[typed]);
        assert!(flags.warnings()[0].contains(hint), "{:?}", flags.warnings());
        assert!(!flags.config().unwrap().log_tenant);
    }
    assert!(server_flags(SERVER, &["--client-secret=a b"]).warnings().is_empty());
    assert!(
        server_flags(SERVER, &["--client-secret=hunter2\n"]).warnings()[0].starts_with("--client-secret has white")
    );
    let both = ["--from-token=a", "--from-token-file=f", "--to-token-file=f"];
    assert_eq!(client_flags(CLIENT, &both).warnings().len(), 2);
    assert_eq!(secret(&client(&both).to.token), "t", "the value goes before the file");
    for (labels, hint) in [
        ("instance,pod,clusterID", None),
        ("Instance", Some("Instance is not instance")),
        ("Instance,instance", None),
        ("a,NAMESPACE", Some("NAMESPACE is not namespace")),
        ("_id", Some("sent in clear")),
        ("le", Some("histogram")),
        ("__address__", Some("no series has __address__")),
    ] {
        let warnings =
            client_flags(CLIENT, &["--anonymize-salt=s", &format!("--anonymize-labels={labels}")]).warnings();
        assert_eq!(warnings.len(), usize::from(hint.is_some()), "{labels}: {warnings:?}");
        assert!(warnings.iter().all(|line| line.contains(hint.unwrap_or_default())), "{warnings:?}");
    }
    let salt = client_flags(CLIENT, &["--anonymize-labels=a", "--anonymize-salt= hunter2"]);
    assert!(salt.warnings()[0].starts_with("--anonymize-salt has white space"), "{:?}", salt.warnings());
    assert_eq!(secret(&salt.config().unwrap().anonymize.unwrap().salt), " hunter2", "to the letter");
}

#[test]
fn tokens_are_trimmed() {
    let config = client(&["--to-token= t\n", "--from-token", "\tf "]);
    assert_eq!((secret(&config.to.token), config.from.token.as_ref().map(secret)), ("t", Some("f")));
    assert_eq!(secret(&benchmark(BENCHMARK, &["--to-token= t\n"]).unwrap().to.token), "t");
    assert!(client_flags(CLIENT, &["--to-token= \n"]).config().unwrap_err().to_string().contains("--to-token-file"));
    let oidc = ["--oidc-issuer=https://i\n", "--client-id= me ", "--client-secret= s\n"];
    let oidc = server(&oidc).oidc.unwrap();
    let found = (oidc.issuer.as_str(), oidc.client_id.as_str(), oidc.client_secret.expose());
    assert_eq!(found, ("https://i", "me", " s\n"), "only the secret is to the letter");
}

/// Holds `path`, below this crate, against `text`; `UPDATE=1` writes it.
fn golden(path: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let held = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(held == text, "{} differs from the flags: UPDATE=1 rewrites it", path.display());
}

/// The help of a command and of its subcommands.
fn help(command: clap::Command) -> String {
    let mut command = loosen(command).term_width(100);
    let own = command.render_help().to_string();
    let is_program = |name: &str| Program::ALL.iter().any(|program| program.subcommand() == name);
    let inner = command.get_subcommands().filter(|inner| inner.get_name() != "help" && !is_program(inner.get_name()));
    inner.cloned().fold(own, |text, inner| format!("{text}\n--- {}\n{}", inner.get_name().to_owned(), help(inner)))
}

#[test]
fn help_is_as_it_was() {
    for program in Program::ALL {
        let mut command = commands::command(Some(program), commands::all).term_width(100);
        golden(&format!("tests/golden/{}.help", command.get_name().to_owned()), &command.render_help().to_string());
    }
    golden(
        "tests/golden/telemeter.help",
        &commands::command(None, commands::all).term_width(100).render_help().to_string(),
    );
    for of in [None].into_iter().chain(Program::ALL.map(Some)) {
        for command in commands::all(of).iter().map(commands::CommandEntry::command) {
            let parent = of.map_or_else(String::new, |program| format!("{}-", program.subcommand()));
            golden(&format!("tests/golden/command-{parent}{}.help", command.get_name()), &help(command));
        }
    }
}

#[test]
fn the_page_of_flags_is_as_the_flags() {
    golden("../../docs/flags.md", &table::markdown());
}
