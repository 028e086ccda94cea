//! One memcached server: its addresses, its idle connections, and the wait after a failure.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::CacheError;
use super::connection::{Command, MemcachedConnection, Reply};

/// The timeout of a whole operation, including the connection.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(100);
/// The time after a failure in which a server is not asked, so that not every request waits for the timeout.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The timeout of a lookup. No request waits for it, and it takes 5 s where the first name server does not answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_CONNECTIONS: usize = 32;
const MAX_IDLE_CONNECTIONS: usize = 8;

#[derive(Debug)]
pub(super) struct MemcachedServer {
    name: String,
    state: Mutex<ServerState>,
    connections: Semaphore,
}

#[derive(Debug, Default)]
struct ServerState {
    /// Sorted, so that every replica tries them in the same order.
    addresses: Vec<SocketAddr>,
    idle: Vec<MemcachedConnection>,
    unavailable_until: Option<Instant>,
    lookup_failed: bool,
}

impl MemcachedServer {
    pub(super) fn new(name: &str) -> Self {
        let addresses = name.parse().into_iter().collect();
        let state = Mutex::new(ServerState { addresses, ..ServerState::default() });
        Self { name: name.to_owned(), state, connections: Semaphore::new(MAX_CONNECTIONS) }
    }

    /// Whether it has a name, which has to be looked up, and not an address.
    pub(super) fn is_named(&self) -> bool {
        self.name.parse::<SocketAddr>().is_err()
    }

    /// Looks the name up. Where that fails, the earlier addresses stay in use.
    pub(super) async fn look_up(&self) {
        let found = match tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host(&self.name)).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        self.set_addresses(found);
    }

    /// Stores the addresses of a lookup; none means that it failed, and the earlier ones stay. Other addresses drop the
    /// idle connections and the pause after a failure. The log has a line when lookups begin to fail, and when they
    /// work again.
    fn set_addresses(&self, mut addresses: Vec<SocketAddr>) {
        addresses.sort();
        addresses.dedup();
        let failed = addresses.is_empty();
        let mut state = self.state.lock();
        if failed != state.lookup_failed {
            state.lookup_failed = failed;
            if failed {
                tracing::warn!(server = %self.name, "memcached: the server's name has no address");
            } else {
                tracing::info!(server = %self.name, "memcached: the server's name has an address again");
            }
        }
        if !failed && addresses != state.addresses {
            *state = ServerState { addresses, ..ServerState::default() };
        }
    }

    /// Runs one command within its timeout. An idle connection that turns out to be closed is replaced once.
    pub(super) async fn run(&self, command: &Command<'_>) -> Result<Reply, CacheError> {
        if self.state.lock().unavailable_until.is_some_and(|until| Instant::now() < until) {
            return Err(CacheError::Unavailable);
        }
        let outcome = tokio::time::timeout(OPERATION_TIMEOUT, self.send_command(command))
            .await
            .unwrap_or(Err(CacheError::Timeout));
        if let Err(error @ (CacheError::Timeout | CacheError::Unavailable)) = outcome {
            tracing::debug!(server = %self.name, %error, "memcached: not asked for a second");
            self.state.lock().unavailable_until = Some(Instant::now() + RETRY_AFTER);
        }
        outcome
    }

    /// Waits until one more connection may be used, then sends the command on an idle one, or on a new one where there is none.
    /// An idle connection that turns out to be closed is replaced by a new one, and all other idle ones are dropped. The
    /// connection is kept for the next command, unless the command failed.
    async fn send_command(&self, command: &Command<'_>) -> Result<Reply, CacheError> {
        let _permit = self.connections.acquire().await.map_err(|_| CacheError::Unavailable)?;
        let idle = self.state.lock().idle.pop();
        if let Some(mut connection) = idle {
            match connection.run(command).await {
                Err(CacheError::Unavailable) => self.state.lock().idle.clear(),
                Err(error) => return Err(error),
                Ok(reply) => {
                    self.release(connection);
                    return Ok(reply);
                }
            }
        }
        let mut connection = self.connect().await?;
        let reply = connection.run(command).await?;
        self.release(connection);
        Ok(reply)
    }

    /// Opens a connection to the first address that accepts one; [`CacheError::Unavailable`] where none does.
    async fn connect(&self) -> Result<MemcachedConnection, CacheError> {
        let addresses = self.state.lock().addresses.clone();
        for address in addresses {
            if let Ok(connection) = MemcachedConnection::open(address).await {
                return Ok(connection);
            }
        }
        Err(CacheError::Unavailable)
    }

    /// Keeps a connection for the next command. Its last answer has been read to the end.
    fn release(&self, connection: MemcachedConnection) {
        let mut state = self.state.lock();
        if state.idle.len() < MAX_IDLE_CONNECTIONS {
            state.idle.push(connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_addresses_take_effect_and_a_failed_lookup_keeps_the_old() {
        let server = MemcachedServer::new("cache.example:11211");
        assert!(
            server.is_named()
                && !MemcachedServer::new("127.0.0.1:1").is_named()
                && !MemcachedServer::new("[::1]:1").is_named()
        );
        let address = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let (a, b) = (address("10.0.0.1:1"), address("10.0.0.2:1"));
        server.set_addresses(vec![b, a, b]);
        assert_eq!(server.state.lock().addresses, [a, b]);
        server.set_addresses(vec![]);
        assert_eq!(server.state.lock().addresses, [a, b]);
        server.state.lock().unavailable_until = Some(Instant::now());
        server.set_addresses(vec![b]);
        assert_eq!(server.state.lock().addresses, [b]);
        assert_eq!(server.state.lock().unavailable_until, None, "another server has not failed yet");
    }
}
