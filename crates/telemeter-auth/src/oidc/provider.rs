//! The conversation with the provider: discovery, and client credentials.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use http::header::{self, HeaderValue};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use telemeter_http::client::{Outbound, OutboundError, OutboundRequest};
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};
use zeroize::Zeroizing;

use super::OidcConfig;
use super::answer::{Granted, ProviderText, granted, status};
use super::rest::ProviderBackoff;
use crate::Secret;

/// The longest answer of the provider that is read.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Characters of an address in the provider's metadata that an error shows.
const ADDRESS_CHARS: usize = 200;

pub(super) struct Provider {
    config: OidcConfig,
    client_secret: RwLock<Secret>,
    outbound: Outbound,
    learned: Mutex<ProviderHistory>,
    pub(super) rest: ProviderBackoff,
}

/// What earlier answers taught us.
#[derive(Clone, Default)]
struct ProviderHistory {
    /// Looked up again after a failure that is not a timeout.
    token_endpoint: Option<Url>,
    /// What worked, and where. Forgotten only when it is refused there.
    style: Option<(Url, ClientAuthMethod)>,
}

/// Where the provider looks for our name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientAuthMethod {
    Header,
    Body,
}

/// Why a question brought no token.
enum NoToken {
    /// No answer in time.
    Timeout(String),
    /// An answer with one of the statuses of RFC 6749, section 5.2: it may be about the credentials.
    Refused(String),
    /// Anything else.
    Other(String),
}

impl NoToken {
    fn reason(self) -> String {
        match self {
            Self::Timeout(reason) | Self::Refused(reason) | Self::Other(reason) => reason,
        }
    }
}

impl Provider {
    pub(super) fn new(config: OidcConfig, outbound: Outbound) -> Self {
        let client_secret = RwLock::new(config.client_secret.clone());
        Self { config, client_secret, outbound, learned: Mutex::default(), rest: ProviderBackoff::default() }
    }

    /// True when it is another one.
    pub(super) fn replace_secret(&self, client_secret: Secret) -> bool {
        let mut current = self.client_secret.write();
        let other = *current != client_secret;
        *current = client_secret;
        other
    }

    /// Asks for a token; the error is fit for a log.
    ///
    /// As in Go, the credentials go into the header first and, after any failure that is not a timeout, into the body; but
    /// not where the answer asks us to wait. What worked is used from then on. Unlike Go, a refusal of what worked makes the next question try both again.
    pub(super) async fn ask(&self) -> Result<Granted, String> {
        let learned = self.learned.lock().clone();
        let token_endpoint = match learned.token_endpoint {
            Some(token_endpoint) => token_endpoint,
            None => {
                let discovered = self.discover().await?;
                self.learned.lock().token_endpoint = Some(discovered.clone());
                discovered
            }
        };
        let worked = learned.style.filter(|(place, _)| *place == token_endpoint).map(|(_, style)| style);
        let style = worked.unwrap_or(ClientAuthMethod::Header);
        let failure = match self.ask_with(&token_endpoint, style).await {
            Ok(granted) => return Ok(self.remember(token_endpoint, style, granted)),
            Err(failure) => failure,
        };
        // A provider that asked to be left alone is not asked again before its wait is over, in whatever style.
        if worked.is_some() || matches!(failure, NoToken::Timeout(_)) || self.rest.left().is_some() {
            return Err(self.forget(failure));
        }
        match self.ask_with(&token_endpoint, ClientAuthMethod::Body).await {
            Ok(granted) => Ok(self.remember(token_endpoint, ClientAuthMethod::Body, granted)),
            Err(second) => {
                let (first, second) = (failure.reason(), self.forget(second));
                Err(match first == second {
                    true => first,
                    false => format!("{first}; with the credentials in the body: {second}"),
                })
            }
        }
    }

    fn remember(&self, token_endpoint: Url, style: ClientAuthMethod, granted: Granted) -> Granted {
        self.learned.lock().style = Some((token_endpoint, style));
        granted
    }

    fn forget(&self, failure: NoToken) -> String {
        let mut learned = self.learned.lock();
        match failure {
            // The way there is slow, not wrong: looking it up again would take longer still.
            NoToken::Timeout(_) => {}
            NoToken::Refused(_) => *learned = ProviderHistory::default(),
            NoToken::Other(_) => learned.token_endpoint = None,
        }
        failure.reason()
    }

