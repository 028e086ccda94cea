//! A summary of an upload by metric: how many series, which labels, and which labels may tell more than they should.
//!
//! It keeps hashes of values, and at most [`SummarySettings::max_values`] of each label, so that it needs little memory.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use telemeter_rules::{
    sensitive::{self, SensitiveLabel},
    transforms::anonymize::Anonymize,
};
use telemeter_wire::{Label, Points, Series, exposition::text, series::NAME_LABEL};

/// A metric with more series than this gets a warning.
pub(crate) const MANY_SERIES: usize = 10;
/// How much of a value is shown as an example, in characters.
const EXAMPLE_CHARS: usize = 40;

/// The metrics of an upload.
pub(crate) struct UploadSummary<'c> {
    settings: SummarySettings<'c>,
    hasher: RandomState,
    line: Vec<u8>,
    /// By the name that they are sent under.
    pub(crate) metrics: BTreeMap<Box<str>, MetricSummary>,
}

/// How series are counted.
#[derive(Clone, Copy)]
pub(crate) struct SummarySettings<'c> {
    /// Which labels were hashed.
    pub(crate) anonymize: &'c Anonymize,
    /// The cluster's ID, a value that is not sensitive.
    pub(crate) cluster_id: &'c str,
    /// Labels that the server requires: they are not checked for sensitive values.
    pub(crate) server_labels: &'c [String],
    /// Cap on the distinct values of one label of one metric that are counted and checked.
    pub(crate) max_values: usize,
}

/// One metric.
#[derive(Debug, Default)]
pub(crate) struct MetricSummary {
    /// How many series.
    pub(crate) series: usize,
    /// The size of their lines in the text format.
    pub(crate) bytes: usize,
    /// Its labels, in the order of their first occurrence.
    pub(crate) labels: Vec<LabelSummary>,
}

/// One label of one metric.
#[derive(Debug)]
pub(crate) struct LabelSummary {
    pub(crate) name: Box<str>,
    values: HashSet<u64>,
    /// Whether its values are hashes.
    pub(crate) is_anonymized: bool,
    /// Why it is sensitive; `None` where it is not.
    pub(crate) finding: Option<SensitiveLabel>,
    /// The start of a value that is sensitive.
    pub(crate) example: Option<Box<str>>,
}

impl LabelSummary {
    /// The number of distinct values, up to the cap.
    pub(crate) fn values(&self) -> usize {
        self.values.len()
    }
}

impl<'c> UploadSummary<'c> {
    pub(crate) fn new(settings: SummarySettings<'c>) -> Self {
        Self { settings, hasher: RandomState::new(), line: Vec::new(), metrics: BTreeMap::new() }
    }

    /// Counts a series as it is sent.
    pub(crate) fn add(&mut self, series: &Series<'_, '_>) {
        let Self { settings, hasher, line, metrics } = self;
        let name = series.name();
        if !metrics.contains_key(name) {
            metrics.insert(name.into(), MetricSummary::default());
        }
        let Some(metric) = metrics.get_mut(name) else { return };
        metric.series += 1;
        line.clear();
        for sample in series.samples() {
            text::put_sample(name, series.labels, sample, line);
        }
        for histogram in series.histograms() {
            text::put_histogram(name, series.labels, &histogram, line);
        }
        metric.bytes += line.len();
        if let Points::Histogram(histogram) = series.points {
            metric.bytes += histogram.message.len();
        }
        for label in series.labels.iter().filter(|label| label.name != NAME_LABEL && !label.value.is_empty()) {
            let at = metric.labels.iter().position(|known| *known.name == *label.name);
            let at = at.unwrap_or_else(|| {
                metric.labels.push(settings.new_label(label));
                metric.labels.len() - 1
            });
            let known = &mut metric.labels[at];
            let is_new = known.values.len() < settings.max_values && known.values.insert(hasher.hash_one(label.value));
            if is_new && known.finding.is_none() && !known.is_anonymized {
                settings.check_value(label, known);
            }
        }
    }
}

impl SummarySettings<'_> {
    /// An empty summary of a label that was not seen before.
    fn new_label(&self, label: &Label<'_>) -> LabelSummary {
        let is_anonymized = self.anonymize.covers(label.name);
        let name = label.name.into();
        LabelSummary { name, values: HashSet::new(), is_anonymized, finding: None, example: None }
    }

    /// Looks for something sensitive in one value, and stores the finding and the start of the value as an example.
    /// Labels that the server adds are not checked.
    fn check_value(&self, label: &Label<'_>, known: &mut LabelSummary) {
        if self.server_labels.iter().any(|server_labels| server_labels == label.name) {
            return;
        }
        known.finding = sensitive::label(label.name, label.value, self.cluster_id);
        if known.finding.is_some() {
            let start: String = label.value.chars().take(EXAMPLE_CHARS).collect();
            let more = if start.len() < label.value.len() { "..." } else { "" };
            known.example = Some(format!("{start}{more}").into());
        }
    }
}

#[cfg(test)]
mod tests {
    use telemeter_rules::sensitive::{SensitiveReason, ValueKind};
    use telemeter_wire::{Arena, DecodeLimits, SeriesSet};

    use super::*;

    #[test]
    fn labels_are_counted_and_checked() {
        let (anonymize, server_labels) = (Anonymize::new(["pod".to_owned()], b"salt"), ["_id".to_owned()]);
        let settings =
            SummarySettings { anonymize: &anonymize, cluster_id: "c1", server_labels: &server_labels, max_values: 2 };
        let mut summary = UploadSummary::new(settings);
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let body = "up{_id=\"10.0.0.1\",pod=\"aaaa\",mode=\"\",instance=\"a:1\"} 1 5\n\
                    up{_id=\"10.0.0.1\",pod=\"bbbb\",mode=\"x\",instance=\"b:1\"} 1 5\n\
                    up{_id=\"10.0.0.1\",pod=\"cccc\",mode=\"10.1.2.3\",instance=\"c:1\"} 1 5\n\
                    down 1 5\n";
        text::decode(body.as_bytes(), &DecodeLimits::default(), &mut set).expect("a text");
        set.iter().for_each(|series| summary.add(&series));

        let up = &summary.metrics["up"];
        assert_eq!((up.series, up.bytes, summary.metrics["down"].bytes), (3, body.len() - 9, 9));
        let labels: Vec<_> = up.labels.iter().map(|l| (&*l.name, l.values(), l.is_anonymized, l.finding)).collect();
        let machine = Some(SensitiveLabel::Name(SensitiveReason::Machine));
        let expected = [
            ("_id", 1, false, None),
            ("pod", 2, true, None),
            ("instance", 2, false, machine),
            ("mode", 2, false, Some(SensitiveLabel::Value(ValueKind::Ipv4))),
        ];
        assert_eq!(labels, expected);
        assert_eq!(up.labels[3].example.as_deref(), Some("10.1.2.3"));
    }
}
