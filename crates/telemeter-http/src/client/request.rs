//! The request that a caller builds for an outbound call.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue, InvalidHeaderValue};
use http::{HeaderMap, Method};
use url::Url;

/// A request that [`Outbound`](super::Outbound) can send. A clone shares the body.
#[derive(Clone)]
pub struct OutboundRequest {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) timeout: Option<Duration>,
}

impl OutboundRequest {
    /// A request without headers and without a body. The user and password of the URL are sent as a header, unless the
    /// request has an `Authorization` by then.
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None, timeout: None }
    }

    /// A request with the method `GET`.
    pub fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }

    /// A request with the method `POST`.
    pub fn post(url: Url) -> Self {
        Self::new(Method::POST, url)
    }

    /// Sets a header, and replaces all values that it had.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Replaces all headers.
    #[must_use]
    pub fn with_headers(self, headers: HeaderMap) -> Self {
        Self { headers, ..self }
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    /// Sets the deadline of the response, in place of [`OutboundConfig::timeout`](super::OutboundConfig::timeout).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Sets `Authorization` to a bearer token, marked as a secret.
    ///
    /// # Errors
    /// The token contains a byte that a header may not contain.
    pub fn with_bearer(mut self, token: &str) -> Result<Self, InvalidHeaderValue> {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
        value.set_sensitive(true);
        self.headers.insert(header::AUTHORIZATION, value);
        Ok(self)
    }

    /// Its method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The URL that it is sent to.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Its headers, which the caller may change.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// Its body, which the caller may change.
    pub fn body_mut(&mut self) -> &mut Option<Bytes> {
        &mut self.body
    }

    /// As in Go, sends the user and password of the URL, where the request has no `Authorization` of its own.
    pub(super) fn authorize_from_url(&mut self) {
        if self.url.username().is_empty() && self.url.password().is_none() {
            return;
        }
        if !self.headers.contains_key(header::AUTHORIZATION) {
            let value = basic(self.url.username(), self.url.password().unwrap_or_default());
            self.headers.insert(header::AUTHORIZATION, value);
        }
    }
}

impl std::fmt::Debug for OutboundRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, super::redact::bare_url(&self.url))
    }
}

/// The `Basic` credentials for a user and a password as they are written in a URL.
pub(super) fn basic(user: &str, password: &str) -> HeaderValue {
    let mut pair = percent_decoded(user);
    pair.push(b':');
    pair.extend(percent_decoded(password));
    let value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)));
    let mut value = value.expect("base64 can stand in a header");
    value.set_sensitive(true);
    value
}

/// Decodes each `%xx` of a part of a URL; any other `%` stays.
pub(super) fn percent_decoded(text: &str) -> Vec<u8> {
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).filter(|hex| byte == b'%' && hex.iter().all(u8::is_ascii_hexdigit));
        match hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(meant) => {
                decoded.push(meant);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_a_url_becomes_a_header_unless_there_is_one() {
        let authorization = |url: &str, own: Option<&'static str>| {
            let mut request = OutboundRequest::get(url.parse().expect("a URL"));
            if let Some(own) = own {
                request.headers.insert(header::AUTHORIZATION, HeaderValue::from_static(own));
            }
            request.authorize_from_url();
            let value = request.headers.get(header::AUTHORIZATION).cloned();
            value.map(|value| (value.to_str().expect("text").to_owned(), value.is_sensitive()))
        };
        assert_eq!(authorization("http://host/", None), None);
        // user:p@ss
        assert_eq!(authorization("http://user:p%40ss@host/", None), Some(("Basic dXNlcjpwQHNz".to_owned(), true)));
        assert_eq!(authorization("http://user@host/", None), Some(("Basic dXNlcjo=".to_owned(), true)));
        assert_eq!(authorization("http://user:p@host/", Some("Bearer t")), Some(("Bearer t".to_owned(), false)));
    }

    #[test]
    fn percent_signs_that_mean_nothing_stay() {
        for (text, expected) in [("a%41b", "aAb"), ("100%", "100%"), ("%4", "%4"), ("%zz", "%zz"), ("%+1", "%+1")] {
            assert_eq!(String::from_utf8_lossy(&percent_decoded(text)), expected);
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let request = OutboundRequest::get("http://user:hunter2@host/path?token=hunter3".parse().expect("a URL"));
        assert_eq!(format!("{request:?}"), "GET http://host/path");
    }
}
