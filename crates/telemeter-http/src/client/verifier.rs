//! Verifies a server's certificate with the TLS library, and keeps the last refused one, so that the error can name its
//! subject and issuer.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::OutboundConfig;
use super::words::{self, RefusedCertificate};
use crate::certificate::Signature;

/// A verifier that leaves every decision to the TLS library.
#[derive(Debug)]
pub(super) struct RecordingVerifier {
    /// `None` where there are no roots, so that no certificate is trusted.
    checks: Option<Arc<WebPkiServerVerifier>>,
    schemes: Vec<SignatureScheme>,
    ca_flag: Option<&'static str>,
    ca_file: Option<PathBuf>,
    refused: Mutex<Option<(ServerName<'static>, Option<Signature>)>>,
}

impl RecordingVerifier {
    /// A verifier that trusts these roots.
    pub(super) fn new(
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
        config: &OutboundConfig,
    ) -> Result<Self, String> {
        let checks = match roots.is_empty() {
            true => None,
            false => {
                let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                Some(builder.build().map_err(|error| format!("the trusted roots cannot be used: {error}"))?)
            }
        };
        let schemes = provider.signature_verification_algorithms.supported_schemes();
        let (ca_flag, ca_file) = (config.ca_flag, config.ca_file.clone());
        Ok(Self { checks, schemes, ca_flag, ca_file, refused: Mutex::default() })
    }

    /// The text for a failed handshake with `name`, with the subject or the issuer of a refused certificate.
    pub(super) fn describe_refusal(&self, name: &ServerName<'_>, error: &Error) -> String {
        let refused = self.refused.lock().take().filter(|(refused, _)| refused == name).and_then(|(_, who)| who);
        words::with_certificate(
            error,
            &RefusedCertificate {
                signature: refused,
                ca_flag: self.ca_flag,
                ca_file: self.ca_file.as_deref(),
                has_roots: self.checks.is_some(),
            },
        )
    }

    fn checks(&self) -> Result<&WebPkiServerVerifier, Error> {
        self.checks.as_deref().ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }
}

impl ServerCertVerifier for RecordingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .checks()
            .and_then(|checks| checks.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now));
        if verified.is_err() {
            // Where the server sent a chain, the issuer of its last certificate is the authority that is missing.
            let last = intermediates.last().unwrap_or(end_entity);
            let mut signature = Signature::of(end_entity);
            if let (Some(signature), Some(last)) = (&mut signature, Signature::of(last)) {
                signature.issuer = last.issuer;
            }
            *self.refused.lock() = Some((server_name.to_owned(), signature));
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.checks()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.checks()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
