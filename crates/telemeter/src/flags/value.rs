//! Parses single values: paths, addresses, URLs, secrets. Each error names the flag and never shows a secret.

use std::{convert::Infallible, ffi::OsString, fmt, net::Ipv6Addr, path::PathBuf};

use telemeter_auth::Secret;
use url::Url;

/// Why flags that clap accepts are refused all the same. The text names the flag and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// A value is invalid.
    #[error("{flag} {problem}")]
    Value {
        /// The flag, with its dashes.
        flag: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A required flag is missing.
    #[error("{0}")]
    Missing(&'static str),
    /// Two flags require or exclude each other.
    #[error("{0}")]
    Together(&'static str),
}

impl FlagError {
    /// The error that the value of `flag` has this problem.
    pub(crate) fn value(flag: &'static str, problem: impl fmt::Display) -> Self {
        Self::Value { flag, problem: problem.to_string() }
    }
}

/// The text, unless it is empty: `--flag=` is the same as no flag.
pub(crate) fn unless_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// The path, unless it is empty.
pub(crate) fn path(text: Option<OsString>) -> Option<PathBuf> {
    text.filter(|text| !text.is_empty()).map(PathBuf::from)
}

/// A boolean as Go's `strconv.ParseBool` reads it.
pub(crate) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("not a boolean: true or false"),
    }
}

/// `text` in quotes and escaped, so that it is one line, and cut where it is long.
pub(crate) fn shown(text: &str) -> String {
    const CHARACTERS: usize = 80;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A secret, unchanged.
pub(crate) fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::from(text))
}

/// A bearer token, without white space around it, which no header could have.
pub(crate) fn token(text: &str) -> Result<Secret, Infallible> {
    secret(text.trim())
}

/// A warning about a secret with white space at its ends, which is part of it.
pub(crate) fn padding_warning(flag: &'static str, secret: &Option<Secret>) -> Option<String> {
    let padded = secret.as_ref().is_some_and(|secret| secret.expose().trim() != secret.expose());
    padded.then(|| format!("{flag} has white space at an end, which is taken as a part of it"))
}

/// Host, without brackets, and port of `HOST:PORT`, `:PORT` and `[V6]:PORT`.
fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok())??;
    let Some(bracketed) = host.strip_prefix('[') else {
        let character = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        return host.bytes().all(character).then_some((host, port));
    };
    let host = bracketed.strip_suffix(']')?;
    // A link-local address has its zone behind it: fe80::1%eth0.
    let address = host.split_once('%').map_or(host, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok().then_some((host, port))
}

/// An address to listen on: `HOST:PORT`, `:PORT`, `[V6]:PORT`.
pub(crate) fn address(flag: &'static str, text: &str) -> Result<String, FlagError> {
    match host_and_port(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(FlagError::value(flag, format_args!("must be HOST:PORT, not {}", shown(text)))),
    }
}

/// A server that is connected to: `HOST:PORT`, `[V6]:PORT`; `:PORT` is this machine, as in Go.
pub(crate) fn server(flag: &'static str, text: &str) -> Result<String, FlagError> {
    let no = |problem: &str| Err(FlagError::value(flag, format_args!("has {}: {problem}", shown(text))));
    match host_and_port(text) {
        Some((_, 0)) => return no("port 0 is none that a server has"),
        Some(("", port)) => return Ok(format!("localhost:{port}")),
        Some((host, _)) if !host.contains('%') => return Ok(text.to_owned()),
        _ => {}
    }
    if text.contains("://") {
        // It may hold a password.
        return Err(FlagError::value(flag, "must be HOST:PORT without a scheme: cache:11211"));
    }
    if text.contains('/') {
        return no("a Unix socket is not connected to; name HOST:PORT of a server that listens on TCP");
    }
    if ["dns+", "dnssrv+", "dnssrvnoa+"].iter().any(|prefix| text.starts_with(prefix)) {
        return no("no prefix is needed, and none is known; a name is looked up again and again; several servers are \
                   named one by one");
    }
    if text.parse::<Ipv6Addr>().is_ok() || text.matches(':').count() > 1 {
        return no("an IPv6 address needs brackets: [::1]:11211");
    }
    if !text.contains(':') {
        return no("the port is missing: cache:11211");
    }
    no("must be HOST:PORT: a name or an address, and a number up to 65535")
}

