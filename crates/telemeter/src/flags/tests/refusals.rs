//! Command lines that are refused: the text names the flag and says what to do.

use super::*;

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
        (&["--to-receive=http://u/x"], "--to-receive goes with --protocol remote-write"),
        (&["--protocol=remote-write", "--to="], "--to-receive URL"),
        (&["--protocol=remote-write", "--to-receive=u/x"], "--to-receive"),
        (&["--protocol=remote-write", "--to-upload=http://u"], "--to-upload are for --protocol upload"),
        (&["--protocol=remote-write", "--id="], "--id ID"),
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
