//! Fleet labels: the values of chosen labels of a cluster's own series, like its version.

use telemeter_fleet::MAX_LABELS;
use telemeter_rules::{Op, Selector};
use telemeter_wire::{
    Points, SeriesSet,
    series::{NAME_LABEL, is_label_name},
};

/// `NAME=SELECTOR/LABEL`: under a name, the value of a label of the series that a selector matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetLabel {
    name: String,
    metric: String,
    selector: Selector,
    label: String,
}

const FORM: &str = r#"a fleet label is NAME=SELECTOR/LABEL, like version=cluster_version{type="current"}/version"#;

impl FleetLabel {
    /// Reads `NAME=SELECTOR/LABEL`. The selector names its metric: it is found by that.
    ///
    /// # Errors
    /// What is wrong, and how a right one looks.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or_else(|| format!("has no `=`: {FORM}"))?;
        let (selector, label) = rest.rsplit_once('/').ok_or_else(|| format!("has no `/`: {FORM}"))?;
        let (name, label) = (name.trim(), label.trim());
        for (what, text) in [("name", name), ("label", label)] {
            if !is_label_name(text) || text.starts_with("__") {
                return Err(format!("has the {what} {text:?}, which is no label name: {FORM}"));
            }
        }
        let selector =
            Selector::parse(selector.trim()).map_err(|error| format!("has a bad selector: {error}; {FORM}"))?;
        let is_metric = |matcher: &&telemeter_rules::Matcher| matcher.name() == NAME_LABEL && matcher.op() == Op::Equal;
        let metric = selector.matchers().iter().find(is_metric).map(|matcher| matcher.value().to_owned());
        let metric = metric.ok_or_else(|| format!("has a selector that names no metric: {FORM}"))?;
        Ok(Self { name: name.to_owned(), metric, selector, label: label.to_owned() })
    }

    /// The name that its value is shown under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Finds the values of all fleet labels in the series of a report.
#[derive(Debug, Default)]
pub struct FleetLabels {
    labels: Vec<FleetLabel>,
    /// A bit for each length of their metric names: most series have a name of another length, and need no comparison.
    lengths: u128,
}

/// What the series of a report hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed<'a> {
    /// Samples, native histograms among them.
    pub samples: u64,
    /// The time of the newest sample, in milliseconds since 1970.
    pub newest_ms: Option<i64>,
    /// The values of the fleet labels, in their order.
    pub labels: [Option<&'a str>; MAX_LABELS],
}

impl FleetLabels {
    /// Finds these labels; more than [`MAX_LABELS`] are ignored.
    #[must_use]
    pub fn new(mut labels: Vec<FleetLabel>) -> Self {
        labels.truncate(MAX_LABELS);
        let lengths = labels.iter().fold(0, |bits, label| bits | bit(label.metric.len()));
        Self { labels, lengths }
    }

    /// Their names.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.labels.iter().map(FleetLabel::name)
    }

    /// Observes series that passed the rules. Of a label that several series have, the last value counts.
    #[must_use]
    pub fn observe<'a>(&self, set: &SeriesSet<'a>) -> Observed<'a> {
        let mut observed = Observed::default();
        for series in set.iter() {
            match series.points {
                Points::Sample(sample) => {
                    observed.samples += 1;
                    observed.newest_ms = observed.newest_ms.max(sample.timestamp_ms);
                }
                Points::Histogram(histogram) => {
                    observed.samples += 1;
                    observed.newest_ms = observed.newest_ms.max(histogram.timestamp_ms);
                }
                Points::Encoded(encoded) => {
                    observed.samples += u64::from(encoded.samples);
                    observed.newest_ms = observed.newest_ms.max(encoded.newest_ms);
                }
                Points::Absent => {}
            }
            if self.lengths == 0 {
                continue;
            }
            let name = series.name();
            if self.lengths & bit(name.len()) == 0 {
                continue;
            }
            for (label, value) in self.labels.iter().zip(&mut observed.labels) {
                if label.metric == name && label.selector.matches(series.labels) {
                    *value = series.label(&label.label).filter(|value| !value.is_empty()).or(*value);
                }
            }
        }
        observed
    }
}

fn bit(length: usize) -> u128 {
    1 << length.min(127)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use telemeter_wire::{Arena, DecodeLimits, exposition};

    use super::*;

    #[test]
    fn what_a_fleet_label_looks_like() {
        let version = FleetLabel::parse(r#"version=cluster_version{type="current"}/version"#).unwrap();
        assert_eq!(
            (version.name(), version.metric.as_str(), version.label.as_str()),
            ("version", "cluster_version", "version")
        );
        let slash = FleetLabel::parse(r#" url = {__name__="a",b="c/d=e"} / f "#).unwrap();
        assert_eq!((slash.name(), slash.metric.as_str(), slash.label.as_str()), ("url", "a", "f"));
        for (text, problem) in [
            ("version", "no `=`"),
            ("version=cluster_version", "no `/`"),
            ("a b=cluster_version/version", "no label name"),
            ("=cluster_version/version", "no label name"),
            ("__a=cluster_version/version", "no label name"),
            ("version=cluster_version/", "no label name"),
            ("version=cluster_version{/version", "bad selector"),
            (r#"version={a="b"}/version"#, "names no metric"),
            (r#"version={__name__=~"cluster_.*"}/version"#, "names no metric"),
        ] {
            let error = FleetLabel::parse(text).unwrap_err();
            assert!(error.contains(problem) && error.contains("NAME=SELECTOR/LABEL"), "{text}: {error}");
        }
    }

    #[test]
    fn samples_times_and_labels_of_a_report() {
        let texts = [
            r#"version=cluster_version{type="current"}/version"#,
            "provider=cluster_infrastructure_provider/type",
            "absent=cluster_version/nothing",
        ];
        let labels = FleetLabels::new(texts.iter().map(|text| FleetLabel::parse(text).unwrap()).collect());
        let observe = |text: &str| {
            let arena = Arena::new();
            let mut set = SeriesSet::new_in(&arena);
            exposition::decode(exposition::ExpositionFormat::Text, text.as_bytes(), &DecodeLimits::default(), &mut set)
                .unwrap();
            let seen = labels.observe(&set);
            let owned = seen.labels.map(|value| value.map(str::to_owned));
            (seen.samples, seen.newest_ms, owned[0].clone(), owned[1].clone(), owned[2].clone())
        };
        let text = "cluster_version{type=\"failure\",version=\"3\"} 1 7\n\
                    cluster_version{type=\"current\",version=\"4\"} 1 9\n\
                    cluster_infrastructure_provider{type=\"AWS\"} 1 8\nup 1\n";
        assert_eq!(observe(text), (4, Some(9), Some("4".to_owned()), Some("AWS".to_owned()), None));
        assert_eq!(observe("cluster_version{type=\"current\",version=\"\"} 1\n"), (1, None, None, None, None));
        assert_eq!(observe(""), (0, None, None, None, None));
    }
}
