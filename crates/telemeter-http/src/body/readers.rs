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
use crate::budget::{MemoryBudget, MemoryShare, Reservation};

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
/// Where no body is slow, those make room whose client holds so many times what the other would then hold.
const LARGER_FACTOR: usize = 4;
/// Where nobody had to make room, it is not looked for again for so long, unless by a client that holds less.
const FUTILE: Duration = Duration::from_millis(100);
/// Between two looks at how fast a body arrives.
const LOOK: Duration = Duration::from_secs(1);

/// How fast a body has to arrive.
#[derive(Clone, Copy, Debug)]
pub struct BodyPace {
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
pub struct Readers(Arc<Inner>);

struct Inner {
    budget: MemoryBudget,
    pool: BufferPool,
    keys: RandomState,
    table: Mutex<WaitingBodies>,
}

/// Who sends a body: a keyed hash of what names the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BodyClient(u64);

/// The bodies that had to wait for their bytes. One that was there at once never comes here.
#[derive(Default)]
struct WaitingBodies {
    next_id: u64,
    reads: HashMap<u64, BodyRead>,
    /// When nobody was found to make room, and for a client that would then hold how much.
    futile: Option<(Instant, usize)>,
    clients: HashMap<BodyClient, usize>,
}

struct BodyRead {
    client: BodyClient,
    /// When bytes last arrived.
    arrived: Instant,
    arrived_bytes: usize,
    /// Since when its speed is measured, and what had arrived by then: what came quickly first says nothing of later.
    measured_since: Instant,
    measured_bytes: usize,
    held_bytes: usize,
    /// What it held was given to others.
    evicted: bool,
    waker: Waker,
}

impl Readers {
    /// With an empty table.
    #[must_use]
    pub fn new(budget: MemoryBudget, pool: BufferPool) -> Self {
        Self(Arc::new(Inner { budget, pool, keys: RandomState::new(), table: Mutex::default() }))
    }

    /// Whoever is named so.
    pub fn client(&self, name: impl Hash) -> BodyClient {
        BodyClient(self.0.keys.hash_one(name))
    }

    /// What bodies of one client hold at most while they are read, where one may have so many bytes.
    #[must_use]
    pub fn part_of_a_client(budget: &MemoryBudget, cap_bytes: usize) -> usize {
        (budget.capacity_bytes(MemoryShare::Bodies) / CLIENT_PART).max(cap_bytes)
    }

    /// Reads the whole of `body`, of at most `cap_bytes`. Trailers are let go.
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
        reading.finish()
    }
}

impl Inner {
    /// Whether so many bytes would fit now.
    fn has_room(&self, bytes: usize) -> bool {
        self.budget.used_bytes(MemoryShare::Bodies) + bytes <= self.budget.capacity_bytes(MemoryShare::Bodies)
    }
}

