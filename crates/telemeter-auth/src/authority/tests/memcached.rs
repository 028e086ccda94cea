//! Tests approvals that replicas share through memcached.
use super::*;

#[tokio::test]
async fn replicas_with_one_key_share_an_approval() {
    let (fake_authority, fake, keys) =
        (FakeAuthority::start().await, FakeMemcached::start(FakeBehaviour::Proper).await, Keys::generate().unwrap());
    let first = replica(&fake_authority, &fake.address, &keys);
    assert_eq!(first.authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    eventually(|| first.metrics.writes(WriteResult::Success) == 1).await;
    assert_eq!(first.metrics.reads(ReadResult::Miss), 1);

    let second = replica(&fake_authority, &fake.address, &keys);
    assert_eq!(second.authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    assert_eq!(second.authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    assert_eq!(fake_authority.asked().await, 1);
    assert_eq!(second.metrics.reads(ReadResult::Hit), 1, "then it is cached in the process");

    let stranger = replica(&fake_authority, &fake.address, &Keys::generate().unwrap());
    assert_eq!(stranger.authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    assert_eq!(fake_authority.asked().await, 2, "a replica with another key believes nothing");
    stranger.authority.replace_keys(&keys);
    stranger.clock.advance(4 * MINUTE);
    assert_eq!(stranger.authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    eventually(|| !stranger.authority.is_asking()).await;
    assert_eq!(fake_authority.asked().await, 2, "until it has the key");
    let seen: String =
        fake.values.lock().iter().map(|(key, value)| format!("{key} {}\n", String::from_utf8_lossy(value))).collect();
    assert!(seen.contains("acct"), "{seen}");
    assert!(!seen.contains("hunter2") && !seen.contains("c-1"), "{seen}");
    // The approval is stored for `--memcached-expire`, plus the longest outage in which it may still be used.
    assert!(fake.expires.lock().values().all(|expires| *expires == 2 * 3600));
}

#[tokio::test]
async fn an_approval_in_memcached_ends() {
    let (fake_authority, fake, keys) =
        (FakeAuthority::start().await, FakeMemcached::start(FakeBehaviour::Proper).await, Keys::generate().unwrap());
    let first = replica(&fake_authority, &fake.address, &keys);
    first.authority.receive(ORIGIN, &composite()).await.unwrap();
    eventually(|| first.metrics.writes(WriteResult::Success) == 1).await;
    fake_authority.is_unavailable().await;

    let second = replica(&fake_authority, &fake.address, &keys);
    second.clock.advance(48 * MINUTE - SECOND);
    assert_eq!(second.authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    eventually(|| !second.authority.is_asking()).await;
    assert_eq!(fake_authority.asked().await, 0);
    // From four fifths of its lifetime on, the approval is refreshed.
    second.clock.advance(SECOND);
    assert_eq!(second.authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    fake_authority.was_asked(1).await;
    second.clock.advance(12 * MINUTE);
    assert_eq!(second.authority.receive(ORIGIN, &composite()).await, approved("acct", true));
    fake_authority.was_asked(2).await;
    let third = replica(&fake_authority, &fake.address, &keys);
    third.clock.advance(120 * MINUTE);
    check_unavailable(third.authority.receive(ORIGIN, &composite()).await, "status 500");
}

#[tokio::test]
async fn a_restarted_replica_knows_registered_callers_while_the_authority_is_unavailable() {
    let (fake_authority, fake, keys) =
        (FakeAuthority::start().await, FakeMemcached::start(FakeBehaviour::Proper).await, Keys::generate().unwrap());
    let first = replica(&fake_authority, &fake.address, &keys);
    first.authority.register(ORIGIN, &token(), "c-1").await.unwrap();
    eventually(|| first.metrics.writes(WriteResult::Success) == 1).await;
    fake_authority.is_unavailable().await;
    let second = replica(&fake_authority, &fake.address, &keys);
    assert_eq!(second.authority.register(ORIGIN, &token(), "c-1").await, approved("acct", true));
    check_unavailable(second.authority.register(ORIGIN, &token(), "c-2").await, "status 500");
}

#[tokio::test]
async fn a_writer_to_memcached_cannot_forge_an_approval() {
    let (fake_authority, fake, keys) =
        (FakeAuthority::start().await, FakeMemcached::start(FakeBehaviour::Proper).await, Keys::generate().unwrap());
    let first = replica(&fake_authority, &fake.address, &keys);
    first.authority.receive(ORIGIN, &composite()).await.unwrap();
    eventually(|| first.metrics.writes(WriteResult::Success) == 1).await;
    for value in fake.values.lock().values_mut() {
        let at = value.len() - 33;
        value[at] ^= 1;
    }
    fake_authority.says(ResponseTemplate::new(403)).await;
    let second = replica(&fake_authority, &fake.address, &keys);
    assert_eq!(second.authority.receive(ORIGIN, &composite()).await, refused(403));
    assert_eq!(second.metrics.reads(ReadResult::Forged), 1);
    eventually(|| fake.values.lock().is_empty()).await;
}

#[tokio::test]
async fn a_refusal_takes_the_approval_out_of_memcached() {
    let (fake_authority, fake, keys) =
        (FakeAuthority::start().await, FakeMemcached::start(FakeBehaviour::Proper).await, Keys::generate().unwrap());
    let first = replica(&fake_authority, &fake.address, &keys);
    first.authority.register(ORIGIN, &token(), "c-1").await.unwrap();
    eventually(|| fake.values.lock().len() == 1).await;
    fake_authority.says(ResponseTemplate::new(401)).await;
    assert_eq!(first.authority.register(ORIGIN, &token(), "c-1").await, refused(401));
    eventually(|| first.metrics.writes(WriteResult::Success) == 3).await;
    assert_eq!(fake.values.lock().len(), 1, "the refusal took its place");
    fake_authority.is_unavailable().await;
    let second = replica(&fake_authority, &fake.address, &keys);
    check_unavailable(second.authority.register(ORIGIN, &token(), "c-1").await, "status 500");
}

#[tokio::test]
async fn a_request_is_answered_without_memcached() {
    let fake_authority = FakeAuthority::start().await;
    let keys = Keys::generate().unwrap();
    let slow = FakeMemcached::start(FakeBehaviour::Slow(5 * SECOND)).await;
    let garbage = FakeMemcached::start(FakeBehaviour::Says(b"HTTP/1.1 200 OK\r\n\r\n")).await;
    for (memcached, result) in [
        ("127.0.0.1:1", ReadResult::Error),
        (&garbage.address, ReadResult::Error),
        (&slow.address, ReadResult::Timeout),
    ] {
        let replica = replica(&fake_authority, memcached, &keys);
        let start = Instant::now();
        assert_eq!(replica.authority.receive(ORIGIN, &composite()).await, approved("acct", false));
        assert!(start.elapsed() < SECOND, "the budget is 100 ms");
        assert_eq!(replica.metrics.reads(result), 1, "{memcached}");
    }
}

#[tokio::test]
async fn callers_without_an_approval_are_counted_before_memcached_is_asked() {
    let (fake_authority, fake, keys) =
        (FakeAuthority::start().await, FakeMemcached::start(FakeBehaviour::Proper).await, Keys::generate().unwrap());
    fake_authority.says(ResponseTemplate::new(401)).await;
    let replica = replica(&fake_authority, &fake.address, &keys);
    for number in 0..100 {
        let json = format!(r#"{{"cluster_id":"c-1", "authorization_token":"bad-{number}"}}"#);
        replica.authority.receive(ORIGIN, &composite_json(&json)).await.unwrap_err();
    }
    let (reads, asked) = (replica.metrics.reads(ReadResult::Miss), fake_authority.asked().await);
    assert_eq!((reads, asked), (60, 60));
}
