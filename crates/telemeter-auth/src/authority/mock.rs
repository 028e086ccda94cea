//! A mock of the authority, for tests, demos and the quickstart: it knows a list of tokens and approves each of them for
//! every cluster.
//!
//! As in Go: 405 for another method than POST, 400 for a body that is no JSON object with a cluster, 401 for a token
//! that is not on the list; else 201 for the first question with a token and a cluster, and 200 from then on, with an
//! account that is computed from the cluster's ID alone.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::bounded::{Digest, sha256};
use crate::{Error, Secret};

const MAX_BODY_BYTES: usize = 32 * 1024;
/// The cap on remembered pairs of token and cluster. A pair beyond it is answered as new (201) each time.
const MAX_REMEMBERED: usize = 65_536;

/// The tokens of a file like `[{"token":"a"}]`.
///
/// # Errors
/// [`Error::Tokens`] with the line and column where it is not of that form.
pub fn tokens(json: &[u8]) -> Result<Vec<Secret>, Error> {
    #[derive(Deserialize)]
    struct TokenEntry {
        token: String,
    }
    let position = |error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        Error::Tokens(format!("line {line}, column {column} is not part of a list like [{{\"token\":\"a\"}}]"))
    };
    let entries: Vec<TokenEntry> = serde_json::from_slice(json).map_err(position)?;
    Ok(entries.into_iter().map(|entry| entry.token.into()).collect())
}

/// A router that answers as the authority does, on every path, and approves these tokens.
pub fn router(tokens: impl IntoIterator<Item = Secret>) -> Router {
    let tokens = tokens.into_iter().map(|token| sha256(token.expose().as_bytes())).collect();
    Router::new()
        .fallback(register)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(Arc::new(MockAuthority { tokens, claims: Mutex::default() }))
}

struct MockAuthority {
    tokens: HashSet<Digest>,
    /// The pairs of token and cluster that were approved before.
    claims: Mutex<HashSet<Digest>>,
}

#[derive(Deserialize)]
struct AuthorizeParams {
    #[serde(default)]
    cluster_id: String,
    #[serde(default)]
    authorization_token: String,
}

#[derive(Serialize)]
struct RegistrationParams<'a> {
    cluster_id: &'a str,
    authorization_token: &'a str,
    account_id: String,
}

#[derive(Serialize)]
struct RefusalBody {
    name: &'static str,
    reason: &'static str,
}

