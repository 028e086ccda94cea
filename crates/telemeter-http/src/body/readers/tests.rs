#![allow(clippy::unwrap_used)]
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};

use std::task::Waker;

use super::table::SLOW_AFTER;
use super::*;

const PACE: BodyPace =
    BodyPace { deadline: Duration::from_secs(30), min_bytes_per_second: 0, grace: Duration::from_secs(30) };

fn readers(total_bytes: usize) -> (Readers, MemoryBudget) {
    let budget = MemoryBudget::new(total_bytes);
    (Readers::new(budget.clone(), BufferPool::new(4, 1 << 20)), budget)
}

/// A body that sends `bytes` bytes and then stalls for ever.
fn stalled(bytes: usize) -> Body {
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![7; bytes]))]);
    Body::from_stream(first.chain(stream::pending()))
}

/// A body that arrives in pieces, with a pause before each.
fn dripped(pieces: usize, bytes: usize, pause: Duration) -> Body {
    Body::from_stream(stream::unfold(0, move |at| async move {
        tokio::time::sleep(pause).await;
        (at < pieces).then(|| (Ok::<_, Infallible>(vec![7; bytes]), at + 1))
    }))
}

/// Starts to read a body, and waits until all bytes that arrived were read.
async fn start(
    readers: &Readers,
    client: BodyClient,
    body: Body,
    cap_bytes: usize,
) -> tokio::task::JoinHandle<Result<Buffer, BodyError>> {
    let readers = readers.clone();
    let task = tokio::spawn(async move { readers.read(body, client, cap_bytes, &PACE).await });
    for _ in 0..5 {
        tokio::task::yield_now().await;
    }
    task
}

#[tokio::test]
async fn a_body_counts_until_it_is_dropped() {
    let (readers, budget) = readers(1 << 20);
    let client = readers.client("a");
    for body in [Body::from(vec![7; 5000]), dripped(5, 1000, Duration::from_millis(1))] {
        let buffer = readers.read(body, client, 5000, &PACE).await.unwrap();
        assert_eq!(buffer[..], vec![7; 5000]);
        assert_eq!(budget.used_bytes(MemoryShare::Bodies), buffer.capacity());
        let bytes = buffer.freeze();
        assert!(budget.used_bytes(MemoryShare::Bodies) >= 5000, "also while it is sent on");
        drop(bytes);
        assert_eq!(budget.used_bytes(MemoryShare::Bodies), 0);
    }
    let over = readers.read(Body::from(vec![7; 5001]), client, 5000, &PACE).await;
    assert!(matches!(over, Err(BodyError::TooLarge { cap_bytes: 5000 })));
    let over = readers.read(dripped(6, 1000, Duration::from_millis(1)), client, 5000, &PACE).await;
    assert!(matches!(over, Err(BodyError::TooLarge { cap_bytes: 5000 })));
    assert_eq!(budget.used_bytes(MemoryShare::Bodies), 0);
    assert!(readers.0.table.lock().reads.is_empty() && readers.0.table.lock().clients.is_empty());
}

#[tokio::test]
async fn a_promise_costs_nothing() {
    let (readers, budget) = readers(1 << 20);
    let task = start(&readers, readers.client("a"), stalled(1), 1 << 20).await;
    assert!((1..100).contains(&budget.used_bytes(MemoryShare::Bodies)), "{}", budget.used_bytes(MemoryShare::Bodies));
    task.abort();
    assert!(task.await.is_err());
    assert_eq!(budget.used_bytes(MemoryShare::Bodies), 0);
}

