//! The flags of `telemeter quickstart`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::Parser;
use telemeter_client::config::SourceSettings;
use url::Url;

use super::{
    client, duration, list,
    relabel::RelabelFlags,
    shared::{LogFlags, ModeFlags},
    target,
    value::{self, FlagError},
};

/// Where each part listens by default; if that port is taken, on a free one.
pub(crate) const LISTEN: &str = "localhost:9003";
pub(crate) const LISTEN_INTERNAL: &str = "localhost:9004";
pub(crate) const LISTEN_CLIENT: &str = "localhost:9002";
pub(crate) const LISTEN_AUTHORITY: &str = "localhost:9001";

/// Run an authority, a server with a recent store and a client in one process, to see metrics flow at once.
#[derive(Parser, Debug)]
#[command(name = "quickstart", version, mut_arg("log_level", |arg| arg.default_value("warn")))]
pub struct QuickstartFlags {
    /// A Prometheus to scrape. Without: the client scrapes its own metrics.
    #[arg(long, value_name = "URL")]
    from: Option<String>,

    /// PEM file with authorities that --from is checked against, beside the system's.
    #[arg(long, value_name = "FILE", requires = "from")]
    from_ca_file: Option<OsString>,

    /// File with the bearer token for --from.
    #[arg(long, value_name = "FILE", requires = "from")]
    from_token_file: Option<OsString>,

    /// A selector of series to scrape. Repeated. Without any, here and in --match-file: all series.
    #[arg(long = "match", value_name = "SELECTOR")]
    matches: Vec<String>,

    /// File with more selectors, one a line, added to those of --match.
    #[arg(long, value_name = "FILE")]
    match_file: Option<OsString>,

    #[command(flatten)]
    relabel: RelabelFlags,

    /// Directory that keeps the key, the token, the cluster's ID and the salt, so that the next run is the same cluster, and the metrics of a prometheus that is started. Made if it is not there; used by one run at a time. Without: new ones each time.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<OsString>,

    /// A store to write to as well, as Prometheus remote write. Without: a prometheus that is found is started as one.
    #[arg(long, value_name = "URL", conflicts_with = "prometheus")]
    forward_url: Option<String>,

    /// The prometheus program to start as the store on localhost:9090, and to stop at the end. By default the one on the PATH, if there is one; empty: none.
    #[arg(long, value_name = "PATH")]
    prometheus: Option<OsString>,

    /// The time between two reports.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    interval: Duration,

    /// So many made-up clusters report as well: most are well, some are refused in different ways, some fall silent.
    #[arg(long, value_name = "COUNT", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    clusters: u32,

    /// Where the server serves clusters.
    #[arg(long, value_name = "HOST:PORT", default_value = LISTEN)]
    listen: String,

    /// Where the server serves health, metrics and the recent store.
    #[arg(long, value_name = "HOST:PORT", default_value = LISTEN_INTERNAL)]
    listen_internal: String,

    /// Where the client serves health, metrics and the last metrics sent.
    #[arg(long, value_name = "HOST:PORT", default_value = LISTEN_CLIENT)]
    listen_client: String,

    /// Where the authority answers.
    #[arg(long, value_name = "HOST:PORT", default_value = LISTEN_AUTHORITY)]
    listen_authority: String,

    #[command(flatten)]
    pub(crate) mode: ModeFlags,

    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// The configuration of the quickstart.
#[derive(Clone, Debug)]
pub struct QuickstartConfig {
    /// The Prometheus to scrape; `None`: the client scrapes its own metrics.
    pub from: Option<SourceSettings>,
    /// Selectors, each sent as `match[]`; by default, without a file either, one that every series matches.
    pub matches: Vec<String>,
    /// A file with more of them.
    pub match_file: Option<PathBuf>,
    /// Labels that every series gets.
    pub labels: Vec<(String, String)>,
    /// Metric names, old and new.
    pub renames: Vec<(String, String)>,
    /// Labels whose values are hashed.
    pub anonymize_labels: Vec<String>,
    /// The directory that keeps key, token and ID; `None`: nothing is kept.
    pub data_dir: Option<PathBuf>,
    /// The store that metrics are written to, in addition to the recent store.
    pub store: QuickstartStore,
    /// Time between two reports; never zero.
    pub interval: Duration,
    /// How many simulated clusters report, in addition to the client.
    pub clusters: usize,
    /// `host:port` of the server's external listener.
    pub listen: String,
    /// `host:port` of the server's internal listener.
    pub listen_internal: String,
    /// `host:port` of the client's listener.
    pub listen_client: String,
    /// `host:port` of the authority.
    pub listen_authority: String,
    /// Log outbound requests and their answers, without secrets.
    pub verbose: bool,
}

/// The store of the quickstart, in addition to the recent store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuickstartStore {
    /// A store that is already there.
    Url(Url),
    /// A prometheus that is started; an error where it does not start.
    Prometheus(PathBuf),
    /// A prometheus that is started, if the PATH has one.
    PrometheusOnPath,
    /// None.
    None,
}

impl QuickstartFlags {
    /// Warnings for the log, about flags without the effect that they seem to have.
    pub fn warnings(&self) -> Vec<String> {
        self.relabel.warnings().collect()
    }

    /// The configuration that the flags mean.
    ///
    /// # Errors
    /// A value is invalid.
    pub fn config(self) -> Result<QuickstartConfig, FlagError> {
        let from = value::unless_empty(self.from).map(|text| value::http_url("--from", &text)).transpose()?;
        let from = from.map(|url| SourceSettings {
            url: client::federate(url),
            ca_file: value::path(self.from_ca_file),
            token: target::credential(None, self.from_token_file),
            identity: None,
        });
        let mut matches = list::selectors(&self.matches);
        let match_file = value::path(self.match_file);
        if matches.is_empty() && match_file.is_none() {
            matches.push(r#"{__name__!=""}"#.to_owned());
        }
        let forward =
            value::unless_empty(self.forward_url).map(|text| value::http_url("--forward-url", &text)).transpose()?;
        let store = match (forward, self.prometheus) {
            (Some(url), _) => QuickstartStore::Url(url),
            (None, Some(path)) if path.is_empty() => QuickstartStore::None,
            (None, Some(path)) => QuickstartStore::Prometheus(path.into()),
            (None, None) => QuickstartStore::PrometheusOnPath,
        };
        if self.interval.is_zero() {
            return Err(FlagError::value("--interval", "must be longer than nothing"));
        }
        Ok(QuickstartConfig {
            from,
            matches,
            match_file,
            labels: self.relabel.labels()?,
            renames: self.relabel.renames()?,
            anonymize_labels: self.relabel.anonymize_labels()?,
            data_dir: value::path(self.data_dir),
            store,
            interval: self.interval,
            clusters: self.clusters as usize,
            listen: value::address("--listen", &self.listen)?,
            listen_internal: value::address("--listen-internal", &self.listen_internal)?,
            listen_client: value::address("--listen-client", &self.listen_client)?,
            listen_authority: value::address("--listen-authority", &self.listen_authority)?,
            verbose: self.log.verbose,
        })
    }
}
