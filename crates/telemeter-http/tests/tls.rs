//! Tests of TLS on a real listener: both HTTP versions, silent peers, and reload.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request};
use axum::routing::get;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use telemeter_http::client;
use telemeter_http::listen::Peer;
use telemeter_http::tls::ListenerTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use support::{SOON, Serving, limits, outbound, raw, write_pair};

fn router() -> Router {
    let version = |request: Request| async move { format!("{:?}", request.version()) };
    let peer = |Extension(Peer(peer)): Extension<Peer>| async move { peer.to_string() };
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(600)).await;
        "done"
    };
    Router::new().route("/", get(version)).route("/slow", get(slow)).route("/peer", get(peer))
}

async fn shake(serving: &Serving, cert: &std::path::Path, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, serving.connect().await).await
}

async fn closes(stream: &mut TlsStream<TcpStream>) {
    let mut bytes = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("closed soon");
}

#[tokio::test]
async fn the_protocol_is_chosen_by_alpn() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let serving = Serving::start(router(), Some(ListenerTls::load(&cert, &key).unwrap()), limits()).await;

    let two = outbound(|config| config.ca_file = Some(cert.clone()));
    let url = format!("https://localhost:{}/", serving.address.port());
    let answer = two.send(client::OutboundRequest::get(url.parse().unwrap()), 100).await.unwrap();
    assert_eq!(answer.body, "HTTP/2.0");

    for alpn in [&["http/1.1"][..], &[]] {
        let mut one = shake(&serving, &cert, alpn).await.unwrap();
        one.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        let _ = timeout(SOON, one.read_to_string(&mut text)).await.unwrap();
        assert!(text.ends_with("HTTP/1.1"), "{text}");
    }
    serving.stopped().await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_no_connection() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let serving = Serving::start(router(), Some(ListenerTls::load(&cert, &key).unwrap()), limits()).await;
    let stranger = outbound(|_| ());
    let url = format!("https://localhost:{}/", serving.address.port());
    let error = stranger.send(client::OutboundRequest::get(url.parse().unwrap()), 100).await.expect_err("not trusted");
    assert_eq!(error.kind(), "connect");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn a_peer_that_does_not_shake_hands_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let serving = Serving::start(router(), Some(ListenerTls::load(&cert, &key).unwrap()), limits()).await;
    assert_eq!(raw(&serving, "").await, "");
    let answer = raw(&serving, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(!answer.contains("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn an_http2_peer_without_preface_or_request_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let serving = Serving::start(router(), Some(ListenerTls::load(&cert, &key).unwrap()), limits()).await;

    let mut silent = shake(&serving, &cert, &["h2"]).await.unwrap();
    assert_eq!(silent.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    closes(&mut silent).await;

    let mut no_request = shake(&serving, &cert, &["h2"]).await.unwrap();
    // The preface and empty settings are a valid connection without a request.
    no_request.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    closes(&mut no_request).await;
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let serving = Serving::start(router(), Some(ListenerTls::load(&cert, &key).unwrap()), limits()).await;
    let outbound = outbound(|config| config.ca_file = Some(cert.clone()));
    let url = format!("https://localhost:{}/peer", serving.address.port());
    let ask = async || outbound.send(client::OutboundRequest::get(url.parse().unwrap()), 100).await.unwrap().body;
    let (first, again) = (ask().await, ask().await);
    assert_eq!(first, again, "one connection while it is in use");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_ne!(ask().await, first, "another one after it was idle");
}

#[tokio::test]
async fn a_reload_shows_at_the_next_handshake_and_a_bad_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "served");
    let (old, _) = (folder.path().join("old.crt"), std::fs::copy(&cert, folder.path().join("old.crt")).unwrap());
    let (new_cert, new_key) = write_pair(folder.path(), "new");
    let tls = ListenerTls::load(&cert, &key).unwrap();
    let serving = Serving::start(router(), Some(tls.clone()), limits()).await;
    let shows = async |cert: &std::path::Path| shake(&serving, cert, &["http/1.1"]).await.is_ok();
    assert!(shows(&old).await);

    std::fs::copy(&new_cert, &cert).unwrap();
    let error = tls.reload().expect_err("the key is the old one's").to_string();
    assert!(error.contains("served.key is not the key of "), "{error}");
    assert!(shows(&old).await);

    std::fs::copy(&new_key, &key).unwrap();
    tls.reload().unwrap();
    assert!(shows(&new_cert).await);
    assert!(!shows(&old).await);
}

#[tokio::test]
async fn a_drain_finishes_an_http2_request() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let limits = telemeter_http::listen::ListenLimits { drain_timeout: SOON, ..limits() };
    let mut serving = Serving::start(router(), Some(ListenerTls::load(&cert, &key).unwrap()), limits).await;
    let outbound = outbound(|config| config.ca_file = Some(cert));
    let url = format!("https://localhost:{}/slow", serving.address.port());
    let in_flight = tokio::spawn(async move {
        let request = client::OutboundRequest::get(url.parse().unwrap());
        outbound.send(request, 100).await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    serving.begin_stop();
    assert_eq!(in_flight.await.unwrap().unwrap().body, "done");
    serving.stopped().await;
}
