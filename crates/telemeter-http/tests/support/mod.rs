//! Shared test code: a listener on a free port, and raw connections to it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use telemeter_http::client::{Outbound, OutboundConfig};
use telemeter_http::listen::{self, ListenLimits};
use telemeter_http::tls::ListenerTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A deadline that is long enough on a busy machine for anything that should happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Limits with deadlines that are short enough for a test.
pub(crate) fn limits() -> ListenLimits {
    ListenLimits {
        header_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        handshake_timeout: Duration::from_millis(300),
        drain_timeout: Duration::from_millis(1500),
        ..ListenLimits::default()
    }
}

pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Serving {
    pub(crate) async fn start(router: Router, tls: Option<ListenerTls>, limits: ListenLimits) -> Self {
        let mut listener = listen::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        if let Some(tls) = tls {
            listener = listener.with_tls(tls);
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(listen::serve(listener, router, limits, async {
            let _ = stopped.await;
        }));
        Self { address, stop: Some(stop), task }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub(crate) async fn stopped(mut self) {
        self.begin_stop();
        timeout(SOON, self.task).await.expect("it stops").unwrap();
    }
}

/// Reads everything that the peer sends until it closes; panics where it does not close soon.
pub(crate) async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset counts as a close.
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("closed soon");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends `head` on a new connection, and reads to the end.
pub(crate) async fn raw(serving: &Serving, head: &str) -> String {
    let mut stream = serving.connect().await;
    stream.write_all(head.as_bytes()).await.unwrap();
    read_to_close(&mut stream).await
}

/// Connects from another address of this machine.
pub(crate) async fn connect_from(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0))?;
    socket.connect(to).await
}

/// Makes a TLS connection for HTTP/2 from another address of this machine.
pub(crate) async fn shake(serving: &Serving, from: &str, cert: &Path) -> std::io::Result<TlsStream<TcpStream>> {
    connect_tls(serving, from, cert, b"h2").await
}

/// Makes a TLS connection for this protocol.
pub(crate) async fn connect_tls(
    serving: &Serving,
    from: &str,
    cert: &Path,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(client_tls(cert, protocol));
    connector.connect(name, connect_from(from, serving.address).await?).await
}

/// The configuration of a TLS client that trusts the certificate and speaks the protocol.
pub(crate) fn client_tls(cert: &Path, protocol: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

/// Builds an HTTP/2 frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Writes a self-signed certificate for `localhost` and 127.0.0.1, and its key, as two files.
pub(crate) fn write_pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert, key)
}

pub(crate) fn outbound(change: impl FnOnce(&mut OutboundConfig)) -> Outbound {
    let mut config = OutboundConfig::new("test");
    config.timeout = SOON;
    change(&mut config);
    Outbound::new(config, None).unwrap()
}

/// The lines that are logged while its subscriber is in use.
#[derive(Clone, Default)]
pub(crate) struct LoggedLines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LoggedLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl LoggedLines {
    /// A subscriber that records events from level info on.
    pub(crate) fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + use<> {
        let writer = self.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}
