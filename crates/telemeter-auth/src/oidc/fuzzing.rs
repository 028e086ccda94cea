//! What a provider of OIDC answers, and how a store or the authority refuses our own token.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use telemeter_http::client::Answer;
use url::Url;

use super::{
    answer::{ProviderRedactor, read_token},
    challenge::is_invalid_token,
};
use crate::Secret;

const SECRET: &str = "hunter2+hunter2/x";

/// A token that is issued fits a header and has a lifetime of a second at least; a reason for none is on one line, and shows our secret in
/// no form. Of an input the first byte says status and type, the rest is the body and a challenge.
pub fn oidc_answer(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let kinds = ["application/json", "application/x-www-form-urlencoded", "text/plain; charset=utf-8", "text/html"];
    let statuses = [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::FOUND, StatusCode::CREATED];
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kinds[usize::from(first & 3)]));
    if let Ok(value) = HeaderValue::from_bytes(body) {
        headers.insert(header::LOCATION, value.clone());
        headers.insert(header::WWW_AUTHENTICATE, value);
    }
    let refused = is_invalid_token(&headers);
    let lower = body.to_ascii_lowercase();
    let says = |text: &[u8]| lower.windows(text.len()).any(|part| part == text);
    assert!(!refused || says(b"bearer") && says(b"error") && says(b"invalid_token"));

    let status = statuses[usize::from(first >> 2 & 3)];
    let answer = Answer { status, headers, body: body.to_vec().into(), redirect: None, through: None };
    let url = Url::parse("https://issuer.test/token").expect("a URL");
    let redactor = ProviderRedactor::new("id", &Secret::from(SECRET));
    match read_token(&answer, &url, &redactor) {
        Ok(issued) => {
            let token = issued.token.expose();
            assert!(!token.is_empty() && HeaderValue::from_str(token).is_ok());
            assert!(issued.lifetime.is_none_or(|lifetime| lifetime.as_secs() >= 1));
        }
        Err(reason) => {
            assert!(!reason.contains(char::is_control), "{reason:?}");
            assert!(reason.chars().count() < 5000, "{reason}");
            assert!(!reason.contains(SECRET), "{reason}");
        }
    }
}

pub(crate) const SEEDS: [&str; 8] = [
    "\0{\"access_token\":\"t\",\"token_type\":\"bearer\",\"expires_in\":\"3600\"}",
    "\0{\"access_token\":\"t\",\"expires_in\":0.5,\"error\":null}",
    "\u{1}access_token=t&token_type=Bearer&expires_in=60",
    "\u{4}{\"error\":\"invalid_client\",\"error_description\":\"hunter2+hunter2/x is wrong\"}",
    "\u{b}<html>hunter2%2Bhunter2%2Fx</html>",
    "\u{8}/login?secret=hunter2+hunter2/x",
    "\u{4}Basic realm=\"a\", Bearer scope=\"x,y\", error=\"invalid_token\"",
    "\u{2}access_token=%41&expires_in=-1&error=",
];
