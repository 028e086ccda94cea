//! Joins the requests of concurrent callers into batches (group commit), sends the batches, and responds to each
//! caller.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use telemeter_http::instrument::UNTRACED;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Instrument;

use super::{
    Inner, StoreOutcome, WriteMessage,
    queue::{Standing, WaitingRequest},
    scheduler::{BatchAttempt, DEADLINE, NextStep},
};
use crate::ratelimit::SlotRecord;

/// How requests are joined into batches and sent.
#[derive(Clone, Copy, Debug)]
pub struct BatchConfig {
    /// How long the first request of a batch waits for others.
    pub linger: Duration,
    /// The largest size of a batch, in uncompressed bytes; a single request may be larger.
    pub max_bytes: usize,
    /// How many batches of good clusters may be open at the store at once.
    pub permits: usize,
    /// How many batches of suspects may be open: of clusters that were in a batch that failed.
    pub suspect_permits: usize,
    /// How many requests of clusters in quarantine may be open.
    pub quarantine_permits: usize,
    /// How many bytes, as queued, the waiting requests of all callers may hold in memory. Values above 128 MiB count as
    /// 128 MiB.
    pub max_waiting_bytes: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(2),
            max_bytes: 1 << 20,
            permits: 32,
            suspect_permits: 8,
            quarantine_permits: 4,
            max_waiting_bytes: usize::MAX,
        }
    }
}

/// The message of one caller, and the channel on which the caller waits for the outcome.
#[derive(Debug)]
pub(super) struct WaitingCaller {
    pub(super) message: WriteMessage,
    pub(super) span: tracing::Span,
    pub(super) answer: oneshot::Sender<StoreOutcome>,
    /// The slot of the rate limit, for an upload.
    pub(super) slot: Option<SlotRecord>,
}

impl WaitingRequest<WaitingCaller> {
    fn respond(self, outcome: StoreOutcome) {
        // The receiver is gone where the caller has closed its connection; then only the slot needs care.
        if let (Err(StoreOutcome::Accepted(_)), Some(slot)) = (self.item.answer.send(outcome), self.item.slot) {
            slot.acquire_again();
        }
    }
}

/// Starts a task that sends the waiting requests of clusters of one standing.
pub(super) fn start_batches(inner: &Arc<Inner>, standing: Standing) {
    tokio::spawn(run_batches(inner.clone(), standing));
}

/// Sends batches of clusters of one standing until none of their requests waits. For good clusters it first waits for
/// more requests, up to `linger` or until a batch is full. Requests past their deadline get their answer.
async fn run_batches(inner: Arc<Inner>, standing: Standing) {
    loop {
        if standing == Standing::Good && !inner.config.linger.is_zero() {
            let _ = tokio::time::timeout(inner.config.linger, inner.full.notified()).await;
        }
        let permit = acquire_permit(&inner, standing).await;
        let (next, expired) = {
            let mut scheduler = inner.scheduler.lock();
            let next = scheduler.next(standing, inner.config.max_bytes, Instant::now());
            (next, scheduler.take_expired())
        };
        respond_late(expired);
        match next {
            NextStep::Batch { batch, attempt, more } => {
                let span = span(&batch);
                tokio::spawn(send_batch(inner.clone(), batch, attempt, permit).instrument(span));
                if !more {
                    return;
                }
            }
            NextStep::Wait(wait) => {
                drop(permit);
                tokio::time::sleep(wait).await;
            }
            NextStep::Idle => return,
        }
    }
}

/// A new span for the batch, linked to the spans of its callers. The store gets no trace context of a caller, and a
/// batch is not part of their traces.
fn span(batch: &[WaitingRequest<WaitingCaller>]) -> tracing::Span {
    let span = tracing::info_span!(
        target: UNTRACED,
        parent: None,
        "batch",
        otel.name = "forward",
        otel.kind = "client",
        requests = batch.len()
    );
    if !span.is_disabled() {
        for request in batch {
            span.follows_from(&request.item.span);
        }
    }
    span
}

/// Waits for the next free permit. Meanwhile, requests past their deadline get their answer.
async fn acquire_permit(inner: &Arc<Inner>, standing: Standing) -> OwnedSemaphorePermit {
    let mut permit = pin!(inner.permits[standing as usize].clone().acquire_owned());
    loop {
        match tokio::time::timeout(DEADLINE / 10, &mut permit).await {
            Ok(permit) => return permit.expect("the semaphore is never closed"),
            Err(_) => {
                let expired = {
                    let mut scheduler = inner.scheduler.lock();
                    scheduler.expire(Instant::now());
                    scheduler.take_expired()
                };
                respond_late(expired);
            }
        }
    }
}

fn respond_late(expired: Vec<WaitingRequest<WaitingCaller>>) {
    for request in expired {
        request.respond(StoreOutcome::unavailable(None, "the store is slow: not taken within the deadline"));
    }
}

/// Sends a batch as one request, and responds to the callers that have their outcome. The requests of a batch that is
/// split wait again, for smaller batches.
async fn send_batch(
    inner: Arc<Inner>,
    batch: Vec<WaitingRequest<WaitingCaller>>,
    attempt: BatchAttempt,
    permit: OwnedSemaphorePermit,
) {
    let (outcome, meaning) = inner.store.send(&batch, attempt.deadline).await;
    drop(permit);
    let requests = batch.len();
    let settled = {
        let mut scheduler = inner.scheduler.lock();
        let settled = scheduler.settle(attempt, batch, meaning, Instant::now());
        for standing in Standing::ALL {
            if scheduler.must_start_task(standing) {
                start_batches(&inner, standing);
            }
        }
        settled
    };
    match settled.pauses {
        Some(true) => tracing::warn!("the store takes nothing: sending pauses"),
        Some(false) => tracing::info!("the store takes requests again"),
        None => {}
    }
    if settled.is_split {
        tracing::debug!(requests, ?meaning, "the store did not take a joined request: it is split");
    }
    respond_late(settled.late);
    for request in settled.done {
        request.respond(outcome.clone());
    }
}
