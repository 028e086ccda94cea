//! Tests the scheduler with a simulated store and its senders, in steps of one millisecond.
#![allow(clippy::unwrap_used)]

use super::*;

const MS: Duration = Duration::from_millis(1);
const PERMITS: [usize; 3] = [32, 8, 4];
/// How long the store takes to accept a batch.
const LATENCY: Duration = Duration::from_millis(5);
/// How long a cluster waits after an answer before it sends again.
const BETWEEN_WRITES: Duration = Duration::from_millis(50);
/// How long the first request of a batch waits for others, in milliseconds: long enough that several requests are
/// joined.
const LINGER_MS: u128 = 10;

/// What the store does with a batch that contains data which it cannot process.
#[derive(Clone, Copy, Debug, PartialEq)]
enum StoreFault {
    /// The store closes the connection, or answers 403, 500 or 502.
    Fails,
    Hangs,
    Refuses,
    Unreachable,
    Busy,
}

struct Simulation {
    /// The item of a request is the index of its connection.
    scheduler: Scheduler<usize>,
    start: Instant,
    now: Instant,
    fault: StoreFault,
    is_bad: fn(u64) -> bool,
    /// The cluster of each connection, and when it sends again; `None` while it waits for an answer.
    connections: Vec<(u64, Option<Instant>)>,
    in_flight: Vec<(Instant, BatchAttempt, Vec<WaitingRequest<usize>>, OutcomeKind)>,
    /// How many requests the largest batch held.
    largest: usize,
    waits: [Instant; 3],
    sent: usize,
    /// Requests of good clusters that were accepted.
    taken: usize,
    failed: usize,
    longest: Duration,
}

impl Simulation {
    fn new(clusters: u64, fault: StoreFault, is_bad: fn(u64) -> bool) -> Self {
        let start = Instant::now();
        Self {
            scheduler: Scheduler::new(4711, usize::MAX),
            start,
            now: start,
            fault,
            is_bad,
            connections: (0..clusters).map(|cluster| (cluster, Some(start))).collect(),
            in_flight: Vec::new(),
            largest: 0,
            waits: [start; 3],
            sent: 0,
            taken: 0,
            failed: 0,
            longest: Duration::ZERO,
        }
    }

    fn run(&mut self, for_ms: u32) {
        for _ in 0..for_ms {
            self.now += MS;
            self.write();
            self.end();
            if (self.now - self.start).as_millis().is_multiple_of(LINGER_MS) {
                self.send(Standing::Good);
            }
            self.send(Standing::Suspect);
            self.send(Standing::Quarantined);
            let expired = self.scheduler.take_expired();
            self.answer(expired, false);
        }
    }

    fn write(&mut self) {
        let now = self.now;
        for (connection, (cluster, next)) in self.connections.iter_mut().enumerate() {
            if next.take_if(|at| *at <= now).is_some() {
                let (cluster, expires) = (*cluster, now + DEADLINE);
                let (block_bytes, plain_bytes) = (5_000, 10_000);
                let item = connection;
                let request =
                    WaitingRequest { cluster, held_bytes: block_bytes, plain_bytes, arrived: now, expires, item };
                self.scheduler.push(request, now).unwrap();
            }
        }
    }

    fn send(&mut self, standing: Standing) {
        let permits = |simulation: &Self| {
            simulation.in_flight.iter().filter(|(_, attempt, ..)| attempt.standing == standing).count()
        };
        while permits(self) < PERMITS[standing as usize] && self.waits[standing as usize] <= self.now {
            match self.scheduler.next(standing, 1 << 20, self.now) {
                NextStep::Idle => return,
                NextStep::Wait(wait) => self.waits[standing as usize] = self.now + wait,
                NextStep::Batch { batch, attempt, .. } => {
                    self.sent += 1;
                    self.largest = self.largest.max(batch.len());
                    let bad = batch.iter().any(|request| (self.is_bad)(request.cluster));
                    let (took, meaning) = match self.fault {
                        _ if !bad => (LATENCY, OutcomeKind::Accepted),
                        StoreFault::Fails => (LATENCY, OutcomeKind::Failed),
                        StoreFault::Hangs => (attempt.deadline, OutcomeKind::Failed),
                        StoreFault::Refuses => (LATENCY, OutcomeKind::Refused),
                        StoreFault::Unreachable => (LATENCY, OutcomeKind::Unreachable),
                        StoreFault::Busy => (LATENCY, OutcomeKind::Unrelated),
                    };
                    self.in_flight.push((self.now + took, attempt, batch, meaning));
                }
            }
        }
    }

    fn end(&mut self) {
        let now = self.now;
        for (_, attempt, batch, meaning) in self.in_flight.extract_if(.., |(end, ..)| *end <= now).collect::<Vec<_>>() {
            let settled = self.scheduler.settle(attempt, batch, meaning, now);
            self.answer(settled.done, meaning == OutcomeKind::Accepted);
            self.answer(settled.late, false);
        }
    }

    fn answer(&mut self, requests: Vec<WaitingRequest<usize>>, is_taken: bool) {
        for request in requests {
            if !(self.is_bad)(request.cluster) {
                if is_taken { &mut self.taken } else { &mut self.failed }.add_assign(1);
                self.longest = self.longest.max(self.now - request.arrived);
            }
            let before = self.connections[request.item].1.replace(self.now + BETWEEN_WRITES);
            assert!(before.is_none(), "answered twice");
        }
    }

    fn reset_counts(&mut self) {
        (self.sent, self.taken, self.failed, self.longest) = (0, 0, 0, Duration::ZERO);
    }
}

use std::ops::AddAssign as _;

