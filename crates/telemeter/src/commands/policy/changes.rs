//! The flags that change a series after the rules have selected it: the client's, and the server's `--elide-label`.

use clap::Args;
use telemeter_client::config::Credential;
use telemeter_http::file;
use telemeter_policy::{Anonymized, ClientChanges};

use crate::{
    failure::RunFailure,
    flags::{
        list::{self, Separation},
        relabel::{RelabelFlags, SaltFlags},
        value,
    },
};

/// Flags with the names and meanings that they have at the client and the server.
#[derive(Args, Debug)]
pub(super) struct ChangeFlags {
    #[command(flatten)]
    relabel: RelabelFlags,

    #[command(flatten)]
    salt: SaltFlags,

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
    /// The changes that the flags name. Reads the file of the salt.
    pub(super) fn changes(self) -> Result<ClientChanges, RunFailure> {
        let salt = match self.salt.credential() {
            None => Vec::new(),
            Some(Credential::Value(salt)) => salt.expose().as_bytes().to_vec(),
            Some(Credential::File(path)) => file::read_text(&path, file::SMALL)?.trim().as_bytes().to_vec(),
        };
        let anonymized = self.relabel.named_labels()?;
        let partition = list::label_name("--partition-label", self.partition_label)?;
        let id = value::unless_empty(self.id).map(|id| (partition, id));
        Ok(ClientChanges {
            labels: self.relabel.labels()?,
            renames: self.relabel.renames()?,
            anonymized: Anonymized { labels: anonymized, salt },
            elided: list::label_names("--elide-label", Separation::Repeated, &self.elide_label)?,
            identity: id.into_iter().collect(),
        })
    }
}

/// A note that the hashes shown are not those of a client, where no salt was given; `None` where nothing is hashed.
pub(super) fn missing_salt_note(changes: &ClientChanges) -> Option<&'static str> {
    let is_example = !changes.anonymized.labels.is_empty() && changes.anonymized.salt.is_empty();
    is_example.then_some("No salt was given: the hashes are only an example.")
}
