//! Tests that the spellings of one token share one cached approval, within limits.
use super::*;

/// Spells the same token in different ways: with other white space, in another order, with escapes, and with additional
/// fields.
fn spelling(number: usize) -> CompositeToken {
    composite_json(&match number % 4 {
        0 => format!(r#"{{"cluster_id":"c-1","authorization_token":"hunter2"{}}}"#, " ".repeat(number)),
        1 => format!(r#"{{"authorization_token":"hunter2","x":{number},"cluster_id":"c-1"}}"#),
        2 => format!(r#"{{"cluster_id":"c\u002d1","authorization_token":"hunter\u0032","y":"{number}"}}"#),
        _ => format!(r#"{{"z":[{number}],"cluster_id":"c-1","authorization_token":"hunter2"}}"#),
    })
}

#[tokio::test]
async fn all_spellings_of_a_token_are_one_question_and_one_approval() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, _) = authority(&fake_authority);
    fake_authority.says(approval("acct").set_delay(SECOND / 4)).await;
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let authority = authority.clone();
            tokio::spawn(async move { authority.receive(ORIGIN, &spelling(number)).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), approved("acct", false));
    }
    for number in 0..2_000 {
        assert_eq!(authority.receive(ORIGIN, &spelling(number)).await, approved("acct", false));
    }
    assert_eq!(fake_authority.asked().await, 1);
}

#[test]
fn cluster_token_and_kind_are_told_apart() {
    let key = |kind, cluster, token| QuestionKey::new(kind, cluster, token).digest;
    let keys = [
        key(QuestionKind::Receive, "c", "t"),
        key(QuestionKind::Register, "c", "t"),
        key(QuestionKind::Receive, "ct", ""),
        key(QuestionKind::Receive, "", "ct"),
        key(QuestionKind::Receive, "c", "t2"),
        key(QuestionKind::Receive, "c2", "t"),
    ];
    for (at, one) in keys.iter().enumerate() {
        assert!(keys[at + 1..].iter().all(|other| other != one), "{at}");
    }
    assert_eq!(key(QuestionKind::Receive, "c", "t"), keys[0]);
}

#[tokio::test]
async fn a_cluster_with_many_tokens_evicts_no_other() {
    let fake_authority = FakeAuthority::start().await;
    fake_authority.says(any_approval()).await;
    let config = AuthorityConfig {
        max_approvals: 1_280,
        rate_by_cluster: Rate { burst: 10_000, per_minute: 60 },
        ..fake_authority.config()
    };
    let (authority, clock) = authority_of(config, None);
    for cluster in 0..200 {
        authority.receive(ORIGIN, &composite_of(cluster)).await.unwrap();
    }
    // The approvals that were used longest ago would be removed first.
    clock.advance(SECOND);
    for number in 0..400 {
        let json = format!(r#"{{"cluster_id":"c-7","authorization_token":"other-{number}"}}"#);
        authority.receive(ORIGIN, &composite_json(&json)).await.unwrap();
    }
    assert_eq!(fake_authority.asked().await, 600);
    for cluster in (0..200).filter(|cluster| *cluster != 7) {
        authority.receive(ORIGIN, &composite_of(cluster)).await.unwrap();
    }
    assert_eq!(fake_authority.asked().await, 600, "all are still there");
}
