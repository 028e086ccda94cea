//! A lease: the use of a pool's connection by one request, until the connection goes back to the pool.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Inner;
use crate::client::connect::{Origin, OutboundConnection};

/// The time that a request waits for a connection, whose response was just read, to become ready for the next request.
const READY_TIMEOUT: Duration = Duration::from_millis(100);

/// A connection for one request. Where it is dropped before a request was sent on it, the connection goes back to the
/// pool.
#[derive(Debug)]
pub(in crate::client) struct PoolLease {
    pub(super) connection: Option<OutboundConnection>,
    pub(in crate::client) origin: Arc<Origin>,
    /// Whether earlier requests were sent on the connection: then the peer may be about to close it.
    pub(in crate::client) is_reused: bool,
    pub(super) pool: Arc<Inner>,
}

impl PoolLease {
    /// Takes the connection out, to send a request on it. A drop of the lease then returns nothing to the pool.
    pub(in crate::client) fn take(&mut self) -> Option<OutboundConnection> {
        self.connection.take()
    }

    /// Returns a connection to the pool after its response was read to the end.
    pub(in crate::client) fn give_back(self, connection: OutboundConnection) {
        if self.pool.keep_alive && !connection.is_closed() && matches!(connection, OutboundConnection::H1(_)) {
            self.pool.return_connection(&self.origin, connection);
        }
    }

    /// Waits for a short time until an HTTP/1.1 connection can take the next request; returns false where it cannot.
    pub(super) async fn becomes_ready(&mut self) -> bool {
        let Some(OutboundConnection::H1(connection)) = &mut self.connection else { return true };
        let is_ready = timeout(READY_TIMEOUT, connection.ready()).await.is_ok_and(|ready| ready.is_ok());
        if !is_ready {
            self.connection = None;
        }
        is_ready
    }

    /// Ends the lease and returns the connection to the caller, not to the pool.
    pub(super) fn forget(mut self) -> Option<OutboundConnection> {
        self.connection.take()
    }
}

impl Drop for PoolLease {
    fn drop(&mut self) {
        if let Some(connection @ OutboundConnection::H1(_)) = self.connection.take()
            && !connection.is_closed()
        {
            self.pool.return_connection(&self.origin, connection);
        }
    }
}
