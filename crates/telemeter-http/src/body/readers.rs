//! Bodies being read, of all clients: counted, and fair where there is no more room.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::body::Body;
use http_body::Body as _;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{BodyError, Buffer, BufferPool, broken};
use crate::budget::{MemoryBudget, Reservation, Share};

/// Room made at once for what a body announces, at most.
const FIRST_RESERVE_BYTES: usize = 64 << 10;
/// And no more than this many times what has arrived.
const RESERVE_AHEAD: usize = 4;
/// A body of which less arrived first gets no buffer that was used before: those may be large.
const MIN_POOLED_BYTES: usize = 1 << 10;
/// This part of the share may be one client's.
const CLIENT_PART: usize = 8;
/// This part of the share is made free at once.
const EVICTED_PART: usize = 16;
/// A body that is read for longer than this, and slower, may have to make room for others.
const SLOW_AFTER: Duration = Duration::from_secs(1);
const SLOW_BYTES_PER_SECOND: usize = 64 << 10;
/// Where no body was slow, none is looked for again for so long.
const FUTILE: Duration = Duration::from_millis(100);
/// Between two looks at how fast a body arrives.
const LOOK: Duration = Duration::from_secs(1);

/// How fast a body has to arrive.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// For the whole of it.
    pub deadline: Duration,
    /// The least it may be on the average, once `grace` is over; 0: none.
    pub min_bytes_per_second: u64,
    /// How long it may be slower in the beginning.
    pub grace: Duration,
}

/// Reads bodies into buffers that count in a [`MemoryBudget`], until they are dropped. Cheap to clone.
///
/// One client holds at most a part of the share. Where the share is used up, bodies of the client that holds most are
/// broken off, those first that arrive slowest.
#[derive(Clone)]
pub struct Readers(Arc<Shared>);

struct Shared {
    budget: MemoryBudget,
    pool: BufferPool,
    keys: RandomState,
    table: Mutex<Table>,
}

/// Who sends a body: a keyed hash of what names the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client(u64);

/// The bodies that had to wait for their bytes. One that was there at once never comes here.
#[derive(Default)]
struct Table {
    next_id: u64,
    reads: HashMap<u64, Read>,
    /// When no slow body was found.
    futile: Option<Instant>,
    clients: HashMap<Client, usize>,
}

struct Read {
    client: Client,
    started: Instant,
    arrived_bytes: usize,
    held_bytes: usize,
    /// What it held was given to others.
    evicted: bool,
    waker: Waker,
}

impl Readers {
    /// With an empty table.
    #[must_use]
    pub fn new(budget: MemoryBudget, pool: BufferPool) -> Self {
        Self(Arc::new(Shared { budget, pool, keys: RandomState::new(), table: Mutex::default() }))
    }

    /// Whoever is named so.
    pub fn client(&self, name: impl Hash) -> Client {
        Client(self.0.keys.hash_one(name))
    }

    /// Reads the whole of `body`, of at most `cap_bytes`. Trailers are let go.
    ///
    /// # Errors
    /// [`BodyError`].
    pub async fn read(&self, body: Body, client: Client, cap_bytes: usize, pace: &Pace) -> Result<Buffer, BodyError> {
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
                    Poll::Ready(None) => return Poll::Ready(reading.outcome()),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(&error))),
                    Poll::Ready(Some(Ok(frame))) => {
                        if let Ok(data) = frame.into_data() {
                            reading.keep(&data)?;
                        }
                    }
                    Poll::Pending => {
                        reading.wait(context)?;
                        if timer.as_mut().poll(context).is_pending() {
                            return Poll::Pending;
                        }
                        let left = reading.check(pace)?;
                        timer.as_mut().reset(Instant::now() + left.min(LOOK));
                    }
                }
            }
        })
        .await?;
        Ok(reading.into_buffer())
    }
}

/// One body being read.
struct Reading<'a> {
    shared: &'a Shared,
    client: Client,
    cap_bytes: usize,
    first_bytes: usize,
    started: Instant,
    buffer: Buffer,
    /// Of as many bytes as the buffer's capacity.
    reservation: Option<Reservation>,
    /// In the table.
    id: Option<u64>,
}

