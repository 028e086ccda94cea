//! Keeps one connection to the server: it is opened when it is needed and kept open, unless each upload must use a new
//! one. It is HTTP/1.1 with hyper alone: a connection pool and redirects would cost the generator more than an upload
//! does.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, client::Resumption};
use rustls_pki_types::ServerName;
use telemeter_http::client::{OutboundConfig, outbound_tls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use crate::{config::SimulatedFleet, tally::UploadFailure};

/// Cap on an answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// The address of the server, and how to connect to it.
pub(super) struct ServerAddress {
    address: String,
    host: HeaderValue,
    /// The TLS settings, where the URL is `https`.
    tls: Option<FleetTls>,
    reconnects: bool,
}

struct FleetTls {
    config: ClientConfig,
    name: ServerName<'static>,
    resumes: bool,
}

impl ServerAddress {
    /// The address of the server in this URL.
    pub(super) fn new(url: &Url, ca_file: Option<&Path>, fleet: &SimulatedFleet) -> Result<Self, String> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err("the URL names no server".to_owned());
        };
        let address = format!("{host}:{port}");
        let host = HeaderValue::try_from(&address).map_err(|_| "the URL names no server".to_owned())?;
        let tls = match url.scheme() {
            "http" => None,
            _ => Some(FleetTls::new(host_of(url), ca_file, fleet.resumes)?),
        };
        Ok(Self { address, host, tls, reconnects: fleet.reconnects })
    }
}

/// The host of the URL, of an IPv6 address without its brackets; empty where there is none.
fn host_of(url: &Url) -> &str {
    let host = url.host_str().unwrap_or_default();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

impl FleetTls {
    fn new(host: &str, ca_file: Option<&Path>, resumes: bool) -> Result<Self, String> {
        let outbound = OutboundConfig {
            ca_file: ca_file.map(Path::to_owned),
            ca_flag: Some("--to-ca-file"),
            ..OutboundConfig::new("federate_to")
        };
        let mut config = outbound_tls(&outbound).map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from(host.to_owned()).map_err(|_| "no certificate can have that name".to_owned())?;
        Ok(Self { config, name, resumes })
    }

    /// A connector that keeps the last TLS session for resumption, or none.
    fn connector(&self) -> TlsConnector {
        let mut config = self.config.clone();
        config.resumption = match self.resumes {
            true => Resumption::in_memory_sessions(1),
            false => Resumption::disabled(),
        };
        TlsConnector::from(Arc::new(config))
    }
}

/// Returns the request target of this URL: its path and query.
pub(super) fn target(url: &Url) -> Result<Uri, String> {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", url.path()).parse().map_err(|_| format!("{} cannot be asked for", url.path()))
}

/// The answer of the server.
pub(super) struct UploadAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// A connection that is open, or not open yet.
pub(super) struct FleetConnection<'d> {
    server: &'d ServerAddress,
    tls: Option<TlsConnector>,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl<'d> FleetConnection<'d> {
    pub(super) fn new(server: &'d ServerAddress) -> Self {
        Self { server, tls: server.tls.as_ref().map(FleetTls::connector), open: None }
    }

    /// Sends a `POST` request on the open connection, or on a new one where there is none or the server has closed it.
    /// If its future is dropped, the connection is closed. An answer that is too long is an [`UploadFailure::Other`].
    pub(super) async fn post(
        &mut self,
        target: &Uri,
        authorization: HeaderValue,
        body: Bytes,
        more: &[(header::HeaderName, HeaderValue)],
    ) -> Result<UploadAnswer, UploadFailure> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.clone();
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.server.host.clone());
        headers.insert(header::AUTHORIZATION, authorization);
        headers.extend(more.iter().cloned());
        loop {
            let mut kept = self.open.take();
            if let Some(open) = &mut kept
                && open.ready().await.is_err()
            {
                kept = None;
            }
            let fresh = kept.is_none();
            let mut open = match kept {
                Some(open) => open,
                None => self.server.connect(self.tls.as_ref()).await?,
            };
            match open.try_send_request(request).await {
                Ok(response) => {
                    let status = response.status();
                    let mut answer = UploadAnswer { status, body: Vec::new() };
                    let mut body = response.into_body();
                    while let Some(frame) = body.frame().await {
                        let frame = frame.map_err(|_| UploadFailure::Connection)?;
                        let Ok(data) = frame.into_data() else { continue };
                        if answer.body.len() + data.len() > ANSWER_BYTES {
                            return Err(UploadFailure::Other);
                        }
                        answer.body.extend_from_slice(&data);
                    }
                    self.open = Some(open).filter(|_| !self.server.reconnects);
                    return Ok(answer);
                }
                // The server closed a connection that was idle: no byte of the request has been sent.
                Err(mut error) if !fresh => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(UploadFailure::Connection),
                },
                Err(_) => return Err(UploadFailure::Connection),
            }
        }
    }
}

impl ServerAddress {
    /// Opens a TCP connection to the server, with TLS where the address has it, ready for HTTP/1.1. Each failure is an
    /// [`UploadFailure::Connection`].
    async fn connect(&self, tls: Option<&TlsConnector>) -> Result<SendRequest<Full<Bytes>>, UploadFailure> {
        let stream = TcpStream::connect(&self.address).await.map_err(|_| UploadFailure::Connection)?;
        stream.set_nodelay(true).map_err(|_| UploadFailure::Connection)?;
        match (tls, &self.tls) {
            (Some(connector), Some(FleetTls { name, .. })) => {
                start_http(connector.connect(name.clone(), stream).await.map_err(|_| UploadFailure::Connection)?).await
            }
            _ => start_http(stream).await,
        }
    }
}

/// Starts HTTP/1.1 on an open stream, whose connection a task of its own drives.
async fn start_http(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Full<Bytes>>, UploadFailure> {
    let (open, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| UploadFailure::Connection)?;
    // This task ends when `open` is dropped, or when the server closes the connection.
    tokio::spawn(connection);
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Tokens;

    #[test]
    fn a_url_says_where_and_whether_with_tls() {
        let fleet = SimulatedFleet {
            clusters: 1,
            duration: std::time::Duration::from_secs(1),
            tokens: Tokens::Exchanged,
            connections: 1,
            reconnects: false,
            resumes: false,
            report_svg: None,
            report_json: None,
            server_pid: None,
        };
        let server = |url: &str| {
            let server = ServerAddress::new(&Url::parse(url).expect("a URL"), None, &fleet).expect("a server");
            (server.address, server.tls.map(|tls| tls.name.to_str().into_owned()))
        };
        assert_eq!(server("http://server/upload"), ("server:80".to_owned(), None));
        assert_eq!(server("http://[::1]:9003/upload"), ("[::1]:9003".to_owned(), None));
        assert_eq!(server("https://server/upload"), ("server:443".to_owned(), Some("server".to_owned())));
        assert_eq!(server("https://[::1]:9003/upload"), ("[::1]:9003".to_owned(), Some("::1".to_owned())));
        let missing =
            ServerAddress::new(&Url::parse("https://server/").expect("a URL"), Some(Path::new("/nowhere")), &fleet);
        assert!(missing.err().expect("no such file").contains("/nowhere"));
        let url = Url::parse("http://server/base/authorize?id=a%20b").expect("a URL");
        assert_eq!(target(&url).expect("a target").to_string(), "/base/authorize?id=a%20b");
    }
}
