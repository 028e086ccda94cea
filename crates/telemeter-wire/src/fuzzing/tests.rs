use proptest::prelude::*;

use super::*;

#[test]
fn seeds_and_what_they_begin_with_hold() {
    for (_, check, seeds) in targets() {
        for seed in seeds {
            (0..=seed.len().min(300)).for_each(|end| check(&seed[..end]));
            check(&seed);
        }
    }
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

proptest! {
    #[test]
    fn damaged_seeds_hold(
        target in any::<prop::sample::Index>(),
        seed in any::<prop::sample::Index>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let targets = targets();
        let (_, check, seeds) = &targets[target.index(targets.len())];
        let mut bytes = seeds[seed.index(seeds.len())].clone();
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        check(&bytes);
    }
}
