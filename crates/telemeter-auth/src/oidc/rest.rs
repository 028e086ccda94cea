//! The time for which a provider asked to be left alone.

use std::time::Duration;

use parking_lot::Mutex;
use telemeter_http::client::Answer;
use tokio::time::Instant;

/// Until when the provider is not asked: its `Retry-After` on a 429 or a 5xx.
#[derive(Debug, Default)]
pub(super) struct ProviderBackoff(Mutex<Option<Instant>>);

impl ProviderBackoff {
    /// Heeds what an answer asks for.
    pub(super) fn heed(&self, answer: &Answer) {
        if let Some(wait) = answer.asks_to_wait() {
            *self.0.lock() = Some(Instant::now() + wait);
        }
    }

    /// What is left of it.
    pub(super) fn left(&self) -> Option<Duration> {
        let until = (*self.0.lock())?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Ends it.
    pub(super) fn end(&self) {
        *self.0.lock() = None;
    }
}
