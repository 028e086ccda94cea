//! Tests of failed TLS handshakes: each is counted and logged by reason, and other clients are served meanwhile.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use prometheus_client::{encoding::text::encode, registry::Registry};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use support::{LoggedLines, SOON, Serving, limits, outbound, write_pair};
use telemeter_http::client::OutboundRequest;
use telemeter_http::listen::{ConnectionMetrics, ListenLimits};
use telemeter_http::tls::ListenerTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

const REASONS: [&str; 8] = [
    "timeout",
    "closed",
    "not_tls",
    "unsupported_version",
    "no_shared_algorithm",
    "unknown_name",
    "certificate_refused",
    "protocol",
];

/// A listener with a certificate for `localhost`, and the registry of its metrics.
struct FaultListener {
    serving: Serving,
    registry: Registry,
    folder: tempfile::TempDir,
}

impl FaultListener {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = write_pair(folder.path(), "one");
        let mut registry = Registry::default();
        let metrics = ConnectionMetrics::register(&mut registry);
        let router = Router::new().route("/", get(|| async { "here" }));
        let limits = ListenLimits { handshake_timeout: Duration::from_millis(700), metrics, ..limits() };
        let serving = Serving::start(router, Some(ListenerTls::load(cert, key).unwrap()), limits).await;
        Self { serving, registry, folder }
    }

    fn failures(&self) -> Vec<u64> {
        REASONS.iter().map(|reason| self.count(&format!(r#"_failures_total{{reason="{reason}"}} "#))).collect()
    }

    fn count(&self, name: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let name = format!("telemeter_tls_handshake{name}");
        text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    }

    /// Waits until one more failure was counted, and checks its reason.
    async fn expect(&self, before: &[u64], reason: &str, what: &str) {
        let counted = async {
            loop {
                let after = self.failures();
                if after != before {
                    return after;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let after = timeout(SOON, counted).await.unwrap_or_else(|_| panic!("{what}: nothing was counted"));
        let more: Vec<_> =
            REASONS.iter().zip(after.iter().zip(before)).filter(|(_, (after, before))| after > before).collect();
        assert!(
            matches!(more[..], [(found, (after, before))] if *found == reason && *after == before + 1),
            "{what}: {more:?}"
        );
    }

    /// Sends bytes, then closes or waits for the other side to close; returns the response.
    async fn send(&self, bytes: &[u8], then: Then) -> Vec<u8> {
        let mut stream = self.serving.connect().await;
        stream.write_all(bytes).await.unwrap();
        match then {
            Then::Close => stream.shutdown().await.unwrap(),
            Then::Wait => {}
        }
        let mut answer = Vec::new();
        let _ = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("closed soon");
        answer
    }

    /// Does a handshake as a client that trusts this certificate, for this name; returns whether it succeeded.
    async fn shake(&self, cert: &Path, name: &str) -> bool {
        let connector = TlsConnector::from(client(cert));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        connector.connect(name, self.serving.connect().await).await.is_ok()
    }
}

#[derive(Clone, Copy)]
enum Then {
    Close,
    Wait,
}

fn client(cert: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// The extension signature_algorithms of a ClientHello: ECDSA on P-256 with SHA-256.
const SIGNATURES: &[u8] = &[0, 8, 0, 13, 0, 4, 0, 2, 4, 3];

/// A ClientHello of version 3.`minor` (SSL 3.0 is 3.0, TLS 1.2 is 3.3), with one cipher suite.
fn hello(minor: u8, suite: [u8; 2], extensions: &[u8]) -> Vec<u8> {
    let body = [&[3, minor][..], &[7; 32], &[0, 0, 2], &suite, &[1, 0], extensions].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, minor.min(1), 0, length + 4, 1, 0, 0, length], &body[..]].concat()
}

/// The ClientHello of a valid client.
fn good_hello(cert: &Path) -> Vec<u8> {
    let mut client = ClientConnection::new(client(cert), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn each_failure_has_its_reason() {
    let listening = FaultListener::start().await;
    let cert = listening.folder.path().join("one.crt");
    let good = good_hello(&cert);
    let half = &good[..good.len() / 2];
    // The cipher suites are TLS_RSA_WITH_AES_128_CBC_SHA and TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256.
    let (old, new) = ([0, 0x2f], [0xc0, 0x2f]);
    for (what, bytes, then, reason) in [
        ("nothing, then the end", &b""[..], Then::Close, "closed"),
        ("half a hello, then the end", half, Then::Close, "closed"),
        ("a hello, then the end", &good, Then::Close, "closed"),
        ("nothing", b"", Then::Wait, "timeout"),
        ("half a hello", half, Then::Wait, "timeout"),
        ("a hello, and no answer to ours", &good, Then::Wait, "timeout"),
        ("plain HTTP", b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", Then::Wait, "not_tls"),
        ("plain HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", Then::Wait, "not_tls"),
        ("garbage", &[0xff; 100], Then::Wait, "not_tls"),
        ("SSL 2.0", &[0x80, 0x1f, 1, 0, 2, 0, 3, 0, 0, 0, 0x10, 1, 0, 0x80], Then::Wait, "not_tls"),
        ("SSL 3.0", &hello(0, old, &[]), Then::Wait, "unsupported_version"),
        ("TLS 1.0", &hello(1, old, &[]), Then::Wait, "unsupported_version"),
        ("TLS 1.1", &hello(2, old, &[]), Then::Wait, "unsupported_version"),
        ("TLS 1.1, with extensions", &hello(2, old, SIGNATURES), Then::Wait, "unsupported_version"),
        ("a cipher suite that we do not have", &hello(3, old, SIGNATURES), Then::Wait, "no_shared_algorithm"),
        ("no key exchange", &hello(3, new, SIGNATURES), Then::Wait, "no_shared_algorithm"),
        ("a hello of no length", &[22, 3, 1, 0, 4, 1, 0, 0, 0], Then::Wait, "protocol"),
        ("another message in place of a hello", &[22, 3, 1, 0, 4, 20, 0, 0, 0], Then::Wait, "protocol"),
        ("a record that is too long", &[22, 3, 1, 0xff, 0xff, 1, 0, 0, 0], Then::Wait, "protocol"),
        ("an alert", &[21, 3, 1, 0, 2, 2, 40], Then::Wait, "protocol"),
    ] {
        let before = listening.failures();
        let answer = listening.send(bytes, then).await;
        listening.expect(&before, reason, what).await;
        if bytes.starts_with(&[22]) && ["unsupported_version", "no_shared_algorithm"].contains(&reason) {
            // The response is a fatal TLS alert: protocol_version or handshake_failure.
            assert!(matches!(answer[..], [21, 3, _, 0, 2, 2, 70 | 40]), "{what}: {answer:?}");
        }
    }

    let (stranger, _) = write_pair(listening.folder.path(), "stranger");
    for (trusts, name, reason) in [
        (&stranger, "localhost", "certificate_refused"),
        (&cert, "other.test", "unknown_name"),
        (&stranger, "other.test", "unknown_name"),
        // A client sends no server name where it connects to an address.
        (&cert, "127.0.0.2", "certificate_refused"),
    ] {
        let before = listening.failures();
        assert!(!listening.shake(trusts, name).await, "{name}");
        listening.expect(&before, reason, name).await;
    }

    let before = listening.failures();
    let outbound = outbound(|config| config.ca_file = Some(cert.clone()));
    let url = format!("https://localhost:{}/", listening.serving.address.port());
    assert_eq!(outbound.send(OutboundRequest::get(url.parse().unwrap()), 100).await.unwrap().body, "here");
    assert_eq!(listening.failures(), before);
    assert_eq!(listening.count(r#"s_total{resumed="false"} "#), 1);
    assert_eq!(listening.count(r#"s_total{resumed="true"} "#), 0);
}

#[tokio::test]
async fn a_resumed_session_is_counted() {
    let listening = FaultListener::start().await;
    let connector = TlsConnector::from(client(&listening.folder.path().join("one.crt")));
    for resumed in [0, 1] {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, listening.serving.connect().await).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let _ = timeout(SOON, stream.read_to_end(&mut Vec::new())).await.unwrap();
        assert_eq!(listening.count(r#"s_total{resumed="false"} "#), 1);
        assert_eq!(listening.count(r#"s_total{resumed="true"} "#), resumed);
    }
}

#[tokio::test]
async fn a_few_failures_a_second_are_logged() {
    let lines = LoggedLines::default();
    let _logging = tracing::subscriber::set_default(lines.subscriber());
    let listening = FaultListener::start().await;
    let before = std::time::Instant::now();
    for _ in 0..60 {
        listening.send(b"GET / HTTP/1.1\r\n\r\n", Then::Wait).await;
    }
    // The first log line of another second contains the number of failures that were not logged.
    sleep(Duration::from_millis(1100)).await;
    listening.send(&[0xff; 100], Then::Wait).await;
    let text = lines.text();
    let logged: Vec<&str> = text.lines().filter(|line| line.contains("a TLS handshake failed")).collect();
    let seconds = usize::try_from(before.elapsed().as_secs()).unwrap() + 2;
    assert!((2..=3 * seconds).contains(&logged.len()), "{text}");
    assert!(logged.iter().all(|line| line.contains("reason=\"not_tls\"")), "{text}");
    let suppressed = logged.iter().map(|line| {
        let (_, rest) = line.split_once("suppressed=").unwrap();
        rest.split(' ').next().unwrap().parse::<usize>().unwrap()
    });
    assert_eq!(suppressed.sum::<usize>() + logged.len(), 61, "{text}");
    // A connection that closes without a byte, as health checks of load balancers do, is counted and not logged.
    for _ in 0..3 {
        listening.send(b"", Then::Close).await;
    }
    assert_eq!(lines.text(), text);
}
