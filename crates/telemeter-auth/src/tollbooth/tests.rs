#![allow(clippy::unwrap_used)]

use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use telemeter_http::client::{OutboundConfig, Resolver};
use telemeter_http::clock::ClockHandle;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::composite_token;
use crate::jwt::Keys;
use crate::memcached::fake::{Fake, Manner};
use crate::memcached::{CacheMetrics, Memcached, ReadResult, WriteResult};

const NOW_MS: i64 = 1_795_330_875_000;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const COMPOSITE: &str = r#"{"cluster_id":"c-1", "authorization_token":"hunter2", "x":1}"#;

struct Authority(MockServer);

impl Authority {
    async fn start() -> Self {
        let authority = Self(MockServer::start().await);
        authority.says_yes().await;
        authority
    }

    async fn says(&self, answer: ResponseTemplate) {
        self.0.reset().await;
        Mock::given(any()).respond_with(answer).mount(&self.0).await;
    }

    async fn says_yes(&self) {
        self.says(yes("acct")).await;
    }

    async fn is_out(&self) {
        self.says(ResponseTemplate::new(500)).await;
    }

    async fn asked(&self) -> usize {
        self.0.received_requests().await.unwrap().len()
    }

    fn config(&self) -> TollboothConfig {
        TollboothConfig::new(format!("{}/accounts?x=y", self.0.uri()).parse().unwrap())
    }
}

fn yes(account: &str) -> ResponseTemplate {
    let body = serde_json::json!({"account_id": account, "cluster_id": "c-1", "more": [1]});
    ResponseTemplate::new(200).set_body_json(body)
}

fn tollbooth_of(config: TollboothConfig, shared: Option<SharedCache>) -> (Tollbooth, ClockHandle) {
    let (clock, handle) = Clock::fixed(NOW_MS);
    let outbound = Outbound::new(OutboundConfig::new("authorize"), None).unwrap();
    (Tollbooth::new(config, outbound, clock, shared, None), handle)
}

fn tollbooth(authority: &Authority) -> (Tollbooth, ClockHandle) {
    tollbooth_of(authority.config(), None)
}

fn composite() -> CompositeToken {
    composite_token::decode(&BASE64_STANDARD.encode(COMPOSITE)).unwrap()
}

fn token() -> Secret {
    Secret::from("hunter2")
}

fn said(account: &str, stale: bool) -> Result<Yes, Error> {
    Ok(Yes { account: account.into(), stale })
}

#[track_caller]
fn check_out(answer: Result<Yes, Error>, reason: &str) {
    match answer {
        Err(error @ Error::AuthorityUnavailable { .. }) => {
            let text = error.to_string();
            assert!(text.contains(reason), "{text}");
            assert!(!text.contains("hunter2") && !text.contains("x=y"), "{text}");
        }
        other => panic!("{other:?}, not unavailable because {reason}"),
    }
}

#[tokio::test]
async fn asks_in_both_shapes() {
    let authority = Authority::start().await;
    let (tollbooth, _) = tollbooth(&authority);
    assert_eq!(tollbooth.register(&token(), "c-1").await, said("acct", false));
    assert_eq!(tollbooth.receive(&composite()).await, said("acct", false));

    let requests = authority.0.received_requests().await.unwrap();
    let registration: serde_json::Value = serde_json::from_slice(&requests[0].body).unwrap();
    let expected = serde_json::json!({"cluster_id": "c-1", "authorization_token": "hunter2", "account_id": ""});
    assert_eq!(registration, expected);
    assert_eq!(requests[1].body, COMPOSITE.as_bytes(), "the composite token itself, byte for byte");
    for request in requests {
        assert_eq!(request.method.as_str(), "POST");
        assert_eq!(request.url.path(), "/accounts");
        assert_eq!(request.headers["content-type"], "application/json");
    }
}

