use telemeter_test_support::fuzz_targets::{check_damaged, check_prefixes};

use super::*;

#[test]
fn the_properties_hold_for_prefixes_of_the_seeds() {
    check_prefixes(&targets());
}

#[test]
fn the_properties_hold_for_damaged_seeds() {
    check_damaged(&targets());
}

/// What fuzzing found: metadata whose help and unit are symbols without text was encoded once, and not again.
#[test]
fn metadata_that_says_nothing_is_encoded_alike_each_time() {
    remote_write_2_0(&[
        34, 0, 34, 0, 34, 19, 119, 114, 102, 115, 15, 0, 0, 0, 0, 0, 0, 0, 8, 104, 100, 108, 116, 102, 100, 42, 0, 42,
        50, 10, 6, 0, 0, 1, 2, 1, 1, 18, 9, 9, 0, 0, 0, 0, 0, 112, 72, 64, 34, 16, 10, 2, 1, 2, 17, 119, 177, 60, 129,
        40, 214, 33, 54, 24, 150, 47, 42, 4, 24, 3, 32, 1, 48, 174, 219, 210, 213, 172, 53, 34, 0,
    ]);
}

/// The checks have something to look at.
#[test]
fn most_seeds_are_taken() {
    let check = |seeds: Vec<Vec<u8>>, taken: &dyn Fn(&[u8]) -> bool| {
        let count = seeds.iter().filter(|seed| taken(seed)).count();
        assert!(count > 1 && 2 * count > seeds.len(), "{count} of {}", seeds.len());
    };
    let limits = DecodeLimits::default();
    let format = |format| {
        move |body: &[u8]| {
            with_set(|set, body| exposition::decode(format, body, &limits, set), body, |result, _| result.is_ok())
        }
    };
    check(seeds::text(), &format(ExpositionFormat::Text));
    check(seeds::delimited(), &format(ExpositionFormat::Delimited));
    check(seeds::remote_write(), &|message| {
        with_set(
            |set, message| remote_write::decode(message, &limits, set).map(|_| ()),
            message,
            |result, _| result.is_ok(),
        )
    });
    let of_2_0 = seeds::remote_write().pop().expect("the last one");
    let contents = v2::decode(&of_2_0, &limits, &mut SeriesSet::new_in(&Arena::new())).expect("a request");
    assert_eq!((contents.samples, contents.exemplars), (1, 1));
    check(snappy::block_seeds(), &|block| crate::snappy::decode_block(block, 1 << 20, &mut Vec::new()).is_ok());
    check(snappy::framed_seeds(), &|stream| crate::snappy::decode_framed(stream, 1 << 20, &mut Vec::new()).is_ok());
}
