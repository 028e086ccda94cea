//! Tests which answers are accepted as a token, and the reason shown for the others: RFC 6749, sections 5.1 and 5.2, as
//! Go implements it.

use http::{HeaderMap, StatusCode, header};
use telemeter_http::client::Answer;
use url::Url;

use super::*;
use crate::oidc::answer::{ProviderRedactor, read_token};

const JSON: &str = "application/json; charset=utf-8";
const FORM: &str = "Application/X-WWW-Form-URLEncoded;charset=UTF-8";
const PLAIN: &str = "text/plain";
/// The token in the answers of all tables; it must not be in any reason.
const TOKEN: &str = "leak.t0ken";

fn read(status: u16, content_type: &str, body: &str) -> Result<(String, Option<Duration>), String> {
    let mut headers = HeaderMap::new();
    if !content_type.is_empty() {
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
    }
    if (300..400).contains(&status) {
        headers.insert(header::LOCATION, "//user:leak@login.example/a%20b/?state=leak#leak".parse().unwrap());
    }
    let (status, body) = (StatusCode::from_u16(status).unwrap(), body.to_owned().into());
    let answer = Answer { status, headers, body, redirect: None, through: None };
    let redactor = ProviderRedactor::new("me & co", &SECRET.into());
    let read = read_token(&answer, &Url::parse("https://provider.example/token").unwrap(), &redactor);
    read.map(|issued| (issued.token.expose().to_owned(), issued.lifetime))
}

