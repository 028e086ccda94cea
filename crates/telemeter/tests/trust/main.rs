//! Tests which certificates the real programs trust: a bundle in `SSL_CERT_FILE` changes while they run.
#![allow(clippy::unwrap_used)]

mod files;

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::IntoResponse as _,
    routing::{get, post},
};
use telemeter_http::{
    client::{Answer, Outbound, OutboundConfig, OutboundRequest},
    clock::Clock,
    listen::{self, ListenLimits},
    tls::ListenerTls,
};

const PATIENCE: Duration = Duration::from_secs(60);
const ID: &str = "a-cluster-of-the-test";

/// A running program and its log; the program is ended when this is dropped.
struct LoggedProgram {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl LoggedProgram {
    /// Starts a program with only the root certificates of `bundle`, and without a proxy.
    fn start(program: &str, bundle: &Path, arguments: &[String]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("SSL_CERT_FILE", bundle)
            .env("SSL_CERT_DIR", bundle.with_file_name("no-directory"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let lines = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                *lines.lock().unwrap() += &(line + "\n");
            }
        });
        Self { child, log }
    }

    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    async fn logs(&self, part: &str) {
        until(|| async { self.log().contains(part) }, || format!("{part} is not in\n{}", self.log())).await;
    }

    /// Returns the address after `KEY=` in the log.
    async fn address(&self, key: &str) -> SocketAddr {
        self.logs(&format!("{key}=127.0.0.1:")).await;
        let log = self.log();
        let (_, rest) = log.split_once(&format!("{key}=")).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for LoggedProgram {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

async fn until<F: Future<Output = bool>>(mut holds: impl FnMut() -> F, otherwise: impl Fn() -> String) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "{}", otherwise());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts a server that runs until the test ends; returns its address.
async fn serve(router: Router, tls: Option<ListenerTls>) -> SocketAddr {
    let mut listener = listen::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    if let Some(tls) = tls {
        listener = listener.with_tls(tls);
    }
    tokio::spawn(listen::serve(listener, router, ListenLimits::default(), std::future::pending()));
    address
}

/// Sends a request without TLS to the program under test.
async fn call(request: OutboundRequest) -> Answer {
    Outbound::new(OutboundConfig::new("test"), None).unwrap().send(request, 100_000).await.unwrap()
}

async fn reload(internal: SocketAddr) -> (u16, String) {
    let answer = call(OutboundRequest::post(format!("http://{internal}/-/reload").parse().unwrap())).await;
    (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).into_owned())
}

/// Files in a folder: a certificate for `localhost`, its key, and a bundle with another certificate.
struct TrustFiles {
    folder: tempfile::TempDir,
    cert: PathBuf,
    key: PathBuf,
    bundle: PathBuf,
}

impl TrustFiles {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let pair = |name: &str| {
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            let key = rcgen::KeyPair::generate().unwrap();
            let cert = params.self_signed(&key).unwrap();
            (cert.pem(), key.serialize_pem())
        };
        let (cert, key) = pair("served");
        std::fs::write(path("served.crt"), cert).unwrap();
        std::fs::write(path("served.key"), key).unwrap();
        std::fs::write(path("bundle.pem"), pair("another").0).unwrap();
        let (cert, key, bundle) = (path("served.crt"), path("served.key"), path("bundle.pem"));
        Self { folder, cert, key, bundle }
    }

    fn write(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    fn tls(&self) -> ListenerTls {
        ListenerTls::load(&self.cert, &self.key).unwrap()
    }

    /// Writes a bundle with an invalid certificate, followed by the certificate of the server.
    fn trust(&self) {
        let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&self.bundle, bad.to_owned() + &std::fs::read_to_string(&self.cert).unwrap()).unwrap();
    }

    fn loaded(&self) -> String {
        format!("roots=1 from={}", self.bundle.display())
    }

    fn left_out(&self) -> String {
        format!("{}: certificate 1, at line 1, is left out: the certificate cannot be read", self.bundle.display())
    }

    /// Checks that a reload fails where the bundle has no valid certificate.
    async fn spoil(&self, internal: SocketAddr) {
        std::fs::write(&self.bundle, "no certificate").unwrap();
        let (status, said) = reload(internal).await;
        assert_eq!(status, 500, "{said}");
        let reason = format!("{} holds no certificate in PEM that can be used", self.bundle.display());
        assert!(said.contains(&reason), "{said}");
        // The bundle is empty or missing for a moment, as while a mount is replaced.
        for content in [Some(""), None] {
            match content {
                Some(content) => std::fs::write(&self.bundle, content).unwrap(),
                None => std::fs::remove_file(&self.bundle).unwrap(),
            }
            let (status, said) = reload(internal).await;
            assert_eq!(status, 500, "{content:?}: {said}");
            assert!(said.contains("none is left: the bundle is missing or empty"), "{said}");
        }
    }
}

