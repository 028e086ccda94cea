//! The real server, as a process of its own, between a stub authority and a counting store: CPU a request (user and
//! system, of the server alone, from `/proc`), allocations, latency, and peak memory.
//!
//! 16 keep-alive connections each send one request after the other, or make a new connection for each; the ways in take
//! turns, and the best round counts (a neighbour can only add). TLS has a server of its own. With `BENCH_ONLY` only the ways
//! in are measured whose name holds it; `BENCH_SERVER` is another build of the server. `TELEMETER_SAMPLE` and
//! `TELEMETER_RULES` name a text exposition and a list of selectors to use in place of the made-up ones, `BENCH_JSON` a file for
//! the results, `BENCH_SECONDS` how long a round is.

#![allow(clippy::print_stdout, clippy::disallowed_methods, missing_docs)]

mod allocations;
mod connection;
#[path = "../../../telemeter-server/benches/pipeline/payload.rs"]
mod payload;
mod process;
mod sink;
mod tls;

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use telemeter_auth::authority::mock;
use telemeter_http::listen;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use self::{
    connection::BenchConnection,
    payload::{BenchBodies, CLUSTER},
};

/// What the stub authority knows.
const TOKEN: &str = "a";
const CONNECTIONS: usize = 16;
const ROUNDS: usize = 3;
const WARM_UP: Duration = Duration::from_millis(500);

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = listen::bind("127.0.0.1:0").await.expect("a port");
    let authority_at = authority.local_addr().expect("an address");
    tokio::spawn(async move {
        let router = mock::router([TOKEN.into()]);
        listen::serve(authority, router, listen::ListenLimits::default(), std::future::pending()).await;
    });
    let store = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let store_at = store.local_addr().expect("an address");
    let counts = Arc::new(sink::SinkCounts::default());
    tokio::spawn(sink::serve(store, counts.clone()));

    let place = ServerDir { folder: folder.path(), authority: authority_at, store: store_at };
    let server = MeasuredServer::start(&place, &[]).await;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let sample = payload::sample();
    let payload = BenchBodies::new(&sample, now_ms);
    let tenfold: Vec<String> = (0..10).map(|copy| copy.to_string()).collect();
    let tenfold = BenchBodies::copies(&sample, &tenfold, now_ms);
    println!(
        "{} series, {} bytes as an upload, {} bytes as a remote write; {CONNECTIONS} connections",
        payload.series,
        payload.upload.len(),
        payload.receive.len()
    );
    let encrypted = MeasuredServer::start_with(&place, &tls::certificates(folder.path()), &[]).await;
    let asks: Vec<Ask> = asks(&server, &payload, &tenfold).await;
    let ways = ways(&asks);
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4.0);
    let mut best: Vec<Option<RequestRow>> = ways.iter().map(|_| None).collect();
    let mut allocated = Vec::new();
    for _ in 0..ROUNDS {
        for (way, best) in ways.iter().zip(&mut best) {
            let server = if way.client.is_some() { &encrypted } else { &server };
            server.load(way, WARM_UP).await;
            let row = server.load(way, Duration::from_secs_f64(seconds)).await;
            if best.as_ref().is_none_or(|best| row.cpu_micros < best.cpu_micros) {
                *best = Some(row);
            }
        }
    }
    for way in &ways {
        let is_counted = way.client.is_none() && !way.reconnects;
        allocated.push(if is_counted { Some(allocations::of(&place, way).await) } else { None });
    }
    let rows: Vec<RequestRow> = best.into_iter().flatten().collect();
    report(&rows, &allocated, &server, &counts);
}

/// One way in.
struct MeasuredRequest<'a> {
    name: String,
    ask: &'a Ask,
    /// Speaks TLS so.
    client: Option<tls::BenchClient>,
    /// Each request has a connection of its own.
    reconnects: bool,
}

fn ways(asks: &[Ask]) -> Vec<MeasuredRequest<'_>> {
    use tls::BenchClient;
    let mut ways: Vec<_> = asks
        .iter()
        .map(|ask| MeasuredRequest { name: ask.name.to_owned(), ask, client: None, reconnects: false })
        .collect();
    let upload = &asks[0];
    ways.extend([&asks[0], &asks[1], &asks[2]].map(|ask| MeasuredRequest {
        name: format!("{}, TLS", ask.name),
        ask,
        client: Some(BenchClient::PLAIN),
        reconnects: false,
    }));
    let anew = |name: &str, client| MeasuredRequest {
        name: format!("upload, new {name}"),
        ask: upload,
        client,
        reconnects: true,
    };
    ways.extend([
        anew("connection", None),
        anew("TLS, ECDSA", Some(BenchClient::PLAIN)),
        anew("TLS, RSA 2048", Some(BenchClient::RSA)),
        anew("TLS, resumed", Some(BenchClient::RESUMING)),
        anew("TLS 1.2, ECDSA", Some(BenchClient::OLD)),
        anew("TLS 1.2, RSA 2048", Some(BenchClient::OLD_RSA)),
        anew("TLS, ECDSA, P-256", Some(BenchClient::P256)),
        anew("TLS, ECDSA, ML-KEM", Some(BenchClient::POST_QUANTUM)),
    ]);
    if let Ok(only) = std::env::var("BENCH_ONLY") {
        ways.retain(|way| way.name.contains(&only));
    }
    ways
}

