//! The certificates that a listener shows, read from files and read again while it serves; and the sessions that its
//! clients resume.

mod served;
mod tickets;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite};
use zeroize::Zeroizing;

use self::served::{ServedCertificate, ServedCertificates};
use self::tickets::SessionTickets;
pub use crate::certificate::{EXPIRES_SOON, TlsError};
use crate::certificate::{read_pair, validity};
use crate::client::words;
use crate::clock::Clock;

/// A listener's certificates and keys. Cheap to clone; a reload shows in every clone, from the next handshake on.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    shared: Arc<Inner>,
    server: Arc<ServerConfig>,
}

/// A certificate chain, leaf first, and the leaf's private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub cert_file: PathBuf,
    /// The key: PKCS#8, PKCS#1 or SEC1.
    pub key_file: PathBuf,
}

#[derive(Debug)]
struct Inner {
    files: Vec<CertificateFiles>,
    provider: Arc<CryptoProvider>,
    current: Arc<ServedCertificates>,
    tickets: Arc<SessionTickets>,
}

impl ListenerTls {
    /// Reads a PEM certificate (with its chain) and its PEM key (PKCS#8, PKCS#1 or SEC1). HTTP/2 and HTTP/1.1 by ALPN.
    ///
    /// # Errors
    /// As [`ListenerTls::load_all`].
    pub fn load(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Result<Self, TlsError> {
        Self::load_all(vec![CertificateFiles { cert_file: cert_file.into(), key_file: key_file.into() }])
    }

    /// Reads several: each client is shown one that it can check and, where it names a host that only some are for, one
    /// of these. Of an RSA certificate and another it is shown the other, which costs a tenth.
    ///
    /// A certificate that has expired, or is not valid yet, is shown all the same; the log warns of it, here and at each
    /// reload. Sessions are resumed by this process alone until [`ListenerTls::share_sessions`].
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn load_all(files: Vec<CertificateFiles>) -> Result<Self, TlsError> {
        Self::load_at(files, Clock::system())
    }

    fn load_at(files: Vec<CertificateFiles>, clock: Clock) -> Result<Self, TlsError> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(|suite| !costs_least(*suite));
        let provider = Arc::new(provider);
        let certificates = read_all(&files, &provider)?;
        let tickets = SessionTickets::new(&served::fingerprint(&certificates), clock)
            .ok_or_else(|| TlsError::Setup("the system has no randomness to give".to_owned()))?;
        let (tickets, current) = (Arc::new(tickets), Arc::new(ServedCertificates::new(certificates)));
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(words::in_words(&error)))?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.ignore_client_order = true;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.ticketer = tickets.clone();
        // Each resumed session brings the next ticket with it.
        server.send_tls13_tickets = 1;
        Ok(Self { shared: Arc::new(Inner { files, provider, current, tickets }), server: Arc::new(server) })
    }

    /// From now on listeners with the same `secret` and the same certificates resume each other's sessions of TLS 1.3;
    /// another secret ends all sessions. No session outlives a change of the certificates.
    pub fn share_sessions(&self, secret: Zeroizing<[u8; 32]>) {
        self.shared.tickets.set_secret(secret);
    }

    /// Reads the files again. Connections that stand keep what they have.
    ///
    /// # Errors
    /// [`TlsError`]; the old certificates then stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.read()?.store();
        Ok(())
    }

    /// Reads the files again, for now only to see whether they are good: with [`Renewal::store`] they come into use. So
    /// several can be renewed together or not at all.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn read(&self) -> Result<Renewal, TlsError> {
        let certificates = read_all(&self.shared.files, &self.shared.provider)?;
        Ok(Renewal { shared: self.shared.clone(), certificates })
    }

    /// When the first of the certificates in use expires: Unix time in milliseconds, in the past where it has. `None`
    /// where none says it in a way that we can read.
    pub fn expires_ms(&self) -> Option<i64> {
        let current = self.shared.current.load();
        current.iter().filter_map(|one| Some(validity(one.leaf()?)?.not_after_ms)).min()
    }

    /// Warns of the certificates in use that have expired, or expire within [`EXPIRES_SOON`].
    pub fn warn_of_validity(&self, now_ms: i64) {
        for (files, one) in self.shared.files.iter().zip(self.shared.current.load().iter()) {
            crate::certificate::warn_of_validity(&files.cert_file, one.leaf(), now_ms);
        }
    }

    /// Whether one of the certificates in use is for this host.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        self.shared.current.load().iter().any(|one| one.is_for(host))
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }
}

/// As in Go, AES-128 with SHA-256 goes first, whatever the client's order is. Its hash is one that processors have
/// instructions for, and a handshake hashes more than it encrypts. X25519, P-256 and the certificates are of 128 bits, too.
fn costs_least(suite: SupportedCipherSuite) -> bool {
    matches!(
        suite.suite(),
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

fn read_all(files: &[CertificateFiles], provider: &CryptoProvider) -> Result<Vec<ServedCertificate>, TlsError> {
    let read = |files: &CertificateFiles| read_pair(&files.cert_file, &files.key_file, provider);
    files.iter().map(|files| read(files).map(ServedCertificate::new)).collect()
}

/// Certificates and their keys, read again and not in use yet.
#[must_use]
pub struct Renewal {
    shared: Arc<Inner>,
    certificates: Vec<ServedCertificate>,
}

impl Renewal {
    /// Takes them into use. Connections that stand keep what they have; where a certificate is another one, no session
    /// from before is resumed.
    pub fn store(self) {
        self.shared.tickets.set_fingerprint(&served::fingerprint(&self.certificates));
        self.shared.current.store(self.certificates);
    }
}

#[cfg(test)]
mod tests;
