//! Tests of the roots that outbound calls trust, over real connections: the errors, the log, and the effect of a
//! reload.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use axum::{Router, routing::get};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use telemeter_http::client::{
    ConnectStage, Outbound, OutboundConfig, OutboundError, OutboundRequest, ProxyUse, Resolver,
};
use telemeter_http::listen::ListenLimits;
use telemeter_http::tls::ListenerTls;
use tokio::net::TcpListener;

use support::{LoggedLines, SOON, Serving, limits, outbound, write_pair};

/// Limits with longer deadlines, since reading the system's roots delays a handshake on a busy machine.
fn patient() -> ListenLimits {
    ListenLimits { handshake_timeout: SOON, header_timeout: SOON, ..limits() }
}

fn router() -> Router {
    Router::new().route("/", get(|| async { "here" }))
}

async fn serve(cert: &Path, key: &Path) -> Serving {
    Serving::start(router(), Some(ListenerTls::load(cert, key).unwrap()), patient()).await
}

async fn ask(outbound: &Outbound, host: &str, port: u16) -> Result<String, OutboundError> {
    let request = OutboundRequest::get(format!("https://{host}:{port}/").parse().unwrap());
    outbound.send(request, 100).await.map(|answer| String::from_utf8(answer.body.to_vec()).unwrap())
}

/// Runs `work`; also returns the lines that were logged meanwhile.
fn logged<T>(work: impl FnOnce() -> T) -> (T, String) {
    let lines = LoggedLines::default();
    let done = tracing::subscriber::with_default(lines.subscriber(), work);
    (done, lines.text())
}

/// A self-signed certificate for `localhost`, made by openssl, which is valid between these times, and its key.
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
    let said = "the certificate is signed by itself alone (CN=rcgen self signed cert): this certificate has to be among the \
                system's";
    let handshake = format!("cannot connect to https://localhost:{port}/: TLS handshake with localhost");
    assert_eq!(error, format!("{handshake}: {said} (reached directly)"));
    let knows = outbound(|config| config.ca_file = Some(cert.clone()));
    assert_eq!(ask(&knows, "localhost", port).await.unwrap(), "here");
    let error = ask(&knows, "127.0.0.2", port).await.err().map(|error| error.to_string());
    // The system decides whether all of 127.0.0.0/8 is this machine: only then is there a handshake.
    if let Some(error) = error.filter(|error| error.contains("certificate")) {
        let said = "the certificate is not for the name 127.0.0.2: it is for localhost, 127.0.0.1";
        assert!(error.contains(&format!(": TLS handshake with 127.0.0.2: {said} (")), "{error}");
    }
}

/// A certificate for `localhost`, signed by a new certificate authority, as files: leaf, key, authority.
fn signed(folder: &Path) -> [PathBuf; 3] {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "Test CA");
    let (authority_key, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &rcgen::Issuer::new(authority.clone(), &authority_key)).unwrap();
    let authority = authority.self_signed(&authority_key).unwrap();
    let files = ["leaf.crt", "leaf.key", "ca.crt"].map(|name| folder.join(name));
    for (file, content) in files.iter().zip([leaf.pem(), key.serialize_pem(), authority.pem()]) {
        std::fs::write(file, content).unwrap();
    }
    files
}

#[tokio::test]
async fn the_file_that_would_help_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key, authority] = signed(folder.path());
    let (other, _) = write_pair(folder.path(), "other");
    let serving = serve(&cert, &key).await;
    let port = serving.address.port();
    let said = async |ca_file: Option<&PathBuf>, ca_flag| {
        let outbound = outbound(|config| (config.ca_file, config.ca_flag) = (ca_file.cloned(), ca_flag));
        ask(&outbound, "localhost", port).await.map_err(|error| error.to_string())
    };
    let untrusted = "the certificate is signed by an authority that is not trusted here (CN=Test CA)";
    let error = said(None, Some("--to-ca-file")).await.expect_err("not trusted");
    assert!(
        error.contains(&format!("{untrusted}: give a file with that authority's certificate as --to-ca-file (")),
        "{error}"
    );
    let error = said(Some(&other), Some("--to-ca-file")).await.expect_err("not trusted");
    let other = other.display();
    let remedy = format!("that authority's certificate is neither in {other} (--to-ca-file) nor among the system's");
    assert!(error.contains(&format!("{untrusted}: {remedy}")), "{error}");
    assert_eq!(said(Some(&authority), Some("--to-ca-file")).await, Ok("here".to_owned()));
}

/// Runs a probe; returns the route, and for each step its stage, its description and its result.
async fn probed(outbound: &Outbound, url: &str) -> (String, Vec<(ConnectStage, String, Result<String, String>)>) {
    let probe = outbound.probe(&url.parse().unwrap()).await.unwrap();
    let step = |step: telemeter_http::client::ProbeStep| {
        (step.stage, step.tried, step.outcome.map_err(|failure| format!("{} | {}", failure.cause, failure.advice)))
    };
    (probe.route, probe.steps.into_iter().map(step).collect())
}

