//! What a server knows of each cluster of its fleet: when it last reported, how much, and why it was refused.
//!
//! The [`Registry`] answers two questions: which clusters fell silent, and which are refused and why. It is bounded, costs
//! a request no allocation once its cluster is known, and can be written to a file ([`snapshot`]).

mod claimed;
mod id;
mod outcome;
mod record;
mod registry;
mod shard;
pub mod snapshot;
mod symbols;
mod view;

pub use self::{
    claimed::{Claimed, ClaimedRefusal},
    outcome::{Outcome, Reason, Route},
    registry::{Accepted, MAX_LABELS, Refused, Registry, RegistryConfig, Report},
    view::{ClusterRef, ClusterView, Exchange, LastRefusal, RefusalCount, Status, Thresholds},
};
