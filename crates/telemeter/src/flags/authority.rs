//! The arguments of `authorization-server`.

use std::path::PathBuf;

use clap::Parser;

use super::{
    shared::{LogFlags, ModeFlags},
    value::{self, FlagError},
};

/// Play the authority for tests and demos: let in whoever shows a token of a list.
#[derive(Parser, Debug)]
#[command(name = "authorization-server", version)]
pub struct AuthorizationServerFlags {
    /// Where questions are answered.
    #[arg(value_name = "ADDRESS")]
    address: String,

    /// File with the tokens that are let in: [{"token":"a"}].
    #[arg(value_name = "TOKENS.json")]
    tokens: PathBuf,

    #[command(flatten)]
    pub(crate) mode: ModeFlags,

    #[command(flatten)]
    pub(crate) log: LogFlags,
}

/// What the authority is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationServerConfig {
    /// `host:port` to listen on.
    pub listen: String,
    /// JSON: a list of objects with a `token` each.
    pub tokens_file: PathBuf,
}

impl AuthorizationServerFlags {
    /// What was meant.
    ///
    /// # Errors
    /// An address that is none.
    pub fn config(self) -> Result<AuthorizationServerConfig, FlagError> {
        Ok(AuthorizationServerConfig { listen: value::address("ADDRESS", &self.address)?, tokens_file: self.tokens })
    }
}
