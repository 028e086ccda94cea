//! `telemeter-benchmark`: many played clusters upload the same metrics; at the end there is a table.
//!
//! Workers each behave as a client does. A fleet is simulated: its uploads arrive by a schedule fixed in advance.

pub mod config;
mod fleet;
mod load;
mod progress;
mod tally;

use std::{future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};
use telemeter_client::{
    metrics_only,
    schedule::{CycleOutcome, PseudoRandom, Schedule},
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
    load::{PlayedCluster, UploadPayload},
    progress::{RunProgress, TICK},
};

/// How many clusters upload at once in a run of one upload each.
const AT_ONCE: usize = 64;
/// How long the server may take to answer; without `--clusters` the interval, where that is longer.
const DEADLINE: Duration = Duration::from_secs(30);
/// How many failures are logged one by one; a broken server would fill the disk.
const FAILURES_LOGGED: u64 = 10;

/// Why a benchmark did not run, or did not go through.
#[derive(Debug, thiserror::Error)]
pub enum BenchmarkError {
    /// The metrics cannot be read.
    #[error("--metrics-file: {0}")]
    Metrics(String),
    /// The certificates or the proxy cannot be used.
    #[error("{0}")]
    Outbound(#[from] OutboundError),
    /// There is nothing to listen on.
    #[error("--listen: {0}")]
    Listen(std::io::Error),
    /// The output is gone.
    #[error("the output cannot be written: {0}")]
    Output(#[from] std::io::Error),
    /// With `--once` or a fleet: not every upload was taken.
    #[error("{failed} of {uploads} uploads failed")]
    Failed {
        /// How many failed.
        failed: u64,
        /// How many there were.
        uploads: u64,
    },
    /// The simulated fleet cannot set out.
    #[error("{0}")]
    Fleet(String),
}

/// What a benchmark exports: names of the Go program's, which do not end in `_total`.
#[derive(Clone, Default)]
struct BenchmarkMetrics {
    errors: Gauge,
    samples: Gauge,
}

impl BenchmarkMetrics {
    fn register(registry: &mut Registry) -> Self {
        let exported = Self::default();
        registry.register("forward_errors", "Uploads that failed", exported.errors.clone());
        registry.register("forwarded_samples", "Samples of the uploads that were taken", exported.samples.clone());
        exported
    }
}

/// What the tasks of a run share.
#[derive(Clone)]
struct RunShared {
    tally: Arc<Mutex<UploadTally>>,
    exported: BenchmarkMetrics,
    series: usize,
    turns: Arc<Semaphore>,
}

/// Runs until `shutdown`, or with `once` until every cluster has uploaded; then writes the table.
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
    let exported = BenchmarkMetrics::register(&mut registry);
    let _listening = match &config.listen {
        Some(listen) => Some(metrics_only(listen, registry).await.map_err(BenchmarkError::Listen)?),
        None => None,
    };
    if let Some(fleet) = &config.fleet {
        return fleet::run(&config, fleet, &payload, exported, output, shutdown).await;
    }
    let mut outbound = OutboundConfig::new("federate_to");
    outbound.ca_file = config.to.ca_file.clone();
    outbound.proxy = ProxyUse::FromEnvironment;
    outbound.timeout = config.interval.max(DEADLINE);
    outbound.connection_wait = outbound.connect_timeout;
    let outbound = Outbound::new(outbound, None)?;

    let shared = RunShared {
        tally: Arc::default(),
        exported,
        series: payload.series(),
        turns: Arc::new(Semaphore::new(if config.once { AT_ONCE } else { Semaphore::MAX_PERMITS })),
    };

    let clock = Clock::system();
    let mut random = PseudoRandom::seeded(&format!("{} {}", clock.now_ms(), std::process::id()));
    let mut tasks = JoinSet::new();
    for index in 0..config.workers {
        let id = load::made_up_id(&mut random);
        let cluster = PlayedCluster::new(id, &config.to, &outbound, &clock, &payload);
        if config.once {
            tasks.spawn(once(cluster, shared.clone()));
        } else {
            // Spread evenly: a fleet's uploads do not come in one burst.
            let start = config.interval.mul_f64(index as f64 / config.workers as f64);
            tasks.spawn(for_ever(cluster, shared.clone(), start, config.interval));
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
                let tally = shared.ran(start);
                progress.show(&tally, &mut output)?;
            }
        }
    }
    let tally = shared.ran(start);
    tasks.shutdown().await;
    progress.end(&tally, &mut output)?;
    let uploads = config.workers as u64;
    let failed = uploads - tally.total_sent().min(uploads);
    if config.once && failed > 0 {
        return Err(BenchmarkError::Failed { failed, uploads });
    }
    Ok(tally)
}

/// One upload.
async fn once(mut cluster: PlayedCluster, shared: RunShared) {
    let _ = shared.upload(&mut cluster).await;
}

/// Uploads every interval, as a client does.
async fn for_ever(mut cluster: PlayedCluster, shared: RunShared, start: Duration, interval: Duration) {
    let mut schedule = Schedule::new(interval, &cluster.id);
    tokio::time::sleep(start).await;
    loop {
        let outcome = shared.upload(&mut cluster).await;
        tokio::time::sleep(schedule.after(outcome)).await;
    }
}

impl RunShared {
    async fn upload(&self, cluster: &mut PlayedCluster) -> CycleOutcome {
        let _turn = self.turns.acquire().await;
        match cluster.upload().await {
            Ok(taken) => {
                self.tally.lock().sent(self.series as u64, taken.bytes as u64, taken.took);
                self.exported.samples.inc_by(i64::try_from(self.series).unwrap_or(i64::MAX));
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
                self.exported.errors.inc();
                CycleOutcome::Failed { retry_after: failed.retry_after }
            }
        }
    }

    /// The tally so far.
    fn ran(&self, start: Instant) -> UploadTally {
        let mut tally = self.tally.lock();
        tally.set_ran(start.elapsed());
        tally.clone()
    }
}
