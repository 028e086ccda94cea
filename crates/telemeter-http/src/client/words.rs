//! Describes errors of TLS and of outbound calls as sentences, without the names of enum variants and without raw
//! bytes.

pub(crate) mod advice;

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use rustls::{AlertDescription, CertificateError, Error, InconsistentKeys, InvalidMessage, PeerIncompatible};
use rustls_pki_types::UnixTime;

use crate::body::chain;
use crate::certificate::names::{Signature, bare_names};
use crate::clock::date;

/// The text for the TLS error that `error` is or contains; `None` where it contains none.
pub(crate) fn tls_cause_text(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref::<Error>() {
            return Some(tls_error_text(tls));
        }
        // `source` of an I/O error skips the error that it wraps.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(words) = wrapped.and_then(|wrapped| tls_cause_text(wrapped)) {
            return Some(words);
        }
        next = cause.source();
    }
    None
}

/// The text for any error of an outbound call: the text for the TLS error that it contains, else the error with its
/// causes.
pub(crate) fn error_text(error: &(dyn StdError + 'static)) -> String {
    tls_cause_text(error).unwrap_or_else(|| remove_os_error_numbers(chain(error)))
}

/// Removes the system's error numbers, such as ` (os error 104)`, which do not help a reader.
fn remove_os_error_numbers(mut text: String) -> String {
    while let Some(start) = text.find(" (os error ") {
        let Some(length) = text[start..].find(')') else { break };
        text.replace_range(start..=start + length, "");
    }
    text
}

/// The sentence for a failed handshake of an outbound call, or for a certificate that cannot be used.
pub(crate) fn tls_error_text(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(refusal) => format!("the certificate {}", certificate(refusal)),
        Error::NoCertificatesPresented => "the server showed no certificate".to_owned(),
        Error::AlertReceived(alert) => refused(*alert),
        Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion) => {
            "the answer is not TLS: does the server speak plain HTTP on this port?".to_owned()
        }
        Error::InvalidMessage(what) => format!("the server sent a TLS message that cannot be read ({})", plain(what)),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => OLD_TLS.to_owned(),
        Error::PeerIncompatible(what) => format!("the server's TLS and ours have nothing in common ({})", plain(what)),
        Error::PeerMisbehaved(what) => format!("the server broke the rules of TLS ({})", plain(what)),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the server broke the rules of TLS (a message out of turn)".to_owned()
        }
        Error::DecryptError => "what the server sent cannot be decrypted".to_owned(),
        Error::NoApplicationProtocol => "the server speaks neither HTTP/2 nor HTTP/1.1".to_owned(),
        Error::UnsupportedNameType => "the server's name is neither a host name nor an address".to_owned(),
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => "the key is not the certificate's".to_owned(),
        other => format!("TLS failed ({})", plain(other)),
    }
}

/// A certificate that was refused, and the file that could have made it trusted.
pub(crate) struct RefusedCertificate<'a> {
    pub(crate) signature: Option<Signature>,
    /// The flag that names a file of certificate authorities for this kind of call.
    pub(crate) ca_flag: Option<&'static str>,
    pub(crate) ca_file: Option<&'a Path>,
    /// Whether any certificate authority is trusted.
    pub(crate) has_roots: bool,
}

/// As [`tls_error_text`], where the certificate is known: the text says whether it is self-signed, else its issuer, and what
/// would make it trusted.
pub(crate) fn with_certificate(error: &Error, refused: &RefusedCertificate<'_>) -> String {
    let Error::InvalidCertificate(CertificateError::UnknownIssuer) = error else { return tls_error_text(error) };
    let Some(signature) = &refused.signature else { return tls_error_text(error) };
    let name = |name: &str| if name.is_empty() { "no name".to_owned() } else { name.to_owned() };
    let (what, missing) = if signature.is_by_itself {
        (format!("is signed by itself alone ({})", name(&signature.subject)), "this certificate")
    } else {
        (
            format!("is signed by an authority that is not trusted here ({})", name(&signature.issuer)),
            "that authority's certificate",
        )
    };
    let remedy = match (refused.ca_flag, refused.ca_file) {
        (Some(flag), Some(file)) => {
            format!("{missing} is neither in {} ({flag}) nor among the system's", file.display())
        }
        (Some(flag), None) => format!("give a file with {missing} as {flag}"),
        (None, _) => format!("{missing} has to be among the system's"),
    };
    let none = if refused.has_roots { "" } else { "; there are no trusted roots at all" };
    format!("the certificate {what}: {remedy}{none}")
}

/// The text for a response that is not HTTP: a TLS server sends an alert in response to a plain request.
pub(crate) const NOT_HTTP: &str = "the answer is not HTTP: does the server speak TLS (https) on this port?";

/// The text for a request without a response, sent over `https` or not.
pub(crate) fn of_exchange(error: &hyper::Error, is_https: bool) -> String {
    if error.is_parse() && !is_https { NOT_HTTP.to_owned() } else { error_text(error) }
}

