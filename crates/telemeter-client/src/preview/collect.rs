//! Watches each series before and after the rules, and counts for the preview: by metric, selector and reason.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use parking_lot::Mutex;
use telemeter_http::client::bare_url;
use telemeter_rules::{
    Selector, StepCounts,
    transforms::{anonymize::Anonymize, requested::Requested},
};
use telemeter_wire::{Label, Series};

use super::{
    AddedLabel, LabelUse, LeftOutMetrics, LeftOutReason, Preview, PreviewMetric, PreviewOptions, PreviewTotals,
    SelectorUse, warnings,
};
use crate::{
    config::Config,
    matches::Selectors,
    pipeline::{Packed, SeriesWatch},
    summary::{SummarySettings, UploadSummary},
};

/// Counts series while a scrape goes through the rules.
pub(super) struct PreviewCollector<'c> {
    selectors: &'c Selectors,
    /// Each selector on its own, compiled; `None` where it cannot be parsed.
    compiled: Vec<Option<Requested>>,
    settings: CollectorSettings,
    counts: Mutex<SeriesCounts>,
    hasher: RandomState,
}

/// The values that [`SummarySettings`] borrows.
struct CollectorSettings {
    anonymize: Anonymize,
    cluster_id: String,
    server_labels: Vec<String>,
}

#[derive(Default)]
struct SeriesCounts {
    /// The series that entered the rules last, until it is known whether they kept it.
    pending: Option<Pending>,
    /// Metrics that would be sent, by the name that they are sent under.
    sent: HashMap<String, SentMetric>,
    left_out: BTreeMap<LeftOutReason, BTreeMap<String, usize>>,
    selector_series: Vec<usize>,
    labels: HashSet<u64>,
    duplicates: usize,
}

struct Pending {
    name: String,
    selectors: Vec<usize>,
    /// Selectors that would name it with a label that a later step adds.
    maybe: Vec<usize>,
    before: StepCounts,
}

/// Which names and selectors a metric comes from.
#[derive(Default)]
struct SentMetric {
    scraped_as: BTreeSet<String>,
    selectors: BTreeSet<usize>,
}

impl<'c> PreviewCollector<'c> {
    pub(super) fn new(config: &Config, selectors: &'c Selectors, server_labels: &[(String, String)]) -> Self {
        let compile = |text: &str| Selector::parse(text).ok().map(|selector| Requested::new(&[selector]));
        let compiled: Vec<_> = selectors.texts().map(compile).collect();
        let hashed = config.anonymize.as_ref().map(|anonymize| anonymize.labels.clone()).unwrap_or_default();
        let settings = CollectorSettings {
            // No salt is needed: the values are hashed already.
            anonymize: Anonymize::new(hashed, b""),
            cluster_id: config.id.clone(),
            server_labels: server_labels.iter().map(|(name, _)| name.clone()).collect(),
        };
        let counts = SeriesCounts { selector_series: vec![0; compiled.len()], ..SeriesCounts::default() };
        Self { selectors, compiled, settings, counts: Mutex::new(counts), hasher: RandomState::new() }
    }

    /// Counts the series that the pipeline has just dropped, if there is one, under the reason that `after` tells: the
    /// count that is higher than before the series.
    fn count_dropped(counts: &mut SeriesCounts, after: &StepCounts) {
        let Some(Pending { name, before, .. }) = counts.pending.take() else { return };
        let reason = match () {
            () if after.filtered > before.filtered => LeftOutReason::Unrequested,
            () if after.untimed > before.untimed => LeftOutReason::NoTime,
            () if after.outdated > before.outdated => LeftOutReason::TooOld,
            () => LeftOutReason::Invalid,
        };
        *counts.left_out.entry(reason).or_default().entry(name).or_default() += 1;
    }

    /// Whether a series with the same labels was uploaded already; remembers these labels. Labels without a value do
    /// not count.
    fn is_duplicate(&self, counts: &mut SeriesCounts, series: &Series<'_, '_>) -> bool {
        let mut labels: Vec<Label<'_>> =
            series.labels.iter().filter(|label| !label.value.is_empty()).copied().collect();
        labels.sort_unstable();
        !counts.labels.insert(self.hasher.hash_one(&labels))
    }

