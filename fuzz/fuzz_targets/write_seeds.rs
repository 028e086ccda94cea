//! Writes the seeds of all targets. It has libFuzzer in it, as all that is built with coverage counters needs, and never runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(init: telemeter_fuzz::seeds::write_and_exit(), |_data: &[u8]| ());
