//! The steps that requests and uploads go through, one file for each step.

pub mod anonymize;
pub mod elide;
pub mod escape;
pub mod federate_samples;
pub mod filter;
pub mod label;
pub mod rename;
pub mod requested;
pub mod required;
pub mod timestamps;
