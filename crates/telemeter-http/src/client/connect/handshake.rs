//! The TLS handshake, and what went wrong with it in words.

use std::sync::Arc;

use rustls::{ClientConfig, Error};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Stream;
use crate::client::error::{ConnectError, io_words};
use crate::client::words;

/// Shakes hands with `host`, which is as in a URL; and whether HTTP/2 was agreed on.
pub(super) async fn handshake(
    config: &Arc<ClientConfig>,
    host: &str,
    stream: Stream,
) -> Result<(TlsStream<Stream>, bool), ConnectError> {
    let failed = |cause: &str| ConnectError::new(format!("TLS handshake with {host}: {cause}"));
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(bare.to_owned()).map_err(|_| failed("no certificate can have that name"))?;
    let stream = TlsConnector::from(config.clone()).connect(name, stream).await.map_err(|error| {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        failed(&match tls {
            Some(tls) => words::in_words(tls),
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => "the peer closed the connection".to_owned(),
            None => io_words(&error),
        })
    })?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((stream, is_h2))
}
