//! Access control of an internal listener: the host names that it responds to, the pages that may post to it, and its
//! bearer token.
//!
//! A web page can make a browser on this machine send requests to any local port, under a host name of the page's own
//! that resolves to loopback. So a listener on loopback responds only to the names of loopback.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use subtle::ConstantTimeEq as _;

use crate::file;
use crate::listen::Listener;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The cap on a token file.
const MAX_TOKEN_BYTES: usize = 64 << 10;

/// The host names and the token of an internal listener. Cheap to clone; a reload applies to every clone.
#[derive(Clone, Debug, Default)]
pub struct Access(Arc<AccessRules>);

#[derive(Debug, Default)]
struct AccessRules {
    /// Whether the listener responds only to these names and those of loopback; else it responds to every name.
    restricted: bool,
    /// The names are in lower case, without a port.
    hosts: Vec<String>,
    token: Option<TokenFile>,
}

#[derive(Debug)]
struct TokenFile {
    path: PathBuf,
    current: ArcSwap<AccessSecret>,
}

/// A token from the file. `Debug` prints nothing of it.
struct AccessSecret(Vec<u8>);

impl std::fmt::Debug for AccessSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A token that was read again and is not in use yet.
#[must_use]
pub struct TokenRenewal {
    access: Access,
    token: Option<AccessSecret>,
}

impl Access {
    /// The access rules of `listener`. On loopback, it responds to the names of loopback and to `allowed_hosts`; on
    /// other addresses, to the same names if `allowed_hosts` has any, else to every name. With a `token_file`, all
    /// paths except health need its token.
    ///
    /// # Errors
    /// The token file is missing, too large, or empty.
    pub fn new(listener: &Listener, allowed_hosts: &[String], token_file: Option<PathBuf>) -> Result<Self, String> {
        let restricted = listener.is_loopback() || !allowed_hosts.is_empty();
        let hosts = allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let token = match token_file {
            Some(path) => Some(TokenFile { current: ArcSwap::from_pointee(read_token(&path)?), path }),
            None => None,
        };
        Ok(Self(Arc::new(AccessRules { restricted, hosts, token })))
    }

    /// Reads and checks the token file again without using it: [`TokenRenewal::store`] puts it into use.
    ///
    /// # Errors
    /// As [`Access::new`].
    pub fn read(&self) -> Result<TokenRenewal, String> {
        let token = self.0.token.as_ref().map(|file| read_token(&file.path)).transpose()?;
        Ok(TokenRenewal { access: self.clone(), token })
    }

    /// The middleware: refuses a request, or runs the next handler.
    pub(super) async fn check(self, request: Request, next: Next) -> Response {
        match self.refusal(&request) {
            Some(refusal) => refusal,
            None => next.run(request).await,
        }
    }

