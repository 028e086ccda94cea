//! [`telemeter_http::fuzzing::tunnels`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_http::fuzzing::tunnels(data));
