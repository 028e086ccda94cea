//! Reads bodies: their bytes are counted in the memory budget, which is shared fairly by client.

mod table;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http_body::Body as _;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use self::table::{BodyRead, WaitingBodies};
use super::{BodyError, Buffer, BufferPool, broken};
use crate::budget::{MemoryBudget, MemoryShare, Reservation};

/// The most that is reserved at once for the length that a body declares.
const FIRST_RESERVE_BYTES: usize = 64 << 10;
/// The most that is reserved, as a multiple of the bytes that have arrived.
const RESERVE_AHEAD: usize = 4;
/// A body gets a new buffer where fewer bytes than this arrive at first: a pooled buffer may be large.
const MIN_POOLED_BYTES: usize = 1 << 10;
/// The divisor for the cap of one client: it may hold 1/8 of the share.
const CLIENT_PART: usize = 8;
/// The divisor for the least amount of an eviction: it releases at least 1/16 of the share.
const EVICTED_PART: usize = 16;
/// The time between two checks of how fast a body arrives.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The limits on the time that a body may take.
#[derive(Clone, Copy, Debug)]
pub struct BodyPace {
    /// The deadline for the whole body.
    pub deadline: Duration,
    /// The least average speed after `grace`; 0 for none.
    pub min_bytes_per_second: u64,
    /// The time at the start in which the body may be slower.
    pub grace: Duration,
}

/// Reads bodies into buffers that count in a [`MemoryBudget`], until they are dropped. Cheap to clone.
///
/// One client holds an eighth of the share at most. Where the share is used up, bodies of the client that holds most
/// are aborted, the slowest first.
#[derive(Clone)]
pub struct Readers(Arc<Inner>);

struct Inner {
    budget: MemoryBudget,
    pool: BufferPool,
    keys: RandomState,
    table: Mutex<WaitingBodies>,
}

/// The client that sends a body: a keyed hash of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BodyClient(u64);

impl Readers {
    /// A reader of bodies that counts in `budget` and takes its buffers from `pool`.
    #[must_use]
    pub fn new(budget: MemoryBudget, pool: BufferPool) -> Self {
        Self(Arc::new(Inner { budget, pool, keys: RandomState::new(), table: Mutex::default() }))
    }

    /// The client of this name, such as an address or a cluster ID.
    pub fn client(&self, name: impl Hash) -> BodyClient {
        BodyClient(self.0.keys.hash_one(name))
    }

    /// The number of bytes that the bodies of one client may hold while they are read, where one body may have
    /// `cap_bytes`.
    #[must_use]
    pub fn client_share(budget: &MemoryBudget, cap_bytes: usize) -> usize {
        (budget.capacity_bytes(MemoryShare::Bodies) / CLIENT_PART).max(cap_bytes)
    }

    /// Reads the whole of `body`, at most `cap_bytes`. Trailers are ignored.
    ///
    /// # Errors
    /// [`BodyError`].
    pub async fn read(
        &self,
        body: Body,
        client: BodyClient,
        cap_bytes: usize,
        pace: &BodyPace,
    ) -> Result<Buffer, BodyError> {
        let declared_bytes = body.size_hint().lower();
        if declared_bytes > cap_bytes as u64 {
            return Err(BodyError::TooLarge { cap_bytes });
        }
        let first_bytes = usize::try_from(declared_bytes).unwrap_or(cap_bytes).min(FIRST_RESERVE_BYTES);
        let mut reading = Reading {
            shared: &self.0,
            client,
            cap_bytes,
            first_bytes,
            started: Instant::now(),
            buffer: Buffer::unpooled(),
            reservation: None,
            id: None,
        };
        let mut body = body;
        let mut timer = pin!(sleep(pace.grace.min(pace.deadline)));
        std::future::poll_fn(|context| {
            loop {
                match Pin::new(&mut body).poll_frame(context) {
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(&error))),
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data() {
                            reading.append(&data)?;
                        }
                    }
                    Poll::Pending => {
                        reading.wait(context)?;
                        if timer.as_mut().poll(context).is_pending() {
                            return Poll::Pending;
                        }
                        let left = reading.check(pace)?;
                        timer.as_mut().reset(Instant::now() + left.min(CHECK_INTERVAL));
                    }
                }
            }
        })
        .await?;
        reading.finish()
    }
}

impl Inner {
    /// Whether `bytes` more would fit now.
    fn has_room(&self, bytes: usize) -> bool {
        self.budget.used_bytes(MemoryShare::Bodies) + bytes <= self.budget.capacity_bytes(MemoryShare::Bodies)
    }
}

/// A body that is being read.
struct Reading<'a> {
    shared: &'a Inner,
    client: BodyClient,
    cap_bytes: usize,
    first_bytes: usize,
    started: Instant,
    buffer: Buffer,
    /// The reservation, of as many bytes as the buffer's capacity.
    reservation: Option<Reservation>,
    /// Its key in the table; `None` while it is not in the table.
    id: Option<u64>,
}