#[tokio::test]
async fn a_probe_says_how_each_step_went() {
    use ConnectStage::{Connect, Lookup, Tls};
    let folder = tempfile::tempdir().unwrap();
    let [cert, key, authority] = signed(folder.path());
    let serving = serve(&cert, &key).await;
    let port = serving.address.port();
    let knows = outbound(|config| config.ca_file = Some(authority));
    let (route, steps) = probed(&knows, &format!("https://127.0.0.1:{port}/")).await;
    assert_eq!(route, "directly: proxy variables do not apply here");
    let connected = (Connect, format!("connecting to 127.0.0.1:{port}"), Ok(format!("connected to 127.0.0.1:{port}")));
    assert_eq!(steps[0], connected);
    let (stage, tried, found) = &steps[1];
    assert_eq!((*stage, tried.as_str(), steps.len()), (Tls, "in the TLS handshake with 127.0.0.1", 2));
    let found = found.as_ref().unwrap();
    let expected = "TLS 1.3; certificate for localhost, 127.0.0.1, signed by CN=Test CA, ";
    assert!(found.starts_with(expected) && found.ends_with(" days left; no chain"), "{found}");

    let (_, steps) = probed(&outbound(|_| ()), &format!("https://127.0.0.1:{port}/")).await;
    let error = steps[1].2.as_ref().expect_err("not trusted");
    assert!(
        error.starts_with("the certificate is signed by an authority") || error.contains(": the certificate"),
        "{error}"
    );
    assert!(error.contains(" | find out whether it is the right server"), "{error}");

    let plain = Serving::start(router(), None, patient()).await;
    let (_, steps) = probed(&outbound(|_| ()), &format!("https://{}/", plain.address)).await;
    let error = steps[1].2.as_ref().expect_err("no TLS");
    assert!(error.contains("does the server speak plain HTTP") && error.contains(" | write http://"), "{error}");

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_, steps) = probed(&outbound(|_| ()), &format!("http://{closed}/")).await;
    let refused = "Connection refused | does the program on the other side run, and is the port right?".to_owned();
    assert_eq!(steps, [(Connect, format!("connecting to {closed}"), Err(refused))]);

    let nobody = Resolver::new(|_, _| std::future::ready(Err(std::io::Error::other("Name or service not known"))));
    let (_, steps) = probed(&outbound(|config| config.resolver = nobody), "http://store.test/").await;
    let failed =
        "there is no such name | is the name written rightly, and does the name server of this machine know it?";
    assert_eq!(steps, [(Lookup, "looking up store.test".to_owned(), Err(failed.to_owned()))]);
}

#[tokio::test]
async fn a_probe_says_why_it_goes_through_a_proxy_or_not() {
    let variables = |pairs: &[(&str, &str)]| {
        ProxyUse::FromVariables(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    };
    let nobody = || Resolver::new(|_, _| std::future::ready(Err(std::io::Error::other("odd"))));
    for (pairs, url, expected) in [
        (&[][..], "https://store.test/", "directly: neither HTTPS_PROXY nor https_proxy is set"),
        (
            &[("HTTPS_PROXY", "http://p:1")][..],
            "http://store.test/",
            "directly: neither HTTP_PROXY nor http_proxy is set",
        ),
        (
            &[("https_proxy", "http://u:hunter2@p:1")][..],
            "https://store.test/",
            "through the proxy http://p:1 of https_proxy",
        ),
        (
            &[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", "a.test, .Store.test,other.test")][..],
            "https://eu.store.test/",
            "directly: NO_PROXY names it (.store.test)",
        ),
        (
            &[("HTTPS_PROXY", "http://p:1")][..],
            "https://localhost:1/",
            "directly: a loopback address is never asked for through a proxy",
        ),
    ] {
        let outbound = outbound(|config| (config.proxy, config.resolver) = (variables(pairs), nobody()));
        assert_eq!(probed(&outbound, url).await.0, expected, "{pairs:?} {url}");
    }
}

#[tokio::test]
async fn tls_where_plain_http_was_expected_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = write_pair(folder.path(), "one");
    let serving = serve(&cert, &key).await;
    let url = format!("http://127.0.0.1:{}/", serving.address.port());
    let error =
        outbound(|_| ()).send(OutboundRequest::get(url.parse().unwrap()), 100).await.expect_err("TLS").to_string();
    assert!(error.contains("the answer is not HTTP: does the server speak TLS (https) on this port?"), "{error}");
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
    let other = telemeter_http::tls::CertificateFiles { cert_file: cert.clone(), key_file: key.clone() };
    let unknown = outbound(|config| (config.ca_file, config.identity) = (Some(cert.clone()), Some(other)));
    let error = ask(&unknown, "localhost", port).await.expect_err("another's certificate").to_string();
    assert!(error.contains("the server refuses our client certificate, or asks for one ("), "{error}");
    let own = telemeter_http::tls::CertificateFiles { cert_file: own_cert, key_file: own_key };
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
        let (tls, log) = logged(|| ListenerTls::load(&cert, &key).unwrap());
        let file = format!("file={}", cert.display());
        let warned =
            |log: &str| log.contains("WARN") && log.contains(&format!("our certificate {said}")) && log.contains(&file);
        assert!(warned(&log), "{log}");
        let (_, log) = logged(|| tls.reload().unwrap());
        assert!(warned(&log), "{log}");
        let year_ms = 365 * 24 * 60 * 60 * 1000;
        assert_eq!(1970 + tls.expires_ms().unwrap() / (year_ms + year_ms / (4 * 365)), year);

        // The certificate is our client certificate.
        let identity = telemeter_http::tls::CertificateFiles { cert_file: cert.clone(), key_file: key.clone() };
        let config = OutboundConfig { identity: Some(identity), ..OutboundConfig::new("test") };
        let (_, log) = logged(|| Outbound::new(config, None).unwrap());
        assert!(warned(&log), "{log}");

        let serving = Serving::start(router(), Some(tls), patient()).await;
        let knows = outbound(|config| config.ca_file = Some(cert.clone()));
        let error = ask(&knows, "localhost", serving.address.port()).await.expect_err("out of its time").to_string();
        assert!(error.contains(&format!(": the certificate {said}, and it is ")), "{error}");
    }
    let (cert, key) = write_pair(folder.path(), "good");
    let (_, log) = logged(|| ListenerTls::load(&cert, &key).unwrap());
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
