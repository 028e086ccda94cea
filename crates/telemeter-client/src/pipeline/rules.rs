//! The steps a scrape goes through, in this order: `--label`, `--rename`, what is invalid, `--anonymize-labels`, and
//! the labels of the grant.

use telemeter_rules::{
    Report,
    transforms::{anonymize::Anonymize, federate_samples::DropInvalid, label::SetLabels, rename::Rename},
};
use telemeter_wire::SeriesSet;

use crate::{
    config::Config,
    credential::{self, CredentialError},
};

/// Samples older than this are dropped: a server refuses the whole upload for them.
const OLDEST_MS: i64 = 24 * 60 * 60 * 1000;

/// What the configuration says of each series.
pub(crate) struct Rules {
    labels: SetLabels,
    rename: Rename,
    anonymize: Anonymize,
}

/// What one cycle adds: the time it began, and its grant.
pub(crate) struct Occasion {
    recent: DropInvalid,
    granted: SetLabels,
}

impl Occasion {
    pub(crate) fn new(now_ms: i64, granted: &[(String, String)]) -> Self {
        let granted = SetLabels::new(granted.iter().cloned());
        Self { recent: DropInvalid::new(now_ms.saturating_sub(OLDEST_MS)), granted }
    }
}

impl Rules {
    /// Reads the file of the salt.
    pub(crate) fn new(config: &Config) -> Result<Self, CredentialError> {
        let anonymize = match &config.anonymize {
            Some(told) => Anonymize::new(told.labels.clone(), credential::read(&told.salt)?.expose().as_bytes()),
            None => Anonymize::new([], b""),
        };
        let labels = SetLabels::new(config.labels.iter().cloned());
        Ok(Self { labels, rename: Rename::new(config.renames.iter().cloned()), anonymize })
    }

    /// Changes and drops series of a scrape. They stand in order of time already.
    pub(crate) fn apply<'a>(&'a self, occasion: &'a Occasion, set: &mut SeriesSet<'a>) {
        let Self { labels, rename, anonymize } = self;
        let steps =
            [labels, rename, &occasion.recent, anonymize, &occasion.granted] as [&'a dyn telemeter_rules::Transform; 5];
        telemeter_rules::run(set, &steps, &mut Report::default())
            .expect("none of these steps refuses a request: they change or drop a series");
    }
}