#[tokio::test]
async fn the_client_trusts_a_bundle_that_was_replaced() {
    let files = TrustFiles::new();
    let now_ms = Clock::system().now_ms();
    let scrape = format!("# TYPE up gauge\nup 1 {now_ms}\n");
    let from = Router::new().route(
        "/federate",
        get(|uri: Uri| async move {
            let query = uri.query().unwrap_or_default();
            assert_eq!(query.matches("match").count(), 2, "{query}: the default, and that of the file");
            ([(header::CONTENT_TYPE, "text/plain")], scrape)
        }),
    );
    let from = serve(from, None).await;
    let uploads = Arc::new(AtomicUsize::new(0));
    let counted = uploads.clone();
    let grant = format!(r#"{{"version":1,"token":"t","expiresInSeconds":86400,"labels":{{"_id":"{ID}"}}}}"#);
    let to = Router::new()
        .route(
            "/authorize",
            post(|headers: HeaderMap| async move {
                assert_eq!(headers[header::AUTHORIZATION], "Bearer a-token");
                grant
            }),
        )
        .route(
            "/upload",
            post(|| async move {
                counted.fetch_add(1, Ordering::Relaxed);
                StatusCode::OK.into_response()
            }),
        );
    let to = serve(to, Some(files.tls())).await;

    // Every file begins with a byte-order mark.
    let token = files.write("token", "\u{feff}a-token\n");
    let salt = files.write("salt", "\u{feff}a-salt\n");
    let matches = files.write("matches", "\u{feff}# all\n{__name__=\"up\"}\n");
    let client = LoggedProgram::start(
        env!("CARGO_BIN_EXE_telemeter-client"),
        &files.bundle,
        &[
            format!("--from=http://{from}"),
            format!("--to=https://localhost:{}/", to.port()),
            format!("--to-token-file={token}"),
            format!("--anonymize-salt-file={salt}"),
            "--anonymize-labels=instance".to_owned(),
            format!("--match-file={matches}"),
            format!("--id={ID}"),
            "--interval=1s".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
        ],
    );
    let internal = client.address("address").await;
    client.logs(&files.loaded()).await;
    client.logs("the certificate is signed by itself alone (CN=served)").await;
    assert_eq!(uploads.load(Ordering::Relaxed), 0);

    files.trust();
    let (status, said) = reload(internal).await;
    assert_eq!(status, 200, "{said}");
    until(|| async { uploads.load(Ordering::Relaxed) > 0 }, || format!("no upload:\n{}", client.log())).await;
    client.logs(&files.left_out()).await;
    assert!(!client.log().contains("AAAA") && !client.log().contains("UnknownIssuer"), "{}", client.log());

    files.spoil(internal).await;
    let before = uploads.load(Ordering::Relaxed);
    until(|| async { uploads.load(Ordering::Relaxed) > before + 1 }, || format!("no more:\n{}", client.log())).await;
}

#[tokio::test]
async fn the_server_trusts_a_bundle_that_was_replaced() {
    let files = TrustFiles::new();
    let store = serve(Router::new().fallback(|| async { StatusCode::OK }), Some(files.tls())).await;
    let server = LoggedProgram::start(
        env!("CARGO_BIN_EXE_telemeter-server"),
        &files.bundle,
        &[
            "--listen=127.0.0.1:0".to_owned(),
            "--listen-internal=127.0.0.1:0".to_owned(),
            "--insecure-allow-any-cluster".to_owned(),
            "--ratelimit=0s".to_owned(),
            format!("--forward-url=https://localhost:{}/", store.port()),
        ],
    );
    let (external, internal) = (server.address("external").await, server.address("internal").await);
    server.logs(&files.loaded()).await;
    let url = format!("http://{external}/authorize?id={ID}");
    let answer = call(OutboundRequest::post(url.parse().unwrap()).with_bearer("t").unwrap()).await;
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let token = answer["token"].as_str().unwrap().to_owned();
    let upload = async || {
        let text = format!("# TYPE up gauge\nup{{_id=\"{ID}\"}} 1 {}\n", Clock::system().now_ms());
        let url = format!("http://{external}/upload");
        let text_format = HeaderValue::from_static("text/plain; version=0.0.4");
        let request = OutboundRequest::post(url.parse().unwrap()).header(header::CONTENT_TYPE, text_format);
        call(request.with_bearer(&token).unwrap().with_body(text)).await.status.as_u16()
    };
    assert_eq!(upload().await, 503, "{}", server.log());
    server.logs("the certificate is signed by itself alone (CN=served)").await;

    files.trust();
    let (status, said) = reload(internal).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(upload().await, 200, "{}", server.log());
    server.logs(&files.left_out()).await;

    files.spoil(internal).await;
    assert_eq!(upload().await, 200, "the old roots stay: {}", server.log());
}

#[tokio::test]
async fn spans_go_to_a_collector_that_the_bundle_trusts() {
    let files = TrustFiles::new();
    files.trust();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    let collector = Router::new().route(
        "/v1/traces",
        post(|| async move {
            counted.fetch_add(1, Ordering::Relaxed);
            StatusCode::OK
        }),
    );
    let collector = serve(collector, Some(files.tls())).await;
    let server = LoggedProgram::start(
        env!("CARGO_BIN_EXE_telemeter-server"),
        &files.bundle,
        &[
            "--listen=127.0.0.1:0".to_owned(),
            "--listen-internal=127.0.0.1:0".to_owned(),
            "--insecure-allow-any-cluster".to_owned(),
            "--forward-url=http://127.0.0.1:1/".to_owned(),
            format!("--internal.tracing.endpoint=https://localhost:{}/v1/traces", collector.port()),
            "--internal.tracing.sampling-fraction=1".to_owned(),
        ],
    );
    let url = format!("http://{}/authorize?id={ID}", server.address("external").await);
    let answer = call(OutboundRequest::post(url.parse().unwrap()).with_bearer("t").unwrap()).await;
    assert_eq!(answer.status, 200);
    until(|| async { sent.load(Ordering::Relaxed) > 0 }, || format!("no span:\n{}", server.log())).await;
}

fn scrape() -> impl axum::response::IntoResponse {
    let text = format!("# TYPE up gauge\nup 1 {}\n", Clock::system().now_ms());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
