//! Makes certificate authorities for the test, and certificates that they sign.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// A certificate authority with a name of its own.
pub(super) struct CertificateAuthority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().expect("a P-256 key");
        let pem = params.self_signed(&key).expect("the parameters are complete").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Returns the certificate of the authority.
    pub(super) fn pem(&self) -> String {
        self.pem.clone()
    }

    /// Makes the certificate and key of the server with this host name.
    pub(super) fn server(&self, host: &str) -> (String, String) {
        let params = CertificateParams::new(vec![host.to_owned()]).expect("a host name");
        self.sign(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Makes the certificate and key of a client.
    pub(super) fn client(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a P-256 key");
        let certificate = params.signed_by(&key, &self.issuer).expect("the parameters are complete");
        (certificate.pem(), key.serialize_pem())
    }
}
