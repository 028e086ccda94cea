//! Whether what we depend on answers.

use std::time::Duration;

use telemeter_http::availability::Availability;

use crate::forward::StoreOutcome;

/// The records that are kept here; those of the authority and of memcached are kept by whoever calls them.
#[derive(Debug, Default)]
pub struct Dependencies {
    /// The store.
    pub store: Availability,
    /// The OIDC provider.
    pub oidc: Availability,
}

impl Dependencies {
    /// Notes what the store said of a request, and how long its sender waited for that.
    pub fn store_answered(&self, outcome: &StoreOutcome, took: Duration, now_ms: i64) {
        match outcome {
            // What it refuses, it has answered.
            StoreOutcome::Taken(_) | StoreOutcome::Refused { .. } => _ = self.store.available(Some(took), now_ms),
            StoreOutcome::Unavailable { cause, .. } => _ = self.store.unavailable(cause, now_ms),
            StoreOutcome::Overloaded => {}
        }
    }
}
