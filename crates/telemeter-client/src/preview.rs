//! What would leave: one scrape taken through everything that a cycle does to it, looked at, and sent to nobody.

mod collect;
mod diff;
mod warnings;

use std::collections::BTreeMap;

use serde::Serialize;
use telemeter_http::{client::Outbound, clock::Clock};
use telemeter_wire::NativeHistograms;

use self::collect::PreviewCollector;
pub(crate) use self::warnings::{labels as label_warnings, series as series_warning};
pub use self::{
    diff::{Diff, EarlierPreview, MetricChange},
    warnings::{Warning, WarningKind},
};
use crate::{
    config::Config,
    matches::Selectors,
    metrics::Metrics,
    nothing,
    pipeline::{LeftOut, Packed},
    scraper::Scraper,
    token::AccessTokens,
    worker::{CycleError, CycleReport, SetupError, server_settings, source_settings},
};

/// What stands in for the value of a label that the server sets, where it was not asked.
pub const PLACEHOLDER: &str = "<set by the server>";

/// What to look for, beside the client's own configuration.
#[derive(Clone, Debug, Default)]
pub struct PreviewOptions {
    /// The server is asked which labels it wants; else `_id` stands for them, with [`PLACEHOLDER`] as its value.
    pub with_authorize: bool,
    /// Labels that may leave in clear, whatever their name and values.
    pub allowed_labels: Vec<String>,
}

/// Why there is no preview.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// A file that the configuration names is missing or wrong.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The scrape, or the exchange of the token.
    #[error(transparent)]
    Cycle(#[from] CycleError),
}

/// What would leave. Its JSON is what `--diff` reads: fields may be added, none goes or changes its meaning while
/// `version` stays.
#[derive(Clone, Debug, Serialize)]
pub struct Preview {
    /// The version of this layout.
    pub version: u32,
    /// What was scraped: the URL without user, password and query.
    pub source: String,
    /// What would be sent, by the name that it is sent under.
    pub metrics: Vec<PreviewMetric>,
    /// All of it.
    pub totals: PreviewTotals,
    /// Every selector, in the order in which they are sent.
    pub selectors: Vec<SelectorUse>,
    /// What came and would not be sent, by reason, each with how many series of which metric.
    pub left_out: Vec<LeftOutMetrics>,
    /// Labels that every series gets.
    pub added_labels: Vec<AddedLabel>,
    /// What somebody should look at.
    pub warnings: Vec<Warning>,
    #[serde(skip)]
    packed: Packed,
}

/// One metric that would be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PreviewMetric {
    /// The name that it is sent under.
    pub name: String,
    /// The name that it was scraped under, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scraped_as: Option<String>,
    /// How many series.
    pub series: usize,
    /// The size of their lines in the text format.
    pub bytes: usize,
    /// The selectors that name it, counted from 1 in the order of [`Preview::selectors`].
    pub selectors: Vec<usize>,
    /// Its labels, sorted.
    pub labels: Vec<LabelUse>,
}

/// One label of a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelUse {
    /// Its name.
    pub name: String,
    /// How many different values.
    pub values: usize,
    /// Whether they are hashed.
    pub anonymized: bool,
}

/// The sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PreviewTotals {
    /// Series that came.
    pub scraped_series: usize,
    /// Size of the scrape, decompressed, in bytes.
    pub scraped_bytes: usize,
    /// The cap on that: `--limit-bytes`.
    pub limit_bytes: usize,
    /// Metrics that would be sent.
    pub metrics: usize,
    /// Series that would be sent.
    pub series: usize,
    /// Their size in the text format, in bytes.
    pub bytes: usize,
    /// Size of the upload, compressed, in bytes.
    pub upload_bytes: usize,
    /// Series that would be sent more than once; the server keeps the newest of each.
    pub duplicates: usize,
}

