//! Tests that permits for questions are given fairly to clients.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn client(number: u32) -> QuestionClient {
    QuestionClient::Peer(IpAddr::V4(Ipv4Addr::from_bits(number)).into())
}

/// Requests `wanted` permits, and returns those that are given at once.
async fn open(queue: &Arc<QuestionQueue>, number: u32, wanted: usize) -> Vec<QuestionPermit> {
    let mut permits = Vec::new();
    for _ in 0..wanted {
        permits.extend(queue.acquire(client(number), 0, Duration::ZERO).await);
    }
    permits
}

fn wait(queue: &Arc<QuestionQueue>, number: u32) -> tokio::task::JoinHandle<Option<QuestionPermit>> {
    let queue = queue.clone();
    tokio::spawn(async move { queue.acquire(client(number), 10, LONG).await })
}

/// As [`wait`], but returns whether there was a permit.
fn wait_for_permit(queue: &Arc<QuestionQueue>, number: u32) -> tokio::task::JoinHandle<bool> {
    let queue = queue.clone();
    tokio::spawn(async move { queue.acquire(client(number), 10, LONG).await.is_some() })
}

async fn settle(queue: &Arc<QuestionQueue>, waiting: usize) {
    while queue.state.lock().waiting != waiting {
        tokio::task::yield_now().await;
    }
}

fn is_empty(queue: &QuestionQueue) -> bool {
    let state = queue.state.lock();
    let held = state.open + state.waiting + state.waiting_bytes + state.clients.len() + state.order.len();
    held == 0
}

#[tokio::test]
async fn one_client_holds_half_of_the_permits_and_others_get_their_part() {
    let queue = QuestionQueue::new(192);
    let greedy = open(&queue, 1, 500).await;
    assert_eq!(greedy.len(), 96);
    let mut others = Vec::new();
    for number in 2..20 {
        let permits = open(&queue, number, 500).await;
        assert_eq!(permits.len(), if number < 14 { 8 } else { 0 }, "client {number}");
        others.extend(permits);
    }
    drop(others);
    // Permits that the client with the most permits has returned are given to the next client.
    assert_eq!(open(&queue, 20, 500).await.len(), 8);
    drop(greedy);
    assert!(is_empty(&queue));
}

#[tokio::test]
async fn permits_go_round_by_client() {
    let queue = QuestionQueue::new(1);
    let permit = open(&queue, 1, 1).await;
    let mut waiting = Vec::new();
    // 20 questions of one client wait before one question of another client.
    for number in [1; 20].into_iter().chain([2]) {
        let before = waiting.len();
        waiting.push((number, wait(&queue, number)));
        settle(&queue, before + 1).await;
    }
    drop(permit);
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let done = loop {
            tokio::task::yield_now().await;
            if let Some(done) = waiting.iter().position(|(_, task)| task.is_finished()) {
                break done;
            }
        };
        let (number, task) = waiting.remove(done);
        drop(task.await.unwrap().expect("a permit"));
        order.push(number);
    }
    assert_eq!(order[..3], [1, 2, 1]);
    assert!(is_empty(&queue));
}

#[tokio::test]
async fn a_waiter_that_times_out_or_is_dropped_leaves_nothing() {
    let queue = QuestionQueue::new(1);
    let permit = open(&queue, 1, 1).await;
    assert!(queue.acquire(client(2), 10, Duration::from_millis(20)).await.is_none());
    let task = wait(&queue, 3);
    settle(&queue, 1).await;
    task.abort();
    settle(&queue, 0).await;
    drop(permit);
    assert!(is_empty(&queue));
}

#[tokio::test]
async fn the_queue_is_bounded_and_the_client_with_the_most_waiters_loses_one() {
    let queue = QuestionQueue::new(1);
    let permit = open(&queue, 1, 1).await;
    let greedy: Vec<_> = (0..MAX_WAITING + 100).map(|_| wait_for_permit(&queue, 1)).collect();
    settle(&queue, MAX_WAITING).await;
    let other = wait_for_permit(&queue, 2);
    while !queue.state.lock().clients.contains_key(&client(2)) {
        tokio::task::yield_now().await;
    }
    assert_eq!(queue.state.lock().waiting, MAX_WAITING);
    drop(permit);
    assert!(other.await.unwrap());
    let mut served = 0;
    for task in greedy {
        served += usize::from(task.await.unwrap());
    }
    assert_eq!(served, MAX_WAITING - 1, "one was removed");
    assert!(is_empty(&queue));

    let permit = open(&queue, 1, 1).await;
    assert!(queue.acquire(client(3), MAX_WAITING_BYTES + 1, LONG).await.is_none(), "bytes are bounded, too");
    drop(permit);
}
