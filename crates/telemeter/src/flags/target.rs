//! The flags that say where the client and the benchmark push to, and with which credentials.

use std::ffi::OsString;

use clap::Args;
use telemeter_auth::Secret;
use telemeter_client::config::Credential;
use url::Url;

use super::value::{self, FlagError};

/// Where the server is.
#[derive(Args, Debug)]
pub(crate) struct ServerUrlFlags {
    /// The telemeter server to push to; tokens are exchanged at its authorize, metrics pushed to its upload.
    #[arg(long, value_name = "URL")]
    pub(super) to: Option<String>,

    /// Where metrics are pushed to, if not below --to.
    #[arg(long, value_name = "URL")]
    pub(super) to_upload: Option<String>,

    /// Where the token is exchanged, if not below --to.
    #[arg(long, value_name = "URL")]
    pub(super) to_auth: Option<String>,
}

impl ServerUrlFlags {
    /// `--to-auth` and `--to-upload`; where one is not given, `authorize` or `upload` below the path of `--to`.
    pub(super) fn urls(self) -> Result<Urls, FlagError> {
        let url = |flag, text| value::unless_empty(text).map(|text| value::http_url(flag, &text)).transpose();
        let to = url("--to", self.to)?;
        let below = |name| to.as_ref().map(|to| below(to, name));
        let authorize = url("--to-auth", self.to_auth)?.or_else(|| below("authorize"));
        let upload = url("--to-upload", self.to_upload)?.or_else(|| below("upload"));
        match (authorize, upload) {
            (Some(authorize), Some(upload)) => Ok(Urls { authorize, upload }),
            _ => Err(FlagError::Missing("no server to push to: give --to URL, or both --to-auth and --to-upload")),
        }
    }
}

/// The token for the server.
#[derive(Args, Debug)]
pub(crate) struct ServerTokenFlags {
    /// The token that is exchanged at the server.
    #[arg(long, value_name = "TOKEN", value_parser = value::token)]
    pub(super) to_token: Option<Secret>,

    /// File with the token that is exchanged at the server. --to-token goes before it.
    #[arg(long, value_name = "FILE")]
    pub(super) to_token_file: Option<OsString>,
}

impl ServerTokenFlags {
    /// The token of the server, from `--to-token` or `--to-token-file`; an error where neither is given.
    pub(super) fn credential(self) -> Result<Credential, FlagError> {
        token("--to-token", self.to_token, self.to_token_file)?
            .ok_or(FlagError::Missing("no token for the server: give --to-token-file FILE, or --to-token TOKEN"))
    }
}

/// The URLs of the exchange of the token and of uploads.
pub(crate) struct Urls {
    pub(crate) authorize: Url,
    pub(crate) upload: Url,
}

/// Where remote write goes: `--to-receive` as it is, else `metrics/v1/receive` below the path of `--to`.
pub(crate) fn receive(to: Option<String>, receive: Option<String>) -> Result<Url, FlagError> {
    let url = |flag, text| value::unless_empty(text).map(|text| value::http_url(flag, &text)).transpose();
    let to = url("--to", to)?.map(|to| below(&to, "metrics/v1/receive"));
    url("--to-receive", receive)?.or(to).ok_or(FlagError::Missing(
        "no receiver to write to: give --to URL (a telemeter server), or --to-receive URL (the whole URL)",
    ))
}

/// The URL with `/name` appended to its path.
fn below(to: &Url, name: &str) -> Url {
    let mut url = to.clone();
    url.set_path(&format!("{}/{name}", to.path().trim_end_matches('/')));
    url
}

/// The value where there is one, else the file.
pub(crate) fn credential(value: Option<Secret>, file: Option<OsString>) -> Option<Credential> {
    // As in Go: a value goes before a file.
    let value = value.filter(|secret| !secret.expose().is_empty()).map(Credential::Value);
    value.or_else(|| value::path(file).map(Credential::File))
}

/// A bearer token, or the file that holds it.
pub(crate) fn token(
    flag: &'static str,
    value: Option<Secret>,
    file: Option<OsString>,
) -> Result<Option<Credential>, FlagError> {
    if value.as_ref().is_some_and(|token| token.expose().contains(char::is_control)) {
        return Err(FlagError::value(flag, "has a line break or another control character, which no header may hold"));
    }
    Ok(credential(value, file))
}

/// Whether both a value and a file were given, of which only the value is used.
pub(crate) fn has_both(value: &Option<Secret>, file: &Option<OsString>) -> bool {
    value.as_ref().is_some_and(|secret| !secret.expose().is_empty()) && file.as_ref().is_some_and(|f| !f.is_empty())
}
