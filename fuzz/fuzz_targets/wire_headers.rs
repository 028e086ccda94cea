//! [`telemeter_wire::fuzzing::headers`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_wire::fuzzing::headers(data));
