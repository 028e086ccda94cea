//! How the bench speaks TLS: certificates for the server, and clients that check none, each of which does one thing.

use std::{path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{SupportedKxGroup, aws_lc_rs, aws_lc_rs::kx_group},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;

/// What a client does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BenchClient {
    pub(crate) version: &'static SupportedProtocolVersion,
    /// Else ECDSA.
    pub(crate) rsa: bool,
    pub(crate) resumes: bool,
    pub(crate) group: &'static dyn SupportedKxGroup,
}

impl BenchClient {
    /// TLS 1.3, ECDSA, X25519, no session from before.
    pub(crate) const PLAIN: Self = Self { version: &TLS13, rsa: false, resumes: false, group: kx_group::X25519 };
    pub(crate) const RSA: Self = Self { rsa: true, ..Self::PLAIN };
    pub(crate) const RESUMING: Self = Self { resumes: true, ..Self::PLAIN };
    pub(crate) const OLD: Self = Self { version: &TLS12, ..Self::PLAIN };
    pub(crate) const OLD_RSA: Self = Self { rsa: true, ..Self::OLD };
    pub(crate) const P256: Self = Self { group: kx_group::SECP256R1, ..Self::PLAIN };
    pub(crate) const POST_QUANTUM: Self = Self { group: kx_group::X25519MLKEM768, ..Self::PLAIN };

    /// One that keeps its own sessions.
    pub(crate) fn connector(self) -> TlsConnector {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![self.group];
        let builder = ClientConfig::builder_with_provider(Arc::new(provider));
        let builder = builder.with_protocol_versions(&[self.version]).expect("the provider has them");
        let verifier = Arc::new(UncheckedCertificates { rsa: self.rsa });
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        if !self.resumes {
            config.resumption = Resumption::disabled();
        }
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsConnector::from(Arc::new(config))
    }
}

/// Checks nothing, which would take the processor from the server, but says which signatures it knows.
#[derive(Debug)]
struct UncheckedCertificates {
    rsa: bool,
}

impl ServerCertVerifier for UncheckedCertificates {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.is_known(signed)
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.is_known(signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match self.rsa {
            true => vec![SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PKCS1_SHA256],
            false => vec![SignatureScheme::ECDSA_NISTP256_SHA256],
        }
    }
}

impl UncheckedCertificates {
    fn is_known(&self, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        match self.supported_verify_schemes().contains(&signed.scheme) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }
}

/// An ECDSA P-256 and an RSA 2048 certificate for `localhost`, each with one above it in its chain, as most have: the flags
/// that name them.
pub(crate) fn certificates(folder: &Path) -> Vec<String> {
    let mut flags = Vec::new();
    for (name, algorithm) in [("ecdsa", &rcgen::PKCS_ECDSA_P256_SHA256), ("rsa", &rcgen::PKCS_RSA_SHA256)] {
        let (cert_file, key_file) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        if !cert_file.exists() {
            let root = authority("root", algorithm);
            let issuer = rcgen::Issuer::new(root.0, root.1);
            let (params, key) = authority("intermediate", algorithm);
            let intermediate = params.signed_by(&key, &issuer).expect("a certificate");
            let issuer = rcgen::Issuer::new(params, key);
            let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
            let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
            let leaf = params.signed_by(&key, &issuer).expect("a certificate");
            std::fs::write(&cert_file, leaf.pem() + &intermediate.pem()).expect("written");
            std::fs::write(&key_file, key.serialize_pem()).expect("written");
        }
        flags.push(format!("--tls-crt={}", cert_file.display()));
        flags.push(format!("--tls-key={}", key_file.display()));
    }
    flags
}

fn authority(name: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> (rcgen::CertificateParams, rcgen::KeyPair) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no name");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    (params, rcgen::KeyPair::generate_for(algorithm).expect("a key"))
}
