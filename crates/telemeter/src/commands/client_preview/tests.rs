#![allow(clippy::unwrap_used)]
use std::{fs, net::SocketAddr, path::Path};

use axum::{Router, http::header, routing::get};
use telemeter_http::listen;
use telemeter_test_support::golden;

use super::*;
use crate::{
    commands::{CommandLine, of_client},
    flags::Program,
};

/// Below this crate.
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/preview/");

const MATCHES: [&str; 8] = [
    "--match={__name__=\"ALERTS\",alertstate=\"firing\"}",
    "--match=up",
    "--match={__name__=~\"cluster.*\"}",
    "--match=cluster_version",
    "--match=old",
    "--match=queue_depth",
    "--match={__name__=\"http_errors_total\",code=~\"5..\"}",
    "--match=nothing_of_this_name",
];
const RULES: [&str; 4] =
    ["--label=region=eu", "--anonymize-labels=instance,pod", "--anonymize-salt=a-salt", "--limit-bytes=5000"];

/// A Prometheus, or what stands in its place: answers every request with the same metrics.
struct FakeSource(SocketAddr);

impl FakeSource {
    async fn of(scrape: &str) -> Self {
        let now_ms = Clock::system().now_ms();
        let body = scrape.replace("NOW", &now_ms.to_string());
        let answer = move || async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], body) };
        let listener = listen::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/federate", get(answer));
        tokio::spawn(listen::serve(listener, router, listen::ListenLimits::default(), std::future::pending()));
        Self(address)
    }

    /// Runs the command against it; how it ended, and what it printed, with a name for the address and the time.
    async fn preview(&self, flags: &[&str]) -> (Result<ExitCode, String>, String) {
        let from = format!("--from=http://user:hunter2@{}", self.0);
        let argv = ["telemeter-client", "preview", &from].into_iter().chain(flags.iter().copied());
        let request = CommandLine::parse(Some(Program::Client), of_client, argv.map(Into::into)).unwrap();
        let CommandLine::Command(command) = request else { panic!("{flags:?} is no command") };
        let (mut printer, written) = Printer::to_memory(None, false);
        let ended = command.run(&mut printer).await.map_err(|failure| failure.to_string());
        // How well it is compressed depends on the time in it.
        let size = regex::Regex::new(r#"[0-9]+ B as it is uploaded|"upload_bytes": [0-9]+"#).unwrap();
        let text = written.text().replace(&self.0.to_string(), "prometheus:9090");
        let text = size.replace_all(&text, |found: &regex::Captures<'_>| {
            let kept = found[0].trim_matches(|c: char| c.is_ascii_digit());
            if kept.starts_with('"') { format!("{kept}0") } else { format!("0{kept}") }
        });
        let text = text.into_owned();
        assert!(!text.contains("hunter2"), "{text}");
        (ended, text)
    }
}

fn scrape() -> String {
    fs::read_to_string(format!("{GOLDEN}scrape.txt")).unwrap()
}

fn golden(name: &str, text: &str) {
    golden::check(Path::new(GOLDEN).join(name), text);
}

/// Every run of 13 digits, which is a time, as NOW.
fn timeless(text: &str) -> String {
    let is_time = |word: &&str| word.len() == 13 && word.bytes().all(|byte| byte.is_ascii_digit());
    text.lines()
        .map(|line| {
            line.split(' ').map(|word| if is_time(&word) { "NOW" } else { word }).collect::<Vec<_>>().join(" ") + "\n"
        })
        .collect()
}

