//! [`telemeter::fuzzing::flags`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter::fuzzing::flags(data));
