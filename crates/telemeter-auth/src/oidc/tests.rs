//! Tests how access tokens for outbound calls are requested, cached and renewed, with a fake OIDC provider.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use telemeter_http::client::OutboundConfig;
use telemeter_http::clock::ClockHandle;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::answer::IssuedToken;
use super::state::HeldToken;
use super::*;

mod answers;
mod auth_methods;
mod refusals;

const NOW_MS: i64 = 1_795_330_875_000;
const SECRET: &str = "s/&x: ü";

struct Issuer {
    server: MockServer,
    granted: Arc<AtomicUsize>,
}

impl Issuer {
    async fn start() -> Self {
        let issuer = Self { server: MockServer::start().await, granted: Arc::default() };
        issuer.grants_tokens(300.into()).await;
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
    async fn grants_tokens(&self, expires_in: serde_json::Value) {
        let granted = self.granted.clone();
        self.answers(move |_| {
            let number = granted.fetch_add(1, Ordering::Relaxed) + 1;
            grant(&format!("token-{number}"), &expires_in)
        })
        .await;
    }

    async fn is_unavailable(&self) {
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
        client_secret: SECRET.into(),
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
    panic!("the condition never became true");
}

fn form(request: &Request) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn asks_once_with_the_secret_in_the_header() {
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
async fn an_earlier_token_serves_until_its_end_while_the_provider_is_unavailable() {
    let issuer = Issuer::start().await;
    let (source, clock) = issuer.source();
    assert_eq!(source.token().await, Ok("token-1".into()));
    issuer.is_unavailable().await;
    clock.advance(Duration::from_secs(299));
    assert_eq!(source.token().await, Ok("token-1".into()));
    assert_eq!(source.status(), Ok(()));
    clock.advance(Duration::from_secs(1));
    let error = source.token().await.unwrap_err();
    check_reason(&error, "status 503");
    assert_eq!(source.status(), Err(error.to_string()));
    issuer.grants_tokens(300.into()).await;
    eventually(async || source.token().await == Ok("token-2".into())).await;
    assert_eq!(source.status(), Ok(()));
}

#[tokio::test]
async fn a_provider_that_is_unavailable_at_start_is_asked_until_it_is_there() {
    let issuer = Issuer::start().await;
    issuer.is_unavailable().await;
    let (source, _) = issuer.source();
    assert_eq!(source.status(), Err("no token from the OIDC provider yet".to_owned()));
    eventually(async || source.status().is_err_and(|reason| reason.contains("status 503"))).await;
    issuer.grants_tokens(300.into()).await;
    eventually(async || source.status().is_ok()).await;
}

#[tokio::test]
async fn callers_do_not_flood_a_provider_that_is_unavailable() {
    let issuer = Issuer::start().await;
    issuer.is_unavailable().await;
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
    issuer.grants_tokens(2.into()).await;
    let config =
        OidcConfig { issuer: issuer.name(), client_id: "me".to_owned(), client_secret: SECRET.into(), audience: None };
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
        let issued = IssuedToken { token: "t".into(), lifetime: Some(Duration::from_secs(life)) };
        let current = HeldToken::new(issued, 1, 7);
        assert_eq!(current.expires_ms, 7 + i64::try_from(life).unwrap() * 1000);
        assert_eq!(current.renew_ms, 7 + renewed_after * 1000, "a life of {life} s");
    }
    let endless = HeldToken::new(IssuedToken { token: "t".into(), lifetime: None }, 1, 7);
    assert_eq!((endless.renew_ms, endless.expires_ms), (i64::MAX, i64::MAX));
}

#[tokio::test]
async fn a_lifetime_may_be_absent_or_a_text() {
    let issuer = Issuer::start().await;
    for endless in [serde_json::Value::Null, 0.into()] {
        issuer.grants_tokens(endless).await;
        let (source, clock) = issuer.source();
        let first = source.token().await.unwrap();
        clock.advance(Duration::from_secs(100 * 365 * 86_400));
        assert_eq!(source.token().await, Ok(first));
    }
    issuer.grants_tokens("300".into()).await;
    let (source, clock) = issuer.source();
    let first = source.token().await.unwrap();
    clock.advance(Duration::from_secs(300));
    assert_ne!(source.token().await, Ok(first));
}

#[tokio::test]
async fn another_secret_is_used_at_once() {
    let issuer = Issuer::start().await;
    let (source, _) = issuer.source();
    source.token().await.unwrap();
    source.replace_secret(SECRET.into());
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
    let leaking = serde_json::json!({"error": "invalid_client", "error_description": format!("not {SECRET}!\n")});
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
async fn a_provider_that_asks_us_to_wait_is_not_asked_meanwhile() {
    let issuer = Issuer::start().await;
    issuer.answers(|_| ResponseTemplate::new(500).insert_header("Retry-After", "3000")).await;
    let (source, _) = issuer.source();
    check_reason(&source.token().await.unwrap_err(), "status 500");
    let asked = issuer.questions("/token").await.len();
    // This is longer than the pause in requests to the provider after any failure.
    tokio::time::sleep(3 * RETRY_INTERVAL).await;
    check_reason(&source.token().await.unwrap_err(), "status 500");
    assert_eq!(issuer.questions("/token").await.len(), asked, "neither for a caller nor in the background");
    // A new client secret is tried at once.
    issuer.grants_tokens(300.into()).await;
    source.replace_secret("new".into());
    eventually(async || source.token().await.is_ok()).await;
}
