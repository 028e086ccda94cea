//! Why handshakes fail, as metrics and the log call it.

use std::io;

use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};

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

    /// The reason behind the library's error; `is_name_known` says whether a certificate of ours is for the name that was asked
    /// for.
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
