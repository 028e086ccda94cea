//! What becomes of a series that the rules let pass: the client's own steps, and the server's `--elide-label`.

use telemeter_rules::{
    StepCounts, Transform,
    policy::NormalizedSelector,
    transforms::{anonymize::Anonymize, elide::Elide, federate_samples::DropInvalid, label::SetLabels},
    upload::UploadSteps,
};
use telemeter_wire::{Arena, Points, Sample, Series, SeriesSet};

/// What is changed on the way, as the flags say it.
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
    /// What the grant says of the sender: names and values.
    pub identity: Vec<(String, String)>,
}

/// Labels whose values are hashed.
#[derive(Clone, Default)]
pub struct Anonymized {
    /// Their names.
    pub labels: Vec<String>,
    /// What keeps the values from being guessed. Empty: the hashes are only an example.
    pub salt: Vec<u8>,
}

impl std::fmt::Debug for Anonymized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Anonymized").field("labels", &self.labels).finish_non_exhaustive()
    }
}

/// The steps, ready to be taken.
pub(crate) struct ClientSteps {
    upload: UploadSteps,
    invalid: DropInvalid,
    granted: SetLabels,
    elide: Elide,
}

impl ClientSteps {
    pub(crate) fn new(changes: &ClientChanges) -> Self {
        let anonymize = Anonymize::new(changes.anonymized.labels.clone(), &changes.anonymized.salt);
        Self {
            upload: UploadSteps::new(changes.labels.clone(), changes.renames.clone(), anonymize),
            // Times are not looked at: metrics at hand may have none, or old ones.
            invalid: DropInvalid::new(i64::MIN),
            granted: SetLabels::new(changes.identity.iter().cloned()),
            elide: Elide::new(changes.elided.iter().cloned()),
        }
    }

    /// Takes one series through the client's steps; `None` where it is left out.
    pub(crate) fn sent<T>(&self, series: &Series<'_, '_>, look: impl FnOnce(&Series<'_, '_>) -> T) -> Option<T> {
        self.through(series, &self.upload.steps(&self.invalid, &self.granted), look)
    }

    /// The same, and what the server takes away.
    pub(crate) fn stored<T>(&self, series: &Series<'_, '_>, look: impl FnOnce(&Series<'_, '_>) -> T) -> Option<T> {
        let upload = self.upload.steps(&self.invalid, &self.granted);
        let steps: Vec<&dyn Transform> = upload.into_iter().chain([&self.elide as &dyn Transform]).collect();
        self.through(series, &steps, look)
    }

    fn through<T>(
        &self,
        series: &Series<'_, '_>,
        steps: &[&dyn Transform],
        look: impl FnOnce(&Series<'_, '_>) -> T,
    ) -> Option<T> {
        let arena = Arena::new();
        let mut set = SeriesSet::new_in(&arena);
        let points = Points::Sample(Sample { value: 1.0, timestamp_ms: Some(0) });
        set.push(series.labels, series.kind, points);
        telemeter_rules::run(&mut set, steps, &mut StepCounts::default())
            .expect("none of these steps refuses a request");
        (!set.is_empty()).then(|| look(&set.at(0)))
    }
}

/// What a selector is worth behind the client's steps: it selects at least what is left of its series.
pub(crate) fn of_rule(rule: &mut NormalizedSelector, changes: &ClientChanges) {
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
