//! Request bodies: read whole, under a byte cap and one deadline, into buffers that are used again.

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

/// Room made at once for a body, whatever length it announces: a peer that announces much and sends nothing costs this.
const FIRST_RESERVE_BYTES: usize = 64 * 1024;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is, or says that it is, longer than the cap.
    #[error("the body is longer than {cap_bytes} bytes")]
    TooLarge {
        /// The cap; a body of exactly this length is within it.
        cap_bytes: usize,
    },
    /// It was not there in full when its deadline passed.
    #[error("the body did not arrive in time")]
    Timeout,
    /// Other bodies hold all the room there is.
    #[error("no room for the body")]
    NoRoom,
    /// It arrived, but too slowly.
    #[error("the body arrived at less than {min_bytes_per_second} bytes a second")]
    TooSlow {
        /// The least that it has to arrive at.
        min_bytes_per_second: u64,
    },
    /// Its framing says where it ends in a way that cannot be understood, and never will be.
    #[error("the framing of the body is malformed: {0}")]
    Malformed(String),
    /// The peer went away.
    #[error("the body broke off: {0}")]
    Aborted(String),
}

/// Appends the whole of `body` to `into`.
///
/// A declared length is checked before anything is allocated. The deadline is for the whole body, so that a peer which
/// drips bytes is cut off as surely as a silent one.
///
/// # Errors
/// [`BodyError`]; `into` then holds what had arrived.
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

async fn collect(mut body: Body, cap_bytes: usize, into: &mut Vec<u8>) -> Result<(), BodyError> {
    let mut room = cap_bytes;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        if let Ok(data) = frame.into_data() {
            room = room.checked_sub(data.len()).ok_or(BodyError::TooLarge { cap_bytes })?;
            into.extend_from_slice(&data);
        }
    }
    Ok(())
}

/// What an error of the connection means for a body. hyper says what is wrong with the framing of a body by the kind of
/// an I/O error; one of the socket or of TLS has another cause of its own.
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

/// An error and its causes on one line, each said once.
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

/// Buffers that are used again. Cheap to clone; clones share the buffers.
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

/// A buffer of a [`BufferPool`]: a `Vec<u8>` that goes back, cleared, when it is dropped.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    /// The pool that it goes back to.
    home: Option<Arc<Inner>>,
    /// What it counts in a memory budget.
    reservation: Option<Reservation>,
}

impl BufferPool {
    /// Keeps at most `keep` idle buffers, none of them larger than `max_kept_bytes`: one huge request is not remembered.
    pub fn new(keep: usize, max_kept_bytes: usize) -> Self {
        Self { shared: Arc::new(Inner { free: Mutex::new(Vec::with_capacity(keep)), keep, max_kept_bytes }) }
    }

    /// An empty buffer, with the room that an earlier use left it.
    pub fn take(&self) -> Buffer {
        let bytes = self.shared.free.lock().pop().unwrap_or_default();
        Buffer { bytes, home: Some(self.shared.clone()), reservation: None }
    }
}

impl Buffer {
    /// An empty one that goes back to no pool.
    fn unpooled() -> Self {
        Self { bytes: Vec::new(), home: None, reservation: None }
    }

    /// The content as `Bytes`, without a copy. The buffer goes back to its pool when the last clone of them is dropped,
    /// so a request may send it and be sent again.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = &self.home else { return };
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
