//! TLS sessions behind a load balancer: two replicas, a client that makes a connection for each request.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::{encoding::text::encode, registry::Registry};
use support::TestServer;
use telemeter_http::{
    client::{Outbound, OutboundConfig, OutboundHandshakes, OutboundRequest},
    tls::CertificateFiles,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

fn write_pair(folder: &Path, name: &str) -> CertificateFiles {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert_file, key_file) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&cert_file, made.cert.pem()).unwrap();
    std::fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
    CertificateFiles { cert_file, key_file }
}

fn write_key(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    path
}

/// Passes its connections on, to each of these addresses in turn, until it has to cut them.
async fn balancer(to: Vec<SocketAddr>) -> (SocketAddr, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, cut) = (listener.local_addr().unwrap(), Arc::new(Notify::new()));
    let cuts = cut.clone();
    tokio::spawn(async move {
        for to in to.into_iter().cycle() {
            let (mut from, _) = listener.accept().await.unwrap();
            let cut = cuts.clone();
            tokio::spawn(async move {
                let mut to = TcpStream::connect(to).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                    () = cut.notified() => {}
                }
            });
        }
    });
    (address, cut)
}

/// A client whose connections are cut after each request, and that counts its handshakes.
struct Client {
    outbound: Outbound,
    registry: Registry,
    address: SocketAddr,
    cut: Arc<Notify>,
}

impl Client {
    async fn new(to: Vec<SocketAddr>, files: &CertificateFiles) -> Self {
        let (address, cut) = balancer(to).await;
        let mut registry = Registry::default();
        let handshakes = OutboundHandshakes::register(&mut registry);
        let config =
            OutboundConfig { ca_file: Some(files.cert_file.clone()), handshakes, ..OutboundConfig::new("test") };
        Self { outbound: Outbound::new(config, None).unwrap(), registry, address, cut }
    }

    /// Whether a request to it went over a resumed session.
    async fn resumes(&self) -> bool {
        let before = [self.count("false"), self.count("true")];
        let url = format!("https://localhost:{}/healthz", self.address.port()).parse().unwrap();
        let answer = self.outbound.send(OutboundRequest::get(url), 100).await.unwrap();
        assert_eq!(answer.status, 200);
        self.cut.notify_waiters();
        // Until the client has seen that its connection is gone.
        tokio::time::sleep(Duration::from_millis(200)).await;
        match [self.count("false") - before[0], self.count("true") - before[1]] {
            [1, 0] => false,
            [0, 1] => true,
            other => panic!("{other:?} handshakes for one request"),
        }
    }

    fn count(&self, resumed: &str) -> u64 {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let name = format!(r#"telemeter_outbound_tls_handshakes_total{{client="test",resumed="{resumed}"}} "#);
        text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
    }
}

#[tokio::test]
async fn any_replica_with_the_same_key_resumes_a_session() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_pair(folder.path(), "served");
    let (key, other) = (write_key(folder.path(), "key"), write_key(folder.path(), "other"));
    let replica = async |key: &Path| {
        TestServer::with(|config| {
            config.tls = vec![files.clone()];
            config.internal_tls = vec![files.clone()];
            config.shared_keys = vec![key.to_owned()];
        })
        .await
    };
    let (one, two) = (replica(&key).await, replica(&key).await);
    let client = Client::new(vec![one.server.external(), two.server.external()], &files).await;
    assert!(!client.resumes().await);
    for _ in 0..4 {
        assert!(client.resumes().await, "whichever answers");
    }

    // Both listeners show one certificate; a session is of one of them.
    let client = Client::new(vec![one.server.external(), one.server.internal()], &files).await;
    for _ in 0..3 {
        assert!(!client.resumes().await);
    }

    let stranger = replica(&other).await;
    let client = Client::new(vec![one.server.external(), stranger.server.external()], &files).await;
    for _ in 0..3 {
        assert!(!client.resumes().await, "another key");
    }

    let client = Client::new(vec![one.server.external(), two.server.external()], &files).await;
    assert!(!client.resumes().await);
    std::fs::copy(&other, &key).unwrap();
    one.server.reload().await.unwrap();
    two.server.reload().await.unwrap();
    assert!(!client.resumes().await, "another key since the reload");
    assert!(client.resumes().await);
}

#[tokio::test]
async fn a_replica_without_a_shared_key_resumes_its_own_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_pair(folder.path(), "served");
    let replica = async || {
        TestServer::with(|config| {
            config.tls = vec![files.clone()];
            config.shared_keys = Vec::new();
        })
        .await
    };
    let (one, two) = (replica().await, replica().await);
    let client = Client::new(vec![one.server.external()], &files).await;
    assert!(!client.resumes().await);
    assert!(client.resumes().await);
    one.server.reload().await.unwrap();
    assert!(client.resumes().await, "a reload that changes nothing ends no session");
    let client = Client::new(vec![one.server.external(), two.server.external()], &files).await;
    for _ in 0..3 {
        assert!(!client.resumes().await);
    }
}
