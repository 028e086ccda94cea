//! Tests approvals when the wall clock is set, and when the clocks of replicas differ.
use super::*;

const HOUR_MS: i64 = 60 * 60_000;

#[tokio::test]
async fn a_wall_clock_that_is_set_changes_nothing_in_the_process() {
    for offset_ms in [-HOUR_MS, 10 * HOUR_MS] {
        let fake_authority = FakeAuthority::start().await;
        let (authority, clock) = authority(&fake_authority);
        authority.receive(ORIGIN, &composite()).await.unwrap();
        clock.set_ms(NOW_MS + offset_ms);
        clock.advance(4 * MINUTE - SECOND);
        assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", false));
        eventually(|| !authority.is_asking()).await;
        assert_eq!(fake_authority.asked().await, 1, "{offset_ms}");
        clock.advance(SECOND);
        assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", false));
        fake_authority.was_asked(2).await;
        eventually(|| !authority.is_asking()).await;
        fake_authority.is_unavailable().await;
        clock.advance(65 * MINUTE - Duration::from_millis(1));
        assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", true));
        eventually(|| !authority.is_asking()).await;
        clock.advance(Duration::from_millis(1));
        check_unavailable(authority.receive(ORIGIN, &composite()).await, "status 500");
    }
}

#[tokio::test]
async fn the_clocks_of_replicas_may_be_a_minute_apart() {
    for (behind_ms, asked) in [(0, 0), (60_000, 0), (60_001, 1), (HOUR_MS, 1)] {
        let (fake_authority, fake, keys) = (
            FakeAuthority::start().await,
            FakeMemcached::start(FakeBehaviour::Proper).await,
            Keys::generate().unwrap(),
        );
        let first = replica(&fake_authority, &fake.address, &keys);
        first.authority.receive(ORIGIN, &composite()).await.unwrap();
        eventually(|| first.metrics.writes(WriteResult::Success) == 1).await;
        fake_authority.approves().await;
        let second = replica(&fake_authority, &fake.address, &keys);
        second.clock.set_ms(NOW_MS - behind_ms);
        assert_eq!(second.authority.receive(ORIGIN, &composite()).await, approved("acct", false));
        eventually(|| !second.authority.is_asking()).await;
        assert_eq!(fake_authority.asked().await, asked, "{behind_ms} ms");
    }
}
