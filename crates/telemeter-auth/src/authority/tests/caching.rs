//! Tests which approvals are cached, and how long they are used.
use super::*;

#[tokio::test]
async fn one_token_is_asked_about_once_at_a_time() {
    let fake_authority = FakeAuthority::start().await;
    fake_authority.says(approval("acct").set_delay(SECOND / 4)).await;
    let (authority, _) = authority(&fake_authority);
    let callers: Vec<_> = (0..50)
        .map(|number| {
            let authority = authority.clone();
            tokio::spawn(async move {
                match number % 2 {
                    0 => authority.register(ORIGIN, &token(), "c-1").await,
                    _ => authority.receive(ORIGIN, &composite()).await,
                }
            })
        })
        .collect();
    tokio::time::sleep(SECOND / 20).await;
    callers[0].abort();
    callers[1].abort();
    for caller in callers.into_iter().skip(2) {
        assert_eq!(caller.await.unwrap(), approved("acct", false), "the first caller's end is not the end");
    }
    assert_eq!(fake_authority.asked().await, 2, "one question of each kind");
    assert!(authority.0.pending.lock().is_empty());
}

#[tokio::test]
async fn an_approval_is_cached_for_receive_only() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, clock) = authority(&fake_authority);
    for _ in 0..3 {
        assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    }
    clock.advance(4 * MINUTE - SECOND);
    assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    assert_eq!(fake_authority.asked().await, 1);
    for asked in 2..5 {
        assert_eq!(authority.register(ORIGIN, &token(), "c-1").await, approved("acct", false));
        assert_eq!(fake_authority.asked().await, asked);
    }
    let other = composite_json(&COMPOSITE.replace("hunter2", "hunter3"));
    authority.receive(ORIGIN, &other).await.unwrap();
    assert_eq!(fake_authority.asked().await, 5, "another token is another question");
}

#[tokio::test]
async fn a_refusal_is_not_cached_and_removes_the_approval() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, clock) = authority(&fake_authority);
    assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    assert_eq!(authority.register(ORIGIN, &token(), "c-1").await, approved("acct", false));
    clock.advance(4 * MINUTE);
    fake_authority.says(ResponseTemplate::new(403)).await;
    // This request starts the refresh, and the refresh is refused.
    assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    eventually(|| !authority.is_asking()).await;
    for _ in 0..2 {
        assert_eq!(authority.receive(ORIGIN, &composite()).await, refused(403));
        assert_eq!(authority.register(ORIGIN, &token(), "c-1").await, refused(403));
    }
    assert_eq!(fake_authority.asked().await, 5);
    fake_authority.is_unavailable().await;
    check_unavailable(authority.receive(ORIGIN, &composite()).await, "status 500");
    check_unavailable(authority.register(ORIGIN, &token(), "c-1").await, "status 500");
    fake_authority.approves().await;
    assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", false));
}

#[tokio::test]
async fn approved_callers_go_on_while_it_is_unavailable_and_new_ones_wait() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, clock) = authority(&fake_authority);
    authority.receive(ORIGIN, &composite()).await.unwrap();
    authority.register(ORIGIN, &token(), "c-1").await.unwrap();
    fake_authority.is_unavailable().await;
    check_unavailable(authority.register(ORIGIN, &token(), "c-2").await, "status 500");
    assert_eq!(authority.register(ORIGIN, &token(), "c-1").await, approved("acct", true));
    fake_authority.was_asked(2).await;

    clock.advance(5 * MINUTE);
    for _ in 0..3 {
        assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", true));
    }
    fake_authority.was_asked(3).await;
    eventually(|| !authority.is_asking()).await;
    clock.advance(60 * MINUTE - Duration::from_millis(1));
    assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", true));
    assert_eq!(authority.register(ORIGIN, &token(), "c-1").await, approved("acct", true));
    eventually(|| !authority.is_asking()).await;
    clock.advance(Duration::from_millis(1));
    check_unavailable(authority.receive(ORIGIN, &composite()).await, "status 500");
    check_unavailable(authority.register(ORIGIN, &token(), "c-1").await, "status 500");

    fake_authority.approves().await;
    assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", false));
}

#[tokio::test]
async fn without_stale_an_approval_that_ended_makes_its_caller_wait() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, clock) =
        authority_of(AuthorityConfig { stale_for: Duration::ZERO, ..fake_authority.config() }, None);
    authority.receive(ORIGIN, &composite()).await.unwrap();
    fake_authority.is_unavailable().await;
    clock.advance(5 * MINUTE - Duration::from_millis(1));
    assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", false));
    eventually(|| !authority.is_asking()).await;
    clock.advance(Duration::from_millis(1));
    check_unavailable(authority.receive(ORIGIN, &composite()).await, "status 500");
}
