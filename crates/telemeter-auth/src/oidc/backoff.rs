//! The wait that a provider asked for, with `Retry-After`.

use std::time::Duration;

use parking_lot::Mutex;
use telemeter_http::client::Answer;
use tokio::time::Instant;

/// The time before which the provider is not asked: its `Retry-After` on a 429 or a 5xx.
#[derive(Debug, Default)]
pub(super) struct ProviderBackoff(Mutex<Option<Instant>>);

impl ProviderBackoff {
    /// Records the wait that an answer asks for, if any.
    pub(super) fn record(&self, answer: &Answer) {
        if let Some(wait) = answer.asks_to_wait() {
            *self.0.lock() = Some(Instant::now() + wait);
        }
    }

    /// What is left of the wait; `None` where the provider may be asked.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let until = (*self.0.lock())?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Ends the wait.
    pub(super) fn clear(&self) {
        *self.0.lock() = None;
    }
}
