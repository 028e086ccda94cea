//! The flags that say what becomes of a series behind the rules: the client's, and the server's `--elide-label`.

use std::ffi::OsString;

use clap::Args;
use telemeter_auth::Secret;
use telemeter_client::config::Credential;
use telemeter_http::file;
use telemeter_policy::{Anonymized, ClientChanges};

use crate::{
    flags::{
        client::DEFAULT_RENAME,
        list::{self, Separation},
        target, value,
    },
    run::RunFailure,
};

/// The same names and meanings as at the client and the server.
#[derive(Args, Debug)]
pub(super) struct ChangeFlags {
    /// A label that every series gets, over its own. Comma-separated or repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,

    /// A metric's name and the one it is sent under. Comma-separated or repeated; a lone comma: none.
    #[arg(long, value_name = "OLD=NEW", default_value = DEFAULT_RENAME)]
    rename: Vec<String>,

    /// A label whose values are sent as salted hashes. Comma-separated or repeated; empty: none.
    #[arg(long, value_name = "NAME")]
    anonymize_labels: Vec<String>,

    /// What keeps hashed values from being guessed. Without any, hashes are only an example.
    #[arg(long, value_name = "SALT", value_parser = value::secret)]
    anonymize_salt: Option<Secret>,

    /// File with what keeps hashed values from being guessed. --anonymize-salt goes before it.
    #[arg(long, value_name = "FILE")]
    anonymize_salt_file: Option<OsString>,

    /// A label that the server takes off every series. Repeated, once per label.
    #[arg(long, visible_alias = "elide", value_name = "NAME")]
    elide_label: Vec<String>,

    /// The cluster's ID, as the label that says who sends. Empty: none.
    #[arg(long, value_name = "ID")]
    id: Option<String>,

    /// The label that says who sends.
    #[arg(long, value_name = "NAME", default_value = "_id")]
    partition_label: String,
}

impl ChangeFlags {
    /// What was meant.
    pub(super) fn changes(self) -> Result<ClientChanges, RunFailure> {
        let salt = match target::credential(self.anonymize_salt, self.anonymize_salt_file) {
            None => Vec::new(),
            Some(Credential::Value(salt)) => salt.expose().as_bytes().to_vec(),
            Some(Credential::File(path)) => file::read_text(&path, file::SMALL)?.trim().as_bytes().to_vec(),
        };
        let anonymized = list::label_names("--anonymize-labels", Separation::Commas, &self.anonymize_labels)?;
        let partition = list::label_name("--partition-label", self.partition_label)?;
        let id = value::given(self.id).map(|id| (partition, id));
        Ok(ClientChanges {
            labels: list::label_pairs("--label", &self.label, &["__name__"])?,
            renames: list::renames("--rename", &self.rename, DEFAULT_RENAME)?,
            anonymized: Anonymized { labels: anonymized, salt },
            elided: list::label_names("--elide-label", Separation::Repeated, &self.elide_label)?,
            identity: id.into_iter().collect(),
        })
    }
}

/// What to say of hashes that nobody will see in this form; `None` where there are none.
pub(super) fn about_hashes(changes: &ClientChanges) -> Option<&'static str> {
    let is_example = !changes.anonymized.labels.is_empty() && changes.anonymized.salt.is_empty();
    is_example.then_some("No salt was given: the hashes are only an example.")
}
