//! Requests a token from the provider: discovery of its token endpoint, then the client credentials grant.

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
use super::answer::{IssuedToken, ProviderRedactor, read_token, status};
use super::backoff::ProviderBackoff;
use crate::Secret;

/// The longest answer of the provider, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// How many characters of a URL in the provider's metadata an error shows.
const URL_CHARS: usize = 200;

pub(super) struct Provider {
    config: OidcConfig,
    client_secret: RwLock<Secret>,
    outbound: Outbound,
    history: Mutex<ProviderHistory>,
    pub(super) backoff: ProviderBackoff,
}

/// What earlier answers showed.
#[derive(Clone, Default)]
struct ProviderHistory {
    /// From the metadata. It is discovered again after a failure that is not a timeout.
    token_endpoint: Option<Url>,
    /// The method that succeeded, and the token endpoint. It is forgotten only where that endpoint refuses it.
    auth_method: Option<(Url, ClientAuthMethod)>,
}

/// Where our client ID and secret are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientAuthMethod {
    Header,
    Body,
}

/// Why a request brought no token.
enum NoToken {
    /// No answer in time.
    Timeout(String),
    /// An answer with one of the statuses of RFC 6749, section 5.2: it may be about the credentials.
    Refused(String),
    /// Anything else.
    Other(String),
}

impl NoToken {
    /// The text of the failure, without its kind.
    fn reason(self) -> String {
        match self {
            Self::Timeout(reason) | Self::Refused(reason) | Self::Other(reason) => reason,
        }
    }
}

impl Provider {
    pub(super) fn new(config: OidcConfig, outbound: Outbound) -> Self {
        let client_secret = RwLock::new(config.client_secret.clone());
        Self { config, client_secret, outbound, history: Mutex::default(), backoff: ProviderBackoff::default() }
    }

    /// Replaces the client secret; true where it differs from the last one.
    pub(super) fn replace_secret(&self, client_secret: Secret) -> bool {
        let mut current = self.client_secret.write();
        let is_changed = *current != client_secret;
        *current = client_secret;
        is_changed
    }

    /// Requests a token from the token endpoint, which is discovered first where it is not known.
    ///
    /// As in Go, the credentials are sent in the header first and, after any failure that is not a timeout, in the body; but
    /// not where the response has a `Retry-After`. The method that succeeded is used from then on. Unlike Go, a refusal of
    /// that method makes the next request try both again. After a failure that is not a timeout, the next request discovers
    /// the endpoint again.
    ///
    /// # Errors
    /// What failed, without a secret; where both methods failed for different reasons, both of them.
    pub(super) async fn request_token(&self) -> Result<IssuedToken, String> {
        let history = self.history.lock().clone();
        let token_endpoint = match history.token_endpoint {
            Some(token_endpoint) => token_endpoint,
            None => {
                let discovered = self.discover().await?;
                self.history.lock().token_endpoint = Some(discovered.clone());
                discovered
            }
        };
        let known_method =
            history.auth_method.filter(|(endpoint, _)| *endpoint == token_endpoint).map(|(_, auth_method)| auth_method);
        let auth_method = known_method.unwrap_or(ClientAuthMethod::Header);
        let failure = match self.request_token_with(&token_endpoint, auth_method).await {
            Ok(issued) => return Ok(self.record_success(token_endpoint, auth_method, issued)),
            Err(failure) => failure,
        };
        // A provider that asked us to wait is not asked again before that wait is over, with either method.
        if known_method.is_some() || matches!(failure, NoToken::Timeout(_)) || self.backoff.remaining().is_some() {
            return Err(self.record_failure(failure));
        }
        match self.request_token_with(&token_endpoint, ClientAuthMethod::Body).await {
            Ok(issued) => Ok(self.record_success(token_endpoint, ClientAuthMethod::Body, issued)),
            Err(second) => {
                let (first, second) = (failure.reason(), self.record_failure(second));
                Err(match first == second {
                    true => first,
                    false => format!("{first}; with the credentials in the body: {second}"),
                })
            }
        }
    }

    /// Remembers which method of authentication the endpoint accepted, and returns the token.
    fn record_success(&self, token_endpoint: Url, auth_method: ClientAuthMethod, issued: IssuedToken) -> IssuedToken {
        self.history.lock().auth_method = Some((token_endpoint, auth_method));
        issued
    }

    /// Forgets the token endpoint, so that it is discovered again, and after a refusal also the method of
    /// authentication; a timeout changes nothing. Returns the text of the failure.
    fn record_failure(&self, failure: NoToken) -> String {
        let mut history = self.history.lock();
        match failure {
            // A slow endpoint is still the right one: a discovery would only take more time.
            NoToken::Timeout(_) => {}
            NoToken::Refused(_) => *history = ProviderHistory::default(),
            NoToken::Other(_) => history.token_endpoint = None,
        }
        failure.reason()
    }