    /// Makes the preview of all series that were counted.
    pub(super) fn finish(
        self,
        config: &Config,
        options: &PreviewOptions,
        server_labels: &[(String, String)],
        packed: Packed,
        now_ms: i64,
    ) -> Preview {
        let Self { selectors, settings, counts, .. } = self;
        let counts = counts.into_inner();
        let CollectorSettings { anonymize, cluster_id, server_labels: names } = &settings;
        let mut summary =
            UploadSummary::new(SummarySettings { anonymize, cluster_id, server_labels: names, max_values: usize::MAX });
        packed.for_each(|series| summary.add(series)).expect("what was packed can be unpacked");
        let metrics: Vec<PreviewMetric> = summary
            .metrics
            .iter()
            .map(|(name, metric)| {
                let sent = counts.sent.get(&**name);
                let mut labels: Vec<_> = metric.labels.iter().map(LabelUse::of).collect();
                labels.sort_unstable_by(|one, other| one.name.cmp(&other.name));
                PreviewMetric {
                    name: name.to_string(),
                    scraped_as: sent.and_then(|sent| sent.scraped_as.iter().find(|old| **old != **name).cloned()),
                    series: metric.series,
                    bytes: metric.bytes,
                    selectors: sent.map(|sent| sent.selectors.iter().copied().collect()).unwrap_or_default(),
                    labels,
                }
            })
            .collect();
        let totals = PreviewTotals {
            scraped_series: packed.scraped,
            scraped_bytes: packed.scraped_bytes,
            limit_bytes: config.limit_bytes,
            metrics: metrics.len(),
            series: packed.kept,
            bytes: metrics.iter().map(|metric| metric.bytes).sum(),
            upload_bytes: packed.body.len(),
            duplicates: counts.duplicates,
        };
        let uses = selectors.selector_uses(&counts.selector_series);
        let left_out = counts.left_out.into_iter().map(|(reason, metrics)| LeftOutMetrics {
            reason,
            series: metrics.values().sum(),
            metrics,
        });
        let added = |by: &'static str| {
            move |(name, value): &(String, String)| AddedLabel { name: name.clone(), value: value.clone(), by }
        };
        let labels_from = if config.to.receive.is_some() { "--id" } else { "/authorize" };
        let added = config.labels.iter().map(added("--label")).chain(server_labels.iter().map(added(labels_from)));
        let mut preview = Preview {
            version: 1,
            source: bare_url(&config.from.url),
            metrics,
            totals,
            selectors: uses,
            left_out: left_out.collect(),
            added_labels: added.collect(),
            warnings: Vec::new(),
            packed,
        };
        preview.warnings = warnings::of(&preview, &summary, options, now_ms);
        preview
    }
}

impl SeriesWatch for PreviewCollector<'_> {
    fn scraped(&self, series: &Series<'_, '_>, report: &StepCounts) {
        let counts = &mut *self.counts.lock();
        Self::count_dropped(counts, report);
        let all = |names: fn(&Requested, &[Label<'_>]) -> bool| -> Vec<usize> {
            let compiled = self.compiled.iter().enumerate();
            compiled
                .filter(|(_, one)| one.as_ref().is_some_and(|one| names(one, series.labels)))
                .map(|(at, _)| at)
                .collect()
        };
        let selectors = all(Requested::matches);
        for at in &selectors {
            counts.selector_series[*at] += 1;
        }
        let maybe = if selectors.is_empty() { all(Requested::may_match) } else { Vec::new() };
        counts.pending = Some(Pending { name: series.name().to_owned(), selectors, maybe, before: *report });
    }

    fn left(&self, series: &Series<'_, '_>) {
        let counts = &mut *self.counts.lock();
        counts.duplicates += usize::from(self.is_duplicate(counts, series));
        let Some(Pending { name, selectors, maybe, .. }) = counts.pending.take() else { return };
        for at in &maybe {
            counts.selector_series[*at] += 1;
        }
        let sent = counts.sent.entry(series.name().to_owned()).or_default();
        sent.scraped_as.insert(name);
        sent.selectors.extend(selectors.into_iter().chain(maybe).map(|at| at + 1));
    }

    fn ended(&self, report: &StepCounts) {
        Self::count_dropped(&mut self.counts.lock(), report);
    }
}

impl Selectors {
    /// Pairs each selector, and its problem if it has one, with the number of series that it matched; `series` has the
    /// numbers in the order of the selectors.
    fn selector_uses(&self, series: &[usize]) -> Vec<SelectorUse> {
        let uses = self.with_problems().zip(series);
        uses.map(|((flag, text, problem), series)| SelectorUse {
            flag,
            selector: text.to_owned(),
            series: *series,
            problem,
        })
        .collect()
    }
}

impl LabelUse {
    /// The use of a label, from its summary.
    fn of(label: &crate::summary::LabelSummary) -> Self {
        Self { name: label.name.to_string(), values: label.values(), anonymized: label.is_anonymized }
    }
}
