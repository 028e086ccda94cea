//! Connections to the server that is measured.

use super::*;

/// One connection to the server.
pub(super) struct BenchConnection {
    open: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl BenchConnection {
    pub(super) async fn open(address: SocketAddr, tls: Option<&TlsConnector>) -> Self {
        // From an address of its own, as clusters are: of one address only so many new clusters are asked about a second.
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let host = 1 + (OPENED.fetch_add(1, Ordering::Relaxed) % 250) as u8;
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 1, host], 0))).expect("all of 127.0.0.0/8 is this machine");
        let stream = socket.connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let stream: Box<dyn BenchStream> = match tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from("localhost").expect("a name");
                Box::new(tls.connect(name, stream).await.expect("TLS"))
            }
        };
        let (open, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        Self { open, host: address.to_string() }
    }

    pub(super) async fn ask(&mut self, ask: &Ask, number: u64) -> Bytes {
        let cluster = match (ask.path.ends_with('='), ask.anew) {
            (true, true) => format!("00000000-0000-4000-8000-1{number:011x}"),
            (true, false) => CLUSTER.to_owned(),
            (false, _) => String::new(),
        };
        let mut request = Request::post(format!("{}{cluster}", ask.path))
            .header("host", &self.host)
            .header("authorization", &ask.authorization);
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(ask.body.clone())).expect("a request");
        self.open.ready().await.expect("the connection stays");
        let answer = self.open.send_request(request).await.expect("an answer");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        let taken = matches!(status, StatusCode::OK | StatusCode::NO_CONTENT);
        assert!(taken, "{}: {status} {}", ask.name, String::from_utf8_lossy(&body));
        body
    }
}

/// A socket, with TLS or without.
trait BenchStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> BenchStream for T {}
