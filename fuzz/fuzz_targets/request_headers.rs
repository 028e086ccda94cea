//! [`telemeter_http::fuzzing::request_headers`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_http::fuzzing::request_headers(data));
