//! What a server knows of each cluster of its fleet: when it last reported, how much, and why it was refused.
//!
//! The [`Registry`] answers two questions: which clusters fell silent, and which are refused and why. It is bounded, costs
//! a request no allocation once its cluster is known, and can be written to a file ([`snapshot`]). Beside it stands the
//! [`recent_store`]: the samples that were forwarded lately.

mod claimed;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod outcome;
pub mod recent_store;
mod record;
mod registry;
mod shard;
pub mod snapshot;
mod symbols;
mod view;

pub use self::{
    claimed::{Claimed, ClaimedRefusal},
    outcome::{Reason, ReportRoute, RequestOutcome},
    registry::{AcceptedRequest, MAX_LABELS, RefusedRequest, Registry, RegistryConfig, ReportSummary},
    view::{ClusterRef, ClusterStatus, ClusterView, LastRefusal, PastExchange, RefusalCount, Thresholds},
};
