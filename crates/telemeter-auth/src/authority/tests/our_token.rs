//! Tests questions with an access token of our own, and what happens when the authority refuses it.
use std::sync::atomic::Ordering;

use super::*;

use crate::oidc::OidcConfig;

/// An authority that accepts one access token of ours, and an OIDC provider that issues `token-1`, `token-2` and so on.
pub(super) async fn with_token(fake_authority: &FakeAuthority) -> (Authority, ClockHandle) {
    use wiremock::matchers::{method, path};
    let provider = Box::leak(Box::new(MockServer::start().await));
    let metadata = serde_json::json!({"issuer": provider.uri(), "token_endpoint": format!("{}/token", provider.uri())});
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_json(metadata)).mount(provider).await;
    let granted = std::sync::atomic::AtomicUsize::new(1);
    let grant = move |_: &wiremock::Request| {
        let token = format!("token-{}", granted.fetch_add(1, Ordering::Relaxed));
        let grant = serde_json::json!({"access_token": token, "token_type": "bearer", "expires_in": 300});
        ResponseTemplate::new(200).set_body_json(grant)
    };
    Mock::given(method("POST")).and(path("/token")).respond_with(grant).mount(provider).await;
    let config = OidcConfig {
        issuer: provider.uri(),
        client_id: "me".to_owned(),
        client_secret: "secret".into(),
        audience: None,
    };
    let (clock, handle) = Clock::fixed(NOW_MS);
    let outbound = |name| Outbound::new(OutboundConfig::new(name), None).unwrap();
    let source = TokenSource::new(config, outbound("oidc"), clock.clone());
    (Authority::new(fake_authority.config(), outbound("authorize"), clock, None, Some(source)), handle)
}

async fn ask_about_all(authority: &Authority, clusters: std::ops::Range<usize>) -> Vec<ApprovalResult> {
    let asking: Vec<_> = clusters
        .map(|cluster| {
            let authority = authority.clone();
            tokio::spawn(async move { authority.receive(ORIGIN, &composite_of(cluster)).await })
        })
        .collect();
    let mut answers = Vec::new();
    for one in asking {
        answers.push(one.await.unwrap());
    }
    answers
}

#[tokio::test]
async fn callers_hear_nothing_of_our_own_token_s_end_and_keep_their_approvals() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, clock) = with_token(&fake_authority).await;
    let good_is = |good: &'static str| {
        move |request: &wiremock::Request| match request.headers["authorization"] == good {
            true => any_approval().set_delay(SECOND / 20),
            false => ResponseTemplate::new(401).set_delay(SECOND / 20),
        }
    };
    fake_authority.answers(good_is("Bearer token-1")).await;
    assert_eq!(ask_about_all(&authority, 0..20).await, vec![approved("acct", false); 20]);
    clock.advance(5 * MINUTE);
    fake_authority.answers(good_is("Bearer token-2")).await;
    assert_eq!(ask_about_all(&authority, 0..20).await, vec![approved("acct", true); 20]);
    eventually(|| !authority.is_asking()).await;
    assert_eq!(ask_about_all(&authority, 0..20).await, vec![approved("acct", false); 20]);
    // The approvals are still cached while the authority is unavailable.
    clock.advance(6 * MINUTE);
    fake_authority.is_unavailable().await;
    assert_eq!(ask_about_all(&authority, 0..20).await, vec![approved("acct", true); 20]);
}

#[tokio::test]
async fn a_caller_s_own_refusal_is_still_a_refusal() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, _) = with_token(&fake_authority).await;
    fake_authority
        .answers(|request| match String::from_utf8_lossy(&request.body).contains("c-7") {
            true => ResponseTemplate::new(401),
            false => any_approval(),
        })
        .await;
    for (cluster, answer) in ask_about_all(&authority, 0..20).await.into_iter().enumerate() {
        let expected = if cluster == 7 { refused(401) } else { approved("acct", false) };
        assert_eq!(answer, expected, "c-{cluster}");
    }
}

#[tokio::test]
async fn an_authority_that_calls_our_renewed_token_invalid_is_unavailable() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, _) = with_token(&fake_authority).await;
    fake_authority
        .says(ResponseTemplate::new(401).insert_header("www-authenticate", "Bearer error=\"invalid_token\""))
        .await;
    check_unavailable(authority.receive(ORIGIN, &composite()).await, "refuses our own token");
}

#[tokio::test]
async fn a_fleet_is_not_refused_within_a_minute() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, clock) = authority(&fake_authority);
    fake_authority.says(any_approval()).await;
    assert_eq!(ask_about_all(&authority, 0..20).await, vec![approved("acct", false); 20]);
    clock.advance(5 * MINUTE);
    fake_authority.says(ResponseTemplate::new(401)).await;
    let refused = |answers: &[ApprovalResult]| answers.iter().filter(|answer| answer.is_err()).count();
    assert_eq!(refused(&ask_about_all(&authority, 0..20).await), 0, "each starts a refresh");
    eventually(|| !authority.is_asking()).await;
    let answers = ask_about_all(&authority, 0..20).await;
    assert_eq!(refused(&answers), 2, "those cannot be told from clusters that were removed: {answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == approved("acct", true)).count(), 18);
    // A caller that was never approved is still refused.
    assert_eq!(authority.receive(ORIGIN, &composite_of(77)).await, super::refused(401));
    fake_authority.says(any_approval()).await;
    clock.advance(MINUTE);
    assert_eq!(refused(&ask_about_all(&authority, 0..20).await), 0);
}
