use std::sync::Arc;
use std::time::Duration;

use rustls::server::ParsedCertificate;
use rustls::{OtherError, PeerMisbehaved, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};

use super::*;

/// A self-signed certificate for these names and its key, both PEM.
pub(crate) fn self_signed(names: &[&str]) -> (String, String) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[derive(Debug)]
struct TestSource(&'static str);

impl std::fmt::Display for TestSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for TestSource {}

fn at(secs: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(secs))
}

#[test]
fn each_failure_is_a_sentence() {
    let name = |name: &'static str| ServerName::try_from(name).unwrap();
    let other = |name| CertificateError::Other(OtherError(Arc::new(TestSource(name))));
    let cases: Vec<(Error, &str)> = vec![
        (
            CertificateError::UnknownIssuer.into(),
            "the certificate is signed by an authority that is not trusted here, or by itself alone",
        ),
        (
            CertificateError::ExpiredContext { time: at(1_000_000_000), not_after: at(784_111_777) }.into(),
            "the certificate has expired: it was valid until Sun, 06 Nov 1994 08:49:37 GMT, and it is Sun, 09 Sep 2001 \
             01:46:40 GMT",
        ),
        (
            CertificateError::NotValidYetContext { time: at(784_111_777), not_before: at(1_000_000_000) }.into(),
            "the certificate is not valid yet: it is valid from Sun, 09 Sep 2001 01:46:40 GMT, and it is Sun, 06 Nov \
             1994 08:49:37 GMT",
        ),
        (
            CertificateError::NotValidForNameContext {
                expected: name("there.example"),
                presented: vec![
                    "DnsName(\"here.example\")".to_owned(),
                    "DnsName(\"*.here.example\")".to_owned(),
                    "IpAddress(127.0.0.1)".to_owned(),
                    "Unsupported(0x00)".to_owned(),
                ],
            }
            .into(),
            "the certificate is not for the name there.example: it is for here.example, *.here.example, 127.0.0.1",
        ),
        (
            CertificateError::NotValidForNameContext { expected: name("10.0.0.1"), presented: Vec::new() }.into(),
            "the certificate is not for the name 10.0.0.1: it has no name (subjectAltName)",
        ),
        (
            other("CaUsedAsEndEntity").into(),
            "the certificate is an authority's, or signed by itself alone: let an authority sign one for the server",
        ),
        (other("UnsupportedCertVersion").into(), "the certificate is not of X.509 version 3"),
        (other("NameConstraintViolation").into(), "the certificate is not accepted (name constraint violation)"),
        (CertificateError::BadSignature.into(), "the certificate has a wrong signature"),
        (CertificateError::BadEncoding.into(), "the certificate cannot be read"),
        (CertificateError::Revoked.into(), "the certificate is revoked"),
        (
            CertificateError::UnknownRevocationStatus.into(),
            "the certificate is not accepted (unknown revocation status)",
        ),
        (
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            "the answer is not TLS: does the server speak plain HTTP on this port?",
        ),
        (
            Error::InvalidMessage(InvalidMessage::MissingData("Random")),
            "the server sent a TLS message that cannot be read (missing data)",
        ),
        (Error::AlertReceived(AlertDescription::CertificateRequired), "the server asks for a client certificate"),
        (
            Error::AlertReceived(AlertDescription::BadCertificate),
            "the server refuses our client certificate, or asks for one (bad certificate)",
        ),
        (
            Error::AlertReceived(AlertDescription::UnknownCA),
            "the server refuses our client certificate, or asks for one (unknown ca)",
        ),
        (
            Error::AlertReceived(AlertDescription::ProtocolVersion),
            "the server speaks no version of TLS that we do (1.2 and 1.3)",
        ),
        (Error::AlertReceived(AlertDescription::InternalError), "the server ended the TLS connection (internal error)"),
        (
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            "the server speaks no version of TLS that we do (1.2 and 1.3)",
        ),
        (
            Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
            "the server's TLS and ours have nothing in common (no cipher suites in common)",
        ),
        (
            Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol),
            "the server broke the rules of TLS (selected unoffered application protocol)",
        ),
        (Error::General("bytes [1, 2]".to_owned()), "TLS failed (general)"),
    ];
    for (error, expected) in cases {
        assert_eq!(tls_error_text(&error), expected);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        assert_eq!(tls_cause_text(&wrapped).as_deref(), Some(expected));
    }
    assert_eq!(tls_cause_text(&io::Error::other("no TLS")), None);
    assert_eq!(tls_cause_text(&io::Error::from(io::ErrorKind::NotFound)), None);
}

#[test]
fn a_caller_s_failure_is_told_too() {
    for (error, expected) in [
        (Error::AlertReceived(AlertDescription::UnknownCA), "the caller ended it (unknown ca)"),
        (
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            "what the caller sent is not TLS: does it speak plain HTTP?",
        ),
        (
            Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled),
            "the caller's TLS and ours have nothing in common (tls12 not offered or enabled)",
        ),
        (
            CertificateError::UnknownIssuer.into(),
            "the caller's certificate is signed by an authority that is not trusted here, or by itself alone",
        ),
        (Error::NoCertificatesPresented, "the caller showed no certificate"),
        (Error::General("bytes".to_owned()), "TLS failed (general)"),
    ] {
        assert_eq!(of_caller(&io::Error::new(io::ErrorKind::InvalidData, error)), expected);
    }
    assert_eq!(of_caller(&io::Error::other("reset")), "reset");
}

/// Checks the errors that the TLS library really returns, for a certificate that is verified as in a handshake.
#[test]
fn the_library_says_what_is_expected_of_it() {
    let check = |not_after: (i32, u8, u8), is_ca: bool, trusted: bool, name: &'static str| {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(not_after.0, not_after.1, not_after.2);
        if is_ca {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let der = CertificateDer::from(made.der().to_vec());
        let mut roots = RootCertStore::empty();
        if trusted {
            roots.add(der.clone()).unwrap();
        }
        let parsed = ParsedCertificate::try_from(&der).unwrap();
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let now = at(1_784_111_777);
        let error =
            rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms).err();
        let name = ServerName::try_from(name).unwrap();
        let error = error.or_else(|| rustls::client::verify_server_name(&parsed, &name).err());
        error.map(|error| tls_error_text(&error))
    };
    let starts = |found: Option<String>, expected: &str| {
        let found = found.unwrap_or_default();
        assert!(found.starts_with(expected), "{found:?} is not {expected:?}");
    };
    starts(
        check((2021, 1, 1), false, true, "localhost"),
        "the certificate has expired: it was valid until Fri, 01 Jan 2021",
    );
    starts(
        check((4000, 1, 1), false, false, "localhost"),
        "the certificate is signed by an authority that is not trusted",
    );
    starts(check((4000, 1, 1), true, true, "localhost"), "the certificate is an authority's");
    assert_eq!(
        check((4000, 1, 1), false, true, "elsewhere").as_deref(),
        Some("the certificate is not for the name elsewhere: it is for localhost, 127.0.0.1")
    );
    assert_eq!(check((4000, 1, 1), false, true, "127.0.0.1"), None);
}
