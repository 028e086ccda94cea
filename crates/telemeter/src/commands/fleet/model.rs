//! The answers of the API, as far as tables show them. `-o json` prints the whole answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use telemeter_http::date;

use crate::output::{TableCell, Tone, human};

/// A time in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) i64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ms = date::parse_rfc3339(&text);
        ms.map(Self).ok_or_else(|| serde::de::Error::custom(format_args!("{} is no time", human::safe(&text))))
    }
}

impl Moment {
    /// A cell that shows it as an age.
    pub(super) fn value(self, now: Self) -> TableCell {
        TableCell::time(self.0, now.0)
    }
}

/// A cell that shows a time as an age; empty where it is unknown.
pub(super) fn time(at: Option<Moment>, now: Moment) -> TableCell {
    at.map_or_else(TableCell::none, |at| at.value(now))
}

#[derive(Debug, Deserialize)]
pub(super) struct SummaryJson {
    pub(super) version: String,
    pub(super) revision: String,
    pub(super) replica: String,
    pub(super) started_at: Moment,
    pub(super) now: Moment,
    pub(super) clusters: ClusterCountsJson,
    pub(super) requests: BTreeMap<String, RouteRatesJson>,
    pub(super) samples_per_second: f64,
    pub(super) refusals: Vec<ReasonCountJson>,
    pub(super) dependencies: Vec<DependencyJson>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ClusterCountsJson {
    pub(super) total: u64,
    pub(super) silent: u64,
    pub(super) refused: u64,
    pub(super) new: u64,
    pub(super) reporting: u64,
    pub(super) evicted: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct RouteRatesJson {
    pub(super) accepted_total: u64,
    pub(super) refused_total: u64,
    pub(super) accepted_per_second: f64,
    pub(super) refused_per_second: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReasonCountJson {
    pub(super) reason: String,
    pub(super) route: String,
    pub(super) count: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct DependencyJson {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) since: Option<Moment>,
    pub(super) last_error: Option<String>,
    pub(super) latency_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ClusterJson {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) first_seen: Moment,
    pub(super) last_report: Option<Moment>,
    pub(super) series: u64,
    pub(super) filtered: u64,
    pub(super) bytes: u64,
    pub(super) interval_seconds: Option<f64>,
    pub(super) drift_seconds: Option<f64>,
    pub(super) client: Option<String>,
    pub(super) peer: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) last_refusal: Option<LastRefusalJson>,
    pub(super) refusals: Vec<ReasonCountJson>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LastRefusalJson {
    pub(super) at: Moment,
    pub(super) route: String,
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct OneCluster {
    #[serde(flatten)]
    pub(super) cluster: ClusterJson,
    pub(super) state: String,
    pub(super) exchanges: Vec<ExchangeJson>,
    pub(super) limits: LimitsJson,
    pub(super) alerts: Option<Vec<AlertJson>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ExchangeJson {
    pub(super) at: Moment,
    pub(super) route: String,
    pub(super) outcome: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct LimitsJson {
    pub(super) next_upload_at: Option<Moment>,
    pub(super) limit_bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct AlertJson {
    pub(super) name: String,
    pub(super) severity: Option<String>,
    pub(super) since: Option<Moment>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RefusalJson {
    pub(super) cluster: Option<String>,
    pub(super) claimed_cluster: Option<String>,
    pub(super) verified: bool,
    pub(super) peer: Option<String>,
    pub(super) route: String,
    pub(super) reason: String,
    pub(super) status: u16,
    pub(super) count: u64,
    pub(super) first: Moment,
    pub(super) last: Moment,
    pub(super) meaning: String,
    pub(super) action: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct MetricsJson {
    pub(super) total: u64,
    pub(super) whole: bool,
    pub(super) items: Vec<MetricJson>,
    pub(super) dropped: Vec<DroppedMetric>,
    pub(super) unmatched_rules: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct MetricJson {
    pub(super) name: String,
    pub(super) series: u64,
    pub(super) clusters: u64,
    pub(super) rule: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DroppedMetric {
    pub(super) name: String,
    pub(super) series_total: u64,
}

/// A list; `whole` is false where the server has forgotten some.
#[derive(Debug, Deserialize)]
pub(super) struct ListJson<T> {
    pub(super) whole: bool,
    pub(super) items: Vec<T>,
}

/// The tone of a cluster's status.
pub(super) fn tone(status: &str) -> Tone {
    match status {
        "silent" => Tone::Bad,
        "refused" => Tone::Warning,
        "reporting" | "new" => Tone::Good,
        _ => Tone::Plain,
    }
}

/// A cell with a text; empty where there is none.
pub(super) fn text(text: Option<&str>) -> TableCell {
    text.map_or_else(TableCell::none, TableCell::text)
}
