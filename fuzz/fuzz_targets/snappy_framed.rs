//! [`telemeter_wire::fuzzing::snappy_framed`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_wire::fuzzing::snappy_framed(data));
