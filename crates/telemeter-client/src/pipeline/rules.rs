//! Applies the rules to the series of a scrape, in this order: filter by `--match`, `--label`, `--rename`, drop invalid
//! samples, `--anonymize-labels`, and the labels that the server requires.

use telemeter_rules::{
    StepCounts, Transform,
    transforms::{anonymize::Anonymize, federate_samples::DropInvalid, label::SetLabels, requested::FilterRequested},
    upload::UploadSteps,
};
use telemeter_wire::SeriesSet;

use super::watch::{SeriesWatch, WatchPoints};
use crate::{
    config::Config,
    credential::{self, CredentialError},
    matches::{RequestedFilter, Selectors},
};

/// Samples older than this, in milliseconds, are dropped: a server refuses the whole upload because of them.
const OLDEST_MS: i64 = 24 * 60 * 60 * 1000;

/// The steps that depend only on the configuration.
pub(crate) struct ClientRules {
    asked: RequestedFilter,
    upload: UploadSteps,
}

/// The steps that differ from cycle to cycle: the filter by `--match`, the oldest time of a sample, and the labels that
/// the server requires.
pub(crate) struct CycleRules<'r> {
    requested: Option<FilterRequested<'r>>,
    recent: DropInvalid,
    required_labels: SetLabels,
    watch: Option<[WatchPoints<'r>; 2]>,
}

impl<'r> CycleRules<'r> {
    pub(crate) fn new(
        rules: &'r ClientRules,
        now_ms: i64,
        required_labels: &[(String, String)],
        watch: Option<&'r dyn SeriesWatch>,
    ) -> Self {
        let RequestedFilter { requested, is_enforced } = &rules.asked;
        Self {
            requested: requested.as_ref().map(|requested| requested.filter(*is_enforced)),
            recent: DropInvalid::new(now_ms.saturating_sub(OLDEST_MS)),
            required_labels: SetLabels::new(required_labels.iter().cloned()),
            watch: watch.map(|watch| [WatchPoints::Scraped(watch), WatchPoints::Left(watch)]),
        }
    }

    /// Prepares the filter by `--match` for a piece of the scrape, before the steps are applied to its series.
    pub(crate) fn begin_piece(&mut self, set: &SeriesSet<'_>) {
        if let Some(requested) = &mut self.requested {
            requested.begin_part(set);
        }
    }
}

impl ClientRules {
    /// Reads the salt of `--anonymize-labels` from its file.
    pub(crate) fn new(config: &Config, selectors: &Selectors) -> Result<Self, CredentialError> {
        let anonymize = match &config.anonymize {
            Some(told) => Anonymize::new(told.labels.clone(), credential::read(&told.salt)?.expose().as_bytes()),
            None => Anonymize::new([], b""),
        };
        let upload = UploadSteps::new(config.labels.clone(), config.renames.clone(), anonymize);
        Ok(Self { asked: selectors.requested_filter(), upload })
    }

    /// Changes and drops series of a scrape, which are in order of time already.
    pub(crate) fn apply<'a>(&'a self, cycle: &'a CycleRules<'_>, set: &mut SeriesSet<'a>, report: &mut StepCounts) {
        let CycleRules { requested, recent, required_labels, watch } = cycle;
        let [labels, rename, recent, anonymize, required_labels] = self.upload.steps(recent, required_labels);
        let run = |set: &mut SeriesSet<'a>, steps: &[&'a dyn Transform], report: &mut StepCounts| {
            telemeter_rules::run(set, steps, report)
                .expect("none of these steps refuses a request: they change or drop a series");
        };
        match (requested, watch) {
            (Some(requested), None) => {
                run(set, &[requested, labels, rename, recent, anonymize, required_labels], report)
            }
            (None, None) => run(set, &[labels, rename, recent, anonymize, required_labels], report),
            (requested, Some([scraped, left])) => {
                let requested = requested.iter().map(|step| step as &dyn Transform);
                let others = [labels, rename, recent, anonymize, required_labels, left];
                let steps: Vec<_> = std::iter::once(scraped as &dyn Transform).chain(requested).chain(others).collect();
                run(set, &steps, report);
            }
        }
    }
}