/// What is asked.
struct Ask {
    name: &'static str,
    path: &'static str,
    /// Every request asks for another cluster.
    anew: bool,
    authorization: String,
    headers: &'static [(&'static str, &'static str)],
    body: Bytes,
}

async fn asks(server: &MeasuredServer, payload: &BenchBodies, tenfold: &BenchBodies) -> Vec<Ask> {
    let authorize = |name, anew| Ask {
        name,
        path: "/authorize?id=",
        anew,
        authorization: format!("Bearer {TOKEN}"),
        headers: &[],
        body: Bytes::new(),
    };
    let known = authorize("authorize: a known cluster", false);
    let granted = server.ask(&known).await;
    let exchange = telemeter_auth::token_response::TokenResponse::from_json(&granted).expect("a grant");
    let upload = |name, payload: &BenchBodies| Ask {
        name,
        path: "/upload",
        anew: false,
        authorization: format!("Bearer {}", exchange.token.expose()),
        headers: &[
            ("content-type", telemeter_wire::exposition::DELIMITED_CONTENT_TYPE),
            ("content-encoding", "snappy"),
        ],
        body: payload.upload.clone().into(),
    };
    let receive = |name, payload: &BenchBodies| Ask {
        name,
        path: "/metrics/v1/receive",
        anew: false,
        authorization: format!("Bearer {}", composite_token()),
        headers: &[
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "0.1.0"),
        ],
        body: payload.receive.clone().into(),
    };
    vec![
        upload("upload", payload),
        receive("receive", payload),
        known,
        authorize("authorize: a new cluster", true),
        upload("upload, 10 times the series", tenfold),
        receive("receive, 10 times the series", tenfold),
    ]
}

