//! Hostile callers that use up what they can, next to a well-behaved one that must not notice. Hostile callers have an address of
//! their own.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use support::{
    CLUSTER, SOON, TestServer, body, composite,
    fake::{FakeAnswer, approve},
};
use telemeter_http::budget::{MemoryBudget, MemoryShare};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

/// Little enough for a test to use it up.
const MEMORY_BYTES: usize = 32 << 20;

async fn server(change: impl FnOnce(&mut telemeter_server::Config)) -> TestServer {
    TestServer::with(|config| {
        config.limits.memory_bytes = Some(MEMORY_BYTES);
        change(config);
    })
    .await
}

async fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// A connection that has sent this, and sends no more.
async fn stalled(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(to).await;
    // One that is refused may be closed already.
    let _ = stream.write_all(bytes).await;
    stream
}

/// The beginning of a response; empty where the connection is closed.
async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 1024];
    let read = tokio::time::timeout(SOON, stream.read(&mut bytes)).await.expect("an answer soon").unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

fn head(path: &str, token: &str, format: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: {format}\r\n\
         content-length: {length}\r\n\r\n"
    )
}

fn upload_head(token: &str, length: usize) -> String {
    head("/upload", token, "text/plain; version=0.0.4", length)
}

fn receive_head(cluster: &str, length: usize) -> String {
    head("/metrics/v1/receive", &composite(cluster), "application/x-protobuf", length)
}

