//! The loop of cycles: waits as the schedule says, and takes the new worker where a reload made one.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use telemeter_http::{clock::Clock, duration::HumanDuration};
use telemeter_wire::UploadCounts;
use tokio::{sync::Notify, time::Instant};

use crate::{
    explain,
    outcome::{CycleError, CycleReport},
    schedule::{CycleOutcome, Schedule},
    status::ClientStatus,
    worker::Worker,
};

/// Is called with the outcome of each cycle; the outcome is then not logged.
pub type Observer = Arc<dyn Fn(&Result<CycleReport, CycleError>) + Send + Sync>;

/// What the loop runs: a [`Worker`], or a fake in tests.
pub(crate) trait Cycle {
    /// Runs one cycle.
    fn cycle(&mut self) -> impl Future<Output = Result<CycleReport, CycleError>> + Send;
}

impl Cycle for Worker {
    fn cycle(&mut self) -> impl Future<Output = Result<CycleReport, CycleError>> + Send {
        Self::cycle(self)
    }
}

/// Passes the worker that a reload made to the loop, which takes it between two cycles.
pub(crate) struct Handover<W> {
    next: Mutex<Option<W>>,
    arrived: Notify,
}

impl<W> Default for Handover<W> {
    fn default() -> Self {
        Self { next: Mutex::new(None), arrived: Notify::new() }
    }
}

impl<W> Handover<W> {
    /// Passes a worker on. It replaces one that the loop has not taken yet.
    pub(crate) fn hand_over(&self, worker: W) {
        *self.next.lock() = Some(worker);
        self.arrived.notify_one();
    }

    /// Waits until a new worker is handed over, and takes it. Of several that came in between, only the newest is kept.
    async fn next(&self) -> W {
        loop {
            self.arrived.notified().await;
            if let Some(worker) = self.next.lock().take() {
                return worker;
            }
        }
    }
}

/// Where the loop reports its cycles.
#[derive(Clone, Default)]
pub(crate) struct CycleReporting {
    /// Called with the outcome of each cycle.
    pub(crate) observer: Option<Observer>,
    /// Records when the next cycle begins.
    pub(crate) status: Arc<ClientStatus>,
    /// The wall clock for that.
    pub(crate) clock: Clock,
}

/// Runs cycles for ever. A new worker runs at once where the last cycle failed; else the next cycle keeps its time, since
/// the server would refuse an early upload (429).
pub(crate) async fn run<W: Cycle>(
    mut worker: W,
    mut schedule: Schedule,
    handover: Arc<Handover<W>>,
    reporting: CycleReporting,
) -> Infallible {
    let CycleReporting { observer, status, clock } = reporting;
    let record_next = |wait: Duration| status.set_next(clock.now_ms().saturating_add(wait.as_millis() as i64));
    let first = schedule.first();
    record_next(first);
    let mut due = Instant::now() + first;
    let mut failed = false;
    let mut last_warning = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            fresh = handover.next() => {
                worker = fresh;
                if !failed {
                    continue;
                }
            }
        }
        let ended = worker.cycle().await;
        let outcome = match &ended {
            Ok(_) => CycleOutcome::Done,
            Err(error) => CycleOutcome::Failed { retry_after: error.retry_after() },
        };
        failed = ended.is_err();
        let wait = schedule.after(outcome);
        due = Instant::now() + wait;
        record_next(wait);
        match &observer {
            Some(observer) => observer(&ended),
            None => log(&ended, wait, &mut last_warning),
        }
    }
}

