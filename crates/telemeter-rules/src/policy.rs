//! Static analysis of a list of selectors: which rule is a duplicate or covered by others, why a series is dropped, and
//! which relabelling in Prometheus has the same effect.
//!
//! Statements about all series (`covers`, `is_disjoint`, `never`) are conservative: they are true only where that is
//! certain. [`Whitelist`](crate::Whitelist) decides about a single series.

#![allow(clippy::mutable_key_type, reason = "rules are compared by what is written, not by their compiled expressions")]

pub mod findings;
pub mod nearest;
mod normal;
pub mod relabel;
#[cfg(test)]
mod tests;
mod values;

pub use normal::NormalizedSelector;
