//! Whom outbound calls trust, what they show of ourselves, and through which proxy they go.

use std::path::Path;
use std::sync::Arc;

use reqwest::{NoProxy, Proxy};
use rustls::ClientConfig;
use rustls::sign::SingleCertAndKey;

use super::roots::Roots;
use super::{OutboundConfig, OutboundError, words};
use crate::certificate::read_pair;

/// Reads the roots, and our own certificate, of one kind of outbound call. Beside the TLS configuration: how many
/// roots it trusts.
///
/// Called again, it reads the files again; what it made before stays as it is.
pub(super) fn config(outbound: &OutboundConfig) -> Result<(ClientConfig, usize), OutboundError> {
    let mut roots = Roots::system(Path::new("/"), |name| std::env::var_os(name)).map_err(setup)?;
    if let Some(path) = &outbound.ca_file {
        roots.add_file(path).map_err(setup)?;
    }
    roots.log(outbound.name);
    let (store, count) = roots.into_store();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| OutboundError::Setup(format!("TLS cannot be set up: {}", words::in_words(&error))))?
        .with_root_certificates(store);
    let mut config = match &outbound.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let pair = read_pair(&identity.cert_file, &identity.key_file, &provider)
                .map_err(|error| OutboundError::Setup(error.to_string()))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, count))
}

/// TLS with the system's roots, for what makes its own connections, such as the exporter of spans; `name` is for the log.
///
/// # Errors
/// [`OutboundError::Setup`] naming the bundle that holds no usable certificate.
pub fn system_tls(name: &'static str) -> Result<ClientConfig, OutboundError> {
    config(&OutboundConfig::new(name)).map(|(config, _)| config)
}

fn setup(problem: String) -> OutboundError {
    OutboundError::Setup(problem)
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
