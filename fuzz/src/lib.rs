//! What the fuzz targets share: the wire crate's oracle, a mutator of protobuf, and the seeds.
//!
//! What has to hold of an input stands in a module `fuzzing` of the crate whose parser it is, where tests drive it as well. A
//! program of `fuzz_targets/` hands what libFuzzer makes up to one such function.

pub mod protobuf;
pub mod seeds;

/// The comparisons with a library, as the tests of the wire crate make them.
#[path = "../../crates/telemeter-wire/tests/oracle/main.rs"]
#[allow(dead_code, unused_imports, unreachable_pub, missing_docs)]
mod oracle;

use telemeter_wire::fuzzing;

/// Delimited protobuf: the wire crate's check, and what a library reads.
pub fn delimited(body: &[u8]) {
    fuzzing::delimited(body);
    oracle::check_families(body, "");
}

/// Remote write 1.0: the wire crate's check, and what a library reads, of it and of what we make of it as 2.0.
pub fn remote_write_1_0(message: &[u8]) {
    fuzzing::remote_write_1_0(message);
    oracle::check_write_request(message, "");
    oracle::out_v2::check_sent(message, "");
}

/// Remote write 2.0: the wire crate's check, and what a library reads, which is the same as 1.0.
pub fn remote_write_2_0(message: &[u8]) {
    fuzzing::remote_write_2_0(message);
    oracle::check_request(message, "");
}
