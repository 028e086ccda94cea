//! Tests how our access tokens are signed and verified.
#![allow(clippy::unwrap_used)]

mod keys;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use proptest::prelude::*;

use super::*;
use crate::Secret;

const NOW_MS: i64 = 1_795_330_875_000;

fn labels(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn claims() -> Claims {
    let id = "00000000-0000-4000-8000-000000000001";
    Claims::new("acct1".to_owned(), labels(&[("_id", id)]), NOW_MS + 999, Duration::from_secs(86_400))
}

fn verifier(keys: Keys) -> TokenVerifier {
    TokenVerifier::new(Arc::new(keys), 1_000)
}

fn part(token: &Secret, index: usize) -> String {
    let part = token.expose().split('.').nth(index).unwrap();
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Makes a token with this header and payload, and a valid signature.
fn forge(keys: &Keys, header: &str, payload: &str) -> String {
    let message = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(payload));
    let signature = keys.signer().sign(message.as_bytes()).unwrap();
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

/// The tokens have the same layout as those of the Go server, byte for byte.
#[test]
fn prints_header_and_claims_as_go_does() {
    let token = sign(&Keys::generate().unwrap(), &claims()).unwrap();
    assert_eq!(part(&token, 0), r#"{"alg":"ES256"}"#);
    assert_eq!(
        part(&token, 1),
        concat!(
            r#"{"aud":"telemeter-client","exp":1795417275,"iat":1795330875,"iss":"telemeter.selfsigned","#,
            r#""nbf":1795330875,"sub":"acct1","#,
            r#""telemeter.openshift.io":{"labels":{"_id":"00000000-0000-4000-8000-000000000001"}}}"#
        )
    );
}

#[test]
fn a_token_names_its_caller() {
    let verifier = verifier(Keys::generate().unwrap());
    let mut claims = claims();
    claims.labels.extend(labels(&[("z", ""), ("a", "ü")]));
    let token = sign(&verifier.keys(), &claims).unwrap();
    for _remembered in [false, true] {
        let caller = verifier.verify(token.expose(), NOW_MS).unwrap();
        assert_eq!(caller.account(), "acct1");
        let id = "00000000-0000-4000-8000-000000000001";
        assert_eq!(caller.labels().collect::<Vec<_>>(), [("_id", id), ("a", "ü"), ("z", "")]);
        assert_eq!((caller.label("_id"), caller.label("b")), (Some(id), None));
        assert_eq!(caller.expires_ms(), 1_795_417_275_000);
    }
    let first = verifier.verify(token.expose(), NOW_MS).unwrap();
    assert!(Arc::ptr_eq(&first, &verifier.verify(token.expose(), NOW_MS).unwrap()), "it is remembered");
}

#[track_caller]
fn check(header: &str, payload: &str, expected: Result<(), TokenFault>) {
    let keys = Keys::generate().unwrap();
    let token = forge(&keys, header, payload);
    let verified = verifier(keys).verify(&token, NOW_MS).map(|_| ());
    assert_eq!(verified.map_err(|bad| bad.fault), expected, "{header} {payload}");
}

const ES256: &str = r#"{"alg":"ES256"}"#;
const PRIVATE: &str = r#""telemeter.openshift.io":{"labels":{"_id":"c"}}"#;

/// Checks claims in which only `own` differs from valid ones.
#[track_caller]
fn check_claims(own: &str, expected: Result<(), TokenFault>) {
    let aud = if own.contains("\"aud\"") { "" } else { r#""aud":"telemeter-client","# };
    let iss = if own.contains("\"iss\"") { "" } else { r#""iss":"telemeter.selfsigned","# };
    let sub = if own.contains("\"sub\"") { "" } else { r#""sub":"s","# };
    let exp = if own.contains("\"exp\"") { "" } else { r#""exp":1795417275,"# };
    let private = if own.contains("openshift") { "" } else { &format!("{PRIVATE},") };
    check(ES256, &format!("{{{aud}{iss}{sub}{exp}{private}{own}}}"), expected);
}

#[test]
fn accepts_every_valid_form_of_the_claims() {
    check_claims(r#""x":[1]"#, Ok(()));
    check_claims(r#""aud":["other","telemeter-client"]"#, Ok(()));
    check_claims(r#""exp":1795417275.75"#, Ok(()));
    check_claims(r#""nbf":1.795330875e9,"iat":1795330875"#, Ok(()));
    check_claims(r#""telemeter.openshift.io":{"labels":null}"#, Ok(()));
    check_claims(r#""telemeter.openshift.io":{}"#, Ok(()));
}

#[test]
fn a_minute_of_leeway_and_no_more() {
    check_claims(r#""exp":1795330815"#, Ok(()));
    check_claims(r#""exp":1795330814"#, Err(TokenFault::Expired));
    check_claims(r#""nbf":1795330935"#, Ok(()));
    check_claims(r#""nbf":1795330936"#, Err(TokenFault::NotYetValid));
    check_claims(r#""iat":1795330935"#, Ok(()));
    check_claims(r#""iat":1795330936"#, Err(TokenFault::NotYetValid));
}

#[test]
fn refuses_claims_of_others() {
    check_claims(r#""iss":"other""#, Err(TokenFault::Issuer));
    check_claims(r#""iss":null"#, Err(TokenFault::Issuer));
    check_claims(r#""aud":"other""#, Err(TokenFault::Audience));
    check_claims(r#""aud":[]"#, Err(TokenFault::Audience));
    check_claims(r#""aud":null"#, Err(TokenFault::Audience));
    check_claims(r#""sub":"""#, Err(TokenFault::Malformed("it names no subject")));
    check_claims(r#""exp":null"#, Err(TokenFault::Malformed("it never expires")));
    check_claims(r#""telemeter.openshift.io":null"#, Err(TokenFault::Malformed("it holds no labels")));
    let unreadable = Err(TokenFault::Malformed("the claims are not readable"));
    check_claims(r#""exp":"1795417275""#, unreadable);
    check_claims(r#""exp":1,"exp":1795417275"#, unreadable);
    check_claims(r#""telemeter.openshift.io":{"labels":{"_id":7}}"#, unreadable);
    check(ES256, "[]", unreadable);
}

#[test]
fn only_the_key_decides_the_algorithm() {
    let good = String::from_utf8(claims().to_json()).unwrap();
    check(r#"{"alg":"ES256","typ":"JWT","kid":"x"}"#, &good, Ok(()));
    for other in ["none", "None", "HS256", "ES384", "ES512", "RS256", "PS256", "es256", ""] {
        check(&format!(r#"{{"alg":"{other}"}}"#), &good, Err(TokenFault::Algorithm));
    }
    check(r#"{"alg":"ES256","crit":["exp"]}"#, &good, Err(TokenFault::Malformed("it demands an extension")));
    let unreadable = Err(TokenFault::Malformed("the header is not readable"));
    check(r#"{"alg":"none","alg":"ES256"}"#, &good, unreadable);
    check("{}", &good, unreadable);
    check("", &good, unreadable);
}

#[test]
fn there_is_one_spelling_of_a_token() {
    let verifier = verifier(Keys::generate().unwrap());
    let token = sign(&verifier.keys(), &claims()).unwrap();
    let token = token.expose();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let refused = |token: &str| assert!(verifier.verify(token, NOW_MS).is_err(), "{token}");
    refused(&format!("{token}=="));
    refused(&format!("{token}\n"));
    refused(&format!("{token}."));
    refused(&format!(".{token}"));
    refused(message);
    refused(&format!("{message}."));
    refused(&token.replace('.', ".."));
    // In base64 the last character of 64 bytes has four unused bits: only one of its 16 variants is accepted.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let stem = &signature[..signature.len() - 1];
    let good = alphabet.chars().filter(|c| verifier.verify(&format!("{message}.{stem}{c}"), NOW_MS).is_ok());
    assert_eq!(good.count(), 1);
    refused(&"x".repeat(crate::bearer::MAX_BYTES + 1));
}

#[test]
fn a_cached_token_expires_in_time() {
    let verifier = verifier(Keys::generate().unwrap());
    let token = sign(&verifier.keys(), &claims()).unwrap();
    let end = NOW_MS + 86_400_000;
    assert!(verifier.verify(token.expose(), NOW_MS).is_ok());
    assert!(verifier.verify(token.expose(), end + 60_000).is_ok());
    let bad = verifier.verify(token.expose(), end + 60_001).unwrap_err();
    assert_eq!(bad.fault, TokenFault::Expired);
    let caller = bad.caller.unwrap();
    assert_eq!((caller.account(), caller.label("_id")), ("acct1", Some("00000000-0000-4000-8000-000000000001")));
}

#[test]
fn a_bad_token_has_a_caller_only_where_all_but_its_expiry_is_valid() {
    let keys = Keys::generate().unwrap();
    let good = format!(r#""aud":"telemeter-client","iss":"telemeter.selfsigned","sub":"s",{PRIVATE}"#);
    let caller = |keys: Keys, payload: &str| {
        let token = forge(&Keys::generate().unwrap(), ES256, payload);
        assert_eq!(verifier(Keys::generate().unwrap()).verify(&token, NOW_MS).unwrap_err().caller, None, "not ours");
        let token = forge(&keys, ES256, payload);
        verifier(keys).verify(&token, NOW_MS).unwrap_err().caller.map(|caller| caller.label("_id").map(str::to_owned))
    };
    assert_eq!(caller(keys, &format!(r#"{{{good},"exp":1}}"#)), Some(Some("c".to_owned())));
    for bad in [
        format!(r#"{{{good},"exp":1795417275,"nbf":1795400000}}"#),
        format!(r#"{{{},"exp":1}}"#, good.replace("telemeter-client", "other")),
        format!(r#"{{{},"exp":1}}"#, good.replace("selfsigned", "other")),
        format!(r#"{{{},"exp":1}}"#, good.replace("\"s\"", "\"\"")),
    ] {
        assert_eq!(caller(Keys::generate().unwrap(), &bad), None, "{bad}");
    }
}

#[test]
fn a_cached_token_without_a_cached_caller_is_decoded_again() {
    let keys = Arc::new(Keys::generate().unwrap());
    let verifier = TokenVerifier::with_capacities(keys.clone(), 1_000, 0);
    let token = sign(&keys, &claims()).unwrap();
    let (message, signature) = token.expose().rsplit_once('.').unwrap();
    let other = sign(&Keys::generate().unwrap(), &claims()).unwrap();
    let forged = format!("{message}.{}", other.expose().rsplit_once('.').unwrap().1);
    let first = verifier.verify(token.expose(), NOW_MS).unwrap();
    for _known in 0..2 {
        let again = verifier.verify(token.expose(), NOW_MS).unwrap();
        assert!(!Arc::ptr_eq(&first, &again) && first == again);
        assert_eq!(verifier.verify(&forged, NOW_MS), Err(TokenFault::Signature.into()));
        assert_eq!(
            verifier.verify(&format!("{message}..{signature}"), NOW_MS),
            Err(TokenFault::Malformed("not base64url").into())
        );
    }
    assert_eq!(verifier.verify(token.expose(), NOW_MS + 86_460_001).unwrap_err().fault, TokenFault::Expired);
    verifier.replace(Arc::new(Keys::generate().unwrap()));
    assert_eq!(verifier.verify(token.expose(), NOW_MS), Err(TokenFault::Signature.into()));
}

#[test]
fn rotation_and_reload() {
    let (old, new) = (Arc::new(Keys::generate().unwrap()), Keys::generate().unwrap());
    let verifier = TokenVerifier::new(old.clone(), 1_000);
    let token = sign(&old, &claims()).unwrap();
    assert!(verifier.verify(token.expose(), NOW_MS).is_ok());
    verifier.replace(Arc::new(new));
    assert_eq!(
        verifier.verify(token.expose(), NOW_MS),
        Err(TokenFault::Signature.into()),
        "what was remembered is gone"
    );
    verifier.replace(old);
    assert!(verifier.verify(token.expose(), NOW_MS).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_mutated_token_never_verifies(position in any::<prop::sample::Index>(), with in "[ -~]") {
        let verifier = verifier(Keys::generate().unwrap());
        let token = sign(&verifier.keys(), &claims()).unwrap();
        let at = position.index(token.expose().len());
        let mut mutated = token.expose().to_owned();
        mutated.replace_range(at..=at, &with);
        prop_assert_eq!(verifier.verify(&mutated, NOW_MS).is_ok(), mutated == token.expose());
    }

    #[test]
    fn a_shortened_token_never_verifies(cut in any::<prop::sample::Index>()) {
        let verifier = verifier(Keys::generate().unwrap());
        let token = sign(&verifier.keys(), &claims()).unwrap();
        let at = cut.index(token.expose().len());
        prop_assert!(verifier.verify(&token.expose()[..at], NOW_MS).is_err());
        prop_assert!(verifier.verify(&token.expose()[at + 1..], NOW_MS).is_err());
    }

    #[test]
    fn any_text_is_refused(token in "\\PC{0,80}|[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(verifier(Keys::generate().unwrap()).verify(&token, NOW_MS).is_err());
    }

    #[test]
    fn any_signed_claims_are_read_or_refused(payload in prop::collection::vec(any::<u8>(), 0..100), now in any::<i64>()) {
        prop_assert!(super::claims::read(&payload, now).is_err());
    }

    #[test]
    fn a_caller_gives_back_what_it_was_made_of(
        account in "\\PC{1,20}", pairs in prop::collection::btree_map("\\PC{0,9}", "\\PC{0,9}", 0..5)
    ) {
        let caller = Caller::new(&account, pairs.clone(), 7);
        prop_assert_eq!(caller.account(), account);
        let back: Vec<_> = caller.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        prop_assert_eq!(back, pairs.into_iter().collect::<Vec<_>>());
    }
}
