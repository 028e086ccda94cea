//! [`telemeter_policy::fuzzing::rule_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| telemeter_policy::fuzzing::rule_file(data));
