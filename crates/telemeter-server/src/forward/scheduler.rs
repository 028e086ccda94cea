//! Decides which requests are sent next, and what the outcome of a batch means for its requests. This part of group
//! commit uses no socket and no task, and reads no clock: the caller passes the time.
//!
//! When a batch fails, for any reason, it is not known which cluster's data caused it. So its clusters become suspects,
//! and its requests wait again, in random order. Suspects are joined in smaller batches, an eighth of the size of the
//! failed one, with permits of their own and a shorter deadline. When such a batch succeeds, its clusters are cleared.
//! When a batch with requests of only one cluster fails while the store accepts those of others, that cluster is put
//! into quarantine. So one bad cluster among a thousand is found in about three steps, several bad clusters are found
//! at the same time, and no other cluster's request fails because of them. Where every batch fails, the [`Circuit`]
//! opens before splitting has multiplied the load on the store.

use std::time::{Duration, Instant};

use super::{
    circuit::{Circuit, Permission},
    quarantine::Quarantine,
    queue::{ForwardQueue, QueueTotals, Standing, WaitingRequest},
};

/// How long the store may take to answer. A request that has waited this long for a permit is not sent any more.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// A request that was in a failed batch is not sent again once this time has passed since its arrival.
pub(super) const BUDGET: Duration = Duration::from_secs(10);
/// The shortest deadline of a batch of suspects, of a probe or of a request in quarantine.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(1);
/// Into how many parts a failed batch is split.
const PARTS: usize = 8;
/// How many bytes of all callers may wait for a permit; requests beyond that are refused. The memory limit of the
/// configuration may make it smaller.
const MAX_WAITING_BYTES: usize = 128 << 20;
/// One cluster may use 1 / `CLUSTER_PART` of these bytes.
const CLUSTER_PART: usize = 8;
/// All clusters in quarantine together may use 1 / `QUARANTINED_PART` of these bytes.
const QUARANTINED_PART: usize = 4;
/// How often all waiting requests are searched for expired ones.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(500);
/// While the circuit is open: how long suspects wait where a good cluster could send the probe, and how long clusters
/// in quarantine wait.
const YIELD_TO_GOOD: Duration = Duration::from_millis(20);

/// What the store's answer to a batch says about the data in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutcomeKind {
    /// The store accepted the data.
    Accepted,
    /// The store will never accept the data of at least one request in the batch.
    Refused,
    /// The store did not accept the data; the data may be the cause.
    Failed,
    /// The store cannot be reached; the data is not the cause.
    Unreachable,
    /// The store is reachable, but too busy, or it refuses our token; the data is not the cause.
    Unrelated,
}

/// One attempt to send a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchAttempt {
    pub(super) standing: Standing,
    pub(super) is_probe: bool,
    pub(super) started: Instant,
    pub(super) deadline: Duration,
}

/// The next step of the task that sends for the clusters of one standing.
#[derive(Debug)]
pub(super) enum NextStep<T> {
    /// Send this batch; `more`: other requests wait after it.
    Batch { batch: Vec<WaitingRequest<T>>, attempt: BatchAttempt, more: bool },
    /// Send nothing before this time has passed.
    Wait(Duration),
    /// No request waits.
    Idle,
}

/// The result for each request of a batch, after the batch has its outcome.
#[derive(Debug)]
pub(super) struct SettledBatch<T> {
    /// The requests that have the outcome of the batch.
    pub(super) done: Vec<WaitingRequest<T>>,
    /// The requests that were split off and may not wait any longer.
    pub(super) late: Vec<WaitingRequest<T>>,
    /// Whether the batch was split.
    pub(super) is_split: bool,
    /// Whether sending pauses from now on (`true`) or continues from now on (`false`); `None` where this did not
    /// change.
    pub(super) pauses: Option<bool>,
}

impl<T> SettledBatch<T> {
    fn done(done: Vec<WaitingRequest<T>>) -> Self {
        Self { done, late: Vec::new(), is_split: false, pauses: None }
    }
}

