//! [`telemeter_wire::fuzzing::snappy_block`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_wire::fuzzing::snappy_block(data));
