//! [`telemeter_auth::fuzzing::jwt`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_auth::fuzzing::jwt(data));