#[tokio::test]
async fn one_client_holds_a_part_and_others_go_on() {
    let (readers, budget) = readers(1 << 20);
    let greedy = readers.client("greedy");
    let capacity = budget.capacity_bytes(MemoryShare::Bodies);
    let mut tasks = Vec::new();
    for _ in 0..100 {
        let body =
            Body::from_stream(dripped(10, 1000, Duration::from_millis(1)).into_data_stream().chain(stream::pending()));
        tasks.push(start(&readers, greedy, body, 10_000).await);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(budget.used_bytes(MemoryShare::Bodies) <= capacity / CLIENT_PART + 10_000);
    let body = dripped(10, 1000, Duration::from_millis(1));
    assert_eq!(readers.read(body, readers.client("other"), 10_000, &PACE).await.unwrap().len(), 10_000);
    let refused = tasks.iter().filter(|task| task.is_finished()).count();
    assert!(refused > 50, "{refused} were told so at once");
    for task in tasks {
        task.abort();
    }
}

#[tokio::test]
async fn slow_bodies_make_room_for_others() {
    let (readers, budget) = readers(1 << 20);
    let capacity = budget.capacity_bytes(MemoryShare::Bodies);
    let mut tasks = Vec::new();
    for client in 0..1000 {
        if budget.used_bytes(MemoryShare::Bodies) + 5000 > capacity {
            break;
        }
        tasks.push(start(&readers, readers.client(client), stalled(5000), 50_000).await);
    }
    assert!(tasks.len() > 20);
    let honest = || async {
        let body = dripped(5, 4000, Duration::from_millis(1));
        readers.read(body, readers.client("honest"), 50_000, &PACE).await
    };
    assert!(matches!(honest().await, Err(BodyError::NoMemory)), "who began a moment ago is not slow");
    tokio::time::sleep(SLOW_AFTER).await;
    for _ in 0..5 {
        assert_eq!(honest().await.unwrap().len(), 20_000);
        assert!(budget.used_bytes(MemoryShare::Bodies) <= capacity);
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let broken_off = tasks.iter().filter(|task| task.is_finished()).count();
    assert!((1..tasks.len()).contains(&broken_off), "{broken_off} of {}", tasks.len());
    for task in tasks {
        task.abort();
        assert!(!matches!(task.await, Ok(Ok(_))));
    }
    assert_eq!(budget.used_bytes(MemoryShare::Bodies), 0, "what was given to others is not given back twice");
}

/// Starts stalled bodies of `bytes` each, each from a client of its own, until less than `bytes` of the share is free.
async fn fill(
    readers: &Readers,
    budget: &MemoryBudget,
    bytes: usize,
) -> Vec<tokio::task::JoinHandle<Result<Buffer, BodyError>>> {
    let mut tasks = Vec::new();
    while budget.used_bytes(MemoryShare::Bodies) + bytes <= budget.capacity_bytes(MemoryShare::Bodies) {
        tasks.push(start(readers, readers.client(tasks.len()), stalled(bytes), 2 * bytes).await);
        assert!(!tasks[tasks.len() - 1].is_finished(), "it fits");
    }
    tasks
}

#[tokio::test]
async fn a_large_buffer_that_was_used_before_is_no_reason_to_refuse_a_small_body() {
    let (readers, budget) = readers(1 << 20);
    let client = readers.client("honest");
    for size in [150_000, 2000] {
        let _held = if size == 2000 { fill(&readers, &budget, 9000).await } else { Vec::new() };
        let body = readers.read(Body::from(vec![7; size]), client, 200_000, &PACE).await;
        assert_eq!(body.expect("there is room for so much").len(), size);
    }
}

#[tokio::test]
async fn bodies_of_those_who_hold_far_more_make_room_at_once() {
    let (readers, budget) = readers(1 << 20);
    let tasks = fill(&readers, &budget, 40_000).await;
    let read = async |bytes: usize| {
        readers.read(dripped(5, bytes / 5, Duration::from_millis(1)), readers.client(bytes), 50_000, &PACE).await
    };
    let left = budget.capacity_bytes(MemoryShare::Bodies) - budget.used_bytes(MemoryShare::Bodies);
    assert!(left < 20_000, "{left}");
    assert!(matches!(read(30_000).await, Err(BodyError::NoMemory)), "not far more than this one");
    assert_eq!(read(5000).await.unwrap().len(), 5000, "also a moment after room was looked for in vain");
    assert_eq!(read(5000).await.unwrap().len(), 5000);
    assert!(tasks.iter().filter(|task| task.is_finished()).count() <= 1, "no more than it takes");
}

#[tokio::test]
async fn a_body_that_stops_is_slow_however_quickly_it_began() {
    let (readers, budget) = readers(4 << 20);
    let _tasks = fill(&readers, &budget, 400_000).await;
    let read = async || {
        readers.read(dripped(1, 300_000, Duration::from_millis(1)), readers.client("honest"), 400_000, &PACE).await
    };
    assert!(matches!(read().await, Err(BodyError::NoMemory)));
    tokio::time::sleep(SLOW_AFTER).await;
    assert_eq!(read().await.unwrap().len(), 300_000);
}

#[tokio::test]
async fn a_body_has_to_keep_arriving() {
    let (readers, _) = readers(1 << 20);
    let pace =
        BodyPace { deadline: Duration::from_secs(20), min_bytes_per_second: 1000, grace: Duration::from_millis(300) };
    let read = async |body: Body| readers.read(body, readers.client("a"), 50_000, &pace).await;
    let start = Instant::now();
    let slow = read(dripped(1000, 1, Duration::from_millis(30))).await;
    assert!(matches!(slow, Err(BodyError::TooSlow { min_bytes_per_second: 1000 })));
    assert!(start.elapsed() >= pace.grace && start.elapsed() < pace.deadline / 2, "{:?}", start.elapsed());
    assert!(matches!(read(stalled(200)).await, Err(BodyError::TooSlow { .. })));
    assert_eq!(read(dripped(10, 1000, Duration::from_millis(100))).await.unwrap().len(), 10_000, "fast enough");
    let late = BodyPace { deadline: Duration::from_millis(200), ..pace };
    assert!(matches!(readers.read(stalled(9000), readers.client("a"), 50_000, &late).await, Err(BodyError::Timeout)));
}

#[test]
fn a_body_that_was_broken_off_at_its_last_byte_is_not_handed_on_uncounted() {
    let (readers, budget) = readers(1 << 20);
    for is_evicted in [false, true] {
        let mut reading = Reading {
            shared: &readers.0,
            client: readers.client("a"),
            cap_bytes: 10_000,
            first_bytes: 10_000,
            started: Instant::now(),
            buffer: Buffer::unpooled(),
            reservation: None,
            id: None,
        };
        reading.append(&[7; 5000]).unwrap();
        reading.wait(&Context::from_waker(Waker::noop())).unwrap();
        if is_evicted {
            let mut table = readers.0.table.lock();
            let read = table.reads.get_mut(&reading.id.unwrap()).unwrap();
            read.evicted = true;
            let held = std::mem::take(&mut read.held_bytes);
            budget.release(MemoryShare::Bodies, held);
            table.release_bytes(readers.client("a"), held);
        }
        let finished = reading.finish();
        assert_eq!(finished.is_err(), is_evicted);
        assert_eq!(budget.used_bytes(MemoryShare::Bodies), finished.as_ref().map_or(0, |buffer| buffer.capacity()));
        drop(finished);
        assert_eq!(budget.used_bytes(MemoryShare::Bodies), 0);
    }
}
