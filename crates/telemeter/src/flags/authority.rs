//! The arguments of `authorization-server`.

use std::path::PathBuf;

use clap::Parser;

use super::{
    shared::{LogFlags, ModeFlags},
    value::{self, FlagError},
};

/// Play the authority for tests and demos: accept the tokens of a list.
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

/// The configuration of the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationServerConfig {
    /// `host:port` to listen on.
    pub listen: String,
    /// JSON: a list of objects with a `token` each.
    pub tokens_file: PathBuf,
}

impl AuthorizationServerFlags {
    /// The configuration that the flags mean.
    ///
    /// # Errors
    /// The address is invalid.
    pub fn config(self) -> Result<AuthorizationServerConfig, FlagError> {
        Ok(AuthorizationServerConfig { listen: value::address("ADDRESS", &self.address)?, tokens_file: self.tokens })
    }
}
