//! The TLS configuration of outbound calls: the roots that they trust, and our client certificate.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::sign::SingleCertAndKey;

use super::roots::Roots;
use super::verifier::RecordingVerifier;
use super::{OutboundConfig, OutboundError, words};
use crate::certificate::read_pair;

/// The TLS configuration of one kind of outbound call.
pub(super) struct OutboundTls {
    pub(super) config: ClientConfig,
    /// The verifier of server certificates.
    pub(super) verifier: Arc<RecordingVerifier>,
    /// The number of trusted roots.
    pub(super) roots: usize,
}

/// Reads the roots and our own certificate for one kind of outbound call.
///
/// Each call reads the files; a configuration that was made before does not change.
pub(super) fn config(outbound: &OutboundConfig) -> Result<OutboundTls, OutboundError> {
    let mut roots = Roots::system(Path::new("/"), |name| std::env::var_os(name)).map_err(setup)?;
    if let Some(path) = &outbound.ca_file {
        roots.add_file(path).map_err(setup)?;
    }
    roots.log(outbound.name);
    let (store, count) = roots.into_store();

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(RecordingVerifier::new(store, &provider, outbound).map_err(setup)?);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| OutboundError::Setup(format!("TLS cannot be set up: {}", words::tls_error_text(&error))))?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone());
    let mut config = match &outbound.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let pair = read_pair(&identity.cert_file, &identity.key_file, &provider)
                .map_err(|error| OutboundError::Setup(error.to_string()))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(OutboundTls { config, verifier, roots: count })
}

/// A TLS configuration with the system's roots, for code that makes its own connections, such as the exporter of spans;
/// `name` is for the log.
///
/// # Errors
/// [`OutboundError::Setup`] naming the bundle that has no usable certificate.
pub fn system_tls(name: &'static str) -> Result<ClientConfig, OutboundError> {
    config(&OutboundConfig::new(name)).map(|tls| tls.config)
}

/// The TLS configuration of these calls, for code that makes its own connections. A later reload does not change it.
///
/// # Errors
/// [`OutboundError::Setup`] naming the file.
pub fn outbound_tls(outbound: &OutboundConfig) -> Result<ClientConfig, OutboundError> {
    config(outbound).map(|tls| tls.config)
}

fn setup(problem: String) -> OutboundError {
    OutboundError::Setup(problem)
}
