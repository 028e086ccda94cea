//! Whom outbound calls trust, over real connections: what the error says, what the log says, and what a reload changes.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use axum::{Router, routing::get};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use telemeter_http::client::{Identity, Outbound, OutboundConfig, OutboundError, Request};
use telemeter_http::listen::Limits;
use telemeter_http::tls::Tls;
use tokio::net::TcpListener;

use support::{Lines, SOON, Serving, limits, outbound, write_pair};

/// Reading the roots of the system holds up a busy machine for longer than a handshake has elsewhere.
fn patient() -> Limits {
    Limits { handshake_timeout: SOON, header_timeout: SOON, ..limits() }
}

fn router() -> Router {
    Router::new().route("/", get(|| async { "here" }))
}

async fn serve(cert: &Path, key: &Path) -> Serving {
    Serving::start(router(), Some(Tls::load(cert, key).unwrap()), patient()).await
}

async fn ask(outbound: &Outbound, host: &str, port: u16) -> Result<String, OutboundError> {
    let request = Request::get(format!("https://{host}:{port}/").parse().unwrap());
    outbound.send(request, 100).await.map(|answer| String::from_utf8(answer.body.to_vec()).unwrap())
}

/// What the log says while `work` is done.
fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    let lines = Lines::default();
    let done = tracing::subscriber::with_default(lines.subscriber(), work);
    (done, lines.text())
}

/// A certificate for `localhost` that openssl signed with its own key, valid between these times, and the key.
fn dated(folder: &Path, start: &str, end: &str) -> (PathBuf, PathBuf) {
    let config = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n\
                  rand_serial=yes\nx509_extensions=v3\n[p]\ncommonName=supplied\n[v3]\nsubjectAltName=DNS:localhost\n";
    std::fs::write(folder.join("ca.cnf"), config).unwrap();
    std::fs::write(folder.join("index.txt"), "").unwrap();
    for arguments in [
        "ecparam -name prime256v1 -genkey -noout -out dated.key".to_owned(),
        "req -new -key dated.key -subj /CN=dated -out dated.csr".to_owned(),
        format!(
            "ca -batch -selfsign -notext -config ca.cnf -keyfile dated.key -in dated.csr -startdate {start} -enddate \
             {end} -out dated.crt"
        ),
    ] {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().expect("openssl");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
    (folder.join("dated.crt"), folder.join("dated.key"))
}

#[tokio::test]
async fn an_unknown_authority_and_another_name_are_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let serving = serve(&cert, &key).await;
    let port = serving.address.port();
    let error = ask(&outbound(|_| ()), "localhost", port).await.expect_err("not trusted").to_string();
    let said = "the certificate is signed by an authority that is not trusted here, or by itself alone";
    let handshake = format!("cannot connect to https://localhost:{port}/: TLS handshake with localhost");
    assert_eq!(error, format!("{handshake}: {said} (reached directly)"));
    let knows = outbound(|config| config.ca_file = Some(cert.clone()));
    assert_eq!(ask(&knows, "localhost", port).await.unwrap(), "here");
    let error = ask(&knows, "127.0.0.2", port).await.err().map(|error| error.to_string());
    // Whether all of 127.0.0.0/8 is this machine is the system's choice: only then is there a handshake.
    if let Some(error) = error.filter(|error| error.contains("certificate")) {
        let said = "the certificate is not for the name 127.0.0.2: it is for localhost, 127.0.0.1";
        assert!(error.contains(&format!(": TLS handshake with 127.0.0.2: {said} (")), "{error}");
    }
}

