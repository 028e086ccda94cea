//! Reads the answer of a token endpoint: a token, or the provider's error.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, header};
use serde_json::{Map, Number, Value};
use telemeter_http::client::{Answer, redacted};
use url::Url;
use url::form_urlencoded::{byte_serialize, parse};
use zeroize::Zeroizing;

use crate::Secret;

/// The longest token that is accepted, in bytes: it has to fit into a header.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// How many characters of the provider's error code, and of its description, are shown.
const ERROR_CODE_CHARS: usize = 60;
const DESCRIPTION_CHARS: usize = 200;
/// The longest lifetime, as in Go: 68 years.
const MAX_SECONDS: f64 = i32::MAX as f64;
/// The shortest lifetime: a shorter or negative one counts as this, so that the token is used and the provider not flooded.
const MIN_SECONDS: f64 = 1.0;

/// A token from the provider; without a lifetime it never expires.
#[derive(Debug)]
pub(super) struct IssuedToken {
    pub(super) token: Secret,
    pub(super) lifetime: Option<Duration>,
}

/// The token in an answer of the token endpoint at `url`; else why there is none, as a text fit for a log.
///
/// As in Go: any 2xx counts, unless the body has an `error`; the body is a form where its type is
/// `application/x-www-form-urlencoded` or `text/plain`, and JSON otherwise. Unlike Go: JSON of type `text/plain` is read.
///
/// Source: RFC 6749, sections 5.1 and 5.2; Go: `golang.org/x/oauth2/internal/token.go`.
pub(super) fn read_token(answer: &Answer, url: &Url, redactor: &ProviderRedactor) -> Result<IssuedToken, String> {
    let fields = AnswerFields::read(&answer.headers, &answer.body);
    let error = fields.as_ref().ok().filter(|fields| !fields.error.is_empty());
    if !answer.status.is_success() || error.is_some() {
        let mut reason = status(answer, url, redactor);
        if let Some(fields) = error {
            reason.push_str(&format!(": {}", redactor.show(&fields.error, ERROR_CODE_CHARS)));
            if !fields.error_description.is_empty() {
                reason.push_str(&format!(" ({})", redactor.show(&fields.error_description, DESCRIPTION_CHARS)));
            }
        }
        return Err(reason);
    }
    let fields = fields.map_err(|wrong| format!("{}, which is no token: {wrong}", status(answer, url, redactor)))?;
    if fields.access_token.is_empty() {
        return Err(format!("{}, without an access_token", status(answer, url, redactor)));
    }
    if !fields.token_type.is_empty() && !fields.token_type.eq_ignore_ascii_case("bearer") {
        let kind = redactor.show(&fields.token_type, ERROR_CODE_CHARS);
        return Err(format!("a token of type {kind}: only bearer tokens can be used"));
    }
    let is_short_enough = fields.access_token.len() <= MAX_TOKEN_BYTES;
    if !is_short_enough || !fields.access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token that does not fit a header".to_owned());
    }
    let lifetime = fields.seconds.filter(|seconds| *seconds != 0.0);
    let lifetime = lifetime.map(|seconds| Duration::from_secs_f64(seconds.clamp(MIN_SECONDS, MAX_SECONDS)));
    Ok(IssuedToken { token: Secret::from(fields.access_token), lifetime })
}

/// The status of an answer, its redirect target, and the type of its body where that is neither a form nor JSON.
pub(super) fn status(answer: &Answer, url: &Url, redactor: &ProviderRedactor) -> String {
    let status = status_without_proxy(answer, url, redactor);
    // The answer may come from the proxy, so the text names the proxy.
    answer.through.iter().fold(status, |status, through| format!("{status} ({through})"))
}

/// The status of an answer for the log, with the target of a redirect, or with a Content-Type that is neither JSON nor
/// a form. Secrets are removed by `redactor`.
fn status_without_proxy(answer: &Answer, url: &Url, redactor: &ProviderRedactor) -> String {
    let number = answer.status.as_u16();
    if answer.status.is_redirection()
        && let Some(target) = redirect_target(&answer.headers, url)
    {
        return format!(
            "status {number}, a redirect to {}, which is not followed",
            redactor.show(&target, DESCRIPTION_CHARS)
        );
    }
    let kind = media_type(&answer.headers);
    if kind.is_empty() || kind == "application/json" || is_form(&kind) {
        return format!("status {number}");
    }
    format!("status {number} and {}", redactor.show(&kind, ERROR_CODE_CHARS))
}

