//! Tests in which order the queue returns requests, and that it loses none.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;

fn request(cluster: u64, plain_bytes: usize, number: usize, now: Instant) -> WaitingRequest<usize> {
    let expires = now + Duration::from_secs(5);
    WaitingRequest { cluster, held_bytes: plain_bytes / 2, plain_bytes, arrived: now, expires, item: number }
}

/// Takes a batch of at most `max_bytes`, and returns the cluster and the number of each request.
fn take(queue: &mut ForwardQueue<usize>, standing: Standing, max_bytes: usize, now: Instant) -> Vec<(u64, usize)> {
    let mut expired = Vec::new();
    let batch = queue.take(standing, max_bytes, false, |_| usize::MAX, now, &mut expired);
    assert!(expired.is_empty());
    batch.into_iter().map(|request| (request.cluster, request.item)).collect()
}

#[test]
fn a_cluster_with_thousands_of_requests_delays_others_by_one_turn() {
    let (mut queue, now) = (ForwardQueue::default(), Instant::now());
    for number in 0..3500 {
        queue.push(request(1, 10_000, number, now), Standing::Good);
    }
    for cluster in 2..12 {
        queue.push(request(cluster, 10_000, 0, now), Standing::Good);
    }
    let batch = take(&mut queue, Standing::Good, 1 << 20, now);
    let first_turn = batch.iter().take_while(|(cluster, _)| *cluster == 1).count();
    assert_eq!(first_turn, 7, "what fits into a turn, and one more");
    let others: Vec<_> = batch[first_turn..first_turn + 10].iter().map(|(cluster, _)| *cluster).collect();
    assert_eq!(others, (2..12).collect::<Vec<_>>());
    assert_eq!(batch.len(), 104, "then the batch is filled");
    let numbers: Vec<_> = batch.iter().filter(|(cluster, _)| *cluster == 1).map(|(_, number)| *number).collect();
    assert_eq!(numbers, (0..94).collect::<Vec<_>>(), "each cluster's in the order of their arrival");
}

#[test]
fn a_turn_is_measured_in_bytes_and_debts_are_paid() {
    let (mut queue, now) = (ForwardQueue::default(), Instant::now());
    for number in 0..4 {
        queue.push(request(1, 640_000, number, now), Standing::Good);
    }
    for number in 0..100 {
        queue.push(request(2, 64_000, number, now), Standing::Good);
    }
    let mut bytes = [0, 0];
    for _ in 0..20 {
        for (cluster, _) in take(&mut queue, Standing::Good, 1, now) {
            bytes[usize::from(cluster == 2)] += if cluster == 1 { 640_000 } else { 64_000 };
        }
    }
    let ratio = f64::from(bytes[0]) / f64::from(bytes[1]);
    assert!((0.3..3.0).contains(&ratio), "{bytes:?}");
}

#[test]
fn a_batch_ends_where_the_next_does_not_fit() {
    let (mut queue, now) = (ForwardQueue::default(), Instant::now());
    for cluster in 0..5 {
        queue.push(request(cluster, 400, 0, now), Standing::Good);
    }
    queue.push(request(9, 5_000, 0, now), Standing::Good);
    assert_eq!(take(&mut queue, Standing::Good, 1000, now), [(0, 0), (1, 0)]);
    assert_eq!(take(&mut queue, Standing::Good, 1000, now), [(2, 0), (3, 0)]);
    assert_eq!(take(&mut queue, Standing::Good, 1000, now), [(4, 0)]);
    assert_eq!(take(&mut queue, Standing::Good, 1000, now), [(9, 0)], "one that is larger is sent with no other");
    assert_eq!(take(&mut queue, Standing::Good, 1000, now), []);
}

#[test]
fn the_smallest_limit_of_those_in_a_batch_holds() {
    let (mut queue, now) = (ForwardQueue::default(), Instant::now());
    for cluster in 0..6 {
        queue.push(request(cluster, 10, 0, now), Standing::Suspect);
    }
    let mut sizes = Vec::new();
    loop {
        let limit = |cluster| if cluster == 3 { 1 } else { 2 };
        let batch = queue.take(Standing::Suspect, 1000, true, limit, now, &mut Vec::new());
        if batch.is_empty() {
            break;
        }
        sizes.push(batch.iter().map(|request| request.cluster).collect::<Vec<_>>());
    }
    assert_eq!(sizes, [vec![0, 1], vec![2], vec![3], vec![4, 5]]);
}

