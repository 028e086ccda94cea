//! What the tests of several crates share: a dev-dependency, on the lowest floor.

pub mod fuzz_targets;
pub mod golden;
