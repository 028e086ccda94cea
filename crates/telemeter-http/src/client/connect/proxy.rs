//! Chooses the proxy for a request, by the rules that Go programs follow.
//!
//! Source: `golang.org/x/net/http/httpproxy`. Unlike Go, where a value that is not the URL of a proxy is ignored, or
//! fails each request, here it is an error at startup.

mod no_proxy;

use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use url::Url;

use self::no_proxy::NoProxy;
use crate::client::request::{basic, percent_decoded};

/// The values of the proxy variables.
#[derive(Debug, Default)]
pub(crate) struct Proxies {
    for_http: Option<Arc<ProxyServer>>,
    for_https: Option<Arc<ProxyServer>>,
    no_proxy: NoProxy,
    /// Whether the variables were read.
    applies: bool,
    /// Whether this process responds to a CGI request, where the client sets `HTTP_PROXY` with a header `Proxy`.
    is_cgi: bool,
}

/// A proxy server from one of the variables.
pub(crate) struct ProxyServer {
    pub(crate) kind: ProxyKind,
    /// The host as in a URL: an IPv6 address has brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The value of `Proxy-Authorization` for it.
    pub(crate) authorization: Option<HeaderValue>,
    /// The user and password for SOCKS.
    pub(crate) login: Option<(Vec<u8>, Vec<u8>)>,
    variable: &'static str,
}

/// The protocol of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyKind {
    Http,
    Https,
    /// SOCKS 5, where the proxy looks up names, for both `socks5` and `socks5h`, as in Go.
    Socks5,
}

impl Proxies {
    /// Reads the variables of an environment.
    ///
    /// # Errors
    /// A sentence that names the variable, and contains nothing of its value.
    pub(crate) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let either = |names: [&'static str; 2]| {
            let set = |name| variable(name).filter(|value| !value.trim().is_empty()).map(|value| (name, value));
            names.into_iter().find_map(set)
        };
        let proxy = |names| either(names).map(|(name, value)| ProxyServer::parse(name, &value)).transpose();
        Ok(Self {
            for_http: proxy(["HTTP_PROXY", "http_proxy"])?.map(Arc::new),
            for_https: proxy(["HTTPS_PROXY", "https_proxy"])?.map(Arc::new),
            no_proxy: either(["NO_PROXY", "no_proxy"]).map(|(_, value)| NoProxy::parse(&value)).unwrap_or_default(),
            applies: true,
            is_cgi: variable("REQUEST_METHOD").is_some_and(|value| !value.is_empty()),
        })
    }

    /// The proxy for this target; `None` where the target is reached directly. `host` is as in a URL.
    ///
    /// # Errors
    /// `HTTP_PROXY` would apply, but is not trusted in a CGI process.
    pub(crate) fn choose(&self, is_https: bool, host: &str, port: u16) -> Result<Option<Arc<ProxyServer>>, String> {
        let Some(proxy) = (if is_https { &self.for_https } else { &self.for_http }) else { return Ok(None) };
        if !is_https && self.is_cgi {
            return Err(format!("{} is not trusted where REQUEST_METHOD is set (CGI)", proxy.variable));
        }
        Ok((!self.no_proxy.names(host, port)).then(|| proxy.clone()))
    }

    /// The path to this target as text: the proxy, or the reason why the target is reached directly.
    ///
    /// # Errors
    /// As [`Proxies::choose`].
    pub(crate) fn route(&self, is_https: bool, host: &str, port: u16) -> Result<String, String> {
        if let Some(proxy) = self.choose(is_https, host, port)? {
            return Ok(format!("through the proxy {proxy}"));
        }
        let (is_set, names) = match is_https {
            true => (self.for_https.is_some(), "HTTPS_PROXY nor https_proxy"),
            false => (self.for_http.is_some(), "HTTP_PROXY nor http_proxy"),
        };
        Ok(match (self.applies, is_set) {
            (false, _) => "directly: proxy variables do not apply here".to_owned(),
            (true, false) => format!("directly: neither {names} is set"),
            (true, true) => format!("directly: {}", self.no_proxy.reason(host, port)),
        })
    }

    /// Whether a proxy is itself reached over TLS.
    pub(crate) fn needs_tls(&self) -> bool {
        [&self.for_http, &self.for_https].into_iter().flatten().any(|proxy| proxy.kind == ProxyKind::Https)
    }
}

impl ProxyServer {
    /// Parses the URL of a proxy, from the variable with this name. Without a scheme it is `http`, without a port the
    /// default one of the scheme. An error names the variable, and never contains the value, which may have a password.
    fn parse(variable: &'static str, value: &str) -> Result<Self, String> {
        let value = value.trim();
        let scheme = value.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        let kind = match scheme.as_deref() {
            None | Some("http") => ProxyKind::Http,
            Some("https") => ProxyKind::Https,
            Some("socks5" | "socks5h") => ProxyKind::Socks5,
            Some(_) => {
                return Err(format!("{variable} has a scheme that is none of http, https, socks5 and socks5h"));
            }
        };
        let url = if scheme.is_some() { Url::parse(value) } else { Url::parse(&format!("http://{value}")) };
        let not_a_url = || format!("{variable} is not the URL of a proxy, such as http://proxy.example:3128");
        let url = url.map_err(|_hidden| not_a_url())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(not_a_url)?.to_owned();
        let (user, password) = (url.username(), url.password());
        let has_login = !user.is_empty() || password.is_some();
        let login = has_login.then(|| (percent_decoded(user), percent_decoded(password.unwrap_or_default())));
        if kind == ProxyKind::Socks5
            && login.as_ref().is_some_and(|(user, password)| !(1..=255).contains(&user.len()) || password.len() > 255)
        {
            return Err(format!("{variable} has a user or a password that is longer than SOCKS allows, or empty"));
        }
        let default_port = match kind {
            ProxyKind::Http => 80,
            ProxyKind::Https => 443,
            ProxyKind::Socks5 => 1080,
        };
        Ok(Self {
            kind,
            port: url.port().unwrap_or(default_port),
            authorization: has_login.then(|| basic(user, password.unwrap_or_default())),
            login,
            host,
            variable,
        })
    }
}

/// Writes `http://proxy.example:3128 of HTTPS_PROXY`, without user and password.
impl fmt::Display for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Https => "https",
            ProxyKind::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}:{} of {}", self.host, self.port, self.variable)
    }
}

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
