//! Tests that an approval is not used after a refusal, even if another writer puts it back into memcached.
use super::*;

/// Returns the entry of an approval in memcached from before it is refused.
async fn approved_then_refused(
    fake_authority: &FakeAuthority,
    fake: &FakeMemcached,
    first: &AuthorityReplica,
) -> (String, Vec<u8>) {
    first.authority.receive(ORIGIN, &composite()).await.unwrap();
    eventually(|| fake.values.lock().len() == 1).await;
    let old = fake.values.lock().iter().next().map(|(key, value)| (key.clone(), value.clone())).unwrap();
    fake_authority.says(ResponseTemplate::new(403)).await;
    // At any earlier time the approval in memcached would need no refresh.
    first.clock.advance(48 * MINUTE);
    first.authority.receive(ORIGIN, &composite()).await.unwrap();
    eventually(|| !fake.values.lock().contains_key(&old.0)).await;
    old
}

fn put_back(fake: &FakeMemcached, (key, value): &(String, Vec<u8>)) {
    fake.values.lock().insert(key.clone(), value.clone());
}

#[tokio::test]
async fn an_approval_that_is_put_back_after_a_refusal_does_not_count() {
    let (fake_authority, fake, keys) =
        (FakeAuthority::start().await, FakeMemcached::start(FakeBehaviour::Proper).await, Keys::generate().unwrap());
    let first = replica(&fake_authority, &fake.address, &keys);
    let old = approved_then_refused(&fake_authority, &fake, &first).await;
    put_back(&fake, &old);
    assert_eq!(first.authority.receive(ORIGIN, &composite()).await, refused(403));
    eventually(|| !fake.values.lock().contains_key(&old.0)).await;
    // Another replica knows of the refusal from memcached.
    put_back(&fake, &old);
    let second = replica(&fake_authority, &fake.address, &keys);
    second.clock.advance(48 * MINUTE);
    assert_eq!(second.authority.receive(ORIGIN, &composite()).await, refused(403));
    eventually(|| !fake.values.lock().contains_key(&old.0)).await;
    // The same holds while the authority is unavailable.
    fake_authority.is_unavailable().await;
    put_back(&fake, &old);
    let third = replica(&fake_authority, &fake.address, &keys);
    third.clock.advance(49 * MINUTE);
    check_unavailable(third.authority.receive(ORIGIN, &composite()).await, "status 500");
    check_unavailable(first.authority.receive(ORIGIN, &composite()).await, "status 500");
}

#[tokio::test]
async fn a_replica_that_received_the_refusal_keeps_to_it_even_if_the_refusal_is_removed() {
    let (fake_authority, fake, keys) =
        (FakeAuthority::start().await, FakeMemcached::start(FakeBehaviour::Proper).await, Keys::generate().unwrap());
    let first = replica(&fake_authority, &fake.address, &keys);
    let old = approved_then_refused(&fake_authority, &fake, &first).await;
    eventually(|| fake.values.lock().len() == 1 && !first.authority.is_asking()).await;
    for _ in 0..3 {
        fake.values.lock().clear();
        put_back(&fake, &old);
        assert_eq!(first.authority.receive(ORIGIN, &composite()).await, refused(403));
        first.clock.advance(10 * MINUTE);
    }
}

/// An old approval can still count once: for a replica that has not seen the refusal, after another writer has removed
/// the refusal from memcached.
#[tokio::test]
async fn an_old_approval_counts_for_one_question_at_most_where_no_refusal_is_known() {
    let (fake_authority, fake, keys) =
        (FakeAuthority::start().await, FakeMemcached::start(FakeBehaviour::Proper).await, Keys::generate().unwrap());
    let first = replica(&fake_authority, &fake.address, &keys);
    let old = approved_then_refused(&fake_authority, &fake, &first).await;
    eventually(|| fake.values.lock().len() == 1).await;
    let second = replica(&fake_authority, &fake.address, &keys);
    second.clock.advance(48 * MINUTE);
    for answer in [approved("acct", false), refused(403), refused(403)] {
        fake.values.lock().clear();
        put_back(&fake, &old);
        assert_eq!(second.authority.receive(ORIGIN, &composite()).await, answer);
        eventually(|| !second.authority.is_asking()).await;
    }
}

#[tokio::test]
async fn another_replicas_refusal_removes_an_approval_at_its_refresh() {
    for is_put_back in [false, true] {
        let (fake_authority, fake, keys) = (
            FakeAuthority::start().await,
            FakeMemcached::start(FakeBehaviour::Proper).await,
            Keys::generate().unwrap(),
        );
        let second = replica(&fake_authority, &fake.address, &keys);
        let first = replica(&fake_authority, &fake.address, &keys);
        second.authority.receive(ORIGIN, &composite()).await.unwrap();
        eventually(|| fake.values.lock().len() == 1).await;
        let old = approved_then_refused(&fake_authority, &fake, &first).await;
        if is_put_back {
            put_back(&fake, &old);
        }
        fake_authority.is_unavailable().await;
        second.clock.advance(48 * MINUTE + SECOND);
        assert_eq!(second.authority.receive(ORIGIN, &composite()).await, approved("acct", true));
        eventually(|| !second.authority.is_asking()).await;
        check_unavailable(second.authority.receive(ORIGIN, &composite()).await, "status 500");
    }
}

#[tokio::test]
async fn a_token_that_is_approved_anew_counts_again() {
    let (fake_authority, fake, keys) =
        (FakeAuthority::start().await, FakeMemcached::start(FakeBehaviour::Proper).await, Keys::generate().unwrap());
    let first = replica(&fake_authority, &fake.address, &keys);
    approved_then_refused(&fake_authority, &fake, &first).await;
    first.clock.advance(2 * MINUTE);
    fake_authority.approves().await;
    assert_eq!(first.authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    eventually(|| fake.values.lock().len() == 2).await;
    fake_authority.is_unavailable().await;
    let second = replica(&fake_authority, &fake.address, &keys);
    second.clock.advance(54 * MINUTE);
    assert_eq!(second.authority.receive(ORIGIN, &composite()).await, approved("acct", false));
}

#[tokio::test]
async fn a_refusal_is_remembered_only_of_what_was_approved() {
    let (fake_authority, fake, keys) =
        (FakeAuthority::start().await, FakeMemcached::start(FakeBehaviour::Proper).await, Keys::generate().unwrap());
    let replica = replica(&fake_authority, &fake.address, &keys);
    let is_remembered = |key: QuestionKey| {
        let now_ms = replica.authority.0.clock.monotonic_ms();
        replica.authority.0.refusals.get(&key.digest, now_ms).is_some()
    };
    replica.authority.register(ORIGIN, &token(), "c-1").await.unwrap();
    fake_authority.says(ResponseTemplate::new(403)).await;
    assert_eq!(replica.authority.register(ORIGIN, &token(), "c-1").await, refused(403));
    assert!(is_remembered(QuestionKey::new(QuestionKind::Register, "c-1", "hunter2")));
    assert_eq!(replica.authority.register(ORIGIN, &token(), "c-2").await, refused(403));
    assert!(!is_remembered(QuestionKey::new(QuestionKind::Register, "c-2", "hunter2")));
    assert_eq!(replica.authority.receive(ORIGIN, &composite_of(3)).await, refused(403));
    assert!(!is_remembered(QuestionKey::new(QuestionKind::Receive, "c-3", "hunter2")));
}
