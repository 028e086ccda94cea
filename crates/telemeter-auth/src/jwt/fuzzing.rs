//! Access tokens, as they are and as claims that are really signed.

use std::sync::{Arc, OnceLock};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{Caller, Keys, TokenVerifier};

const NOW_MS: i64 = 1_795_330_875_000;

fn keys() -> &'static Arc<Keys> {
    static KEYS: OnceLock<Arc<Keys>> = OnceLock::new();
    KEYS.get_or_init(|| Arc::new(Keys::generate().expect("a key")))
}

fn signed(header: &[u8], payload: &[u8]) -> String {
    let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(payload));
    let signature = keys().signer().sign(message.as_bytes()).expect("a key that signs");
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// A token that we did not sign is refused. Of claims that we signed, accepted are those that name a subject and its labels, and are not
/// expired; the second answer is the same; with one character changed it is refused. An input is the claims, and after a NUL
/// the header.
pub fn jwt(input: &[u8]) {
    let verifier = TokenVerifier::new(keys().clone(), 100);
    if let Ok(token) = std::str::from_utf8(input) {
        assert!(verifier.verify(token, NOW_MS).is_err(), "{token}");
    }
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (payload, header) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(br#"{"alg":"ES256"}"#));
    let token = signed(header, payload);
    let first = verifier.verify(&token, NOW_MS);
    let again = verifier.verify(&token, NOW_MS);
    match (first, again) {
        (Ok(caller), Ok(again)) => {
            assert_eq!(shown(&caller), shown(&again));
            check(&caller, payload);
            let at = token.len() / 2;
            let other = if token.as_bytes()[at] == b'A' { 'B' } else { 'A' };
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert!(verifier.verify(&changed, NOW_MS).is_err(), "{changed}");
        }
        (Err(first), Err(again)) => assert_eq!(first.fault, again.fault),
        (first, again) => panic!("{:?}, then {:?}", first.is_ok(), again.is_ok()),
    }
}

fn shown(caller: &Caller) -> String {
    format!("{caller:?}")
}

/// The caller is the one that the claims name.
fn check(caller: &Caller, payload: &[u8]) {
    // Fields that we do not know may hold what this reader refuses. Claims may also be a list, in the order of our fields.
    let Ok(claims) = serde_json::from_slice::<serde_json::Value>(payload) else { return };
    if !claims.is_object() || !claims["telemeter.openshift.io"].is_object() {
        return;
    }
    assert_eq!(claims["sub"], caller.account());
    assert_eq!(claims["iss"], super::ISSUER);
    let empty = serde_json::Map::new();
    let labels = claims["telemeter.openshift.io"]["labels"].as_object().unwrap_or(&empty);
    assert_eq!(labels.len(), caller.labels().len());
    assert!(caller.labels().all(|(name, value)| labels.get(name).is_some_and(|claimed| claimed == value)));
    assert!(claims["exp"].as_f64().is_some_and(|expires| expires * 1000.0 > (NOW_MS - 61_000) as f64));
}

pub(crate) const SEEDS: [&str; 5] = [
    concat!(
        r#"{"aud":"telemeter-client","exp":1795417275,"iat":1795330875,"iss":"telemeter.selfsigned","nbf":1795330875,"#,
        r#""sub":"acct1","telemeter.openshift.io":{"labels":{"_id":"00000000-0000-4000-8000-000000000001"}}}"#
    ),
    concat!(
        r#"{"aud":["a","telemeter-client"],"exp":1.9e9,"iss":"telemeter.selfsigned","sub":"\u0061","#,
        r#""telemeter.openshift.io":{"labels":null},"more":{}}"#,
        "\0",
        r#"{"alg":"ES256","typ":"JWT"}"#
    ),
    r#"{"exp":1,"iss":"telemeter.selfsigned","aud":"telemeter-client","sub":"a","telemeter.openshift.io":{}}"#,
    "{}\0{\"alg\":\"none\"}",
    "eyJhbGciOiJFUzI1NiJ9.e30.AAAA",
];
