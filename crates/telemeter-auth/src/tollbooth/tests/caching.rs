use super::*;

#[tokio::test]
async fn one_token_is_asked_about_once_at_a_time() {
    let authority = FakeAuthority::start().await;
    authority.says(approval("acct").set_delay(SECOND / 4)).await;
    let (tollbooth, _) = tollbooth(&authority);
    let callers: Vec<_> = (0..50)
        .map(|number| {
            let tollbooth = tollbooth.clone();
            tokio::spawn(async move {
                match number % 2 {
                    0 => tollbooth.register(ASKER, &token(), "c-1").await,
                    _ => tollbooth.receive(ASKER, &composite()).await,
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
    assert_eq!(authority.asked().await, 2, "one question of each kind");
    assert!(tollbooth.0.asked.lock().is_empty());
}

#[tokio::test]
async fn an_approval_is_cached_for_receive_only() {
    let authority = FakeAuthority::start().await;
    let (tollbooth, clock) = tollbooth(&authority);
    for _ in 0..3 {
        assert_eq!(tollbooth.receive(ASKER, &composite()).await, approved("acct", false));
    }
    clock.advance(4 * MINUTE - SECOND);
    assert_eq!(tollbooth.receive(ASKER, &composite()).await, approved("acct", false));
    assert_eq!(authority.asked().await, 1);
    for asked in 2..5 {
        assert_eq!(tollbooth.register(ASKER, &token(), "c-1").await, approved("acct", false));
        assert_eq!(authority.asked().await, asked);
    }
    let other = composite_json(&COMPOSITE.replace("hunter2", "hunter3"));
    tollbooth.receive(ASKER, &other).await.unwrap();
    assert_eq!(authority.asked().await, 5, "another token is another question");
}

#[tokio::test]
async fn a_refusal_is_not_cached_and_removes_the_approval() {
    let authority = FakeAuthority::start().await;
    let (tollbooth, clock) = tollbooth(&authority);
    assert_eq!(tollbooth.receive(ASKER, &composite()).await, approved("acct", false));
    assert_eq!(tollbooth.register(ASKER, &token(), "c-1").await, approved("acct", false));
    clock.advance(4 * MINUTE);
    authority.says(ResponseTemplate::new(403)).await;
    // This one starts the refresh, which is refused.
    assert_eq!(tollbooth.receive(ASKER, &composite()).await, approved("acct", false));
    eventually(|| !tollbooth.is_asking()).await;
    for _ in 0..2 {
        assert_eq!(tollbooth.receive(ASKER, &composite()).await, refused(403));
        assert_eq!(tollbooth.register(ASKER, &token(), "c-1").await, refused(403));
    }
    assert_eq!(authority.asked().await, 5);
    authority.is_unavailable().await;
    check_unavailable(tollbooth.receive(ASKER, &composite()).await, "status 500");
    check_unavailable(tollbooth.register(ASKER, &token(), "c-1").await, "status 500");
    authority.approves().await;
    assert_eq!(tollbooth.receive(ASKER, &composite()).await, approved("acct", false));
}

#[tokio::test]
async fn approved_callers_go_on_while_it_is_unavailable_and_new_ones_wait() {
    let authority = FakeAuthority::start().await;
    let (tollbooth, clock) = tollbooth(&authority);
    tollbooth.receive(ASKER, &composite()).await.unwrap();
    tollbooth.register(ASKER, &token(), "c-1").await.unwrap();
    authority.is_unavailable().await;
    check_unavailable(tollbooth.register(ASKER, &token(), "c-2").await, "status 500");
    assert_eq!(tollbooth.register(ASKER, &token(), "c-1").await, approved("acct", true));
    authority.was_asked(2).await;

    clock.advance(5 * MINUTE);
    for _ in 0..3 {
        assert_eq!(tollbooth.receive(ASKER, &composite()).await, approved("acct", true));
    }
    authority.was_asked(3).await;
    eventually(|| !tollbooth.is_asking()).await;
    clock.advance(60 * MINUTE - Duration::from_millis(1));
    assert_eq!(tollbooth.receive(ASKER, &composite()).await, approved("acct", true));
    assert_eq!(tollbooth.register(ASKER, &token(), "c-1").await, approved("acct", true));
    eventually(|| !tollbooth.is_asking()).await;
    clock.advance(Duration::from_millis(1));
    check_unavailable(tollbooth.receive(ASKER, &composite()).await, "status 500");
    check_unavailable(tollbooth.register(ASKER, &token(), "c-1").await, "status 500");

    authority.approves().await;
    assert_eq!(tollbooth.receive(ASKER, &composite()).await, approved("acct", false));
}

#[tokio::test]
async fn without_stale_an_approval_that_ended_makes_its_caller_wait() {
    let authority = FakeAuthority::start().await;
    let (tollbooth, clock) = tollbooth_of(AuthorityConfig { stale: Duration::ZERO, ..authority.config() }, None);
    tollbooth.receive(ASKER, &composite()).await.unwrap();
    authority.is_unavailable().await;
    clock.advance(5 * MINUTE - Duration::from_millis(1));
    assert_eq!(tollbooth.receive(ASKER, &composite()).await, approved("acct", false));
    eventually(|| !tollbooth.is_asking()).await;
    clock.advance(Duration::from_millis(1));
    check_unavailable(tollbooth.receive(ASKER, &composite()).await, "status 500");
}
