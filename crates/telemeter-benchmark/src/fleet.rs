//! Simulates the uploads of a fleet of clusters. The time at which each upload is due is fixed in advance, so a slow
//! server does not slow down the arrivals. The latency of an upload is the time from when it was due until its answer
//! has arrived.

mod connection;
mod plot;
mod process;
mod report;
mod stamp;
mod tokens;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use parking_lot::Mutex;
use telemeter_auth::token_response::TokenResponse;
use telemeter_client::{credential, schedule::PseudoRandom};
use telemeter_http::clock::Clock;
use telemeter_wire::exposition::DELIMITED_CONTENT_TYPE;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout_at},
};

use self::{
    connection::{FleetConnection, ServerAddress, target},
    report::{ProcessWatch, RunReport},
    stamp::{GeneratedId, UploadTemplate},
    tokens::{ID_LABEL, TokenMint},
};
use super::{
    BenchmarkError, BenchmarkMetrics, DEADLINE, FAILURES_LOGGED, ReportOutput,
    load::{UploadPayload, random_id},
    progress::RunProgress,
    tally::{UploadFailure, UploadTally},
};
use crate::config::{Config, SimulatedFleet, Tokens};

/// How long after the start the first upload is due.
const LEAD: Duration = Duration::from_millis(100);
/// The time that one row of the report covers.
const SECOND: Duration = Duration::from_secs(1);

/// When each upload is due, and which cluster sends it.
#[derive(Clone, Copy, Debug)]
struct Arrivals {
    clusters: u64,
    interval: Duration,
    total: u64,
}

impl Arrivals {
    fn new(clusters: u64, interval: Duration, duration: Duration) -> Self {
        let total = u128::from(clusters) * duration.as_nanos() / interval.as_nanos();
        Self { clusters, interval, total: u64::try_from(total).unwrap_or(u64::MAX).max(1) }
    }

    /// When the upload at `index` is due, as a time since the start.
    fn due(&self, index: u64) -> Duration {
        let nanos = self.interval.as_nanos() * u128::from(index) / u128::from(self.clusters);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The number of cluster IDs, one percent more than clusters. A real client does not upload again before its
    /// interval has passed, and the server's rate limit has the same length. With one percent more IDs each cluster
    /// uploads again slightly after its interval, while the total rate stays as configured.
    fn ids(&self) -> u64 {
        self.clusters + self.clusters.div_ceil(100)
    }

    /// The number of the cluster that sends the upload at `index`; all IDs take turns.
    fn cluster(&self, index: u64) -> u64 {
        index % self.ids()
    }

    /// How many clusters upload more than once; `None` where each uploads at most once.
    fn again(&self) -> Option<u64> {
        (self.total > self.ids()).then(|| self.ids())
    }
}

/// The source of access tokens.
enum TokenOrigin {
    Minted(Box<TokenMint>),
    Exchanged(Box<TokenExchanges>),
}

/// Exchanges the cluster token for access tokens, and keeps the access tokens that will be used again.
struct TokenExchanges {
    address: ServerAddress,
    target: Uri,
    credential: HeaderValue,
    kept: Option<Mutex<Vec<Option<Box<str>>>>>,
}

/// The state that the connections share.
struct FleetShared {
    arrivals: Arrivals,
    next: AtomicU64,
    start: Instant,
    seed: i64,
    clock: Clock,
    template: UploadTemplate,
    series: u64,
    address: ServerAddress,
    target: Uri,
    headers: [(HeaderName, HeaderValue); 2],
    source: TokenOrigin,
    exported: BenchmarkMetrics,
    /// The uploads of the current second.
    window: Mutex<UploadTally>,
    logged: AtomicU64,
}

/// Runs until every upload was due and has an outcome, or until `shutdown`; then writes the table, the plot and the
/// figures.
pub(super) async fn run(
    config: &Config,
    fleet: &SimulatedFleet,
    payload: &UploadPayload,
    exported: BenchmarkMetrics,
    mut output: ReportOutput<'_>,
    shutdown: impl Future<Output = ()>,
) -> Result<UploadTally, BenchmarkError> {
    let arrivals = Arrivals::new(fleet.clusters, config.interval, fleet.duration);
    let mut watch = ProcessWatch::new(fleet.server_pid).map_err(BenchmarkError::Fleet)?;
    let shared = Arc::new(FleetShared::new(config, fleet, arrivals, payload, exported).await?);
    let mut connections = JoinSet::new();
    for _ in 0..fleet.connections {
        connections.spawn(send_when_due(shared.clone()));
    }

    let mut progress = RunProgress::new(&output, Some(arrivals.total));
    let (mut total, mut report) = (UploadTally::default(), RunReport::new(fleet, arrivals.ids(), config.interval));
    let mut tick = interval_at(shared.start + SECOND, SECOND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shutdown = std::pin::pin!(shutdown);
    let mut second = |total: &mut UploadTally| {
        let window = std::mem::take(&mut *shared.window.lock());
        total.add(&window);
        total.set_elapsed(shared.start.elapsed());
        report.second(shared.start.elapsed(), window, watch.usage());
    };
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            ended = connections.join_next() => if ended.is_none() { break },
            _ = tick.tick() => {
                second(&mut total);
                progress.show(&total, &mut output)?;
            }
        }
    }
    second(&mut total);
    connections.shutdown().await;
    progress.end(&total, &mut output)?;
    report.end(&total, &watch, &mut output)?;
    report.write(&total, &watch, fleet).map_err(BenchmarkError::Fleet)?;
    match total.total_failed() {
        0 => Ok(total),
        failed => Err(BenchmarkError::Failed { failed, uploads: failed + total.total_sent() }),
    }
}

