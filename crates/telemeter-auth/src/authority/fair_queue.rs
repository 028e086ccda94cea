//! Permits to have a question open, shared fairly by client.
//!
//! A client may hold a 24th of the permits, and up to half of them while the other half is free. A question that gets none
//! at once waits; permits are given out round-robin by client, however many questions of a client wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::origin::QuestionClient;

/// The cap on waiting questions of all clients.
const MAX_WAITING: usize = 4_096;
/// The cap on the bytes that waiting questions hold.
const MAX_WAITING_BYTES: usize = 8 << 20;
/// A client may hold one in so many permits, however many others want one: 8 of 192.
const MIN_SHARE_DIVISOR: usize = 24;

/// The permits, and the questions that wait for one.
#[derive(Debug)]
pub(super) struct QuestionQueue {
    permits: usize,
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    open: usize,
    clients: HashMap<QuestionClient, ClientShare>,
    /// Clients with waiting questions, in the order in which they get a permit.
    order: VecDeque<QuestionClient>,
    waiting: usize,
    waiting_bytes: usize,
    last_id: u64,
}

/// What one client holds and waits for.
#[derive(Debug, Default)]
struct ClientShare {
    open: usize,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    bytes: usize,
    permit: oneshot::Sender<QuestionPermit>,
}

/// The right to have one question open, until it is dropped.
#[derive(Debug)]
pub(super) struct QuestionPermit(Option<(Arc<QuestionQueue>, QuestionClient)>);

impl QuestionQueue {
    pub(super) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self { permits: permits.max(1), state: Mutex::default() })
    }

    /// A permit for a question that holds `bytes` while it waits; `None` after `wait`, or where too many wait.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        client: QuestionClient,
        bytes: usize,
        wait: Duration,
    ) -> Option<QuestionPermit> {
        let (sender, receiver) = oneshot::channel();
        let waiting = {
            let mut state = self.state.lock();
            if state.can_open(client, self.permits) {
                return Some(self.permit(&mut state, client));
            }
            if !state.evict_for(client, bytes) {
                return None;
            }
            WaitingQuestion { queue: self, client, id: state.push_waiter(client, bytes, sender) }
        };
        let permit = tokio::time::timeout(wait, receiver).await;
        drop(waiting);
        permit.ok()?.ok()
    }

    /// Counts one more open question of the client, and returns its permit. The caller has checked that the client may
    /// have one.
    fn permit(self: &Arc<Self>, state: &mut QueueState, client: QuestionClient) -> QuestionPermit {
        state.open += 1;
        state.clients.entry(client).or_default().open += 1;
        QuestionPermit(Some((self.clone(), client)))
    }

    /// Takes back the permit of a closed question, and gives permits to waiting questions, round-robin by client, until
    /// no client that waits may have one.
    fn release_permit(self: &Arc<Self>, client: QuestionClient) {
        let mut state = self.state.lock();
        state.close_question(client);
        let mut skipped = 0;
        while skipped < state.order.len() {
            let Some(next) = state.order.pop_front() else { return };
            if !state.can_open(next, self.permits) {
                state.order.push_back(next);
                skipped += 1;
                continue;
            }
            skipped = 0;
            let Some(waiter) = state.pop(next) else { continue };
            let permit = self.permit(&mut state, next);
            if let Err(mut undelivered) = waiter.permit.send(permit) {
                // Dropping it as it is would call `release_permit`, which locks the state again.
                undelivered.0 = None;
                state.close_question(next);
            }
        }
    }
}

impl QueueState {
    /// Whether the client may have one more open question: a permit is free, and the client has fewer than its share,
    /// or less than half of all permits are used.
    fn can_open(&self, client: QuestionClient, permits: usize) -> bool {
        let min_share = (permits / MIN_SHARE_DIVISOR).max(1);
        let open = self.clients.get(&client).map_or(0, |share| share.open);
        self.open < permits && (open < min_share || self.open < permits / 2)
    }

    /// Counts one open question of the client less; a client with nothing open and nothing waiting is forgotten.
    fn close_question(&mut self, client: QuestionClient) {
        self.open -= 1;
        if let Some(share) = self.clients.get_mut(&client) {
            share.open -= 1;
        }
        self.forget_if_idle(client);
    }

    /// Adds a waiting question as the client's last one, and returns its ID. The caller has checked that there is room.
    fn push_waiter(&mut self, client: QuestionClient, bytes: usize, permit: oneshot::Sender<QuestionPermit>) -> u64 {
        self.last_id += 1;
        self.waiting += 1;
        self.waiting_bytes += bytes;
        let share = self.clients.entry(client).or_default();
        if share.waiters.is_empty() {
            self.order.push_back(client);
        }
        share.waiters.push_back(Waiter { id: self.last_id, bytes, permit });
        self.last_id
    }

    /// The client's first waiter. The caller has removed the client from `order`; it is added at the end where more wait.
    fn pop(&mut self, client: QuestionClient) -> Option<Waiter> {
        let share = self.clients.get_mut(&client)?;
        let waiter = share.waiters.pop_front()?;
        if !share.waiters.is_empty() {
            self.order.push_back(client);
        }
        self.waiting -= 1;
        self.waiting_bytes -= waiter.bytes;
        Some(waiter)
    }

    /// Removes the last waiting question of the client for which `matches` is true; does nothing where there is none. A
    /// client with nothing open and nothing waiting is forgotten.
    fn remove_waiter(&mut self, client: QuestionClient, matches: impl Fn(&Waiter) -> bool) {
        let Some(share) = self.clients.get_mut(&client) else { return };
        let Some(at) = share.waiters.iter().rposition(matches) else { return };
        let waiter = share.waiters.remove(at);
        if share.waiters.is_empty() {
            self.order.retain(|other| *other != client);
        }
        self.waiting -= 1;
        self.waiting_bytes -= waiter.map_or(0, |waiter| waiter.bytes);
        self.forget_if_idle(client);
    }

    /// Makes room for a waiting question: while too many wait, removes the last one of the client with the most, unless
    /// that is this client. False where there is no room.
    fn evict_for(&mut self, client: QuestionClient, bytes: usize) -> bool {
        while self.waiting >= MAX_WAITING || self.waiting_bytes.saturating_add(bytes) > MAX_WAITING_BYTES {
            let most = self.clients.iter().max_by_key(|(_, share)| share.waiters.len());
            let Some((most, waiters)) = most.map(|(client, share)| (*client, share.waiters.len())) else {
                return false;
            };
            let own_waiters = self.clients.get(&client).map_or(0, |share| share.waiters.len());
            if waiters <= own_waiters + 1 {
                return false;
            }
            self.remove_waiter(most, |_| true);
        }
        true
    }

    /// Removes the client's entry where it has no open and no waiting question.
    fn forget_if_idle(&mut self, client: QuestionClient) {
        if self.clients.get(&client).is_some_and(|share| share.open == 0 && share.waiters.is_empty()) {
            self.clients.remove(&client);
        }
    }
}

impl Drop for QuestionPermit {
    fn drop(&mut self) {
        if let Some((queue, client)) = self.0.take() {
            queue.release_permit(client);
        }
    }
}

/// A waiting question, which leaves the queue when this is dropped.
struct WaitingQuestion<'q> {
    queue: &'q QuestionQueue,
    client: QuestionClient,
    id: u64,
}

impl Drop for WaitingQuestion<'_> {
    fn drop(&mut self) {
        self.queue.state.lock().remove_waiter(self.client, |waiter| waiter.id == self.id);
    }
}

#[cfg(test)]
mod tests;