#[tokio::test]
async fn plain_http_where_tls_was_expected_is_said() {
    let serving = Serving::start(router(), None, patient()).await;
    let error = ask(&outbound(|_| ()), "127.0.0.1", serving.address.port()).await.expect_err("no TLS").to_string();
    let said = "TLS handshake with 127.0.0.1: the answer is not TLS: does the server speak plain HTTP on this port? (";
    assert!(error.contains(said), "{error}");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "server");
    let (own_cert, own_key) = write_pair(folder.path(), "own");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&own_cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_file(&cert).unwrap()],
            PrivateKeyDer::from_pem_file(&key).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for _ in 0..4 {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                let service = hyper_util::service::TowerToHyperService::new(router());
                let io = hyper_util::rt::TokioIo::new(stream);
                let _ =
                    hyper::server::conn::http1::Builder::new().keep_alive(false).serve_connection(io, service).await;
            }
        }
    });

    let without = outbound(|config| config.ca_file = Some(cert.clone()));
    let error = ask(&without, "localhost", port).await.expect_err("no certificate").to_string();
    assert!(error.contains(": the server asks for a client certificate ("), "{error}");
    let other = Identity { cert_file: cert.clone(), key_file: key.clone() };
    let unknown = outbound(|config| (config.ca_file, config.identity) = (Some(cert.clone()), Some(other)));
    let error = ask(&unknown, "localhost", port).await.expect_err("another's certificate").to_string();
    assert!(error.contains("the server refuses our client certificate, or asks for one ("), "{error}");
    let own = Identity { cert_file: own_cert, key_file: own_key };
    let known = outbound(|config| (config.ca_file, config.identity) = (Some(cert.clone()), Some(own)));
    assert_eq!(ask(&known, "localhost", port).await.unwrap(), "here");
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_said_at_start_and_by_the_caller() {
    let folder = tempfile::tempdir().unwrap();
    for (start, end, said, year) in [
        ("20200101000000Z", "20210102030405Z", "has expired: it was valid until Sat, 02 Jan 2021 03:04:05 GMT", 2021),
        (
            "20990101000000Z",
            "20990201000000Z",
            "is not valid yet: it is valid from Thu, 01 Jan 2099 00:00:00 GMT",
            2099,
        ),
    ] {
        let (cert, key) = dated(folder.path(), start, end);
        let (tls, log) = logged(|| Tls::load(&cert, &key).unwrap());
        let file = format!("file={}", cert.display());
        let warned =
            |log: &str| log.contains("WARN") && log.contains(&format!("our certificate {said}")) && log.contains(&file);
        assert!(warned(&log), "{log}");
        let (_, log) = logged(|| tls.reload().unwrap());
        assert!(warned(&log), "{log}");
        let year_ms = 365 * 24 * 60 * 60 * 1000;
        assert_eq!(1970 + tls.expires_ms().unwrap() / (year_ms + year_ms / (4 * 365)), year);

        // Our own, shown to a server.
        let identity = Identity { cert_file: cert.clone(), key_file: key.clone() };
        let config = OutboundConfig { identity: Some(identity), ..OutboundConfig::new("test") };
        let (_, log) = logged(|| Outbound::new(config, None).unwrap());
        assert!(warned(&log), "{log}");

        let serving = Serving::start(router(), Some(tls), patient()).await;
        let knows = outbound(|config| config.ca_file = Some(cert.clone()));
        let error = ask(&knows, "localhost", serving.address.port()).await.expect_err("out of its time").to_string();
        assert!(error.contains(&format!(": the certificate {said}, and it is ")), "{error}");
    }
    let (cert, key) = write_pair(folder.path(), "good");
    let (_, log) = logged(|| Tls::load(&cert, &key).unwrap());
    assert!(!log.contains("WARN"), "{log}");
}

#[tokio::test]
async fn roots_are_read_again_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (old_cert, old_key) = write_pair(folder.path(), "old");
    let (new_cert, new_key) = write_pair(folder.path(), "new");
    let (old, new) = (serve(&old_cert, &old_key).await, serve(&new_cert, &new_key).await);
    let bundle = folder.path().join("bundle.pem");
    std::fs::copy(&old_cert, &bundle).unwrap();
    let outbound = outbound(|config| config.ca_file = Some(bundle.clone()));
    let clone = outbound.clone();
    let trusted = async || {
        let port = |serving: &Serving| serving.address.port();
        (ask(&clone, "localhost", port(&old)).await.is_ok(), ask(&clone, "localhost", port(&new)).await.is_ok())
    };
    assert_eq!(trusted().await, (true, false));

    std::fs::copy(&new_cert, &bundle).unwrap();
    let renewal = outbound.read().unwrap();
    assert_eq!(trusted().await, (true, false), "read, and not in use yet");
    renewal.store();
    assert_eq!(trusted().await, (false, true), "no kept connection goes by the old roots");

    std::fs::write(&bundle, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let error = outbound.read().err().unwrap().to_string();
    assert_eq!(error, format!("{} holds no certificate in PEM that can be used", bundle.display()));
    assert_eq!(trusted().await, (false, true));
}

#[test]
fn the_log_says_how_many_roots_came_from_where() {
    let folder = tempfile::tempdir().unwrap();
    let (one, _) = write_pair(folder.path(), "one");
    let (two, _) = write_pair(folder.path(), "two");
    let bundle = folder.path().join("bundle.pem");
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&bundle, format!("{}{bad}{}", text(&one), text(&two))).unwrap();
    let config = OutboundConfig { ca_file: Some(bundle.clone()), ..OutboundConfig::new("federate_from") };
    let (outbound, log) = logged(|| Outbound::new(config, None).unwrap());
    assert!(outbound.roots() >= 2, "{}", outbound.roots());
    let line = format!("trusted roots client=\"federate_from\" roots=2 from={}", bundle.display());
    assert!(log.contains(&line), "{log}");
    let place = 1 + text(&one).lines().count();
    let warning = format!(
        "trusted roots: {}: certificate 2, at line {place}, is left out: the certificate cannot be read",
        bundle.display()
    );
    assert!(log.contains(&warning) && log.contains("WARN"), "{log}");
    assert!(!log.contains("AAAA"), "{log}");
    let (_, log) = logged(|| outbound.warn_without_roots("--to", "https"));
    assert_eq!(log, "");
}
