//! The certificates that a listener sends, which are read from files and can be reloaded while it serves, and the TLS
//! sessions that its clients resume.

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

/// A listener's certificates and keys. Cheap to clone; a reload applies to every clone, from the next handshake on.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    shared: Arc<Inner>,
    server: Arc<ServerConfig>,
}

/// The files of a certificate chain, leaf first, and of the leaf's private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The file with the chain.
    pub cert_file: PathBuf,
    /// The file with the key: PKCS#8, PKCS#1 or SEC1.
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
    /// Reads a PEM certificate chain and its PEM key (PKCS#8, PKCS#1 or SEC1). The listener speaks HTTP/2 and HTTP/1.1,
    /// chosen by ALPN.
    ///
    /// # Errors
    /// As [`ListenerTls::load_all`].
    pub fn load(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Result<Self, TlsError> {
        Self::load_all(vec![CertificateFiles { cert_file: cert_file.into(), key_file: key_file.into() }])
    }

    /// Reads several certificates. Each client gets one that it can verify; where the client names a host that only
    /// some are for, it gets one of these. Of an RSA certificate and another one the client gets the other, since its
    /// handshake costs a tenth.
    ///
    /// A certificate that has expired, or is not valid yet, is still sent; a warning is logged here and at each reload.
    /// Only this process resumes its sessions until [`ListenerTls::share_sessions`] is called.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn load_all(files: Vec<CertificateFiles>) -> Result<Self, TlsError> {
        Self::load_at(files, Clock::system())
    }

    /// Reads the certificates and makes the TLS configuration, with session tickets of a new secret. Returns an error
    /// where a file is unreadable or wrong, or the system has no random bytes.
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
            .map_err(|error| TlsError::Setup(words::tls_error_text(&error)))?
            .with_no_client_auth()
            .with_cert_resolver(current.clone());
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        server.ignore_client_order = true;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.ticketer = tickets.clone();
        // Each resumed session gets the next ticket in its handshake, so one is enough.
        server.send_tls13_tickets = 1;
        Ok(Self { shared: Arc::new(Inner { files, provider, current, tickets }), server: Arc::new(server) })
    }

    /// From now on, listeners with the same `secret` and the same certificates resume each other's sessions of TLS 1.3;
    /// another secret ends all sessions. Sessions end when the certificates change.
    pub fn share_sessions(&self, secret: Zeroizing<[u8; 32]>) {
        self.shared.tickets.set_secret(secret);
    }

    /// Reads the files again. Open connections are not affected.
    ///
    /// # Errors
    /// [`TlsError`]; the old certificates then stay in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.read()?.store();
        Ok(())
    }

    /// Reads and checks the files again without using them: [`Renewal::store`] puts them into use. So several renewals
    /// can be applied together or not at all.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn read(&self) -> Result<Renewal, TlsError> {
        let certificates = read_all(&self.shared.files, &self.shared.provider)?;
        Ok(Renewal { shared: self.shared.clone(), certificates })
    }

    /// The time when the first of the certificates in use expires, as Unix time in milliseconds; it may be in the past.
    /// `None` where no certificate has an expiry time that we can parse.
    pub fn expires_ms(&self) -> Option<i64> {
        let current = self.shared.current.load();
        current.iter().filter_map(|one| Some(validity(one.leaf()?)?.not_after_ms)).min()
    }

    /// Logs a warning for each certificate in use that has expired, or expires within [`EXPIRES_SOON`].
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

/// As in Go, AES-128 with SHA-256 comes first, whatever the client's order is. Processors have instructions for this
/// hash, and a handshake hashes more than it encrypts. X25519, P-256 and the certificates have a strength of 128 bits,
/// too.
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

/// Certificates and their keys that were read again and are not in use yet.
#[must_use]
pub struct Renewal {
    shared: Arc<Inner>,
    certificates: Vec<ServedCertificate>,
}

impl Renewal {
    /// Puts the certificates into use. Open connections are not affected; where a certificate has changed, no earlier
    /// session is resumed.
    pub fn store(self) {
        self.shared.tickets.set_fingerprint(&served::fingerprint(&self.certificates));
        self.shared.current.store(self.certificates);
    }
}

#[cfg(test)]
pub(crate) mod test_pass;
#[cfg(test)]
mod tests;
