//! Tests of calls through proxies of every kind, and of their errors.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use parking_lot::Mutex;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use telemeter_http::client::{Answer, Outbound, OutboundError, OutboundRequest, ProxyUse};
use telemeter_http::listen::ListenLimits;
use telemeter_http::tls::ListenerTls;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use support::{SOON, Serving, outbound};

/// The behavior of a test proxy.
#[derive(Clone, Copy)]
enum Conduct {
    /// Opens a tunnel to the target, for any host name.
    Tunnel,
    /// Opens a tunnel, and sends its response slowly and in pieces.
    TunnelInPieces,
    /// Sends this response and closes.
    Say(&'static str),
    /// Sends nothing.
    Silent,
    /// Responds to a plain HTTP request itself.
    Answer,
}

/// A test proxy for a target, with the headers that it received.
struct TestProxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

async fn proxy_one<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    target: SocketAddr,
    conduct: Conduct,
    heads: Arc<Mutex<Vec<String>>>,
) {
    let Some(head) = read_head(&mut stream).await else { return };
    heads.lock().push(head);
    match conduct {
        Conduct::Tunnel => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        }
        Conduct::TunnelInPieces => {
            for piece in ["HTTP/1.", "1 200 Connection est", "ablished\r\nVia: x\r\n\r", "\n"] {
                let _ = stream.write_all(piece.as_bytes()).await;
                let _ = stream.flush().await;
                sleep(Duration::from_millis(100)).await;
            }
        }
        Conduct::Say(answer) => {
            let _ = stream.write_all(answer.as_bytes()).await;
            return;
        }
        Conduct::Silent => return sleep(Duration::from_secs(60)).await,
        Conduct::Answer => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nproxy").await;
            return;
        }
    }
    let mut target = TcpStream::connect(target).await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut target).await;
}

impl TestProxy {
    async fn start(target: SocketAddr, conduct: Conduct, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, heads) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let seen = heads.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, tls) = (seen.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => proxy_one(stream, target, conduct, seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                proxy_one(stream, target, conduct, seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, heads }
    }
}

/// Writes a certificate for these names and its key as files.
fn pair(folder: &Path, names: &[&str]) -> (PathBuf, PathBuf) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let file = |kind: &str| folder.join(format!("{}.{kind}", names[0]));
    let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
    std::fs::write(file("crt"), made.cert.pem()).unwrap();
    std::fs::write(file("key"), made.signing_key.serialize_pem()).unwrap();
    (file("crt"), file("key"))
}

/// A server for `https://store.test`, which also speaks HTTP/2, and the certificate to trust.
async fn secure_target(folder: &Path) -> (Serving, PathBuf) {
    let (cert, key) = pair(folder, &["store.test"]);
    let router = Router::new().route("/", get(|| async { "store" }));
    (Serving::start(router, Some(ListenerTls::load(&cert, &key).unwrap()), ListenLimits::default()).await, cert)
}

fn through(variable: &str, value: String, ca_file: Option<PathBuf>) -> Outbound {
    outbound(|config| {
        config.proxy = ProxyUse::FromVariables(vec![(variable.to_owned(), value)]);
        config.ca_file = ca_file;
    })
}

async fn ask(outbound: &Outbound, url: &str) -> Result<Answer, OutboundError> {
    timeout(2 * SOON, outbound.send(OutboundRequest::get(url.parse().unwrap()), 1000)).await.expect("bounded")
}

#[tokio::test]
async fn https_goes_through_connect_with_the_login() {
    let folder = tempfile::tempdir().unwrap();
    let (target, cert) = secure_target(folder.path()).await;
    for conduct in [Conduct::Tunnel, Conduct::TunnelInPieces] {
        let proxy = TestProxy::start(target.address, conduct, None).await;
        let value = format!("http://user:p%40ss@{}", proxy.address);
        let outbound = through("HTTPS_PROXY", value, Some(cert.clone()));
        assert_eq!(ask(&outbound, "https://store.test/").await.unwrap().body, "store");
        assert_eq!(ask(&outbound, "https://store.test/").await.unwrap().body, "store");
        let expected = "CONNECT store.test:443 HTTP/1.1\r\nHost: store.test:443\r\n\
                        Proxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n";
        assert_eq!(*proxy.heads.lock(), [expected], "one connection serves both");
    }
}

#[tokio::test]
async fn plain_http_names_the_whole_url_to_the_proxy() {
    let proxy = TestProxy::start("127.0.0.1:1".parse().unwrap(), Conduct::Answer, None).await;
    let outbound = through("http_proxy", format!("user:pass@{}", proxy.address), None);
    let answer = ask(&outbound, "http://store.test:8080/a?b=c").await.unwrap();
    assert_eq!(answer.body, "proxy");
    // The response may come from the proxy itself, so the text of the status names the proxy.
    assert_eq!(answer.status_words(), format!("200 (through the proxy http://{} of http_proxy)", proxy.address));
    let heads = proxy.heads.lock().clone();
    assert!(heads[0].starts_with("GET http://store.test:8080/a?b=c HTTP/1.1\r\n"), "{heads:?}");
    assert!(heads[0].contains("proxy-authorization: Basic dXNlcjpwYXNz\r\n"), "{heads:?}");
    assert!(heads[0].contains("host: store.test:8080\r\n"), "{heads:?}");
}

