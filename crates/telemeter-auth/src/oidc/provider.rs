//! The words exchanged with the provider: discovery, and client credentials.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::{Mutex, RwLock};
use reqwest::header::{self, HeaderValue};
use reqwest::{Method, Request};
use serde::Deserialize;
use telemeter_http::client::{Answer, Outbound};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use super::OidcConfig;
use crate::Secret;

/// The longest answer of the provider that is read.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// The longest token that fits into a header.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

pub(super) struct Provider {
    config: OidcConfig,
    client_secret: RwLock<Secret>,
    outbound: Outbound,
    learned: Mutex<Learned>,
}

/// What earlier answers taught us; forgotten when the provider fails.
#[derive(Clone, Default)]
struct Learned {
    token_endpoint: Option<Url>,
    style: Option<Style>,
}

/// Where the provider looks for our name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Header,
    Body,
}

/// A token as granted; one without an end never ends.
pub(super) struct Granted {
    pub(super) token: Secret,
    pub(super) lives: Option<Duration>,
}

impl Provider {
    pub(super) fn new(config: OidcConfig, outbound: Outbound) -> Self {
        let client_secret = RwLock::new(config.client_secret.clone());
        Self { config, client_secret, outbound, learned: Mutex::default() }
    }

    /// True when it is another one.
    pub(super) fn replace_secret(&self, client_secret: Secret) -> bool {
        let mut current = self.client_secret.write();
        let other = *current != client_secret;
        *current = client_secret;
        other
    }

    /// Asks for a token; the error is fit for a log.
    pub(super) async fn ask(&self) -> Result<Granted, String> {
        let granted = self.ask_as_learned().await;
        if granted.is_err() {
            *self.learned.lock() = Learned::default();
        }
        granted
    }

    async fn ask_as_learned(&self) -> Result<Granted, String> {
        let learned = self.learned.lock().clone();
        let token_endpoint = match learned.token_endpoint {
            Some(token_endpoint) => token_endpoint,
            None => self.discover().await?,
        };
        let styles = learned.style.map_or(vec![Style::Header, Style::Body], |style| vec![style]);
        let mut refusal = String::new();
        for style in styles {
            let sent = self.outbound.send(self.credentials(&token_endpoint, style)?, MAX_ANSWER_BYTES).await;
            let answer = sent.map_err(|error| format!("the token endpoint: {error}"))?;
            match answer.status.as_u16() {
                200 => {
                    let granted = granted(&answer.body)?;
                    *self.learned.lock() = Learned { token_endpoint: Some(token_endpoint), style: Some(style) };
                    return Ok(granted);
                }
                400 | 401 | 403 => refusal = refused(&answer),
                _ => return Err(refused(&answer)),
            }
        }
        Err(refusal)
    }

    async fn discover(&self) -> Result<Url, String> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            token_endpoint: String,
        }
        let issuer = &self.config.issuer;
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let address = Url::parse(&address).map_err(|error| format!("the issuer is no URL: {error}"))?;
        let secure = address.scheme() == "https";
        let mut request = Request::new(Method::GET, address);
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let answer =
            self.outbound.send(request, MAX_ANSWER_BYTES).await.map_err(|error| format!("discovery: {error}"))?;
        if answer.status.as_u16() != 200 {
            return Err(format!("discovery answered with status {}", answer.status.as_u16()));
        }
        let metadata: Metadata = serde_json::from_slice(&answer.body)
            .map_err(|_| "discovery answered with something else than a provider's metadata")?;
        if metadata.issuer != *issuer {
            return Err("the provider names itself otherwise than --oidc-issuer does".to_owned());
        }
        let token_endpoint =
            Url::parse(&metadata.token_endpoint).map_err(|error| format!("the token endpoint is no URL: {error}"))?;
        if secure && token_endpoint.scheme() != "https" {
            return Err("the issuer has https, but its token endpoint does not".to_owned());
        }
        Ok(token_endpoint)
    }

    fn credentials(&self, token_endpoint: &Url, style: Style) -> Result<Request, String> {
        let client_secret = self.client_secret.read().clone();
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(audience) = &self.config.audience {
            form.append_pair("audience", audience);
        }
        let mut request = Request::new(Method::POST, token_endpoint.clone());
        match style {
            Style::Header => {
                let escape = |text: &str| Zeroizing::new(byte_serialize(text.as_bytes()).collect::<String>());
                let (id, secret) = (escape(&self.config.client_id), escape(client_secret.expose()));
                let pair = Zeroizing::new(format!("{}:{}", *id, *secret));
                let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
                let mut value = HeaderValue::from_str(&value).map_err(|_| "the client's name does not fit a header")?;
                value.set_sensitive(true);
                request.headers_mut().insert(header::AUTHORIZATION, value);
            }
            Style::Body => {
                form.append_pair("client_id", &self.config.client_id);
                form.append_pair("client_secret", client_secret.expose());
            }
        }
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(header::CONTENT_TYPE, content_type);
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(form.finish().into());
        Ok(request)
    }
}

/// What a refusal says: its status, and the provider's word for it where that is one of the standard's form.
fn refused(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let status = answer.status.as_u16();
    let word = serde_json::from_slice::<Refusal>(&answer.body).ok().map(|refusal| refusal.error).filter(|word| {
        (1..=40).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    });
    match word {
        Some(word) => format!("the token endpoint answered with status {status}: {word}"),
        None => format!("the token endpoint answered with status {status}"),
    }
}

fn granted(body: &[u8]) -> Result<Granted, String> {
    #[derive(Deserialize)]
    struct Grant {
        access_token: String,
        token_type: Option<String>,
        expires_in: Option<Seconds>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(f64),
        Text(String),
    }
    let grant: Grant =
        serde_json::from_slice(body).map_err(|_| "the token endpoint answered with something else than a token")?;
    let token = Secret::from(grant.access_token);
    if grant.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("the token endpoint gave a token that is no bearer token".to_owned());
    }
    let fits = (1..=MAX_TOKEN_BYTES).contains(&token.expose().len());
    if !fits || !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the token endpoint gave a token that does not fit a header".to_owned());
    }
    let seconds = match grant.expires_in {
        None => None,
        Some(Seconds::Number(seconds)) => Some(seconds),
        Some(Seconds::Text(text)) => Some(text.parse().map_err(|_| "expires_in is no number")?),
    };
    // As in Go: no lifetime, or one of 0, is one without end.
    let lives = match seconds.filter(|seconds| *seconds != 0.0) {
        None => None,
        Some(seconds) => {
            Some(Duration::try_from_secs_f64(seconds).map_err(|_| "expires_in is no time that could come".to_owned())?)
        }
    };
    Ok(Granted { token, lives })
}
