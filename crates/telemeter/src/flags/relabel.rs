//! Flags that change series: labels set, metrics renamed, label values hashed. The client, the quickstart and `policy`
//! have them in common.

use std::ffi::OsString;

use clap::Args;
use telemeter_auth::Secret;
use telemeter_client::config::Credential;

use super::{
    list::{self, Separation},
    target,
    value::{self, FlagError},
};

/// Which labels are set, which metrics are renamed, and which labels' values are hashed.
#[derive(Args, Debug)]
pub(crate) struct RelabelFlags {
    /// A label that every series gets, over its own. Comma-separated or repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,

    /// A metric's name and the one it is sent under. Comma-separated or repeated; a lone comma: none.
    #[arg(long, value_name = "OLD=NEW", default_value = DEFAULT_RENAME)]
    rename: Vec<String>,

    /// A label whose values are sent as salted hashes. Comma-separated or repeated; empty: none.
    #[arg(long, value_name = "NAME")]
    anonymize_labels: Vec<String>,
}

/// The salt of hashed label values.
#[derive(Args, Debug)]
pub(crate) struct SaltFlags {
    /// What keeps hashed values from being guessed.
    #[arg(long, value_name = "SALT", value_parser = value::secret)]
    pub(super) anonymize_salt: Option<Secret>,

    /// File with what keeps hashed values from being guessed. --anonymize-salt goes before it.
    #[arg(long, value_name = "FILE")]
    pub(super) anonymize_salt_file: Option<OsString>,
}

const DEFAULT_RENAME: &str = "ALERTS=alerts";
const ANONYMIZE: &str = "--anonymize-labels";

impl RelabelFlags {
    /// The labels of `--label`, name and value.
    pub(crate) fn labels(&self) -> Result<Vec<(String, String)>, FlagError> {
        list::label_pairs("--label", &self.label, &["__name__"])
    }

    /// The metrics of `--rename`, old and new name.
    pub(crate) fn renames(&self) -> Result<Vec<(String, String)>, FlagError> {
        list::renames("--rename", &self.rename, DEFAULT_RENAME)
    }

    /// The distinct label names of `--anonymize-labels`, in order; `__name__` may be among them. An error where one is no label name.
    pub(crate) fn named_labels(&self) -> Result<Vec<String>, FlagError> {
        list::label_names(ANONYMIZE, Separation::Commas, &self.anonymize_labels)
    }

    /// The same; an error where `__name__` is among them, since a client does not hash metric names.
    pub(super) fn anonymize_labels(&self) -> Result<Vec<String>, FlagError> {
        let labels = self.named_labels()?;
        if labels.iter().any(|name| name == "__name__") {
            return Err(FlagError::value(ANONYMIZE, "cannot be __name__: nobody could tell what a hashed metric is"));
        }
        Ok(labels)
    }

    /// Warnings about labels of `--anonymize-labels` that are probably a mistake.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> + use<> {
        let names = self.named_labels().unwrap_or_default();
        let doubts: Vec<_> = names.iter().filter_map(|name| likely_mistake(name, &names)).collect();
        doubts.into_iter().map(|why| format!("{ANONYMIZE}: {why}"))
    }
}

impl SaltFlags {
    /// The salt, or the file that holds it.
    pub(crate) fn credential(self) -> Option<Credential> {
        target::credential(self.anonymize_salt, self.anonymize_salt_file)
    }
}

/// Labels that most series of a cluster have, and that say where they come from.
const WELL_KNOWN: [&str; 9] =
    ["instance", "job", "pod", "namespace", "node", "container", "service", "endpoint", "prometheus"];

/// Why a label to be hashed is probably a mistake, for example `Instance` in place of `instance`.
fn likely_mistake(name: &str, names: &[String]) -> Option<String> {
    let other = name.to_ascii_lowercase();
    if other != name && WELL_KNOWN.contains(&other.as_str()) && !names.contains(&other) {
        return Some(format!(
            "{name} is not {other}, whose values are sent in clear: upper case counts in a label name"
        ));
    }
    match name {
        "_id" => Some("the server says what _id is after the hashing: it is sent in clear".to_owned()),
        "le" | "quantile" => Some(format!("without the values of {name} nobody can read a histogram or summary")),
        _ if name.starts_with("__") => {
            Some(format!("no series has {name}: Prometheus keeps no label that begins with __"))
        }
        _ => None,
    }
}
