//! Tests what happens after a 401 to a request with our access token.

use super::*;

/// A target that accepts some tokens, and answers 401 to the others.
#[derive(Default)]
struct ProtectedServer {
    refused: parking_lot::Mutex<Vec<String>>,
    challenge: Option<&'static str>,
    asked: parking_lot::Mutex<Vec<String>>,
}

impl ProtectedServer {
    fn refuses(&self, tokens: &[&str]) {
        *self.refused.lock() = tokens.iter().map(|token| (*token).to_owned()).collect();
    }

    /// Sends a request. Returns the status of the answer, 0 where our access token is refused, 1 where there is no
    /// token.
    async fn ask(&self, source: &TokenSource) -> u16 {
        let sent = source.send(|token| async move {
            self.asked.lock().push(token.expose().to_owned());
            // With this delay several requests are open at once.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let is_refused = self.refused.lock().iter().any(|refused| refused == token.expose() || refused == "all");
            let mut headers = http::HeaderMap::new();
            if let Some(challenge) = self.challenge {
                headers.insert(http::header::WWW_AUTHENTICATE, http::HeaderValue::from_static(challenge));
            }
            let status = if is_refused { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
            Ok(Answer { status, headers, body: bytes::Bytes::new(), redirect: None, through: None })
        });
        match sent.await {
            Ok(answer) => answer.status.as_u16(),
            Err(SendError::TokenRefused) => 0,
            Err(SendError::NoToken(_)) => 1,
            Err(SendError::Outbound(error)) => panic!("{error}"),
        }
    }

    async fn ask_at_once(self: &Arc<Self>, source: &TokenSource, callers: usize) -> Vec<u16> {
        let asking = (0..callers).map(|_| {
            let (target, source) = (self.clone(), source.clone());
            tokio::spawn(async move { target.ask(&source).await })
        });
        let asking: Vec<_> = asking.collect();
        let mut statuses = Vec::new();
        for one in asking {
            statuses.push(one.await.unwrap());
        }
        statuses
    }
}

#[tokio::test]
async fn requests_refused_with_the_old_token_are_sent_again_with_the_new_one() {
    let issuer = Issuer::start().await;
    let (source, _) = issuer.source();
    let target = Arc::new(ProtectedServer::default());
    assert_eq!(target.ask(&source).await, 200);
    target.refuses(&["token-1"]);
    assert_eq!(target.ask_at_once(&source, 20).await, [200; 20]);
    assert_eq!(issuer.questions("/token").await.len(), 2, "one renewal for all of them");
    assert_eq!(target.asked.lock().len(), 41);
}

#[tokio::test]
async fn a_refusal_of_a_token_renewed_a_moment_ago_is_about_the_request() {
    let issuer = Issuer::start().await;
    let (source, clock) = issuer.source();
    let target = Arc::new(ProtectedServer::default());
    target.refuses(&["all"]);
    for _ in 0..3 {
        assert_eq!(target.ask(&source).await, 401);
    }
    assert_eq!(*target.asked.lock(), ["token-1", "token-2", "token-2", "token-2"]);
    assert_eq!(issuer.questions("/token").await.len(), 2, "a target that refuses all does not make us ask more often");
    clock.advance(Duration::from_secs(10));
    assert_eq!(target.ask(&source).await, 401);
    assert_eq!(issuer.questions("/token").await.len(), 3);
}

#[tokio::test]
async fn a_token_that_is_called_invalid_is_not_about_the_request() {
    let issuer = Issuer::start().await;
    let (source, _) = issuer.source();
    let challenge = Some(r#"Bearer realm="x", error="invalid_token""#);
    let target = ProtectedServer { challenge, ..ProtectedServer::default() };
    target.refuses(&["all"]);
    assert_eq!(target.ask(&source).await, 0);
    target.refuses(&[]);
    assert_eq!(target.ask(&source).await, 200);
}

#[tokio::test]
async fn a_refusal_too_soon_for_a_renewal_is_not_about_the_request() {
    let issuer = Issuer::start().await;
    let (source, clock) = issuer.source();
    let target = ProtectedServer::default();
    assert_eq!(target.ask(&source).await, 200);
    target.refuses(&["token-1"]);
    assert_eq!(target.ask(&source).await, 200);
    // The new secret gets another token, which is not a reaction to the refusal.
    source.replace_secret("new".into());
    eventually(async || source.token().await == Ok("token-3".into())).await;
    target.refuses(&["all"]);
    assert_eq!(target.ask(&source).await, 0);
    clock.advance(Duration::from_secs(10));
    target.refuses(&["token-3"]);
    assert_eq!(target.ask(&source).await, 200);
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_refused_token() {
    let issuer = Issuer::start().await;
    let (source, clock) = issuer.source();
    let target = Arc::new(ProtectedServer::default());
    target.refuses(&["token-1"]);
    assert_eq!(target.ask(&source).await, 200);
    clock.advance(Duration::from_secs(11));
    clock.set_ms(NOW_MS - 3_600_000);
    target.refuses(&["token-1", "token-2"]);
    assert_eq!(target.ask_at_once(&source, 25).await, [200; 25]);
    // A token is not used after it has expired either.
    clock.advance(Duration::from_secs(300));
    assert_eq!(source.token().await, Ok("token-4".into()));
}

/// A refusal may be about the request, so the refused token is still used for other requests while the provider issues
/// no other.
#[tokio::test]
async fn a_refused_token_serves_others_until_there_is_another() {
    let issuer = Issuer::start().await;
    let (source, _) = issuer.source();
    let target = ProtectedServer::default();
    assert_eq!(target.ask(&source).await, 200);
    issuer.is_unavailable().await;
    target.refuses(&["all"]);
    for _ in 0..5 {
        assert_eq!(target.ask(&source).await, 1, "the refusal may be about the token or the request");
    }
    target.refuses(&[]);
    assert_eq!(target.ask(&source).await, 200);
    assert!(issuer.server.received_requests().await.unwrap().len() <= 4, "nor is the provider flooded");
    issuer.grants_tokens(300.into()).await;
    eventually(async || source.token().await == Ok("token-2".into())).await;
}
