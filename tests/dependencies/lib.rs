//! No code: every library that any crate of the workspace depends on.
//!
//! Cargo builds a library again wherever the selected crates ask for other features of it, and the features of one library
//! depend on which others are there. Each of our crates has this one as a dev-dependency, so that every selection of tests
//! (`cargo test -p telemeter-wire`, `cargo test --workspace`) has the same libraries with the same features. Only tests have
//! it: what a program is built from stays as small as it is.
