//! The client: federate, transform, upload.
//!
//! [`BoundClient`] is the program: a listener, and a [`Worker`] that runs a cycle every interval. A cycle is one pass over
//! the scrape as it arrives: decoded, judged and packed piece by piece, so that memory does not follow its size.

pub mod check;
pub mod config;
pub mod credential;
mod cycles;
pub mod federate;
mod matches;
pub mod metrics;
mod nothing;
mod page;
mod pipeline;
pub mod preview;
mod refusal;
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
    pipeline::LeftOut,
    refusal::ServerRefusal,
    schedule::{AFTER_FAILURE, LONGEST_WAIT, SHORTEST_WAIT},
    serve::{BoundClient, ClientStartError, Listening, ReloadError, Reloader, metrics_only, run},
    worker::{CycleError, CycleReport, SetupError, Worker},
};
