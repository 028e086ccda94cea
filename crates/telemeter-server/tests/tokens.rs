//! Access tokens and the authority's approvals: how long they last, which replica accepts them, and what an outage or a new key
//! changes.
#![allow(clippy::unwrap_used)]

mod support;

use std::{path::Path, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{KeyPair, SigningKey as _};
use serde_json::{Value, json};
use support::{CLUSTER, NOW_MS, TestServer, fake::FakeAnswer, fake::approve};
use telemeter_server::config::AuthorizationMode;

const UP: &str = "up,_id=c1 1@0";

async fn uploads(server: &TestServer, token: &str) -> u16 {
    // Stamped with the time of the clock, wherever it was moved.
    let text = format!("up{{_id=\"c1\"}} 1 {}\n", NOW_MS + server.offset_ms());
    server.send(server.upload_of(token, support::body::TEXT, text)).await.status
}

/// A key file, and its pair to sign with.
fn key(folder: &Path, name: &str) -> KeyPair {
    let pair = KeyPair::generate().unwrap();
    std::fs::write(folder.join(name), pair.serialize_pem()).unwrap();
    pair
}

/// The two numbers of an ECDSA signature in DER, as a JWT has them: 32 bytes each.
fn fixed(der: &[u8]) -> Vec<u8> {
    let number = |at: usize| {
        let len = usize::from(der[at + 1]);
        let digits = &der[at + 2..at + 2 + len];
        let digits = digits.strip_prefix(&[0]).unwrap_or(digits);
        ([vec![0; 32 - digits.len()], digits.to_vec()].concat(), at + 2 + len)
    };
    let (r, next) = number(2);
    [r, number(next).0].concat()
}

fn forge(pair: &KeyPair, algorithm: &str, claims: &Value) -> String {
    let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(json!({"alg": algorithm})), part(claims.clone()));
    let signature = fixed(&pair.sign(message.as_bytes()).unwrap());
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn claims() -> Value {
    let now = NOW_MS / 1000;
    json!({"iss": "telemeter.selfsigned", "aud": "telemeter-client", "sub": "account", "iat": now, "nbf": now,
        "exp": now + 600, "telemeter.openshift.io": {"labels": {"_id": "c1"}}})
}

#[tokio::test]
async fn a_token_is_held_to_its_claims() {
    let folder = tempfile::tempdir().unwrap();
    let (pair, stranger) = (key(folder.path(), "a.pem"), KeyPair::generate().unwrap());
    let server = TestServer::with(|config| config.shared_keys = vec![folder.path().join("a.pem")]).await;
    let check = async |name: &str, value: Value, status: u16| {
        let mut claims = claims();
        claims[name] = value.clone();
        let answer = server.upload(&forge(&pair, "ES256", &claims), &[UP]).await;
        assert_eq!(answer.status, status, "{name}: {value}: {answer:?}");
    };
    let now = NOW_MS / 1000;
    check("sub", json!("account"), 200).await;
    check("iss", json!("somebody"), 401).await;
    check("aud", json!("somebody"), 401).await;
    check("aud", json!(["somebody", "telemeter-client"]), 200).await;
    check("exp", json!(now - 60), 200).await;
    check("exp", json!(now - 61), 401).await;
    check("nbf", json!(now + 60), 200).await;
    check("nbf", json!(now + 61), 401).await;
    check("exp", Value::Null, 401).await;
    check("telemeter.openshift.io", json!({"labels": {}}), 401).await;
    check("telemeter.openshift.io", json!({"labels": {"_id": "c2"}}), 400).await;
    for algorithm in ["none", "HS256", "ES384", "RS256"] {
        assert_eq!(server.upload(&forge(&pair, algorithm, &claims()), &[UP]).await.status, 401, "{algorithm}");
    }
    assert_eq!(server.upload(&forge(&stranger, "ES256", &claims()), &[UP]).await.status, 401);
}

#[tokio::test]
async fn an_access_token_names_its_cluster() {
    let server = TestServer::with(|config| config.token_expire = Duration::from_secs(100)).await;
    let answer = server.authorize(CLUSTER, "secret").await;
    assert_eq!(answer.json()["expiresInSeconds"], 100);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let now = NOW_MS / 1000;
    let expected = json!({"iss": "telemeter.selfsigned", "aud": "telemeter-client", "sub": "account of c1", "iat": now,
        "nbf": now, "exp": now + 100, "telemeter.openshift.io": {"labels": {"_id": "c1"}}});
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), expected);
}

#[tokio::test]
async fn a_token_ends_a_minute_late_and_begins_a_minute_early() {
    let server = TestServer::with(|config| config.token_expire = Duration::from_secs(100)).await;
    let token = server.token(CLUSTER).await;
    for (offset_s, status) in [(-61, 401), (-60, 200), (0, 200), (160, 200), (161, 401)] {
        server.set_offset_ms(offset_s * 1000);
        assert_eq!(uploads(&server, &token).await, status, "{offset_s} s");
    }
}

#[tokio::test]
async fn a_token_of_another_server_is_refused() {
    let (one, other) = (TestServer::new().await, TestServer::new().await);
    let token = one.token(CLUSTER).await;
    assert_eq!(one.upload(&token, &[UP]).await.status, 200);
    assert_eq!(other.upload(&token, &[UP]).await.status, 401);
}

