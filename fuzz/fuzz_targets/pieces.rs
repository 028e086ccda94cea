//! [`telemeter_wire::fuzzing::pieces`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_wire::fuzzing::pieces(data));
