//! Whether the services that the server depends on answer.

use std::time::Duration;

use telemeter_http::availability::Availability;

use crate::forward::StoreOutcome;

/// The availability of the store and of the OIDC provider; the clients of the authority and of memcached hold their own.
#[derive(Debug, Default)]
pub struct Dependencies {
    /// The store.
    pub store: Availability,
    /// The OIDC provider.
    pub oidc: Availability,
}

impl Dependencies {
    /// Records what the store answered to a request, and how long its sender waited for the answer.
    pub fn record_answer(&self, outcome: &StoreOutcome, took: Duration, now_ms: i64) {
        match outcome {
            // A refusal is an answer, too.
            StoreOutcome::Accepted(_) | StoreOutcome::Refused { .. } => _ = self.store.available(Some(took), now_ms),
            StoreOutcome::Unavailable { cause, .. } => _ = self.store.unavailable(cause, now_ms),
            StoreOutcome::Overloaded => {}
        }
    }
}
