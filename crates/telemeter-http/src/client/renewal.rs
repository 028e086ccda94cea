//! Reloads the roots and certificates of outbound calls while the program runs.

use std::sync::Arc;

use super::connect::{Connector, Proxies};
use super::pool::Pool;
use super::{Inner, Outbound, OutboundConfig, OutboundError, OutboundMetrics, ProxyUse, tls};

/// The kept connections, and the settings of new ones.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) pool: Pool,
    /// The number of trusted roots.
    roots: usize,
}

impl Connections {
    pub(super) fn new(config: &OutboundConfig, metrics: Option<&OutboundMetrics>) -> Result<Self, OutboundError> {
        let tls = tls::config(config)?;
        let roots = tls.roots;
        let proxies = match &config.proxy {
            ProxyUse::FromEnvironment => Proxies::from_variables(|name| std::env::var(name).ok()),
            ProxyUse::FromVariables(variables) => Proxies::from_variables(|name| {
                variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
            }),
            ProxyUse::None => Ok(Proxies::default()),
        };
        let proxies = proxies.map_err(OutboundError::Setup)?;
        let connector = Connector::new(tls, &proxies, config, metrics.cloned());
        Ok(Self { pool: Pool::new(connector, proxies, config.keep_alive), roots })
    }
}

impl Outbound {
    /// Reads and checks the roots, the CA file and our own certificate again without using them:
    /// [`OutboundRenewal::store`] puts them into use, in every clone. So several renewals can be applied together or
    /// not at all.
    ///
    /// # Errors
    /// [`OutboundError::Setup`] naming the file; the certificates in use then stay.
    pub fn read(&self) -> Result<OutboundRenewal, OutboundError> {
        let connections = Arc::new(Connections::new(&self.shared.config, self.shared.metrics.as_ref())?);
        check_roots_left(self.roots(), connections.roots)?;
        Ok(OutboundRenewal { shared: self.shared.clone(), connections })
    }

    /// The number of trusted roots; where it is 0, no call to `https` succeeds.
    pub fn roots(&self) -> usize {
        self.shared.current.load().roots
    }

    /// Logs a warning where calls to `scheme` need roots and there are none; `flag` names the URL.
    pub fn warn_without_roots(&self, flag: &str, scheme: &str) {
        if scheme == "https" && self.roots() == 0 {
            let client = self.shared.config.name;
            tracing::warn!(
                client,
                flag,
                "no trusted roots: every https call will fail; mount a bundle, or name one in SSL_CERT_FILE"
            );
        }
    }
}

/// Checks that a reload does not lose all roots, as it would where a bundle is missing or empty for a moment.
///
/// # Errors
/// [`OutboundError::Setup`] where there were `before` roots and there are none `now`.
pub fn check_roots_left(before: usize, now: usize) -> Result<(), OutboundError> {
    if before > 0 && now == 0 {
        let problem = format!("of {before} trusted roots none is left: the bundle is missing or empty");
        return Err(OutboundError::Setup(problem));
    }
    Ok(())
}

/// Roots and certificates that were read again and are not in use yet.
#[must_use]
pub struct OutboundRenewal {
    shared: Arc<Inner>,
    connections: Arc<Connections>,
}

impl OutboundRenewal {
    /// Puts the roots and certificates into use: each later call makes a new connection. Open calls end on their old
    /// connections.
    pub fn store(self) {
        self.shared.current.store(self.connections);
    }
}
