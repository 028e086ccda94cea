//! A preview: what a cycle would upload, by metric and label, with warnings. It runs a whole cycle but for the upload.

mod collect;
mod diff;
mod warnings;

use std::collections::BTreeMap;

use serde::Serialize;
use telemeter_http::{client::Outbound, clock::Clock};
use telemeter_wire::{UploadAccepts, exposition::Escaping};

use self::collect::PreviewCollector;
pub(crate) use self::warnings::{labels as label_warnings, series as series_warning};
pub use self::{
    diff::{Diff, EarlierPreview, MetricChange},
    warnings::{Warning, WarningKind},
};
use crate::{
    config::Config,
    explain,
    matches::Selectors,
    metrics::Metrics,
    outcome::{CycleError, CycleReport, SetupError},
    pipeline::{LeftOut, Packed},
    remote_write::ID_LABEL,
    scraper::Scraper,
    token::AccessTokens,
    worker::{server_settings, source_settings},
};

/// The value shown for a label that the server sets, where the server was not asked.
pub const PLACEHOLDER: &str = "<set by the server>";

/// What a preview does beyond the client's configuration.
#[derive(Clone, Debug, Default)]
pub struct PreviewOptions {
    /// Request the labels that the server requires; else they are shown as `_id` with the value [`PLACEHOLDER`].
    pub with_authorize: bool,
    /// Labels without a warning, whatever their name and values.
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

/// What a cycle would upload. Its JSON is what `--diff` reads: fields may be added, none goes or changes its meaning while
/// `version` stays.
#[derive(Clone, Debug, Serialize)]
pub struct Preview {
    /// The version of this layout.
    pub version: u32,
    /// What was scraped: the URL without user, password and query.
    pub source: String,
    /// Metrics that would be sent, by the name that they are sent under.
    pub metrics: Vec<PreviewMetric>,
    /// Sums over all metrics.
    pub totals: PreviewTotals,
    /// Every selector, in the order in which they are sent.
    pub selectors: Vec<SelectorUse>,
    /// Series of the scrape that would not be sent, by reason and metric.
    pub left_out: Vec<LeftOutMetrics>,
    /// Labels that every series gets.
    pub added_labels: Vec<AddedLabel>,
    /// What may be wrong, or may tell more than it should; the most important first.
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

/// Sums over a preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PreviewTotals {
    /// Series that Prometheus answered with.
    pub scraped_series: usize,
    /// Size of the scrape, decompressed, in bytes.
    pub scraped_bytes: usize,
    /// The cap on `scraped_bytes`: `--limit-bytes`.
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

/// A selector, and how many series it selects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SelectorUse {
    /// The flag that it comes from: `--match` or `--match-file`.
    pub flag: &'static str,
    /// As it was written.
    pub selector: String,
    /// How many series of the scrape it selects.
    pub series: usize,
    /// Why it cannot be parsed, or cannot be applied to an answer.
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
    /// The reason as the end of a sentence: `3 series without a time`.
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
    /// Where it comes from: `--label`, `/authorize`, or, for remote write, `--id`.
    pub by: &'static str,
}

impl Preview {
    /// Scrapes once and does everything that a cycle does but the upload.
    ///
    /// # Errors
    /// [`PreviewError`]: a file that cannot be used, the scrape, or the exchange of the token.
    pub async fn take(config: &Config, options: &PreviewOptions, clock: Clock) -> Result<Self, PreviewError> {
        let from = Outbound::new(source_settings(config), None).map_err(SetupError::From)?;
        let mut scraper = Scraper::new(config, from, Metrics::default())?;
        let (server_labels, accepts) = if config.to.receive.is_some() {
            (vec![(ID_LABEL.to_owned(), config.id.clone())], UploadAccepts::ALL)
        } else if options.with_authorize {
            request_labels(config, clock.clone()).await?
        } else {
            (vec![(ID_LABEL.to_owned(), PLACEHOLDER.to_owned())], UploadAccepts::ALL)
        };
        let selectors = Selectors::read(config).map_err(SetupError::MatchFile)?;
        let collector = PreviewCollector::new(config, &selectors, &server_labels);
        let scraped = scraper.scrape(&server_labels, accepts, || clock.now_ms(), Some(&collector)).await;
        let packed = scraped.map_err(CycleError::from)?;
        let now_ms = clock.now_ms();
        Ok(collector.finish(config, options, &server_labels, packed, now_ms))
    }

    /// What would be sent, in the text format, part by part.
    ///
    /// # Errors
    /// None in practice: it decodes what this program encoded.
    pub fn text(&self) -> impl Iterator<Item = Result<Vec<u8>, telemeter_wire::Error>> {
        self.packed.text(Escaping::AllowUtf8)
    }

    /// Why nothing would be uploaded; `None` where something would. `now_ms` tells the age of the newest sample.
    #[must_use]
    fn no_upload_reason(packed: &Packed, now_ms: i64) -> Option<String> {
        let Packed { scraped, kept, left_out, newest_ms, .. } = *packed;
        let newest_age_ms = newest_ms.map(|newest_ms| now_ms.saturating_sub(newest_ms));
        explain::no_upload_reason(&CycleReport {
            scraped,
            kept,
            uploaded: kept,
            left_out,
            newest_age_ms,
            ..CycleReport::default()
        })
    }

    /// A warning about series that would be sent though no selector names them.
    fn unrequested(left_out: &LeftOut) -> Option<String> {
        (left_out.unrequested_uploaded > 0).then(|| explain::unrequested_warning(left_out)).flatten()
    }
}

/// Requests an access token: the labels that the server requires, and what it accepts besides samples.
async fn request_labels(config: &Config, clock: Clock) -> Result<(Vec<(String, String)>, UploadAccepts), PreviewError> {
    let to = Outbound::new(server_settings(config), None).map_err(SetupError::To)?;
    let (url, credential) = (config.to.authorize.clone(), config.to.token.clone());
    let mut access_tokens = AccessTokens::new(to, url, credential, clock, Metrics::default());
    let token = access_tokens.current().await.map_err(CycleError::from)?;
    Ok((token.labels, token.accepts))
}