/// Sends uploads as they become due, over one connection, until none is left. An upload that is late by [`DEADLINE`] is
/// not sent, and one that takes longer is given up; both count as timeouts.
async fn send_when_due(shared: Arc<FleetShared>) {
    let (mut upload, mut authorize) = (FleetConnection::new(&shared.address), shared.source.connection());
    loop {
        let index = shared.next.fetch_add(1, Ordering::Relaxed);
        if index >= shared.arrivals.total {
            return;
        }
        let due = shared.start + shared.arrivals.due(index);
        sleep_until(due).await;
        let cluster = shared.arrivals.cluster(index);
        let ended = if due.elapsed() < DEADLINE {
            let ended = timeout_at(due + DEADLINE, shared.upload(cluster, &mut upload, authorize.as_mut())).await;
            ended.unwrap_or(Err(UploadFailure::Timeout))
        } else {
            Err(UploadFailure::Timeout)
        };
        shared.count_upload(due, cluster, ended);
    }
}

impl FleetShared {
    async fn new(
        config: &Config,
        fleet: &SimulatedFleet,
        arrivals: Arrivals,
        payload: &UploadPayload,
        exported: BenchmarkMetrics,
    ) -> Result<Self, BenchmarkError> {
        let clock = Clock::system();
        let seed = clock.now_ms();
        let (source, labels) = TokenOrigin::new(config, fleet, arrivals, seed).await.map_err(BenchmarkError::Fleet)?;
        Ok(Self {
            arrivals,
            next: AtomicU64::new(0),
            seed,
            clock,
            template: UploadTemplate::new(payload, &labels).map_err(BenchmarkError::Metrics)?,
            series: payload.series() as u64,
            address: ServerAddress::new(&config.to.upload, config.to.ca_file.as_deref(), fleet)
                .map_err(BenchmarkError::Fleet)?,
            target: target(&config.to.upload).map_err(BenchmarkError::Fleet)?,
            headers: [
                (header::CONTENT_TYPE, HeaderValue::from_static(DELIMITED_CONTENT_TYPE)),
                (header::CONTENT_ENCODING, HeaderValue::from_static("snappy")),
            ],
            source,
            exported,
            window: Mutex::default(),
            logged: AtomicU64::new(0),
            start: Instant::now() + LEAD,
        })
    }

    /// Sends one upload of a cluster; returns its size in bytes, compressed.
    async fn upload(
        &self,
        cluster: u64,
        connection: &mut FleetConnection<'_>,
        authorize: Option<&mut FleetConnection<'_>>,
    ) -> Result<usize, UploadFailure> {
        let id = id(self.seed, cluster);
        let token = match (&self.source, authorize) {
            (TokenOrigin::Exchanged(exchanges), Some(authorize)) => exchanges.token(cluster, &id, authorize).await?,
            (TokenOrigin::Minted(mint), _) => mint.token(cluster, &id).map_err(|_| UploadFailure::Other)?,
            (TokenOrigin::Exchanged(_), None) => return Err(UploadFailure::Other),
        };
        let authorization = credential::bearer_of(&token).map_err(|_| UploadFailure::Other)?;
        let body = self.template.body(&id, self.clock.now_ms());
        let bytes = body.len();
        let answer = connection.post(&self.target, authorization, body, &self.headers).await?;
        if answer.status.is_success() { Ok(bytes) } else { Err(UploadFailure::Upload(answer.status.as_u16())) }
    }

    /// Counts an upload that has ended, as sent with its size in bytes or as failed; its latency is counted from `due`,
    /// when it should have started. The first few failures are also logged.
    fn count_upload(&self, due: Instant, cluster: u64, ended: Result<usize, UploadFailure>) {
        let took = due.elapsed();
        match ended {
            Ok(bytes) => {
                self.window.lock().sent(self.series, bytes as u64, took);
                self.exported.samples.inc_by(i64::try_from(self.series).unwrap_or(i64::MAX));
            }
            Err(failure) => {
                if self.logged.fetch_add(1, Ordering::Relaxed) < FAILURES_LOGGED {
                    tracing::warn!(cluster, cause = %failure, ?took, "an upload failed");
                }
                self.window.lock().failed(failure);
                self.exported.errors.inc();
            }
        }
    }
}

