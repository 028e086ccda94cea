//! Properties that hold for any bytes from a caller, the authority, an OIDC provider or memcached. For tests, and for the programs in `fuzz/`:
//! not part of a normal build.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, header};

use crate::{bearer, composite_token, token_response::TokenResponse};

pub use crate::{
    authority::fuzzing::{authority_answer, memcached_value},
    jwt::fuzzing::jwt,
    memcached::fuzzing::memcached_answer,
    oidc::fuzzing::oidc_answer,
};

/// A composite token, as it is and as the JSON that it encodes, and the header that it comes in: the bounds hold, no name
/// has a control character, and the JSON that is read, written and read again names the same.
pub fn composite(input: &[u8]) {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(input) {
        headers.insert(header::AUTHORIZATION, value);
    }
    if let Ok(token) = bearer::token(&headers) {
        assert!((1..=bearer::MAX_BYTES).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    let as_text = std::str::from_utf8(input).unwrap_or_default();
    for token in [as_text, &BASE64_STANDARD.encode(input)] {
        let Ok(token) = composite_token::decode(token) else { continue };
        let (cluster, secret) = (token.cluster_id(), token.authorization_token().expose());
        assert!((1..=composite_token::MAX_CLUSTER_ID_BYTES).contains(&cluster.len()));
        assert!((1..=composite_token::MAX_AUTHORIZATION_TOKEN_BYTES).contains(&secret.len()));
        assert!(!cluster.contains(char::is_control) && !secret.contains(char::is_control));
        assert!(!format!("{token:?}").contains(secret) || cluster.contains(secret) || secret.len() < 30);
        // A reader that takes the last of several fields, as most do, finds the same values.
        if let Ok(read) = serde_json::from_str::<serde_json::Value>(token.json().expose()) {
            assert_eq!((&read["cluster_id"], &read["authorization_token"]), (&cluster.into(), &secret.into()));
        }
        let written = serde_json::json!({ "cluster_id": cluster, "authorization_token": secret }).to_string();
        let again = composite_token::decode(&BASE64_STANDARD.encode(written)).expect("our own");
        assert_eq!((again.cluster_id(), again.authorization_token().expose()), (cluster, secret));
    }
}

/// The answer of `/authorize`: an answer that is read, written and read again is the same.
pub fn token_answer(json: &[u8]) {
    let Ok(response) = TokenResponse::from_json(json) else { return };
    assert!(!response.token.expose().is_empty());
    assert_eq!(TokenResponse::from_json(&response.to_json()).as_ref(), Ok(&response));
}

/// Each target: its name, its check, and inputs to begin with.
#[expect(clippy::type_complexity)]
pub fn targets() -> Vec<(&'static str, fn(&[u8]), Vec<Vec<u8>>)> {
    let owned = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    vec![
        ("composite_token", composite as fn(&[u8]), owned(&COMPOSITE_SEEDS)),
        ("token_answer", token_answer, owned(&ANSWER_SEEDS)),
        ("jwt", jwt, owned(&crate::jwt::fuzzing::SEEDS)),
        ("authority_answer", authority_answer, owned(&crate::authority::fuzzing::ANSWER_SEEDS)),
        ("memcached_value", memcached_value, crate::authority::fuzzing::value_seeds()),
        ("memcached_answer", memcached_answer, owned(&crate::memcached::fuzzing::SEEDS)),
        ("oidc_answer", oidc_answer, owned(&crate::oidc::fuzzing::SEEDS)),
    ]
}

const COMPOSITE_SEEDS: [&str; 6] = [
    r#"{"authorization_token":"a~~>?","cluster_id":"c-1"}"#,
    r#"{"cluster_id":"c","authorization_token":"\u0061","more":{"cluster_id":[1]}}"#,
    r#"{"Cluster_ID":"c","cluster_id":"c","authorization_token":"t"}"#,
    r#"{"authorization_token":"t","cluſter_id":"c"} "#,
    "eyJhdXRob3JpemF0aW9uX3Rva2VuIjoiYSIsImNsdXN0ZXJfaWQiOiJjIn0=",
    "Bearer eyJhIjoxfQ",
];

const ANSWER_SEEDS: [&str; 3] = [
    r#"{"version":1,"token":"t","expiresInSeconds":86400,"labels":{"_id":"c"}}"#,
    r#"{"version":1,"token":"\n","expiresInSeconds":-1,"labels":null,"more":[]}"#,
    r#"{"expiresInSeconds":9223372036854775807,"token":"t","version":1}"#,
];

#[cfg(test)]
mod tests {
    use telemeter_test_support::fuzz_targets::{check_damaged, check_prefixes};

    use super::*;

    #[test]
    fn the_properties_hold_for_prefixes_of_the_seeds() {
        check_prefixes(&targets());
    }

    #[test]
    fn the_properties_hold_for_damaged_seeds() {
        check_damaged(&targets());
    }
}
