#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use telemeter_http::client::OutboundConfig;
use telemeter_http::clock::ClockHandle;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::*;

mod answers;
mod styles;

const NOW_MS: i64 = 1_795_330_875_000;
const PASSWORD: &str = "s/&x: ü";

struct Issuer {
    server: MockServer,
    granted: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start() -> Self {
        let issuer = Self { server: MockServer::start().await, granted: Arc::default() };
        issuer.is_back(300.into()).await;
        issuer
    }

    fn name(&self) -> String {
        self.server.uri()
    }

    async fn describes(&self, metadata: ResponseTemplate) {
        Mock::given(method("GET"))
            .and(path("/.well-known/openid-configuration"))
            .respond_with(metadata)
            .mount(&self.server)
            .await;
    }

    async fn answers(&self, answer: impl Fn(&Request) -> ResponseTemplate + Send + Sync + 'static) {
        self.server.reset().await;
        let endpoint = format!("{}/token", self.name());
        let metadata = serde_json::json!({"issuer": self.name(), "token_endpoint": endpoint, "more": []});
        self.describes(ResponseTemplate::new(200).set_body_json(metadata)).await;
        Mock::given(method("POST")).and(path("/token")).respond_with(answer).mount(&self.server).await;
    }

    /// Grants `token-1`, `token-2` and so on.
    async fn is_back(&self, expires_in: serde_json::Value) {
        let granted = self.granted.clone();
        self.answers(move |_| {
            let number = granted.fetch_add(1, Ordering::Relaxed) + 1;
            grant(&format!("token-{number}"), &expires_in)
        })
        .await;
    }

    async fn is_out(&self) {
        self.server.reset().await;
        Mock::given(wiremock::matchers::any()).respond_with(ResponseTemplate::new(503)).mount(&self.server).await;
    }

    async fn questions(&self, to: &str) -> Vec<Request> {
        let all = self.server.received_requests().await.unwrap();
        all.into_iter().filter(|request| request.url.path() == to).collect()
    }

    fn source(&self) -> (TokenSource, ClockHandle) {
        source_of(&self.name())
    }
}

fn grant(token: &str, expires_in: &serde_json::Value) -> ResponseTemplate {
    let grant = serde_json::json!({"access_token": token, "token_type": "bearer", "expires_in": expires_in});
    ResponseTemplate::new(200).set_body_json(grant)
}

fn config_of(issuer: &str) -> OidcConfig {
    OidcConfig {
        issuer: issuer.to_owned(),
        client_id: "me & co".to_owned(),
        client_secret: PASSWORD.into(),
        audience: Some("the store".to_owned()),
    }
}

fn outbound() -> Outbound {
    Outbound::new(OutboundConfig::new("oauth"), None).unwrap()
}

fn source_of(issuer: &str) -> (TokenSource, ClockHandle) {
    let (clock, handle) = Clock::fixed(NOW_MS);
    (TokenSource::new(config_of(issuer), outbound(), clock), handle)
}

async fn eventually(condition: impl AsyncFn() -> bool) {
    for _ in 0..500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be");
}

fn form(request: &Request) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn asks_once_with_the_password_in_the_header() {
    let issuer = Issuer::start().await;
    let (source, _) = issuer.source();
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move { source.token().await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Ok("token-1".into()));
    }
    assert_eq!(source.status(), Ok(()));
    assert_eq!(issuer.questions("/.well-known/openid-configuration").await.len(), 1);
    let questions = issuer.questions("/token").await;
    assert_eq!(questions.len(), 1);
    let expected = format!("Basic {}", BASE64_STANDARD.encode("me+%26+co:s%2F%26x%3A+%C3%BC"));
    assert_eq!(questions[0].headers["authorization"], expected.as_str());
    assert_eq!(form(&questions[0]), pairs(&[("grant_type", "client_credentials"), ("audience", "the store")]));
}

#[tokio::test]
async fn an_earlier_token_serves_until_its_end_while_the_provider_is_out() {
    let issuer = Issuer::start().await;
    let (source, clock) = issuer.source();
    assert_eq!(source.token().await, Ok("token-1".into()));
    issuer.is_out().await;
    clock.advance(Duration::from_secs(299));
    assert_eq!(source.token().await, Ok("token-1".into()));
    assert_eq!(source.status(), Ok(()));
    clock.advance(Duration::from_secs(1));
    let error = source.token().await.unwrap_err();
    check_reason(&error, "status 503");
    assert_eq!(source.status(), Err(error.to_string()));
    issuer.is_back(300.into()).await;
    eventually(async || source.token().await == Ok("token-2".into())).await;
    assert_eq!(source.status(), Ok(()));
}

#[tokio::test]
async fn a_provider_that_is_out_at_start_is_asked_until_it_is_there() {
    let issuer = Issuer::start().await;
    issuer.is_out().await;
    let (source, _) = issuer.source();
    assert_eq!(source.status(), Err("no token from the OIDC provider yet".to_owned()));
    eventually(async || source.status().is_err_and(|reason| reason.contains("status 503"))).await;
    issuer.is_back(300.into()).await;
    eventually(async || source.status().is_ok()).await;
}

