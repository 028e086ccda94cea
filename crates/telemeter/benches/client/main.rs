//! The real client, as a process of its own, between a Prometheus that answers at once and a real server: CPU of a cycle
//! (scrape, rules, upload) and resident memory, with one cluster's metrics and with 50,000 series.
//!
//! `TELEMETER_SAMPLE` names a text exposition to use in place of the made-up one, `BENCH_JSON` a file for the results.

#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs)]

#[path = "../../../telemeter-server/benches/pipeline/payload.rs"]
#[allow(dead_code, reason = "of this only the sample is used")]
mod payload;
#[path = "../server/process.rs"]
mod process;

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use telemeter_http::listen;

const LIMIT: &str = "--limit-bytes=67108864";

#[tokio::main]
async fn main() {
    let server = RecordingServer::start();
    let sample = payload::sample();
    let rows = [
        measure("one cluster's metrics", &sample, "20ms", 400, &server).await,
        measure("50,000 series", &many(50_000), "100ms", 5, &server).await,
    ];
    println!(
        "{:<24} {:>9} {:>9} {:>12} {:>11} {:>11}",
        "client", "bytes", "cycles", "CPU µs each", "MiB at last", "MiB at most"
    );
    let mut json = String::from("[");
    for row in &rows {
        let ClientBenchRow { name, bytes, cycles, cpu_micros, memory: [resident, peak] } = row;
        println!("{name:<24} {bytes:>9} {cycles:>9} {cpu_micros:>12.0} {resident:>11.1} {peak:>11.1}");
        let separator = if json.len() > 1 { "," } else { "" };
        let _ = write!(
            json,
            "{separator}{{\"part\":\"client: {name}\",\"micros\":{cpu_micros:.1},\"resident_mib\":{resident:.1},\"peak_mib\":{peak:.1}}}"
        );
    }
    json.push_str("]\n");
    if let Ok(file) = std::env::var("BENCH_JSON") {
        fs::write(&file, json).expect("BENCH_JSON can be written");
    }
}

/// What a client came to.
struct ClientBenchRow {
    name: &'static str,
    bytes: usize,
    cycles: u64,
    cpu_micros: f64,
    memory: [f64; 2],
}

/// Lets a client run so many cycles, begun this far apart; the first is not counted.
async fn measure(
    name: &'static str,
    sample: &str,
    interval: &str,
    cycles: u64,
    server: &RecordingServer,
) -> ClientBenchRow {
    let body = stamped(sample);
    let bytes = body.len();
    let (from, scrapes) = prometheus(body).await;
    let mut client = Started(
        Command::new(env!("CARGO_BIN_EXE_telemeter-client"))
            .arg("--listen=127.0.0.1:0")
            .arg(format!("--from=http://{from}/"))
            .arg(format!("--to=http://{}/", server.address))
            .args(["--id=c1", "--to-token=a", "--match={__name__!=\"\"}", LIMIT])
            .arg(format!("--interval={interval}"))
            .stderr(Stdio::null())
            .spawn()
            .expect("the client starts"),
    );
    let reach = async |wanted| {
        let started = Instant::now();
        while scrapes.load(Ordering::Relaxed) < wanted {
            assert!(started.elapsed() < Duration::from_secs(120), "the client does not scrape");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    reach(2).await;
    let cpu = process::cpu(&client.0);
    reach(2 + cycles).await;
    let cpu_micros = (process::cpu(&client.0) - cpu).as_secs_f64() * 1e6 / cycles as f64;
    let memory = process::memory(&client.0);
    process::end(&mut client.0);
    ClientBenchRow { name, bytes, cycles, cpu_micros, memory }
}

/// Answers every scrape with this body, and counts them.
async fn prometheus(body: String) -> (SocketAddr, Arc<AtomicU64>) {
    let scrapes = Arc::new(AtomicU64::new(0));
    let (body, count) = (bytes::Bytes::from(body), scrapes.clone());
    let federate = get(move || {
        count.fetch_add(1, Ordering::Relaxed);
        let body = body.clone();
        async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4")], body) }
    });
    let listener = listen::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let router = Router::new().route("/federate", federate);
    tokio::spawn(async move {
        listen::serve(listener, router, listen::ListenLimits::default(), std::future::pending()).await
    });
    (address, scrapes)
}

/// The sample as of now, as a Prometheus would answer: each line with a time.
fn stamped(sample: &str) -> String {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let mut body = String::new();
    for line in sample.lines().filter(|line| !line.trim().is_empty()) {
        let end = line.rfind('}').map_or(0, |brace| brace + 1);
        let value = line[end..].split_whitespace().next();
        match (line.starts_with('#'), value) {
            (false, Some(value)) if end > 0 => {
                let _ = writeln!(body, "{} {value} {now_ms}", &line[..end]);
            }
            (true, _) => {
                let _ = writeln!(body, "{line}");
            }
            _ => {}
        }
    }
    body
}

/// So many series, of 400 bytes each.
fn many(series: usize) -> String {
    let mut text = String::new();
    for index in 0..series {
        if index % 100 == 0 {
            let _ = writeln!(text, "# TYPE family_{} gauge", index / 100);
        }
        let _ = writeln!(
            text,
            "family_{}{{endpoint=\"metrics\",instance=\"10.0.150.196:9099\",job=\"cluster-version-operator\",\
             namespace=\"openshift-cluster-version\",node=\"ip-10-0-{:05}.eu-central-1.compute.internal\",\
             pod=\"cluster-version-operator-5cb5f8c9db-{index:06}\",service=\"cluster-version-operator\",\
             condition=\"Available\",prometheus=\"openshift-monitoring/k8s\",prometheus_replica=\"prometheus-k8s-0\",\
             padding=\"{}\"}} {index}",
            index / 100,
            index % 1000,
            "x".repeat(20),
        );
    }
    text
}

/// A server that takes everything and keeps a little of it.
struct RecordingServer {
    /// Held: it ends with this.
    _child: Started,
    address: SocketAddr,
}

impl RecordingServer {
    fn start() -> Self {
        let [address, internal] = [process::free_port(), process::free_port()];
        let child = Command::new(env!("CARGO_BIN_EXE_telemeter-server"))
            .arg(format!("--listen={address}"))
            .arg(format!("--listen-internal={internal}"))
            .args([
                "--insecure-allow-any-cluster",
                "--ratelimit=0s",
                "--recent-store=1m",
                "--recent-store-max-bytes=1048576",
            ])
            .arg(LIMIT)
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let server = Self { _child: Started(child), address };
        let started = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "the server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

/// A process that ends with what holds it.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // There is nothing to be done about one that is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
