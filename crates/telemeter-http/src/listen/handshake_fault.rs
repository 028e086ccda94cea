//! The reasons for which TLS handshakes fail, as the metrics and the log name them.

use std::io;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

/// The reason for which a handshake failed: the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandshakeFault {
    /// The handshake was not done in time.
    Timeout,
    /// The caller closed the connection.
    Closed,
    /// The received bytes are not TLS.
    NotTls,
    /// The caller supports no TLS version that we support.
    UnsupportedVersion,
    /// There is no cipher suite, key exchange or signature algorithm that both sides support.
    NoSharedAlgorithm,
    /// The caller did not accept our certificate, and had asked for a name that no certificate of ours is for.
    UnknownName,
    /// The caller did not accept our certificate.
    CertificateRefused,
    /// Any other violation of the TLS protocol.
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

    /// The value of the metric's label `reason`, and of the same field in the log.
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

    /// The reason for an error of the TLS library; `is_name_known` says whether a certificate of ours is for the name
    /// that the caller asked for.
    pub(super) fn of(error: &io::Error, is_name_known: bool) -> Self {
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
                // Versions before TLS 1.2 do not know this extension, and the library checks for it first.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            )) => Self::UnsupportedVersion,
            Some(Error::PeerIncompatible(_)) => Self::NoSharedAlgorithm,
            Some(_) => Self::Protocol,
        }
    }

    /// The reason for an alert that the caller sent. Source: RFC 8446, 6.2.
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
            // The authority that signed the certificate has the same name as one that the caller trusts, and another
            // key.
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => match is_name_known {
                true => Self::CertificateRefused,
                false => Self::UnknownName,
            },
            _ => Self::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
