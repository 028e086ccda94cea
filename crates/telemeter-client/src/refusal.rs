//! An answer with another status than the expected one, as a text for the log.

use std::{fmt, time::Duration};

use http::{StatusCode, header};
use telemeter_http::client::Answer;
use url::Url;

use telemeter_http::client::bare_url;

/// How many characters of an answer's first line are shown.
const LINE_CHARS: usize = 200;

/// The status of an answer, the first line of its body, and how long to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRefusal {
    /// The status.
    pub status: StatusCode,
    /// The first line of the body, cut and without control characters, or the title of a page of HTML; may be empty.
    pub line: String,
    /// `Retry-After`, where the answer is one that may carry it: 429, and every 5xx.
    pub retry_after: Option<Duration>,
    /// The proxy that it came through, as a text; the answer may be the proxy's own.
    pub through: Option<String>,
    /// The URL of the request, without user, password and query.
    pub asked: Option<String>,
}

impl ServerRefusal {
    /// The refusal that an answer is. The line of a redirect says where it points.
    pub(crate) fn of(answer: &Answer) -> Self {
        let refusal = Self::new(answer.status, &answer.body, answer.retry_after());
        refusal.with_redirect(answer.redirect.as_deref()).with_path(answer.through.clone())
    }

    /// Adds where a redirect points that is not followed.
    pub(crate) fn with_redirect(self, target: Option<&str>) -> Self {
        match target {
            None => self,
            Some(target) => Self { line: format!("a redirect to {target}, which is not followed"), ..self },
        }
    }

    /// Adds the proxy that it came through. 407 means that the proxy requires a password, not that the server refuses a token.
    pub(crate) fn with_path(self, through: Option<String>) -> Self {
        let wants_login = through.is_some() && self.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        let line = if wants_login { "the proxy wants another user and password".to_owned() } else { self.line };
        Self { line, through, ..self }
    }

    /// Adds the URL of the request.
    pub(crate) fn with_url(self, url: &Url) -> Self {
        Self { asked: Some(bare_url(url)), ..self }
    }

    /// Adds which program answered in place of a telemeter server, by its `Server` header, and whether with a page of HTML.
    pub(crate) fn with_other_program(self, answer: &Answer) -> Self {
        let program = answer.headers.get(header::SERVER).and_then(|value| value.to_str().ok());
        let program = program.map(|program| program.chars().filter(|c| !c.is_control()).take(60).collect::<String>());
        let page = if is_html(answer) { "a page of HTML" } else { "" };
        let parts = [program.as_deref().unwrap_or_default(), page, &self.line];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Self { line: parts.join(", "), ..self }
    }

    /// The refusal that an answer with this status, body and `Retry-After` is.
    pub(crate) fn new(status: StatusCode, body: &[u8], retry_after: Option<Duration>) -> Self {
        let text = String::from_utf8_lossy(&body[..body.len().min(4 * LINE_CHARS)]);
        let first = || text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("");
        let line = title(&text).unwrap_or_else(first);
        let line = line.chars().filter(|c| !c.is_control()).take(LINE_CHARS).collect();
        let waits = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        Self { status, line, retry_after: retry_after.filter(|_| waits), through: None, asked: None }
    }
}

impl fmt::Display for ServerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({})", self.status.as_u16())?;
        if !self.line.is_empty() {
            write!(f, ": {}", self.line)?;
        }
        self.through.iter().try_for_each(|through| write!(f, " ({through})"))?;
        self.asked.iter().try_for_each(|asked| write!(f, "; asked {asked}"))
    }
}

/// Whether an answer is a page of HTML. A telemeter server answers machines with none.
pub(crate) fn is_html(answer: &Answer) -> bool {
    let content_type = answer.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let is = |text: &[u8], start: &[u8]| {
        text.trim_ascii_start().get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
    };
    is(content_type, b"text/html") || is(&answer.body, b"<!doctype html") || is(&answer.body, b"<html")
}

/// Whether an answer comes from another program than a telemeter server: a page of HTML, or a status that a telemeter
/// server gives only with known texts. A 404 of the authority comes with the text of our server, or of the Go server.
pub(crate) fn is_from_other_program(answer: &Answer) -> bool {
    const KNOWN: [&str; 2] = ["the authority does not know this cluster", "not found"];
    let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(4 * LINE_CHARS)]);
    let line = text.trim();
    let is_known = line.starts_with(KNOWN[0]) || line.eq_ignore_ascii_case(KNOWN[1]);
    match answer.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => !is_known,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => true,
        // Neither server redirects: it is a login page, or the server has another address.
        status if status.is_redirection() => true,
        _ => is_html(answer),
    }
}

/// The title of a page of HTML.
fn title(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower[start..].find("</title>")?;
    Some(text[start..end].trim()).filter(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_shown_and_no_more() {
        fn check(body: &[u8], expected: &str) {
            let refusal = ServerRefusal::new(StatusCode::UNAUTHORIZED, body, None);
            assert_eq!(refusal.to_string(), expected);
        }
        check(b"", "(401)");
        check(b"\n \nnot you\nnor you\n", "(401): not you");
        check(b"a\x1b[31mb", "(401): a[31mb");
        check(b"\xff\xfe", "(401): \u{fffd}\u{fffd}");
        let long = ServerRefusal::new(StatusCode::BAD_REQUEST, &[b'x'; 10_000], None);
        assert_eq!(long.line.len(), LINE_CHARS);
    }

    #[test]
    fn a_proxy_is_named() {
        let through = || Some("through the proxy http://proxy:3128 of HTTP_PROXY".to_owned());
        let refusal = |status| ServerRefusal::new(status, b"denied", None);
        let text = refusal(StatusCode::PROXY_AUTHENTICATION_REQUIRED).with_path(through()).to_string();
        let path = "(through the proxy http://proxy:3128 of HTTP_PROXY)";
        assert_eq!(text, format!("(407): the proxy wants another user and password {path}"));
        assert_eq!(refusal(StatusCode::FORBIDDEN).with_path(through()).to_string(), format!("(403): denied {path}"));
        assert_eq!(refusal(StatusCode::FORBIDDEN).with_path(None).to_string(), "(403): denied");
    }

    #[test]
    fn only_429_and_5xx_have_a_retry_after() {
        let wait = Some(Duration::from_secs(7));
        for (status, expected) in
            [(429, wait), (503, wait), (500, wait), (502, wait), (504, wait), (401, None), (302, None), (400, None)]
        {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(ServerRefusal::new(status, b"", wait).retry_after, expected, "{status}");
        }
    }
}
