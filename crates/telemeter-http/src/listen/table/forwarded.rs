//! A request that a trusted proxy brought for a client that it names. It can be ended alone: its connection may carry the
//! requests of others.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

use super::ClientNetwork;

/// A request of a client behind a trusted proxy.
pub(super) struct Forwarded {
    pub(super) client: ClientNetwork,
    /// What it holds of the budget.
    pub(super) bytes: usize,
    /// Whether its handler waits for more of the body.
    pub(super) waits: AtomicBool,
    /// When it began, or when something last came of its body.
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

    /// Resolves when it is to make room for others.
    pub(super) async fn ended(&self) {
        while !self.is_ended.load(Ordering::Relaxed) {
            self.end.notified().await;
        }
    }
}