/// The bearer of a remote write.
fn composite_token() -> String {
    BASE64_STANDARD.encode(format!(r#"{{"authorization_token":"{TOKEN}","cluster_id":"{CLUSTER}"}}"#))
}

/// What one way in came to.
struct RequestRow {
    name: String,
    requests: u64,
    per_second: f64,
    cpu_micros: f64,
    latency: Histogram<u64>,
}

/// Where servers are started.
struct ServerDir<'p> {
    folder: &'p std::path::Path,
    authority: SocketAddr,
    store: SocketAddr,
}

/// The process that is measured.
struct MeasuredServer {
    child: Child,
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    log: PathBuf,
}

impl MeasuredServer {
    /// A server that signs with a key of the folder's, so that a token of one is good for the next.
    async fn start(place: &ServerDir<'_>, environment: &[(&str, &str)]) -> Self {
        Self::start_with(place, &[], environment).await
    }

    /// The same with more flags.
    async fn start_with(place: &ServerDir<'_>, flags: &[String], environment: &[(&str, &str)]) -> Self {
        let ServerDir { folder, authority, store } = place;
        let (rules, key, log) = (folder.join("rules.txt"), folder.join("key.der"), folder.join("log"));
        fs::write(&rules, payload::rules()).expect("written");
        if !key.exists() {
            let made = rcgen::KeyPair::generate().expect("a P-256 key");
            fs::write(&key, made.serialize_der()).expect("written");
        }
        let ports = [process::free_port(), process::free_port()];
        let built = env!("CARGO_BIN_EXE_telemeter-server").to_owned();
        let child = Command::new(std::env::var("BENCH_SERVER").unwrap_or(built))
            .arg(format!("--listen={}", ports[0]))
            .arg(format!("--listen-internal={}", ports[1]))
            .arg(format!("--authorize=http://{authority}/"))
            .arg(format!("--forward-url=http://{store}/api/v1/write"))
            .arg("--whitelist-file")
            .arg(&rules)
            // One cluster is asked for again and again, and ten times its series are more than one has.
            .args(["--ratelimit=0s", "--limit-bytes=16777216", "--limit-receive-bytes=16777216"])
            .arg("--shared-key")
            .arg(&key)
            .args(flags)
            .envs(environment.iter().copied())
            .stderr(Stdio::from(fs::File::create(&log).expect("a log")))
            .spawn()
            .expect("the server starts");
        let server = Self { child, address: ports[0], asked: Arc::default(), log };
        let started = Instant::now();
        while TcpStream::connect(server.address).await.is_err() {
            assert!(started.elapsed() < Duration::from_secs(10), "the server does not answer:\n{}", server.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lets the server end in its own way, and says what it wrote.
    fn stop(&mut self) -> String {
        process::end(&mut self.child);
        self.said()
    }

    /// One request.
    async fn ask(&self, ask: &Ask) -> Bytes {
        let mut connection = BenchConnection::open(self.address, None).await;
        connection.ask(ask, 0).await
    }

    /// Asks for so long, on all connections.
    async fn load(&self, way: &MeasuredRequest<'_>, duration: Duration) -> RequestRow {
        let cpu = process::cpu(&self.child);
        let started = Instant::now();
        let mut connections = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let (address, asked) = (self.address, self.asked.clone());
            let ask = Ask { authorization: way.ask.authorization.clone(), body: way.ask.body.clone(), ..*way.ask };
            let (connector, reconnects) = (way.client.map(tls::BenchClient::connector), way.reconnects);
            connections.spawn(async move {
                let mut connection = BenchConnection::open(address, connector.as_ref()).await;
                let mut latency = Histogram::<u64>::new(3).expect("three digits");
                while started.elapsed() < duration {
                    let asked = asked.fetch_add(1, Ordering::Relaxed);
                    let began = Instant::now();
                    if reconnects {
                        connection = BenchConnection::open(address, connector.as_ref()).await;
                    }
                    connection.ask(&ask, asked).await;
                    latency.record(began.elapsed().as_micros() as u64).expect("it grows");
                }
                latency
            });
        }
        let mut latency = Histogram::<u64>::new(3).expect("three digits");
        while let Some(one) = connections.join_next().await {
            latency.add(one.expect("no panic")).expect("of one shape");
        }
        let (took, requests) = (started.elapsed(), latency.len());
        let cpu_micros = (process::cpu(&self.child) - cpu).as_secs_f64() * 1e6 / requests as f64;
        RequestRow {
            name: way.name.clone(),
            requests,
            per_second: requests as f64 / took.as_secs_f64(),
            cpu_micros,
            latency,
        }
    }
}

impl Drop for MeasuredServer {
    fn drop(&mut self) {
        // There is nothing to be done about a server that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn report(rows: &[RequestRow], allocated: &[Option<f64>], server: &MeasuredServer, counts: &sink::SinkCounts) {
    let millis = |row: &RequestRow, quantile| row.latency.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        "{:<28} {:>9} {:>9} {:>12} {:>12} {:>7} {:>7} {:>7} {:>7}",
        "way in", "requests", "a second", "CPU µs each", "allocations", "p50 ms", "p90 ms", "p99 ms", "max ms"
    );
    let mut json = String::from("[");
    for (row, allocated) in rows.iter().zip(allocated) {
        let RequestRow { name, requests, per_second, cpu_micros, latency } = row;
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|quantile| millis(row, quantile));
        let max = latency.max() as f64 / 1000.0;
        let allocated = allocated.map_or_else(|| "null".to_owned(), |count| format!("{count:.1}"));
        let shown = if allocated == "null" { "–" } else { &allocated };
        println!(
            "{name:<28} {requests:>9} {per_second:>9.0} {cpu_micros:>12.1} {shown:>12} {p50:>7.2} {p90:>7.2} {p99:>7.2} {max:>7.2}"
        );
        let separator = if json.len() > 1 { "," } else { "" };
        let _ = write!(
            json,
            "{separator}{{\"part\":{name:?},\"micros\":{cpu_micros:.2},\"per_second\":{per_second:.1},\"allocations\":{allocated},\
             \"p50_ms\":{p50},\"p90_ms\":{p90},\"p99_ms\":{p99},\"max_ms\":{max}}}"
        );
    }
    let [resident, peak] = process::memory(&server.child);
    println!("memory of the server: {resident:.1} MiB, at most {peak:.1} MiB");
    println!("the store took {} requests", counts.requests.load(Ordering::Relaxed));
    let _ = writeln!(json, ",{{\"part\":\"server memory\",\"resident_mib\":{resident:.1},\"peak_mib\":{peak:.1}}}]");
    if let Ok(file) = std::env::var("BENCH_JSON") {
        fs::write(&file, json).expect("BENCH_JSON can be written");
    }
}
