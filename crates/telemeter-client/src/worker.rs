//! Runs cycles: exchange the token, scrape, apply the rules and upload; or scrape, apply the rules and send remote
//! write. A worker keeps what it read from its files; a reload makes a new worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use telemeter_http::{
    client::{Outbound, OutboundConfig, ProxyUse, Redirects, check_roots_left},
    clock::Clock,
};
use telemeter_wire::{UploadAccepts, UploadCounts};
use tokio::time::Instant;

use crate::{
    config::Config,
    explain,
    metrics::{Metrics, PeerLabel},
    outcome::{CycleError, CycleReport, SetupError},
    pipeline::Packed,
    remote_write::{ID_LABEL, RemoteWriter},
    scraper::Scraper,
    status::ClientStatus,
    token::{AccessToken, AccessTokens},
    upload::{UploadError, Uploads},
};

/// A scrape and an upload may each take as long as the interval, but at least this long.
const MIN_DEADLINE: Duration = Duration::from_secs(30);
/// How long a request may wait for a connection: as long as connecting may take.
const CONNECTION_WAIT: Duration = Duration::from_secs(30);

/// The state that the next worker takes over at a reload: clock, metrics, status and the last upload.
#[derive(Clone, Default)]
pub(crate) struct WorkerContext {
    pub(crate) clock: Clock,
    pub(crate) metrics: Metrics,
    /// The last upload as it was packed, whether or not the server accepted it; `/federate` and the page show it.
    pub(crate) last: Arc<ArcSwapOption<Packed>>,
    pub(crate) status: Arc<ClientStatus>,
    /// How many root certificates the last worker trusted: for Prometheus, and for the server or receiver.
    pub(crate) roots: Arc<[AtomicUsize; 2]>,
}

/// Scrapes one Prometheus, applies the rules, and sends the series to one server or receiver.
pub struct Worker {
    scraper: Scraper,
    sender: SeriesSender,
    context: WorkerContext,
}

/// How series are sent.
enum SeriesSender {
    /// Each cycle exchanges the token where needed, then uploads.
    Upload { access_tokens: Box<AccessTokens>, uploads: Uploads },
    RemoteWrite {
        writer: RemoteWriter,
        /// The label `_id` with the cluster ID, which is set on every series.
        identity: [(String, String); 1],
    },
}

impl Worker {
    /// A worker without a listener.
    ///
    /// # Errors
    /// [`SetupError`] naming the file that is missing or wrong.
    pub fn new(config: &Config, clock: Clock, metrics: Metrics) -> Result<Self, SetupError> {
        Self::with_context(config, WorkerContext { clock, metrics, ..WorkerContext::default() })
    }

    /// A worker that shares its metrics, status and last upload through `context`.
    pub(crate) fn with_context(config: &Config, context: WorkerContext) -> Result<Self, SetupError> {
        let counted = |settings| OutboundConfig { handshakes: context.metrics.handshakes.clone(), ..settings };
        let from = Outbound::new(counted(source_settings(config)), None).map_err(SetupError::From)?;
        let to = Outbound::new(counted(server_settings(config)), None).map_err(SetupError::To)?;
        for (outbound, failed, known) in [
            (&from, SetupError::From as fn(_) -> _, &context.roots[0]),
            (&to, SetupError::To as fn(_) -> _, &context.roots[1]),
        ] {
            check_roots_left(known.load(Ordering::Relaxed), outbound.roots()).map_err(failed)?;
        }
        from.warn_without_roots("--from", config.from.url.scheme());
        to.warn_without_roots("--to", config.to.destination().scheme());
        // An unreadable token makes the start or the reload fail, not a cycle minutes later.
        if let Some(token) = &config.from.token {
            crate::credential::bearer(token).map_err(SetupError::FromToken)?;
        }
        crate::credential::bearer(&config.to.token).map_err(SetupError::ToToken)?;
        context.roots[0].store(from.roots(), Ordering::Relaxed);
        context.roots[1].store(to.roots(), Ordering::Relaxed);
        let (clock, metrics) = (context.clock.clone(), context.metrics.clone());
        let scraper = Scraper::new(config, from, metrics.clone())?;
        let token = config.to.token.clone();
        let sender = match &config.to.receive {
            Some(url) => {
                let deadline = config.interval.max(MIN_DEADLINE);
                let writer = RemoteWriter::new(to, url.clone(), config.id.clone(), token, deadline, metrics);
                SeriesSender::RemoteWrite { writer, identity: [(ID_LABEL.to_owned(), config.id.clone())] }
            }
            None => SeriesSender::Upload {
                access_tokens: Box::new(AccessTokens::new(
                    to.clone(),
                    config.to.authorize.clone(),
                    token,
                    clock,
                    metrics.clone(),
                )),
                uploads: Uploads::new(to, config.to.upload.clone(), metrics),
            },
        };
        Ok(Self { scraper, sender, context })
    }

