//! A probe: a connection that is made to test it, with the description, the time and the result of each step.

use std::time::{Duration, Instant};

use url::Url;

use super::{Outbound, OutboundError};

/// The kind of a step in making a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectStage {
    /// The lookup of a name's addresses.
    Lookup,
    /// The TCP connection to one of the addresses.
    Connect,
    /// The request to the proxy to open a connection to the target.
    Proxy,
    /// The TLS handshake, with the proxy or with the target.
    Tls,
}

/// The result of a probe.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The proxy through which the target is reached, or the reason why it is reached directly.
    pub route: String,
    /// The steps in order; where a step failed, it is the last one.
    pub steps: Vec<ProbeStep>,
}

/// One step of a probe.
#[derive(Clone, Debug)]
pub struct ProbeStep {
    /// Its kind.
    pub stage: ConnectStage,
    /// Its description: `looking up store.example`.
    pub tried: String,
    /// The time that it took.
    pub took: Duration,
    /// What it found, or why it failed.
    pub outcome: Result<String, ProbeFailure>,
}

/// The reason for which a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeFailure {
    /// The cause, as the log describes it.
    pub cause: String,
    /// Advice on what to do; may be empty.
    pub advice: &'static str,
}

impl Outbound {
    /// Makes a connection for `url` as a request would, with the same deadlines, roots and proxies, and closes it.
    ///
    /// # Errors
    /// [`OutboundError::Setup`] for a URL that is neither `http` nor `https`.
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
            // The text of the error repeats the description of the step, which is removed.
            let tried = last.tried.strip_prefix("in the ").unwrap_or(&last.tried);
            let cause = error.text.strip_prefix(&format!("{tried}: ")).unwrap_or(&error.text).to_owned();
            last.outcome = Err(ProbeFailure { cause, advice: error.advice });
        }
        Ok(Probe { route, steps })
    }
}
