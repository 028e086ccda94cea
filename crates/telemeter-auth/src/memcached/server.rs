//! One memcached server: its addresses, its idle connections, and its rest after a failure.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::CacheError;
use super::connection::{Command, MemcachedConnection, Reply};

/// How long an operation may take in all, connecting included.
const BUDGET: Duration = Duration::from_millis(100);
/// How long a server is left alone after it failed, so that not every request pays the budget.
const REST: Duration = Duration::from_secs(1);
/// How long a lookup of its name may take. It holds up nobody, and where the first name server is gone it takes 5 s.
const LOOKUP: Duration = Duration::from_secs(30);
const MAX_CONNECTIONS: usize = 32;
const MAX_IDLE: usize = 8;

#[derive(Debug)]
pub(super) struct MemcachedServer {
    name: String,
    state: Mutex<ServerState>,
    connections: Semaphore,
}

#[derive(Debug, Default)]
struct ServerState {
    /// In the order in which they are tried: the same on every replica.
    addresses: Vec<SocketAddr>,
    idle: Vec<MemcachedConnection>,
    rests_until: Option<Instant>,
    lookup_failed: bool,
}

impl MemcachedServer {
    pub(super) fn new(name: &str) -> Self {
        let addresses = name.parse().into_iter().collect();
        let state = Mutex::new(ServerState { addresses, ..ServerState::default() });
        Self { name: name.to_owned(), state, connections: Semaphore::new(MAX_CONNECTIONS) }
    }

    /// Whether it goes by a name that has to be looked up.
    pub(super) fn is_named(&self) -> bool {
        self.name.parse::<SocketAddr>().is_err()
    }

    /// Looks the name up. When that fails, the addresses from before stay.
    pub(super) async fn look_up(&self) {
        let found = match tokio::time::timeout(LOOKUP, tokio::net::lookup_host(&self.name)).await {
            Ok(Ok(found)) => found.collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        self.found(found);
    }

    fn found(&self, mut addresses: Vec<SocketAddr>) {
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

    /// One operation within its budget. An idle connection that turns out to be closed is replaced once.
    pub(super) async fn ask(&self, command: &Command<'_>) -> Result<Reply, CacheError> {
        if self.state.lock().rests_until.is_some_and(|until| Instant::now() < until) {
            return Err(CacheError::Out);
        }
        let outcome = tokio::time::timeout(BUDGET, self.attempt(command)).await.unwrap_or(Err(CacheError::Timeout));
        if let Err(error @ (CacheError::Timeout | CacheError::Out)) = outcome {
            tracing::debug!(server = %self.name, %error, "memcached: left alone for a second");
            self.state.lock().rests_until = Some(Instant::now() + REST);
        }
        outcome
    }

    async fn attempt(&self, command: &Command<'_>) -> Result<Reply, CacheError> {
        let _permit = self.connections.acquire().await.map_err(|_| CacheError::Out)?;
        let idle = self.state.lock().idle.pop();
        if let Some(mut connection) = idle {
            match connection.ask(command).await {
                Err(CacheError::Out) => self.state.lock().idle.clear(),
                Err(error) => return Err(error),
                Ok(reply) => {
                    self.keep(connection);
                    return Ok(reply);
                }
            }
        }
        let mut connection = self.connect().await?;
        let reply = connection.ask(command).await?;
        self.keep(connection);
        Ok(reply)
    }

    async fn connect(&self) -> Result<MemcachedConnection, CacheError> {
        let addresses = self.state.lock().addresses.clone();
        for address in addresses {
            if let Ok(connection) = MemcachedConnection::open(address).await {
                return Ok(connection);
            }
        }
        Err(CacheError::Out)
    }

    /// Only a connection whose last answer was read to its end comes back here.
    fn keep(&self, connection: MemcachedConnection) {
        let mut state = self.state.lock();
        if state.idle.len() < MAX_IDLE {
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
        server.found(vec![b, a, b]);
        assert_eq!(server.state.lock().addresses, [a, b]);
        server.found(vec![]);
        assert_eq!(server.state.lock().addresses, [a, b]);
        server.state.lock().rests_until = Some(Instant::now());
        server.found(vec![b]);
        assert_eq!(server.state.lock().addresses, [b]);
        assert_eq!(server.state.lock().rests_until, None, "another server has not failed yet");
    }
}