/// What a selector did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SelectorUse {
    /// The flag that it comes from: `--match` or `--match-file`.
    pub flag: &'static str,
    /// As it was written.
    pub selector: String,
    /// How many series of the scrape it names.
    pub series: usize,
    /// Why it cannot be read, or held against an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Series that would not be sent, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOutMetrics {
    /// The reason.
    pub reason: LeftOutReason,
    /// How many series.
    pub series: usize,
    /// How many of each metric, by the name that it was scraped under.
    pub metrics: BTreeMap<String, usize>,
}

/// Why a series is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutReason {
    /// No selector names it.
    Unrequested,
    /// Its sample has no time.
    NoTime,
    /// Its sample is over 24 hours old.
    TooOld,
    /// It has no name, an overlong one, or no value of its type.
    Invalid,
}

impl LeftOutReason {
    /// In words, to stand behind "series".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unrequested => "that no selector names",
            Self::NoTime => "without a time",
            Self::TooOld => "over 24 hours old",
            Self::Invalid => "invalid: no name, an overlong one, or no value of its type",
        }
    }
}

/// A label that every series gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddedLabel {
    /// Its name.
    pub name: String,
    /// Its value; [`PLACEHOLDER`] where the server was not asked.
    pub value: String,
    /// Who adds it: `--label`, or `/authorize`.
    pub by: &'static str,
}

impl Preview {
    /// Scrapes once, does all that a cycle does, and sends nothing.
    ///
    /// # Errors
    /// [`PreviewError`]: what a client would fail for, as far as the source and, where it is asked, the server's
    /// `/authorize` are concerned.
    pub async fn take(config: &Config, options: &PreviewOptions, clock: Clock) -> Result<Self, PreviewError> {
        let from = Outbound::new(source_settings(config), None).map_err(SetupError::From)?;
        let mut scraper = Scraper::new(config, from, Metrics::default())?;
        let (granted, native) = if options.with_authorize {
            ask(config, clock.clone()).await?
        } else {
            (vec![("_id".to_owned(), PLACEHOLDER.to_owned())], NativeHistograms::Keep)
        };
        let selectors = Selectors::read(config).map_err(SetupError::MatchFile)?;
        let collector = PreviewCollector::new(config, &selectors, &granted);
        let scraped = scraper.scrape(&granted, native, || clock.now_ms(), Some(&collector)).await;
        let packed = scraped.map_err(CycleError::from)?;
        let now_ms = clock.now_ms();
        Ok(collector.finish(config, options, &granted, packed, now_ms))
    }

    /// What would be sent, in the text format, part by part.
    ///
    /// # Errors
    /// Never, unless what was packed cannot be unpacked.
    pub fn text(&self) -> impl Iterator<Item = Result<Vec<u8>, telemeter_wire::Error>> {
        self.packed.text()
    }

    /// Why nothing would be sent, in words; `None` where something would.
    #[must_use]
    fn why_nothing(packed: &Packed, now_ms: i64) -> Option<String> {
        let Packed { scraped, kept, left_out, newest_ms, .. } = *packed;
        let newest_age_ms = newest_ms.map(|newest_ms| now_ms.saturating_sub(newest_ms));
        nothing::uploaded(&CycleReport {
            scraped,
            kept,
            uploaded: kept,
            left_out,
            newest_age_ms,
            ..CycleReport::default()
        })
    }

    /// Words about series that no selector names and that would be sent all the same.
    fn unrequested(left_out: &LeftOut) -> Option<String> {
        (left_out.unrequested_uploaded > 0).then(|| nothing::unrequested(left_out)).flatten()
    }
}

/// The labels that the server wants, and what native histograms become for it.
async fn ask(config: &Config, clock: Clock) -> Result<(Vec<(String, String)>, NativeHistograms), PreviewError> {
    let to = Outbound::new(server_settings(config), None).map_err(SetupError::To)?;
    let (url, credential) = (config.to.authorize.clone(), config.to.token.clone());
    let mut grants = AccessTokens::new(to, url, credential, clock, Metrics::default());
    let grant = grants.grant().await.map_err(CycleError::from)?;
    Ok((grant.labels, grant.native))
}
