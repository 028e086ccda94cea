//! The programs: argv becomes a Config.

pub mod flags;
pub mod logs;
mod programs;
pub mod quickstart;
mod run;
pub mod traces;

pub use self::{
    flags::{Config, Program},
    programs::{start, start_client},
    run::{Failure, run},
};