    /// The response to a request that is refused; `None` for one that may pass. A malformed `Host` is a 400, a name
    /// that the listener does not respond to a 421, a POST from a page of another origin a 403, and a missing or wrong
    /// token a 401. Requests for the health need no token.
    fn refusal(&self, request: &Request) -> Option<Response> {
        let (uri, headers) = (request.uri(), request.headers());
        let host = match host(uri, headers) {
            Ok(host) => host,
            Err(()) => return Some((StatusCode::BAD_REQUEST, "the Host is malformed\n").into_response()),
        };
        if let Some(host) = &host
            && !self.0.answers_to(host, headers)
        {
            let line = "this listener does not answer to that Host; --internal-allowed-hosts names others\n";
            return Some((StatusCode::MISDIRECTED_REQUEST, line).into_response());
        }
        if is_healthz(uri.path()) {
            return None;
        }
        if request.method() == Method::POST && is_of_another_origin(headers, host.as_ref()) {
            return Some((StatusCode::FORBIDDEN, "not from another site's page\n").into_response());
        }
        let token = self.0.token.as_ref()?;
        let is_good = bearer(headers).is_some_and(|given| bool::from(given.ct_eq(&token.current.load().0)));
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        (!is_good).then(|| (StatusCode::UNAUTHORIZED, challenge, "a bearer token is wanted\n").into_response())
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Access {
    /// The rules of a listener on loopback, without a token.
    pub(crate) fn of_loopback() -> Self {
        Self(Arc::new(AccessRules { restricted: true, ..AccessRules::default() }))
    }

    pub(crate) fn refuses(&self, request: &Request) -> bool {
        self.refusal(request).is_some()
    }
}

impl TokenRenewal {
    /// Puts the token into use.
    pub fn store(self) {
        if let (Some(file), Some(token)) = (&self.access.0.token, self.token) {
            file.current.store(Arc::new(token));
        }
    }
}

impl AccessRules {
    /// Whether the listener responds to this host name. A listener with restricted names responds to the allowed ones
    /// and to loopback, and to any address where the request came through a proxy (`X-Forwarded-For`).
    fn answers_to(&self, host: &Authority, headers: &HeaderMap) -> bool {
        if !self.restricted {
            return true;
        }
        let name = host.host().to_ascii_lowercase();
        if self.hosts.contains(&name) || name == "localhost" {
            return true;
        }
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&name);
        match bare.parse::<IpAddr>() {
            Ok(address) if address.to_canonical().is_loopback() => true,
            // A web page cannot make an address resolve elsewhere. A sidecar that protects this listener passes the
            // `Host` on, and adds `X-Forwarded-For`.
            Ok(_) => headers.contains_key(FORWARDED_FOR),
            Err(_) => false,
        }
    }
}

fn is_healthz(path: &str) -> bool {
    path == "/healthz" || path == "/healthz/ready"
}

/// The host that a request is addressed to; `None` in HTTP/1.0 without a `Host`, which browsers do not speak. Returns
/// an error for several or a malformed `Host`.
fn host(uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, ()> {
    if let Some(authority) = uri.authority() {
        return Ok(Some(authority.clone()));
    }
    let mut values = headers.get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(host), None) => Authority::try_from(host.as_bytes()).map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Whether a browser sends this request for a page of another origin; programs do not send these headers.
fn is_of_another_origin(headers: &HeaderMap, host: Option<&Authority>) -> bool {
    if headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let same =
        |(_scheme, authority): (&str, &str)| host.is_some_and(|host| authority.eq_ignore_ascii_case(host.as_str()));
    !origin.is_some_and(same)
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token.trim_ascii())
}

/// Reads the token from its file, without white space at both ends. Returns an error for an unreadable, too large or
/// empty file.
fn read_token(path: &std::path::Path) -> Result<AccessSecret, String> {
    let content = file::read(path, MAX_TOKEN_BYTES).map_err(|error| format!("--internal-token-file: {error}"))?;
    let token = content.trim_ascii().to_vec();
    if token.is_empty() {
        return Err(format!("--internal-token-file: {} is empty", path.display()));
    }
    Ok(AccessSecret(token))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::body::Body;

    use super::*;

    fn access(restricted: bool, hosts: &[&str]) -> Access {
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Access(Arc::new(AccessRules { restricted, hosts, token: None }))
    }

    fn status(access: &Access, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        access.refusal(&request.body(Body::empty()).unwrap()).map_or(200, |refusal| refusal.status().as_u16())
    }

    #[test]
    fn loopback_answers_to_its_names() {
        let access = access(true, &["Telemeter.example"]);
        for (host, expected) in [
            ("localhost", 200),
            ("localhost:9004", 200),
            ("LOCALHOST:1", 200),
            ("127.0.0.1:9004", 200),
            ("127.8.9.1", 200),
            ("[::1]:9004", 200),
            ("[::ffff:127.0.0.1]", 200),
            ("telemeter.example:9004", 200),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example:9004", 421),
            ("10.0.0.1:9004", 421),
            ("[2001:db8::1]", 421),
            ("0.0.0.0", 421),
            ("a b", 400),
        ] {
            for path in ["/metrics", "/healthz", "/-/reload"] {
                assert_eq!(status(&access, "GET", path, &[("host", host)]), expected, "{host} {path}");
            }
        }
        assert_eq!(status(&access, "GET", "/", &[]), 200, "HTTP/1.0");
        assert_eq!(status(&access, "GET", "/", &[("host", "localhost"), ("host", "localhost")]), 400, "two of them");
        assert_eq!(status(&access, "GET", "http://evil.example/", &[("host", "localhost")]), 421, "the URI goes first");
        let sidecar = [("host", "10.0.0.1:8443"), ("x-forwarded-for", "10.0.0.2")];
        assert_eq!(status(&access, "GET", "/metrics", &sidecar), 200, "a sidecar, asked under the pod's address");
        let named = [("host", "evil.example"), ("x-forwarded-for", "10.0.0.2")];
        assert_eq!(status(&access, "GET", "/metrics", &named), 421, "a page can add headers, too");
    }

    #[test]
    fn where_it_listens_wider_every_name_is_good_unless_some_are_given() {
        for (hosts, host, expected) in [
            (&[][..], "10.0.0.1:9004", 200),
            (&[], "telemeter.svc", 200),
            (&["telemeter.svc"], "telemeter.svc:9004", 200),
            (&["telemeter.svc"], "localhost", 200),
            (&["telemeter.svc", "10.0.0.1"], "10.0.0.1:9004", 200),
            (&["telemeter.svc"], "10.0.0.1:9004", 421),
            (&["telemeter.svc"], "evil.example", 421),
        ] {
            let access = access(!hosts.is_empty(), hosts);
            assert_eq!(status(&access, "GET", "/metrics", &[("host", host)]), expected, "{hosts:?} {host}");
        }
    }

    #[test]
    fn a_page_of_another_origin_posts_nothing() {
        let access = access(true, &[]);
        for (name, value, expected) in [
            ("origin", "http://localhost:9004", 200),
            ("origin", "HTTP://LOCALHOST:9004", 200),
            ("origin", "http://localhost:9005", 403),
            ("origin", "http://localhost", 403),
            ("origin", "http://127.0.0.1:9004", 403),
            ("origin", "https://evil.example", 403),
            ("origin", "null", 403),
            ("origin", "", 403),
            ("sec-fetch-site", "cross-site", 403),
            ("sec-fetch-site", "same-site", 403),
            ("sec-fetch-site", "same-origin", 200),
            ("sec-fetch-site", "none", 200),
            ("accept", "*/*", 200),
        ] {
            let headers = [("host", "localhost:9004"), (name, value)];
            assert_eq!(status(&access, "POST", "/-/reload", &headers), expected, "{name}: {value}");
            assert_eq!(status(&access, "GET", "/metrics", &headers), 200, "what reads is kept by the browser");
        }
        assert_eq!(status(&access, "POST", "/-/reload", &[("origin", "http://localhost")]), 403, "no Host to compare");
    }

    #[test]
    fn all_but_health_wants_the_token_which_a_reload_reads_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "hunter2\n").unwrap();
        let token = TokenFile { current: ArcSwap::from_pointee(read_token(&path).unwrap()), path: path.clone() };
        let access = Access(Arc::new(AccessRules { token: Some(token), ..AccessRules::default() }));
        assert!(!format!("{access:?}").contains("hunter2"));
        let check = |given: Option<&str>, expected: u16| {
            let headers: Vec<_> = given.map(|given| ("authorization", given)).into_iter().collect();
            for (method, path) in [("GET", "/metrics"), ("POST", "/-/reload"), ("GET", "/"), ("GET", "/healthz/x")] {
                assert_eq!(status(&access, method, path, &headers), expected, "{given:?} {path}");
            }
            for path in ["/healthz", "/healthz/ready"] {
                assert_eq!(status(&access, "GET", path, &headers), 200, "{path}");
            }
        };
        check(None, 401);
        check(Some("Bearer hunter2"), 200);
        check(Some("bearer hunter2"), 200);
        check(Some("Bearer hunter"), 401);
        check(Some("Bearer hunter22"), 401);
        check(Some("Basic hunter2"), 401);
        check(Some("Bearer "), 401);
        std::fs::write(&path, " \n").unwrap();
        assert!(access.read().err().unwrap().contains("is empty"));
        check(Some("Bearer hunter2"), 200);
        std::fs::write(&path, "other").unwrap();
        let renewal = access.read().unwrap();
        check(Some("Bearer hunter2"), 200);
        renewal.store();
        check(Some("Bearer hunter2"), 401);
        check(Some("Bearer other"), 200);
        std::fs::write(&path, b"\xef\xbb\xbfmarked\r\n").unwrap();
        access.read().unwrap().store();
        check(Some("Bearer marked"), 200);
        std::fs::write(&path, vec![b'x'; MAX_TOKEN_BYTES + 1]).unwrap();
        assert!(read_token(&path).is_err_and(|error| error.contains("is too large")));
        assert!(read_token(folder.path()).is_err_and(|error| error.contains("it is a directory")));
        assert!(read_token(&folder.path().join("nowhere")).is_err_and(|error| error.contains("cannot be read")));
    }
}
