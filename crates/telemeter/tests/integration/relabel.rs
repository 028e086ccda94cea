//! Tests `telemeter policy export --write-relabel` against the client: one Prometheus is scraped by our client, and
//! sends remote write itself with the exported configuration. Both ways must send the same series.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    routing::{get, post},
};
use parking_lot::Mutex;
use telemeter_http::listen;
use telemeter_wire::{
    Arena, DecodeLimits, SeriesSet,
    exposition::{self, ExpositionFormat},
    remote_write, snappy,
};

use crate::{
    process::{ProgramStart, RunningProgram, free_port, local, until},
    stores,
};

const ID: &str = "00000000-0000-4000-8000-00000000000e";
/// How long it may take until all series have arrived.
const PATIENCE: Duration = Duration::from_secs(60);
const MAX_BYTES: usize = 16 << 20;

type SeriesLabels = BTreeMap<String, String>;

/// The series that arrived, by the way that they were sent.
#[derive(Clone, Default)]
struct Sink {
    metrics: Arc<String>,
    uploaded: Arc<Mutex<BTreeSet<SeriesLabels>>>,
    written: Arc<Mutex<BTreeSet<SeriesLabels>>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_series_leave_by_the_client_and_by_an_exported_relabelling() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy");
    let metrics = std::fs::read_to_string(here.join("metrics.txt")).expect("the test's own metrics");
    let (left, total) = leave_both_ways(&here.join("rules.txt"), &metrics).await;
    assert_eq!((left, total), (32, 61), "series that leave, of all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_series_of_a_real_cluster_leave_both_ways() {
    let Some(folder) = realistic() else {
        #[allow(clippy::print_stderr, reason = "who runs it should see that it was skipped")]
        {
            eprintln!("skipped: no matches.txt and federate-sample.txt here; TELEMETER_RECORDED/.. would hold them");
        }
        return;
    };
    let sample = std::fs::read_to_string(folder.join("federate-sample.txt")).expect("the sample");
    let (left, _) = leave_both_ways(&folder.join("matches.txt"), &sample).await;
    assert!(left > 100, "only {left} series left");
}

/// Returns the folder with realistic rules and metrics, where it exists.
fn realistic() -> Option<PathBuf> {
    let default = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/recorded").into();
    let recorded: PathBuf = std::env::var_os("TELEMETER_RECORDED").map_or_else(default, Into::into);
    let folder = recorded.parent()?.to_owned();
    ["matches.txt", "federate-sample.txt"].iter().all(|file| folder.join(file).is_file()).then_some(folder)
}

/// Sends series both ways until the results are equal. Returns how many series were sent, and how many there are.
async fn leave_both_ways(rules: &Path, metrics: &str) -> (usize, usize) {
    let folder = tempfile::tempdir().expect("there is a place for temporary files");
    let path = folder.path();
    let export = Command::new(env!("CARGO_BIN_EXE_telemeter"))
        .args(["policy", "export", "--write-relabel", "--label", "origin=a$b", "--id", ID])
        .arg(rules)
        .output()
        .expect("our own program");
    let relabelling = String::from_utf8(export.stdout).expect("text");
    assert!(export.status.success(), "{relabelling}");

    // The timestamps are removed, because some samples are years old: they get the time of the scrape.
    let untimed = |line: &str| {
        let value = line.rfind(['}', ' ']).filter(|_| !line.starts_with('#'));
        match (value, line.rfind('}')) {
            (Some(_), Some(end)) => {
                let value = line[end + 1..].split_whitespace().next().unwrap_or("1");
                format!("{} {value}\n", &line[..=end])
            }
            (Some(_), None) => line.split_whitespace().take(2).collect::<Vec<_>>().join(" ") + "\n",
            (None, _) => format!("{line}\n"),
        }
    };
    let metrics: String = metrics.lines().map(untimed).collect();
    let total = metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    let sink = Sink { metrics: Arc::new(metrics), ..Sink::default() };
    let listener = listen::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a port");
    let router = Router::new()
        .route("/metrics", get(|State(sink): State<Sink>| async move { sink.metrics.to_string() }))
        .route("/authorize", post(|| async { grant() }))
        .route("/upload", post(upload))
        .route("/write", post(write))
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BYTES))
        .with_state(sink.clone());
    tokio::spawn(listen::serve(listener, router, listen::ListenLimits::default(), std::future::pending()));

    let indented: String = relabelling.lines().map(|line| format!("  {line}\n")).collect();
    let config = format!(
        "global: {{scrape_interval: 1s, external_labels: {{prometheus_replica: r0}}}}\n\
         scrape_configs:\n\
         - job_name: metrics\n  honor_labels: true\n  static_configs: [{{targets: ['{address}']}}]\n\
         remote_write:\n\
         - url: http://{address}/write\n  queue_config: {{max_shards: 1, batch_send_deadline: 200ms}}\n{indented}"
    );
    let prometheus = stores::prometheus(path, "relabelling", free_port(), &config, &[]).await;
    let flags = [
        ("listen", local(free_port()).to_string()),
        ("from", prometheus.api.url().to_owned()),
        ("to", format!("http://{address}")),
        ("to-token", "a-token".to_owned()),
        ("id", ID.to_owned()),
        ("interval", "1s".to_owned()),
        // The client always has a `--match` selector; this one matches no series.
        ("match", "{__name__=\"no_such_metric\"}".to_owned()),
        ("match-file", rules.display().to_string()),
        ("label", "origin=a$b".to_owned()),
        ("limit-bytes", MAX_BYTES.to_string()),
    ];
    let arguments = flags.into_iter().map(|(flag, value)| format!("--{flag}={value}")).collect();
    let program = OsStr::new(env!("CARGO_BIN_EXE_telemeter-client"));
    let start = ProgramStart { name: "telemeter-client", program, arguments, environment: Vec::new() };
    let _client = RunningProgram::start(path, start);

    until("the same series both ways", PATIENCE, || async {
        let (uploaded, written) = (sink.uploaded.lock().clone(), sink.written.lock().clone());
        if !uploaded.is_empty() && uploaded == written {
            return Ok(());
        }
        let (by_client, by_relabelling): (Vec<_>, Vec<_>) =
            (uploaded.difference(&written).collect(), written.difference(&uploaded).collect());
        Err(format!("only by the client {by_client:?}, only by relabelling {by_relabelling:?}"))
    })
    .await;
    // Series that arrive late would be an error.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (uploaded, written) = (sink.uploaded.lock().clone(), sink.written.lock().clone());
    assert_eq!(uploaded, written);
    for series in &written {
        assert_eq!(series.get("_id").map(String::as_str), Some(ID), "{series:?}");
        assert_eq!(series.get("origin").map(String::as_str), Some("a$b"), "{series:?}");
        assert!(series.keys().all(|name| name == "__name__" || !name.starts_with("__")), "{series:?}");
        assert_ne!(series.get("__name__").map(String::as_str), Some("ALERTS"), "{series:?}");
    }
    (written.len(), total)
}

