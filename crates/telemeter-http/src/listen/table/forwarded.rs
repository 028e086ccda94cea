//! A request whose client is named by a trusted proxy. It can be ended without its connection, which may carry requests
//! of other clients.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::ClientNetwork;

/// A request of a client behind a trusted proxy.
pub(super) struct Forwarded {
    pub(super) client: ClientNetwork,
    /// The bytes that it holds in the budget.
    pub(super) bytes: usize,
    /// Whether its handler waits for more of the body.
    pub(super) waits: AtomicBool,
    /// The time when it began, or when bytes of its body last arrived.
    pub(super) last_ms: AtomicU64,
    pub(super) is_ended: AtomicBool,
    pub(super) end: Notify,
}

impl Forwarded {
    pub(super) fn new(client: ClientNetwork, bytes: usize, now_ms: u64) -> Self {
        Self {
            client,
            bytes,
            waits: AtomicBool::new(false),
            last_ms: AtomicU64::new(now_ms),
            is_ended: AtomicBool::new(false),
            end: Notify::new(),
        }
    }

    /// Resolves when the request is evicted.
    pub(super) async fn ended(&self) {
        while !self.is_ended.load(Ordering::Relaxed) {
            self.end.notified().await;
        }
    }
}