/// Logs the outcome of a cycle. `last_warning` is the last warning about series that no selector names: it is logged
/// again only when it changes.
fn log(ended: &Result<CycleReport, CycleError>, wait: Duration, last_warning: &mut Option<String>) {
    let report = match ended {
        Ok(report) => report,
        Err(error) => {
            tracing::error!(cause = %error, next = %HumanDuration(wait), "the metrics were not uploaded");
            return;
        }
    };
    if let Some(reason) = explain::no_upload_reason(report) {
        tracing::warn!(scraped = report.scraped, next = %HumanDuration(wait), "nothing to upload: {reason}");
        return;
    }
    let unrequested = explain::unrequested_warning(&report.left_out);
    if *last_warning != unrequested {
        if let Some(warning) = &unrequested {
            tracing::warn!("{warning}");
        }
        *last_warning = unrequested;
    }
    let left_out = explain::left_out_counts(&report.left_out);
    let left_out = (!left_out.is_empty()).then_some(left_out);
    let CycleReport { scraped, uploaded, counts, bytes, took, .. } = *report;
    let took = HumanDuration(took);
    // A server without counts is another one, such as the Go server.
    let (kept, filtered) = (counts.map(|counts| counts.kept), counts.map(|counts| counts.filtered));
    let duplicates = counts.map(|counts| counts.duplicates).filter(|duplicates| *duplicates > 0);
    if let Some(UploadCounts { kept: 0, .. }) = counts {
        tracing::warn!(
            scraped,
            left_out,
            uploaded,
            kept,
            filtered,
            bytes,
            "the server kept none of the uploaded series: its whitelist allows none of them"
        );
        return;
    }
    tracing::info!(scraped, left_out, uploaded, kept, filtered, duplicates, bytes, %took, "metrics uploaded");
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::{refusal::ServerRefusal, schedule::AFTER_FAILURE, token::TokenError};

    const INTERVAL: Duration = Duration::from_secs(270);

    /// Records when it runs, and fails with the given statuses and `Retry-After`s of the server.
    struct FakeCycle {
        name: &'static str,
        log: Arc<Mutex<Vec<(&'static str, Duration)>>>,
        start: Instant,
        fails: Vec<Option<(u16, Option<u64>)>>,
    }

    impl Cycle for FakeCycle {
        async fn cycle(&mut self) -> Result<CycleReport, CycleError> {
            self.log.lock().push((self.name, self.start.elapsed()));
            match self.fails.pop().flatten() {
                None => Ok(CycleReport { scraped: 1, kept: 1, uploaded: 1, bytes: 1, ..CycleReport::default() }),
                Some((status, seconds)) => {
                    let status = StatusCode::from_u16(status).expect("a status");
                    let refusal = ServerRefusal::new(status, b"no", seconds.map(Duration::from_secs));
                    Err(TokenError::Failed(refusal).into())
                }
            }
        }
    }

    /// Runs the loop for `seconds` with failures in this order, and reloads at `reload_at`.
    async fn run_for(
        seconds: u64,
        mut fails: Vec<Option<(u16, Option<u64>)>>,
        reload_at: Option<u64>,
    ) -> Vec<(&'static str, Duration)> {
        fails.reverse();
        let log = Arc::new(Mutex::new(Vec::new()));
        let start = Instant::now();
        let fake = |name, fails| FakeCycle { name, log: log.clone(), start, fails };
        let handover = Arc::new(Handover::default());
        let observed = Arc::new(Mutex::new(0));
        let observer: Observer = Arc::new({
            let observed = observed.clone();
            move |_| *observed.lock() += 1
        });
        let reporting = CycleReporting { observer: Some(observer), ..CycleReporting::default() };
        let looped = run(fake("first", fails), Schedule::new(INTERVAL, "id"), handover.clone(), reporting);
        let reload = async {
            if let Some(at) = reload_at {
                tokio::time::sleep(Duration::from_secs(at)).await;
                handover.hand_over(fake("second", Vec::new()));
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            never = looped => match never {},
            () = reload => {}
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        }
        let log = log.lock().clone();
        assert_eq!(*observed.lock(), log.len(), "each cycle is observed");
        log
    }

    /// The waits between the cycles, each without its random part.
    fn check(log: &[(&str, Duration)], expected: &[Duration]) {
        assert!(log[0].1 < INTERVAL / 20, "{log:?}");
        let waits: Vec<_> = log.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        assert_eq!(waits.len(), expected.len(), "{waits:?}");
        for (wait, expected) in waits.iter().zip(expected) {
            assert!(wait >= expected && *wait <= expected.mul_f64(1.051), "{wait:?}, not {expected:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_interval() {
        check(&run_for(900, vec![], None).await, &[INTERVAL; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_minute_after_a_failure_then_every_interval_again() {
        let log = run_for(500, vec![Some((500, None)), Some((401, None))], None).await;
        check(&log, &[AFTER_FAILURE, AFTER_FAILURE, INTERVAL]);
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_server_says() {
        let seconds = Duration::from_secs;
        check(&run_for(400, vec![Some((429, Some(300)))], None).await, &[seconds(300)]);
        check(&run_for(100, vec![Some((503, Some(20)))], None).await, &[seconds(20)]);
        check(&run_for(400, vec![Some((500, Some(300)))], None).await, &[seconds(300)]);
        check(&run_for(70, vec![Some((404, Some(300)))], None).await, &[AFTER_FAILURE]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_after_a_success_keeps_the_time() {
        let log = run_for(400, vec![], Some(100)).await;
        assert_eq!(log.iter().map(|entry| entry.0).collect::<Vec<_>>(), ["first", "second"]);
        check(&log, &[INTERVAL]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_after_a_failure_tries_at_once() {
        let log = run_for(60, vec![Some((503, Some(3600)))], Some(30)).await;
        assert_eq!(log.len(), 2, "{log:?}");
        assert_eq!(log[1], ("second", Duration::from_secs(30)));
    }
}