/// The waiting requests, and what is known about the store and about the clusters.
#[derive(Debug)]
pub(super) struct Scheduler<T> {
    /// How many bytes of all clusters may wait.
    max_waiting_bytes: usize,
    queue: ForwardQueue<T>,
    quarantine: Quarantine,
    /// The circuit of good clusters and suspects.
    circuit: Circuit,
    /// The circuit of clusters in quarantine: their failures show nothing about the store.
    quarantine_circuit: Circuit,
    last_taken: Option<Instant>,
    /// A moving average of how long the store takes to answer.
    usual: Duration,
    swept: Option<Instant>,
    expired: Vec<WaitingRequest<T>>,
    is_running: [bool; 3],
    chance: u64,
}

impl<T> Scheduler<T> {
    /// `seed` is any number; it determines the random order in which suspects are joined. `room_bytes` is the memory
    /// limit for waiting requests.
    pub(super) fn new(seed: u64, room_bytes: usize) -> Self {
        Self {
            max_waiting_bytes: room_bytes.min(MAX_WAITING_BYTES),
            queue: ForwardQueue::default(),
            quarantine: Quarantine::default(),
            circuit: Circuit::default(),
            quarantine_circuit: Circuit::default(),
            last_taken: None,
            usual: Duration::ZERO,
            swept: None,
            expired: Vec::new(),
            is_running: [false; 3],
            chance: seed | 1,
        }
    }

    /// Adds a request after those of its cluster, and returns the standing of the cluster.
    ///
    /// # Errors
    /// The request itself, where too many bytes wait already: in total, of its cluster, or of the clusters in
    /// quarantine.
    pub(super) fn push(&mut self, request: WaitingRequest<T>, now: Instant) -> Result<Standing, WaitingRequest<T>> {
        let standing = self.quarantine.standing(request.cluster, now);
        let waiting: usize = Standing::ALL.iter().map(|standing| self.queue.totals(*standing).held_bytes).sum();
        let of_cluster = self.queue.held_bytes_of(request.cluster);
        let of_quarantined = self.queue.totals(Standing::Quarantined).held_bytes;
        let bytes = request.held_bytes;
        // A single request is always accepted, however large it is.
        let is_over = waiting > 0 && waiting + bytes > self.max_waiting_bytes
            || of_cluster > 0 && of_cluster + bytes > self.max_waiting_bytes / CLUSTER_PART
            || standing == Standing::Quarantined
                && of_quarantined > 0
                && of_quarantined + bytes > self.max_waiting_bytes / QUARANTINED_PART;
        if is_over {
            return Err(request);
        }
        self.queue.push(request, standing);
        Ok(standing)
    }

    /// The number and the size of the waiting requests of the clusters of one standing.
    pub(super) fn totals(&self, standing: Standing) -> QueueTotals {
        self.queue.totals(standing)
    }

    /// Whether a task must be started that sends for the clusters of this standing. After `true` the task counts as
    /// running, until it gets [`NextStep::Idle`] or a batch without `more`.
    pub(super) fn must_start_task(&mut self, standing: Standing) -> bool {
        self.queue.totals(standing).requests > 0 && !std::mem::replace(&mut self.is_running[standing as usize], true)
    }

