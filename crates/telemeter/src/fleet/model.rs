//! The answers of the API, as far as they are shown. What is not read here stays in the JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::output::{Tone, Value, human};

/// A time in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) i64);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ms = human::unix_ms(&text);
        ms.map(Self).ok_or_else(|| serde::de::Error::custom(format_args!("{} is no time", human::safe(&text))))
    }
}

impl Moment {
    /// As an age.
    pub(super) fn value(self, now: Self) -> Value {
        Value::time(self.0, now.0)
    }
}

/// The same of a time that may be unknown.
pub(super) fn time(at: Option<Moment>, now: Moment) -> Value {
    at.map_or_else(Value::none, |at| at.value(now))
}

#[derive(Debug, Deserialize)]
pub(super) struct Summary {
    pub(super) version: String,
    pub(super) revision: String,
    pub(super) replica: String,
    pub(super) started_at: Moment,
    pub(super) now: Moment,
    pub(super) clusters: ClusterCounts,
    pub(super) requests: BTreeMap<String, RouteRates>,
    pub(super) samples_per_second: f64,
    pub(super) refusals: Vec<ReasonCount>,
    pub(super) dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ClusterCounts {
    pub(super) total: u64,
    pub(super) silent: u64,
    pub(super) refused: u64,
    pub(super) new: u64,
    pub(super) reporting: u64,
    pub(super) evicted: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct RouteRates {
    pub(super) accepted_total: u64,
    pub(super) refused_total: u64,
    pub(super) accepted_per_second: f64,
    pub(super) refused_per_second: f64,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReasonCount {
    pub(super) reason: String,
    pub(super) route: String,
    pub(super) count: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) since: Option<Moment>,
    pub(super) last_error: Option<String>,
    pub(super) latency_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cluster {
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
    pub(super) last_refusal: Option<LastRefusal>,
    pub(super) refusals: Vec<ReasonCount>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LastRefusal {
    pub(super) at: Moment,
    pub(super) route: String,
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) text: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct OneCluster {
    #[serde(flatten)]
    pub(super) cluster: Cluster,
    pub(super) state: String,
    pub(super) exchanges: Vec<Exchange>,
    pub(super) limits: Limits,
    pub(super) alerts: Option<Vec<Alert>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Exchange {
    pub(super) at: Moment,
    pub(super) route: String,
    pub(super) outcome: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Limits {
    pub(super) next_upload_at: Option<Moment>,
    pub(super) limit_bytes: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Alert {
    pub(super) name: String,
    pub(super) severity: Option<String>,
    pub(super) since: Option<Moment>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
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
pub(super) struct Metrics {
    pub(super) total: u64,
    pub(super) whole: bool,
    pub(super) items: Vec<Metric>,
    pub(super) dropped: Vec<DroppedMetric>,
    pub(super) unmatched_rules: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Metric {
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
pub(super) struct List<T> {
    pub(super) whole: bool,
    pub(super) items: Vec<T>,
}

/// What a status of a cluster says.
pub(super) fn tone(status: &str) -> Tone {
    match status {
        "silent" => Tone::Bad,
        "refused" => Tone::Warning,
        "reporting" | "new" => Tone::Good,
        _ => Tone::Plain,
    }
}

/// A text, where there is one.
pub(super) fn text(text: Option<&str>) -> Value {
    text.map_or_else(Value::none, Value::text)
}
