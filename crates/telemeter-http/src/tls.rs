//! The certificate that a listener shows, read from files and read again while it serves.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use crate::certificate::{EXPIRES_SOON, TlsError};
use crate::certificate::{read_pair, validity};
use crate::client::words;

/// A listener's certificate and key. Cheap to clone; a reload shows in every clone, from the next handshake on.
#[derive(Clone, Debug)]
pub struct Tls {
    shared: Arc<Shared>,
    server: Arc<ServerConfig>,
}

#[derive(Debug)]
struct Shared {
    cert_file: PathBuf,
    key_file: PathBuf,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<CertifiedKey>,
}

impl Tls {
    /// Reads a PEM certificate (with its chain) and its PEM key (PKCS#8, PKCS#1 or SEC1). HTTP/2 and HTTP/1.1 by ALPN.
    ///
    /// A certificate that has expired, or is not valid yet, is shown all the same; the log warns of it, here and at each
    /// reload.
    ///
    /// # Errors
    /// [`TlsError`] naming the file.
    pub fn load(cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Result<Self, TlsError> {
        let (cert_file, key_file) = (cert_file.into(), key_file.into());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let current = ArcSwap::from_pointee(read_pair(&cert_file, &key_file, &provider)?);
        let shared = Arc::new(Shared { cert_file, key_file, provider: provider.clone(), current });
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(words::in_words(&error)))?
            .with_no_client_auth()
            .with_cert_resolver(shared.clone());
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { shared, server: Arc::new(server) })
    }

    /// Reads the files again. Connections that stand keep what they have.
    ///
    /// # Errors
    /// [`TlsError`]; the old certificate then stays in use.
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
        let Shared { cert_file, key_file, provider, .. } = &*self.shared;
        let pair = Arc::new(read_pair(cert_file, key_file, provider)?);
        Ok(Renewal { shared: self.shared.clone(), pair })
    }

    /// When the certificate in use expires: Unix time in milliseconds, in the past where it has. `None` where the
    /// certificate does not say it in a way that we can read.
    pub fn expires_ms(&self) -> Option<i64> {
        let current = self.shared.current.load();
        Some(validity(current.cert.first()?)?.not_after_ms)
    }

    /// Warns where the certificate in use has expired, or expires within [`EXPIRES_SOON`].
    pub fn warn_of_validity(&self, now_ms: i64) {
        let current = self.shared.current.load();
        crate::certificate::warn_of_validity(&self.shared.cert_file, current.cert.first(), now_ms);
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }
}

/// A certificate and its key, read again and not in use yet.
#[must_use]
pub struct Renewal {
    shared: Arc<Shared>,
    pair: Arc<CertifiedKey>,
}

impl Renewal {
    /// Takes them into use. Connections that stand keep what they have.
    pub fn store(self) {
        self.shared.current.store(self.pair);
    }
}

impl ResolvesServerCert for Shared {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn write_pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (cert, key)
    }

    #[test]
    fn what_is_wrong_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = write_pair(folder.path(), "one");
        let (_, other_key) = write_pair(folder.path(), "two");
        Tls::load(&cert, &key).expect("a pair");

        let check = |cert: &Path, key: &Path, expected: &str| {
            let error = Tls::load(cert, key).expect_err("no pair").to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(&cert, &other_key, "two.key is not the key of ");
        check(Path::new("/nowhere.crt"), &key, "/nowhere.crt cannot be read: ");
        check(&cert, Path::new("/nowhere.key"), "/nowhere.key cannot be read: ");
        check(&key, &key, "one.key holds no certificate in PEM");
        check(&cert, &cert, "one.crt holds no private key in PEM");
    }

    #[test]
    fn a_bad_reload_keeps_the_old_pair() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = write_pair(folder.path(), "one");
        let tls = Tls::load(&cert, &key).unwrap();
        let before = tls.shared.current.load_full();

        let (other_cert, other_key) = write_pair(folder.path(), "two");
        std::fs::copy(&other_cert, &cert).unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Pair { .. })));
        assert_eq!(tls.shared.current.load().cert, before.cert);

        std::fs::copy(&other_key, &key).unwrap();
        tls.reload().expect("a pair again");
        assert_ne!(tls.shared.current.load().cert, before.cert);
    }
}
