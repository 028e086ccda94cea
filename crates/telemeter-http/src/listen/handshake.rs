//! The TLS handshake of a connection; where it fails, the reason, counted and logged.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::server::Acceptor;
use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible, ServerConfig};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::metrics::ConnectionMetrics;
use super::stream::Socket;
use crate::client::words;
use crate::clock::Clock;
use crate::tls::ListenerTls;

/// What TLS keeps of answers before it writes.
const TLS_BUFFER_BYTES: usize = 16 << 10;
/// So many failures are logged in a second.
const MAX_LOGGED_PER_SECOND: u32 = 3;

/// Why a handshake failed: a metric's `reason` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeFault {
    /// It was not done in time.
    Timeout,
    /// The caller closed the connection.
    Closed,
    /// What came is not TLS.
    NotTls,
    /// The caller speaks no version that we do.
    UnsupportedVersion,
    /// No cipher suite, key exchange or signature that both know.
    NoSharedAlgorithm,
    /// The caller did not accept our certificate, having asked for a name that it is not for.
    UnknownName,
    /// The caller did not accept our certificate.
    CertificateRefused,
    /// Anything else that breaks the rules of TLS.
    Protocol,
}

impl HandshakeFault {
    pub(super) const ALL: [Self; 8] = [
        Self::Timeout,
        Self::Closed,
        Self::NotTls,
        Self::UnsupportedVersion,
        Self::NoSharedAlgorithm,
        Self::UnknownName,
        Self::CertificateRefused,
        Self::Protocol,
    ];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::UnsupportedVersion => "unsupported_version",
            Self::NoSharedAlgorithm => "no_shared_algorithm",
            Self::UnknownName => "unknown_name",
            Self::CertificateRefused => "certificate_refused",
            Self::Protocol => "protocol",
        }
    }

    fn of(error: &io::Error, is_name_known: bool) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            None => Self::Closed,
            Some(Error::AlertReceived(alert)) => Self::of_alert(*alert, is_name_known),
            Some(Error::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            )) => Self::NotTls,
            Some(Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                // What came before TLS 1.2 does not know this extension, and the library looks for it first.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            )) => Self::UnsupportedVersion,
            Some(Error::PeerIncompatible(_)) => Self::NoSharedAlgorithm,
            Some(_) => Self::Protocol,
        }
    }

    /// Source: RFC 8446, 6.2.
    fn of_alert(alert: AlertDescription, is_name_known: bool) -> Self {
        match alert {
            AlertDescription::CloseNotify | AlertDescription::UserCanceled => Self::Closed,
            AlertDescription::ProtocolVersion => Self::UnsupportedVersion,
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => Self::NoSharedAlgorithm,
            AlertDescription::UnrecognisedName => Self::UnknownName,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            // Its authority has the name of one that the caller knows, and another key.
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => match is_name_known {
                true => Self::CertificateRefused,
                false => Self::UnknownName,
            },
            _ => Self::Protocol,
        }
    }
}

/// Shakes hands with callers.
pub(super) struct Handshakes {
    tls: ListenerTls,
    config: Arc<ServerConfig>,
    metrics: ConnectionMetrics,
    log: Mutex<Logged>,
    clock: Clock,
}

/// What was logged in the second that this is about.
#[derive(Debug, Default)]
struct Logged {
    second: i64,
    count: u32,
    /// Since the last line.
    suppressed: u64,
}

