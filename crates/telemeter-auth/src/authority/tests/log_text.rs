//! Tests that errors for the log contain an excerpt of the answer, and no secret.
use super::*;

const BODY: &str = "no such cluster\r\ntoken hunter2-hunter2 of 7";

fn composite_with_secret() -> CompositeToken {
    composite_json(r#"{"cluster_id":"c-1","authorization_token":"hunter2-hunter2"}"#)
}

#[tokio::test]
async fn the_error_of_a_failure_holds_an_excerpt_on_one_line_without_secrets() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, _) = authority(&fake_authority);
    let shown = "no such cluster token [redacted] of 7";
    for (status, content_type, begin) in [
        (403, "text/plain", "the authority refused with status 403"),
        (500, "text/plain", "the authority is unavailable: it answered with status 500"),
        (200, "text/html", "the authority is unavailable: it answered with a page of HTML and status 200"),
    ] {
        fake_authority.says(ResponseTemplate::new(status).set_body_raw(BODY, content_type)).await;
        let secret = Secret::from("hunter2-hunter2");
        for answer in [
            authority.register(ORIGIN, &secret, "c-1").await,
            authority.receive(ORIGIN, &composite_with_secret()).await,
        ] {
            assert_eq!(answer.unwrap_err().to_string(), format!("{begin}: \"{shown}\""));
        }
    }
}

#[tokio::test]
async fn our_own_token_is_redacted_too() {
    let fake_authority = FakeAuthority::start().await;
    let (authority, _) = our_token::with_token(&fake_authority).await;
    fake_authority
        .answers(|request| {
            let header = request.headers["authorization"].to_str().unwrap();
            ResponseTemplate::new(500).set_body_string(format!("who is {header}?"))
        })
        .await;
    let error = authority.receive(ORIGIN, &composite_with_secret()).await.unwrap_err().to_string();
    assert!(error.ends_with(": \"who is Bearer [redacted]\""), "{error}");
}
