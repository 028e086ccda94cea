use std::io::{Read as _, Write as _};
use std::path::Path;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};
use rustls::{SupportedProtocolVersion, version};

use super::{test_pass::pass, *};

fn write_pair_with(folder: &Path, name: &str, algorithm: &'static rcgen::SignatureAlgorithm) -> CertificateFiles {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned(), format!("{name}.test")]).unwrap();
    let cert = params.self_signed(&key).unwrap();
    let files = CertificateFiles {
        cert_file: folder.join(format!("{name}.crt")),
        key_file: folder.join(format!("{name}.key")),
    };
    std::fs::write(&files.cert_file, cert.pem()).unwrap();
    std::fs::write(&files.key_file, key.serialize_pem()).unwrap();
    files
}

fn write_pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let files = write_pair_with(folder, name, &rcgen::PKCS_ECDSA_P256_SHA256);
    (files.cert_file, files.key_file)
}

#[test]
fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let (_, other_key) = write_pair(folder.path(), "two");
    ListenerTls::load(&cert, &key).expect("a pair");

    let check = |cert: &Path, key: &Path, expected: &str| {
        let error = ListenerTls::load(cert, key).expect_err("no pair").to_string();
        assert!(error.contains(expected), "{error}");
        let second = CertificateFiles { cert_file: cert.to_owned(), key_file: key.to_owned() };
        let first =
            CertificateFiles { cert_file: folder.path().join("one.crt"), key_file: folder.path().join("one.key") };
        let error = ListenerTls::load_all(vec![first, second]).expect_err("no pair").to_string();
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
    let tls = ListenerTls::load(&cert, &key).unwrap();
    let shown = || tls.shared.current.load()[0].leaf().cloned();
    let before = shown();

    let (other_cert, other_key) = write_pair(folder.path(), "two");
    std::fs::copy(&other_cert, &cert).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Pair { .. })));
    assert_eq!(shown(), before);

    std::fs::copy(&other_key, &key).unwrap();
    tls.reload().expect("a pair again");
    assert_ne!(shown(), before);
}

