//! A value that is never printed.

pub use telemeter_auth::Secret;