    /// Runs one cycle: scrapes once and uploads what the rules keep.
    ///
    /// # Errors
    /// [`CycleError`] with the cause and, where the server gave one, its `Retry-After`.
    pub async fn cycle(&mut self) -> Result<CycleReport, CycleError> {
        let metrics = self.context.metrics.clone();
        metrics.federate_requests.inc();
        let outcome = self.scrape_and_send().await;
        self.scraper.release_buffer();
        match &outcome {
            Ok(report) => {
                metrics.record_success(self.context.clock.now_ms());
                self.context.status.succeeded(report, self.context.clock.now_ms());
            }
            Err(error) => {
                metrics.record_failure();
                self.context.status.failed(error, self.context.clock.now_ms());
            }
        }
        outcome
    }

    /// Scrapes once, applies the rules and sends the series, by upload or by remote write. Only the number of series is
    /// counted here; [`Worker::cycle`] records whether it succeeded.
    async fn scrape_and_send(&mut self) -> Result<CycleReport, CycleError> {
        let start = Instant::now();
        let Self { scraper, sender, context } = self;
        let (packed, counts) = match sender {
            SeriesSender::Upload { access_tokens, uploads } => upload(scraper, access_tokens, uploads, context).await?,
            SeriesSender::RemoteWrite { writer, identity } => {
                let packed = scrape(scraper, identity, UploadAccepts::ALL, context).await?;
                writer.send(packed.requests()).await?;
                (packed, None)
            }
        };
        let Packed { scraped, kept, left_out, newest_ms, ref body, .. } = *packed;
        self.context.metrics.record_upload(kept, counts);
        let newest_age_ms = newest_ms.map(|newest_ms| self.context.clock.now_ms().saturating_sub(newest_ms));
        let (bytes, took) = (body.len(), start.elapsed());
        Ok(CycleReport { scraped, kept, left_out, newest_age_ms, uploaded: kept, counts, bytes, took })
    }
}

/// Gets an access token, scrapes and uploads. Where the server no longer accepts the token, requests another one and
/// uploads once more; scrapes again for it only if the labels that it requires, or the formats that the server accepts,
/// are others.
async fn upload(
    scraper: &mut Scraper,
    access_tokens: &mut AccessTokens,
    uploads: &Uploads,
    context: &WorkerContext,
) -> Result<(Arc<Packed>, Option<UploadCounts>), CycleError> {
    // The access token comes first: its labels are set on each series while the scrape arrives.
    let token = access_tokens.current().await?;
    let packed = scrape(scraper, &token.labels, token.accepts, context).await?;
    match send_upload(uploads, &token, &packed).await {
        Err(UploadError::Unauthorized(refusal)) => {
            tracing::info!(%refusal, "the server no longer accepts its token: asking for another");
            access_tokens.discard();
            let fresh = access_tokens.current().await?;
            let is_same = (&fresh.labels, fresh.accepts) == (&token.labels, token.accepts);
            let packed = if is_same { packed } else { scrape(scraper, &fresh.labels, fresh.accepts, context).await? };
            let counts = send_upload(uploads, &fresh, &packed).await?;
            Ok((packed, counts))
        }
        outcome => Ok((packed, outcome?)),
    }
}

/// Scrapes, applies the rules and packs what they keep.
async fn scrape(
    scraper: &mut Scraper,
    server_labels: &[(String, String)],
    accepts: UploadAccepts,
    context: &WorkerContext,
) -> Result<Arc<Packed>, CycleError> {
    let WorkerContext { clock, metrics, status, last, .. } = context;
    let packed = Arc::new(scraper.scrape(server_labels, accepts, || clock.now_ms(), None).await?);
    metrics.record_scrape(&packed);
    if let Some(warning) = explain::clock_warning(packed.newest_ms, clock.now_ms()) {
        tracing::warn!("{warning}");
    }
    status.scraped(&packed, clock.now_ms());
    last.store(Some(packed.clone()));
    Ok(packed)
}

/// Uploads the series; `None`, without a request, where none is left. Otherwise the counts that the server answered
/// with, if it did.
async fn send_upload(
    uploads: &Uploads,
    token: &AccessToken,
    packed: &Packed,
) -> Result<Option<UploadCounts>, UploadError> {
    if packed.kept == 0 {
        return Ok(None);
    }
    uploads.send(token, packed.body.clone()).await
}

/// The settings of the connection to Prometheus.
pub(crate) fn source_settings(config: &Config) -> OutboundConfig {
    OutboundConfig {
        ca_file: config.from.ca_file.clone(),
        ca_flag: Some("--from-ca-file"),
        identity: config.from.identity.clone(),
        timeout: config.interval.max(MIN_DEADLINE),
        connection_wait: CONNECTION_WAIT,
        redirects: Redirects::Follow,
        // As in Go: a scrape every few minutes keeps no connection open.
        keep_alive: false,
        gzip: true,
        verbose: config.verbose,
        ..OutboundConfig::new(PeerLabel::From.name())
    }
}

/// The settings of the connection to the server.
pub(crate) fn server_settings(config: &Config) -> OutboundConfig {
    OutboundConfig {
        ca_file: config.to.ca_file.clone(),
        ca_flag: Some("--to-ca-file"),
        proxy: ProxyUse::FromEnvironment,
        timeout: config.interval.max(MIN_DEADLINE),
        connection_wait: CONNECTION_WAIT,
        // The connection stays open from the exchange of the token to the upload; it is closed before the next cycle.
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
            receive: None,
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
