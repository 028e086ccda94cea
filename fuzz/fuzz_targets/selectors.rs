//! [`telemeter_rules::fuzzing::selectors`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_rules::fuzzing::selectors(data));
