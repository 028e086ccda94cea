//! A fake Prometheus of a cluster with TLS: it requires a client certificate, and answers every query with the same
//! series: for each selector one that it matches, and one that it does not match.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::selectors::Selected;
use crate::ledger::now_ms;

/// The request of the last scrape.
#[derive(Clone)]
pub(super) struct LastScrape {
    pub(super) selectors: Vec<String>,
    pub(super) authorization: String,
    pub(super) certificate: bool,
}

/// A running source; it listens until this is dropped.
pub(super) struct ScrapedSource {
    pub(super) port: u16,
    seen: Arc<Mutex<Option<LastScrape>>>,
    task: tokio::task::JoinHandle<()>,
}

impl ScrapedSource {
    /// Starts the source. `identity` is its certificate and key, `clients` the authority of the client certificates
    /// that it requires.
    pub(super) async fn start(identity: (String, String), clients: String, selected: &[Selected]) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(tls(&identity, &clients)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let port = listener.local_addr().expect("it listens").port();
        let series = selected.iter().flat_map(|selected| [selected.series.clone(), selected.other.clone()]).collect();
        let series: Arc<Vec<String>> = Arc::new(series);
        let seen = Arc::new(Mutex::new(None));
        let noted = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, series, noted) = (acceptor.clone(), series.clone(), noted.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let certificate = stream.get_ref().1.peer_certificates().is_some();
                    let answer = service_fn(|request| {
                        let answer = answer(&request, certificate, &series, &noted);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    // The client may close the connection at any time, so the error is ignored.
                    let _left = http.serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Self { port, seen, task }
    }

    /// Returns the last scrape.
    pub(super) fn seen(&self) -> Option<LastScrape> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for ScrapedSource {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(
    request: &Request<Incoming>,
    certificate: bool,
    series: &[String],
    noted: &Mutex<Option<LastScrape>>,
) -> Response<String> {
    let query = request.uri().query().unwrap_or_default();
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let selectors = pairs.filter(|(name, _)| name == "match[]").map(|(_, selector)| selector.into_owned()).collect();
    let authorization = request.headers().get(header::AUTHORIZATION);
    let authorization = authorization.map_or("", |value| value.to_str().expect("text")).to_owned();
    *noted.lock().expect("no panic") = Some(LastScrape { selectors, authorization, certificate });
    let (mut text, now) = (String::new(), now_ms());
    for (value, series) in series.iter().enumerate() {
        let comma = if series.ends_with('{') { "" } else { "," };
        writeln!(text, r#"{series}{comma}prometheus="openshift-monitoring/k8s"}} {value} {now}"#)
            .expect("a String grows");
    }
    let answer = Response::builder().header(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    answer.body(text).expect("a well-formed answer")
}

fn tls((certificate, key): &(String, String), clients: &str) -> ServerConfig {
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("made by us");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(der(clients)).expect("made by us");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_client_cert_verifier(verifier.expect("there is a root"))
        .with_single_cert(vec![der(certificate)], PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("made by us"))
        .expect("the key is the certificate's")
}
