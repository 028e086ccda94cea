//! [`telemeter_http::fuzzing::pem_blocks`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_http::fuzzing::pem_blocks(data));
