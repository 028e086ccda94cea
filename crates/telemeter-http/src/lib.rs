//! HTTP for both programs: listeners, TLS, capped bodies, outbound calls, health, and the programs' own metrics.
//!
//! This crate contains no telemetry code: the programs decide which routes are served, and this crate serves them.
//! Every read from a peer has a byte cap, every wait has a deadline, and no output contains a secret.

pub mod availability;
pub mod body;
pub mod budget;
mod certificate;
pub mod check;
pub mod client;
pub mod clock;
pub mod date;
pub mod descriptors;
pub mod duration;
pub mod file;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod human;
pub mod instrument;
pub mod internal;
pub mod listen;
pub mod metrics;
pub mod page;
pub mod panics;
pub mod pem;
mod propagate;
pub mod service_manager;
pub mod signals;
pub mod tls;
