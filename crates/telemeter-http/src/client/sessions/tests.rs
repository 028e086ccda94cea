use std::io::{Read as _, Write as _};

use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, version};
use rustls_pki_types::PrivateKeyDer;

use super::*;
use crate::clock::ClockHandle;
use crate::tls::test_pass::pass;

/// 2030-01-01, within the validity of the certificate below.
const NOW_MS: i64 = 1_893_456_000_000;

/// A server, and a client that keeps its sessions with the server.
struct Both {
    server: Arc<ServerConfig>,
    client: ClientConfig,
    sessions: Arc<OriginSessions>,
    clock: ClockHandle,
}

impl Both {
    fn new(version: &'static rustls::SupportedProtocolVersion) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        // The library itself reads the system's clock.
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let cert = params.self_signed(&key).unwrap().der().clone();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[version]).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let server = builder.with_no_client_auth().with_single_cert(vec![cert.clone()], key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert).unwrap();
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let mut client = builder.with_root_certificates(roots).with_no_client_auth();
        let (clock, handle) = Clock::fixed(NOW_MS);
        let all = Sessions { clock, ..Sessions::default() };
        let sessions = all.of("localhost", 1);
        client.resumption = Resumption::store(sessions.clone());
        Self { server: Arc::new(server), client, sessions, clock: handle }
    }

    /// Connects; returns whether the connection resumed a session.
    fn resumes(&self) -> bool {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(self.client.clone()), name).unwrap();
        let mut server = ServerConnection::new(self.server.clone()).unwrap();
        client.writer().write_all(b"x").unwrap();
        for _ in 0..6 {
            pass(&mut client, &mut server);
            pass(&mut server, &mut client);
        }
        server.reader().read_exact(&mut [0]).unwrap();
        let certificate = client.peer_certificates().unwrap()[0].clone();
        self.sessions.established(client.handshake_kind(), Some(&certificate))
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);

#[test]
fn a_session_is_resumed_until_its_certificate_is_to_be_checked_again() {
    for version in [&version::TLS12, &version::TLS13] {
        let both = Both::new(version);
        assert!(!both.resumes(), "{version:?}");
        for _ in 0..23 {
            assert!(both.resumes(), "{version:?}");
            both.clock.advance(HOUR);
        }
        assert!(both.resumes(), "{version:?}");
        both.clock.advance(HOUR);
        assert!(!both.resumes(), "{version:?}: a day after it was checked, however often the session was resumed");
        assert!(both.resumes(), "{version:?}");

        both.clock.set_ms(2_208_988_800_000 - 1000);
        assert!(both.resumes(), "{version:?}: a second before it expires");
        both.clock.set_ms(2_208_988_800_000 + 1000);
        assert!(!both.resumes(), "{version:?}: it has expired");
    }
}

#[test]
fn origins_have_sessions_of_their_own_and_a_bound() {
    let all = Sessions::default();
    let one = all.of("a.test", 1);
    assert!(Arc::ptr_eq(&one, &all.of("a.test", 1)));
    for (host, port) in [("a.test", 2), ("b.test", 1)] {
        assert!(!Arc::ptr_eq(&one, &all.of(host, port)), "{host}:{port}");
    }
    for port in 0..100 {
        all.of("c.test", port);
    }
    assert_eq!(all.origins.lock().len(), MAX_ORIGINS);
    assert!(!Arc::ptr_eq(&one, &all.of("a.test", 1)), "the oldest are forgotten");
}
