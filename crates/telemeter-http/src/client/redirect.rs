//! Follows redirects as Go's `http.Client` does for a `GET`: 301, 302, 303, 307 and 308 with a `Location`, up to ten
//! requests.
//!
//! Credentials are sent only to the host of the first request. Unlike Go, they are not sent to its subdomains, and not
//! from https to http. Source: Go, `net/http/client.go`.

use tokio::time::Instant;
use url::Url;

use http::{HeaderName, header};

use super::opened::OpenAnswer;
use super::redact::bare_url;
use super::{Outbound, OutboundError, OutboundRequest};

/// As in Go, the response to the tenth request is not followed.
const MAX_REQUESTS: usize = 10;

const CREDENTIALS: [HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

impl Outbound {
    /// Sends a request, and follows its redirects, with at most [`MAX_REQUESTS`] requests within one deadline. Headers
    /// with credentials are removed before the first request to a target that may not see them.
    pub(super) async fn follow(
        &self,
        mut request: OutboundRequest,
        cap_bytes: usize,
    ) -> Result<OpenAnswer, OutboundError> {
        let limit = request.timeout.unwrap_or(self.shared.config.timeout);
        let (start, first) = (Instant::now(), request.url.clone());
        for sent in 1.. {
            let opened = self.begin(request.clone(), cap_bytes).await.map_err(|error| {
                if sent == 1 { error } else { error.with_context(&format!("{} redirected there", bare_url(&first))) }
            })?;
            let Some(next) = next(&opened)? else { return Ok(opened) };
            if sent == MAX_REQUESTS {
                let (from, to) = (bare_url(&opened.url), bare_url(&next));
                let text = format!("stopped after {MAX_REQUESTS} redirects: the last led from {from} to {to}");
                return Err(OutboundError::Redirect(text));
            }
            tracing::debug!(from = bare_url(&opened.url), to = bare_url(&next), "a redirect is followed");
            if !may_see_credentials(&first, &opened.url, &next) {
                for name in CREDENTIALS {
                    request.headers.remove(name);
                }
            }
            request.url = next;
            // The deadline is for all requests together.
            request.timeout = Some(limit.saturating_sub(start.elapsed()));
        }
        unreachable!("the loop ends by itself")
    }
}

/// The target of a response that is a redirect to follow; `None` for any other response, and without a `Location`.
/// Returns an error for a target that is no URL of http or https.
fn next(opened: &OpenAnswer) -> Result<Option<Url>, OutboundError> {
    if !matches!(opened.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = opened.headers.get(header::LOCATION).filter(|location| !location.is_empty()) else {
        return Ok(None);
    };
    let from = bare_url(&opened.url);
    let next = location.to_str().ok().and_then(|location| opened.url.join(location).ok());
    match next {
        Some(next) if matches!(next.scheme(), "http" | "https") && next.host_str().is_some() => Ok(Some(next)),
        Some(next) => {
            let text = format!("{from} redirects to {}, which is no URL of http or https", bare_url(&next));
            Err(OutboundError::Redirect(text))
        }
        None => Err(OutboundError::Redirect(format!("{from} redirects to something that is no URL"))),
    }
}

/// Whether the credentials for `first` may be sent from `last` to `next`. Once they are removed, they are not added
/// again.
fn may_see_credentials(first: &Url, last: &Url, next: &Url) -> bool {
    first.host_str() == next.host_str() && (last.scheme() != "https" || next.scheme() == "https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_with_their_host() {
        fn check(first: &str, next: &str, expected: bool) {
            let url = |text: &str| text.parse::<Url>().expect("a URL");
            assert_eq!(may_see_credentials(&url(first), &url(first), &url(next)), expected, "{first} {next}");
        }
        check("http://a.test/federate", "http://a.test/federate/", true);
        check("http://a.test/", "https://a.test/", true);
        check("http://a.test/", "http://A.TEST:8080/", true);
        check("https://a.test/", "http://a.test/", false);
        check("http://a.test/", "http://b.test/", false);
        check("http://a.test/", "http://sub.a.test/", false);
        check("http://a.test/", "http://test/", false);
        check("http://127.0.0.1/", "http://127.0.0.2/", false);
        check("http://[::1]/", "http://[::1]:9/", true);
    }
}