/// One body being read.
struct Reading<'a> {
    shared: &'a Inner,
    client: BodyClient,
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
            // All of it counts: where there is no room for so much, a small body gets a buffer of its own size.
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

    /// Counts `more` bytes as held; `arrived` have arrived.
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
                return Err(BodyError::NoRoom);
            }
            let part = Readers::part_of_a_client(budget, self.cap_bytes);
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
                return Err(BodyError::NoRoom);
            }
            table.hold(self.id, more, arrived_bytes);
        }
        match &mut self.reservation {
            Some(reservation) => reservation.add_acquired(more),
            None => self.reservation = Some(Reservation::of_acquired(budget, MemoryShare::Bodies, more)),
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

    /// Whether it still arrives as it should, and how much time is left.
    fn check(&self, pace: &BodyPace) -> Result<Duration, BodyError> {
        let took = self.started.elapsed();
        let left = pace.deadline.checked_sub(took).filter(|left| !left.is_zero()).ok_or(BodyError::Timeout)?;
        let wanted = u128::from(pace.min_bytes_per_second) * took.as_millis() / 1000;
        if took >= pace.grace && (self.buffer.len() as u128) < wanted {
            return Err(BodyError::TooSlow { min_bytes_per_second: pace.min_bytes_per_second });
        }
        Ok(left)
    }

    /// The whole body, unless what it held was given to others.
    fn finish(mut self) -> Result<Buffer, BodyError> {
        if self.leave() {
            return Err(BodyError::NoRoom);
        }
        let mut buffer = std::mem::replace(&mut self.buffer, Buffer::unpooled());
        buffer.reservation = self.reservation.take();
        Ok(buffer)
    }

    /// Leaves the table. What was held goes on to be held by the reservation, unless it was given to others: whether it was.
    fn leave(&mut self) -> bool {
        let Some(id) = self.id.take() else { return false };
        let mut table = self.shared.table.lock();
        let Some(read) = table.reads.remove(&id) else { return false };
        table.give_back(read.client, read.held_bytes);
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

impl WaitingBodies {
    fn is_evicted(&self, id: Option<u64>) -> bool {
        id.and_then(|id| self.reads.get(&id)).is_some_and(|read| read.evicted)
    }

    fn hold(&mut self, id: Option<u64>, more: usize, arrived_bytes: usize) {
        let Some(read) = id.and_then(|id| self.reads.get_mut(&id)) else { return };
        read.held_bytes += more;
        read.arrive(arrived_bytes);
        *self.clients.entry(read.client).or_default() += more;
    }

    fn give_back(&mut self, client: BodyClient, bytes: usize) {
        if let Some(of_client) = self.clients.get_mut(&client) {
            *of_client -= bytes;
            if *of_client == 0 {
                self.clients.remove(&client);
            }
        }
    }

    /// Breaks off bodies until so many bytes are given back: slow ones first; of these those of the client that holds most,
    /// and of these the slowest. They make room for a body of a client that would then hold `wanted_bytes`, and that may
    /// itself be slow.
    ///
    /// A slow body makes no room for another slow one, unless its client holds more. One that is not slow makes room only
    /// where its client holds far more: bodies that all began a moment ago could else take everything for a while.
    fn evict(
        &mut self,
        budget: &MemoryBudget,
        (client, client_is_slow): (BodyClient, bool),
        wanted_bytes: usize,
        bytes: usize,
    ) {
        if self.futile.is_some_and(|(at, least)| wanted_bytes >= least && at.elapsed() < FUTILE) {
            return;
        }
        let of = |client: &BodyClient| self.clients.get(client).copied().unwrap_or_default();
        let least = if client_is_slow { of(&client) } else { 0 };
        let candidates = self.reads.iter().filter_map(|(id, read)| {
            let (held, is_slow) = (of(&read.client), read.is_slow());
            let makes_room =
                if is_slow { held > least } else { held / LARGER_FACTOR >= wanted_bytes && read.client != client };
            let rank = (!is_slow, std::cmp::Reverse(held.max(1).ilog2()), read.speed(), *id);
            (read.held_bytes > 0 && makes_room).then_some(rank)
        });
        let mut found: Vec<_> = candidates.collect();
        found.sort_unstable();
        self.futile = found.is_empty().then(|| (Instant::now(), wanted_bytes));
        let mut freed = 0;
        for (_, _, _, id) in found {
            if freed >= bytes {
                break;
            }
            let Some(read) = self.reads.get_mut(&id) else { continue };
            let held = std::mem::take(&mut read.held_bytes);
            read.evicted = true;
            read.waker.wake_by_ref();
            budget.release(MemoryShare::Bodies, held);
            freed += held;
            let client = read.client;
            self.give_back(client, held);
        }
    }
}

impl BodyRead {
    fn arrive(&mut self, arrived_bytes: usize) {
        if arrived_bytes == self.arrived_bytes {
            return;
        }
        let now = Instant::now();
        if now.duration_since(self.measured_since) >= SLOW_AFTER {
            (self.measured_since, self.measured_bytes) = (now, self.arrived_bytes);
        }
        (self.arrived, self.arrived_bytes) = (now, arrived_bytes);
    }

    /// Bytes a second.
    fn speed(&self) -> u128 {
        let bytes = self.arrived_bytes.saturating_sub(self.measured_bytes);
        bytes as u128 * 1000 / self.measured_since.elapsed().as_millis().max(1)
    }

    /// Whether it arrives so slowly that others go before it. One that began a moment ago is not slow yet; one of which
    /// nothing more arrives is, however quickly it began.
    fn is_slow(&self) -> bool {
        let is_measured = self.measured_since.elapsed() >= SLOW_AFTER;
        self.arrived.elapsed() >= SLOW_AFTER || (is_measured && self.speed() < SLOW_BYTES_PER_SECOND as u128)
    }
}

#[cfg(test)]
mod tests;
