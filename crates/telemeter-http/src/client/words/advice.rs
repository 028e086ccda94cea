//! Advice for connections that fail: a sentence for each cause in [`super`].

use std::io::ErrorKind;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};

/// Advice for a name that is not found.
pub(crate) const LOOKUP: &str = "is the name written rightly, and does the name server of this machine know it?";
/// Advice for a connection that was not made in time.
pub(crate) const SLOW: &str = "does a firewall or a network policy drop it, or do calls have to go through a proxy?";
/// Advice for a connection on which no bytes arrive.
pub(crate) const SILENT: &str = "is this the port of https? a firewall may take connections and let nothing through";
/// Advice for a connection that the peer closes.
pub(crate) const CLOSED: &str = "look into the log of the program on the other side, or of a proxy between";
/// Advice for a proxy that asks for a user and a password.
pub(crate) const PROXY_LOGIN: &str = "write user and password into the variable: http://USER:PASSWORD@PROXY:PORT";
/// Advice for a proxy that refuses the target.
pub(crate) const PROXY_RULES: &str = "have the proxy let this target through, or name the target in NO_PROXY";

/// Advice for a TCP connection that fails.
pub(crate) fn connect(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ConnectionRefused => "does the program on the other side run, and is the port right?",
        ErrorKind::PermissionDenied => "the system, or a firewall on this machine, forbids it",
        _ => SLOW,
    }
}

/// Advice for a TLS handshake that fails.
pub(crate) fn tls(error: &Error) -> &'static str {
    match error {
        Error::InvalidCertificate(refusal) => certificate(refusal),
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            "write http:// in place of https://, or name the port of https"
        }
        Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        ) => "give a client certificate that the server takes (--tls-cert-file and --tls-private-key-file)",
        Error::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the server needs TLS 1.2 or 1.3, with current cipher suites",
        _ => CLOSED,
    }
}

/// What to do about a server's certificate that was not accepted, by the reason; for rare reasons, to have another one
/// issued.
fn certificate(refusal: &CertificateError) -> &'static str {
    match refusal {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "have the server's certificate renewed; where it is not so late yet, set the clock of this machine"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "set the clock of this machine, or have the certificate issued anew"
        }
        CertificateError::UnknownIssuer => {
            "find out whether it is the right server; if so, name a file as this line says"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "use one of its names in the URL, or have it issued for this name, too"
        }
        _ => "have another certificate issued for the server",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_advice() {
        let check = |error: Error, expected: &str| assert!(tls(&error).contains(expected), "{error:?}");
        check(CertificateError::Expired.into(), "renewed");
        check(CertificateError::NotValidYet.into(), "clock");
        check(CertificateError::UnknownIssuer.into(), "right server");
        check(CertificateError::NotValidForName.into(), "names");
        check(CertificateError::Revoked.into(), "another certificate");
        check(Error::InvalidMessage(InvalidMessage::InvalidContentType), "http://");
        check(Error::AlertReceived(AlertDescription::CertificateRequired), "client certificate");
        check(Error::AlertReceived(AlertDescription::ProtocolVersion), "TLS 1.2");
        check(Error::DecryptError, "log");
        assert!(connect(ErrorKind::ConnectionRefused).contains("port"));
        assert_eq!(connect(ErrorKind::TimedOut), SLOW);
    }
}