/// The answer of `/authorize`.
fn grant() -> String {
    let labels = serde_json::json!({ "_id": ID });
    serde_json::json!({ "version": 1, "token": "a-token", "expiresInSeconds": 600, "labels": labels }).to_string()
}

async fn upload(State(sink): State<Sink>, body: Bytes) {
    let mut plain = Vec::new();
    snappy::decode_framed(&body, MAX_BYTES, &mut plain).expect("snappy");
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    exposition::decode(ExpositionFormat::Delimited, &plain, &DecodeLimits::default(), &mut set).expect("families");
    sink.uploaded.lock().extend(labels(&set));
}

async fn write(State(sink): State<Sink>, body: Bytes) {
    let mut plain = Vec::new();
    snappy::decode_block(&body, MAX_BYTES, &mut plain).expect("snappy");
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    remote_write::decode(&plain, &DecodeLimits::default(), &mut set).expect("a write request");
    sink.written.lock().extend(labels(&set));
}

fn labels(set: &SeriesSet<'_>) -> Vec<SeriesLabels> {
    let of_series = |labels: &[telemeter_wire::Label<'_>]| {
        let told = labels.iter().filter(|label| !label.value.is_empty());
        told.map(|label| (label.name.to_owned(), label.value.to_owned())).collect()
    };
    set.iter().map(|series| of_series(series.labels)).collect()
}