    /// Asks the endpoint for a token, with this method of authentication. An answer with 400, 401 or 403 is a refusal,
    /// for which another method may work.
    async fn request_token_with(
        &self,
        token_endpoint: &Url,
        auth_method: ClientAuthMethod,
    ) -> Result<IssuedToken, NoToken> {
        let client_secret = self.client_secret.read().clone();
        let request = || self.token_request(token_endpoint, auth_method, &client_secret).map_err(OutboundError::Setup);
        let answer = self.outbound.send_idempotent(request, MAX_ANSWER_BYTES).await.map_err(|error| {
            let reason = format!("the token endpoint: {error}");
            match error.kind() {
                "timeout" => NoToken::Timeout(reason),
                _ => NoToken::Other(reason),
            }
        })?;
        self.backoff.record(&answer);
        let redactor = ProviderRedactor::new(&self.config.client_id, &client_secret);
        read_token(&answer, token_endpoint, &redactor).map_err(|reason| {
            let reason = format!("the token endpoint answered with {reason}");
            match answer.status.as_u16() {
                400 | 401 | 403 => NoToken::Refused(reason),
                _ => NoToken::Other(reason),
            }
        })
    }

    /// The token endpoint, from the provider's metadata.
    ///
    /// As in Go: the metadata's issuer has to equal `--oidc-issuer`, including a slash at the end. Unlike Go: a token
    /// endpoint without TLS is rejected where the issuer has TLS.
    ///
    /// Source: OpenID Connect Discovery 1.0, section 4; Go: `github.com/coreos/go-oidc`, `NewProvider`.
    async fn discover(&self) -> Result<Url, String> {
        #[derive(Deserialize)]
        struct ProviderMetadata {
            issuer: String,
            token_endpoint: Option<String>,
        }
        let issuer = &self.config.issuer;
        let metadata_url = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
        let metadata_url = Url::parse(&metadata_url).map_err(|error| format!("the issuer is no URL: {error}"))?;
        let request = || {
            let mut request = OutboundRequest::new(Method::GET, metadata_url.clone());
            request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
            Ok(request)
        };
        let sent = self.outbound.send_idempotent(request, MAX_ANSWER_BYTES).await;
        let answer = sent.map_err(|error| format!("discovery: {error}"))?;
        self.backoff.record(&answer);
        let redactor = ProviderRedactor::new(&self.config.client_id, &self.client_secret.read());
        let status = status(&answer, &metadata_url, &redactor);
        if !answer.status.is_success() {
            return Err(format!("discovery answered with {status}"));
        }
        let metadata: ProviderMetadata = serde_json::from_slice(&answer.body)
            .map_err(|_| format!("discovery answered with {status}, which is no provider's metadata"))?;
        let shown = |text: &str| redactor.show(text, URL_CHARS);
        if metadata.issuer != *issuer {
            let (named, configured) = (shown(&metadata.issuer), shown(issuer));
            return Err(format!(
                "the provider names itself {named}, but --oidc-issuer is {configured}: they must be equal"
            ));
        }
        let token_endpoint = metadata.token_endpoint.ok_or("the provider's metadata has no token_endpoint")?;
        let parsed = Url::parse(&token_endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let parsed = parsed.ok_or_else(|| format!("the token endpoint is no http URL: {}", shown(&token_endpoint)))?;
        if metadata_url.scheme() == "https" && parsed.scheme() != "https" {
            return Err("the issuer has https, but its token endpoint does not".to_owned());
        }
        Ok(parsed)
    }

    /// The request for a token by client credentials, not yet sent: a form with the audience, where one is configured.
    /// `auth_method` decides whether client ID and secret are in the header `Authorization` or in the form.
    fn token_request(
        &self,
        token_endpoint: &Url,
        auth_method: ClientAuthMethod,
        client_secret: &Secret,
    ) -> Result<OutboundRequest, String> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if let Some(audience) = &self.config.audience {
            form.append_pair("audience", audience);
        }
        let mut request = OutboundRequest::new(Method::POST, token_endpoint.clone());
        match auth_method {
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

/// The `Basic` credentials: ID and secret are form-encoded before they are joined (RFC 6749, section 2.3.1).
fn basic(client_id: &str, client_secret: &Secret) -> Zeroizing<String> {
    let escape = |text: &str| Zeroizing::new(byte_serialize(text.as_bytes()).collect::<String>());
    let (id, secret) = (escape(client_id), escape(client_secret.expose()));
    let pair = Zeroizing::new(format!("{}:{}", *id, *secret));
    Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())))
}