#[test]
fn one_of_each_cluster_goes_round_the_ring() {
    let (mut queue, now) = (ForwardQueue::default(), Instant::now());
    for number in 0..3 {
        queue.push(request(1, 10, number, now), Standing::Suspect);
    }
    queue.push(request(2, 10, 0, now), Standing::Suspect);
    queue.push(request(3, 10, 0, now), Standing::Suspect);
    let mut next = || {
        let batch = queue.take(Standing::Suspect, 1000, true, |_| 1, now, &mut Vec::new());
        batch.into_iter().map(|request| (request.cluster, request.item)).collect::<Vec<_>>()
    };
    let all: Vec<_> = (0..6).flat_map(|_| next()).collect();
    assert_eq!(all, [(1, 0), (2, 0), (3, 0), (1, 1), (1, 2)]);
}

#[test]
fn a_cluster_takes_what_waits_along_to_another_standing() {
    let (mut queue, now) = (ForwardQueue::default(), Instant::now());
    for number in 0..3 {
        queue.push(request(1, 10, number, now), Standing::Good);
        queue.push(request(2, 10, number, now), Standing::Good);
    }
    queue.set_standing(1, Standing::Quarantined);
    queue.set_standing(1, Standing::Suspect);
    queue.set_standing(1, Standing::Quarantined);
    queue.set_standing(7, Standing::Quarantined);
    assert_eq!(queue.totals(Standing::Good), QueueTotals { requests: 3, held_bytes: 15, plain_bytes: 30 });
    assert_eq!(queue.totals(Standing::Quarantined), QueueTotals { requests: 3, held_bytes: 15, plain_bytes: 30 });
    assert_eq!(queue.totals(Standing::Suspect), QueueTotals::default());
    assert_eq!(take(&mut queue, Standing::Good, 1000, now), [(2, 0), (2, 1), (2, 2)]);
    assert_eq!(take(&mut queue, Standing::Suspect, 1000, now), []);
    queue.push_front(request(1, 10, 9, now), Standing::Quarantined);
    assert_eq!(take(&mut queue, Standing::Quarantined, 1000, now), [(1, 9), (1, 0), (1, 1), (1, 2)]);
}

#[test]
fn what_expires_is_found_wherever_it_waits() {
    let (mut queue, now) = (ForwardQueue::default(), Instant::now());
    let later = now + Duration::from_secs(1);
    for cluster in 0..3 {
        // The request that was tried before is the first in its list and expires later.
        queue.push(request(cluster, 10, 1, now), Standing::Good);
        queue.push_front(request(cluster, 10, 0, later), Standing::Good);
        queue.push(request(cluster, 10, 2, later), Standing::Good);
    }
    let (mut expired, end) = (Vec::new(), now + Duration::from_secs(5));
    queue.take_expired(end, &mut expired);
    assert_eq!(expired.iter().map(|request| request.item).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(queue.totals(Standing::Good).requests, 6);
    let all = queue.take(Standing::Good, 1000, false, |_| usize::MAX, end + Duration::from_secs(1), &mut expired);
    assert!(all.is_empty() && expired.len() == 9, "nor is any of them sent");
}

/// Entries of the slabs are reused, and no request is lost or sent twice, in any order of operations.
#[test]
fn every_request_leaves_once() {
    let (mut queue, now) = (ForwardQueue::default(), Instant::now());
    let (mut chance, mut pushed, mut left) = (7_u64, 0, Vec::new());
    for _ in 0..20_000 {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let cluster = (chance >> 33) % 17;
        let standing = Standing::ALL[usize::try_from((chance >> 40) % 3).unwrap()];
        match (chance >> 50) % 8 {
            0..=3 => {
                queue.push(request(cluster, 100, pushed, now), standing);
                pushed += 1;
            }
            4 => {
                queue.push_front(request(cluster, 100_000, pushed, now), standing);
                pushed += 1;
            }
            5 => queue.set_standing(cluster, standing),
            _ => {
                let batch = queue.take(standing, 300, pushed % 2 == 0, |_| 4, now, &mut Vec::new());
                left.extend(batch.into_iter().map(|request| request.item));
            }
        }
    }
    let places = queue.entries.len();
    for standing in Standing::ALL {
        let mut all = Vec::new();
        queue.take_all(standing, &mut all);
        left.extend(all.into_iter().map(|request| request.item));
        assert_eq!(queue.totals(standing), QueueTotals::default());
        assert!(queue.take(standing, 300, pushed % 2 == 0, |_| 4, now, &mut Vec::new()).is_empty());
    }
    left.sort_unstable();
    assert_eq!(left, (0..pushed).collect::<Vec<_>>());
    assert!(places < pushed, "places are used again");
    assert!(queue.by_cluster.is_empty() && queue.flows.len() <= 17);
    assert_eq!(queue.free_entries.len(), places);
}