/// Answers a registration as the authority does: 201 for the first one of a token and cluster, then 200, with an
/// account. A request that is not a POST of JSON with a cluster ID gets 405 or 400, and an unknown token 401.
async fn register(
    State(authority): State<Arc<MockAuthority>>,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Response {
    if method != Method::POST {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "Only POST is accepted.");
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().map(str::trim) != Some("application/json") {
        return refusal(StatusCode::BAD_REQUEST, "InvalidContentType", "Only application/json is accepted.");
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return rejection.into_response(),
    };
    let Ok(question) = serde_json::from_slice::<AuthorizeParams>(&body) else {
        return refusal(StatusCode::BAD_REQUEST, "InvalidBody", "The body is not the JSON of a registration.");
    };
    if question.cluster_id.is_empty() {
        return refusal(StatusCode::BAD_REQUEST, "BadRequest", "No cluster ID provided.");
    }
    let token = sha256(question.authorization_token.as_bytes());
    if !authority.tokens.contains(&token) {
        return refusal(StatusCode::UNAUTHORIZED, "NotAuthorized", "The provided token is not recognized.");
    }
    let claim = sha256(&[&token, question.cluster_id.as_bytes()].concat());
    let status = if authority.is_first(claim) { StatusCode::CREATED } else { StatusCode::OK };
    let registration = RegistrationParams {
        cluster_id: &question.cluster_id,
        authorization_token: &question.authorization_token,
        account_id: account(&question.cluster_id),
    };
    json_answer(status, &registration)
}

impl MockAuthority {
    /// Whether this pair of token and cluster is new; remembers it.
    fn is_first(&self, claim: Digest) -> bool {
        let mut claims = self.claims.lock();
        if claims.len() < MAX_REMEMBERED { claims.insert(claim) } else { !claims.contains(&claim) }
    }
}

/// The answer of a refusal: `name` and `reason` as JSON.
fn refusal(status: StatusCode, name: &'static str, reason: &'static str) -> Response {
    json_answer(status, &RefusalBody { name, reason })
}

/// An answer with this status, and `body` as its JSON.
fn json_answer(status: StatusCode, body: &impl Serialize) -> Response {
    let body = serde_json::to_vec_pretty(body).expect("texts always have a JSON form");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The FNV-1a hash of a cluster's ID in base 32. As in Go, so that a cluster's account is the same in both programs.
fn account(cluster: &str) -> String {
    let mut hash = cluster
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut digits = Vec::new();
    loop {
        digits.push(b"0123456789abcdefghijklmnopqrstuv"[(hash % 32) as usize]);
        hash /= 32;
        if hash == 0 {
            return digits.iter().rev().map(|&digit| char::from(digit)).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(router: &Router, method: &str, content_type: &str, body: &str) -> (u16, serde_json::Value) {
        let request = Request::builder()
            .method(method)
            .uri("/any/path")
            .header("Content-Type", content_type)
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let mut body = Vec::new();
        let deadline = std::time::Duration::from_secs(5);
        telemeter_http::body::read(response.into_body(), 100_000, deadline, &mut body).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_token_claims_clusters() {
        let router = router(tokens(br#"[{"token":"a"},{"token":"b"}]"#).unwrap());
        let both_shapes = [
            r#"{"cluster_id":"c","authorization_token":"a","account_id":""}"#,
            r#"{"authorization_token":"a","cluster_id":"c"}"#,
        ];
        for (body, status) in both_shapes.into_iter().zip([201, 200]) {
            let (answered, json) = ask(&router, "POST", "application/json", body).await;
            assert_eq!(answered, status);
            let account = serde_json::json!({"cluster_id":"c","authorization_token":"a","account_id":account("c")});
            assert_eq!(json, account);
        }
        let other = r#"{"authorization_token":"b","cluster_id":"c"}"#;
        assert_eq!(ask(&router, "POST", "application/json; charset=utf-8", other).await.0, 201);
    }

    #[tokio::test]
    async fn refuses_the_rest() {
        let router = router(["a".into()]);
        let good = r#"{"authorization_token":"a","cluster_id":"c"}"#;
        for (method, content_type, body, status, name) in [
            ("GET", "application/json", good, 405, "MethodNotAllowed"),
            ("POST", "text/plain", good, 400, "InvalidContentType"),
            ("POST", "application/json", "{", 400, "InvalidBody"),
            ("POST", "application/json", r#"{"authorization_token":"a"}"#, 400, "BadRequest"),
            ("POST", "application/json", r#"{"authorization_token":"x","cluster_id":"c"}"#, 401, "NotAuthorized"),
            ("POST", "application/json", r#"{"cluster_id":"c"}"#, 401, "NotAuthorized"),
        ] {
            let (answered, json) = ask(&router, method, content_type, body).await;
            assert_eq!((answered, json["name"].as_str()), (status, Some(name)), "{method} {content_type} {body}");
        }
        assert_eq!(ask(&router, "POST", "application/json", &" ".repeat(MAX_BODY_BYTES + 1)).await.0, 413);
    }

    #[test]
    fn says_where_a_file_of_tokens_is_wrong() {
        assert!(tokens(b"[]").unwrap().is_empty());
        for bad in ["", "{}", "[{}]", r#"["a"]"#, r#"[{"token":7}]"#] {
            let error = tokens(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("line 1, column"), "{error}");
        }
    }

    /// The published check values of FNV-1a: for the empty text, for "a" and for "foobar".
    #[test]
    fn the_account_is_the_hash_of_the_cluster() {
        for (cluster, hash) in
            [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c), ("foobar", 0x8594_4171_f739_67e8_u64)]
        {
            assert_eq!(u64::from_str_radix(&account(cluster), 32), Ok(hash), "{cluster}");
        }
    }
}
