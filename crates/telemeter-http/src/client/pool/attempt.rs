//! An attempt to make a connection; its connection goes to the request that has waited longest when it is ready.

use std::sync::Arc;

use super::Inner;
use crate::client::connect::{ConnectProgress, Origin, OutboundConnection};
use crate::client::error::ConnectError;

/// A connection that is being made by a task of its own. When it is dropped, in whichever way the task ended, the pool
/// gets the outcome.
pub(super) struct ConnectAttempt {
    pub(super) pool: Arc<Inner>,
    pub(super) origin: Arc<Origin>,
    pub(super) progress: Arc<ConnectProgress>,
    /// `None` where the task ended before the connection was made or failed.
    pub(super) outcome: Option<Result<OutboundConnection, ConnectError>>,
}

/// Spawns the task that makes the connection, where there is one to make.
pub(super) fn start(attempt: Option<ConnectAttempt>) {
    if let Some(mut attempt) = attempt {
        tokio::spawn(async move {
            attempt.outcome = Some(attempt.pool.connector.connect(&attempt.origin, &attempt.progress).await);
            drop(attempt);
        });
    }
}

impl Drop for ConnectAttempt {
    fn drop(&mut self) {
        self.pool.finish_attempt(&self.origin, self.outcome.take());
    }
}