/// An `http` or `https` URL. The text is not shown in an error: it may hold a password.
pub(crate) fn http_url(flag: &'static str, text: &str) -> Result<Url, FlagError> {
    // Go refuses them; the parser below would pass over some in silence.
    if text.contains(char::is_control) {
        return Err(FlagError::value(flag, "has a line break or another control character in the middle of the URL"));
    }
    let lower = text.get(..8).unwrap_or(text).to_ascii_lowercase();
    if !lower.starts_with("http://") && !lower.starts_with("https://") {
        return Err(FlagError::value(flag, "must be a URL that starts with http:// or https://"));
    }
    let mut url = Url::parse(text).map_err(|error| FlagError::value(flag, format_args!("is not a URL: {error}")))?;
    url.set_fragment(None);
    Ok(url)
}

/// Both files of a pair, or neither.
pub(crate) fn both(
    cert: Option<OsString>,
    key: Option<OsString>,
    rule: &'static str,
) -> Result<Option<(PathBuf, PathBuf)>, FlagError> {
    match (path(cert), path(key)) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        _ => Err(FlagError::Together(rule)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_go_s() {
        for (text, expected) in [("1", true), ("t", true), ("TRUE", true), ("0", false), ("F", false), ("False", false)]
        {
            assert_eq!(boolean(text), Ok(expected), "{text}");
        }
        assert!(boolean("yes").is_err() && boolean("").is_err());
    }

    #[test]
    fn addresses() {
        for good in ["localhost:9004", ":9003", "0.0.0.0:0", "[::1]:80", "[fe80::1%eth0]:80", "my-host_1.svc:1"] {
            assert_eq!(address("--listen", good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "9003",
            "localhost",
            "localhost:",
            "localhost:http",
            "::1:80",
            "a:65536",
            "a:+80",
            "a b:80",
            "[a]:80",
            "[::1:80",
            "http://a:80",
            "a:80 b:80",
            "a\n:80",
        ] {
            let error = address("--listen", bad).expect_err(bad).to_string();
            assert_eq!(error, format!("--listen must be HOST:PORT, not {bad:?}"));
        }
    }

    #[test]
    fn servers() {
        for good in ["cache:11211", "10.0.0.1:11211", "[::1]:11211", "cache_1.ns.svc.cluster.local:1", "a:65535"] {
            assert_eq!(server("--memcached", good).as_deref(), Ok(good));
        }
        assert_eq!(server("--memcached", ":11211").as_deref(), Ok("localhost:11211"), "as in Go");
        for (bad, hint) in [
            ("cache", "port is missing"),
            ("10.0.0.1", "port is missing"),
            ("cache:", "HOST:PORT"),
            ("cache:0", "port 0"),
            ("cache:65536", "65535"),
            ("cache:memcache", "65535"),
            ("cache:+1", "65535"),
            ("cache 11211", "port is missing"),
            ("ca che:11211", "HOST:PORT"),
            ("::1", "needs brackets: [::1]:11211"),
            ("::1:11211", "needs brackets"),
            ("[::1]", "needs brackets"),
            ("[cache]:11211", "HOST:PORT"),
            ("a:1:2", "needs brackets"),
            ("[fe80::1%eth0]:11211", "needs brackets"),
            ("/run/memcached.sock", "Unix socket"),
            ("dns+cache:11211", "no prefix"),
            ("dnssrv+_memcache._tcp.cache", "no prefix"),
            ("größe:1", "HOST:PORT"),
        ] {
            let error = server("--memcached", bad).expect_err(bad).to_string();
            assert!(error.starts_with(&format!("--memcached has {bad:?}: ")) && error.contains(hint), "{error}");
        }
        let error = server("--memcached", "memcached://u:hunter2@cache:11211").expect_err("a scheme").to_string();
        assert!(error.contains("without a scheme") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn tokens_are_trimmed_and_secrets_are_not() {
        let exposed = |secret: Result<Secret, Infallible>| secret.expect("taken").expose().to_owned();
        assert_eq!((exposed(token(" t\n")), exposed(secret(" s\n"))), ("t".to_owned(), " s\n".to_owned()));
        assert_eq!(padding_warning("--x", &None), None);
        assert_eq!(padding_warning("--x", &Some(Secret::from("a b"))), None);
        let line = padding_warning("--x", &Some(Secret::from("hunter2\n"))).expect("a warning");
        assert!(line.starts_with("--x ") && !line.contains("hunter2"), "{line}");
    }

    #[test]
    fn a_url_in_an_error_is_not_shown() {
        for bad in [
            "ftp://u:hunter2@h",
            "hunter2",
            "",
            "http://u:hunter2@",
            "http://u:hunter2@h:99999/",
            "http://hunter2\n.h/",
            "http://hunter2 h/",
        ] {
            let error = http_url("--to", bad).expect_err(bad).to_string();
            assert!(error.starts_with("--to ") && !error.contains("hunter2"), "{error}");
        }
        assert_eq!(http_url("--to", "HTTPS://h/#part").map(String::from), Ok("https://h/".to_owned()));
    }
}
