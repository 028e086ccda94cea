//! [`telemeter_http::fuzzing::excerpts`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_http::fuzzing::excerpts(data));
