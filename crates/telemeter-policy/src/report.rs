//! A report on metrics for the person who reviews whether they may be sent.

use std::collections::{BTreeMap, BTreeSet};

use telemeter_rules::sensitive;
use telemeter_wire::{Arena, MetricType, Series, SeriesSet, series::NAME_LABEL};

use crate::metrics::{self, MetricsError};

/// A metric with more series than this, or a label with more values, gets a remark.
const MANY: usize = 10;
/// How many values of a label are listed.
const EXAMPLES: usize = 3;
/// Suffixes of units that are not base units, and those of the base units that Prometheus recommends.
const OTHER_UNITS: [(&str, &str); 10] = [
    ("_milliseconds", "_seconds"),
    ("_ms", "_seconds"),
    ("_microseconds", "_seconds"),
    ("_nanoseconds", "_seconds"),
    ("_minutes", "_seconds"),
    ("_hours", "_seconds"),
    ("_kilobytes", "_bytes"),
    ("_megabytes", "_bytes"),
    ("_percent", "_ratio"),
    ("_celcius", "_celsius"),
];

/// The report on one metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricReport {
    /// Its name; for a histogram or summary without `_bucket`, `_sum` and `_count`.
    pub name: String,
    /// `counter`, `gauge` and so on; `untyped` where the source declares no type.
    pub kind: &'static str,
    /// The number of its series.
    pub series: usize,
    /// Its labels, sorted by name.
    pub labels: Vec<LabelReport>,
    /// Questions to its author.
    pub remarks: Vec<MetricRemark>,
}

/// The report on one label of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelReport {
    /// Its name.
    pub name: String,
    /// The number of its different values, without the empty one.
    pub values: usize,
    /// The first values, sorted.
    pub examples: Vec<String>,
    /// Why it may be sensitive, as a predicate that follows "it"; `None` where it is not.
    pub sensitive: Option<String>,
}

/// A question to the author of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRemark {
    /// The kind of question, for scripts: `sensitive`, `many-series`, `many-values`, `raw-counter`, `name`.
    pub kind: &'static str,
    /// The question, as a sentence.
    pub text: String,
}

/// Reports on the metrics in `body` (text or delimited protobuf), sorted by name. The UUID `cluster_id`, the cluster's own,
/// is not sensitive.
///
/// # Errors
/// [`MetricsError`] where `body` cannot be decoded.
pub fn report(body: &[u8], cluster_id: &str) -> Result<Vec<MetricReport>, MetricsError> {
    let arena = Arena::new();
    let mut set = SeriesSet::new_in(&arena);
    metrics::decode_detected(body, &mut set)?;
    let mut metrics: BTreeMap<&str, MetricUse<'_>> = BTreeMap::new();
    for series in set.iter() {
        let usage = metrics.entry(family(&series)).or_insert_with(|| MetricUse::new(series.kind));
        usage.series += 1;
        for label in series.labels.iter().filter(|label| label.name != NAME_LABEL && !label.value.is_empty()) {
            usage.labels.entry(label.name).or_default().insert(label.value);
        }
    }
    Ok(metrics.into_iter().map(|(name, usage)| usage.report(name, cluster_id)).collect())
}

