//! Tests the memcached client with a fake memcached.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::fake::{FakeBehaviour, FakeMemcached};
use super::*;

const LONG: Duration = Duration::from_secs(3600);

fn memcached(servers: &[&str]) -> Memcached {
    let servers: Vec<_> = servers.iter().map(|&server| server.to_owned()).collect();
    Memcached::new(&servers, Duration::from_secs(10))
}

#[tokio::test]
async fn gets_what_was_set_until_it_is_deleted() {
    let fake = FakeMemcached::start(FakeBehaviour::Proper).await;
    let memcached = memcached(&[&fake.address]);
    assert_eq!(memcached.get("k").await, Ok(None));
    for value in [&b"a"[..], b"", b"\r\nEND\r\n", &[0, 255], &[7; MAX_VALUE_BYTES]] {
        assert_eq!(memcached.set("k", value, LONG).await, Ok(()));
        assert_eq!(memcached.get("k").await, Ok(Some(value.to_vec())));
    }
    assert_eq!(memcached.delete("k").await, Ok(()));
    assert_eq!(memcached.delete("k").await, Ok(()));
    assert_eq!(memcached.get("k").await, Ok(None));
    assert_eq!(fake.connections.load(Ordering::Relaxed), 1, "the connection is kept");
}

#[tokio::test]
async fn lifetimes_are_within_what_memcached_takes() {
    let fake = FakeMemcached::start(FakeBehaviour::Proper).await;
    let memcached = memcached(&[&fake.address]);
    for (expire, sent) in [(0, 1), (86_400, 86_400), (40 * 86_400, 30 * 86_400)] {
        memcached.set("k", b"v", Duration::from_secs(expire)).await.unwrap();
        assert_eq!(fake.expires.lock()["k"], sent);
    }
}

#[tokio::test]
async fn refuses_keys_and_values_that_would_break_the_protocol() {
    let fake = FakeMemcached::start(FakeBehaviour::Proper).await;
    let memcached = memcached(&[&fake.address]);
    for key in ["", "a b", "a\r\nflush_all", "é", &"k".repeat(251)] {
        assert_eq!(memcached.get(key).await, Err(CacheError::Protocol), "{key:?}");
    }
    assert_eq!(memcached.set("k", &[0; MAX_VALUE_BYTES + 1], LONG).await, Err(CacheError::TooLong));
    assert_eq!(fake.connections.load(Ordering::Relaxed), 0);
}

/// Selects the same servers as Go's client: the CRC-32 (IEEE) of the key, modulo the number of servers.
#[tokio::test]
async fn picks_the_server_by_crc32_in_list_order() {
    // "123456789" has the well-known check value 0xCBF43926 = 3421780262.
    for (servers, place) in [(1, 0), (2, 0), (3, 2), (4, 2), (5, 2), (7, 5)] {
        assert_eq!(memcached(&vec!["127.0.0.1:1"; servers]).server_index("123456789"), place, "of {servers}");
    }
    assert_eq!(memcached(&[]).get("k").await, Err(CacheError::Unavailable));
}

#[tokio::test]
async fn a_server_that_is_unavailable_or_misnamed_affects_its_own_keys_only() {
    let fake = FakeMemcached::start(FakeBehaviour::Proper).await;
    let unbound = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    for bad in [unbound.as_str(), "no port", "name.invalid:11211"] {
        let memcached = memcached(&[bad, &fake.address]);
        let (mut worked, mut failed) = (0, 0);
        for number in 0..40 {
            let key = format!("key-{number}");
            match (memcached.server_index(&key), memcached.set(&key, b"v", LONG).await) {
                (1, Ok(())) => worked += 1,
                (0, Err(CacheError::Unavailable)) => failed += 1,
                other => panic!("{bad}: {other:?}"),
            }
        }
        assert!(worked > 5 && failed > 5, "{worked} {failed}");
    }
}

#[tokio::test]
async fn a_slow_server_costs_its_timeout_once_a_second() {
    let fake = FakeMemcached::start(FakeBehaviour::Slow(Duration::from_secs(3))).await;
    let memcached = memcached(&[&fake.address]);
    let start = Instant::now();
    assert_eq!(memcached.get("k").await, Err(CacheError::Timeout));
    let first = start.elapsed();
    assert!(first >= Duration::from_millis(95) && first < Duration::from_secs(2), "{first:?}");
    for _ in 0..100 {
        assert_eq!(memcached.get("k").await, Err(CacheError::Unavailable));
    }
    assert!(start.elapsed() < first + Duration::from_millis(800));
    *fake.behaviour.lock() = FakeBehaviour::Proper;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(memcached.get("k").await, Ok(None), "it is asked again");
}

/// The answer to an abandoned command may contain an authorization, so the next command must never get it.
#[tokio::test]
async fn a_late_answer_is_never_read_as_the_next_one() {
    let fake = FakeMemcached::start(FakeBehaviour::Proper).await;
    let memcached = memcached(&[&fake.address]);
    memcached.set("a", b"approval of a", LONG).await.unwrap();
    memcached.set("b", b"approval of b", LONG).await.unwrap();
    for _ in 0..5 {
        *fake.behaviour.lock() = FakeBehaviour::Slow(Duration::from_millis(60));
        // The caller cancels the command before its answer has arrived.
        assert!(tokio::time::timeout(Duration::from_millis(30), memcached.get("a")).await.is_err());
        *fake.behaviour.lock() = FakeBehaviour::Proper;
        assert_eq!(memcached.get("b").await, Ok(Some(b"approval of b".to_vec())));
    }
}

#[tokio::test]
async fn garbage_is_an_error_and_ends_the_connection() {
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"VALUE other 0 1\r\nx\r\nEND\r\n",
        b"VALUE k 0 99999999\r\n",
        b"VALUE k 0 -1\r\n",
        b"VALUE k 0 1\r\nxyEND\r\n",
        b"VALUE k 0 1\r\nx\r\nVALUE l 0 1\r\ny\r\nEND\r\n",
        b"VALUE k 0 1 7 7\r\nx\r\nEND\r\n",
        b"END\r\nEND\r\n",
        b"SERVER_ERROR out of memory\r\n",
        b"\xff\xfe\r\n",
        b"END\n",
        &[b'x'; 5_000],
    ] {
        let fake = FakeMemcached::start(FakeBehaviour::Says(garbage)).await;
        let memcached = memcached(&[&fake.address]);
        assert_eq!(memcached.get("k").await, Err(CacheError::Protocol), "{:?}", String::from_utf8_lossy(garbage));
        assert_eq!(memcached.set("k", b"v", LONG).await, Err(CacheError::Protocol));
        *fake.behaviour.lock() = FakeBehaviour::Proper;
        assert!(memcached.get("k").await.is_ok());
        assert_eq!(fake.connections.load(Ordering::Relaxed), 3, "each error ended its connection");
    }
}

#[tokio::test]
async fn a_closed_idle_connection_is_replaced() {
    let fake = FakeMemcached::start(FakeBehaviour::HangsUp).await;
    let memcached = memcached(&[&fake.address]);
    for _ in 0..5 {
        assert_eq!(memcached.get("k").await, Ok(None));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(fake.connections.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn names_are_looked_up() {
    let fake = FakeMemcached::start(FakeBehaviour::Proper).await;
    let port = fake.address.rsplit_once(':').unwrap().1;
    let memcached = memcached(&[&format!("localhost:{port}")]);
    for _ in 0..100 {
        if memcached.get("k").await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the name was never looked up");
}
