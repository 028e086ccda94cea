//! The programs: reads argv into a `Config`, sets up log and traces, and runs a program or a command.

mod authority;
pub mod commands;
mod dry_run;
mod failure;
pub mod flags;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod logs;
pub mod output;
mod programs;
pub mod quickstart;
mod run;
pub mod traces;

pub use self::{
    failure::RunFailure,
    flags::{Config, Mode, Program},
    programs::{start, start_client},
    run::run,
};