    /// Returns the next step for the clusters of this standing. Requests past their deadline are moved to the expired
    /// ones. A probe and quarantined clusters are sent unbatched; a probe that is taken must be settled.
    pub(super) fn next(&mut self, standing: Standing, max_bytes: usize, now: Instant) -> NextStep<T> {
        if self.swept.is_none_or(|swept| now >= swept + BETWEEN_SWEEPS) {
            self.expire(now);
        }
        if self.queue.totals(standing).requests == 0 {
            return self.idle(standing);
        }
        let is_probe = match self.permission(standing, now) {
            Permission::Wait(wait) => return NextStep::Wait(wait),
            Permission::Probe => true,
            Permission::Send => false,
        };
        let unbatched = is_probe || standing == Standing::Quarantined;
        let quarantine = &self.quarantine;
        let limit = |cluster| match standing {
            _ if unbatched => 1,
            Standing::Suspect => quarantine.limit(cluster),
            _ => usize::MAX,
        };
        // A batch with requests of many clusters finds the cluster with bad data sooner than a batch with many requests
        // of one cluster.
        let is_one_each = is_probe || standing != Standing::Good;
        let batch = self.queue.take(standing, max_bytes, is_one_each, limit, now, &mut self.expired);
        if batch.is_empty() {
            if is_probe {
                self.circuit_of(standing).return_probe();
            }
            return self.idle(standing);
        }
        let deadline = match standing {
            Standing::Good if !is_probe => DEADLINE,
            _ => (self.usual * 4).clamp(SHORTEST_DEADLINE, DEADLINE),
        };
        let more = self.queue.totals(standing).requests > 0;
        self.is_running[standing as usize] = more;
        NextStep::Batch { batch, attempt: BatchAttempt { standing, is_probe, started: now, deadline }, more }
    }

    /// Moves all waiting requests that have expired to the expired ones.
    pub(super) fn expire(&mut self, now: Instant) {
        self.swept = Some(now);
        self.queue.take_expired(now, &mut self.expired);
    }

    /// Returns the requests that have expired since the last call.
    pub(super) fn take_expired(&mut self) -> Vec<WaitingRequest<T>> {
        std::mem::take(&mut self.expired)
    }

    /// Applies the outcome of a batch to its requests. Some of them may wait again: see [`Scheduler::starts`].
    pub(super) fn settle(
        &mut self,
        attempt: BatchAttempt,
        batch: Vec<WaitingRequest<T>>,
        meaning: OutcomeKind,
        now: Instant,
    ) -> SettledBatch<T> {
        let paused = self.circuit.is_open();
        let mut settled = self.settle_batch(attempt, batch, meaning, now);
        settled.pauses = Some(self.circuit.is_open()).filter(|pauses| *pauses != paused);
        settled
    }

    /// Applies the outcome of a batch to the standings of its clusters and to the circuit, and returns which requests
    /// are done and which wait again. A batch that was refused or failed is split, unless it has one request; the
    /// cluster of a single refused request is put into quarantine.
    fn settle_batch(
        &mut self,
        attempt: BatchAttempt,
        batch: Vec<WaitingRequest<T>>,
        meaning: OutcomeKind,
        now: Instant,
    ) -> SettledBatch<T> {
        match meaning {
            OutcomeKind::Accepted => {
                self.last_taken = Some(now);
                self.learn(now - attempt.started);
                self.succeeded(attempt.standing);
                if attempt.standing == Standing::Suspect {
                    for request in &batch {
                        let standing = self.quarantine.clear(request.cluster);
                        self.queue.set_standing(request.cluster, standing);
                    }
                }
                SettledBatch::done(batch)
            }
            OutcomeKind::Refused => {
                // This is an answer about the data, so the store works.
                self.learn(now - attempt.started);
                self.succeeded(attempt.standing);
                match &batch[..] {
                    [single] => {
                        self.quarantine.insert(single.cluster, now);
                        self.queue.set_standing(single.cluster, Standing::Quarantined);
                        SettledBatch::done(batch)
                    }
                    _ => self.split(batch, now),
                }
            }
            OutcomeKind::Failed => {
                let cluster = batch[0].cluster;
                if batch.iter().all(|request| request.cluster == cluster) {
                    let standing = self.quarantine.failed_alone(cluster, attempt.started, self.last_taken, now);
                    self.queue.set_standing(cluster, standing);
                }
                let gives_up = self.circuit_of(attempt.standing).failed(attempt.is_probe, now);
                let mut settled = match batch.len() {
                    1 => SettledBatch::done(batch),
                    _ => self.split(batch, now),
                };
                if gives_up {
                    self.give_up(attempt.standing, &mut settled.done);
                }
                settled
            }
            OutcomeKind::Unreachable => {
                let mut done = batch;
                if self.circuit_of(attempt.standing).failed(attempt.is_probe, now) {
                    self.give_up(attempt.standing, &mut done);
                }
                SettledBatch::done(done)
            }
            OutcomeKind::Unrelated => {
                if attempt.is_probe {
                    self.circuit_of(attempt.standing).failed(true, now);
                }
                SettledBatch::done(batch)
            }
        }
    }

