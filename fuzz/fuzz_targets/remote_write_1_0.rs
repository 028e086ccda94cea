//! [`telemeter_fuzz::remote_write_1_0`].
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use telemeter_fuzz::protobuf::{Framing, mutate};

fuzz_target!(|data: &[u8]| telemeter_fuzz::remote_write_1_0(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate(Framing::Message, data, size, max_size, seed, fuzzer_mutate)
});
