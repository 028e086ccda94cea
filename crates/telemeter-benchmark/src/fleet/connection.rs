//! One keep-alive connection to the server, opened when it is needed. Plain HTTP/1.1 over hyper itself: a pool and
//! redirects would cost the generator more than an upload does.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use crate::tally::UploadFailure;

/// Cap on an answer.
const ANSWER_BYTES: usize = 64 * 1024;

/// Where a connection goes to.
pub(super) struct ServerAddress {
    address: String,
    host: HeaderValue,
}

impl ServerAddress {
    /// The server of this URL.
    pub(super) fn new(url: &Url) -> Result<Self, String> {
        if url.scheme() != "http" {
            return Err(format!("a fleet is simulated over plain http only, not {}", url.scheme()));
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err("the URL names no server".to_owned());
        };
        let address = format!("{host}:{port}");
        let host = HeaderValue::try_from(&address).map_err(|_| "the URL names no server".to_owned())?;
        Ok(Self { address, host })
    }
}

/// What stands in a request line for this URL.
pub(super) fn target(url: &Url) -> Result<Uri, String> {
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", url.path()).parse().map_err(|_| format!("{} cannot be asked for", url.path()))
}

/// What the server answered.
pub(super) struct UploadAnswer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// A connection, or the lack of one.
pub(super) struct FleetConnection<'d> {
    door: &'d ServerAddress,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl<'d> FleetConnection<'d> {
    pub(super) fn new(door: &'d ServerAddress) -> Self {
        Self { door, open: None }
    }

    /// A POST. When its future is dropped, so is the connection.
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
        headers.insert(header::HOST, self.door.host.clone());
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
                None => self.door.open().await?,
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
                    self.open = Some(open);
                    return Ok(answer);
                }
                // The server closed a connection that was idle: nothing of the request has left.
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
    async fn open(&self) -> Result<SendRequest<Full<Bytes>>, UploadFailure> {
        let stream = TcpStream::connect(&self.address).await.map_err(|_| UploadFailure::Connection)?;
        stream.set_nodelay(true).map_err(|_| UploadFailure::Connection)?;
        let (open, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| UploadFailure::Connection)?;
        // Ends when `open` is dropped, or when the server closes.
        tokio::spawn(connection);
        Ok(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_is_spoken() {
        let door = |url: &str| ServerAddress::new(&Url::parse(url).expect("a URL")).map(|door| door.address);
        assert_eq!(door("http://server/upload").expect("plain"), "server:80");
        assert_eq!(door("http://[::1]:9003/upload").expect("plain"), "[::1]:9003");
        assert!(door("https://server/upload").expect_err("TLS").contains("plain http only"));
        let url = Url::parse("http://server/base/authorize?id=a%20b").expect("a URL");
        assert_eq!(target(&url).expect("a target").to_string(), "/base/authorize?id=a%20b");
    }
}