    fn succeeded(&mut self, standing: Standing) {
        if self.circuit_of(standing).succeeded() && standing != Standing::Quarantined {
            self.quarantine.clear_all_suspects();
        }
    }

    fn learn(&mut self, took: Duration) {
        self.usual = if self.usual.is_zero() { took } else { (self.usual * 7 + took) / 8 };
    }

    /// Whether a request of a cluster with this standing may be sent now, or how long it waits. While the circuit is
    /// open, suspects wait where good requests are queued, and quarantined clusters always wait. Taking a probe changes
    /// the circuit's state.
    fn permission(&mut self, standing: Standing, now: Instant) -> Permission {
        match standing {
            Standing::Good => self.circuit.permission(now),
            Standing::Suspect if self.circuit.is_open() && self.queue.totals(Standing::Good).requests > 0 => {
                Permission::Wait(YIELD_TO_GOOD)
            }
            Standing::Suspect => self.circuit.permission(now),
            Standing::Quarantined if self.circuit.is_open() => Permission::Wait(YIELD_TO_GOOD),
            Standing::Quarantined => self.quarantine_circuit.permission(now),
        }
    }

    fn circuit_of(&mut self, standing: Standing) -> &mut Circuit {
        match standing {
            Standing::Good | Standing::Suspect => &mut self.circuit,
            Standing::Quarantined => &mut self.quarantine_circuit,
        }
    }

    fn idle(&mut self, standing: Standing) -> NextStep<T> {
        self.is_running[standing as usize] = false;
        NextStep::Idle
    }

    /// Makes the requests of a failed batch wait again, to be sent in smaller batches, in random order; their clusters
    /// become suspects. Those for which no time is left are returned as late.
    fn split(&mut self, mut batch: Vec<WaitingRequest<T>>, now: Instant) -> SettledBatch<T> {
        let mut settled = SettledBatch { is_split: true, ..SettledBatch::done(Vec::new()) };
        let limit = batch.len().div_ceil(PARTS);
        self.shuffle(&mut batch);
        for mut request in batch {
            request.expires = request.arrived + BUDGET;
            match self.quarantine.suspect(request.cluster, limit, now) {
                Some(standing) if request.expires > now => self.queue.push_front(request, standing),
                _ => settled.late.push(request),
            }
        }
        settled
    }

    /// Takes all waiting requests into `done`, so that they fail now: the store accepts no data of any cluster. For
    /// quarantined clusters, it takes theirs only; else suspects are cleared too.
    fn give_up(&mut self, standing: Standing, done: &mut Vec<WaitingRequest<T>>) {
        if standing == Standing::Quarantined {
            self.queue.take_all(Standing::Quarantined, done);
            return;
        }
        for standing in Standing::ALL {
            self.queue.take_all(standing, done);
        }
        self.quarantine.clear_suspects();
    }

    /// Puts the batch into random order (xorshift, Fisher-Yates), so that the clusters with which a suspect is joined
    /// next are random.
    fn shuffle(&mut self, batch: &mut [WaitingRequest<T>]) {
        for end in (1..batch.len()).rev() {
            self.chance ^= self.chance << 13;
            self.chance ^= self.chance >> 7;
            self.chance ^= self.chance << 17;
            batch.swap(end, usize::try_from(self.chance % (end as u64 + 1)).unwrap_or(0));
        }
    }
}

#[cfg(test)]
mod tests;