/// The target of a redirect without its parts that may be secret: user, password, query and fragment.
fn redirect_target(headers: &HeaderMap, url: &Url) -> Option<String> {
    let location = String::from_utf8_lossy(headers.get(header::LOCATION)?.as_bytes());
    let target = url.join(&location).ok()?;
    Some(match target.has_host() {
        true => format!("{}{}", target.origin().ascii_serialization(), target.path()),
        false => format!("a {}: address", target.scheme()),
    })
}

/// The fields that we use, of a form or of a JSON object. One that is absent or null is empty.
#[derive(Default)]
struct AnswerFields {
    access_token: String,
    token_type: String,
    /// `expires_in`, where there is one.
    seconds: Option<f64>,
    error: String,
    error_description: String,
}

impl AnswerFields {
    /// Parses the body as a form where the Content-Type says so and it does not start with `{`; else as JSON.
    ///
    /// # Errors
    /// The body is neither, or a field has the wrong type; the text says which.
    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Self, String> {
        if is_form(&media_type(headers)) && !body.trim_ascii_start().starts_with(b"{") {
            return Ok(Self::from_form(body));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => Self::from_json(object),
            Ok(_) => Err("not a JSON object".to_owned()),
            Err(_) => Err("not JSON".to_owned()),
        }
    }

    /// As in Go: the first of several fields of one name counts, and a lifetime that is no integer is ignored.
    fn from_form(body: &[u8]) -> Self {
        let field = |name| parse(body).find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        Self {
            access_token: field("access_token").unwrap_or_default(),
            token_type: field("token_type").unwrap_or_default(),
            seconds: field("expires_in").and_then(|text| text.parse::<i64>().ok()).map(|seconds| seconds as f64),
            error: field("error").unwrap_or_default(),
            error_description: field("error_description").unwrap_or_default(),
        }
    }

    /// As in Go: the lifetime may be a number or a string that holds one. Unlike Go: it may have a fraction.
    fn from_json(mut object: Map<String, Value>) -> Result<Self, String> {
        let mut text = |name: &str| match object.remove(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(format!("its {name} is not a text")),
        };
        let mut fields = Self {
            access_token: text("access_token")?,
            token_type: text("token_type")?,
            seconds: None,
            error: text("error")?,
            error_description: text("error_description")?,
        };
        let number = match object.remove("expires_in") {
            None | Some(Value::Null) => return Ok(fields),
            Some(Value::Number(number)) => Some(number),
            Some(Value::String(text)) => serde_json::from_str::<Number>(&text).ok(),
            Some(_) => None,
        };
        fields.seconds = Some(number.and_then(|number| number.as_f64()).ok_or("its expires_in is no number")?);
        Ok(fields)
    }
}

/// The type of a body without its parameters, in lower case; empty where there is none.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let value = value.unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a body of this media type is read as a form. As in Go: `text/plain` is one, too.
fn is_form(media_type: &str) -> bool {
    matches!(media_type, "application/x-www-form-urlencoded" | "text/plain")
}

/// Makes texts of a provider fit for our log and our status page. A provider may repeat the secret that we sent.
pub(super) struct ProviderRedactor {
    /// Our client secret in each form in which it is sent, the longest first.
    secrets: Vec<Zeroizing<String>>,
}

impl ProviderRedactor {
    pub(super) fn new(client_id: &str, client_secret: &Secret) -> Self {
        let secret = client_secret.expose();
        if secret.is_empty() {
            return Self { secrets: Vec::new() };
        }
        let form = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        let pair = |id: &str, secret: &str| BASE64_STANDARD.encode(Zeroizing::new(format!("{id}:{secret}")).as_bytes());
        let (form_id, form_secret) = (form(client_id), Zeroizing::new(form(secret)));
        let mut secrets: Vec<_> = [
            pair(&form_id, &form_secret),
            pair(client_id, secret),
            form_secret.replace('+', "%20"),
            form_secret.to_string(),
            secret.to_owned(),
        ]
        .map(Zeroizing::new)
        .into();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets }
    }

    /// `text` without our secret, cut to `limit` characters, with unprintable characters escaped.
    pub(super) fn show(&self, text: &str, limit: usize) -> String {
        let text = redacted(text, self.secrets.iter().map(|secret| secret.as_str()));
        let mut shown = String::new();
        for (count, character) in text.chars().enumerate() {
            if count == limit {
                shown.push('…');
                break;
            }
            match character {
                '"' | '\'' => shown.push(character),
                _ => shown.extend(character.escape_debug()),
            }
        }
        shown
    }
}