/// What the command prints, without the breaks of its lines.
async fn flowing(source: &FakeSource, flags: &[&str]) -> String {
    source.preview(flags).await.1.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn flags(more: &[&'static str]) -> Vec<&'static str> {
    MATCHES.iter().chain(&RULES).copied().chain(more.iter().copied()).collect()
}

#[tokio::test]
async fn what_would_leave_is_a_table_by_metric() {
    let source = FakeSource::of(&scrape()).await;
    let (ended, text) = source.preview(&flags(&[])).await;
    assert_eq!(ended, Ok(ExitCode::SUCCESS));
    golden("table.txt", &text);
    let longest = text.lines().map(|line| line.chars().count()).max();
    assert!(longest <= Some(80), "{longest:?} columns\n{text}");
}

#[tokio::test]
async fn the_exposition_is_what_an_upload_holds() {
    let source = FakeSource::of(&scrape()).await;
    let (ended, text) = source.preview(&flags(&["-o", "text"])).await;
    assert_eq!(ended, Ok(ExitCode::SUCCESS));
    golden("text.txt", &timeless(&text));
    assert!(!text.contains("secret_total") && !text.contains("10.0.0.7"), "{text}");
}

#[tokio::test]
async fn json_is_what_diff_reads() {
    let directory = tempfile::tempdir().unwrap();
    let earlier = directory.path().join("earlier.json");
    let source = FakeSource::of(&scrape()).await;
    let (ended, json) = source.preview(&flags(&["-o", "json"])).await;
    assert_eq!(ended, Ok(ExitCode::SUCCESS));
    golden("preview.json", &json);
    fs::write(&earlier, &json).unwrap();
    let diff: &'static str = format!("--diff={}", earlier.display()).leak();
    let named = |text: String| text.replace(&*earlier.to_string_lossy(), "earlier.json");

    let (_, text) = source.preview(&flags(&[diff])).await;
    assert!(named(text).starts_with("Nothing changed since earlier.json: 6 metrics.\n"));

    let later = scrape()
        .replace("up{job=\"untimed\"} 1\n", "up{instance=\"10.0.0.9:80\",job=\"pay\",pod=\"pay-7\"} 1 NOW\n")
        .replace("old{instance=\"\"} 1 1000", "old{instance=\"\",pod=\"x\"} 1 NOW")
        .replace("cluster_version{channel=\"stable\",", "cluster_version{");
    let later: String = later.lines().filter(|line| !line.contains("queue_depth")).map(|l| format!("{l}\n")).collect();
    let source = FakeSource::of(&later).await;
    let mut changed = flags(&[diff]);
    changed.retain(|flag| !flag.starts_with("--anonymize-labels"));
    changed.push("--anonymize-labels=pod,code");
    let (ended, text) = source.preview(&changed).await;
    assert_eq!(ended, Ok(ExitCode::SUCCESS));
    golden("diff.txt", &named(text));
    changed.extend(["-o", "json"]);
    let (_, json) = source.preview(&changed).await;
    golden("diff.json", &json);

    fs::write(&earlier, "{}").unwrap();
    let (ended, _) = source.preview(&flags(&[diff])).await;
    let error = ended.unwrap_err();
    assert!(error.contains("is not a preview in JSON (-o json)"), "{error}");
}

#[tokio::test]
async fn warnings_fail_where_a_script_asks_for_it() {
    let source = FakeSource::of("up{instance=\"10.0.0.7:80\",job=\"a\"} 1 NOW\n").await;
    let (ended, text) = source.preview(&["--match=up", "--fail-on-warning"]).await;
    assert_eq!(ended, Ok(ExitCode::FAILURE), "{text}");
    assert!(text.contains("! label instance names a machine and leaves in clear (\"10.0.0.7:80\"): up\n"), "{text}");
    for allowed in ["--allow-label=instance", "--anonymize-labels=instance"] {
        let flags = ["--match=up", "--fail-on-warning", "--anonymize-salt=a", allowed];
        let (ended, text) = source.preview(&flags).await;
        assert_eq!(ended, Ok(ExitCode::SUCCESS), "{text}");
        assert!(text.ends_with("\nNo warnings.\n"), "{text}");
    }
}

#[tokio::test]
async fn it_says_why_nothing_would_be_sent_and_what_nobody_asked_for() {
    let source = FakeSource::of("down 1 NOW\nup 1\n").await;
    let text = flowing(&source, &["--match=none"]).await;
    assert!(
        text.contains("! nothing would be sent: nothing matched: no selector of --match names any of the 2"),
        "{text}"
    );
    let text = flowing(&source, &["--match=up"]).await;
    assert!(text.contains("! nothing would be sent: all without a time: none of the 1 series"), "{text}");
    // Nobody typed a selector: what comes is sent, and the preview says so.
    let text = flowing(&source, &[]).await;
    assert!(
        text.contains("! Prometheus answered with 1 series that nobody asked for, and they are uploaded"),
        "{text}"
    );
    let text = flowing(&source, &["--match=up", "--match={job=a}"]).await;
    assert!(text.contains("! --match {job=^a} cannot be read at column 6"), "{text}");
}

#[tokio::test]
async fn a_selector_that_an_external_label_hides_is_found() {
    let source = FakeSource::of("up{job=\"a\",team=\"x\"} 1 NOW\n").await;
    let text = flowing(&source, &["--match=up{team!=\"x\"}"]).await;
    assert!(text.contains("asked for by up{team!=\"x\"} labels:") && !text.contains("matched nothing"), "{text}");
}

#[tokio::test]
async fn the_server_is_asked_for_its_labels_only_where_it_is_told_to() {
    let source = FakeSource::of("up{job=\"a\"} 1 NOW\n").await;
    let tokens = axum::routing::post(|| async {
        serde_json::json!({
            "version": 1, "token": "t", "expiresInSeconds": 60, "labels": {"_id": "c1", "account": "me@vendor.example"}
        })
        .to_string()
    });
    let listener = listen::bind("127.0.0.1:0").await.unwrap();
    let to = format!("--to=http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/authorize", tokens);
    tokio::spawn(listen::serve(listener, router, listen::ListenLimits::default(), std::future::pending()));

    let (_, text) = source.preview(&["--match=up", "-o", "text"]).await;
    assert_eq!(timeless(&text), "# TYPE up untyped\nup{_id=\"<set by the server>\",job=\"a\"} 1 NOW\n");
    let ask = ["--match=up", "--with-authorize", &to, "--id=c1", "--to-token=a", "-o", "text"];
    let (ended, text) = source.preview(&ask).await;
    assert_eq!(ended, Ok(ExitCode::SUCCESS));
    assert_eq!(timeless(&text), "# TYPE up untyped\nup{_id=\"c1\",account=\"me@vendor.example\",job=\"a\"} 1 NOW\n");
    let (ended, _) = source.preview(&["--match=up", "--with-authorize"]).await;
    assert!(ended.unwrap_err().contains("--to"), "without a server there is nobody to ask");
}

#[tokio::test]
async fn what_cannot_be_done_is_an_error() {
    let source = FakeSource::of("not metrics").await;
    let (ended, text) = source.preview(&["--match=up"]).await;
    assert!(ended.unwrap_err().contains("cannot be read") && text.is_empty(), "{text}");
    let (ended, _) = source.preview(&["--match=up", "-o", "text", "--diff=x"]).await;
    assert!(ended.unwrap_err().contains("--diff"));
}
