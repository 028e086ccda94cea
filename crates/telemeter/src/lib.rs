//! The programs: argv becomes a Config.

pub mod commands;
mod dry_run;
pub mod flags;
pub mod fleet;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod logs;
pub mod output;
mod policy;
mod programs;
pub mod quickstart;
mod run;
pub mod traces;

pub use self::{
    dry_run::Mode,
    flags::{Config, Program},
    programs::{start, start_client},
    run::{RunFailure, run},
};
