//! [`telemeter_rules::fuzzing::go_regex`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_rules::fuzzing::go_regex(data));