/// A client that trusts these certificates.
fn client(certificates: &[&CertificateFiles], versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for files in certificates {
        let pem = std::fs::read(&files.cert_file).unwrap();
        let certificate = crate::pem::blocks(&pem).remove(0).der.unwrap().to_vec();
        roots.add(certificate.into()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

/// Runs a connection between both sides to its end; returns the kind of handshake and the certificate that the client
/// received.
fn connect(client: &Arc<ClientConfig>, tls: &ListenerTls, host: &str) -> (HandshakeKind, Vec<u8>) {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(tls.server_config()).unwrap();
    client.writer().write_all(b"ping").unwrap();
    let mut said = Vec::new();
    for _ in 0..10 {
        pass(&mut client, &mut server);
        if !server.is_handshaking() && said.is_empty() {
            let mut bytes = [0; 4];
            if server.reader().read(&mut bytes).is_ok() {
                said.extend_from_slice(&bytes);
                server.writer().write_all(b"pong").unwrap();
            }
        }
        pass(&mut server, &mut client);
    }
    assert_eq!(said, b"ping");
    assert_eq!(server.handshake_kind(), client.handshake_kind());
    (client.handshake_kind().unwrap(), client.peer_certificates().unwrap()[0].to_vec())
}

fn kind(client: &Arc<ClientConfig>, tls: &ListenerTls) -> HandshakeKind {
    connect(client, tls, "localhost").0
}

fn secret(byte: u8) -> Zeroizing<[u8; 32]> {
    Zeroizing::new([byte; 32])
}

/// A replica with these certificates and this secret.
fn replica(files: &CertificateFiles, byte: u8) -> ListenerTls {
    let tls = ListenerTls::load_all(vec![files.clone()]).unwrap();
    tls.share_sessions(secret(byte));
    tls
}

const FULL: HandshakeKind = HandshakeKind::Full;
const RESUMED: HandshakeKind = HandshakeKind::Resumed;

#[test]
fn any_replica_with_the_same_secret_resumes_a_session_of_tls_1_3() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_pair_with(folder.path(), "one", &rcgen::PKCS_ECDSA_P256_SHA256);
    let (one, same, other) = (replica(&files, 1), replica(&files, 1), replica(&files, 2));
    let client = Arc::new(client(&[&files], &[&version::TLS13]));
    assert_eq!(kind(&client, &one), FULL);
    assert_eq!(kind(&client, &same), RESUMED);
    assert_eq!(kind(&client, &one), RESUMED, "with the ticket of the resumed session");
    assert_eq!(kind(&client, &other), FULL, "another secret");
    assert_eq!(kind(&client, &one), FULL, "whose ticket is nothing to the first");
    let unshared = ListenerTls::load_all(vec![files]).unwrap();
    assert_eq!(kind(&client, &unshared), FULL);
    assert_eq!(kind(&client, &unshared), RESUMED, "a secret of its own is one");
}

#[test]
fn a_session_of_tls_1_2_is_resumed_by_its_own_replica_alone() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_pair_with(folder.path(), "one", &rcgen::PKCS_ECDSA_P256_SHA256);
    let (one, same) = (replica(&files, 1), replica(&files, 1));
    let client = Arc::new(client(&[&files], &[&version::TLS12]));
    assert_eq!(kind(&client, &one), FULL);
    assert_eq!(kind(&client, &one), RESUMED);
    assert_eq!(kind(&client, &same), FULL, "with the shared secret alone nobody can open its ticket");
    assert_eq!(kind(&client, &same), RESUMED);
}

#[test]
fn a_reload_of_secret_or_certificate_ends_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_pair_with(folder.path(), "one", &rcgen::PKCS_ECDSA_P256_SHA256);
    let renewed = write_pair_with(folder.path(), "two", &rcgen::PKCS_ECDSA_P256_SHA256);
    for versions in [&version::TLS12, &version::TLS13] {
        let (folder, tls) = (tempfile::tempdir().unwrap(), replica(&files, 1));
        let client = Arc::new(client(&[&files, &renewed], &[versions]));
        assert_eq!(kind(&client, &tls), FULL);
        tls.share_sessions(secret(1));
        tls.reload().unwrap();
        assert_eq!(kind(&client, &tls), RESUMED, "nothing has changed");
        tls.share_sessions(secret(2));
        assert_eq!(kind(&client, &tls), FULL);

        let served = CertificateFiles { cert_file: folder.path().join("crt"), key_file: folder.path().join("key") };
        let copy = |from: &CertificateFiles| {
            std::fs::copy(&from.cert_file, &served.cert_file).unwrap();
            std::fs::copy(&from.key_file, &served.key_file).unwrap();
        };
        copy(&files);
        let tls = replica(&served, 1);
        assert_eq!(kind(&client, &tls), FULL);
        copy(&renewed);
        tls.reload().unwrap();
        assert_eq!(kind(&client, &tls), FULL, "the client is to see the new certificate");
        assert_eq!(kind(&client, &tls), RESUMED);
    }
}

#[test]
fn an_old_ticket_is_a_full_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_pair_with(folder.path(), "one", &rcgen::PKCS_ECDSA_P256_SHA256);
    let (clock, handle) = Clock::fixed(1_767_225_600_000);
    let tls = ListenerTls::load_at(vec![files.clone()], clock).unwrap();
    let client = Arc::new(client(&[&files], &[&version::TLS13]));
    assert_eq!(kind(&client, &tls), FULL);
    handle.advance(std::time::Duration::from_secs(12 * 60 * 60));
    assert_eq!(kind(&client, &tls), RESUMED);
    handle.advance(std::time::Duration::from_secs(12 * 60 * 60 + 1));
    assert_eq!(kind(&client, &tls), FULL);
}

#[test]
fn the_cipher_suite_is_the_one_that_costs_least_and_the_key_exchange_x25519() {
    let folder = tempfile::tempdir().unwrap();
    let ecdsa = write_pair_with(folder.path(), "ecdsa", &rcgen::PKCS_ECDSA_P256_SHA256);
    let rsa = write_pair_with(folder.path(), "rsa", &rcgen::PKCS_RSA_SHA256);
    for (files, version, expected) in [
        (&ecdsa, &version::TLS13, CipherSuite::TLS13_AES_128_GCM_SHA256),
        (&ecdsa, &version::TLS12, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        (&rsa, &version::TLS12, CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ] {
        let server = ListenerTls::load_all(vec![files.clone()]).unwrap().server_config();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(client(&[files], &[version])), name).unwrap();
        let mut server = ServerConnection::new(server).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        server.read_tls(&mut &hello[..]).unwrap();
        server.process_new_packets().unwrap();
        assert_eq!(server.negotiated_cipher_suite().unwrap().suite(), expected);
        // In TLS 1.2 the group is known once the client has answered.
        if let Some(group) = server.negotiated_key_exchange_group() {
            assert_eq!(group.name(), rustls::NamedGroup::X25519);
        } else {
            assert_eq!(version.version, rustls::ProtocolVersion::TLSv1_2);
        }
    }
}

#[test]
fn no_early_data_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let files = write_pair_with(folder.path(), "one", &rcgen::PKCS_ECDSA_P256_SHA256);
    let tls = replica(&files, 1);
    assert_eq!(tls.server_config().max_early_data_size, 0);
    let mut client = client(&[&files], &[&version::TLS13]);
    client.enable_early_data = true;
    let client = Arc::new(client);
    assert_eq!(kind(&client, &tls), FULL);
    let name = ServerName::try_from("localhost").unwrap();
    let mut again = ClientConnection::new(client, name).unwrap();
    assert!(again.early_data().is_none(), "no ticket of ours allows it");
}