/// The series and label values of one metric.
struct MetricUse<'a> {
    kind: MetricType,
    series: usize,
    labels: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl MetricUse<'_> {
    const fn new(kind: MetricType) -> Self {
        Self { kind, series: 0, labels: BTreeMap::new() }
    }

    /// The report on this metric: its labels with example values, and the questions that its name, its labels and their
    /// numbers raise. The UUID `cluster_id` is not sensitive.
    fn report(self, name: &str, cluster_id: &str) -> MetricReport {
        let kind = type_name(self.kind);
        let mut remarks = naming_remarks(name, kind);
        let mut remark = |kind, text| remarks.push(MetricRemark { kind, text });
        let labels: Vec<LabelReport> = self
            .labels
            .into_iter()
            .map(|(label, values)| {
                let sensitive = values.iter().find_map(|value| sensitive::label(label, value, cluster_id));
                LabelReport {
                    name: label.to_owned(),
                    values: values.len(),
                    examples: values.iter().take(EXAMPLES).map(|value| (*value).to_owned()).collect(),
                    sensitive: sensitive.map(|found| found.to_string()),
                }
            })
            .collect();
        let sensitive: Vec<&LabelReport> = labels.iter().filter(|label| label.sensitive.is_some()).collect();
        if !sensitive.is_empty() {
            let names: Vec<&str> = sensitive.iter().map(|label| label.name.as_str()).collect();
            remark(
                "sensitive",
                format!(
                    "{} may tell too much: aggregate it away in a recording rule, or have it hashed: --anonymize-labels {}",
                    names.join(", "),
                    names.join(",")
                ),
            );
        }
        for label in &labels {
            if label.values > MANY && !matches!(label.name.as_str(), "le" | "quantile") {
                remark(
                    "many-values",
                    format!("{} has {} values: does the vendor need each?", label.name, label.values),
                );
            }
        }
        if self.series > MANY {
            remark(
                "many-series",
                format!("{} series of one cluster, over {MANY}: every cluster of the fleet sends as many", self.series),
            );
        }
        MetricReport { name: name.to_owned(), kind, series: self.series, labels, remarks }
    }
}

/// The name of the metric that a series belongs to.
fn family<'a>(series: &Series<'_, 'a>) -> &'a str {
    let name = series.name();
    let ends: &[&str] = match series.kind {
        MetricType::Histogram | MetricType::GaugeHistogram => &["_bucket", "_sum", "_count"],
        MetricType::Summary => &["_sum", "_count"],
        _ => &[],
    };
    ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// The name of the type in the report.
const fn type_name(kind: MetricType) -> &'static str {
    match kind {
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Histogram => "histogram",
        MetricType::Summary => "summary",
        MetricType::GaugeHistogram => "gauge histogram",
        MetricType::Untyped => "untyped",
    }
}

/// Remarks on a metric name that does not follow the conventions.
///
/// Source: <https://prometheus.io/docs/practices/naming/>, <https://prometheus.io/docs/practices/rules/>.
fn naming_remarks(name: &str, kind: &str) -> Vec<MetricRemark> {
    let mut remarks = Vec::new();
    let mut remark = |kind, text: String| remarks.push(MetricRemark { kind, text });
    let is_rule = name.contains(':');
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if let Some(problem) = sensitive::recording_rule_name(name) {
        remark("name", format!("{problem}, as in cluster:requests:rate5m"));
    }
    let counts = kind == "counter" || kind == "untyped" && ends(&["_total", "_bucket", "_count", "_sum"]);
    if counts && !is_rule {
        remark(
            "raw-counter",
            format!(
                "a counter, sent as it is scraped: from one report in 4m30s little can be told of it; send its rate, by a \
                 recording rule (cluster:{}:rate5m)",
                name.trim_end_matches("_total")
            ),
        );
    }
    if kind == "histogram" && !is_rule {
        remark(
            "raw-counter",
            "a histogram, sent with all its buckets: send a quantile or a mean, by a recording rule".into(),
        );
    }
    if kind == "counter" && !is_rule && !name.ends_with("_total") {
        remark("name", "a counter's name ends with _total".to_owned());
    }
    if kind == "gauge" && !is_rule && name.ends_with("_total") {
        remark("name", "the name ends with _total, as a counter's does, and it is a gauge".to_owned());
    }
    if !is_rule
        && let Some((_, base)) = OTHER_UNITS.iter().find(|(unit, _)| name.trim_end_matches("_total").ends_with(unit))
    {
        remark("name", format!("not in a base unit: its name should end with {base}"));
    }
    if name.contains(|char: char| char.is_ascii_uppercase()) && !matches!(name, "ALERTS" | "ALERTS_FOR_STATE") {
        remark("name", "names of metrics are written in lower case".to_owned());
    }
    remarks
}