#[test]
fn one_bad_cluster_fails_alone_whatever_the_fault() {
    for fault in [StoreFault::Fails, StoreFault::Hangs, StoreFault::Refuses] {
        let mut simulation = Simulation::new(31, fault, |cluster| cluster == 17);
        simulation.run(8_000);
        assert!(simulation.largest > 20, "{fault:?}: requests are joined: {}", simulation.largest);
        assert_eq!(simulation.failed, 0, "{fault:?}: none of the good ones fails, from the first moment");
        assert!(simulation.longest < BUDGET, "{fault:?}: {:?}", simulation.longest);
        simulation.reset_counts();
        simulation.run(60_000);
        assert_eq!(simulation.failed, 0, "{fault:?}");
        assert!(simulation.taken > 30 * 60_000 / 75, "{fault:?}: {}", simulation.taken);
        assert!(simulation.longest < MS * 50, "{fault:?}: nobody waits for it any more: {:?}", simulation.longest);
    }
}

#[test]
fn a_flood_of_one_bad_cluster_is_kept_apart_within_seconds() {
    for fault in [StoreFault::Fails, StoreFault::Hangs, StoreFault::Refuses] {
        let mut simulation = Simulation::new(31, fault, |cluster| cluster == 17);
        simulation.connections.extend((0..2000).map(|_| (17, Some(simulation.start))));
        simulation.run(8_000);
        assert_eq!(simulation.failed, 0, "{fault:?}: none of the good ones fails");
        simulation.reset_counts();
        simulation.run(20_000);
        let all = simulation.taken + simulation.failed;
        assert!(simulation.failed * 100 <= all, "{fault:?}: {} of {all} failed", simulation.failed);
        assert!(simulation.taken > 30 * 20_000 / 75, "{fault:?}: {}", simulation.taken);
        assert!(simulation.longest < MS * 50, "{fault:?}: {:?}", simulation.longest);
    }
}

#[test]
fn several_bad_clusters_are_found_at_once() {
    for fault in [StoreFault::Fails, StoreFault::Hangs, StoreFault::Refuses] {
        let mut simulation = Simulation::new(200, fault, |cluster| cluster % 8 == 3);
        simulation.run(15_000);
        simulation.reset_counts();
        simulation.run(20_000);
        let all = simulation.taken + simulation.failed;
        assert!(simulation.failed * 100 <= all, "{fault:?}: {} of {all} failed", simulation.failed);
        assert!(simulation.longest < DEADLINE, "{fault:?}: {:?}", simulation.longest);
    }
}

#[test]
fn a_store_that_takes_nothing_gets_little_and_is_back_at_once() {
    for fault in [StoreFault::Fails, StoreFault::Hangs, StoreFault::Unreachable] {
        let mut simulation = Simulation::new(500, fault, |_| true);
        simulation.run(12_000);
        let begin = simulation.sent;
        assert!(begin < 120, "{fault:?}: {begin} requests in the first 12 s");
        simulation.run(20_000);
        assert!(simulation.sent - begin <= 21, "{fault:?}: {} requests in 20 s", simulation.sent - begin);
        simulation.is_bad = |_| false;
        simulation.run(3_000);
        simulation.reset_counts();
        simulation.run(5_000);
        assert_eq!(simulation.failed, 0, "{fault:?}: nobody is blamed for it");
        assert!(simulation.taken > 500 * 5_000 / 120, "{fault:?}: {}", simulation.taken);
        assert!(simulation.longest < MS * 200, "{fault:?}: {:?}", simulation.longest);
    }
}

#[test]
fn a_busy_store_is_not_asked_more_often_for_it() {
    let mut simulation = Simulation::new(100, StoreFault::Busy, |_| true);
    simulation.run(5_000);
    let sent = simulation.sent;
    simulation.is_bad = |_| false;
    simulation.sent = 0;
    simulation.run(5_000);
    assert!(sent <= simulation.sent * 11 / 10, "{sent} while busy, {} otherwise", simulation.sent);
}

fn request(cluster: u64, bytes: usize, now: Instant) -> WaitingRequest<()> {
    WaitingRequest { cluster, held_bytes: bytes, plain_bytes: bytes, arrived: now, expires: now + DEADLINE, item: () }
}

/// The memory limit in bytes, and how many MiB may wait with it.
const ROOMS: [(usize, usize); 3] = [(usize::MAX, 128), (1 << 30, 128), (16 << 20, 16)];

#[test]
fn one_cluster_holds_a_part_of_the_room() {
    for (room_bytes, waiting) in ROOMS {
        let (mut scheduler, now) = (Scheduler::new(1, room_bytes), Instant::now());
        let mut held = 0;
        while scheduler.push(request(1, 1 << 20, now), now).is_ok() {
            held += 1;
        }
        assert_eq!(held, waiting / 8);
        for cluster in 2..9 {
            for _ in 0..waiting / 8 {
                scheduler.push(request(cluster, 1 << 20, now), now).unwrap();
            }
        }
        assert!(scheduler.push(request(99, 1, now), now).is_err(), "all of it is full");
    }
}

#[test]
fn those_in_quarantine_hold_a_part_of_the_room_together() {
    for (room_bytes, waiting) in ROOMS {
        let (mut scheduler, now) = (Scheduler::new(1, room_bytes), Instant::now());
        for cluster in 0..100 {
            scheduler.quarantine.insert(cluster, now);
        }
        let held = (0..100).filter(|cluster| scheduler.push(request(*cluster, 1 << 20, now), now).is_ok()).count();
        assert_eq!(held, waiting / 4);
        assert_eq!(scheduler.push(request(1000, 1 << 20, now), now).unwrap(), Standing::Good);
    }
}
