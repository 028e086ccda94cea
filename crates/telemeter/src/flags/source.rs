//! The flags that say how a Prometheus is asked, for the client and for `telemeter policy report`.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;
use telemeter_auth::Secret;
use telemeter_client::config::Credential;

use super::{
    target,
    value::{self, FlagError},
};

/// What goes with `--from`: authorities, and a bearer token.
#[derive(Args, Debug)]
pub(crate) struct SourceFlags {
    /// PEM file with authorities that --from is checked against, beside the system's.
    #[arg(long, value_name = "FILE")]
    from_ca_file: Option<OsString>,

    /// The bearer token for --from.
    #[arg(long, value_name = "TOKEN", value_parser = value::token)]
    pub(super) from_token: Option<Secret>,

    /// File with the bearer token for --from. --from-token goes before it.
    #[arg(long, value_name = "FILE")]
    pub(super) from_token_file: Option<OsString>,
}

impl SourceFlags {
    /// The file with authorities, and the token.
    pub(crate) fn config(self) -> Result<(Option<PathBuf>, Option<Credential>), FlagError> {
        let token = target::token("--from-token", self.from_token, self.from_token_file)?;
        Ok((value::path(self.from_ca_file), token))
    }
}
