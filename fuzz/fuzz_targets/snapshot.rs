//! [`telemeter_fleet::fuzzing::snapshot`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_fleet::fuzzing::snapshot(data));
