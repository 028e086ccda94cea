//! Delivers what passed the rules: to the store, to the recent store, or to both.

use http::StatusCode;
use telemeter_fleet::{ReportRoute, recent_store::Staged};
use telemeter_http::budget::MemoryShare;
use telemeter_wire::remote_write::EncodedSeries;

use super::Gateway;
use crate::{
    error::Error,
    fleet::ObservedReport,
    forward::WriteMessage,
    metrics::{ForwardResult, ResultLabel, StatusLabel},
    ratelimit::SlotRecord,
    sender::Sender,
};

/// What is to be delivered: one message of remote write.
pub struct Write {
    /// The message.
    pub message: WriteMessage,
    /// How many series the message holds.
    pub series: usize,
    /// What the fleet's registry records of it.
    pub report: ObservedReport,
    /// What the recent store keeps of it; `None` where there is no recent store.
    pub staged: Option<Staged>,
}

impl Gateway {
    /// Delivers a message: sends it to the store, and commits it to the recent store once the store has accepted it. A message
    /// without series is not sent. `slot` counts as used where the store accepts the message after the caller has left.
    /// Returns the store's status, or 200.
    ///
    /// # Errors
    /// As [`StoreOutcome::into_result`](crate::forward::StoreOutcome::into_result).
    pub async fn deliver(
        &self,
        route: ReportRoute,
        cluster: &str,
        slot: Option<SlotRecord>,
        sender: &Sender,
        write: Write,
    ) -> Result<StatusCode, Error> {
        let status = self.send_to_stores(route, cluster, slot, &write).await?;
        self.record_accepted(route, cluster, sender, Some((&write.report, write.series)));
        Ok(status)
    }

    /// Sends the message to the store, where one is configured, then commits it to the recent store, and updates the
    /// metrics of the route. Returns the store's status; without a store, or for a message without series, 200. Nothing
    /// is committed where the store did not accept the message, or the budget has no memory for it.
    async fn send_to_stores(
        &self,
        route: ReportRoute,
        cluster: &str,
        slot: Option<SlotRecord>,
        write: &Write,
    ) -> Result<StatusCode, Error> {
        if write.message.is_empty() {
            return Ok(StatusCode::OK);
        }
        let mut status = StatusCode::OK;
        if let Some(forward) = &self.forward {
            let staged_bytes = write.staged.as_ref().map_or(0, Staged::held_bytes);
            let bytes = write.message.forward_bytes().saturating_add(staged_bytes);
            let _held = self.workspaces.budget.try_reserve(MemoryShare::Forward, bytes).ok_or(Error::Overloaded)?;
            let started = std::time::Instant::now();
            let outcome = forward.send_in_slot(cluster, write.message.clone(), slot).await;
            self.fleet.dependencies.record_answer(&outcome, started.elapsed(), self.clock.now_ms());
            let code = StatusLabel { status_code: outcome.status_code() };
            let result = outcome.into_result();
            let label =
                ResultLabel { result: if result.is_ok() { ForwardResult::success } else { ForwardResult::error } };
            match route {
                ReportRoute::Upload => {
                    let took = started.elapsed().as_secs_f64();
                    self.metrics.forward_duration.get_or_create(&code).observe(took);
                    self.metrics.forward_requests.get_or_create(&label).inc();
                }
                ReportRoute::Receive | ReportRoute::Authorize => {
                    self.metrics.receive_forward_requests.get_or_create(&label).inc();
                }
            }
            status = result?;
        }
        match route {
            ReportRoute::Upload => self.metrics.forward_samples.inc_by(write.series as u64),
            ReportRoute::Receive | ReportRoute::Authorize => self.metrics.receive_series.inc_by(write.series as u64),
        };
        if let (Some(store), Some(staged)) = (&self.recent_store, &write.staged) {
            store.commit(cluster, staged, self.clock.now_ms());
        }
        Ok(status)
    }

    /// Reads what the recent store keeps of a request once the store has accepted it; `None` where there is no recent store.
    pub fn stage<'m>(&self, cluster: &str, series: impl ExactSizeIterator<Item = EncodedSeries<'m>>) -> Option<Staged> {
        self.recent_store.as_ref().map(|store| store.stage(cluster, series))
    }
}