#[tokio::test]
async fn a_token_that_was_verified_ends_all_the_same() {
    let server = TestServer::with(|config| config.token_expire = Duration::from_secs(100)).await;
    let token = server.token(CLUSTER).await;
    for (offset_s, status) in [(99, 200), (101, 200), (160, 200), (161, 401), (86_400, 401)] {
        server.set_offset_ms(offset_s * 1000);
        assert_eq!(uploads(&server, &token).await, status, "{offset_s} s");
    }
}

#[tokio::test]
async fn the_first_key_signs_and_all_verify() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    key(folder.path(), "old.pem");
    key(folder.path(), "new.pem");
    let with = |names: &'static [&'static str]| {
        let keys = names.iter().map(|name| path(name)).collect();
        TestServer::with(move |config| config.shared_keys = keys)
    };
    let (old, both, new) = (with(&["old.pem"]).await, with(&["new.pem", "old.pem"]).await, with(&["new.pem"]).await);
    let (of_old, of_both) = (old.token(CLUSTER).await, both.token(CLUSTER).await);
    for (server, token, status, what) in [
        (&old, &of_old, 200, "its own"),
        (&both, &of_old, 200, "the old key verifies"),
        (&both, &of_both, 200, "its own"),
        (&new, &of_both, 200, "the first key signed"),
        (&old, &of_both, 401, "the second did not"),
        (&new, &of_old, 401, "a key that is gone"),
    ] {
        assert_eq!(server.upload(token, &[UP]).await.status, status, "{what}");
    }
}

#[tokio::test]
async fn keys_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    key(folder.path(), "key.pem");
    let server = TestServer::with(|config| config.shared_keys = vec![file.clone()]).await;
    let before = server.token(CLUSTER).await;
    assert_eq!(server.upload(&before, &[UP]).await.status, 200);

    std::fs::write(&file, "no key").unwrap();
    let answer = server.reload().await;
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("--shared-key: "), "{answer:?}");
    assert_eq!(server.upload(&before, &[UP]).await.status, 200, "a bad file keeps the old key");

    key(folder.path(), "key.pem");
    assert_eq!(server.reload().await.status, 200);
    assert_eq!(server.upload(&before, &[UP]).await.status, 401, "the old key is gone, whatever was remembered");
    let after = server.token(CLUSTER).await;
    assert_eq!(server.upload(&after, &[UP]).await.status, 200);
}

#[tokio::test]
async fn a_generated_key_stays_at_a_reload() {
    let server = TestServer::new().await;
    let token = server.token(CLUSTER).await;
    assert_eq!(server.reload().await.status, 200);
    assert_eq!(server.upload(&token, &[UP]).await.status, 200);
}

/// One remote-write request at this time.
async fn receives(server: &TestServer, cluster: &str) -> u16 {
    let series = format!("up,_id={cluster} 1@{}", server.offset_ms());
    server.receive(cluster, &[&series]).await.status
}

#[tokio::test]
async fn approved_clusters_are_accepted_while_the_authority_is_unavailable() {
    let server = TestServer::with(|config| {
        let AuthorizationMode::Authority(authority) = &mut config.authorization else { unreachable!() };
        authority.stale = Duration::from_secs(3600);
    })
    .await;
    assert_eq!(receives(&server, "known").await, 200);
    assert_eq!(server.authorize("known", "secret").await.status, 200);
    server.authority.answers(FakeAnswer::of(500));
    for (offset_s, known) in [(10, 200), (400, 200), (3800, 200), (4000, 503)] {
        server.advance_to_ms(offset_s * 1000);
        assert_eq!(receives(&server, "known").await, known, "{offset_s} s");
        assert_eq!(server.authorize("known", "secret").await.status, known, "/authorize after {offset_s} s");
        assert_eq!(receives(&server, "new").await, 503, "{offset_s} s");
        assert_eq!(server.authorize("new", "secret").await.status, 503, "{offset_s} s");
    }
    assert_eq!(server.authorize("known", "other").await.status, 503, "another token is not known");
    server.authority.says(approve);
    assert_eq!(receives(&server, "new").await, 200, "it is back");
}

#[tokio::test]
async fn a_refusal_removes_a_cached_approval() {
    let server = TestServer::new().await;
    assert_eq!(receives(&server, "c1").await, 200);
    server.authority.answers(FakeAnswer::of(403));
    assert_eq!(receives(&server, "c1").await, 200, "a fresh approval is gone by");
    server.advance_to_ms(400_000);
    assert_eq!(receives(&server, "c1").await, 200, "this one has it refreshed");
    let start = std::time::Instant::now();
    while receives(&server, "c1").await == 200 && start.elapsed() < support::SOON {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(receives(&server, "c1").await, 403, "asked again");
    server.authority.answers(FakeAnswer::of(500));
    assert_eq!(receives(&server, "c1").await, 503, "no earlier approval is left");
}

#[tokio::test]
async fn without_stale_an_outage_is_an_outage() {
    let server = TestServer::with(|config| {
        let AuthorizationMode::Authority(authority) = &mut config.authorization else { unreachable!() };
        authority.stale = Duration::ZERO;
    })
    .await;
    assert_eq!(receives(&server, "c1").await, 200);
    server.authority.answers(FakeAnswer::of(500));
    server.advance_to_ms(400_000);
    assert_eq!(receives(&server, "c1").await, 503);
}

#[tokio::test]
async fn with_any_cluster_the_authority_is_not_asked() {
    let server = TestServer::with(|config| config.authorization = AuthorizationMode::AnyCluster).await;
    let token = server.token(CLUSTER).await;
    assert_eq!(server.upload(&token, &[UP]).await.status, 200);
    assert_eq!(receives(&server, "c1").await, 200);
    assert_eq!(server.authority.count(), 0);
}
