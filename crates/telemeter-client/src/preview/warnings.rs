//! The warnings of a preview: labels that may tell too much, metrics with many series, selectors that cannot be parsed.

use std::collections::BTreeMap;

use serde::Serialize;
use telemeter_rules::sensitive::{self, SensitiveLabel};

use super::{Preview, PreviewOptions, PreviewTotals};
use crate::summary::{MANY_SERIES, UploadSummary};

/// From this share of `--limit-bytes` on, in percent, a scrape gets a warning.
const NEAR_LIMIT_PERCENT: usize = 80;

/// A warning of a preview or of the client's page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// The warning, as a sentence.
    pub message: String,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The label that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The metrics that it is about, by the name that they are sent under.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
}

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WarningKind {
    /// Nothing would be sent.
    Nothing,
    /// Series would be sent that no selector names.
    Unrequested,
    /// A selector that cannot be parsed, or cannot be applied to an answer.
    Selector,
    /// A label that is sensitive by its name, in clear.
    LabelName,
    /// A label that is sensitive by its values, in clear.
    LabelValue,
    /// Many series of one metric.
    ManySeries,
    /// A name with colons that breaks the form of a recording rule's.
    MetricName,
    /// Series that are in the upload more than once.
    Duplicates,
    /// The scrape is near `--limit-bytes`.
    NearLimit,
}

/// All warnings of a preview, the most important first.
pub(super) fn of(
    preview: &Preview,
    summary: &UploadSummary<'_>,
    options: &PreviewOptions,
    now_ms: i64,
) -> Vec<Warning> {
    let simple = |kind, message| Warning { kind, message, advice: None, label: None, metrics: Vec::new() };
    let mut warnings = Vec::new();
    let nothing = Preview::no_upload_reason(&preview.packed, now_ms);
    warnings.extend(nothing.map(|text| simple(WarningKind::Nothing, format!("nothing would be sent: {text}"))));
    let unrequested = Preview::unrequested(&preview.packed.left_out);
    warnings.extend(unrequested.map(|text| simple(WarningKind::Unrequested, text)));
    for selector in &preview.selectors {
        let problem = selector.problem.as_ref();
        warnings.extend(problem.map(|problem| simple(WarningKind::Selector, format!("{} {problem}", selector.flag))));
    }
    warnings.extend(labels(summary, &options.allowed_labels));
    warnings.extend(series(summary));
    for name in summary.metrics.keys() {
        let problem = sensitive::recording_rule_name(name);
        warnings.extend(problem.map(|problem| Warning {
            metrics: vec![name.to_string()],
            ..simple(WarningKind::MetricName, format!("the name {name} looks like a recording rule's, but {problem}"))
        }));
    }
    let PreviewTotals { duplicates, scraped_bytes, limit_bytes, .. } = preview.totals;
    if duplicates > 0 {
        let message = format!("{duplicates} series would be sent more than once; the server keeps the newest of each");
        warnings.push(simple(WarningKind::Duplicates, message));
    }
    let percent = scraped_bytes.saturating_mul(100) / limit_bytes.max(1);
    if percent >= NEAR_LIMIT_PERCENT {
        warnings.push(Warning {
            advice: Some("above it, nothing is uploaded: raise it, or narrow --match".to_owned()),
            ..simple(WarningKind::NearLimit, format!("the scrape takes {percent} % of --limit-bytes"))
        });
    }
    warnings
}

/// A label that may tell too much, and the metrics that have it.
#[derive(Default)]
struct LabelWarning<'s> {
    /// A value of it that was found.
    example: Option<&'s str>,
    metrics: Vec<String>,
}

/// Warnings about sensitive labels of a summary: one for each label and finding.
pub(crate) fn labels(summary: &UploadSummary<'_>, allowed: &[String]) -> Vec<Warning> {
    let mut all: BTreeMap<(&str, SensitiveLabel), LabelWarning<'_>> = BTreeMap::new();
    for (name, metric) in &summary.metrics {
        for label in metric.labels.iter().filter(|label| !allowed.iter().any(|allowed| **allowed == *label.name)) {
            if let Some(finding) = label.finding {
                let found = all.entry((&label.name, finding)).or_default();
                found.example = found.example.or(label.example.as_deref());
                found.metrics.push(name.to_string());
            }
        }
    }
    let warnings = all.into_iter().map(|((label, finding), found)| {
        let example = found.example.map(|value| format!(" ({value:?})")).unwrap_or_default();
        let (kind, subject) = match finding {
            SensitiveLabel::Name(_) => (WarningKind::LabelName, format!("label {label}")),
            SensitiveLabel::Value(_) => (WarningKind::LabelValue, format!("a value of label {label}")),
        };
        Warning {
            kind,
            message: format!("{subject} {finding} and leaves in clear{example}"),
            advice: Some(format!("--anonymize-labels={label} hashes it")),
            label: Some(label.to_owned()),
            metrics: found.metrics,
        }
    });
    warnings.collect()
}

/// One warning about all metrics with many series.
pub(crate) fn series(summary: &UploadSummary<'_>) -> Option<Warning> {
    let mut many: Vec<_> = summary.metrics.iter().filter(|(_, metric)| metric.series > MANY_SERIES).collect();
    many.sort_by_key(|(name, metric)| (std::cmp::Reverse(metric.series), *name));
    let subject = match many[..] {
        [] => return None,
        [(name, metric)] => format!("{name} has {} series", metric.series),
        [(name, metric), ..] => {
            format!(
                "{} metrics have more than {MANY_SERIES} series each, up to {} of {name}",
                many.len(),
                metric.series
            )
        }
    };
    Some(Warning {
        kind: WarningKind::ManySeries,
        message: subject,
        advice: Some(format!("over {MANY_SERIES} series a metric are much for a fleet: sum them in a recording rule")),
        label: None,
        metrics: many.into_iter().map(|(name, _)| name.to_string()).collect(),
    })
}
