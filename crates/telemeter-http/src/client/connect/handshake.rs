//! The TLS handshake of an outbound connection, with errors as text.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, Error, ProtocolVersion};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{ConnectProgress, OutboundStream, TlsSettings};
use crate::certificate::{Signature, subject_alt_names, validity};
use crate::client::error::{ConnectError, io_error_text};
use crate::client::words::advice;
use crate::clock::Clock;

/// Does the TLS handshake with `host`, which is as in a URL, and resumes an earlier session where there is one. Also
/// returns whether HTTP/2 was agreed on.
pub(super) async fn handshake(
    tls: &TlsSettings,
    host: &str,
    port: u16,
    stream: OutboundStream,
    progress: &ConnectProgress,
) -> Result<(TlsStream<OutboundStream>, bool), ConnectError> {
    let failed = |cause: &str| ConnectError::new(format!("TLS handshake with {host}: {cause}"));
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(bare.to_owned()).map_err(|_| failed("no certificate can have that name"))?;
    let sessions = tls.sessions.of(host, port);
    let mut config = ClientConfig::clone(&tls.config);
    config.resumption = Resumption::store(sessions.clone());
    let stream = TlsConnector::from(Arc::new(config)).connect(name.clone(), stream).await.map_err(|error| {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let advice = cause.map_or(advice::CLOSED, advice::tls);
        failed(&match cause {
            Some(cause) => tls.verifier.describe_refusal(&name, cause),
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => "the peer closed the connection".to_owned(),
            None => io_error_text(&error),
        })
        .advise(advice)
    })?;
    let session = stream.get_ref().1;
    progress.found(|| describe_session(session));
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    tls.handshakes.count(tls.client, sessions.established(session.handshake_kind(), certificate));
    let is_h2 = session.alpn_protocol() == Some(b"h2");
    Ok((stream, is_h2))
}

/// The agreed TLS version and the server's certificate, as text.
fn describe_session(session: &ClientConnection) -> String {
    let chain = session.peer_certificates().unwrap_or_default();
    let protocol = match session.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let Some(leaf) = chain.first() else { return protocol.to_owned() };
    let signed = match Signature::of(leaf) {
        Some(signature) if signature.is_by_itself => "by itself".to_owned(),
        Some(signature) => format!("by {}", signature.issuer),
        None => "by somebody who cannot be read".to_owned(),
    };
    let now_ms = Clock::system().now_ms();
    let valid = validity(leaf);
    let days = valid.map_or_else(String::new, |valid| format!(", {} days left", valid.days_left(now_ms)));
    let flaw = valid.and_then(|valid| valid.flaw(now_ms)).map_or_else(String::new, |flaw| format!(", which {flaw}"));
    let (names, length) = (subject_alt_names(leaf).join(", "), chain.len());
    let chain = if length == 1 { "no chain".to_owned() } else { format!("a chain of {length}") };
    format!("{protocol}; certificate for {names}, signed {signed}{days}{flaw}; {chain}")
}
