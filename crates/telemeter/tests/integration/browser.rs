//! Tests the pages in a browser: a quickstart with made-up clusters, and `tests/browser/click.mjs`, which clicks
//! through the pages of its server.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::until;
use crate::promql::http;
use crate::stores::start;

/// How long it may take until one of the made-up clusters is refused.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the browser may take for all pages.
const CLICKING: Duration = Duration::from_secs(240);
/// The made-up clusters that are refused: one with an unknown token, and one that sends series of another cluster.
const REFUSED: [&str; 2] =
    ["de300000-0000-4000-8000-000000000008=authority_refused", "de300000-0000-4000-8000-000000000012=identity"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_are_clicked_through() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/browser");
    let installed = here.join("node_modules").exists();
    assert!(installed, "run scripts/install-tools: it runs `npm ci` in {}", here.display());
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let arguments = [
        "quickstart",
        "--prometheus=",
        "--listen=localhost:0",
        "--listen-internal=localhost:0",
        "--listen-client=localhost:0",
        "--listen-authority=localhost:0",
        "--interval=1s",
        "--clusters=20",
    ];
    let program = OsStr::new(env!("CARGO_BIN_EXE_telemeter"));
    let mut quickstart = start(folder.path(), "quickstart", program, arguments.map(str::to_owned).to_vec());

    let log = folder.path().join("quickstart.log");
    let pages = until("the address of the pages", PATIENCE, || async {
        let said = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
        let line = said.lines().find(|line| line.starts_with("  pages ") && line.contains("http://"));
        line.and_then(|line| line.split_whitespace().nth(1)).map(str::to_owned).ok_or(said)
    })
    .await;
    let pages = pages.trim_end_matches('/');
    let refused = format!("{pages}/api/v1/clusters?status=refused");
    let http = http();
    until("a cluster that is refused", PATIENCE, || async {
        let answer = http.get(&refused).send().await.map_err(|error| error.to_string())?;
        let list: Value = answer.json().await.map_err(|error| error.to_string())?;
        if list["total"].as_u64() > Some(0) { Ok(()) } else { Err(list.to_string()) }
    })
    .await;

    let mut click = Command::new("node");
    click.arg(here.join("click.mjs")).arg(pages).args(REFUSED).stdin(Stdio::null()).kill_on_drop(true);
    let clicked = timeout(CLICKING, click.output()).await.expect("a browser is done in minutes");
    let clicked = clicked.expect("node is there: scripts/install-tools installs it");
    let [said, complained] = [&clicked.stdout, &clicked.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(clicked.status.success(), "{said}{complained}");
    quickstart.assert_running();
}