#[tokio::test]
async fn its_no_is_its_status() {
    let authority = Authority::start().await;
    let (tollbooth, _) = tollbooth(&authority);
    for status in [400, 401, 403, 404, 409, 410, 418, 422] {
        authority.says(ResponseTemplate::new(status).set_body_string("whatever")).await;
        assert_eq!(tollbooth.register(&token(), "c-1").await, Err(Error::Refused { status }));
        assert_eq!(tollbooth.receive(&composite()).await, Err(Error::Refused { status }));
    }
    authority.says(ResponseTemplate::new(429).insert_header("Retry-After", "7")).await;
    let limited = |seconds| Err(Error::RateLimited { retry_after: Duration::from_secs(seconds) });
    assert_eq!(tollbooth.register(&token(), "c-1").await, limited(300));
    assert_eq!(tollbooth.receive(&composite()).await, limited(7));
    authority.says(ResponseTemplate::new(429).insert_header("Retry-After", "400")).await;
    assert_eq!(tollbooth.register(&token(), "c-1").await, limited(400));
    authority.says(ResponseTemplate::new(429)).await;
    assert_eq!(tollbooth.receive(&composite()).await, limited(60));
}

#[tokio::test]
async fn everything_else_is_an_outage() {
    let authority = Authority::start().await;
    let (tollbooth, _) = tollbooth(&authority);
    let json = |body: &str| ResponseTemplate::new(200).set_body_raw(body.to_owned(), "application/json");
    let html = |status| ResponseTemplate::new(status).set_body_raw("<p>{}", "text/HTML; charset=utf-8");
    let redirect = ResponseTemplate::new(302).insert_header("Location", authority.0.uri());
    for (answer, reason) in [
        (ResponseTemplate::new(500), "status 500"),
        (ResponseTemplate::new(503), "status 503"),
        (redirect, "status 302 (a redirect to http://"),
        (ResponseTemplate::new(204), "status 204"),
        (html(200), "HTML and status 200"),
        (html(403), "HTML and status 403"),
        (html(404), "HTML and status 404"),
        (json(""), "not JSON"),
        (json("[]"), "not JSON"),
        (json("{\"account_id\":\"a\"} x"), "not JSON"),
        (json("{\"account_id\":7}"), "not JSON"),
        (json("{\"account_id\":\"a\",\"account_id\":\"b\"}"), "not JSON"),
        (json("{}"), "no account"),
        (json("{\"account_id\":\"\"}"), "no account"),
        (json("{\"account_id\":null}"), "no account"),
        (json("{\"account_id\":\"a\",\"cluster_id\":\"c-2\"}"), "another cluster"),
        (json("{\"account_id\":\"a\",\"cluster_id\":\"\"}"), "another cluster"),
        (json(&format!("{{\"account_id\":\"{}\"}}", "a".repeat(MAX_ANSWER_BYTES))), "longer than 32768 bytes"),
    ] {
        authority.says(answer).await;
        check_out(tollbooth.register(&token(), "c-1").await, reason);
        check_out(tollbooth.receive(&composite()).await, reason);
    }
    let dates = [("Date", "Sun, 06 Nov 1994 08:49:07 GMT"), ("Retry-After", "Sun, 06 Nov 1994 08:49:16 GMT")];
    let as_date = ResponseTemplate::new(500).append_headers(dates);
    for (answer, expected) in [
        (ResponseTemplate::new(503).insert_header("Retry-After", "9"), Some(9)),
        (ResponseTemplate::new(500).insert_header("Retry-After", "9"), Some(9)),
        (ResponseTemplate::new(504).insert_header("Retry-After", "100000"), Some(3600)),
        (as_date, Some(9)),
        (html(503).insert_header("Retry-After", "9"), Some(9)),
        (html(200).insert_header("Retry-After", "9"), None),
        (ResponseTemplate::new(302).insert_header("Retry-After", "9"), None),
        (ResponseTemplate::new(502), None),
    ] {
        authority.says(answer).await;
        let outcome = tollbooth.receive(&composite()).await;
        let Err(Error::AuthorityUnavailable { retry_after, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(retry_after, expected.map(Duration::from_secs));
    }
}

#[tokio::test]
async fn it_may_leave_out_the_cluster_and_answer_201() {
    let authority = Authority::start().await;
    let (tollbooth, _) = tollbooth(&authority);
    authority.says(ResponseTemplate::new(201).set_body_string(r#"{"account_id":"a"}"#)).await;
    assert_eq!(tollbooth.receive(&composite()).await, said("a", false));
}

#[tokio::test]
async fn slow_or_absent_is_an_outage() {
    let authority = Authority::start().await;
    authority.says(yes("acct").set_delay(10 * SECOND)).await;
    let (slow, _) = tollbooth_of(TollboothConfig { deadline: SECOND / 5, ..authority.config() }, None);
    let start = Instant::now();
    let expected = format!("no answer from {}/accounts within 200 ms (reached directly)", authority.0.uri());
    check_out(slow.receive(&composite()).await, &expected);
    assert!(start.elapsed() < 3 * SECOND);

    let unbound = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (absent, _) = tollbooth_of(TollboothConfig::new(format!("http://{unbound}/").parse().unwrap()), None);
    check_out(absent.register(&token(), "c-1").await, &format!("cannot connect to http://{unbound}/"));
}

#[tokio::test]
async fn a_slow_name_server_is_no_lasting_outage() {
    let authority = Authority::start().await;
    authority.says(yes("acct")).await;
    let address = *authority.0.address();
    let resolver = Resolver::new(move |_, _| async move {
        tokio::time::sleep(SECOND / 2).await;
        Ok(vec![address])
    });
    let outbound = OutboundConfig { resolver, connection_wait: SECOND / 5, ..OutboundConfig::new("authorize") };
    let outbound = Outbound::new(outbound, None).unwrap();
    let config = TollboothConfig::new("http://authority.test/accounts".parse().unwrap());
    let tollbooth = Tollbooth::new(config, outbound, Clock::fixed(NOW_MS).0, None, None);
    check_out(tollbooth.receive(&composite()).await, "still looking up authority.test, which goes on");
    let mut tries = 0;
    while let Err(error) = tollbooth.receive(&composite()).await {
        tries += 1;
        assert!(tries < 50, "{error}");
    }
}

#[tokio::test]
async fn one_token_is_asked_about_once_at_a_time() {
    let authority = Authority::start().await;
    authority.says(yes("acct").set_delay(SECOND / 4)).await;
    let (tollbooth, _) = tollbooth(&authority);
    let callers: Vec<_> = (0..50)
        .map(|number| {
            let tollbooth = tollbooth.clone();
            tokio::spawn(async move {
                match number % 2 {
                    0 => tollbooth.register(&token(), "c-1").await,
                    _ => tollbooth.receive(&composite()).await,
                }
            })
        })
        .collect();
    tokio::time::sleep(SECOND / 20).await;
    callers[0].abort();
    callers[1].abort();
    for caller in callers.into_iter().skip(2) {
        assert_eq!(caller.await.unwrap(), said("acct", false), "the first caller's end is not the end");
    }
    assert_eq!(authority.asked().await, 2, "one question of each kind");
    assert!(tollbooth.0.asked.lock().is_empty());
}

#[tokio::test]
async fn a_yes_is_remembered_for_receive_only() {
    let authority = Authority::start().await;
    let (tollbooth, clock) = tollbooth(&authority);
    for _ in 0..3 {
        assert_eq!(tollbooth.receive(&composite()).await, said("acct", false));
    }
    assert_eq!(authority.asked().await, 1);
    clock.advance(5 * MINUTE);
    assert_eq!(tollbooth.receive(&composite()).await, said("acct", false));
    assert_eq!(authority.asked().await, 2);
    for asked in 3..6 {
        assert_eq!(tollbooth.register(&token(), "c-1").await, said("acct", false));
        assert_eq!(authority.asked().await, asked);
    }
    let other = BASE64_STANDARD.encode(COMPOSITE.replace("hunter2", "hunter3"));
    tollbooth.receive(&composite_token::decode(&other).unwrap()).await.unwrap();
    assert_eq!(authority.asked().await, 6, "another token is another question");
}

#[tokio::test]
async fn a_no_is_not_remembered_and_takes_the_yes_with_it() {
    let authority = Authority::start().await;
    let (tollbooth, clock) = tollbooth(&authority);
    assert_eq!(tollbooth.receive(&composite()).await, said("acct", false));
    assert_eq!(tollbooth.register(&token(), "c-1").await, said("acct", false));
    clock.advance(5 * MINUTE);
    authority.says(ResponseTemplate::new(403)).await;
    for _ in 0..2 {
        assert_eq!(tollbooth.receive(&composite()).await, Err(Error::Refused { status: 403 }));
        assert_eq!(tollbooth.register(&token(), "c-1").await, Err(Error::Refused { status: 403 }));
    }
    assert_eq!(authority.asked().await, 4);
    authority.is_out().await;
    check_out(tollbooth.receive(&composite()).await, "status 500");
    check_out(tollbooth.register(&token(), "c-1").await, "status 500");
    authority.says_yes().await;
    assert_eq!(tollbooth.receive(&composite()).await, said("acct", false));
}

#[tokio::test]
async fn known_callers_go_on_while_it_is_out_and_new_ones_wait() {
    let authority = Authority::start().await;
    let (tollbooth, clock) = tollbooth(&authority);
    tollbooth.receive(&composite()).await.unwrap();
    tollbooth.register(&token(), "c-1").await.unwrap();
    authority.is_out().await;
    check_out(tollbooth.register(&token(), "c-2").await, "status 500");
    assert_eq!(tollbooth.register(&token(), "c-1").await, said("acct", true));
    assert_eq!(authority.asked().await, 2);

    clock.advance(5 * MINUTE);
    for _ in 0..3 {
        assert_eq!(tollbooth.receive(&composite()).await, said("acct", true));
    }
    assert_eq!(authority.asked().await, 3, "not every request pays for the outage");
    clock.advance(30 * SECOND);
    assert_eq!(tollbooth.receive(&composite()).await, said("acct", true));
    assert_eq!(authority.asked().await, 4);

    clock.set_ms(NOW_MS + 65 * 60_000 - 1);
    assert_eq!(tollbooth.receive(&composite()).await, said("acct", true));
    assert_eq!(tollbooth.register(&token(), "c-1").await, said("acct", true));
    clock.advance(Duration::from_millis(1));
    check_out(tollbooth.receive(&composite()).await, "status 500");
    check_out(tollbooth.register(&token(), "c-1").await, "status 500");

    authority.says_yes().await;
    assert_eq!(tollbooth.receive(&composite()).await, said("acct", false));
}

#[tokio::test]
async fn too_many_questions_are_an_outage_of_ours() {
    let authority = Authority::start().await;
    let (tollbooth, clock) = tollbooth_of(TollboothConfig { questions: 1, ..authority.config() }, None);
    tollbooth.receive(&composite()).await.unwrap();
    clock.advance(5 * MINUTE);
    authority.says(yes("acct").set_delay(SECOND / 2)).await;
    let first = tokio::spawn({
        let tollbooth = tollbooth.clone();
        async move { tollbooth.register(&token(), "c-1").await }
    });
    tokio::time::sleep(SECOND / 10).await;
    check_out(tollbooth.register(&token(), "c-2").await, "too many questions");
    assert_eq!(tollbooth.receive(&composite()).await, said("acct", true), "a known caller goes on");
    assert_eq!(first.await.unwrap(), said("acct", false));
    assert_eq!(authority.asked().await, 1);
}

/// An authority that takes one token of ours, and an OIDC provider that grants `token-1`, `token-2` and so on.
async fn with_token(authority: &Authority) -> (Tollbooth, ClockHandle) {
    use crate::oidc::OidcConfig;
    use wiremock::matchers::{method, path};
    let provider = Box::leak(Box::new(MockServer::start().await));
    let metadata = serde_json::json!({"issuer": provider.uri(), "token_endpoint": format!("{}/token", provider.uri())});
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200).set_body_json(metadata)).mount(provider).await;
    let granted = std::sync::atomic::AtomicUsize::new(1);
    let grant = move |_: &wiremock::Request| {
        let token = format!("token-{}", granted.fetch_add(1, Ordering::Relaxed));
        let grant = serde_json::json!({"access_token": token, "token_type": "bearer", "expires_in": 3600});
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
    (Tollbooth::new(authority.config(), outbound("authorize"), clock, None, Some(source)), handle)
}

impl Authority {
    async fn answers(&self, answer: impl Fn(&wiremock::Request) -> ResponseTemplate + Send + Sync + 'static) {
        self.0.reset().await;
        Mock::given(any()).respond_with(answer).mount(&self.0).await;
    }
}

fn composite_of(cluster: usize) -> CompositeToken {
    let json = format!(r#"{{"cluster_id":"c-{cluster}", "authorization_token":"hunter2"}}"#);
    composite_token::decode(&BASE64_STANDARD.encode(json)).unwrap()
}

/// An approval that names no cluster.
fn approval() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(serde_json::json!({"account_id": "acct"}))
}

async fn ask_about_all(tollbooth: &Tollbooth, clusters: std::ops::Range<usize>) -> Vec<Result<Yes, Error>> {
    let asking: Vec<_> = clusters
        .map(|cluster| {
            let tollbooth = tollbooth.clone();
            tokio::spawn(async move { tollbooth.receive(&composite_of(cluster)).await })
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
    let authority = Authority::start().await;
    let (tollbooth, clock) = with_token(&authority).await;
    let good_is = |good: &'static str| {
        move |request: &wiremock::Request| match request.headers["authorization"] == good {
            true => approval().set_delay(SECOND / 20),
            false => ResponseTemplate::new(401).set_delay(SECOND / 20),
        }
    };
    authority.answers(good_is("Bearer token-1")).await;
    assert_eq!(ask_about_all(&tollbooth, 0..20).await, vec![said("acct", false); 20]);
    clock.advance(5 * MINUTE);
    authority.answers(good_is("Bearer token-2")).await;
    assert_eq!(ask_about_all(&tollbooth, 0..20).await, vec![said("acct", false); 20]);
    // The approvals are still there while the authority is unavailable.
    clock.advance(6 * MINUTE);
    authority.is_out().await;
    assert_eq!(ask_about_all(&tollbooth, 0..20).await, vec![said("acct", true); 20]);
}

#[tokio::test]
async fn a_caller_s_own_refusal_is_still_a_refusal() {
    let authority = Authority::start().await;
    let (tollbooth, _) = with_token(&authority).await;
    authority
        .answers(|request| match String::from_utf8_lossy(&request.body).contains("c-7") {
            true => ResponseTemplate::new(401),
            false => approval(),
        })
        .await;
    for (cluster, answer) in ask_about_all(&tollbooth, 0..20).await.into_iter().enumerate() {
        let expected = if cluster == 7 { Err(Error::Refused { status: 401 }) } else { said("acct", false) };
        assert_eq!(answer, expected, "c-{cluster}");
    }
}

#[tokio::test]
async fn an_authority_that_calls_our_renewed_token_invalid_is_unavailable() {
    let authority = Authority::start().await;
    let (tollbooth, _) = with_token(&authority).await;
    authority
        .says(ResponseTemplate::new(401).insert_header("www-authenticate", "Bearer error=\"invalid_token\""))
        .await;
    check_out(tollbooth.receive(&composite()).await, "refuses our own token");
}

#[tokio::test]
async fn a_fleet_is_not_refused_within_a_minute() {
    let authority = Authority::start().await;
    let (tollbooth, clock) = tollbooth(&authority);
    authority.says(approval()).await;
    assert_eq!(ask_about_all(&tollbooth, 0..20).await, vec![said("acct", false); 20]);
    clock.advance(5 * MINUTE);
    authority.says(ResponseTemplate::new(401)).await;
    let refused = |answers: &[Result<Yes, Error>]| answers.iter().filter(|answer| answer.is_err()).count();
    let answers = ask_about_all(&tollbooth, 0..20).await;
    assert_eq!(refused(&answers), 2, "those cannot be told from clusters that were removed: {answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == said("acct", true)).count(), 18);
    // Whoever was never approved is refused as ever.
    assert_eq!(tollbooth.receive(&composite_of(77)).await, Err(Error::Refused { status: 401 }));
    authority.says(approval()).await;
    clock.advance(MINUTE);
    assert_eq!(refused(&ask_about_all(&tollbooth, 0..20).await), 0);
}

struct Replica {
    tollbooth: Tollbooth,
    clock: ClockHandle,
    metrics: CacheMetrics,
}

fn replica(authority: &Authority, memcached: &str, keys: &Keys) -> Replica {
    let metrics = CacheMetrics::register(&mut prometheus_client::registry::Registry::default());
    let servers = Memcached::new(&[memcached.to_owned()], 10 * SECOND);
    let shared = SharedCache::new(servers, keys, 60 * MINUTE, metrics.clone());
    let (tollbooth, clock) = tollbooth_of(authority.config(), Some(shared));
    Replica { tollbooth, clock, metrics }
}

/// Writes to memcached follow the answer.
async fn eventually(condition: impl Fn() -> bool) {
    for _ in 0..200 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to be");
}

#[tokio::test]
async fn replicas_with_one_key_share_a_yes() {
    let (authority, fake, keys) =
        (Authority::start().await, Fake::start(Manner::Proper).await, Keys::generate().unwrap());
    let first = replica(&authority, &fake.address, &keys);
    assert_eq!(first.tollbooth.receive(&composite()).await, said("acct", false));
    eventually(|| first.metrics.writes(WriteResult::Success) == 1).await;
    assert_eq!(first.metrics.reads(ReadResult::Miss), 1);

    let second = replica(&authority, &fake.address, &keys);
    assert_eq!(second.tollbooth.receive(&composite()).await, said("acct", false));
    assert_eq!(second.tollbooth.receive(&composite()).await, said("acct", false));
    assert_eq!(authority.asked().await, 1);
    assert_eq!(second.metrics.reads(ReadResult::Hit), 1, "then it is remembered in the process");

    let stranger = replica(&authority, &fake.address, &Keys::generate().unwrap());
    assert_eq!(stranger.tollbooth.receive(&composite()).await, said("acct", false));
    assert_eq!(authority.asked().await, 2, "a replica with another key believes nothing");
    stranger.tollbooth.rekey(&keys);
    stranger.clock.advance(6 * MINUTE);
    assert_eq!(stranger.tollbooth.receive(&composite()).await, said("acct", false));
    assert_eq!(authority.asked().await, 2, "until it has the key");
    let seen: String =
        fake.values.lock().iter().map(|(key, value)| format!("{key} {}\n", String::from_utf8_lossy(value))).collect();
    assert!(seen.contains("acct"), "{seen}");
    assert!(!seen.contains("hunter2") && !seen.contains("c-1"), "{seen}");
    // Kept for --memcached-expire, and for as long after that as an outage may last.
    assert!(fake.expires.lock().values().all(|expires| *expires == 2 * 3600));
}

#[tokio::test]
async fn a_yes_in_memcached_ends() {
    let (authority, fake, keys) =
        (Authority::start().await, Fake::start(Manner::Proper).await, Keys::generate().unwrap());
    let first = replica(&authority, &fake.address, &keys);
    first.tollbooth.receive(&composite()).await.unwrap();
    eventually(|| first.metrics.writes(WriteResult::Success) == 1).await;
    authority.is_out().await;

    let second = replica(&authority, &fake.address, &keys);
    second.clock.advance(60 * MINUTE - SECOND);
    assert_eq!(second.tollbooth.receive(&composite()).await, said("acct", false));
    assert_eq!(authority.asked().await, 0);
    second.clock.advance(SECOND);
    assert_eq!(second.tollbooth.receive(&composite()).await, said("acct", true), "asked, and it is out");
    assert_eq!(authority.asked().await, 1);
    let third = replica(&authority, &fake.address, &keys);
    third.clock.advance(120 * MINUTE);
    check_out(third.tollbooth.receive(&composite()).await, "status 500");
}

#[tokio::test]
async fn a_restarted_replica_knows_registered_callers_while_the_authority_is_out() {
    let (authority, fake, keys) =
        (Authority::start().await, Fake::start(Manner::Proper).await, Keys::generate().unwrap());
    let first = replica(&authority, &fake.address, &keys);
    first.tollbooth.register(&token(), "c-1").await.unwrap();
    eventually(|| first.metrics.writes(WriteResult::Success) == 1).await;
    authority.is_out().await;
    let second = replica(&authority, &fake.address, &keys);
    assert_eq!(second.tollbooth.register(&token(), "c-1").await, said("acct", true));
    check_out(second.tollbooth.register(&token(), "c-2").await, "status 500");
}

#[tokio::test]
async fn a_writer_to_memcached_cannot_forge_a_yes() {
    let (authority, fake, keys) =
        (Authority::start().await, Fake::start(Manner::Proper).await, Keys::generate().unwrap());
    let first = replica(&authority, &fake.address, &keys);
    first.tollbooth.receive(&composite()).await.unwrap();
    eventually(|| first.metrics.writes(WriteResult::Success) == 1).await;
    for value in fake.values.lock().values_mut() {
        let at = value.len() - 33;
        value[at] ^= 1;
    }
    authority.says(ResponseTemplate::new(403)).await;
    let second = replica(&authority, &fake.address, &keys);
    assert_eq!(second.tollbooth.receive(&composite()).await, Err(Error::Refused { status: 403 }));
    assert_eq!(second.metrics.reads(ReadResult::Forged), 1);
    eventually(|| fake.values.lock().is_empty()).await;
}

#[tokio::test]
async fn a_no_takes_the_yes_out_of_memcached() {
    let (authority, fake, keys) =
        (Authority::start().await, Fake::start(Manner::Proper).await, Keys::generate().unwrap());
    let first = replica(&authority, &fake.address, &keys);
    first.tollbooth.register(&token(), "c-1").await.unwrap();
    eventually(|| fake.values.lock().len() == 1).await;
    authority.says(ResponseTemplate::new(401)).await;
    assert_eq!(first.tollbooth.register(&token(), "c-1").await, Err(Error::Refused { status: 401 }));
    eventually(|| fake.values.lock().is_empty()).await;
}

#[tokio::test]
async fn without_memcached_a_request_still_finds_its_way() {
    let authority = Authority::start().await;
    let keys = Keys::generate().unwrap();
    let slow = Fake::start(Manner::Slow(5 * SECOND)).await;
    let garbage = Fake::start(Manner::Says(b"HTTP/1.1 200 OK\r\n\r\n")).await;
    for (memcached, result) in [
        ("127.0.0.1:1", ReadResult::Error),
        (&garbage.address, ReadResult::Error),
        (&slow.address, ReadResult::Timeout),
    ] {
        let replica = replica(&authority, memcached, &keys);
        let start = Instant::now();
        assert_eq!(replica.tollbooth.receive(&composite()).await, said("acct", false));
        assert!(start.elapsed() < SECOND, "the budget is 100 ms");
        assert_eq!(replica.metrics.reads(result), 1, "{memcached}");
    }
}
