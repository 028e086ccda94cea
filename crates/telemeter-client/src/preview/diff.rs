//! Compares two previews: which metrics are new, gone or changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LabelUse, Preview, PreviewMetric};

/// An earlier preview, read from its JSON; fields that are not compared are ignored.
#[derive(Clone, Debug, Deserialize)]
pub struct EarlierPreview {
    version: u32,
    metrics: Vec<EarlierMetric>,
}

#[derive(Clone, Debug, Deserialize)]
struct EarlierMetric {
    name: String,
    series: usize,
    labels: Vec<EarlierLabel>,
}

#[derive(Clone, Debug, Deserialize)]
struct EarlierLabel {
    name: String,
    values: usize,
    anonymized: bool,
}

impl EarlierPreview {
    /// Reads what `-o json` wrote.
    ///
    /// # Errors
    /// The text says why it is no preview of a known version.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let earlier: Self =
            serde_json::from_slice(json).map_err(|error| format!("is not a preview in JSON (-o json): {error}"))?;
        match earlier.version {
            1 => Ok(earlier),
            version => Err(format!("is a preview of version {version}, which this program does not know")),
        }
    }
}

/// What differs between an earlier preview and a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Metrics that were not there.
    pub new: Vec<PreviewMetric>,
    /// Metrics that are no longer there, with how many series they had.
    pub gone: BTreeMap<String, usize>,
    /// Metrics that differ.
    pub changed: Vec<MetricChange>,
    /// How many metrics are as they were.
    pub unchanged: usize,
}

/// How one metric differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetricChange {
    /// Its name.
    pub name: String,
    /// How many series it had, and has.
    pub series: [usize; 2],
    /// Labels that it did not have.
    pub new_labels: Vec<LabelUse>,
    /// Labels that it no longer has.
    pub gone_labels: Vec<String>,
    /// Labels that were hashed and leave in clear now.
    pub no_longer_anonymized: Vec<String>,
    /// Labels that left in clear and are hashed now.
    pub newly_anonymized: Vec<String>,
    /// Labels with another number of values: how many they had, and have.
    pub values: BTreeMap<String, [usize; 2]>,
}

impl Diff {
    /// Compares `earlier` with `now`.
    #[must_use]
    pub fn new(earlier: &EarlierPreview, now: &Preview) -> Self {
        let mut before: BTreeMap<&str, &EarlierMetric> = earlier.metrics.iter().map(|m| (m.name.as_str(), m)).collect();
        let mut diff = Self { new: Vec::new(), gone: BTreeMap::new(), changed: Vec::new(), unchanged: 0 };
        for metric in &now.metrics {
            match before.remove(metric.name.as_str()).map(|old| MetricChange::new(old, metric)) {
                None => diff.new.push(metric.clone()),
                Some(None) => diff.unchanged += 1,
                Some(Some(change)) => diff.changed.push(change),
            }
        }
        diff.gone = before.into_values().map(|metric| (metric.name.clone(), metric.series)).collect();
        diff
    }

    /// Whether there is no difference.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty() && self.changed.is_empty()
    }
}

impl MetricChange {
    /// `None` where nothing changed.
    fn new(old: &EarlierMetric, now: &PreviewMetric) -> Option<Self> {
        let mut before: BTreeMap<&str, &EarlierLabel> = old.labels.iter().map(|l| (l.name.as_str(), l)).collect();
        let mut change = Self {
            name: now.name.clone(),
            series: [old.series, now.series],
            new_labels: Vec::new(),
            gone_labels: Vec::new(),
            no_longer_anonymized: Vec::new(),
            newly_anonymized: Vec::new(),
            values: BTreeMap::new(),
        };
        let mut differs = old.series != now.series;
        for label in &now.labels {
            let Some(old) = before.remove(label.name.as_str()) else {
                change.new_labels.push(label.clone());
                continue;
            };
            match (old.anonymized, label.anonymized) {
                (true, false) => change.no_longer_anonymized.push(label.name.clone()),
                (false, true) => change.newly_anonymized.push(label.name.clone()),
                (true, true) | (false, false) => {}
            }
            if old.values != label.values {
                change.values.insert(label.name.clone(), [old.values, label.values]);
            }
        }
        change.gone_labels = before.into_keys().map(str::to_owned).collect();
        differs |= !(change.new_labels.is_empty()
            && change.gone_labels.is_empty()
            && change.no_longer_anonymized.is_empty()
            && change.newly_anonymized.is_empty()
            && change.values.is_empty());
        differs.then_some(change)
    }
}