impl Reading<'_> {
    /// Reserves memory for received bytes, and copies them into the buffer. The first bytes of a large body get a
    /// pooled buffer; later the buffer at least doubles, up to `cap_bytes`. Returns an error for more than `cap_bytes`,
    /// and where the budget has no memory, also after bodies of others were evicted.
    fn append(&mut self, data: &[u8]) -> Result<(), BodyError> {
        let needed = self.buffer.len() + data.len();
        if needed > self.cap_bytes {
            return Err(BodyError::TooLarge { cap_bytes: self.cap_bytes });
        }
        let ahead = self.first_bytes.min(data.len() * RESERVE_AHEAD);
        if self.reservation.is_none() && data.len().max(ahead) >= MIN_POOLED_BYTES {
            self.buffer = self.shared.pool.take();
            // The whole capacity counts: where that does not fit, the body gets a new buffer of its own size.
            if self.buffer.capacity() > needed.max(ahead) && !self.shared.has_room(self.buffer.capacity()) {
                self.buffer = Buffer::unpooled();
            }
        }
        let held = self.reservation.as_ref().map_or(0, Reservation::bytes);
        let capacity = if needed <= self.buffer.capacity() {
            self.buffer.capacity()
        } else {
            needed.max(ahead.max(held * 2).min(self.cap_bytes))
        };
        self.reserve(capacity - held, needed)?;
        let missing = capacity - self.buffer.len();
        self.buffer.reserve_exact(missing);
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    /// Reserves `more` bytes; `arrived_bytes` have arrived in all. Where these do not fit, bodies of others are evicted
    /// first. Returns an error where that is not enough, where the client would hold more than its share, and where
    /// this body was evicted.
    fn reserve(&mut self, more: usize, arrived_bytes: usize) -> Result<(), BodyError> {
        let Inner { budget, table, .. } = self.shared;
        if more == 0 && self.id.is_none() {
            return Ok(());
        }
        let mut fits = budget.acquire(MemoryShare::Bodies, more);
        if self.id.is_some() || !fits {
            let mut table = table.lock();
            if table.is_evicted(self.id) {
                if fits {
                    budget.release(MemoryShare::Bodies, more);
                }
                return Err(BodyError::NoMemory);
            }
            let part = Readers::client_share(budget, self.cap_bytes);
            let of_client = table.clients.get(&self.client).copied().unwrap_or_default();
            let is_fair = self.id.is_none() || of_client + more <= part;
            if !fits && is_fair {
                let bytes = more.max(budget.capacity_bytes(MemoryShare::Bodies) / EVICTED_PART);
                let is_slow = self.id.and_then(|id| table.reads.get(&id)).is_some_and(BodyRead::is_slow);
                table.evict(budget, (self.client, is_slow), of_client + more, bytes);
                fits = budget.acquire(MemoryShare::Bodies, more);
            }
            if !is_fair && fits {
                budget.release(MemoryShare::Bodies, more);
            }
            if !is_fair || !fits {
                return Err(BodyError::NoMemory);
            }
            table.add_bytes(self.id, more, arrived_bytes);
        }
        match &mut self.reservation {
            Some(reservation) => reservation.add_acquired(more),
            None => self.reservation = Some(Reservation::of_acquired(budget, MemoryShare::Bodies, more)),
        }
        Ok(())
    }

    /// Registers the body in the table, since it has to wait for bytes; from then on it may be evicted. Returns an
    /// error where it was.
    fn wait(&mut self, context: &Context<'_>) -> Result<(), BodyError> {
        let mut table = self.shared.table.lock();
        match self.id {
            Some(id) => {
                let Some(read) = table.reads.get_mut(&id) else { return Ok(()) };
                if read.evicted {
                    return Err(BodyError::NoMemory);
                }
                read.waker.clone_from(context.waker());
            }
            None => {
                let id = table.next_id;
                table.next_id += 1;
                let held_bytes = self.reservation.as_ref().map_or(0, Reservation::bytes);
                *table.clients.entry(self.client).or_default() += held_bytes;
                let read = BodyRead {
                    client: self.client,
                    arrived: Instant::now(),
                    arrived_bytes: self.buffer.len(),
                    measured_since: self.started,
                    measured_bytes: 0,
                    held_bytes,
                    evicted: false,
                    waker: context.waker().clone(),
                };
                table.reads.insert(id, read);
                self.id = Some(id);
            }
        }
        Ok(())
    }

    /// Checks the deadline and the speed; returns the time that is left.
    fn check(&self, pace: &BodyPace) -> Result<Duration, BodyError> {
        let took = self.started.elapsed();
        let left = pace.deadline.checked_sub(took).filter(|left| !left.is_zero()).ok_or(BodyError::Timeout)?;
        let least = u128::from(pace.min_bytes_per_second) * took.as_millis() / 1000;
        if took >= pace.grace && (self.buffer.len() as u128) < least {
            return Err(BodyError::TooSlow { min_bytes_per_second: pace.min_bytes_per_second });
        }
        Ok(left)
    }

    /// The whole body, unless it was evicted.
    fn finish(mut self) -> Result<Buffer, BodyError> {
        if self.leave() {
            return Err(BodyError::NoMemory);
        }
        let mut buffer = std::mem::replace(&mut self.buffer, Buffer::unpooled());
        buffer.reservation = self.reservation.take();
        Ok(buffer)
    }

    /// Removes the body from the table; returns whether it was evicted. Its bytes stay in its reservation, unless it
    /// was.
    fn leave(&mut self) -> bool {
        let Some(id) = self.id.take() else { return false };
        let mut table = self.shared.table.lock();
        let Some(read) = table.reads.remove(&id) else { return false };
        table.release_bytes(read.client, read.held_bytes);
        if read.evicted
            && let Some(reservation) = &mut self.reservation
        {
            reservation.forget();
        }
        read.evicted
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;