/// The text for a failed name lookup. The compared texts are those of glibc and of musl.
pub(crate) fn of_lookup(error: &io::Error) -> String {
    let text = crate::client::io_error_text(error);
    let ends = |words: &[&str]| words.iter().any(|end| text.ends_with(end));
    if ends(&["Name or service not known", "Name does not resolve", "Name has no usable address"]) {
        "there is no such name".to_owned()
    } else if ends(&["Temporary failure in name resolution", "Try again"]) {
        "the name server did not answer, or failed".to_owned()
    } else if ends(&["No address associated with hostname"]) {
        "it has no address".to_owned()
    } else {
        text
    }
}

/// The text for a failed handshake on a listener of ours.
pub(crate) fn of_caller(error: &io::Error) -> String {
    match error.get_ref().and_then(|wrapped| wrapped.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => format!("the caller ended it ({})", plain(alert)),
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion)) => {
            "what the caller sent is not TLS: does it speak plain HTTP?".to_owned()
        }
        Some(Error::PeerIncompatible(what)) => {
            format!("the caller's TLS and ours have nothing in common ({})", plain(what))
        }
        Some(Error::PeerMisbehaved(what)) => format!("the caller broke the rules of TLS ({})", plain(what)),
        Some(Error::InvalidCertificate(refusal)) => format!("the caller's certificate {}", certificate(refusal)),
        Some(Error::NoCertificatesPresented) => "the caller showed no certificate".to_owned(),
        Some(other) => format!("TLS failed ({})", plain(other)),
        None => error.to_string(),
    }
}

const OLD_TLS: &str = "the server speaks no version of TLS that we do (1.2 and 1.3)";

/// The text for a refused certificate, which follows "the certificate".
fn certificate(refusal: &CertificateError) -> String {
    match refusal {
        CertificateError::BadEncoding => "cannot be read".to_owned(),
        CertificateError::Expired => "has expired".to_owned(),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("has expired: it was valid until {}, and it is {}", day(*not_after), day(*time))
        }
        CertificateError::NotValidYet => "is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("is not valid yet: it is valid from {}, and it is {}", day(*not_before), day(*time))
        }
        CertificateError::Revoked => "is revoked".to_owned(),
        CertificateError::UnknownIssuer => {
            "is signed by an authority that is not trusted here, or by itself alone".to_owned()
        }
        CertificateError::BadSignature => "has a wrong signature".to_owned(),
        CertificateError::NotValidForName => "is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("is not for the name {}: {}", expected.to_str(), names(presented))
        }
        CertificateError::InvalidPurpose => "may not be used for this: see its extended key usage".to_owned(),
        CertificateError::InvalidPurposeContext { required, presented } => {
            let mut allowed = String::new();
            for purpose in presented {
                let _ = write!(allowed, "{}{purpose}", if allowed.is_empty() { "" } else { ", " });
            }
            let allowed = if allowed.is_empty() { "nothing" } else { &allowed };
            format!("may not be used for {required}: its extended key usage allows {allowed}")
        }
        CertificateError::UnhandledCriticalExtension => "has a critical extension that is not known here".to_owned(),
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is signed with an algorithm that is not supported (SHA-1, for one)".to_owned()
        }
        CertificateError::Other(other) => match other.0.to_string().as_str() {
            "CaUsedAsEndEntity" => {
                "is an authority's, or signed by itself alone: let an authority sign one for the server".to_owned()
            }
            "UnsupportedCertVersion" => "is not of X.509 version 3".to_owned(),
            other => format!("is not accepted ({})", spaced(other)),
        },
        other => format!("is not accepted ({})", plain(other)),
    }
}

/// The text for an alert: the server ended the handshake and sent the reason as a number.
fn refused(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "the server asks for a client certificate".to_owned(),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => {
            format!("the server refuses our client certificate, or asks for one ({})", plain(&alert))
        }
        AlertDescription::ProtocolVersion => OLD_TLS.to_owned(),
        AlertDescription::HandshakeFailure => "the server's TLS and ours have nothing in common".to_owned(),
        AlertDescription::UnrecognisedName => "the server does not know the name that it was asked for".to_owned(),
        other => format!("the server ended the TLS connection ({})", plain(&other)),
    }
}

/// The names that a certificate has, as the end of a sentence.
fn names(presented: &[String]) -> String {
    let names = bare_names(presented);
    if names.is_empty() {
        "it has no name (subjectAltName)".to_owned()
    } else {
        format!("it is for {}", names.join(", "))
    }
}

fn day(time: UnixTime) -> String {
    date(i64::try_from(time.as_secs().saturating_mul(1000)).unwrap_or(i64::MAX))
}

/// The name of an enum variant as words, without its fields.
fn plain(variant: &dyn std::fmt::Debug) -> String {
    let shown = format!("{variant:?}");
    spaced(shown.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default())
}

/// Splits a name into words: `BadRecordMac` becomes `bad record mac`.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_lower {
            words.push(' ');
        }
        after_lower = !c.is_ascii_uppercase();
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
pub(crate) mod tests;
