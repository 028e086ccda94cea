//! [`telemeter_http::fuzzing::header_table`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_http::fuzzing::header_table(data));
