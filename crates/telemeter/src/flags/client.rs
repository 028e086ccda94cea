//! The flags of `telemeter-client`.

use std::{ffi::OsString, time::Duration};

use clap::Parser;
use telemeter_auth::Secret;
use telemeter_client::config::{
    AnonymizeSettings, Config, DEFAULT_INTERVAL, DEFAULT_MATCH, SourceSettings, TargetSettings,
};
use telemeter_http::metrics::DroppedLogLines;
use url::Url;

use super::{
    duration, list,
    relabel::{RelabelFlags, SaltFlags},
    shared::{AccessFlags, LogFlags, ModeFlags, TracingFlags},
    source::SourceFlags,
    target::{self, ServerTokenFlags, ServerUrlFlags, Urls},
    value::{self, FlagError},
};

/// Scrape the chosen metrics of a Prometheus, anonymize and label them, and push them to a telemeter server.
#[derive(Parser, Debug)]
#[command(name = "telemeter-client", version)]
pub struct ClientFlags {
    /// Where health, metrics and the last metrics sent are served. Empty: nowhere.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9002")]
    listen: String,

    /// The Prometheus to scrape. Without a path: its /federate.
    #[arg(long, value_name = "URL")]
    from: Option<String>,

    #[command(flatten)]
    source: SourceFlags,

    /// PEM file with our certificate for --from. Goes with --tls-private-key-file.
    #[arg(long, value_name = "FILE")]
    tls_cert_file: Option<OsString>,

    /// PEM file with the private key of our certificate for --from.
    #[arg(long, value_name = "FILE")]
    tls_private_key_file: Option<OsString>,

    /// PEM file with authorities that --to is checked against, beside the system's.
    #[arg(long, value_name = "FILE")]
    to_ca_file: Option<OsString>,

    /// The cluster's ID. May stand in --to-auth as ?id= instead.
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    #[command(flatten)]
    server: ServerUrlFlags,

    /// How series are sent: `upload`, as the telemeter client ever did; `remote-write`, to /metrics/v1/receive below --to, or to --to-receive, with the times that they have, under the composite token of --id and --to-token.
    #[arg(long, value_enum, value_name = "PROTOCOL", default_value = "upload")]
    protocol: ClientProtocol,

    /// Where remote write goes, if not below --to. For --protocol remote-write.
    #[arg(long, value_name = "URL")]
    to_receive: Option<String>,

    #[command(flatten)]
    token: ServerTokenFlags,

    /// The time between two reports. 0s: the default.
    #[arg(long, value_name = "DURATION", default_value = "4m30s", value_parser = duration::parse)]
    interval: Duration,

    /// Cap on the body of a scrape, in decompressed bytes; at least 1.
    #[arg(long, value_name = "BYTES", default_value = "204800", value_parser = clap::value_parser!(u64).range(1..))]
    limit_bytes: u64,

    /// A selector of series to scrape. Repeated, once per selector. Without any: {__name__="up"}.
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,

    /// File with more selectors, one a line, added to those of --match.
    #[arg(long, value_name = "FILE")]
    match_file: Option<OsString>,

    #[command(flatten)]
    relabel: RelabelFlags,

    #[command(flatten)]
    salt: SaltFlags,

    #[command(flatten)]
    access: AccessFlags,

    #[command(flatten)]
    pub(crate) mode: ModeFlags,

    #[command(flatten)]
    pub(crate) log: LogFlags,

    #[command(flatten)]
    pub(crate) tracing: TracingFlags,
}

/// See `--protocol`.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum ClientProtocol {
    Upload,
    RemoteWrite,
}

impl ClientFlags {
    /// Warnings for the log, about flags without the effect that they seem to have.
    pub fn warnings(&self) -> Vec<String> {
        let both = [
            (&self.source.from_token, &self.source.from_token_file, "--from-token"),
            (&self.token.to_token, &self.token.to_token_file, "--to-token"),
            (&self.salt.anonymize_salt, &self.salt.anonymize_salt_file, "--anonymize-salt"),
        ]
        .into_iter()
        .filter(|(value, file, _)| target::has_both(value, file))
        .map(|(_, _, flag)| format!("{flag}-file is not read: {flag} goes before it"));
        let padded = value::padding_warning("--anonymize-salt", &self.salt.anonymize_salt);
        both.chain(padded).chain(self.relabel.warnings()).collect()
    }

    /// What was meant by a command that only scrapes: what says where to send to may be missing, and nothing is sent there.
    ///
    /// # Errors
    /// As [`Self::config`].
    pub fn scrape_config(mut self) -> Result<Config, FlagError> {
        let has = |flag: &Option<String>| flag.as_ref().is_some_and(|text| !text.trim().is_empty());
        if ![&self.server.to, &self.server.to_auth, &self.server.to_upload, &self.to_receive].into_iter().any(has) {
            self.server.to = Some("http://not-given.invalid/".to_owned());
        }
        let is_identified =
            [&self.server.to, &self.server.to_auth].iter().any(|url| url.as_ref().is_some_and(|u| u.contains("id=")));
        if !has(&self.id) && !is_identified {
            self.id = Some("not given".to_owned());
        }
        let has_token = self.token.to_token.as_ref().is_some_and(|token| !token.expose().is_empty());
        if !has_token && self.token.to_token_file.as_ref().is_none_or(|file| file.is_empty()) {
            self.token.to_token = Some(Secret::from("not given"));
        }
        self.config()
    }

