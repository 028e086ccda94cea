//! The state of a server's fleet: when each cluster last reported, how much, and why it was refused.
//!
//! The [`Registry`] answers two questions: which clusters are silent, and which are refused and why. Its size is bounded, a
//! request of a known cluster makes no allocation, and it can be written to a file ([`snapshot`]). The [`recent_store`] has
//! the samples that were forwarded recently.

mod claimed;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod outcome;
pub mod recent_store;
mod record;
mod registry;
mod request;
mod shard;
pub mod snapshot;
mod symbols;
mod view;

pub use self::{
    claimed::{ClaimedRefusal, ClaimedRefusals},
    outcome::{Reason, ReportRoute, RequestOutcome},
    registry::{MAX_LABELS, Registry, RegistryConfig},
    request::{AcceptedRequest, RefusedRequest, ReportSummary},
    view::{ClusterRef, ClusterStatus, ClusterView, LastRefusal, PastExchange, RefusalCount, Thresholds},
};