impl Reading<'_> {
    fn keep(&mut self, data: &[u8]) -> Result<(), BodyError> {
        let needed = self.buffer.len() + data.len();
        if needed > self.cap_bytes {
            return Err(BodyError::TooLarge { cap_bytes: self.cap_bytes });
        }
        let ahead = self.first_bytes.min(data.len() * RESERVE_AHEAD);
        if self.reservation.is_none() && data.len().max(ahead) >= MIN_POOLED_BYTES {
            self.buffer = self.shared.pool.take();
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

    /// Counts `more` bytes as held; `arrived` have arrived.
    fn reserve(&mut self, more: usize, arrived_bytes: usize) -> Result<(), BodyError> {
        let Shared { budget, table, .. } = self.shared;
        if more == 0 && self.id.is_none() {
            return Ok(());
        }
        let mut fits = budget.acquire(Share::Bodies, more);
        if self.id.is_some() || !fits {
            let mut table = table.lock();
            if table.is_evicted(self.id) {
                if fits {
                    budget.release(Share::Bodies, more);
                }
                return Err(BodyError::NoRoom);
            }
            let part = (budget.capacity_bytes(Share::Bodies) / CLIENT_PART).max(self.cap_bytes);
            let of_client = table.clients.get(&self.client).copied().unwrap_or_default();
            let is_fair = self.id.is_none() || of_client + more <= part;
            if !fits && is_fair {
                let bytes = more.max(budget.capacity_bytes(Share::Bodies) / EVICTED_PART);
                let is_slow = is_slow(self.started, arrived_bytes);
                table.evict(budget, is_slow.then_some(self.client), bytes);
                fits = budget.acquire(Share::Bodies, more);
            }
            if !is_fair && fits {
                budget.release(Share::Bodies, more);
            }
            if !is_fair || !fits {
                return Err(BodyError::NoRoom);
            }
            table.hold(self.id, more, arrived_bytes);
        }
        match &mut self.reservation {
            Some(reservation) => reservation.add_acquired(more),
            None => self.reservation = Some(Reservation::of_acquired(budget, Share::Bodies, more)),
        }
        Ok(())
    }

    /// There is nothing to read yet.
    fn wait(&mut self, context: &Context<'_>) -> Result<(), BodyError> {
        let mut table = self.shared.table.lock();
        match self.id {
            Some(id) => {
                let Some(read) = table.reads.get_mut(&id) else { return Ok(()) };
                if read.evicted {
                    return Err(BodyError::NoRoom);
                }
                read.waker.clone_from(context.waker());
            }
            None => {
                let id = table.next_id;
                table.next_id += 1;
                let held_bytes = self.reservation.as_ref().map_or(0, Reservation::bytes);
                *table.clients.entry(self.client).or_default() += held_bytes;
                let read = Read {
                    client: self.client,
                    started: self.started,
                    arrived_bytes: self.buffer.len(),
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

    /// Whether it still arrives as it should, and how much time is left.
    fn check(&self, pace: &Pace) -> Result<Duration, BodyError> {
        let took = self.started.elapsed();
        let left = pace.deadline.checked_sub(took).filter(|left| !left.is_zero()).ok_or(BodyError::Timeout)?;
        let wanted = u128::from(pace.min_bytes_per_second) * took.as_millis() / 1000;
        if took >= pace.grace && (self.buffer.len() as u128) < wanted {
            return Err(BodyError::TooSlow { min_bytes_per_second: pace.min_bytes_per_second });
        }
        Ok(left)
    }

    fn outcome(&self) -> Result<(), BodyError> {
        let evicted = self.id.is_some() && self.shared.table.lock().is_evicted(self.id);
        if evicted { Err(BodyError::NoRoom) } else { Ok(()) }
    }

    fn into_buffer(mut self) -> Buffer {
        let mut buffer = std::mem::replace(&mut self.buffer, Buffer::unpooled());
        self.leave();
        buffer.reservation = self.reservation.take();
        buffer
    }

    /// Leaves the table. What was held goes on to be held by the reservation, unless it was given to others.
    fn leave(&mut self) {
        let Some(id) = self.id.take() else { return };
        let mut table = self.shared.table.lock();
        let Some(read) = table.reads.remove(&id) else { return };
        table.give_back(read.client, read.held_bytes);
        if read.evicted
            && let Some(reservation) = &mut self.reservation
        {
            reservation.forget();
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Table {
    fn is_evicted(&self, id: Option<u64>) -> bool {
        id.and_then(|id| self.reads.get(&id)).is_some_and(|read| read.evicted)
    }

    fn hold(&mut self, id: Option<u64>, more: usize, arrived_bytes: usize) {
        let Some(read) = id.and_then(|id| self.reads.get_mut(&id)) else { return };
        read.held_bytes += more;
        read.arrived_bytes = arrived_bytes;
        *self.clients.entry(read.client).or_default() += more;
    }

    fn give_back(&mut self, client: Client, bytes: usize) {
        if let Some(of_client) = self.clients.get_mut(&client) {
            *of_client -= bytes;
            if *of_client == 0 {
                self.clients.remove(&client);
            }
        }
    }

    /// Breaks off slow bodies until so many bytes are given back: of the client that holds most first, and of these the
    /// slowest first. A slow body makes no room for another slow one (of `slow`), unless its client holds more.
    fn evict(&mut self, budget: &MemoryBudget, slow: Option<Client>, bytes: usize) {
        if self.futile.is_some_and(|futile| futile.elapsed() < FUTILE) {
            return;
        }
        let of = |client: &Client| self.clients.get(client).copied().unwrap_or_default();
        let least = slow.map_or(0, |client| of(&client));
        let candidates = self.reads.iter().filter(|(_, read)| {
            read.held_bytes > 0 && of(&read.client) > least && is_slow(read.started, read.arrived_bytes)
        });
        let mut slow: Vec<_> = candidates
            .map(|(id, read)| {
                (std::cmp::Reverse(of(&read.client).max(1).ilog2()), speed(read.started, read.arrived_bytes), *id)
            })
            .collect();
        slow.sort_unstable();
        self.futile = slow.is_empty().then(Instant::now);
        let mut freed = 0;
        for (_, _, id) in slow {
            if freed >= bytes {
                break;
            }
            let Some(read) = self.reads.get_mut(&id) else { continue };
            let held = std::mem::take(&mut read.held_bytes);
            read.evicted = true;
            read.waker.wake_by_ref();
            budget.release(Share::Bodies, held);
            freed += held;
            let client = read.client;
            self.give_back(client, held);
        }
    }
}

/// Bytes a second.
fn speed(started: Instant, arrived_bytes: usize) -> u128 {
    arrived_bytes as u128 * 1000 / started.elapsed().as_millis().max(1)
}

/// Whether a body arrives so slowly that others go before it. One that began a moment ago is not slow yet.
fn is_slow(started: Instant, arrived_bytes: usize) -> bool {
    started.elapsed() >= SLOW_AFTER && speed(started, arrived_bytes) < SLOW_BYTES_PER_SECOND as u128
}

#[cfg(test)]
mod tests;
