//! [`telemeter_auth::fuzzing::token_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_auth::fuzzing::token_answer(data));
