//! What can be said of a list of selectors without a cluster at hand: which rule is a duplicate, or covered by others; why
//! a series does not get through; how a Prometheus would do the same by relabelling.
//!
//! What is said of all series (`covers`, `is_disjoint`, `never`) is only said where it is certain; where it is not, the
//! answer is no. [`Whitelist`](crate::Whitelist) decides about one series.

#![allow(clippy::mutable_key_type, reason = "rules are compared by what is written, not by their compiled expressions")]

pub mod findings;
pub mod nearest;
mod normal;
pub mod relabel;
#[cfg(test)]
mod tests;
mod values;

pub use normal::NormalizedSelector;