#[tokio::test]
async fn callers_do_not_flood_a_provider_that_is_out() {
    let issuer = Issuer::start().await;
    issuer.is_out().await;
    let (source, _) = issuer.source();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(500) {
        assert!(source.token().await.is_err());
    }
    assert_eq!(issuer.server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn renews_in_the_background_before_the_end() {
    let issuer = Issuer::start().await;
    issuer.is_back(2.into()).await;
    let config = OidcConfig {
        issuer: issuer.name(),
        client_id: "me".to_owned(),
        client_secret: PASSWORD.into(),
        audience: None,
    };
    let source = TokenSource::new(config, outbound(), Clock::system());
    eventually(async || source.status().is_ok()).await;
    eventually(async || {
        assert_eq!(source.status(), Ok(()), "there is a good token at all times");
        issuer.granted.load(Ordering::Relaxed) >= 3
    })
    .await;
    drop(source);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let granted = issuer.granted.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(issuer.granted.load(Ordering::Relaxed), granted, "with its last clone it ends");
}

#[test]
fn renewal_is_at_80_percent_or_10_seconds_before_the_end() {
    for (life, renewed_after) in [(3600, 2880), (60, 48), (50, 40), (40, 30), (30, 20), (20, 10), (12, 6), (2, 1)] {
        let granted = Granted { token: "t".into(), lives: Some(Duration::from_secs(life)) };
        let current = HeldToken::new(granted, 1, 7);
        assert_eq!(current.expires_ms, 7 + i64::try_from(life).unwrap() * 1000);
        assert_eq!(current.renew_ms, 7 + renewed_after * 1000, "a life of {life} s");
    }
    let endless = HeldToken::new(Granted { token: "t".into(), lives: None }, 1, 7);
    assert_eq!((endless.renew_ms, endless.expires_ms), (i64::MAX, i64::MAX));
}

#[tokio::test]
async fn a_lifetime_may_be_absent_or_a_text() {
    let issuer = Issuer::start().await;
    for endless in [serde_json::Value::Null, 0.into()] {
        issuer.is_back(endless).await;
        let (source, clock) = issuer.source();
        let first = source.token().await.unwrap();
        clock.advance(Duration::from_secs(100 * 365 * 86_400));
        assert_eq!(source.token().await, Ok(first));
    }
    issuer.is_back("300".into()).await;
    let (source, clock) = issuer.source();
    let first = source.token().await.unwrap();
    clock.advance(Duration::from_secs(300));
    assert_ne!(source.token().await, Ok(first));
}

/// A target that takes some tokens, and answers 401 to the others.
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

    /// The status of its answer, 0 where our own token is refused, 1 where there is none.
    async fn ask(&self, source: &TokenSource) -> u16 {
        let sent = source.send(|token| async move {
            self.asked.lock().push(token.expose().to_owned());
            // So that several questions are open at once.
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
async fn whatever_failed_with_the_old_token_is_asked_again_with_the_new_one() {
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
async fn a_refusal_of_a_token_renewed_a_moment_ago_is_the_request_s_own() {
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
async fn a_token_that_is_called_invalid_is_not_the_request_s_fault() {
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
async fn a_renewal_that_is_too_soon_is_no_refusal_of_the_request() {
    let issuer = Issuer::start().await;
    let (source, clock) = issuer.source();
    let target = ProtectedServer::default();
    assert_eq!(target.ask(&source).await, 200);
    target.refuses(&["token-1"]);
    assert_eq!(target.ask(&source).await, 200);
    // Another that was due takes its place; it is no answer to the refusal.
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
    // Nor is a token kept beyond its end.
    clock.advance(Duration::from_secs(300));
    assert_eq!(source.token().await, Ok("token-4".into()));
}

/// A refusal may be about the request: it must not take the token of all others while the provider gives no other.
#[tokio::test]
async fn a_refused_token_serves_others_until_there_is_another() {
    let issuer = Issuer::start().await;
    let (source, _) = issuer.source();
    let target = ProtectedServer::default();
    assert_eq!(target.ask(&source).await, 200);
    issuer.is_out().await;
    target.refuses(&["all"]);
    for _ in 0..5 {
        assert_eq!(target.ask(&source).await, 1, "nobody can tell what the refusal is about");
    }
    target.refuses(&[]);
    assert_eq!(target.ask(&source).await, 200);
    assert!(issuer.server.received_requests().await.unwrap().len() <= 4, "nor is the provider flooded");
    issuer.is_back(300.into()).await;
    eventually(async || source.token().await == Ok("token-2".into())).await;
}

#[tokio::test]
async fn another_password_is_used_at_once() {
    let issuer = Issuer::start().await;
    let (source, _) = issuer.source();
    source.token().await.unwrap();
    source.replace_secret(PASSWORD.into());
    source.replace_secret("new".into());
    eventually(async || source.token().await == Ok("token-2".into())).await;
    let questions = issuer.questions("/token").await;
    let expected = format!("Basic {}", BASE64_STANDARD.encode("me+%26+co:new"));
    assert_eq!(questions.len(), 2, "the same password again changes nothing");
    assert_eq!(questions[1].headers["authorization"], expected.as_str());
}

#[track_caller]
fn check_reason(error: &Error, reason: &str) {
    let text = error.to_string();
    assert!(text.contains(reason), "{text}");
    for secret in ["s/&x", "s%2F", "leak", &BASE64_STANDARD.encode("me+%26+co")[..9]] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test]
async fn says_why_there_is_no_token() {
    let text = |status, body: &str| ResponseTemplate::new(status).set_body_string(body.to_owned());
    let leaking = serde_json::json!({"error": "invalid_client", "error_description": format!("not {PASSWORD}!\n")});
    for (answer, reason) in [
        (ResponseTemplate::new(401).set_body_json(leaking), "with status 401: invalid_client (not [redacted]!\\n)"),
        (text(503, ""), "the token endpoint answered with status 503"),
        (text(307, "").insert_header("Location", "/other?state=leak"), "a redirect to http://127.0.0.1:"),
        (ResponseTemplate::new(200).set_body_raw("<leak>", "text/html"), "status 200 and text/html, which is no token"),
        (text(200, &"x".repeat(256 * 1024 + 1)), "longer than"),
    ] {
        let issuer = Issuer::start().await;
        issuer.answers(move |_| answer.clone()).await;
        let (source, _) = issuer.source();
        let error = source.token().await.unwrap_err();
        check_reason(&error, reason);
        assert_eq!(source.status(), Err(error.to_string()), "the status page says it as well");
    }
}

#[tokio::test]
async fn says_why_discovery_fails() {
    let issuer = Issuer::start().await;
    let name = issuer.name();
    let metadata = |issuer: &str, endpoint: Option<&str>| {
        ResponseTemplate::new(200).set_body_json(serde_json::json!({"issuer": issuer, "token_endpoint": endpoint}))
    };
    let token = format!("{name}/token");
    let equal = format!("names itself {name}/, but --oidc-issuer is {name}: they must be equal");
    let moved = format!("discovery answered with status 301, a redirect to {name}/login, which is not followed");
    for (metadata, reason) in [
        (metadata(&format!("{name}/"), Some(&token)), equal.as_str()),
        (metadata(&name, Some("/token")), "the token endpoint is no http URL: /token"),
        (metadata(&name, Some("ftp://h/token")), "the token endpoint is no http URL: ftp://h/token"),
        (metadata(&name, None), "has no token_endpoint"),
        (ResponseTemplate::new(200).set_body_string("leak"), "status 200, which is no provider's metadata"),
        (ResponseTemplate::new(200).set_body_raw("leak", "text/html"), "status 200 and text/html, which is no"),
        (ResponseTemplate::new(404), "discovery answered with status 404"),
        (ResponseTemplate::new(301).insert_header("Location", "/login?next=leak"), moved.as_str()),
    ] {
        issuer.server.reset().await;
        issuer.describes(metadata).await;
        check_reason(&issuer.source().0.token().await.unwrap_err(), reason);
    }
    check_reason(&source_of("leak").0.token().await.unwrap_err(), "the issuer is no URL");
    let unbound = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    check_reason(
        &source_of(&format!("http://{unbound}")).0.token().await.unwrap_err(),
        &format!("discovery: cannot connect to http://{unbound}/"),
    );
}

#[tokio::test]
async fn an_issuer_with_a_slash_and_metadata_with_a_201() {
    let issuer = Issuer::start().await;
    let name = format!("{}/", issuer.name());
    issuer.server.reset().await;
    let metadata = serde_json::json!({"issuer": name, "token_endpoint": format!("{name}token")});
    issuer.describes(ResponseTemplate::new(201).set_body_json(metadata)).await;
    let answer = grant("t", &300.into());
    Mock::given(method("POST")).and(path("/token")).respond_with(answer).mount(&issuer.server).await;
    assert_eq!(source_of(&name).0.token().await, Ok("t".into()));
}

#[tokio::test]
async fn a_provider_that_asks_to_be_left_alone_is() {
    let issuer = Issuer::start().await;
    issuer.answers(|_| ResponseTemplate::new(500).insert_header("Retry-After", "3000")).await;
    let (source, _) = issuer.source();
    check_reason(&source.token().await.unwrap_err(), "status 500");
    let asked = issuer.questions("/token").await.len();
    // Longer than it is left alone after any failure.
    tokio::time::sleep(3 * AFTER_FAILURE).await;
    check_reason(&source.token().await.unwrap_err(), "status 500");
    assert_eq!(issuer.questions("/token").await.len(), asked, "neither for a caller nor in the background");
    // Another password is another question.
    issuer.is_back(300.into()).await;
    source.replace_secret("new".into());
    eventually(async || source.token().await.is_ok()).await;
}
