//! The certificates in use, and the choice of the one that a client gets.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use aws_lc_rs::digest::{Context, SHA256};
use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use crate::certificate::subject_alt_names;

/// All certificates of a listener, in the order in which they were given.
#[derive(Debug)]
pub(super) struct ServedCertificates(ArcSwap<Vec<ServedCertificate>>);

/// A certificate with its chain and its key, and the names that it is for.
#[derive(Debug)]
pub(super) struct ServedCertificate {
    pair: Arc<CertifiedKey>,
    /// The names are in lower case; the first label may be `*`.
    names: Vec<String>,
}

impl ServedCertificates {
    pub(super) fn new(certificates: Vec<ServedCertificate>) -> Self {
        Self(ArcSwap::from_pointee(certificates))
    }

    pub(super) fn load(&self) -> Guard<Arc<Vec<ServedCertificate>>> {
        self.0.load()
    }

    pub(super) fn store(&self, certificates: Vec<ServedCertificate>) {
        self.0.store(Arc::new(certificates));
    }
}

impl ServedCertificate {
    pub(super) fn new(pair: CertifiedKey) -> Self {
        let names = pair.cert.first().map(subject_alt_names).unwrap_or_default();
        let names = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { pair: Arc::new(pair), names }
    }

    pub(super) fn leaf(&self) -> Option<&CertificateDer<'static>> {
        self.pair.cert.first()
    }

    /// Whether the certificate is for this host. Source: RFC 6125, 6.4: `*` stands for one whole label.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let matches = |name: &String| match name.strip_prefix('*') {
            None => name.eq_ignore_ascii_case(host),
            Some(rest) => host
                .split_once('.')
                .is_some_and(|(first, _)| !first.is_empty() && host[first.len()..].eq_ignore_ascii_case(rest)),
        };
        self.names.iter().any(matches)
    }

    fn is_rsa(&self) -> bool {
        self.pair.key.algorithm() == SignatureAlgorithm::RSA
    }
}

impl ResolvesServerCert for ServedCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.load();
        if let [only] = &certificates[..] {
            return Some(only.pair.clone());
        }
        let schemes = hello.signature_schemes();
        let is_checked = |one: &&ServedCertificate| one.pair.key.choose_scheme(schemes).is_some();
        let is_for_another = |one: &ServedCertificate| hello.server_name().is_some_and(|host| !one.is_for(host));
        let best = certificates.iter().filter(is_checked).min_by_key(|one| (is_for_another(one), one.is_rsa()));
        // Where the client can verify no certificate, the library reports this for the first one.
        best.or(certificates.first()).map(|one| one.pair.clone())
    }
}

/// A hash of all certificates with their chains.
pub(super) fn fingerprint(certificates: &[ServedCertificate]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for certificate in certificates {
        hash.update(&(certificate.pair.cert.len() as u64).to_be_bytes());
        for der in &certificate.pair.cert {
            hash.update(&(der.len() as u64).to_be_bytes());
            hash.update(der);
        }
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(hash.finish().as_ref());
    fingerprint
}
