//! The changes to a series that the rules allow: the client's steps, and the server's `--elide-label`.

use telemeter_rules::{
    StepCounts, Transform,
    policy::NormalizedSelector,
    transforms::{anonymize::Anonymize, elide::Elide, federate_samples::DropInvalid, label::SetLabels},
    upload::UploadSteps,
};
use telemeter_wire::{Arena, Points, Sample, Series, SeriesSet};

/// The changes, as the flags define them.
#[derive(Clone, Debug, Default)]
pub struct ClientChanges {
    /// `--label`: names and values.
    pub labels: Vec<(String, String)>,
    /// `--rename`: old and new metric names.
    pub renames: Vec<(String, String)>,
    /// `--anonymize-labels` and the salt.
    pub anonymized: Anonymized,
    /// `--elide-label`.
    pub elided: Vec<String>,
    /// The labels that `/authorize` returns with the access token: names and values.
    pub identity: Vec<(String, String)>,
}

/// Labels whose values are hashed.
#[derive(Clone, Default)]
pub struct Anonymized {
    /// The names of the labels.
    pub labels: Vec<String>,
    /// The salt, without which values could be guessed. If it is empty, the hashes are only examples.
    pub salt: Vec<u8>,
}

impl std::fmt::Debug for Anonymized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Anonymized").field("labels", &self.labels).finish_non_exhaustive()
    }
}

/// The steps for these changes.
pub(crate) struct ClientSteps {
    upload: UploadSteps,
    drop_invalid: DropInvalid,
    identity: SetLabels,
    elide: Elide,
}

impl ClientSteps {
    pub(crate) fn new(changes: &ClientChanges) -> Self {
        let anonymize = Anonymize::new(changes.anonymized.labels.clone(), &changes.anonymized.salt);
        Self {
            upload: UploadSteps::new(changes.labels.clone(), changes.renames.clone(), anonymize),
            // The time of samples is not checked: metrics in a file may have none, or old ones.
            drop_invalid: DropInvalid::new(i64::MIN),
            identity: SetLabels::new(changes.identity.iter().cloned()),
            elide: Elide::new(changes.elided.iter().cloned()),
        }
    }

    /// Calls `read` with the series as the client sends it; `None` where the client drops it.
    pub(crate) fn with_sent<T>(&self, series: &Series<'_, '_>, read: impl FnOnce(&Series<'_, '_>) -> T) -> Option<T> {
        self.apply_steps(series, &self.upload.steps(&self.drop_invalid, &self.identity), read)
    }

    /// Calls `read` with the series as the server stores it, without elided labels; `None` where the client drops it.
    pub(crate) fn with_stored<T>(&self, series: &Series<'_, '_>, read: impl FnOnce(&Series<'_, '_>) -> T) -> Option<T> {
        let upload = self.upload.steps(&self.drop_invalid, &self.identity);
        let steps: Vec<&dyn Transform> = upload.into_iter().chain([&self.elide as &dyn Transform]).collect();
        self.apply_steps(series, &steps, read)
    }

    /// Runs `steps` on the series with one made-up sample, and calls `read` with the result; `None` where a step drops
    /// the series.
    fn apply_steps<T>(
        &self,
        series: &Series<'_, '_>,
        steps: &[&dyn Transform],
        read: impl FnOnce(&Series<'_, '_>) -> T,
    ) -> Option<T> {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let points = Points::Sample(Sample { value: 1.0, timestamp_ms: Some(0) });
        set.push(series.labels, series.kind, points);
        telemeter_rules::run(&mut set, steps, &mut StepCounts::default())
            .expect("none of these steps refuses a request");
        (!set.is_empty()).then(|| read(&set.at(0)))
    }
}

/// Updates a selector for the client's steps: afterwards it selects at least all series that it selected, as they are sent.
pub(crate) fn apply_to_rule(rule: &mut NormalizedSelector, changes: &ClientChanges) {
    for (name, value) in &changes.labels {
        rule.set_label(name, value);
    }
    rule.rename(&changes.renames);
    for name in &changes.anonymized.labels {
        rule.forget_label(name);
    }
    for (name, value) in &changes.identity {
        rule.set_label(name, value);
    }
}
