//! [`telemeter_http::fuzzing::gunzip`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_http::fuzzing::gunzip(data));
