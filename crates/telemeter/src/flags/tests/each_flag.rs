//! Each flag of each program reaches the field of the `Config` that it is for.

use super::*;

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
        ("protocol", &["--protocol=remote-write", "--to=http://h/base/?k=v"], |c| {
            c.to.destination().as_str() == "http://h/base/metrics/v1/receive?k=v" && c.id == "i"
        }),
        ("to-receive", &["--protocol=remote-write", "--to-receive=http://u/x"], |c| {
            c.to.receive.as_ref().map(url::Url::as_str) == Some("http://u/x")
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