#[test]
fn a_token_is_a_token() {
    let seconds = |seconds: f64| Some(Duration::from_secs_f64(seconds));
    for (status, content_type, body, lifetime) in [
        // Any 2xx, and any Content-Type that is not a form, is accepted.
        (200, JSON, r#"{"access_token":"leak.t0ken","token_type":"Bearer","expires_in":300}"#, seconds(300.0)),
        (201, JSON, r#"{"access_token":"leak.t0ken","token_type":"bearer","expires_in":300}"#, seconds(300.0)),
        (206, "", r#"{"access_token":"leak.t0ken","token_type":"BEARER","expires_in":300}"#, seconds(300.0)),
        (299, "text/html", r#"{"access_token":"leak.t0ken","expires_in":300}"#, seconds(300.0)),
        (200, "nonsense", r#" { "access_token" : "leak.t0ken" } "#, None),
        // Without a token_type it is a bearer token.
        (200, JSON, r#"{"access_token":"leak.t0ken"}"#, None),
        (200, JSON, r#"{"access_token":"leak.t0ken","token_type":""}"#, None),
        (200, JSON, r#"{"access_token":"leak.t0ken","token_type":null,"error":"","scope":[1]}"#, None),
        // The lifetime: absent, null and 0 mean none; a JSON string may contain the number.
        (200, JSON, r#"{"access_token":"leak.t0ken","expires_in":null}"#, None),
        (200, JSON, r#"{"access_token":"leak.t0ken","expires_in":0}"#, None),
        (200, JSON, r#"{"access_token":"leak.t0ken","expires_in":"0"}"#, None),
        (200, JSON, r#"{"access_token":"leak.t0ken","expires_in":"3600"}"#, seconds(3600.0)),
        (200, JSON, r#"{"access_token":"leak.t0ken","expires_in":3599.5}"#, seconds(3599.5)),
        (200, JSON, r#"{"access_token":"leak.t0ken","expires_in":-5}"#, seconds(1.0)),
        (200, JSON, r#"{"access_token":"leak.t0ken","expires_in":0.2}"#, seconds(1.0)),
        (200, JSON, r#"{"access_token":"leak.t0ken","expires_in":1e300}"#, seconds(2_147_483_647.0)),
        (200, JSON, r#"{"access_token":"old","access_token":"leak.t0ken"}"#, None),
        // Some providers answer with a form.
        (200, FORM, "access_token=leak.t0ken&token_type=bearer&expires_in=300", seconds(300.0)),
        (202, FORM, "token_type=&access_token=leak%2Et0ken&expires_in=-5&access_token=second", seconds(1.0)),
        (200, PLAIN, "access_token=leak.t0ken&expires_in=soon", None),
        (200, PLAIN, "access_token=leak.t0ken&expires_in=299.5", None),
        (200, PLAIN, r#" {"access_token":"leak.t0ken","expires_in":300}"#, seconds(300.0)),
    ] {
        assert_eq!(
            read(status, content_type, body),
            Ok((TOKEN.to_owned(), lifetime)),
            "{status} {content_type} {body}"
        );
    }
}

#[test]
fn anything_else_is_a_reason() {
    let token = |fields: &str| format!(r#"{{"access_token":"leak.t0ken",{fields}}}"#);
    let long_error = format!(r#"{{"error":"{}","error_description":"{}"}}"#, "e".repeat(61), "ü".repeat(300));
    let long_reason = format!("status 400: {}… ({}…)", "e".repeat(60), "ü".repeat(200));
    let long_token = format!(r#"{{"access_token":"{}"}}"#, "leak".repeat(4097));
    for (status, content_type, body, reason) in [
        (200, JSON, token(r#""token_type":"mac""#).as_str(), "a token of type mac: only bearer tokens can be used"),
        (200, FORM, "access_token=leak.t0ken&token_type=D%00oP", r"a token of type D\0oP: only bearer"),
        (200, JSON, "{}", "status 200, without an access_token"),
        (200, JSON, r#"{"access_token":""}"#, "status 200, without an access_token"),
        (200, FORM, "", "status 200, without an access_token"),
        (200, JSON, r#"{"access_token":7}"#, "status 200, which is no token: its access_token is not a text"),
        (200, JSON, &token(r#""token_type":[]"#), "status 200, which is no token: its token_type is not a text"),
        (200, JSON, &token(r#""expires_in":"soon""#), "status 200, which is no token: its expires_in is no number"),
        (200, JSON, &token(r#""expires_in":"NaN""#), "status 200, which is no token: its expires_in is no number"),
        (200, JSON, &token(r#""expires_in":true"#), "status 200, which is no token: its expires_in is no number"),
        (200, JSON, r#"["leak"]"#, "status 200, which is no token: not a JSON object"),
        (200, "", "leak", "status 200, which is no token: not JSON"),
        (204, "", "", "status 204, which is no token: not JSON"),
        (200, "text/html; x", "<html>leak", "status 200 and text/html, which is no token: not JSON"),
        (200, JSON, r#"{"access_token":"leak\nleak"}"#, "a token that does not fit a header"),
        (200, JSON, &long_token, "a token that does not fit a header"),
        // The provider's error. Some providers send it with status 200.
        (200, JSON, &token(r#""error":"slow_down""#), "status 200: slow_down"),
        (401, JSON, r#"{"error":"invalid_client"}"#, "status 401: invalid_client"),
        (
            401,
            JSON,
            r#"{"error":"invalid_client","error_description":"no such client"}"#,
            "status 401: invalid_client (no such client)",
        ),
        (
            400,
            FORM,
            "error=invalid_scope&error_description=what%27s+that%3F",
            "status 400: invalid_scope (what's that?)",
        ),
        (400, PLAIN, "error=invalid_scope", "status 400: invalid_scope"),
        (
            400,
            JSON,
            r#"{"error":"a\nb\u001b[0m","error_description":"\u202e\u0000"}"#,
            r"status 400: a\nb\u{1b}[0m (\u{202e}\0)",
        ),
        (400, JSON, &long_error, &long_reason),
        (400, JSON, r#"{"error":{"message":"leak"}}"#, "status 400"),
        (400, JSON, r#"{"error_description":"leak"}"#, "status 400"),
        (403, "text/html", "<html>leak", "status 403 and text/html"),
        (503, "", "leak", "status 503"),
        (302, "text/html", "leak", "status 302, a redirect to https://login.example/a%20b/, which is not followed"),
    ] {
        let shown = read(status, content_type, body).unwrap_err();
        assert!(shown.starts_with(reason) && !shown.contains("leak"), "{status} {content_type} {body}: {shown}");
        assert!(shown.chars().count() < 350, "{shown}");
    }
}

#[test]
fn a_provider_that_repeats_our_secret_does_not_bring_it_into_the_log() {
    let escaped = "s%2F%26x%3A+%C3%BC";
    for sent in [
        SECRET.to_owned(),
        escaped.to_owned(),
        escaped.replace('+', "%20"),
        BASE64_STANDARD.encode(format!("me+%26+co:{escaped}")),
        BASE64_STANDARD.encode(format!("me & co:{SECRET}")),
    ] {
        let body = serde_json::json!({"error": sent, "error_description": format!("{}{sent}{sent}", "x".repeat(190))});
        let shown = read(401, JSON, &body.to_string()).unwrap_err();
        assert_eq!(shown, format!("status 401: [redacted] ({}[redacted]…)", "x".repeat(190)), "{sent}");
        let body = serde_json::json!({"access_token": "t", "token_type": sent});
        assert!(read(200, JSON, &body.to_string()).unwrap_err().contains("of type [redacted]:"), "{sent}");
    }
}
