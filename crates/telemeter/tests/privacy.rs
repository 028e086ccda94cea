//! Runs the commands of docs/privacy.md in order and in one directory, against a fake Prometheus, and compares the
//! output with the text below each command; `UPDATE=1` rewrites that text.
#![allow(clippy::unwrap_used)]

use std::{fs, net::SocketAddr, path::Path, process::Command};

use axum::{Router, http::header, routing::get};
use telemeter_http::{clock::Clock, listen};
use telemeter_test_support::golden;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/privacy.md");
const SCRAPE: &str = include_str!("golden/preview/scrape.txt");
const BEGIN: &str = "\n```sh test\n";
const SHOWN: &str = "\n```\n\n```text\n";
const END: &str = "```\n";

async fn prometheus() -> SocketAddr {
    let answer = || async {
        let body = SCRAPE.replace("NOW", &Clock::system().now_ms().to_string());
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], body)
    };
    let listener = listen::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/federate", get(answer));
    tokio::spawn(listen::serve(listener, router, listen::ListenLimits::default(), std::future::pending()));
    address
}

/// Runs `block`, and returns its standard output. The compressed size of an upload is replaced, because it depends on
/// the time in the upload.
fn run(block: &str, directory: &Path, prometheus: SocketAddr) -> String {
    let script = block.replace("localhost:9090", &prometheus.to_string());
    let programs = Path::new(env!("CARGO_BIN_EXE_telemeter-client")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let shell = Command::new("sh").args(["-euc", &script]).current_dir(directory).env("PATH", path).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&shell.stdout), String::from_utf8_lossy(&shell.stderr));
    assert!(shell.status.success(), "{block}\n{out}{err}");
    let size = regex::Regex::new("[0-9]+ B as it is uploaded").unwrap();
    let time = regex::Regex::new(" [0-9]{13}\\b").unwrap();
    let named = out.replace(&prometheus.to_string(), "localhost:9090");
    time.replace_all(&size.replace_all(&named, "300 B as it is uploaded"), " 1795330870734").into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_page_shows_is_what_is_printed() {
    let (prometheus, directory) = (prometheus().await, tempfile::tempdir().unwrap());
    let held = fs::read_to_string(PAGE).unwrap();
    let mut blocks = held.split(BEGIN);
    let mut made = blocks.next().unwrap().to_owned();
    let mut commands = 0;
    for rest in blocks {
        let (block, rest) = rest.split_once(SHOWN).expect("what a command prints stands below it");
        let behind = rest.strip_prefix(END).or_else(|| rest.split_once("\n```\n").map(|(_, behind)| behind)).unwrap();
        let printed = run(block, directory.path(), prometheus);
        assert!(!printed.trim().is_empty(), "{block} prints nothing");
        made += &format!("{BEGIN}{block}{SHOWN}{printed}{END}{behind}");
        commands += 1;
    }
    assert!(commands >= 5, "{commands} commands");
    golden::check(PAGE, &made);
}