    /// The configuration that the flags mean.
    ///
    /// # Errors
    /// A flag that another one requires is missing, two flags contradict each other, or a value is invalid.
    pub fn config(self) -> Result<Config, FlagError> {
        let from = value::unless_empty(self.from).ok_or(FlagError::Missing(
            "no Prometheus to scrape: give --from URL, for example --from http://localhost:9090",
        ))?;
        let url = federate(value::http_url("--from", &from)?);
        let (ca_file, token) = self.source.config()?;
        let from = SourceSettings {
            url,
            ca_file,
            token,
            identity: value::both(
                self.tls_cert_file,
                self.tls_private_key_file,
                "--tls-cert-file and --tls-private-key-file go together",
            )?
            .map(|(cert_file, key_file)| telemeter_http::tls::CertificateFiles { cert_file, key_file }),
        };
        let id = value::unless_empty(self.id);
        let (Urls { authorize, upload }, receive, id) = match self.protocol {
            ClientProtocol::Upload => {
                if value::unless_empty(self.to_receive).is_some() {
                    return Err(FlagError::Together("--to-receive goes with --protocol remote-write"));
                }
                let mut urls = self.server.urls()?;
                let id = identify(&mut urls.authorize, id)?;
                (urls, None, id)
            }
            ClientProtocol::RemoteWrite => {
                if value::unless_empty(self.server.to_auth).is_some()
                    || value::unless_empty(self.server.to_upload).is_some()
                {
                    return Err(FlagError::Together(
                        "--to-auth and --to-upload are for --protocol upload: remote write goes to --to-receive, or below --to",
                    ));
                }
                let receive = target::receive(self.server.to, self.to_receive)?;
                let id = id.ok_or(FlagError::Missing("no cluster to report for: give --id ID"))?;
                // Neither is called.
                (Urls { authorize: receive.clone(), upload: receive.clone() }, Some(receive), id)
            }
        };
        let token = self.token.credential()?;
        let to = TargetSettings { authorize, upload, receive, ca_file: value::path(self.to_ca_file), token };
        let match_file = value::path(self.match_file);
        let mut matches = list::selectors(&self.matches);
        // As in Go, what comes back to a selector that nobody typed is uploaded as it is.
        let leave_out_unrequested = !matches.is_empty() || match_file.is_some();
        if matches.is_empty() {
            matches.push(DEFAULT_MATCH.to_owned());
        }
        let salt = self.salt.credential();
        let labels = self.relabel.anonymize_labels()?;
        let anonymize = match (labels.is_empty(), salt) {
            (true, _) => None,
            (false, Some(salt)) => Some(AnonymizeSettings { labels, salt }),
            (false, None) => {
                return Err(FlagError::Missing(
                    "--anonymize-labels needs a salt: give --anonymize-salt-file FILE, or --anonymize-salt SALT",
                ));
            }
        };
        Ok(Config {
            listen: value::unless_empty(Some(self.listen)).map(|text| value::address("--listen", &text)).transpose()?,
            internal_allowed_hosts: self.access.allowed_hosts()?,
            internal_token_file: self.access.token_file(),
            from,
            to,
            id,
            interval: if self.interval.is_zero() { DEFAULT_INTERVAL } else { self.interval },
            limit_bytes: usize::try_from(self.limit_bytes).unwrap_or(usize::MAX),
            matches,
            match_file,
            leave_out_unrequested,
            labels: self.relabel.labels()?,
            renames: self.relabel.renames()?,
            anonymize,
            dropped_log_lines: DroppedLogLines::default(),
            revision: "unknown",
            verbose: self.log.verbose,
        })
    }
}

/// A Prometheus is named by its address alone, or by the whole URL of what is scraped.
pub(crate) fn federate(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(if path.is_empty() { "/federate" } else { &path });
    url
}

/// The cluster's ID, from the flag or the URL, and from now on in the URL.
fn identify(authorize: &mut Url, id: Option<String>) -> Result<String, FlagError> {
    let told = authorize.query_pairs().find(|(name, _)| name == "id").map(|(_, id)| id.into_owned());
    match (id, told.filter(|id| !id.is_empty())) {
        (None, None) => Err(FlagError::Missing("no cluster to report for: give --id ID")),
        (Some(id), Some(told)) if id != told => {
            Err(FlagError::Together("--id and the id in the URL of --to or --to-auth contradict each other"))
        }
        (_, Some(told)) => Ok(told),
        (Some(id), None) => {
            let others: Vec<(String, String)> =
                authorize.query_pairs().filter(|(name, _)| name != "id").map(|(n, v)| (n.into(), v.into())).collect();
            authorize.query_pairs_mut().clear().extend_pairs(others).append_pair("id", &id);
            Ok(id)
        }
    }
}
