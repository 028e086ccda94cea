//! What all programs have: `--dry-run`, the log, traces, subcommands, and how argv is read.

use super::*;

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
