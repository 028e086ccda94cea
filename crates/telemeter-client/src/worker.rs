//! One cycle: federate, the rules, upload. A worker holds what it read from its files; a reload makes a new one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use telemeter_http::{
    client::{Outbound, OutboundConfig, OutboundError, ProxyUse, Redirects, still_trusting},
    clock::Clock,
    file::FileError,
};
use telemeter_wire::UploadCounts;
use tokio::time::Instant;

use crate::{
    config::Config,
    credential::CredentialError,
    federate::FederateError,
    metrics::{Metrics, PeerLabel},
    nothing,
    pipeline::{LeftOut, Packed},
    scraper::Scraper,
    status::ClientStatus,
    token::{AccessToken, AccessTokens, TokenError},
    upload::{UploadError, Uploads},
};

/// A scrape and an upload may take as long as the interval, but never less than this.
const LEAST_DEADLINE: Duration = Duration::from_secs(30);
/// A cycle has the time to wait for a connection for as long as it may take to be made.
const CONNECTION_WAIT: Duration = Duration::from_secs(30);

/// What one cycle came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CycleReport {
    /// Series that Prometheus answered with.
    pub scraped: usize,
    /// Series that the rules left.
    pub kept: usize,
    /// The others, by why they are not uploaded.
    pub left_out: LeftOut,
    /// How old the newest sample of the scrape was; negative where it lay ahead of the client's clock.
    pub newest_age_ms: Option<i64>,
    /// Series that the server took: all that were kept.
    pub uploaded: usize,
    /// What the server did with them, where it says so.
    pub counts: Option<UploadCounts>,
    /// Bytes uploaded, compressed.
    pub bytes: usize,
    /// How long it all took.
    pub took: Duration,
}

/// Why a cycle failed, in words for whoever runs the client.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// The scrape.
    #[error(transparent)]
    Federate(#[from] FederateError),
    /// The exchange of the token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The upload.
    #[error(transparent)]
    Upload(#[from] UploadError),
}

impl CycleError {
    /// When the server, or Prometheus, wants to see us again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Federate(error) => error.retry_after(),
            Self::Token(error) => error.retry_after(),
            Self::Upload(error) => error.retry_after(),
        }
    }
}