impl Logged {
    /// Whether one more may be logged now: then how many were not since the last one.
    fn next(&mut self, second: i64) -> Option<u64> {
        if second != self.second {
            (self.second, self.count) = (second, 0);
        }
        if self.count >= MAX_LOGGED_PER_SECOND {
            self.suppressed += 1;
            return None;
        }
        self.count += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

impl Handshakes {
    pub(super) fn new(tls: &ListenerTls, metrics: ConnectionMetrics) -> Self {
        let (config, log) = (tls.server_config(), Mutex::default());
        Self { tls: tls.clone(), config, metrics, log, clock: Clock::system() }
    }

    /// Shakes hands with a caller; `None` where that failed, which is counted and logged by then.
    pub(super) async fn accept(&self, socket: Socket, peer: SocketAddr) -> Option<TlsStream<Socket>> {
        let mut hello = match LazyConfigAcceptor::new(Acceptor::default(), socket).await {
            Ok(hello) => hello,
            Err(error) => return self.failed(&error, true, false, peer),
        };
        let is_name_known = hello.client_hello().server_name().is_none_or(|name| self.tls.is_for(name));
        let limit = |session: &mut rustls::ServerConnection| session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        hello.io.hold();
        match hello.into_stream_with(self.config.clone(), limit).into_fallible().await {
            Ok(mut stream) => {
                stream.get_mut().0.hold_no_more();
                self.metrics.established(stream.get_ref().1.handshake_kind());
                Some(stream)
            }
            Err((error, mut socket)) => {
                // The alert that tells the caller why.
                let _ = poll_fn(|context| socket.poll_held(context)).await;
                self.failed(&error, is_name_known, true, peer)
            }
        }
    }

    /// Counts and logs that a handshake was not done in time.
    pub(super) fn timed_out(&self, peer: SocketAddr) {
        self.fault(HandshakeFault::Timeout, "the handshake was not done in time", peer);
    }

    fn failed<T>(&self, error: &io::Error, is_name_known: bool, has_begun: bool, peer: SocketAddr) -> Option<T> {
        let fault = HandshakeFault::of(error, is_name_known);
        let words = match fault {
            HandshakeFault::Closed => "the caller closed the connection".to_owned(),
            _ => words::of_caller(error),
        };
        if fault == HandshakeFault::Closed && !has_begun {
            // Balancers look in this way whether anybody is there.
            self.metrics.failed(fault);
            tracing::debug!(%peer, "no handshake: the connection was closed before it began");
            return None;
        }
        self.fault(fault, &words, peer);
        None
    }

    fn fault(&self, fault: HandshakeFault, error: &str, peer: SocketAddr) {
        self.metrics.failed(fault);
        let second = self.clock.monotonic_ms() / 1000;
        let Some(suppressed) = self.log.lock().next(second) else { return };
        tracing::info!(%peer, reason = fault.label(), error, suppressed, "a TLS handshake failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_a_second_are_logged_and_the_others_are_told_with_the_next() {
        let mut logged = Logged::default();
        let told: Vec<_> = (0..10).map(|_| logged.next(7)).collect();
        assert_eq!(told, [[Some(0); 3].as_slice(), &[None; 7]].concat());
        assert_eq!(logged.next(8), Some(7));
        assert_eq!(logged.next(8), Some(0));
        assert_eq!(logged.next(8), Some(0));
        assert_eq!(logged.next(8), None);
        assert_eq!(logged.next(1000), Some(1));
    }

    #[test]
    fn alerts_have_reasons() {
        use HandshakeFault::{
            CertificateRefused, Closed, NoSharedAlgorithm, Protocol, UnknownName, UnsupportedVersion,
        };
        for (alert, known, unknown) in [
            (AlertDescription::CloseNotify, Closed, Closed),
            (AlertDescription::UserCanceled, Closed, Closed),
            (AlertDescription::ProtocolVersion, UnsupportedVersion, UnsupportedVersion),
            (AlertDescription::HandshakeFailure, NoSharedAlgorithm, NoSharedAlgorithm),
            (AlertDescription::UnrecognisedName, UnknownName, UnknownName),
            (AlertDescription::BadCertificate, CertificateRefused, UnknownName),
            (AlertDescription::UnknownCA, CertificateRefused, UnknownName),
            (AlertDescription::CertificateExpired, CertificateRefused, UnknownName),
            (AlertDescription::CertificateUnknown, CertificateRefused, UnknownName),
            (AlertDescription::DecryptError, CertificateRefused, UnknownName),
            (AlertDescription::DecodeError, Protocol, Protocol),
            (AlertDescription::InternalError, Protocol, Protocol),
        ] {
            assert_eq!(HandshakeFault::of_alert(alert, true), known, "{alert:?}");
            assert_eq!(HandshakeFault::of_alert(alert, false), unknown, "{alert:?}");
        }
    }
}
