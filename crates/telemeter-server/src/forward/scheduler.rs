//! Decides what is sent next, and what the outcome of a batch means for those in it: the part of group commit that knows
//! no socket, no task and no clock.
//!
//! When a batch fails, whatever the failure, it is not known whose data it was. So its clusters become suspects, and its
//! requests wait again, in an order by chance: suspects are joined in smaller batches, an eighth of the one that failed,
//! on permits of their own and with a shorter deadline. Whom a batch succeeds with is cleared; a batch that fails
//! with requests of one cluster alone, while the store takes those of others, puts that cluster into quarantine. So one bad cluster
//! among a thousand is found in about three steps, several are found at once, and nobody else fails for them. Where
//! everything fails, the [`Circuit`] opens before splitting has multiplied the load.

use std::time::{Duration, Instant};

use super::{
    circuit::{Circuit, Permission},
    quarantine::Quarantine,
    queue::{ForwardQueue, QueueTotals, Standing, WaitingRequest},
};

/// How long the store may take; a request that waited as long for its permit is not sent any more.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// So long after its arrival a request that was in a failed batch is not sent again.
pub(super) const BUDGET: Duration = Duration::from_secs(10);
/// The least that a batch of suspects, a probe or a request in quarantine is given.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(1);
/// A batch that failed is split into so many.
const PARTS: usize = 8;
/// What waits for its permit, all callers' together, before more are turned away; less where there is less room.
const MAX_WAITING_BYTES: usize = 128 << 20;
/// The part of it that may wait of one cluster.
const CLUSTER_PART: usize = 8;
/// The part of it that may wait of all clusters in quarantine.
const QUARANTINED_PART: usize = 4;
/// How often everything that waits is looked through for what has expired.
const BETWEEN_SWEEPS: Duration = Duration::from_millis(500);
/// How long others wait while the circuit is open for a probe of good clusters.
const YIELD_TO_GOOD: Duration = Duration::from_millis(20);

/// What the store's answer to a batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutcomeKind {
    /// It has the data.
    Taken,
    /// It will never take the data of one of them.
    Refused,
    /// It did not take the data; that may be because of the data.
    Failed,
    /// It cannot be reached: that has nothing to do with the data.
    Unreachable,
    /// It is too busy, or our own token is at fault: that has nothing to do with the data, and the store is there.
    Unrelated,
}

/// One sending of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchAttempt {
    pub(super) standing: Standing,
    pub(super) is_probe: bool,
    pub(super) started: Instant,
    pub(super) deadline: Duration,
}

/// What to do next for the clusters of one standing.
#[derive(Debug)]
pub(super) enum NextStep<T> {
    /// Send this; `more` waits behind it.
    Batch { batch: Vec<WaitingRequest<T>>, attempt: BatchAttempt, more: bool },
    /// Nothing may be sent before this has passed.
    Wait(Duration),
    /// Nothing waits.
    Idle,
}

/// What has become of requests once a batch has its outcome.
#[derive(Debug)]
pub(super) struct SettledBatch<T> {
    /// The outcome is theirs.
    pub(super) done: Vec<WaitingRequest<T>>,
    /// They can wait no longer.
    pub(super) late: Vec<WaitingRequest<T>>,
    /// Whether the batch was split.
    pub(super) is_split: bool,
    /// Whether sending pauses from now on, or no longer does.
    pub(super) pauses: Option<bool>,
}

impl<T> SettledBatch<T> {
    fn done(done: Vec<WaitingRequest<T>>) -> Self {
        Self { done, late: Vec::new(), is_split: false, pauses: None }
    }
}

/// What waits, and what is known of the store and of the clusters.
#[derive(Debug)]
pub(super) struct Scheduler<T> {
    /// What may wait in all.
    max_waiting_bytes: usize,
    queue: ForwardQueue<T>,
    quarantine: Quarantine,
    /// Of good clusters and suspects.
    circuit: Circuit,
    /// Of clusters in quarantine: what they fail on says nothing of the store.
    quarantine_circuit: Circuit,
    last_taken: Option<Instant>,
    /// How long the store usually takes.
    usual: Duration,
    swept: Option<Instant>,
    expired: Vec<WaitingRequest<T>>,
    is_running: [bool; 3],
    chance: u64,
}

impl<T> Scheduler<T> {
    /// `seed` is any number; it decides who meets whom in a batch of suspects. `room_bytes` is what there is room for.
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

    /// Lets a request wait behind those of its cluster, and says how the cluster stands.
    ///
    /// # Errors
    /// The request, where too much waits already: in all, of its cluster, or of those in quarantine.
    pub(super) fn push(&mut self, request: WaitingRequest<T>, now: Instant) -> Result<Standing, WaitingRequest<T>> {
        let standing = self.quarantine.standing(request.cluster, now);
        let waiting: usize = Standing::ALL.iter().map(|standing| self.queue.totals(*standing).block_bytes).sum();
        let of_cluster = self.queue.bytes_of(request.cluster);
        let of_quarantined = self.queue.totals(Standing::Quarantined).block_bytes;
        let bytes = request.block_bytes;
        // A single request finds room, however large it is.
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

    /// What waits of the clusters of one standing.
    pub(super) fn totals(&self, standing: Standing) -> QueueTotals {
        self.queue.totals(standing)
    }

    /// Whether a task has to be started that sends what waits of clusters of this standing; from then on it counts as
    /// running, until it is told [`NextStep::Idle`] or that no more waits.
    pub(super) fn starts(&mut self, standing: Standing) -> bool {
        self.queue.totals(standing).requests > 0 && !std::mem::replace(&mut self.is_running[standing as usize], true)
    }

    /// What is to be sent next of clusters of this standing.
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
        // Whose data it is shows sooner where many clusters are asked than where one is asked often.
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

    /// Looks through everything that waits for what has expired.
    pub(super) fn expire(&mut self, now: Instant) {
        self.swept = Some(now);
        self.queue.take_expired(now, &mut self.expired);
    }

    /// What has expired since this was last asked.
    pub(super) fn take_expired(&mut self) -> Vec<WaitingRequest<T>> {
        std::mem::take(&mut self.expired)
    }

    /// What the outcome of a batch means for the requests in it. Some of them may wait again: see [`Scheduler::starts`].
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

    fn settle_batch(
        &mut self,
        attempt: BatchAttempt,
        batch: Vec<WaitingRequest<T>>,
        meaning: OutcomeKind,
        now: Instant,
    ) -> SettledBatch<T> {
        match meaning {
            OutcomeKind::Taken => {
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
                // A verdict on the data: the store is there.
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

    /// Lets the requests of a batch that failed wait again, to be sent in smaller ones.
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

    /// Takes everything that waits: the store takes nothing, from nobody.
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

    /// Xorshift, and Fisher and Yates: whom a cluster is joined with next is left to chance.
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
