//! Whom outbound calls trust, what they show of ourselves, and through which proxy they go.

use std::path::Path;
use std::sync::Arc;

use reqwest::{NoProxy, Proxy};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Identity, OutboundError};

/// The system's roots (there may be none), and those of `ca_file`.
pub(super) fn config(ca_file: Option<&Path>, identity: Option<&Identity>) -> Result<ClientConfig, OutboundError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(%error, "some of the system's root certificates cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| setup(path, "holds a certificate that cannot be trusted", &error))?;
        }
    }
    if roots.is_empty() {
        tracing::debug!("no root certificates: calls to https will fail");
    }

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| OutboundError::Setup(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = PrivateKeyDer::from_pem_slice(&read(&identity.key_file)?)
                .map_err(|error| setup(&identity.key_file, "holds no private key in PEM", &error))?;
            builder
                .with_client_auth_cert(certificates(&identity.cert_file)?, key)
                .map_err(|error| setup(&identity.cert_file, "does not go with its key", &error))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OutboundError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| setup(path, "is not PEM", &error))?;
    if found.is_empty() {
        return Err(OutboundError::Setup(format!("{} holds no certificate in PEM", path.display())));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, OutboundError> {
    std::fs::read(path).map_err(|error| setup(path, "cannot be read", &error))
}

fn setup(path: &Path, what: &str, error: &dyn std::error::Error) -> OutboundError {
    OutboundError::Setup(format!("{} {what}: {error}", path.display()))
}

/// The proxies that the environment asks for, with Go's rules: the upper-case name first, a bare `host:port` is `http`,
/// and a loopback address is asked directly.
pub(super) fn proxies(variable: impl Fn(&str) -> Option<String>) -> Result<Vec<Proxy>, OutboundError> {
    let either = |upper: &str| {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        set(upper).or_else(|| set(&upper.to_ascii_lowercase()))
    };
    let direct = format!("localhost,127.0.0.0/8,::1,{}", either("NO_PROXY").unwrap_or_default());
    let mut found = Vec::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY"] {
        let Some(value) = either(name) else { continue };
        let url = if value.contains("://") { value } else { format!("http://{value}") };
        // The value may hold a password, and so may the library's error.
        let proxy = if name == "HTTP_PROXY" { Proxy::http(url) } else { Proxy::https(url) };
        let proxy = proxy.map_err(|_hidden| OutboundError::Setup(format!("{name} is not a URL")))?;
        found.push(proxy.no_proxy(NoProxy::from_string(&direct)));
    }
    Ok(found)
}
