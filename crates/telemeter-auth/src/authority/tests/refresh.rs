//! Tests the refresh of a cached approval before it expires.
use super::*;

/// An authority that approves twice, and after that answers later than the deadline.
async fn then_hangs(deadline: Duration) -> (FakeAuthority, Authority, ClockHandle) {
    let fake_authority = FakeAuthority::start().await;
    let (authority, clock) = authority_of(AuthorityConfig { deadline, ..fake_authority.config() }, None);
    authority.receive(ORIGIN, &composite()).await.unwrap();
    authority.register(ORIGIN, &token(), "c-1").await.unwrap();
    fake_authority.says(approval("acct").set_delay(60 * MINUTE)).await;
    (fake_authority, authority, clock)
}

#[tokio::test]
async fn an_approved_caller_never_waits_for_an_authority_that_hangs() {
    let (fake_authority, authority, clock) = then_hangs(60 * MINUTE).await;
    let start = Instant::now();
    // The approval is used from four fifths of its lifetime until its end, while the authority does not answer.
    for (minutes, is_stale) in [(4, false), (2, true), (30, true), (28, true)] {
        clock.advance(minutes * MINUTE);
        for _ in 0..100 {
            let answer = tokio::time::timeout(15 * SECOND, authority.receive(ORIGIN, &composite())).await;
            assert_eq!(answer.expect("no wait"), approved("acct", is_stale));
        }
    }
    assert!(start.elapsed() < 15 * SECOND, "{:?}", start.elapsed());
    fake_authority.was_asked(1).await;
}

#[tokio::test]
async fn a_refresh_that_fails_is_tried_every_30_s() {
    let (fake_authority, authority, clock) = then_hangs(SECOND / 10).await;
    clock.advance(4 * MINUTE);
    for asked in 1..4 {
        for _ in 0..20 {
            authority.receive(ORIGIN, &composite()).await.unwrap();
        }
        fake_authority.was_asked(asked).await;
        eventually(|| !authority.is_asking()).await;
        clock.advance(30 * SECOND - Duration::from_millis(1));
        authority.receive(ORIGIN, &composite()).await.unwrap();
        assert!(!authority.is_asking());
        clock.advance(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn a_refresh_that_succeeds_begins_a_new_life() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, clock) = authority(&fake_authority);
    authority.receive(ORIGIN, &composite()).await.unwrap();
    for asked in 2..20 {
        clock.advance(4 * MINUTE);
        assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", false));
        fake_authority.was_asked(asked).await;
        eventually(|| !authority.is_asking()).await;
    }
}

#[tokio::test]
async fn while_the_authority_limits_us_an_approval_counts_and_waits_as_asked() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, clock) = authority(&fake_authority);
    authority.receive(ORIGIN, &composite()).await.unwrap();
    fake_authority.says(ResponseTemplate::new(429).insert_header("Retry-After", "120")).await;
    clock.advance(5 * MINUTE);
    for advance_s in [0, 119, 1] {
        clock.advance(advance_s * SECOND);
        assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", true));
        eventually(|| !authority.is_asking()).await;
    }
    assert_eq!(fake_authority.asked().await, 2);
}

#[tokio::test]
async fn a_registered_caller_does_not_wait_long_for_an_authority_that_is_known_to_hang() {
    let (_authority, authority, _) = then_hangs(10 * SECOND).await;
    authority.0.availability.unavailable("a recorded outage", NOW_MS);
    let start = Instant::now();
    assert_eq!(authority.register(ORIGIN, &token(), "c-1").await, approved("acct", true));
    assert!(start.elapsed() < 8 * SECOND, "{:?}", start.elapsed());
}
