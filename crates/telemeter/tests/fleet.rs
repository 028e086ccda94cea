//! Tests `telemeter fleet` against the real server in this process, at a fixed time: its output, word for word
//! (`tests/golden/fleet/`; `UPDATE=1` rewrites it), its exit code, and its message where there is no answer.
#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use axum::Router;
use regex::Regex;
use telemeter::{
    commands::{self, CommandLine},
    output::{CapturedOutput, Printer},
};
use telemeter_auth::authority::mock;
use telemeter_http::{clock::Clock, listen};
use telemeter_server::{
    Config, RunningServer,
    config::{AuthoritySettings, AuthorizationMode, FleetLabel, RecentStoreSettings},
};
use telemeter_test_support::golden;

/// 2027-01-15T08:00:00Z.
const NOW_MS: i64 = 1_800_000_000_000;
const TOKENS: &str = r#"[{"token":"a-token","clusters":[]}]"#;

/// A server with two clusters that report, one that is silent and two that are refused.
struct FleetServer {
    server: RunningServer,
}

async fn serve(router: Router) -> SocketAddr {
    let listener = listen::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(listen::serve(listener, router, listen::ListenLimits::default(), std::future::pending()));
    address
}

impl FleetServer {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let authority = serve(mock::router(mock::tokens(TOKENS.as_bytes()).unwrap())).await;
        let url = format!("http://{authority}/").parse().unwrap();
        let mut config =
            Config::new(AuthorizationMode::Authority(AuthoritySettings { url, stale: Duration::from_secs(3600) }));
        config.listen = "127.0.0.1:0".to_owned();
        config.listen_internal = "127.0.0.1:0".to_owned();
        config.ratelimit = None;
        config.recent_store = Some(RecentStoreSettings { keep: Duration::from_secs(7200), max_bytes: 64 << 20 });
        config.rules.whitelist = ["up", "cluster_version", "nothing"].map(str::to_owned).into();
        config.fleet.labels = vec![FleetLabel::parse(r#"version=cluster_version{type="current"}/version"#).unwrap()];
        config.fleet.replica = "replica-1".to_owned();
        change(&mut config);
        let (clock, handle) = Clock::fixed(NOW_MS);
        let server = RunningServer::start(config, clock).await.unwrap();
        let world = Self { server };
        for (cluster, version) in [("c-old", "4.14.1"), ("c-aws", "4.16.9"), ("c-gcp", "4.17.0")] {
            let lines = format!(
                "up{{_id=\"{cluster}\"}} 1 TIME\ncluster_version{{_id=\"{cluster}\",type=\"current\",version=\"{version}\"}} 1 TIME\nsecret{{_id=\"{cluster}\"}} 1 TIME\n"
            );
            assert_eq!(world.upload(cluster, &lines.replace("TIME", &NOW_MS.to_string())).await, 200);
        }
        let later_ms = NOW_MS + 5_400_000;
        handle.advance(Duration::from_millis(5_400_000));
        for cluster in ["c-aws", "c-gcp"] {
            assert_eq!(world.upload(cluster, &format!("up{{_id=\"{cluster}\"}} 1 {later_ms}\n")).await, 200);
        }
        assert_eq!(world.upload("c-thief", &format!("up{{_id=\"c-aws\"}} 1 {later_ms}\n")).await, 400);
        assert_eq!(world.authorize("c-guess", "wrong").await.0, 401);
        world
    }

    async fn authorize(&self, cluster: &str, token: &str) -> (u16, serde_json::Value) {
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        let request =
            request.post(format!("http://{}/authorize?id={cluster}", self.server.external())).bearer_auth(token);
        let mut answer = request.send().await.unwrap();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.unwrap() {
            body.extend_from_slice(&chunk);
        }
        (answer.status().as_u16(), serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn upload(&self, cluster: &str, text: &str) -> u16 {
        let (status, grant) = self.authorize(cluster, "a-token").await;
        assert_eq!(status, 200, "{grant}");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(format!("http://{}/upload", self.server.external()));
        let request = request.bearer_auth(grant["token"].as_str().unwrap()).header("user-agent", "telemeter/0.1.0");
        let request = request.header("content-type", "text/plain; version=0.0.4").body(text.to_owned());
        request.send().await.unwrap().status().as_u16()
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.internal())
    }

    /// Runs `telemeter fleet` for a terminal of this width or for a file; returns its exit code and its output.
    async fn fleet(&self, width: Option<u16>, arguments: &[&str]) -> (Result<ExitCode, String>, String) {
        fleet(width, &self.url(), arguments).await
    }
}

async fn fleet(width: Option<u16>, server: &str, arguments: &[&str]) -> (Result<ExitCode, String>, String) {
    let argv: Vec<_> = ["telemeter", "fleet", "--server", server].iter().chain(arguments).map(Into::into).collect();
    let request =
        CommandLine::parse(None, commands::all, argv).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    let CommandLine::Command(command) = request else { panic!("a program") };
    let (mut printer, written) = Printer::to_memory(width, false);
    let ended = command.run(&mut printer).await.map_err(|failure| failure.to_string());
    (ended, written.text())
}

fn golden(name: &str, text: &str) {
    golden::check(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fleet").join(name), text);
}

#[tokio::test]
async fn what_is_printed_is_as_it_was() {
    let world = FleetServer::start(|_| ()).await;
    for (name, width, arguments) in [
        ("summary.txt", Some(80), &["summary"][..]),
        ("summary.csv", None, &["summary", "-o", "csv"]),
        ("silent.txt", Some(80), &["silent"]),
        ("silent-wide.txt", None, &["silent"]),
        ("silent-2h.txt", Some(80), &["silent", "--for=2h"]),
        ("silent.csv", None, &["silent", "-o=csv"]),
        ("refused.txt", Some(80), &["refused"]),
        ("refused-identity.txt", Some(80), &["refused", "--reason=identity", "--since=1h"]),
        ("refused-too_large.txt", Some(80), &["refused", "--reason=too_large"]),
        ("refused.csv", None, &["refused", "--output=csv"]),
        ("show.txt", Some(80), &["show", "c-old"]),
        ("show-refused.txt", Some(80), &["show", "c-thief"]),
        ("show.csv", None, &["show", "c-old", "-o=csv"]),
        ("metrics.txt", Some(80), &["metrics"]),
        ("metrics.csv", None, &["metrics", "-o=csv"]),
        ("metrics-none.txt", Some(80), &["metrics", "--search=nowhere"]),
    ] {
        let (ended, text) = world.fleet(width, arguments).await;
        assert_eq!(ended, Ok(ExitCode::SUCCESS), "{arguments:?}");
        let port = world.server.internal().port().to_string();
        let text = text.replace(&port, "PORT").replace(env!("CARGO_PKG_VERSION"), "VERSION");
        golden(name, &without_measures(&text));
    }
}

/// Replaces the values that depend on real time: the rate of samples and the latency of the authority.
fn without_measures(text: &str) -> String {
    let text = Regex::new("(?m)^(samples_per_second,).*$").unwrap().replace(text, "${1}RATE");
    Regex::new(r"(?m)^(authority +ok +1h 30m ago) +\S+(  -)$").unwrap().replace(&text, "${1}  LATENCY${2}").into_owned()
}

#[tokio::test]
async fn numbers_are_those_of_the_api() {
    let world = FleetServer::start(|_| ()).await;
    let (_, json) = world.fleet(None, &["summary", "-o=json"]).await;
    let summary: serde_json::Value = serde_json::from_str(&json).unwrap();
    let counts = &summary["clusters"];
    assert_eq!((&counts["total"], &counts["silent"], &counts["refused"]), (&4.into(), &1.into(), &1.into()), "{json}");
    for (arguments, ids) in [
        (&["silent", "-o=json"][..], [Some("c-old"), None]),
        (&["-o=json", "refused"], [None, Some("c-thief")]),
        (&["refused", "-o=json", "--reason=identity"], [Some("c-thief"), None]),
    ] {
        let (_, json) = world.fleet(None, arguments).await;
        let list: serde_json::Value = serde_json::from_str(&json).unwrap();
        let name = |at: usize| {
            let item = &list["items"][at];
            item["id"].as_str().or(item["cluster"].as_str()).map(str::to_owned)
        };
        assert_eq!([name(0), name(1)], ids.map(|id| id.map(str::to_owned)), "{arguments:?}: {json}");
    }
    let (_, text) = world.fleet(None, &["summary"]).await;
    assert!(text.contains("4 clusters: 1 silent, 1 refused, 2 new, 0 reporting"), "{text}");
}

#[tokio::test]
async fn a_script_hears_by_the_exit_code() {
    let world = FleetServer::start(|_| ()).await;
    for (arguments, found) in [
        (&["silent", "--fail"][..], true),
        (&["silent"], false),
        (&["silent", "--fail", "--for=1h"], true),
        (&["silent", "--fail", "--for=2h"], false),
        (&["refused", "--fail", "-o=json"], true),
        (&["refused"], false),
        (&["refused", "--fail", "--reason=too_large"], false),
    ] {
        let expected = if found { ExitCode::from(1) } else { ExitCode::SUCCESS };
        assert_eq!(world.fleet(None, arguments).await.0, Ok(expected), "{arguments:?}");
    }
}

#[tokio::test]
async fn no_answer_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (token, other, empty) = (file("token", "hunter2\n"), file("other", "wrong\n"), file("empty", "\n"));
    let world = FleetServer::start(|config| {
        config.internal_access.token_file = Some(folder.path().join("token"));
    })
    .await;
    let page = serve(Router::new().fallback(|| async { axum::response::Html("<h1>hello</h1>") })).await;
    let older = Router::new()
        .fallback(|| async { ([(http::header::CONTENT_TYPE, "application/json")], r#"{"version":"0.0.1"}"#) });
    let older = serve(older).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let external = format!("http://{}", world.server.external());
    let (page, older, nobody) = (format!("http://{page}"), format!("http://{older}"), format!("http://{nobody}"));
    let with = |file: &str| format!("--token-file={file}");
    for (server, arguments, hints) in [
        (&*world.url(), &["silent"][..], &["(401)", "--token-file", "--internal-token-file"][..]),
        (&*world.url(), &["silent", &with(&other)], &["(401)", "other is not the server's"]),
        (&*world.url(), &["silent", &with(&empty)], &["--token-file", "empty is empty"]),
        (&*world.url(), &["silent", "--token-file=/nowhere"], &["--token-file", "/nowhere"]),
        (&*world.url(), &["show", "nobody", &with(&token)], &["404", "--fleet-file"]),
        (&*world.url(), &["refused", "--reason=none", &with(&token)], &["400", "reason"]),
        (&*external, &["summary"], &["(404)", "--listen-internal"]),
        (&*page, &["summary"], &["not the API of a telemeter server", "not JSON"]),
        (&*older, &["summary"], &["older one", "missing field"]),
        (&*nobody, &["watch"], &["Is the server running", "--server"]),
        ("ftp://localhost", &["summary"], &["--server", "http://"]),
    ] {
        let (ended, text) = fleet(None, server, arguments).await;
        let said = ended.expect_err("an error");
        assert!(hints.iter().all(|hint| said.contains(hint)), "{server} {arguments:?}: {said}");
        assert!(text.is_empty() && !said.contains("hunter2") && !said.contains("wrong"), "{said}");
    }
    assert_eq!(world.fleet(None, &["silent", &with(&token)]).await.0, Ok(ExitCode::SUCCESS));
}

#[tokio::test]
async fn a_name_that_the_server_does_not_have_is_said() {
    let answers = Router::new().fallback(|| async { (http::StatusCode::MISDIRECTED_REQUEST, "misdirected") });
    let (ended, _) = fleet(None, &format!("http://{}", serve(answers).await), &["summary"]).await;
    assert!(ended.unwrap_err().contains("--internal-allowed-hosts=127.0.0.1"));
}

/// Tests the real program: exit codes, one line on stderr, and the end by Ctrl-C.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_itself() {
    let world = FleetServer::start(|_| ()).await;
    let url = world.url();
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_telemeter"));
        command.arg("fleet").args(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let server = format!("--server={url}");
    assert_eq!(run(&["silent", "--fail", &server]).await.status.code(), Some(1));
    assert_eq!(run(&["silent", &server]).await.status.code(), Some(0));
    let output = run(&["silent", "--server=http://127.0.0.1:1"]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count(), output.stdout.len()), (Some(2), 1, 0), "{said}");
    assert!(said.starts_with("error: ") && said.contains("127.0.0.1:1"), "{said}");
    assert_eq!(run(&["--sever=x"]).await.status.code(), Some(2));

    let mut command = Command::new(env!("CARGO_BIN_EXE_telemeter"));
    command.args(["fleet", "watch", "--interval=200ms", &server]).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = tokio::task::spawn_blocking(move || {
        use std::io::{BufRead as _, BufReader};
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first: Vec<_> = lines.by_ref().take(2).map(Result::unwrap).collect();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let rest: Vec<_> = lines.map(Result::unwrap).collect();
        (first, rest, child.wait().unwrap().code())
    });
    let (first, rest, code) = lines.await.unwrap();
    assert!(first[0].contains(" c-old silent: last report 1h 30m ago"), "{first:?}");
    assert!(first[1].contains(" c-thief refused: identity on upload (400)"), "{first:?}");
    assert_eq!((rest, code), (Vec::<String>::new(), Some(0)), "nothing changed, and Ctrl-C is an end");
}

/// Waits until the output has a line that contains both parts.
async fn written_line(written: &CapturedOutput, parts: [&str; 2]) {
    for _ in 0..600 {
        if written.text().lines().any(|line| parts.iter().all(|part| line.contains(part))) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{parts:?} are not in\n{}", written.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_says_each_change_once() {
    let world = FleetServer::start(|_| ()).await;
    for (format, expected) in [
        ("table", "2027-01-15T09:30:00Z c-thief reporting"),
        ("json", r#"{"at":"2027-01-15T09:30:00Z","cluster":"c-thief","status":"reporting","why":null}"#),
        ("csv", "2027-01-15T09:30:00Z,c-thief,reporting,"),
    ] {
        let later_ms = NOW_MS + 5_400_000;
        assert_eq!(world.upload("c-thief", &format!("up{{_id=\"c-aws\"}} 1 {later_ms}\n")).await, 400);
        let url = world.url();
        let argv = ["telemeter", "fleet", "watch", "--interval=100ms", "--server", &url, "-o", format].map(Into::into);
        let CommandLine::Command(command) = CommandLine::parse(None, commands::all, argv).unwrap() else {
            panic!("a program")
        };
        let (mut printer, written) = Printer::to_memory(None, false);
        let changed = async {
            written_line(&written, ["c-old", "silent"]).await;
            written_line(&written, ["c-thief", "refused"]).await;
            assert_eq!(world.upload("c-thief", &format!("up{{_id=\"c-thief\"}} 1 {later_ms}\n")).await, 200);
            written_line(&written, ["c-thief", "reporting"]).await;
        };
        tokio::select! {
            () = changed => {}
            ended = command.run(&mut printer) => panic!("{ended:?}"),
        }
        let text = written.text();
        assert_eq!(text.lines().last(), Some(expected), "{text}");
        assert_eq!(text.lines().count(), 3 + usize::from(format == "csv"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_redraws_a_terminal() {
    let world = FleetServer::start(|_| ()).await;
    let url = world.url();
    let argv = ["telemeter", "fleet", "watch", "--interval=100ms", "--server", &url].map(Into::into);
    let CommandLine::Command(command) = CommandLine::parse(None, commands::all, argv).unwrap() else {
        panic!("a program")
    };
    let (mut printer, written) = Printer::to_memory(Some(80), false);
    let redrawn = async {
        while written.text().matches("\x1b[2J").count() < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = redrawn => {}
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("{}", written.text()),
        ended = command.run(&mut printer) => panic!("{ended:?}"),
    }
    let text = written.text();
    let screen = text.split("\x1b[2J").nth(1).unwrap();
    assert!(screen.contains("1 silent, 1 refused") && screen.contains("c-old"), "{screen}");
    assert!(screen.contains("Refused in the last 15 minutes") && screen.contains("c-guess?"), "{screen}");
}
