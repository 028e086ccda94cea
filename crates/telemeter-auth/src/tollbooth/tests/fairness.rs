use super::*;

fn from(number: u32) -> QuestionOrigin {
    QuestionOrigin { peer: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)) }
}

fn registers(
    tollbooth: &Authority,
    asker: QuestionOrigin,
    token: &str,
    cluster: &str,
) -> tokio::task::JoinHandle<ApprovalResult> {
    let (tollbooth, token, cluster) = (tollbooth.clone(), Secret::from(token), cluster.to_owned());
    tokio::spawn(async move { tollbooth.register(asker, &token, &cluster).await })
}

/// Never answers about a token that begins with `bad`; approves the others after a while.
async fn hangs_for_bad_tokens(authority: &FakeAuthority) {
    authority
        .answers(|request| match String::from_utf8_lossy(&request.body).contains("bad") {
            true => any_approval().set_delay(60 * MINUTE),
            false => any_approval().set_delay(SECOND / 20),
        })
        .await;
}

#[tokio::test]
async fn one_peer_without_a_good_token_leaves_room_for_all_others() {
    let authority = FakeAuthority::start().await;
    hangs_for_bad_tokens(&authority).await;
    let config = AuthorityConfig { questions: 64, max_wait: 15 * SECOND, ..authority.config() };
    let (tollbooth, clock) = tollbooth_of(config, None);
    let known = composite_of(500);
    tollbooth.receive(ASKER, &known).await.unwrap();
    let bad: Vec<_> =
        (0..300).map(|n| registers(&tollbooth, from(0), &format!("bad-{n}"), &format!("c-{n}"))).collect();
    // Half of what callers may have open.
    authority.was_asked(1 + 24).await;

    let good: Vec<_> = (1..73).map(|n| registers(&tollbooth, from(n), "good", &format!("c-{n}"))).collect();
    for (number, caller) in good.into_iter().enumerate() {
        assert_eq!(caller.await.unwrap(), approved("acct", false), "{number}");
    }
    // A refresh goes on, too.
    clock.advance(4 * MINUTE);
    assert_eq!(tollbooth.receive(ASKER, &known).await, approved("acct", false));
    authority.was_asked(1 + 24 + 72 + 1).await;
    assert_eq!(authority.asked().await, 98, "the others of that peer wait");
    bad.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn whoever_gets_no_turn_in_time_is_told_to_come_again() {
    let authority = FakeAuthority::start().await;
    let config = AuthorityConfig { questions: 1, max_wait: SECOND / 5, ..authority.config() };
    let (tollbooth, clock) = tollbooth_of(config, None);
    tollbooth.receive(ASKER, &composite()).await.unwrap();
    tollbooth.register(ASKER, &token(), "c-1").await.unwrap();
    clock.advance(6 * MINUTE);
    hangs_for_bad_tokens(&authority).await;
    let first = registers(&tollbooth, from(0), "bad", "c-0");
    authority.was_asked(1).await;
    let error = registers(&tollbooth, from(1), "good", "c-2").await.unwrap().unwrap_err();
    assert!(matches!(error, Error::TooManyQuestions { .. }), "{error}");
    assert!(!tollbooth.0.availability.is_unavailable(), "that is no outage");
    let earlier = registers(&tollbooth, from(1), "hunter2", "c-1").await.unwrap();
    assert_eq!(earlier, approved("acct", true), "an earlier approval counts");
    assert_eq!(tollbooth.receive(ASKER, &composite()).await, approved("acct", true));
    // Its refresh has a question of its own.
    authority.was_asked(2).await;
    first.abort();
}

#[tokio::test]
async fn questions_of_approved_callers_are_not_counted() {
    let authority = FakeAuthority::start().await;
    authority.says(any_approval()).await;
    let (tollbooth, _) = tollbooth(&authority);
    for number in 0..100 {
        let answer = registers(&tollbooth, from(1), "good", "c-1").await.unwrap();
        assert_eq!(answer, approved("acct", false), "question {number}");
    }
    assert_eq!(authority.asked().await, 100);
}

#[tokio::test]
async fn questions_about_one_cluster_from_one_peer_are_limited() {
    let authority = FakeAuthority::start().await;
    authority.says(any_approval()).await;
    let (tollbooth, clock) = tollbooth(&authority);
    let mut limited = 0;
    for number in 0..100 {
        match registers(&tollbooth, from(1), &format!("t-{number}"), "c-1").await.unwrap() {
            Err(Error::TooManyQuestions { retry_after, .. }) => {
                assert!(retry_after <= SECOND, "{retry_after:?}");
                limited += 1;
            }
            other => assert!(other.is_ok(), "{other:?}"),
        }
    }
    assert_eq!((limited, authority.asked().await), (40, 60));
    for (asker, cluster) in [(from(2), "c-1"), (from(1), "c-2")] {
        let other = registers(&tollbooth, asker, "good", cluster).await.unwrap();
        assert_eq!(other, approved("acct", false), "another peer, another cluster");
    }
    clock.advance(SECOND);
    assert!(registers(&tollbooth, from(1), "good", "c-1").await.unwrap().is_ok());
    // Whom the authority approved goes on however often they ask.
    for _ in 0..200 {
        tollbooth.receive(from(3), &composite()).await.unwrap();
    }
}

#[tokio::test]
async fn a_neighbour_s_bad_tokens_do_not_keep_a_cluster_out() {
    let authority = FakeAuthority::start().await;
    authority
        .answers(|request| match String::from_utf8_lossy(&request.body).contains("bad") {
            true => ResponseTemplate::new(401),
            false => any_approval(),
        })
        .await;
    let (tollbooth, clock) = tollbooth(&authority);
    let bad = async |number: u32| registers(&tollbooth, from(1), &format!("bad-{number}"), "victim").await.unwrap();
    for number in 0..70 {
        bad(number).await.unwrap_err();
    }
    // The neighbour goes on with two a second; the cluster tries once a second.
    for second in 0..10 {
        bad(100 + 2 * second).await.unwrap_err();
        if registers(&tollbooth, from(1), "good", "victim").await.unwrap().is_ok() {
            return assert!(second > 0, "or the limit was not reached");
        }
        clock.advance(SECOND / 2);
        bad(101 + 2 * second).await.unwrap_err();
        clock.advance(SECOND / 2);
    }
    panic!("the cluster was kept out for ten seconds");
}

#[tokio::test]
async fn so_many_questions_are_under_way_and_no_more() {
    let authority = FakeAuthority::start().await;
    authority.says(any_approval()).await;
    let (tollbooth, clock) = tollbooth(&authority);
    tollbooth.register(ASKER, &token(), "c-0").await.unwrap();
    eventually(|| !tollbooth.is_asking()).await;
    let (_sender, coming) = watch::channel(None);
    for number in 0..MAX_ASKED {
        tollbooth.0.asked.lock().insert(crate::bounded::sha256(&number.to_be_bytes()), coming.clone());
    }
    let error = registers(&tollbooth, from(1), "good", "c-1").await.unwrap().unwrap_err();
    assert_eq!(error, Error::TooManyQuestions { reason: "under way", retry_after: 5 * SECOND });
    clock.advance(SECOND);
    assert_eq!(tollbooth.register(ASKER, &token(), "c-0").await, approved("acct", true), "an earlier approval counts");
    let held = tollbooth.0.asked.lock().len();
    assert_eq!((held, authority.asked().await), (MAX_ASKED, 1));
    tollbooth.0.asked.lock().clear();
    assert_eq!(registers(&tollbooth, from(1), "good", "c-1").await.unwrap(), approved("acct", false));
}

#[tokio::test]
async fn questions_from_one_peer_are_limited_in_all() {
    let authority = FakeAuthority::start().await;
    authority.says(any_approval()).await;
    let config = AuthorityConfig { rate_of_peer: Rate { burst: 20, per_minute: 60 }, ..authority.config() };
    let (tollbooth, _) = tollbooth_of(config, None);
    let mut approved = 0;
    for number in 0..50 {
        let answer = registers(&tollbooth, from(1), "good", &format!("c-{number}")).await.unwrap();
        approved += usize::from(answer.is_ok());
    }
    assert_eq!(approved, 20);
    assert!(registers(&tollbooth, from(2), "good", "c-1").await.unwrap().is_ok());
}
