//! `telemeter-benchmark`: a load generator. It uploads the same metrics as many clusters and ends with a table.
//!
//! There are two kinds of run. With workers, each simulates a client: it waits for the answer, then for the interval. With a
//! fleet (`--clusters`), uploads start at times that are fixed in advance, however slow the server is.

pub mod config;
mod fleet;
mod load;
mod progress;
mod tally;

use std::{future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use telemeter_client::{
    schedule::{CycleOutcome, PseudoRandom, Schedule},
    serve_metrics,
};
use telemeter_http::{
    client::{Outbound, OutboundConfig, OutboundError, ProxyUse},
    clock::Clock,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

pub use self::{
    config::Config,
    progress::ReportOutput,
    tally::{UploadFailure, UploadTally},
};
use self::{
    load::{SimulatedClient, UploadPayload},
    progress::{RunProgress, TICK},
};

/// How many clusters upload at the same time with `--once`.
const MAX_CONCURRENT_UPLOADS: usize = 64;
/// How long the server may take to answer. Workers wait as long as the interval, where that is longer.
const DEADLINE: Duration = Duration::from_secs(30);
/// How many failures are logged; a broken server would fill the disk.
const FAILURES_LOGGED: u64 = 10;

/// Why a benchmark did not start, or failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchmarkError {
    /// The metrics cannot be read.
    #[error("--metrics-file: {0}")]
    Metrics(String),
    /// The certificates or the proxy cannot be used.
    #[error("{0}")]
    Outbound(#[from] OutboundError),
    /// The address of `--listen` cannot be bound.
    #[error("--listen: {0}")]
    Listen(std::io::Error),
    /// The output cannot be written.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
    /// With `--once` or a fleet: the server did not accept every upload.
    #[error("{failed} of {uploads} uploads failed")]
    Failed {
        /// How many failed.
        failed: u64,
        /// How many there were.
        uploads: u64,
    },
    /// The simulated fleet cannot start.
    #[error("{0}")]
    Fleet(String),
}

/// The metrics of a benchmark, as the Go program names them: without `_total`.
#[derive(Clone, Default)]
struct BenchmarkMetrics {
    errors: Gauge,
    samples: Gauge,
}

impl BenchmarkMetrics {
    /// Creates the metrics, and adds them to what `/metrics` serves.
    fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("forward_errors", "Uploads that failed", metrics.errors.clone());
        registry.register("forwarded_samples", "Samples of the uploads that were taken", metrics.samples.clone());
        metrics
    }
}

/// State that the tasks of a run share.
#[derive(Clone)]
struct RunShared {
    tally: Arc<Mutex<UploadTally>>,
    metrics: BenchmarkMetrics,
    series: usize,
    permits: Arc<Semaphore>,
}

/// Runs until `shutdown` completes, or with `once` until every cluster has uploaded; then writes the table.
///
/// # Errors
/// [`BenchmarkError`]; [`BenchmarkError::Failed`] comes after the table.
pub async fn run(
    config: Config,
    mut output: ReportOutput<'_>,
    shutdown: impl Future<Output = ()>,
) -> Result<UploadTally, BenchmarkError> {
    let payload = Arc::new(UploadPayload::read(&config.metrics_file).map_err(BenchmarkError::Metrics)?);
    let mut registry = Registry::default();
    let metrics = BenchmarkMetrics::register(&mut registry);
    let _listening = match &config.listen {
        Some(listen) => Some(serve_metrics(listen, registry).await.map_err(BenchmarkError::Listen)?),
        None => None,
    };
    if let Some(fleet) = &config.fleet {
        return fleet::run(&config, fleet, &payload, metrics, output, shutdown).await;
    }
    let mut outbound = OutboundConfig::new("federate_to");
    outbound.ca_file = config.to.ca_file.clone();
    outbound.proxy = ProxyUse::FromEnvironment;
    outbound.timeout = config.interval.max(DEADLINE);
    outbound.connection_wait = outbound.connect_timeout;
    let outbound = Outbound::new(outbound, None)?;

    let shared = RunShared {
        tally: Arc::default(),
        metrics,
        series: payload.series(),
        permits: Arc::new(Semaphore::new(if config.once { MAX_CONCURRENT_UPLOADS } else { Semaphore::MAX_PERMITS })),
    };

    let clock = Clock::system();
    let mut random = PseudoRandom::seeded(&format!("{} {}", clock.now_ms(), std::process::id()));
    let mut tasks = JoinSet::new();
    for index in 0..config.workers {
        let id = load::random_id(&mut random);
        let cluster = SimulatedClient::new(id, &config.to, &outbound, &clock, &payload);
        if config.once {
            tasks.spawn(upload_once(cluster, shared.clone()));
        } else {
            // The starts are spread over the interval, as those of real clients are.
            let start = config.interval.mul_f64(index as f64 / config.workers as f64);
            tasks.spawn(upload_repeatedly(cluster, shared.clone(), start, config.interval));
        }
    }

    let mut progress = RunProgress::new(&output, config.once.then_some(config.workers as u64));
    let (start, mut tick) = (Instant::now(), tokio::time::interval(TICK));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            ended = tasks.join_next() => match ended {
                Some(_) if !tasks.is_empty() => {}
                _ => break,
            },
            _ = tick.tick() => {
                let tally = shared.tally(start);
                progress.show(&tally, &mut output)?;
            }
        }
    }
    let tally = shared.tally(start);
    tasks.shutdown().await;
    progress.end(&tally, &mut output)?;
    let uploads = config.workers as u64;
    let failed = uploads - tally.total_sent().min(uploads);
    if config.once && failed > 0 {
        return Err(BenchmarkError::Failed { failed, uploads });
    }
    Ok(tally)
}

/// Uploads once.
async fn upload_once(mut cluster: SimulatedClient, shared: RunShared) {
    let _ = shared.upload(&mut cluster).await;
}

/// Uploads every interval, as a client does.
async fn upload_repeatedly(mut cluster: SimulatedClient, shared: RunShared, start: Duration, interval: Duration) {
    let mut schedule = Schedule::new(interval, &cluster.id);
    tokio::time::sleep(start).await;
    loop {
        let outcome = shared.upload(&mut cluster).await;
        tokio::time::sleep(schedule.after(outcome)).await;
    }
}

impl RunShared {
    /// Sends one upload of the cluster, as soon as one of the concurrent uploads is allowed, and counts it in the tally
    /// and the metrics. The first few failures are also logged.
    async fn upload(&self, cluster: &mut SimulatedClient) -> CycleOutcome {
        let _permit = self.permits.acquire().await;
        match cluster.upload().await {
            Ok(upload) => {
                self.tally.lock().sent(self.series as u64, upload.bytes as u64, upload.took);
                self.metrics.samples.inc_by(i64::try_from(self.series).unwrap_or(i64::MAX));
                CycleOutcome::Done
            }
            Err(failed) => {
                let before = self.tally.lock().total_failed();
                if before < FAILURES_LOGGED {
                    tracing::warn!(worker = cluster.id, cause = failed.cause, "an upload failed");
                } else if before == FAILURES_LOGGED {
                    tracing::warn!("more uploads fail; they are counted and no longer logged");
                }
                self.tally.lock().failed(failed.failure);
                self.metrics.errors.inc();
                CycleOutcome::Failed { retry_after: failed.retry_after }
            }
        }
    }

    /// The tally so far of a run that began at `start`.
    fn tally(&self, start: Instant) -> UploadTally {
        let mut tally = self.tally.lock();
        tally.set_elapsed(start.elapsed());
        tally.clone()
    }
}