async fn share_is_kept(server: &TestServer) {
    let budget = MemoryBudget::new(MEMORY_BYTES);
    for share in MemoryShare::ALL {
        let used = server.metric(&format!("telemeter_memory_used_bytes{{share=\"{}\"}}", share.label())).await;
        let capacity = server.metric(&format!("telemeter_memory_budget_bytes{{share=\"{}\"}}", share.label())).await;
        assert_eq!(capacity, budget.capacity_bytes(share) as f64);
        assert!(used <= capacity, "{share:?}: {used} of {capacity}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_bodies_of_one_token_take_no_other_cluster_s_memory() {
    let server = server(|config| config.limits.concurrent_per_cluster = 8).await;
    let (token, hostile) = (server.token(CLUSTER).await, server.token("hostile").await);
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(stalled(server.server.external(), (upload_head(&hostile, 1000) + "u").as_bytes()).await);
        assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
    }
    let answer = server.upload(&hostile, &["up,_id=hostile 1@0"]).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    assert_eq!(server.receive("hostile", &["up,_id=hostile 1@0"]).await.status, 503, "over both entrances");
    assert_eq!(server.receive(CLUSTER, &["up,_id=c1 1@0"]).await.status, 200);
    let refused = r#"telemeter_refused_requests_total{handler="upload",reason="concurrency"}"#;
    assert_eq!(server.metric(refused).await, 33.0);
    drop(held);
    let start = Instant::now();
    while server.upload(&hostile, &["up,_id=hostile 1@0"]).await.status != 200 {
        assert!(start.elapsed() < SOON, "what is over is given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_unverified_callers_shut_no_cluster_out() {
    let server = server(|_| ()).await;
    let token = server.token(CLUSTER).await;
    let form = "POST /authorize HTTP/1.1\r\nhost: x\r\nauthorization: Bearer any\r\n\
                content-type: application/x-www-form-urlencoded\r\ncontent-length: 100\r\n\r\ni";
    let start = Instant::now();
    let mut held = Vec::new();
    for _ in 0..15 {
        for _ in 0..50 {
            held.push(stalled(server.server.external(), form.as_bytes()).await);
        }
        assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
        assert_eq!(server.authorize("new", "secret").await.status, 200);
        share_is_kept(&server).await;
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    let last = held.last_mut().unwrap();
    let answer = answer(last).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "a form has 5 s: {answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_bodies_of_one_cluster_hold_a_part() {
    let server = server(|config| config.limits.concurrent_per_cluster = 1000).await;
    let token = server.token(CLUSTER).await;
    let part = (receive_head("hostile", 200_000).into_bytes(), vec![b'x'; 100_000]);
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(stalled(server.server.external(), &[&part.0[..], &part.1].concat()).await);
        assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
    }
    share_is_kept(&server).await;
    let used = server.metric(r#"telemeter_memory_used_bytes{share="bodies"}"#).await;
    let capacity = MemoryBudget::new(MEMORY_BYTES).capacity_bytes(MemoryShare::Bodies) as f64;
    assert!(used > 0.0 && used < capacity / 3.0, "{used} of {capacity}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_bodies_of_many_clusters_make_room() {
    let server = server(|_| ()).await;
    let token = server.token(CLUSTER).await;
    let mut held = Vec::new();
    for cluster in 0..100 {
        let head = receive_head(&format!("hostile{cluster}"), 200_000).into_bytes();
        held.push(stalled(server.server.external(), &[&head[..], &vec![b'x'; 100_000]].concat()).await);
    }
    // Those that began a moment ago are not slow.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for _ in 0..20 {
        let series: Vec<String> = (0..500).map(|at| format!("up,_id=c1,pod=pod-number-{at} 1@0")).collect();
        let series: Vec<&str> = series.iter().map(String::as_str).collect();
        assert_eq!(server.upload(&token, &series).await.status, 200);
    }
    share_is_kept(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_to_the_authority_holds_no_body() {
    let server = server(|_| ()).await;
    let token = server.token(CLUSTER).await;
    server.authority.says(|asked| approve(asked).after(Duration::from_secs(3)));
    let mut held = Vec::new();
    for _ in 0..20 {
        let head = receive_head("slow", 1_000_000).into_bytes();
        let mut stream = connect(server.server.external()).await;
        held.push(tokio::spawn(async move {
            let _ = stream.write_all(&[&head[..], &vec![b'x'; 1_000_000]].concat()).await;
            stream
        }));
    }
    while server.authority.count() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let budget = MemoryBudget::new(MEMORY_BYTES);
    for share in [MemoryShare::Bodies, MemoryShare::Workspaces, MemoryShare::Forward] {
        let used = server.metric(&format!("telemeter_memory_used_bytes{{share=\"{}\"}}", share.label())).await;
        // What is left of an earlier request is an idle workspace.
        assert!(share == MemoryShare::Workspaces || used == 0.0, "{share:?}: {used}");
    }
    let connections = server.metric(r#"telemeter_memory_used_bytes{share="connections"}"#).await;
    assert!(connections < budget.capacity_bytes(MemoryShare::Connections) as f64 / 4.0, "{connections}");
    assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
    for task in held {
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_shut_no_cluster_out() {
    let server = server(|_| ()).await;
    let token = server.token(CLUSTER).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        for _ in 0..120 {
            held.push(connect(server.server.external()).await);
        }
        // Each on a connection of its own.
        for path in ["/healthz", "/healthz/ready"] {
            let mut stream = TcpStream::connect(server.server.external()).await.unwrap();
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
            let answer = answer(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        assert_eq!(server.upload(&token, &["up,_id=c1 1@0"]).await.status, 200);
        share_is_kept(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dripping_body_has_seconds() {
    let server = server(|_| ()).await;
    let token = server.token(CLUSTER).await;
    let start = Instant::now();
    let (from, mut to) = stalled(server.server.external(), upload_head(&token, 1000).as_bytes()).await.into_split();
    let drip = tokio::spawn(async move {
        while to.write_all(b"u").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut from = from;
    let mut bytes = [0; 12];
    tokio::time::timeout(SOON, from.read_exact(&mut bytes)).await.expect("before its 30 s").unwrap();
    assert_eq!(&bytes, b"HTTP/1.1 503");
    assert!(start.elapsed() >= Duration::from_secs(5), "{:?}", start.elapsed());
    drip.abort();
}

#[tokio::test]
async fn broken_framing_is_a_400() {
    let server = server(|_| ()).await;
    let token = server.token(CLUSTER).await;
    let request = format!(
        "POST /upload HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: text/plain\r\n\
         transfer-encoding: chunked\r\n\r\nnonsense\r\n"
    );
    let mut stream = stalled(server.server.external(), request.as_bytes()).await;
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await.expect("closed").unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("the framing of the body is malformed"), "{answer}");
    assert!(!answer.contains("retry-after"), "{answer}");
    let refused = r#"telemeter_refused_requests_total{handler="upload",reason="framing"}"#;
    assert_eq!(server.metric(refused).await, 1.0);
}

#[tokio::test]
async fn the_internal_listener_answers_to_loopback_s_names_alone() {
    let server = server(|_| ()).await;
    let ask = async |method: &str, path: &str, header: (&str, &str)| {
        let url = server.internal(path);
        let request = server.outbound.http().request(method.parse().unwrap(), url).header(header.0, header.1);
        server.send(request).await.status
    };
    for path in ["/", "/metrics", "/healthz", "/healthz/ready", "/debug/pprof/", "/nothing"] {
        assert_eq!(ask("GET", path, ("host", "page.example")).await, 421, "{path}");
    }
    assert_eq!(ask("GET", "/metrics", ("host", "localhost:1")).await, 200);
    assert_eq!(ask("POST", "/-/reload", ("host", "localhost:9004")).await, 200, "a reloader in the same pod");
    assert_eq!(ask("POST", "/-/reload", ("origin", "https://page.example")).await, 403);
    assert_eq!(ask("POST", "/-/reload", ("sec-fetch-site", "cross-site")).await, 403);
    assert_eq!(server.get(server.external("/healthz")).await.status, 200);
    let external = server.outbound.http().get(server.external("/healthz")).header("host", "anything.example");
    assert_eq!(server.send(external).await.status, 200, "the external one has any name");
}

#[tokio::test]
async fn where_it_listens_wider_names_and_a_token_can_be_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "one\n").unwrap();
    let server = server(|config| {
        config.listen_internal = "0.0.0.0:0".to_owned();
        config.internal_access.allowed_hosts = vec!["telemeter.svc".to_owned()];
        config.internal_access.token_file = Some(path.clone());
        let keep = Duration::from_secs(60);
        config.recent_store = Some(telemeter_server::config::RecentStoreSettings { keep, max_bytes: 1 << 20 });
    })
    .await;
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", server.server.internal().port());
    let ask = async |path: &str, host: &str, token: &str| {
        let request = server.outbound.http().get(url(path)).header("host", host).bearer_auth(token);
        server.send(request).await.status
    };
    assert_eq!(ask("/metrics", "telemeter.svc:9004", "one").await, 200);
    assert_eq!(ask("/metrics", "127.0.0.1", "one").await, 200);
    assert_eq!(ask("/metrics", "page.example", "one").await, 421);
    assert_eq!(ask("/metrics", "telemeter.svc", "other").await, 401);
    for path in ["/api/v1/summary", "/api/v1/clusters", "/families", "/federate?match[]=up"] {
        assert_eq!(ask(path, "telemeter.svc", "one").await, 200, "{path}");
        assert_eq!(ask(path, "telemeter.svc", "other").await, 401, "{path}");
        assert_eq!(ask(path, "page.example", "one").await, 421, "{path}");
    }
    assert_eq!(ask("/healthz", "telemeter.svc", "other").await, 200, "health wants none");
    std::fs::write(&path, "other\n").unwrap();
    server.server.reload().await.unwrap();
    assert_eq!(ask("/metrics", "telemeter.svc", "one").await, 401);
    assert_eq!(ask("/metrics", "telemeter.svc", "other").await, 200);
    std::fs::remove_file(&path).unwrap();
    let error = server.server.reload().await.unwrap_err();
    assert!(error.contains("--internal-token-file"), "{error}");
    assert_eq!(ask("/metrics", "telemeter.svc", "other").await, 200, "the old one stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_slow_store_holds_no_more_than_its_share() {
    let server = server(|config| config.limits.concurrent_per_cluster = 1000).await;
    server.store.answers(FakeAnswer::of(200).after(Duration::from_secs(2)));
    // Text that snappy cannot make much shorter.
    let mut state = 1_u64;
    let noise: String = (0..150_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'a' + (state >> 59) as u8 % 26)
        })
        .collect();
    let labels: String = noise
        .as_bytes()
        .chunks(10_000)
        .enumerate()
        .map(|(at, part)| format!(",l{at}={}", String::from_utf8_lossy(part)))
        .collect();
    // Of many clusters: one may fill an eighth of what may wait.
    let send = |number: usize| {
        let cluster = format!("c{}", number % 12);
        let block = body::block(&body::write_request(&[&format!("up,_id={cluster}{labels} 1@0")]));
        assert!(block.len() > 60_000, "{}", block.len());
        let server = &server;
        async move { server.send(server.receive_of(&cluster, block)).await }
    };
    let all: Vec<_> = (0..60).map(send).collect();
    let answer = futures_util::future::join_all(all).await;
    let taken = answer.iter().filter(|answer| answer.status == 200).count();
    let refused =
        answer.iter().filter(|answer| answer.status == 503 && answer.header("retry-after") == Some("5")).count();
    assert_eq!(taken + refused, 60, "{answer:?}");
    assert!(taken > 5 && refused > 5, "{taken} taken, {refused} refused at once");
    share_is_kept(&server).await;
}
