//! The steps that a client applies to each series before it uploads them.

use crate::{
    transform::Transform,
    transforms::{anonymize::Anonymize, federate_samples::DropInvalid, label::SetLabels, rename::Rename},
};

/// The steps that the client's configuration defines.
#[derive(Clone)]
pub struct UploadSteps {
    labels: SetLabels,
    rename: Rename,
    anonymize: Anonymize,
}

impl UploadSteps {
    /// `labels` are names and values, `renames` old and new metric names.
    #[must_use]
    pub fn new(labels: Vec<(String, String)>, renames: Vec<(String, String)>, anonymize: Anonymize) -> Self {
        Self { labels: SetLabels::new(labels), rename: Rename::new(renames), anonymize }
    }

    /// All steps, in their order: `--label`, `--rename`, `drop_invalid`, `--anonymize-labels`, and `identity`, the labels
    /// that `/authorize` returned. None of them refuses a request.
    #[must_use]
    pub fn steps<'a>(&'a self, drop_invalid: &'a DropInvalid, identity: &'a SetLabels) -> [&'a dyn Transform; 5] {
        [&self.labels, &self.rename, drop_invalid, &self.anonymize, identity]
    }
}