impl TokenOrigin {
    /// Returns the source of access tokens, and the labels of all series; a label without a value gets the cluster ID
    /// as its value.
    async fn new(
        config: &Config,
        fleet: &SimulatedFleet,
        arrivals: Arrivals,
        seed: i64,
    ) -> Result<(Self, Vec<(String, Option<String>)>), String> {
        match &fleet.tokens {
            Tokens::Minted(file) => {
                let mint =
                    TokenMint::new(file, seed, arrivals.again()).map_err(|cause| format!("--shared-key: {cause}"))?;
                Ok((Self::Minted(Box::new(mint)), vec![(ID_LABEL.to_owned(), None)]))
            }
            Tokens::Exchanged => {
                let exchanges = TokenExchanges {
                    address: ServerAddress::new(&config.to.authorize, config.to.ca_file.as_deref(), fleet)?,
                    target: target(&config.to.authorize)?,
                    credential: credential::bearer(&config.to.token).map_err(|cause| cause.to_string())?,
                    kept: arrivals.again().map(|clusters| Mutex::new(vec![None; clusters as usize])),
                };
                // A first exchange shows which labels the server requires, and whether it grants tokens at all.
                let id = id(seed, 0);
                let first = exchanges.request_token(&id, &mut FleetConnection::new(&exchanges.address)).await;
                let first = first.map_err(|cause| format!("the first token cannot be had: {cause}"))?;
                let labels = first.labels.into_iter();
                let labels = labels.map(|(name, value)| (name, Some(value).filter(|value| value.as_bytes() != id)));
                Ok((Self::Exchanged(Box::new(exchanges)), labels.collect()))
            }
        }
    }

    /// A connection for exchanging tokens, not opened yet; `None` where the tokens are made here.
    fn connection(&self) -> Option<FleetConnection<'_>> {
        match self {
            Self::Minted(_) => None,
            Self::Exchanged(exchanges) => Some(FleetConnection::new(&exchanges.address)),
        }
    }
}

impl TokenExchanges {
    /// The access token of the cluster with this index and ID: the kept one where tokens are kept, else one from the
    /// server, which is then kept where tokens are kept.
    async fn token(
        &self,
        cluster: u64,
        id: &GeneratedId,
        connection: &mut FleetConnection<'_>,
    ) -> Result<String, UploadFailure> {
        if let Some(token) = self.kept.as_ref().and_then(|kept| kept.lock()[cluster as usize].clone()) {
            return Ok(token.into());
        }
        let token = self.request_token(id, connection).await?.token.expose().to_owned();
        if let Some(kept) = &self.kept {
            kept.lock()[cluster as usize] = Some(token.clone().into());
        }
        Ok(token)
    }

    /// Sends the cluster token to `/authorize`, and returns the server's answer. A status other than 200 is a failure.
    async fn request_token(
        &self,
        id: &GeneratedId,
        connection: &mut FleetConnection<'_>,
    ) -> Result<TokenResponse, UploadFailure> {
        let separator = if self.target.query().is_some() { '&' } else { '?' };
        let target = format!("{}{separator}id={}", self.target, String::from_utf8_lossy(id));
        let target = target.parse().map_err(|_| UploadFailure::Other)?;
        let answer = connection.post(&target, self.credential.clone(), Bytes::new(), &[]).await?;
        match answer.status {
            StatusCode::OK => TokenResponse::from_json(&answer.body).map_err(|_| UploadFailure::Other),
            status => Err(UploadFailure::Authorize(status.as_u16())),
        }
    }
}

/// The ID of a cluster: always the same in one run, and another in the next run.
fn id(seed: i64, cluster: u64) -> GeneratedId {
    let id = random_id(&mut PseudoRandom::seeded(&format!("{seed} {cluster}")));
    id.into_bytes().try_into().expect("an ID has the form of a UUID")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_even_and_nobody_comes_early() {
        let interval = Duration::from_secs(270);
        let arrivals = Arrivals::new(1_000_000, interval, Duration::from_secs(600));
        assert_eq!(arrivals.total, 2_222_222);
        assert_eq!(arrivals.due(0), Duration::ZERO);
        assert_eq!(arrivals.due(1), Duration::from_micros(270));
        assert_eq!(arrivals.due(2_000_000), 2 * interval);
        for index in [0, 1, 999_999, 1_009_999] {
            let again = index + arrivals.ids();
            assert_eq!(arrivals.cluster(again), arrivals.cluster(index));
            assert!(arrivals.due(again) - arrivals.due(index) > interval);
        }
        assert_eq!(arrivals.again(), Some(1_010_000));
        assert_eq!(Arrivals::new(10, interval, interval).again(), None, "each comes once");
        assert_eq!(Arrivals::new(1, interval, SECOND).total, 1, "at least one comes");
    }

    #[test]
    fn an_id_follows_from_run_and_index() {
        assert_eq!(id(1, 2), id(1, 2));
        let ids: std::collections::BTreeSet<_> = (0..1000).flat_map(|index| [id(1, index), id(2, index)]).collect();
        assert_eq!(ids.len(), 2000);
    }
}
