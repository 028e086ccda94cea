//! Rules for series: matchers, selectors, the whitelist, and the transforms that change or drop series.
//!
//! All functions are pure: the same input and the same `now` give the same output. What the steps did comes back as
//! [`StepCounts`].

pub mod canonical;
pub mod deduplicate;
mod error;
mod escaped_name;
mod family;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod go_regex;
pub mod matcher;
pub mod policy;
mod quote;
mod refusal;
pub mod selector;
pub mod sensitive;
#[cfg(test)]
mod testing;
mod transform;
pub mod transforms;
pub mod upload;
pub mod whitelist;

pub use error::Error;
pub use matcher::{Matcher, Op};
pub use refusal::Refusal;
pub use selector::Selector;
pub use transform::{StepCounts, Transform, Verdict, run, run_partial};
pub use whitelist::{NameVerdict, Whitelist};
