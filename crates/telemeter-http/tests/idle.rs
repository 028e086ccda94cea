//! Tests that a connection which was idle for long, and has released its buffers, goes on as before.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use telemeter_http::body;
use telemeter_http::budget::{MemoryBudget, MemoryShare};
use telemeter_http::listen::ListenLimits;
use telemeter_http::tls::ListenerTls;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use support::{SOON, Serving, connect_tls, limits, write_pair};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A listener with or without TLS whose connections may be idle for long.
struct IdleListener {
    serving: Serving,
    budget: MemoryBudget,
    cert: Option<PathBuf>,
    _folder: tempfile::TempDir,
}

impl IdleListener {
    async fn start(tls: bool, change: impl FnOnce(&mut ListenLimits)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = write_pair(folder.path(), "one");
        let budget = MemoryBudget::new(64 << 20);
        let mut limits =
            ListenLimits { idle_timeout: SOON * 10, header_timeout: SOON * 10, budget: budget.clone(), ..limits() };
        change(&mut limits);
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/read", post(read))
            .route("/ignore", post(|| async { "ignored" }));
        let listener_tls = tls.then(|| ListenerTls::load(&cert, &key).unwrap());
        let serving = Serving::start(router, listener_tls, limits).await;
        Self { serving, budget, cert: tls.then_some(cert), _folder: folder }
    }

    async fn connect(&self) -> Box<dyn Stream> {
        match &self.cert {
            Some(cert) => Box::new(connect_tls(&self.serving, "127.0.0.1", cert, b"http/1.1").await.unwrap()),
            None => Box::new(self.serving.connect().await),
        }
    }

    fn used_bytes(&self) -> usize {
        self.budget.used_bytes(MemoryShare::Connections)
    }

    /// Waits until the only connection has released its buffers.
    async fn buffers_are_released(&self) {
        let start = Instant::now();
        while self.used_bytes() > 10 << 10 {
            assert!(start.elapsed() < SOON, "{} bytes are held", self.used_bytes());
            sleep(Duration::from_millis(10)).await;
        }
        // Its task does so a moment after it has counted them as released.
        sleep(Duration::from_millis(20)).await;
    }
}

async fn read(body: Body) -> String {
    let mut into = Vec::new();
    let read = body::read(body, 1 << 20, SOON, &mut into).await;
    format!("{} bytes, {}", into.len(), read.is_ok())
}

fn upload(path: &str, bytes: usize) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {bytes}\r\n\r\n").into_bytes();
    request.resize(request.len() + bytes, b'x');
    request
}

/// Reads until a response with this body has arrived.
async fn answered(stream: &mut (impl AsyncRead + Unpin), expected: &str) {
    let mut answer = Vec::new();
    while !answer.ends_with(format!("\r\n\r\n{expected}").as_bytes()) {
        let read = timeout(SOON, stream.read_buf(&mut answer)).await.expect("an answer").unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{:?}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn requests_go_on_after_the_buffers_were_released() {
    for tls in [false, true] {
        let listener = IdleListener::start(tls, |_| ()).await;
        let mut stream = listener.connect().await;
        listener.buffers_are_released().await;
        for (request, expected) in [
            (GET.to_vec(), "hello"),
            (upload("/read", 10), "10 bytes, true"),
            (upload("/read", 300_000), "300000 bytes, true"),
            (GET.repeat(3), "hello"),
        ] {
            stream.write_all(&request).await.unwrap();
            answered(&mut stream, expected).await;
            listener.buffers_are_released().await;
        }
        drop(stream);
        let start = Instant::now();
        while listener.used_bytes() > 0 {
            assert!(start.elapsed() < SOON, "the end of an idle connection is noticed");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn bytes_that_come_one_by_one_are_not_lost() {
    for tls in [false, true] {
        let listener = IdleListener::start(tls, |_| ()).await;
        let mut stream = listener.connect().await;
        stream.write_all(GET).await.unwrap();
        answered(&mut stream, "hello").await;
        for _ in 0..2 {
            listener.buffers_are_released().await;
            let request = upload("/read", 3);
            for byte in request.chunks(1) {
                stream.write_all(byte).await.unwrap();
                stream.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
            answered(&mut stream, "3 bytes, true").await;
        }
    }
}

/// The beginning of the next request arrives together with a body, so HTTP has it in its buffer while the connection
/// seems to be idle.
#[tokio::test]
async fn half_a_request_that_came_with_the_one_before_is_not_lost() {
    let listener = IdleListener::start(false, |_| ()).await;
    let mut stream = listener.connect().await;
    let (half, rest) = GET.split_at(10);
    stream.write_all(&[&upload("/read", 5), half].concat()).await.unwrap();
    answered(&mut stream, "5 bytes, true").await;
    sleep(Duration::from_millis(2500)).await;
    stream.write_all(rest).await.unwrap();
    answered(&mut stream, "hello").await;
}

#[tokio::test]
async fn a_connection_whose_body_was_not_read_ends_as_before() {
    let listener = IdleListener::start(false, |_| ()).await;
    let mut stream = listener.connect().await;
    let request = upload("/ignore", 100_000);
    stream.write_all(&request[..200]).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.expect("it is closed").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ignored"), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_ends_at_shutdown_and_at_its_deadline() {
    for tls in [false, true] {
        let mut listener = IdleListener::start(tls, |_| ()).await;
        let mut stream = listener.connect().await;
        listener.buffers_are_released().await;
        listener.serving.begin_stop();
        // With TLS, the end without a farewell would be an error.
        assert_eq!(timeout(SOON, stream.read(&mut [0])).await.expect("it is closed").unwrap(), 0);
        listener.serving.stopped().await;

        let listener = IdleListener::start(tls, |limits| limits.idle_timeout = Duration::from_secs(3)).await;
        let mut stream = listener.connect().await;
        stream.write_all(GET).await.unwrap();
        answered(&mut stream, "hello").await;
        listener.buffers_are_released().await;
        assert_eq!(timeout(SOON, stream.read(&mut [0])).await.expect("it is closed").unwrap(), 0);
    }
}
