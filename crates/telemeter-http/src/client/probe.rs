//! A connection that is made to see how that goes: each step with what was done, how long it took and what came of it.

use std::time::{Duration, Instant};

use url::Url;

use super::{Outbound, OutboundError};

/// A part of the making of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectStage {
    /// A name becomes addresses.
    Lookup,
    /// One of the addresses is connected to.
    Connect,
    /// The proxy is asked for a way.
    Proxy,
    /// The TLS handshake, with the proxy or with the target.
    Tls,
}

/// How the making of a connection went.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Through which proxy the target is reached, or why directly.
    pub route: String,
    /// In order; the last one is the one that failed, where one did.
    pub steps: Vec<ProbeStep>,
}

/// One step of it.
#[derive(Clone, Debug)]
pub struct ProbeStep {
    /// Which part.
    pub stage: ConnectStage,
    /// What was done: `looking up store.example`.
    pub tried: String,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub outcome: Result<String, ProbeFailure>,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeFailure {
    /// In the words that the log has, too.
    pub cause: String,
    /// What to do about it; may be empty.
    pub advice: &'static str,
}

impl Outbound {
    /// Makes a connection for `url` as a request would, with the same deadlines, roots and proxies, and closes it.
    ///
    /// # Errors
    /// [`OutboundError::Setup`] for a URL that is none of HTTP's.
    pub async fn probe(&self, url: &Url) -> Result<Probe, OutboundError> {
        let pool = self.shared.current.load().pool.clone();
        let route = pool.route(url)?;
        let (_, progress, made) = pool.probe(url).await?;
        let ended = Instant::now();
        let mut steps: Vec<_> = progress
            .into_steps()
            .into_iter()
            .map(|step| {
                let (until, outcome) = match step.found {
                    Some((at, found)) => (at, Ok(found)),
                    None => (ended, Ok(String::new())),
                };
                let took = until.saturating_duration_since(step.began);
                ProbeStep { stage: step.stage, tried: step.tried, took, outcome }
            })
            .collect();
        if let (Err(error), Some(last)) = (made, steps.last_mut()) {
            // What was tried is said already.
            let tried = last.tried.strip_prefix("in the ").unwrap_or(&last.tried);
            let cause = error.text.strip_prefix(&format!("{tried}: ")).unwrap_or(&error.text).to_owned();
            last.outcome = Err(ProbeFailure { cause, advice: error.advice });
        }
        Ok(Probe { route, steps })
    }
}