#[tokio::test]
async fn a_direct_request_names_the_path_alone_and_shows_no_login() {
    let target = TestProxy::start("127.0.0.1:1".parse().unwrap(), Conduct::Answer, None).await;
    let outbound = through("http_proxy", "user:pass@proxy.invalid".to_owned(), None);
    let answer = ask(&outbound, &format!("http://{}/a?b=c#d", target.address)).await.unwrap();
    assert_eq!((answer.status_words().as_str(), &answer.body[..]), ("200", &b"proxy"[..]));
    let heads = target.heads.lock().clone();
    assert!(heads[0].starts_with("GET /a?b=c HTTP/1.1\r\n"), "{heads:?}");
    assert!(!heads[0].contains("proxy-authorization"), "{heads:?}");
}

#[tokio::test]
async fn a_proxy_that_is_itself_reached_by_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (target, target_cert) = secure_target(folder.path()).await;
    let (cert, key) = pair(folder.path(), &["localhost"]);
    let chain = vec![CertificateDer::from_pem_file(&cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = TlsAcceptor::from(Arc::new(tls.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    let bundle = folder.path().join("bundle.crt");
    let both = [std::fs::read(&cert).unwrap(), std::fs::read(&target_cert).unwrap()].concat();
    std::fs::write(&bundle, both).unwrap();

    let proxy = TestProxy::start(target.address, Conduct::Tunnel, Some(tls.clone())).await;
    let value = format!("https://localhost:{}", proxy.address.port());
    let outbound = through("HTTPS_PROXY", value.clone(), Some(bundle));
    assert_eq!(ask(&outbound, "https://store.test/").await.unwrap().body, "store");
    assert_eq!(proxy.heads.lock().len(), 1);

    let stranger = through("HTTPS_PROXY", value.clone(), None);
    let error = ask(&stranger, "https://store.test/").await.expect_err("the proxy is not trusted").to_string();
    let expected = "TLS handshake with localhost: the certificate is signed by itself alone (";
    assert!(error.contains(expected), "{error}");
    assert!(error.ends_with(&format!("(through the proxy {value} of HTTPS_PROXY)")), "{error}");

    let plain = TestProxy::start(target.address, Conduct::Answer, Some(tls)).await;
    let outbound = through("HTTP_PROXY", format!("https://localhost:{}", plain.address.port()), Some(cert));
    assert_eq!(ask(&outbound, "http://store.test/").await.unwrap().body, "proxy");
}

/// A SOCKS 5 proxy that asks for a login and opens a tunnel to the target; returns its address and the bytes that it
/// received.
async fn socks(target: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, told) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
    let seen = told.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                // Each step has a length and a response: version and methods; login; command with an address of 10
                // bytes and a port.
                for (length, answer) in [(4, &[5, 2][..]), (11, &[1, 0]), (17, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])] {
                    let mut bytes = vec![0; length];
                    stream.read_exact(&mut bytes).await.unwrap();
                    seen.lock().extend(bytes);
                    stream.write_all(answer).await.unwrap();
                }
                let mut target = TcpStream::connect(target).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut target).await;
            });
        }
    });
    (address, told)
}

#[tokio::test]
async fn socks5_carries_both_schemes_and_looks_the_name_up() {
    let folder = tempfile::tempdir().unwrap();
    let (target, cert) = secure_target(folder.path()).await;
    let (address, told) = socks(target.address).await;
    let outbound = through("HTTPS_PROXY", format!("socks5://user:pass@{address}"), Some(cert));
    assert_eq!(ask(&outbound, "https://store.test/").await.unwrap().body, "store");
    assert_eq!(*told.lock(), b"\x05\x02\x00\x02\x01\x04user\x04pass\x05\x01\x00\x03\x0astore.test\x01\xbb");

    let plain =
        Serving::start(Router::new().route("/", get(|| async { "plain" })), None, ListenLimits::default()).await;
    let (address, told) = socks(plain.address).await;
    let outbound = through("http_proxy", format!("socks5h://user:pass@{address}"), None);
    assert_eq!(ask(&outbound, "http://store.test/").await.unwrap().body, "plain");
    assert!(told.lock().ends_with(b"\x03\x0astore.test\x00\x50"));
}

#[tokio::test]
async fn what_a_proxy_refuses_is_said_with_its_name_and_its_variable() {
    async fn check(conduct: Conduct, expected: &str) {
        let proxy = TestProxy::start("127.0.0.1:1".parse().unwrap(), conduct, None).await;
        let outbound = outbound(|config| {
            let value = format!("http://user:hunter2@{}", proxy.address);
            config.proxy = ProxyUse::FromVariables(vec![("HTTPS_PROXY".to_owned(), value)]);
            config.connect_timeout = Duration::from_millis(500);
        });
        let error = ask(&outbound, "https://store.test/x?token=hunter3").await.expect_err("refused");
        let address = proxy.address;
        assert_eq!(
            error.to_string(),
            format!(
                "cannot connect to https://store.test/x: {expected} (through the proxy http://{address} of HTTPS_PROXY)"
            )
        );
    }
    let login = "the proxy refused CONNECT with 407: it wants another user and password";
    check(Conduct::Say("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 3\r\n\r\nno!"), login).await;
    check(Conduct::Say("HTTP/1.1 403 Forbidden\r\n\r\n"), "the proxy refused CONNECT with 403").await;
    check(Conduct::Say("HTTP/1.1 200"), "the proxy closed the connection").await;
    check(Conduct::Say(""), "the proxy closed the connection").await;
    let silent = "no connection within 500 ms: still asking the proxy for a way to store.test:443";
    check(Conduct::Silent, silent).await;
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let outbound = through("HTTPS_PROXY", format!("http://{address}"), None);
    let error = ask(&outbound, "https://store.test/").await.expect_err("nobody").to_string();
    let expected = format!(
        "cannot connect to https://store.test/: connecting to {address}: Connection refused (through the proxy http://{address} of HTTPS_PROXY)"
    );
    assert_eq!(error, expected);
}
