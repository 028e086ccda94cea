//! Reads whole request bodies, with a byte cap and one deadline, into pooled buffers.

mod readers;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;

pub use self::readers::{BodyClient, BodyPace, Readers};
use crate::budget::Reservation;

/// The capacity that is allocated at once for a body, whatever length it declares: this bounds the cost of a peer that
/// declares a large body and sends nothing.
const FIRST_RESERVE_BYTES: usize = 64 * 1024;

/// The reason for which a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The body is longer than the cap, or declares that it is.
    #[error("the body is longer than {cap_bytes} bytes")]
    TooLarge {
        /// The cap; a body of exactly this length is within it.
        cap_bytes: usize,
    },
    /// The body had not arrived in full at its deadline.
    #[error("the body did not arrive in time")]
    Timeout,
    /// Other bodies use up the memory share.
    #[error("no room for the body")]
    NoMemory,
    /// The body arrived too slowly.
    #[error("the body arrived at less than {min_bytes_per_second} bytes a second")]
    TooSlow {
        /// The lowest speed that is allowed.
        min_bytes_per_second: u64,
    },
    /// The framing of the body (its declared length or its chunks) is invalid, so that sending it again does not help.
    #[error("the framing of the body is malformed: {0}")]
    Malformed(String),
    /// The connection ended before the body did.
    #[error("the body broke off: {0}")]
    Aborted(String),
}

/// Appends the whole of `body` to `into`.
///
/// The declared length is checked before anything is allocated. The deadline is for the whole body, so that a peer
/// which sends a few bytes at a time is cut off just as a silent one is.
///
/// # Errors
/// [`BodyError`]; `into` then holds the bytes that had arrived.
pub async fn read(body: Body, cap_bytes: usize, deadline: Duration, into: &mut Vec<u8>) -> Result<(), BodyError> {
    let declared_bytes = body.size_hint().lower();
    if declared_bytes > cap_bytes as u64 {
        return Err(BodyError::TooLarge { cap_bytes });
    }
    into.reserve(usize::try_from(declared_bytes).unwrap_or(cap_bytes).min(FIRST_RESERVE_BYTES));
    match tokio::time::timeout(deadline, collect(body, cap_bytes, into)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(BodyError::Timeout),
    }
}

/// Appends the data of the body to `into` until the body ends. Returns an error for more than `cap_bytes`, and for a
/// body that breaks off; `into` then holds the data that came before.
async fn collect(mut body: Body, cap_bytes: usize, into: &mut Vec<u8>) -> Result<(), BodyError> {
    let mut remaining_bytes = cap_bytes;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        if let Ok(data) = frame.into_data() {
            remaining_bytes = remaining_bytes.checked_sub(data.len()).ok_or(BodyError::TooLarge { cap_bytes })?;
            into.extend_from_slice(&data);
        }
    }
    Ok(())
}

/// The error of a body for an error of its connection. hyper reports invalid framing by the kind of an I/O error; an
/// I/O error of the socket or of TLS has another cause inside it.
fn broken(error: &(dyn std::error::Error + 'static)) -> BodyError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            let of_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
            let malformed = matches!(error.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData);
            if malformed && !of_tls {
                return BodyError::Malformed(error.to_string());
            }
        }
        cause = error.source();
    }
    BodyError::Aborted(chain(error))
}

/// An error and its causes on one line, each text once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}

/// A pool of buffers for reuse. Cheap to clone; clones share the buffers.
#[derive(Clone, Debug)]
pub struct BufferPool {
    shared: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    free: Mutex<Vec<Vec<u8>>>,
    keep: usize,
    max_kept_bytes: usize,
}

/// A buffer of a [`BufferPool`]: a `Vec<u8>` that is cleared and returned to the pool when it is dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// The pool that it is returned to; `None` where it is freed instead.
    pool: Option<Arc<Inner>>,
    /// Its reservation in a memory budget.
    reservation: Option<Reservation>,
}

impl BufferPool {
    /// Makes a pool that keeps at most `keep` idle buffers, none of them larger than `max_kept_bytes`, so that one huge
    /// request does not occupy memory for long.
    pub fn new(keep: usize, max_kept_bytes: usize) -> Self {
        Self { shared: Arc::new(Inner { free: Mutex::new(Vec::with_capacity(keep)), keep, max_kept_bytes }) }
    }

    /// Takes an empty buffer, with the capacity that an earlier use left.
    pub fn take(&self) -> Buffer {
        let bytes = self.shared.free.lock().pop().unwrap_or_default();
        Buffer { bytes, pool: Some(self.shared.clone()), reservation: None }
    }
}

impl Buffer {
    /// An empty buffer that is not returned to a pool.
    fn unpooled() -> Self {
        Self { bytes: Vec::new(), pool: None, reservation: None }
    }

    /// The content as `Bytes`, without a copy. The buffer is returned to its pool when the last clone of the `Bytes` is
    /// dropped, so a request may send it and be sent again.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = &self.pool else { return };
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        if bytes.capacity() > 0 && bytes.capacity() <= home.max_kept_bytes {
            let mut free = home.free.lock();
            if free.len() < home.keep {
                free.push(bytes);
            }
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;
    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
