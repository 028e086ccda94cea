//! Tests which requests the listener answers: which host names and tokens it accepts, and that connections without a
//! request do not block others.

use std::time::Duration;

use super::{
    RunningClient, TEXT,
    fake::{FakeTelemeter, NOW_MS, prometheus},
    quick,
};

#[tokio::test]
async fn half_requests_do_not_stop_it_from_telling_its_health() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (from, to) = (prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await, FakeTelemeter::default().start().await);
    let client = RunningClient::start(quick(&from, &to)).await;
    let address = client.base.strip_prefix("http://").expect("an address").to_owned();
    let socket = || async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.2:0".parse().expect("an address")).expect("bound");
        socket.connect(address.parse().expect("an address")).await.expect("connected")
    };
    let mut held = Vec::new();
    for _ in 0..6 {
        for _ in 0..50 {
            let mut half = socket().await;
            let _ = half.write_all(b"GET /healthz HTTP/1.1\r\nhost: ").await;
            held.push(half);
        }
        // A prober opens a new connection for each probe.
        let mut probe = tokio::net::TcpStream::connect(&address).await.expect("connected");
        probe.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").await.expect("written");
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_secs(20), probe.read_to_string(&mut answer)).await;
        assert!(read.is_ok_and(|read| read.is_ok()) && answer.ends_with("ok"), "{answer}");
    }
    client.end().await;
}

#[tokio::test]
async fn it_answers_to_loopback_s_names_and_to_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "hunter2\n").expect("written");
    let (from, to) = (prometheus(TEXT, format!("up 1 {NOW_MS}\n")).await, FakeTelemeter::default().start().await);
    let mut config = quick(&from, &to);
    config.internal_token_file = Some(token_file.clone());
    let client = RunningClient::start(config).await;
    let ask = async |path: &str, host: &str, token: &str| {
        let http = reqwest::Client::builder().build().expect("a client");
        let request = http.get(client.url(path)).header("host", host).bearer_auth(token);
        request.send().await.expect("an answer").status().as_u16()
    };
    for (path, host, token, expected) in [
        ("/federate", "localhost:8080", "hunter2", 200),
        ("/federate", "127.0.0.1:8080", "hunter2", 200),
        ("/federate", "page.example", "hunter2", 421),
        ("/healthz", "page.example", "hunter2", 421),
        ("/federate", "localhost:8080", "other", 401),
        ("/metrics", "localhost:8080", "", 401),
        ("/healthz", "localhost:8080", "other", 200),
    ] {
        assert_eq!(ask(path, host, token).await, expected, "{path} {host} {token}");
    }
    assert_eq!(client.reload().await.0, 401, "a reload wants it, too");
    std::fs::write(&token_file, "other\n").expect("written");
    let http = reqwest::Client::builder().build().expect("a client");
    let reload = http.post(client.url("/-/reload")).bearer_auth("hunter2").send().await.expect("an answer");
    assert_eq!(reload.status().as_u16(), 200);
    assert_eq!(ask("/federate", "localhost", "other").await, 200);
    assert_eq!(ask("/federate", "localhost", "hunter2").await, 401);
    client.end().await;
}