    async fn ask_with(&self, token_endpoint: &Url, style: ClientAuthMethod) -> Result<Granted, NoToken> {
        let client_secret = self.client_secret.read().clone();
        let request = || self.credentials(token_endpoint, style, &client_secret).map_err(OutboundError::Setup);
        let answer = self.outbound.send_idempotent(request, MAX_ANSWER_BYTES).await.map_err(|error| {
            let reason = format!("the token endpoint: {error}");
            match error.kind() {
                "timeout" => NoToken::Timeout(reason),
                _ => NoToken::Other(reason),
            }
        })?;
        self.rest.heed(&answer);
        let words = ProviderText::new(&self.config.client_id, &client_secret);
        granted(&answer, token_endpoint, &words).map_err(|reason| {
            let reason = format!("the token endpoint answered with {reason}");
            match answer.status.as_u16() {
                400 | 401 | 403 => NoToken::Refused(reason),
                _ => NoToken::Other(reason),
            }
        })
    }

    /// The token endpoint, from the provider's metadata.
    ///
    /// As in Go: the provider has to name itself exactly as `--oidc-issuer` does, slash at the end included. Unlike Go:
    /// a token endpoint without TLS is not taken from an issuer that has it.
    ///
    /// Source: OpenID Connect Discovery 1.0, section 4; Go: `github.com/coreos/go-oidc`, `NewProvider`.
    async fn discover(&self) -> Result<Url, String> {
        #[derive(Deserialize)]
        struct ProviderMetadata {
            issuer: String,
            token_endpoint: Option<String>,
        }
        let issuer = &self.config.issuer;
        let address = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
        let address = Url::parse(&address).map_err(|error| format!("the issuer is no URL: {error}"))?;
        let request = || {
            let mut request = OutboundRequest::new(Method::GET, address.clone());
            request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            Ok(request)
        };
        let sent = self.outbound.send_idempotent(request, MAX_ANSWER_BYTES).await;
        let answer = sent.map_err(|error| format!("discovery: {error}"))?;
        self.rest.heed(&answer);
        let words = ProviderText::new(&self.config.client_id, &self.client_secret.read());
        let status = status(&answer, &address, &words);
        if !answer.status.is_success() {
            return Err(format!("discovery answered with {status}"));
        }
        let metadata: ProviderMetadata = serde_json::from_slice(&answer.body)
            .map_err(|_| format!("discovery answered with {status}, which is no provider's metadata"))?;
        let shown = |text: &str| words.show(text, ADDRESS_CHARS);
        if metadata.issuer != *issuer {
            let (theirs, ours) = (shown(&metadata.issuer), shown(issuer));
            return Err(format!("the provider names itself {theirs}, but --oidc-issuer is {ours}: they must be equal"));
        }
        let token_endpoint = metadata.token_endpoint.ok_or("the provider's metadata has no token_endpoint")?;
        let parsed = Url::parse(&token_endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let parsed = parsed.ok_or_else(|| format!("the token endpoint is no http URL: {}", shown(&token_endpoint)))?;
        if address.scheme() == "https" && parsed.scheme() != "https" {
            return Err("the issuer has https, but its token endpoint does not".to_owned());
        }
        Ok(parsed)
    }

    fn credentials(
        &self,
        token_endpoint: &Url,
        style: ClientAuthMethod,
        client_secret: &Secret,
    ) -> Result<OutboundRequest, String> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(audience) = &self.config.audience {
            form.append_pair("audience", audience);
        }
        let mut request = OutboundRequest::new(Method::POST, token_endpoint.clone());
        match style {
            ClientAuthMethod::Header => {
                let value = basic(&self.config.client_id, client_secret);
                let mut value = HeaderValue::from_str(&value).map_err(|_| "the client's name does not fit a header")?;
                value.set_sensitive(true);
                request.headers_mut().insert(header::AUTHORIZATION, value);
            }
            ClientAuthMethod::Body => {
                form.append_pair("client_id", &self.config.client_id);
                // As in Go: an empty one is not sent.
                if !client_secret.expose().is_empty() {
                    form.append_pair("client_secret", client_secret.expose());
                }
            }
        }
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(header::CONTENT_TYPE, content_type);
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(form.finish().into());
        Ok(request)
    }
}

/// Name and password are form-encoded before they are joined (RFC 6749, section 2.3.1).
fn basic(client_id: &str, client_secret: &Secret) -> Zeroizing<String> {
    let escape = |text: &str| Zeroizing::new(byte_serialize(text.as_bytes()).collect::<String>());
    let (id, secret) = (escape(client_id), escape(client_secret.expose()));
    let pair = Zeroizing::new(format!("{}:{}", *id, *secret));
    Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())))
}
