//! The configuration of the client: plain data, checked already, independent of argv.

use std::{fmt, path::PathBuf, time::Duration};

use telemeter_auth::Secret;
use telemeter_http::{client::bare_url, metrics::DroppedLogLines, tls::CertificateFiles};
use url::Url;

/// The default time between two uploads.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(270);
/// The selector that is used where none is given.
pub const DEFAULT_MATCH: &str = r#"{__name__="up"}"#;

/// The configuration of `telemeter-client`. The flags make it; tests start from [`Config::new`].
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` of the client's own listener; `None`: it has none.
    pub listen: Option<String>,
    /// Host names that the listener answers to beside loopback's. None: where it listens wider than loopback, to every name.
    pub internal_allowed_hosts: Vec<String>,
    /// The file of the bearer token that every route of the listener but health requires; read again at a reload.
    pub internal_token_file: Option<PathBuf>,
    /// The Prometheus to scrape.
    pub from: SourceSettings,
    /// The server to push to.
    pub to: TargetSettings,
    /// The cluster's ID; the query of `to.authorize` has it too.
    pub id: String,
    /// Time between two reports; never zero.
    pub interval: Duration,
    /// Cap on the body of a scrape, in decompressed bytes; exactly this many are accepted.
    pub limit_bytes: usize,
    /// Selectors, each sent as `match[]`; trimmed and not empty.
    pub matches: Vec<String>,
    /// A file with more selectors, one a line; read again at a reload.
    pub match_file: Option<PathBuf>,
    /// Whether series are left out that Prometheus answers with though no selector names them; else they are uploaded, and
    /// counted.
    pub leave_out_unrequested: bool,
    /// Labels, name and value, that every series gets, in place of its own of that name. Names are valid and distinct, and
    /// none is `__name__`.
    pub labels: Vec<(String, String)>,
    /// Metrics that are renamed: old and new name; the old ones are distinct.
    pub renames: Vec<(String, String)>,
    /// Labels whose values are hashed; `None`: none.
    pub anonymize: Option<AnonymizeSettings>,
    /// Counts the lines of the log that were dropped; shown in the metrics.
    pub dropped_log_lines: DroppedLogLines,
    /// The revision of the source that this program was built from.
    pub revision: &'static str,
    /// Dump round trips on both sides, without secrets.
    pub verbose: bool,
}

impl Config {
    /// The defaults between a source and a target: `up` every 4m30s, `ALERTS` renamed to `alerts`.
    pub fn new(from: SourceSettings, to: TargetSettings, id: impl Into<String>) -> Self {
        Self {
            listen: Some("localhost:9002".to_owned()),
            internal_allowed_hosts: Vec::new(),
            internal_token_file: None,
            from,
            to,
            id: id.into(),
            interval: DEFAULT_INTERVAL,
            limit_bytes: 204_800,
            matches: vec![DEFAULT_MATCH.to_owned()],
            match_file: None,
            leave_out_unrequested: false,
            labels: Vec::new(),
            renames: vec![("ALERTS".to_owned(), "alerts".to_owned())],
            anonymize: None,
            dropped_log_lines: DroppedLogLines::default(),
            revision: "unknown",
            verbose: false,
        }
    }
}

/// The Prometheus to scrape. Proxy variables do not apply to it.
#[derive(Clone)]
pub struct SourceSettings {
    /// The URL without `match[]`; its path is `/federate` unless another was given. May hold user and password.
    pub url: Url,
    /// A PEM file of certificate authorities that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The bearer token.
    pub token: Option<Credential>,
    /// The client's certificate and key.
    pub identity: Option<CertificateFiles>,
}

impl SourceSettings {
    /// A source that needs no credentials.
    pub fn new(url: Url) -> Self {
        Self { url, ca_file: None, token: None, identity: None }
    }
}

impl fmt::Debug for SourceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("url", &bare_url(&self.url))
            .field("ca_file", &self.ca_file)
            .field("token", &self.token)
            .field("identity", &self.identity)
            .finish()
    }
}

/// The server to push to. Proxy variables apply to it.
#[derive(Clone)]
pub struct TargetSettings {
    /// The URL of the exchange of the token. The client's has `?id=`; the benchmark adds one per worker. May hold user and password.
    pub authorize: Url,
    /// The URL of uploads. May hold user and password.
    pub upload: Url,
    /// The URL of remote write, in place of the exchange and the upload: with it, neither is called.
    pub receive: Option<Url>,
    /// A PEM file of certificate authorities that are trusted in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The token that is exchanged.
    pub token: Credential,
}

impl TargetSettings {
    /// Where series are sent to.
    #[must_use]
    pub fn destination(&self) -> &Url {
        self.receive.as_ref().unwrap_or(&self.upload)
    }
}

impl fmt::Debug for TargetSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("authorize", &bare_url(&self.authorize))
            .field("upload", &bare_url(&self.upload))
            .field("receive", &self.receive.as_ref().map(bare_url))
            .field("ca_file", &self.ca_file)
            .field("token", &self.token)
            .finish()
    }
}

/// A token or a salt.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The text itself; not empty.
    Value(Secret),
    /// A file whose content, without white space around it, is the text. A token is read for each request, a salt at a reload.
    File(PathBuf),
}

/// Which labels' values are hashed, and with what.
#[derive(Clone, Debug)]
pub struct AnonymizeSettings {
    /// Label names, at least one.
    pub labels: Vec<String>,
    /// The salt, which keeps the values from being guessed. An empty salt file is an error.
    pub salt: Credential,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn debug_prints_no_secret() {
        let url = || Url::parse("https://hunter2:hunter2@there:1/path?key=hunter2").unwrap();
        let secret = || Credential::Value(Secret::from("hunter2"));
        let target =
            TargetSettings { authorize: url(), upload: url(), receive: Some(url()), ca_file: None, token: secret() };
        let mut config =
            Config::new(SourceSettings { token: Some(secret()), ..SourceSettings::new(url()) }, target, "cluster");
        config.anonymize = Some(AnonymizeSettings { labels: vec!["url".to_owned()], salt: secret() });
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("https://there:1/path") && shown.contains("[redacted]"), "{shown}");
    }
}
