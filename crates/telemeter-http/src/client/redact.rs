//! The verbose log of round trips: requests and responses without secrets.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Answer, OutboundError, OutboundRequest};

/// The log fields of a request, which are taken before the request is sent.
pub(super) struct RequestLogFields {
    method: String,
    target: String,
    headers: String,
    bytes: usize,
}

impl RequestLogFields {
    /// The parts of a request that are logged: of its URL without user, password and query, and with the values of
    /// secret headers redacted.
    pub(super) fn of(request: &OutboundRequest) -> Self {
        Self {
            method: request.method().to_string(),
            target: bare_url(request.url()),
            headers: headers(request.headers()),
            bytes: request.body.as_ref().map_or(0, bytes::Bytes::len),
        }
    }

    /// Logs one line at level info: the request, its response or error, and the time that it took. Of the bodies, it
    /// logs the sizes only.
    pub(super) fn log(&self, client: &str, outcome: &Result<Answer, OutboundError>, took: Duration) {
        let (method, target, sent, sent_bytes) = (&self.method, &self.target, &self.headers, self.bytes);
        match outcome {
            Ok(answer) => tracing::info!(
                client,
                method,
                target,
                sent,
                sent_bytes,
                status = answer.status.as_u16(),
                answered = headers(&answer.headers),
                answered_bytes = answer.body.len(),
                ?took,
                "round trip"
            ),
            Err(error) => {
                tracing::info!(client, method, target, sent, sent_bytes, %error, ?took, "round trip failed");
            }
        }
    }
}

/// The scheme, host, port and path of a URL, without user, password, query and fragment, so that a log or a page can
/// show it.
#[must_use]
pub fn bare_url(url: &url::Url) -> String {
    let mut text = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        let _ = write!(text, ":{port}");
    }
    text.push_str(url.path());
    text
}

/// The headers as `name=value` pairs; the value of a secret is `[redacted]`.
pub(super) fn headers(headers: &HeaderMap) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        let shown = if secret(name, value) { "[redacted]" } else { value.to_str().unwrap_or("[binary]") };
        let separator = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{separator}{name}={shown:?}");
    }
    text
}

/// Whether the value of a header is redacted: it is marked as sensitive, its name is that of a secret, or it is a URL,
/// which may contain one.
fn secret(name: &HeaderName, value: &HeaderValue) -> bool {
    const WORDS: [&str; 8] = ["auth", "cookie", "token", "secret", "password", "key", "credential", "signature"];
    // A location may contain a token in its query, or a password before its host.
    value.is_sensitive()
        || WORDS.iter().any(|word| name.as_str().contains(word))
        || matches!(name.as_str(), "location" | "content-location" | "link" | "refresh" | "referer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_no_password_no_query_in_a_target() {
        let url = "https://user:hunter2@store.example:8443/api/v1/receive?token=hunter3#hunter4".parse();
        assert_eq!(bare_url(&url.expect("a URL")), "https://store.example:8443/api/v1/receive");
    }

    #[test]
    fn secrets_are_redacted_and_the_rest_is_shown() {
        let mut map = HeaderMap::new();
        for name in ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-token", "location"]
        {
            map.insert(name, HeaderValue::from_static("hunter2"));
        }
        let mut sensitive = HeaderValue::from_static("hunter2");
        sensitive.set_sensitive(true);
        map.insert("x-other", sensitive);
        map.insert("content-type", HeaderValue::from_static("application/json"));
        map.insert("x-bytes", HeaderValue::from_bytes(b"\xff").expect("legal in a header"));
        let text = headers(&map);
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains(r#"authorization="[redacted]""#), "{text}");
        assert!(text.contains(r#"content-type="application/json""#), "{text}");
        assert!(text.contains(r#"x-bytes="[binary]""#), "{text}");
    }
}
