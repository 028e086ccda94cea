//! Our own certificates and keys, for listeners and for outbound calls: they are read from PEM files and checked, and
//! their validity is logged.

pub(crate) mod names;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, InconsistentKeys, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use zeroize::Zeroizing;

pub(crate) use self::names::{Signature, subject_alt_names};
use crate::client::words;
use crate::clock::{Clock, date};
use crate::file::{self, FileError};
use crate::pem::{self, PemBlock};

/// The remaining validity below which a certificate is warned about.
pub const EXPIRES_SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The reason why a certificate or a key cannot be used. Its text names the file and contains nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file does not contain what it should.
    #[error("{} {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        problem: String,
    },
    /// The key is not the key of the certificate.
    #[error("{} is not the key of {}", key_file.display(), cert_file.display())]
    Pair {
        /// The file of the certificate.
        cert_file: PathBuf,
        /// The file of the key.
        key_file: PathBuf,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Reads a certificate chain and its private key (PKCS#8, PKCS#1 or SEC1), both PEM. A certificate that has expired, or
/// is not valid yet, is still used; a warning is logged.
pub(crate) fn read_pair(
    cert_file: &Path,
    key_file: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let content = |path: &Path, problem: String| TlsError::Content { path: path.to_owned(), problem };
    let chain = chain(&file::read(cert_file, file::LARGE)?).map_err(|problem| content(cert_file, problem))?;
    let key = private_key(&Zeroizing::new(file::read(key_file, file::SMALL)?))
        .map_err(|problem| content(key_file, problem.replace("FILE", &key_file.display().to_string())))?;
    let key = provider.key_provider.load_private_key(key).map_err(|_hidden| content(key_file, UNUSABLE.to_owned()))?;

    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(TlsError::Pair { cert_file: cert_file.to_owned(), key_file: key_file.to_owned() });
        }
        Err(error) => return Err(content(cert_file, format!("cannot be used: {}", words::tls_error_text(&error)))),
    }
    warn_of_validity(cert_file, pair.cert.first(), Clock::system().now_ms());
    Ok(pair)
}

/// Logs a warning where our certificate is not valid now, or expires soon.
pub(crate) fn warn_of_validity(cert_file: &Path, certificate: Option<&CertificateDer<'_>>, now_ms: i64) {
    if let Some(flaw) = certificate.and_then(validity).and_then(|valid| valid.flaw(now_ms)) {
        tracing::warn!(file = %cert_file.display(), "our certificate {flaw}");
    }
}

const UNUSABLE: &str = "holds a private key that cannot be used: it must be RSA of 2048 to 8192 bits, EC on P-256, \
                        P-384 or P-521, or Ed25519, and whole";

/// The certificates of a file. A broken one is an error, since peers need the whole chain.
fn chain(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let mut chain = Vec::new();
    for (index, block) in certificates(&pem::blocks(bytes)).enumerate() {
        match &block.der {
            Ok(der) => chain.push(CertificateDer::from(der.to_vec())),
            Err(reason) => {
                let (position, line) = (index + 1, block.line);
                return Err(format!("holds a broken certificate, number {position} at line {line}: {reason}"));
            }
        }
    }
    if chain.is_empty() { Err("holds no certificate in PEM".to_owned()) } else { Ok(chain) }
}

/// The blocks that count as certificates in Go: blocks of another kind (`TRUSTED CERTIFICATE`), and blocks with
/// headers, are skipped.
pub(crate) fn certificates(blocks: &[PemBlock]) -> impl Iterator<Item = &PemBlock> {
    blocks.iter().filter(|block| block.kind == "CERTIFICATE" && !block.has_headers)
}

/// The first private key of a file. The error may contain `FILE` in place of the file's name.
fn private_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let blocks = pem::blocks(bytes);
    let Some(block) = blocks.iter().find(|block| block.is_private_key()) else {
        let is_der = bytes.first() == Some(&0x30);
        return Err(match is_der {
            true => "holds no private key in PEM, but what looks like DER: convert it, and where it is encrypted decrypt it \
                     first (openssl pkey -inform DER -in FILE -out PLAIN)",
            false => "holds no private key in PEM",
        }
        .to_owned());
    };
    if block.is_encrypted() {
        return Err("holds an encrypted private key: decrypt it first (openssl pkey -in FILE -out PLAIN)".to_owned());
    }
    let der = block.der.as_ref().map_err(|reason| format!("holds a broken private key: {reason}"))?.to_vec();
    match block.kind.as_str() {
        "PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs8(der.into())),
        "RSA PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs1(der.into())),
        "EC PRIVATE KEY" => Ok(PrivateKeyDer::Sec1(der.into())),
        _ => Err("holds no private key in PKCS#8, PKCS#1 or SEC1".to_owned()),
    }
}

/// The validity of a certificate: the first and the last time at which it is valid, as Unix time in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    not_before_ms: i64,
    pub(crate) not_after_ms: i64,
}

impl Validity {
    /// The days until it expires; negative where it has expired.
    pub(crate) fn days_left(self, now_ms: i64) -> i64 {
        self.not_after_ms.saturating_sub(now_ms).div_euclid(86_400_000)
    }

    /// The problem with it now, as a text that follows "the certificate"; `None` where it is valid and does not expire
    /// soon ([`EXPIRES_SOON`]).
    pub(crate) fn flaw(self, now_ms: i64) -> Option<String> {
        if now_ms < self.not_before_ms {
            return Some(format!("is not valid yet: it is valid from {}", date(self.not_before_ms)));
        }
        if now_ms > self.not_after_ms {
            return Some(format!("has expired: it was valid until {}", date(self.not_after_ms)));
        }
        let soon = self.not_after_ms.saturating_sub(now_ms) <= EXPIRES_SOON.as_millis() as i64;
        soon.then(|| format!("expires soon: it is valid until {}", date(self.not_after_ms)))
    }
}

/// The validity of a certificate; `None` where it cannot be parsed.
///
/// The TLS library reports the dates only in its errors, so it is asked to verify the certificate at a time before, and
/// at one after, all validities. It checks the dates first, before the signature. So no second certificate parser is
/// needed, and these dates are those that a handshake would check.
pub(crate) fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let refusal = |at_secs: u64| {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at_secs));
        match verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], at, algorithms) {
            Err(rustls::Error::InvalidCertificate(refusal)) => Some(refusal),
            _ => None,
        }
    };
    let not_before = match refusal(0)? {
        CertificateError::NotValidYetContext { not_before, .. } => not_before.as_secs(),
        CertificateError::UnknownIssuer => 0,
        _ => return None,
    };
    let CertificateError::ExpiredContext { not_after, .. } = refusal(u64::MAX)? else { return None };
    let ms = |secs: u64| i64::try_from(secs.saturating_mul(1000)).unwrap_or(i64::MAX);
    Some(Validity { not_before_ms: ms(not_before), not_after_ms: ms(not_after.as_secs()) })
}

#[cfg(test)]
mod tests;
