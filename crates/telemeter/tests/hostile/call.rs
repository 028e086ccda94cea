//! Opens connections from a given source address, and sends requests one after the other over HTTP/1.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpSocket,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore, crypto,
        pki_types::{CertificateDer, ServerName},
    },
};

/// How long connecting may take, including TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The size of the receive buffer for answers that are not read; the system uses at least a few thousand bytes.
const NARROW_BYTES: u32 = 4096;
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// The host name in the certificate.
pub(crate) const SERVER_NAME: &str = "localhost";

/// A TCP connection, with or without TLS.
pub(crate) trait CallStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> CallStream for T {}

/// The address of a server, and the TLS settings for it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsConnector>,
}

impl Endpoint {
    /// Opens a connection from `source`, an address of 127.0.0.0/8.
    pub(crate) async fn connect(&self, source: Ipv4Addr) -> io::Result<Box<dyn CallStream>> {
        let socket = TcpSocket::new_v4()?;
        timeout(CONNECT_TIMEOUT, self.connect_by(socket, source)).await?
    }

    /// The same with a small receive buffer, so that unread answers soon block the server's writes.
    pub(crate) async fn connect_narrow(&self, source: Ipv4Addr) -> io::Result<Box<dyn CallStream>> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(NARROW_BYTES)?;
        timeout(CONNECT_TIMEOUT, self.connect_by(socket, source)).await?
    }

    async fn connect_by(&self, socket: TcpSocket, source: Ipv4Addr) -> io::Result<Box<dyn CallStream>> {
        socket.set_nodelay(true)?;
        socket.bind(SocketAddr::from((source, 0)))?;
        let stream = socket.connect(self.address).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(SERVER_NAME).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, stream).await?))
    }
}

/// Makes a connector that trusts one certificate and offers one protocol.
pub(crate) fn connector(certificate: CertificateDer<'static>, protocol: &str) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).expect("the certificate is one");
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.expect("the provider has them").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// The answer of the server.
#[derive(Debug)]
pub(crate) struct CallAnswer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: bool,
    pub(crate) body: Bytes,
}

/// A connection for requests one after the other.
pub(crate) struct CallConnection(http1::SendRequest<Full<Bytes>>);

impl CallConnection {
    pub(crate) async fn open(endpoint: &Endpoint, source: Ipv4Addr) -> Result<Self, String> {
        let stream = endpoint.connect(source).await.map_err(|error| format!("no connection: {error}"))?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (requests, connection) = shaken.map_err(|error| format!("no HTTP: {error}"))?;
        tokio::spawn(connection);
        Ok(Self(requests))
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.0.is_closed()
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<CallAnswer, String> {
        let told = |error: hyper::Error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            format!("no answer: {error}{}", source.unwrap_or_default())
        };
        self.0.ready().await.map_err(told)?;
        let answer = self.0.send_request(request).await.map_err(told)?;
        let status = answer.status();
        let retry_after = answer.headers().contains_key(header::RETRY_AFTER);
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| format!("{status}, but its body: {error}"))?.to_bytes();
        Ok(CallAnswer { status, retry_after, body })
    }
}

/// Sends one request on a new connection.
pub(crate) async fn once(
    endpoint: &Endpoint,
    source: Ipv4Addr,
    request: Request<Full<Bytes>>,
) -> Result<CallAnswer, String> {
    CallConnection::open(endpoint, source).await?.send(request).await
}
