//! What a client does to each series before it is uploaded.

use crate::{
    transform::Transform,
    transforms::{anonymize::Anonymize, federate_samples::DropInvalid, label::SetLabels, rename::Rename},
};

/// The steps that the configuration asks for.
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

    /// All steps, in their order: `--label`, `--rename`, what is invalid, `--anonymize-labels`, and what the grant says of
    /// the sender. None of them refuses a request.
    #[must_use]
    pub fn steps<'a>(&'a self, invalid: &'a DropInvalid, granted: &'a SetLabels) -> [&'a dyn Transform; 5] {
        [&self.labels, &self.rename, invalid, &self.anonymize, granted]
    }
}