#[test]
fn each_client_is_shown_a_certificate_that_it_can_check() {
    let folder = tempfile::tempdir().unwrap();
    let rsa = write_pair_with(folder.path(), "rsa", &rcgen::PKCS_RSA_SHA256);
    let ecdsa = write_pair_with(folder.path(), "ecdsa", &rcgen::PKCS_ECDSA_P256_SHA256);
    let other = write_pair_with(folder.path(), "other", &rcgen::PKCS_ECDSA_P384_SHA384);
    let der = |files: &CertificateFiles| {
        crate::pem::blocks(&std::fs::read(&files.cert_file).unwrap()).remove(0).der.unwrap().to_vec()
    };
    let shown = |tls: &ListenerTls, host: &str, version, is_ours: fn(rustls::SignatureScheme) -> bool| {
        let mut config = client(&[&rsa, &ecdsa, &other], &[version]);
        config.resumption = Resumption::disabled();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        config.dangerous().set_certificate_verifier(Arc::new(Checking { provider, is_ours }));
        connect(&Arc::new(config), tls, host).1
    };
    let any: fn(rustls::SignatureScheme) -> bool = |_| true;
    let rsa_only: fn(rustls::SignatureScheme) -> bool = |scheme| format!("{scheme:?}").starts_with("RSA");
    for files in [[rsa.clone(), ecdsa.clone()], [ecdsa.clone(), rsa.clone()]] {
        let tls = ListenerTls::load_all(files.to_vec()).unwrap();
        for version in [&version::TLS12, &version::TLS13] {
            assert_eq!(shown(&tls, "localhost", version, any), der(&ecdsa), "it costs less, whatever the order");
            assert_eq!(shown(&tls, "localhost", version, rsa_only), der(&rsa));
            assert_eq!(shown(&tls, "rsa.test", version, any), der(&rsa), "the name goes first");
            assert_eq!(shown(&tls, "ecdsa.test", version, rsa_only), der(&rsa), "what the client can check, before");
            assert_eq!(shown(&tls, "nobody.test", version, any), der(&ecdsa));
        }
    }
    let tls = ListenerTls::load_all(vec![other.clone(), ecdsa.clone()]).unwrap();
    let p256: fn(rustls::SignatureScheme) -> bool = |scheme| scheme == rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
    assert_eq!(shown(&tls, "localhost", &version::TLS13, any), der(&other), "the first of two as good");
    assert_eq!(shown(&tls, "localhost", &version::TLS13, p256), der(&ecdsa));
}

/// A verifier that accepts any certificate, and announces only some signature schemes.
#[derive(Debug)]
struct Checking {
    provider: CryptoProvider,
    is_ours: fn(rustls::SignatureScheme) -> bool,
}

impl rustls::client::danger::ServerCertVerifier for Checking {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls_pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls_pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let all = self.provider.signature_verification_algorithms.supported_schemes();
        all.into_iter().filter(|scheme| (self.is_ours)(*scheme)).collect()
    }
}

#[test]
fn names_and_their_wildcards() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["Exact.test".to_owned(), "*.wild.test".to_owned()];
    let cert = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let (cert_file, key_file) = (folder.path().join("crt"), folder.path().join("key"));
    std::fs::write(&cert_file, cert.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    let tls = ListenerTls::load(cert_file, key_file).unwrap();
    for (host, expected) in [
        ("exact.test", true),
        ("EXACT.test", true),
        ("sub.exact.test", false),
        ("a.wild.test", true),
        ("A.WILD.TEST", true),
        ("a.b.wild.test", false),
        ("wild.test", false),
        (".wild.test", false),
        ("", false),
    ] {
        assert_eq!(tls.is_for(host), expected, "{host}");
    }
}
