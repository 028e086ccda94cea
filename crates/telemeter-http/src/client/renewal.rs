//! Roots and certificates of outbound calls, read again while the program runs.

use std::sync::Arc;

use super::connect::{Connector, Proxies};
use super::pool::Pool;
use super::{Inner, Outbound, OutboundConfig, OutboundError, OutboundMetrics, ProxyUse, tls};

/// Kept connections, and what the handshakes of new ones go by.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) pool: Pool,
    /// How many roots are trusted.
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
    /// Reads roots, CA file and our own certificate again, for now only to see whether they are good: with
    /// [`OutboundRenewal::store`] they come into use, in every clone. So several can be renewed together or not at all.
    ///
    /// # Errors
    /// [`OutboundError::Setup`] naming the file; what is in use then stays.
    pub fn read(&self) -> Result<OutboundRenewal, OutboundError> {
        let connections = Arc::new(Connections::new(&self.shared.config, self.shared.metrics.as_ref())?);
        still_trusting(self.roots(), connections.roots)?;
        Ok(OutboundRenewal { shared: self.shared.clone(), connections })
    }

    /// How many roots are trusted; without one, no call to `https` succeeds.
    pub fn roots(&self) -> usize {
        self.shared.current.load().roots
    }

    /// Warns in the log where calls to `scheme` need roots and there are none; `flag` names the URL.
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

/// A bundle that has gone, or is empty, for a moment takes no trust away that was there.
///
/// # Errors
/// [`OutboundError::Setup`] where there were `before` roots and there are none `now`.
pub fn still_trusting(before: usize, now: usize) -> Result<(), OutboundError> {
    if before > 0 && now == 0 {
        let problem = format!("of {before} trusted roots none is left: the bundle is missing or empty");
        return Err(OutboundError::Setup(problem));
    }
    Ok(())
}

/// Roots and certificates, read again and not in use yet.
#[must_use]
pub struct OutboundRenewal {
    shared: Arc<Inner>,
    connections: Arc<Connections>,
}

impl OutboundRenewal {
    /// Takes them into use: every call from now on makes its connection anew. Calls under way end as they began.
    pub fn store(self) {
        self.shared.current.store(self.connections);
    }
}
