//! A client of memcached, the cache that replicas share. It may be unavailable, slow or wrong: callers go on without it.
//!
//! It is our own, with three commands: the existing library reaches no IPv6 address and reads answers of any length.

mod connection;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod metrics;
mod server;

use std::sync::Arc;
use std::time::Duration;

use self::connection::{Command, Reply};
pub use self::metrics::{CacheMetrics, ReadResult, WriteResult};
use self::server::MemcachedServer;

/// The longest value that is written or read.
pub const MAX_VALUE_BYTES: usize = 4 * 1024;
/// The longest lifetime: memcached reads a larger number as a date.
const MAX_EXPIRE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why memcached gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The key's server did not answer within its 100 ms.
    #[error("no answer in time")]
    Timeout,
    /// The key's server has no address, refused or closed the connection, or failed within the last second.
    #[error("the server is unavailable")]
    Unavailable,
    /// The key's server sent something that is no answer to the command.
    #[error("not an answer to the question")]
    Protocol,
    /// The value is longer than [`MAX_VALUE_BYTES`].
    #[error("the value is too long")]
    TooLong,
}

/// A client of several servers; each key belongs to one of them.
///
/// The key's CRC-32 selects the server in list order, as in Go's client. An unavailable server is not replaced: its keys
/// fail, and all others stay where they are.
#[derive(Debug)]
pub struct Memcached {
    servers: Vec<Arc<MemcachedServer>>,
    lookups: tokio::task::JoinHandle<()>,
}

impl Memcached {
    /// A client of these servers (`host:port`); names are looked up now and every `interval`. Has to be called within a tokio
    /// runtime.
    pub fn new(servers: &[String], interval: Duration) -> Self {
        let servers: Vec<_> = servers.iter().map(|name| Arc::new(MemcachedServer::new(name))).collect();
        let named: Vec<_> = servers.iter().filter(|server| server.is_named()).cloned().collect();
        let interval = interval.max(Duration::from_millis(100));
        let lookups = tokio::spawn(async move {
            while !named.is_empty() {
                for server in &named {
                    server.look_up().await;
                }
                tokio::time::sleep(interval).await;
            }
        });
        Self { servers, lookups }
    }

    /// The value of a key; `None` when there is none.
    ///
    /// # Errors
    /// [`CacheError`], after 100 ms at the latest.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, CacheError> {
        match self.run(Command::Get { key }).await? {
            Reply::Value(value) => Ok(Some(value)),
            Reply::Absent => Ok(None),
            Reply::Done => Err(CacheError::Protocol),
        }
    }

    /// Sets the value of a key for the next `expire`, at least a second and at most 30 days.
    ///
    /// # Errors
    /// [`CacheError`], after 100 ms at the latest.
    pub async fn set(&self, key: &str, value: &[u8], expire: Duration) -> Result<(), CacheError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(CacheError::TooLong);
        }
        let expire_seconds = expire.min(MAX_EXPIRE).as_secs().max(1);
        self.run(Command::Set { key, value, expire_seconds }).await.map(drop)
    }

    /// Removes a key and its value.
    ///
    /// # Errors
    /// [`CacheError`], after 100 ms at the latest.
    pub async fn delete(&self, key: &str) -> Result<(), CacheError> {
        self.run(Command::Delete { key }).await.map(drop)
    }

    async fn run(&self, command: Command<'_>) -> Result<Reply, CacheError> {
        let key = command.key();
        let is_valid_key = !key.is_empty() && key.len() <= 250 && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid_key {
            return Err(CacheError::Protocol);
        }
        self.servers.get(self.server_index(key)).ok_or(CacheError::Unavailable)?.run(&command).await
    }

    fn server_index(&self, key: &str) -> usize {
        match self.servers.len() {
            0 | 1 => 0,
            servers => crc32fast::hash(key.as_bytes()) as usize % servers,
        }
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.lookups.abort();
    }
}

#[cfg(test)]
mod tests;
