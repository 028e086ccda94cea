//! Tests that callers with bad tokens do not use up the questions of other callers.
use super::*;

fn from(number: u32) -> QuestionOrigin {
    QuestionOrigin { peer: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)) }
}

fn registers(
    authority: &Authority,
    origin: QuestionOrigin,
    token: &str,
    cluster: &str,
) -> tokio::task::JoinHandle<ApprovalResult> {
    let (authority, token, cluster) = (authority.clone(), Secret::from(token), cluster.to_owned());
    tokio::spawn(async move { authority.register(origin, &token, &cluster).await })
}

/// The authority never answers about a token that begins with `bad`; it approves the others after 50 ms.
async fn hangs_for_bad_tokens(fake_authority: &FakeAuthority) {
    fake_authority
        .answers(|request| match String::from_utf8_lossy(&request.body).contains("bad") {
            true => any_approval().set_delay(60 * MINUTE),
            false => any_approval().set_delay(SECOND / 20),
        })
        .await;
}

#[tokio::test]
async fn one_peer_without_a_good_token_leaves_room_for_all_others() {
    let fake_authority = FakeAuthority::start().await;
    hangs_for_bad_tokens(&fake_authority).await;
    let config = AuthorityConfig { max_open_questions: 64, max_wait: 15 * SECOND, ..fake_authority.config() };
    let (authority, clock) = authority_of(config, None);
    let known = composite_of(500);
    authority.receive(ORIGIN, &known).await.unwrap();
    let bad: Vec<_> =
        (0..300).map(|n| registers(&authority, from(0), &format!("bad-{n}"), &format!("c-{n}"))).collect();
    // One peer may use half of the permits of callers.
    fake_authority.was_asked(1 + 24).await;

    let good: Vec<_> = (1..73).map(|n| registers(&authority, from(n), "good", &format!("c-{n}"))).collect();
    for (number, caller) in good.into_iter().enumerate() {
        assert_eq!(caller.await.unwrap(), approved("acct", false), "{number}");
    }
    // A refresh is still possible.
    clock.advance(4 * MINUTE);
    assert_eq!(authority.receive(ORIGIN, &known).await, approved("acct", false));
    fake_authority.was_asked(1 + 24 + 72 + 1).await;
    assert_eq!(fake_authority.asked().await, 98, "the others of that peer wait");
    bad.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_question_without_a_permit_in_time_is_answered_to_try_again() {
    let fake_authority = FakeAuthority::start().await;
    let config = AuthorityConfig { max_open_questions: 1, max_wait: SECOND / 5, ..fake_authority.config() };
    let (authority, clock) = authority_of(config, None);
    authority.receive(ORIGIN, &composite()).await.unwrap();
    authority.register(ORIGIN, &token(), "c-1").await.unwrap();
    clock.advance(6 * MINUTE);
    hangs_for_bad_tokens(&fake_authority).await;
    let first = registers(&authority, from(0), "bad", "c-0");
    fake_authority.was_asked(1).await;
    let error = registers(&authority, from(1), "good", "c-2").await.unwrap().unwrap_err();
    assert!(matches!(error, Error::TooManyQuestions { .. }), "{error}");
    assert!(!authority.0.availability.is_unavailable(), "that is no outage");
    let earlier = registers(&authority, from(1), "hunter2", "c-1").await.unwrap();
    assert_eq!(earlier, approved("acct", true), "an earlier approval counts");
    assert_eq!(authority.receive(ORIGIN, &composite()).await, approved("acct", true));
    // The refresh has a permit of its own.
    fake_authority.was_asked(2).await;
    first.abort();
}

#[tokio::test]
async fn questions_of_approved_callers_are_not_counted() {
    let fake_authority = FakeAuthority::start().await;
    fake_authority.says(any_approval()).await;
    let (authority, _) = authority(&fake_authority);
    for number in 0..100 {
        let answer = registers(&authority, from(1), "good", "c-1").await.unwrap();
        assert_eq!(answer, approved("acct", false), "question {number}");
    }
    assert_eq!(fake_authority.asked().await, 100);
}

#[tokio::test]
async fn questions_about_one_cluster_from_one_peer_are_limited() {
    let fake_authority = FakeAuthority::start().await;
    fake_authority.says(any_approval()).await;
    let (authority, clock) = authority(&fake_authority);
    let mut limited = 0;
    for number in 0..100 {
        match registers(&authority, from(1), &format!("t-{number}"), "c-1").await.unwrap() {
            Err(Error::TooManyQuestions { retry_after, .. }) => {
                assert!(retry_after <= SECOND, "{retry_after:?}");
                limited += 1;
            }
            other => assert!(other.is_ok(), "{other:?}"),
        }
    }
    assert_eq!((limited, fake_authority.asked().await), (40, 60));
    for (origin, cluster) in [(from(2), "c-1"), (from(1), "c-2")] {
        let other = registers(&authority, origin, "good", cluster).await.unwrap();
        assert_eq!(other, approved("acct", false), "another peer, another cluster");
    }
    clock.advance(SECOND);
    assert!(registers(&authority, from(1), "good", "c-1").await.unwrap().is_ok());
    // Callers with an approval are not limited, however often they ask.
    for _ in 0..200 {
        authority.receive(from(3), &composite()).await.unwrap();
    }
}

#[tokio::test]
async fn a_neighbours_bad_tokens_do_not_lock_a_cluster_out() {
    let fake_authority = FakeAuthority::start().await;
    fake_authority
        .answers(|request| match String::from_utf8_lossy(&request.body).contains("bad") {
            true => ResponseTemplate::new(401),
            false => any_approval(),
        })
        .await;
    let (authority, clock) = authority(&fake_authority);
    let bad = async |number: u32| registers(&authority, from(1), &format!("bad-{number}"), "victim").await.unwrap();
    for number in 0..70 {
        bad(number).await.unwrap_err();
    }
    // The neighbour sends two bad tokens a second; the cluster tries once a second.
    for second in 0..10 {
        bad(100 + 2 * second).await.unwrap_err();
        if registers(&authority, from(1), "good", "victim").await.unwrap().is_ok() {
            return assert!(second > 0, "or the limit was not reached");
        }
        clock.advance(SECOND / 2);
        bad(101 + 2 * second).await.unwrap_err();
        clock.advance(SECOND / 2);
    }
    panic!("the cluster was locked out for ten seconds");
}

#[tokio::test]
async fn the_number_of_questions_under_way_is_bounded() {
    let fake_authority = FakeAuthority::start().await;
    fake_authority.says(any_approval()).await;
    let (authority, clock) = authority(&fake_authority);
    authority.register(ORIGIN, &token(), "c-0").await.unwrap();
    eventually(|| !authority.is_asking()).await;
    let (_sender, pending) = watch::channel(None);
    for number in 0..MAX_PENDING {
        authority.0.pending.lock().insert(crate::bounded::sha256(&number.to_be_bytes()), pending.clone());
    }
    let error = registers(&authority, from(1), "good", "c-1").await.unwrap().unwrap_err();
    assert_eq!(error, Error::TooManyQuestions { reason: "under way", retry_after: 5 * SECOND });
    clock.advance(SECOND);
    assert_eq!(authority.register(ORIGIN, &token(), "c-0").await, approved("acct", true), "an earlier approval counts");
    let held = authority.0.pending.lock().len();
    assert_eq!((held, fake_authority.asked().await), (MAX_PENDING, 1));
    authority.0.pending.lock().clear();
    assert_eq!(registers(&authority, from(1), "good", "c-1").await.unwrap(), approved("acct", false));
}

#[tokio::test]
async fn questions_from_one_peer_are_limited_in_all() {
    let fake_authority = FakeAuthority::start().await;
    fake_authority.says(any_approval()).await;
    let config = AuthorityConfig { rate_by_peer: Rate { burst: 20, per_minute: 60 }, ..fake_authority.config() };
    let (authority, _) = authority_of(config, None);
    let mut approved = 0;
    for number in 0..50 {
        let answer = registers(&authority, from(1), "good", &format!("c-{number}")).await.unwrap();
        approved += usize::from(answer.is_ok());
    }
    assert_eq!(approved, 20);
    assert!(registers(&authority, from(2), "good", "c-1").await.unwrap().is_ok());
}
