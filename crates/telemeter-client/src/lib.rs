//! The client: federate, transform, upload.
//!
//! [`BoundClient`] is the program: a listener, and a [`Worker`] that runs a cycle every interval. A cycle is one pass over
//! the scrape while it arrives: each piece is decoded, changed by the rules and packed before the next one is read, so that
//! memory does not grow with the size of the scrape.

pub mod check;
pub mod config;
pub mod credential;
mod cycles;
mod explain;
pub mod federate;
mod matches;
pub mod metrics;
mod outcome;
mod page;
mod pipeline;
pub mod preview;
mod refusal;
pub mod remote_write;
pub mod schedule;
mod scraper;
mod serve;
mod status;
mod summary;
pub mod token;
pub mod upload;
mod worker;

pub use self::{
    config::Config,
    cycles::Observer,
    outcome::{CycleError, CycleReport, SetupError},
    pipeline::LeftOut,
    refusal::ServerRefusal,
    schedule::{AFTER_FAILURE, LONGEST_WAIT, SHORTEST_WAIT},
    serve::{BoundClient, ClientStartError, Listening, ReloadError, Reloader, run, serve_metrics},
    worker::Worker,
};