/// Why a worker cannot be built: a file that its configuration names is missing or wrong.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// On the side of Prometheus: `--from-ca-file`, `--tls-cert-file`, `--tls-private-key-file`.
    #[error("the connection to Prometheus cannot be set up: {0}")]
    From(#[source] OutboundError),
    /// On the side of the server: `--to-ca-file`.
    #[error("the connection to the server cannot be set up: {0}")]
    To(#[source] OutboundError),
    /// `--match-file`.
    #[error("--match-file: {0}")]
    MatchFile(#[from] FileError),
    /// `--from-token-file`.
    #[error("--from-token-file: {0}")]
    FromToken(#[source] CredentialError),
    /// `--to-token-file`.
    #[error("--to-token-file: {0}")]
    ToToken(#[source] CredentialError),
    /// `--anonymize-salt-file`.
    #[error("--anonymize-salt-file: {0}")]
    Salt(#[source] CredentialError),
}

/// What outlives a worker: the clock, the counts, and what was last prepared for upload.
#[derive(Clone, Default)]
pub(crate) struct WorkerContext {
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    pub(crate) last: Arc<ArcSwapOption<Packed>>,
    pub(crate) status: Arc<ClientStatus>,
    /// How many roots the last worker trusted, on the side of the source and of the server.
    pub(crate) roots: Arc<[AtomicUsize; 2]>,
}

/// Scrapes, transforms and uploads.
pub struct Worker {
    scraper: Scraper,
    grants: AccessTokens,
    uploads: Uploads,
    around: WorkerContext,
}

impl Worker {
    /// A worker on its own, without a listener.
    ///
    /// # Errors
    /// [`SetupError`] naming the file that is missing or wrong.
    pub fn new(config: &Config, clock: Clock, metrics: Metrics) -> Result<Self, SetupError> {
        Self::within(config, WorkerContext { clock, metrics, ..WorkerContext::default() })
    }

    /// A worker that leaves what it prepares where others see it.
    pub(crate) fn within(config: &Config, around: WorkerContext) -> Result<Self, SetupError> {
        let counted = |settings| OutboundConfig { handshakes: around.metrics.handshakes.clone(), ..settings };
        let from = Outbound::new(counted(source_settings(config)), None).map_err(SetupError::From)?;
        let to = Outbound::new(counted(server_settings(config)), None).map_err(SetupError::To)?;
        for (outbound, failed, known) in [
            (&from, SetupError::From as fn(_) -> _, &around.roots[0]),
            (&to, SetupError::To as fn(_) -> _, &around.roots[1]),
        ] {
            still_trusting(known.load(Ordering::Relaxed), outbound.roots()).map_err(failed)?;
        }
        from.warn_without_roots("--from", config.from.url.scheme());
        to.warn_without_roots("--to", config.to.upload.scheme());
        // A token that cannot be read is found at a start and at a reload, not minutes later.
        if let Some(token) = &config.from.token {
            crate::credential::bearer(token).map_err(SetupError::FromToken)?;
        }
        crate::credential::bearer(&config.to.token).map_err(SetupError::ToToken)?;
        around.roots[0].store(from.roots(), Ordering::Relaxed);
        around.roots[1].store(to.roots(), Ordering::Relaxed);
        let (clock, metrics) = (around.clock.clone(), around.metrics.clone());
        let authorize = config.to.authorize.clone();
        Ok(Self {
            scraper: Scraper::new(config, from, metrics.clone())?,
            grants: AccessTokens::new(to.clone(), authorize, config.to.token.clone(), clock, metrics.clone()),
            uploads: Uploads::new(to, config.to.upload.clone(), metrics),
            around,
        })
    }

    /// Scrapes once and uploads what the rules leave.
    ///
    /// # Errors
    /// [`CycleError`] with the cause, and with the server's `Retry-After` where it gave one.
    pub async fn cycle(&mut self) -> Result<CycleReport, CycleError> {
        let metrics = self.around.metrics.clone();
        metrics.federate_requests.inc();
        let outcome = self.run().await;
        self.scraper.forget();
        match &outcome {
            Ok(report) => {
                metrics.succeeded(self.around.clock.now_ms());
                self.around.status.succeeded(report, self.around.clock.now_ms());
            }
            Err(error) => {
                metrics.failed();
                self.around.status.failed(error, self.around.clock.now_ms());
            }
        }
        outcome
    }

    async fn run(&mut self) -> Result<CycleReport, CycleError> {
        let start = Instant::now();
        // The grant comes first: its labels are part of every piece of the scrape.
        let grant = self.grants.grant().await?;
        let packed = self.scrape(&grant).await?;
        let outcome = match send(&self.uploads, &grant, &packed).await {
            Err(UploadError::Unauthorized(refusal)) => {
                tracing::info!(%refusal, "the server no longer takes its token: asking for another");
                self.grants.forget();
                let fresh = self.grants.grant().await?;
                let is_same = (&fresh.labels, fresh.native) == (&grant.labels, grant.native);
                let packed = if is_same { packed.clone() } else { self.scrape(&fresh).await? };
                send(&self.uploads, &fresh, &packed).await.map(|counts| (packed, counts))
            }
            outcome => outcome.map(|counts| (packed, counts)),
        };
        let (packed, counts) = outcome?;
        let Packed { scraped, kept, left_out, newest_ms, ref body, .. } = *packed;
        self.around.metrics.uploaded(kept, counts);
        let newest_age_ms = newest_ms.map(|newest_ms| self.around.clock.now_ms().saturating_sub(newest_ms));
        let (bytes, took) = (body.len(), start.elapsed());
        Ok(CycleReport { scraped, kept, left_out, newest_age_ms, uploaded: kept, counts, bytes, took })
    }

    /// Scrapes and packs what the rules leave.
    async fn scrape(&mut self, grant: &AccessToken) -> Result<Arc<Packed>, CycleError> {
        let WorkerContext { clock, metrics, status, last, .. } = &self.around;
        let packed = Arc::new(self.scraper.scrape(&grant.labels, grant.native, || clock.now_ms(), None).await?);
        metrics.scraped(&packed);
        if let Some(words) = nothing::clocks(packed.newest_ms, clock.now_ms()) {
            tracing::warn!("{words}");
        }
        status.scraped(&packed, clock.now_ms());
        last.store(Some(packed.clone()));
        Ok(packed)
    }
}

async fn send(uploads: &Uploads, grant: &AccessToken, packed: &Packed) -> Result<Option<UploadCounts>, UploadError> {
    if packed.kept == 0 {
        return Ok(None);
    }
    uploads.send(grant, packed.body.clone()).await
}

/// How Prometheus is called.
pub(crate) fn source_settings(config: &Config) -> OutboundConfig {
    OutboundConfig {
        ca_file: config.from.ca_file.clone(),
        ca_flag: Some("--from-ca-file"),
        identity: config.from.identity.clone(),
        timeout: config.interval.max(LEAST_DEADLINE),
        connection_wait: CONNECTION_WAIT,
        redirects: Redirects::Follow,
        // As in Go: a scrape every few minutes keeps no connection open.
        keep_alive: false,
        gzip: true,
        verbose: config.verbose,
        ..OutboundConfig::new(PeerLabel::From.name())
    }
}

/// How the server is called.
pub(crate) fn server_settings(config: &Config) -> OutboundConfig {
    OutboundConfig {
        ca_file: config.to.ca_file.clone(),
        ca_flag: Some("--to-ca-file"),
        proxy: ProxyUse::FromEnvironment,
        timeout: config.interval.max(LEAST_DEADLINE),
        connection_wait: CONNECTION_WAIT,
        // Kept from the exchange to the upload behind it, and gone before the next cycle.
        keep_alive: true,
        verbose: config.verbose,
        ..OutboundConfig::new(PeerLabel::To.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Credential, SourceSettings, TargetSettings};
    use telemeter_auth::Secret;

    #[test]
    fn a_scrape_and_an_upload_may_take_as_long_as_the_interval() {
        let url = |text: &str| text.parse::<url::Url>().expect("a URL");
        let to = TargetSettings {
            authorize: url("http://to.test/authorize"),
            upload: url("http://to.test/upload"),
            ca_file: None,
            token: Credential::Value(Secret::from("a-token")),
        };
        let mut config = Config::new(SourceSettings::new(url("http://from.test/federate")), to, "id");
        for (interval, expected) in [(270, 270), (60, 60), (5, 30)] {
            config.interval = Duration::from_secs(interval);
            for settings in [source_settings(&config), server_settings(&config)] {
                assert_eq!(settings.timeout, Duration::from_secs(expected), "{interval}");
                assert_eq!(settings.connect_timeout, Duration::from_secs(30));
                assert_eq!(settings.handshake_timeout, Duration::from_secs(10));
                assert_eq!(settings.connection_wait, settings.connect_timeout);
            }
        }
        assert_eq!(source_settings(&config).redirects, Redirects::Follow);
        assert_eq!(server_settings(&config).redirects, Redirects::Answer, "a token for the server goes nowhere else");
    }
}
