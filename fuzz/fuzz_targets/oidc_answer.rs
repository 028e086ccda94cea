//! [`telemeter_auth::fuzzing::oidc_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_auth::fuzzing::oidc_answer(data));
