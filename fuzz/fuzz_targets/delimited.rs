//! [`telemeter_fuzz::delimited`].
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use telemeter_fuzz::protobuf::{Framing, mutate};

fuzz_target!(|data: &[u8]| telemeter_fuzz::delimited(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(Framing::Delimited, data, size, max_size, seed, fuzzer_mutate)
});
